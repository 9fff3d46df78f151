"""Schema Registry: the tenant's field groups, schemas, classes and data types, and Adobe's, read-only.

Source: Schema Registry API guide.
"""

from __future__ import annotations

import re
import secrets
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from ..server import errors as problems
from ..server.filters import ordered, parse_filter
from ..server.json_patch import PatchProblem, apply_patch
from ..server.service import Context, Service, answer, now_ms, route, whole_number
from ..store import BatchFilter, Json
from . import unions, xdm
from .xdm_standard import CONVERSATION_GROUPS

BASE = "/data/foundation/schemaregistry"
CONVERSATION_ENTITLEMENT = "conversation-field-groups"
DEFAULT_LIMIT = 300
LARGEST_LIMIT = 500
SHORT_KEYS = ("$id", "meta:altId", "version", "title")

_LIST = re.compile(r"application/vnd\.adobe\.xed(-id)?\+json")
_LOOKUP = re.compile(
    r"application/vnd\.adobe\.(xed|xed-full|xed-notext|xed-full-notext|xed-full-desc|xed-deprecatefield)\+json"
    r"\s*;\s*version=1(\.\d+)?"
)
DESCRIPTOR_LIST = re.compile(r"application/vnd\.adobe\.xdm(-v2)?(-id|-link)?\+json")
DESCRIPTOR_LOOKUP = re.compile(r"application/vnd\.adobe\.xdm(-v2)?\+json")

_ACCEPT_CODES = {_LIST: "1006", _LOOKUP: "1007", DESCRIPTOR_LIST: "1008", DESCRIPTOR_LOOKUP: "1009"}
RESOURCE_TYPES = {
    "schemas": "schemas",
    "fieldgroups": "mixins",
    "mixins": "mixins",
    "classes": "classes",
    "datatypes": "datatypes",
}
_TYPES = ("schemas", "mixins", "classes", "datatypes")
_NOT_FOUND = {"classes": "1010", "mixins": "1011", "schemas": "1012", "datatypes": "1013"}
_PLURALS = "{plural:schemas|fieldgroups|mixins|classes|datatypes}"


def resource_by_id(context: Context, reference: str) -> Json | None:
    """Return a tenant or global resource by its ``$id``; None if there is none."""
    for resource_type in _TYPES:
        found = context.store.get(resource_type, reference)
        if found is not None:
            return found
    return global_resources(context).get(reference)


def global_resources(context: Context) -> dict[str, Json]:
    """Return Adobe's resources by ``$id``, without the groups for which the organisation is not enabled."""
    if CONVERSATION_ENTITLEMENT not in context.options.withheld:
        return xdm.GLOBAL_RESOURCES
    return {key: body for key, body in xdm.GLOBAL_RESOURCES.items() if key not in CONVERSATION_GROUPS}


def composed_schema(context: Context, schema_id: str) -> Json | None:
    """Return the JSON Schema into which a tenant schema resolves; None if there is no such schema."""
    schema = context.store.get("schemas", schema_id)
    if schema is None:
        return None
    return xdm.compose(schema, lambda reference: resource_by_id(context, reference))


class SchemaRegistry(Service):
    """The tenant and global containers."""

    @route("GET", f"{BASE}/stats", f"{BASE}/stats/")
    async def stats(self, _request: web.Request) -> web.Response:
        """Return the tenant id, which names the field namespace, and counts."""
        account, store = self._context.account, self._context.store
        kept = {resource_type: store.all(resource_type) for resource_type in _TYPES}
        short = [_reference(document) for documents in kept.values() for document in documents]
        usage: dict[str, list[Json]] = {}
        for schema in kept["schemas"]:
            usage.setdefault(schema["meta:class"], []).append(_reference(schema))
        return answer(
            {
                "imsOrg": account.org_id,
                "tenantId": account.tenant_id,
                "counts": {
                    **{name: len(documents) for name, documents in kept.items()},
                    "unions": len(
                        {schema["meta:class"] for schema in kept["schemas"] if unions.is_in_union(schema)}
                    ),
                },
                "recentlyCreatedResources": short[-10:],
                "recentlyUpdatedResources": short[-10:],
                "classUsage": usage,
            }
        )

    @route("GET", f"{BASE}/{{container:tenant|global}}/{_PLURALS}")
    async def list_resources(self, request: web.Request) -> web.Response:
        """List a container's resources of one type."""
        short = accepted_form(request, _LIST)[1] is not None
        container, plural = request.match_info["container"], request.match_info["plural"]
        documents, largest = self._all(container, RESOURCE_TYPES[plural]), self._context.options.largest_page
        return answer(page(request, documents, short, container, plural, largest))

    @route("GET", f"{BASE}/{{container:tenant|global}}/{_PLURALS}/{{id}}")
    async def lookup(self, request: web.Request) -> web.Response:
        """Return one resource, by ``$id`` or ``meta:altId``."""
        form = accepted_form(request, _LOOKUP)[1]
        resource = self._find(request.match_info["container"], request)
        if "full" in form:
            resource = self._full(resource)
        return answer(without_text(resource) if "notext" in form else resource)

    @route("POST", f"{BASE}/tenant/{_PLURALS}")
    async def create(self, request: web.Request) -> web.Response:
        """Create a resource of the tenant."""
        resource_type = RESOURCE_TYPES[request.match_info["plural"]]
        account = self._context.account
        body = await self.json_object(request)
        token = secrets.token_hex(24)
        key = f"https://ns.adobe.com/{account.tenant_id}/{resource_type}/{token}"
        moment = now_ms()
        resource = self._completed(
            body,
            resource_type,
            {
                "$id": key,
                "meta:altId": f"{account.tenant_namespace}.{resource_type}.{token}",
                "version": "1.0",
                "created": moment,
            },
        )
        self._context.store.put(resource_type, key, resource)
        return answer(resource, 201)

    @route("PUT", f"{BASE}/tenant/{_PLURALS}/{{id}}")
    async def replace(self, request: web.Request) -> web.Response:
        """Replace a resource and raise its minor version."""
        current = self._find("tenant", request)
        return answer(self._update(current, await self.json_object(request)))

    @route("PATCH", f"{BASE}/tenant/{_PLURALS}/{{id}}")
    async def patch(self, request: web.Request) -> web.Response:
        """Change a resource by RFC 6902 operations and raise its minor version."""
        current = self._find("tenant", request)
        try:
            changed = apply_patch(current, await self.json_body(request))
        except PatchProblem as problem:
            raise problems.schema_registry("XDM-1530-400", "Invalid patch", str(problem)) from problem
        return answer(self._update(current, changed))

    @route("DELETE", f"{BASE}/tenant/{_PLURALS}/{{id}}")
    async def delete(self, request: web.Request) -> web.Response:
        """Delete a resource that nothing refers to."""
        resource = self._find("tenant", request)
        key = resource["$id"]
        store = self._context.store
        users = [schema["title"] for schema in store.all("schemas") if key in schema["meta:extends"]]
        users += [dataset["name"] for dataset in store.all("dataset") if dataset["schemaRef"]["id"] == key]
        if unions.is_in_union(resource) or users:
            detail = f"{key} is used by {', '.join(users) or 'a union'}"
            raise problems.schema_registry("XDM-1540-400", "Resource in use", detail)
        store.delete(resource["meta:resourceType"], key)
        return web.Response(status=204)

    def _all(self, container: str, resource_type: str) -> list[Json]:
        if container == "tenant":
            return self._context.store.all(resource_type)
        return [
            resource
            for resource in global_resources(self._context).values()
            if resource["meta:resourceType"] == resource_type
        ]

    def _find(self, container: str, request: web.Request) -> Json:
        resource_type = RESOURCE_TYPES[request.match_info["plural"]]
        wanted = request.match_info["id"]
        for resource in self._all(container, resource_type):
            if wanted in (resource["$id"], resource["meta:altId"]):
                return resource
        raise problems.schema_registry(
            f"XDM-{_NOT_FOUND[resource_type]}-404",
            "Resource not found",
            f"The requested {resource_type} resource {wanted} with version 1 is not found.",
        )

    def _full(self, resource: Json) -> Json:
        full = xdm.compose(resource, lambda reference: resource_by_id(self._context, reference))
        kept = {
            key: value for key, value in resource.items() if key not in ("allOf", "definitions", "properties")
        }
        return {**kept, **full}

    def _update(self, current: Json, wanted: Json) -> Json:
        major, minor = current["version"].split(".")
        resource_type = current["meta:resourceType"]
        identity = {
            **{key: current[key] for key in ("$id", "meta:altId")},
            "version": f"{major}.{int(minor) + 1}",
            "created": current["meta:registryMetadata"]["repo:createdDate"],
        }
        updated = self._completed(wanted, resource_type, identity)
        self._context.store.put(resource_type, current["$id"], updated)
        return updated

    def _completed(self, body: Json, resource_type: str, identity: Json) -> Json:
        """Return the resource as the registry stores it, after every check."""
        account = self._context.account
        self._check(body, resource_type, identity["$id"])
        moment = now_ms()
        created = identity["created"]
        resource: Json = {
            **xdm.with_xdm_types(body),
            "$id": identity["$id"],
            "meta:altId": identity["meta:altId"],
            "meta:resourceType": resource_type,
            "version": identity["version"],
            "imsOrg": account.org_id,
            "meta:extensible": resource_type != "schemas",
            "meta:abstract": resource_type != "schemas",
            "meta:xdmType": "object",
            "meta:containerId": "tenant",
            "meta:sandboxId": account.sandbox_id,
            "meta:sandboxType": self._context.options.sandbox_type,
            "meta:tenantNamespace": account.tenant_namespace,
            "meta:registryMetadata": {
                "repo:createdDate": created,
                "repo:lastModifiedDate": moment,
                "xdm:createdClientId": account.client_id,
                "xdm:lastModifiedClientId": account.client_id,
                "xdm:createdUserId": account.technical_user,
                "xdm:lastModifiedUserId": account.technical_user,
                "eTag": secrets.token_hex(32),
                "meta:globalLibVersion": "1.0.0",
            },
        }
        if resource_type == "schemas":
            resource.update(self._lineage(resource))
        self._check_composition(resource)
        return resource

    def _lineage(self, schema: Json) -> Json:
        """Return the parts of a schema: its class, the class's behaviour and its field groups."""
        references = [part["$ref"] for part in schema["allOf"]]
        extends: list[str] = []
        class_id = ""
        for reference in references:
            resource = resource_by_id(self._context, reference)
            if resource is None:
                raise problems.schema_registry(
                    "XDM-1011-404", "Resource not found", f"The referenced resource {reference} is not found."
                )
            if resource["meta:resourceType"] == "classes":
                class_id = reference
            extends += [reference, *resource.get("meta:extends", [])]
        parts = [{**part, "type": "object", "meta:xdmType": "object"} for part in schema["allOf"]]
        return {
            "allOf": parts,
            "meta:class": class_id,
            "meta:extends": list(dict.fromkeys(extends)),
            "refs": references,
        }

    def _check_composition(self, resource: Json) -> None:
        """Check that a resource and the schemas that use it compose; schemas with data may only grow."""
        key = resource["$id"]

        def lookup(reference: str) -> Json | None:
            return resource if reference == key else resource_by_id(self._context, reference)

        try:
            xdm.compose(resource, lookup)
            if resource["meta:resourceType"] == "schemas":
                self._check_union(resource, lookup)
            for schema in self._context.store.all("schemas"):
                if key != schema["$id"] and key not in schema["meta:extends"]:
                    continue
                after = xdm.compose(resource if key == schema["$id"] else schema, lookup)
                before = composed_schema(self._context, schema["$id"])
                changes = list(xdm.breaking_changes(before, after)) if before else []
                if changes and (unions.is_in_union(schema) or self._holds_data(schema["$id"])):
                    raise problems.schema_registry(
                        "XDM-1530-400", "Schema evolution error", f"{schema['title']}: {'; '.join(changes)}"
                    )
        except xdm.UnresolvedReference as unresolved:
            found = unresolved.problem
            raise problems.schema_registry(found.code, found.title, found.detail) from unresolved

    def _check_union(self, schema: Json, lookup: xdm.Lookup) -> None:
        """Refuse a schema that may not join its class's union, or that would leave it."""
        store, key = self._context.store, schema["$id"]
        others = [
            (other["title"], composed_schema(self._context, other["$id"]) or {})
            for other in store.all("schemas")
            if other["$id"] != key
            and other["meta:class"] == schema["meta:class"]
            and unions.is_in_union(other)
        ]
        has_primary = any(
            descriptor["xdm:sourceSchema"] == key and descriptor.get("xdm:isPrimary")
            for descriptor in store.all("descriptor")
        )
        problem = unions.problem_of(
            schema, store.get("schemas", key), xdm.compose(schema, lookup), others, has_primary
        )
        if problem is not None:
            raise problems.schema_registry(problem.code, problem.title, problem.detail)

    def _holds_data(self, schema_id: str) -> bool:
        store = self._context.store
        datasets = [
            dataset["id"] for dataset in store.all("dataset") if dataset["schemaRef"]["id"] == schema_id
        ]
        return any(
            store.batches(BatchFilter(dataset_id=key, status="success"), limit=1, start=0) for key in datasets
        )

    def _check(self, body: Json, resource_type: str, own_id: str) -> None:
        title = body.get("title")
        if not isinstance(title, str) or not title.strip():
            raise problems.schema_registry("XDM-1530-400", "Required field missing", "title is required")
        for kept_type in _TYPES:
            for resource in self._context.store.all(kept_type):
                if resource["title"] == title and resource["$id"] != own_id:
                    used = f"The title {title} is already used by {resource['$id']}."
                    raise problems.schema_registry(
                        "XDM-1521-400", "Title not unique", f"{used} Titles are unique in a tenant."
                    )
        found: list[xdm.RegistryProblem] = []
        if resource_type == "schemas":
            found = xdm.check_schema(body)
        elif resource_type == "mixins":
            found = xdm.check_field_group(body, self._context.account.tenant_namespace)
        if found:
            first, details = found[0], [problem.detail for problem in found]
            raise problems.schema_registry(first.code, first.title, first.detail, details)


def _reference(resource: Json) -> Json:
    return {key: resource[key] for key in ("title", "$id", "meta:altId", "version")}


def accepted_form(request: web.Request, form: re.Pattern[str]) -> re.Match[str]:
    """Return the accepted form; refuse an Accept header that the call does not support."""
    accept = request.headers.get("Accept", "").strip()
    match = form.fullmatch(accept)
    if match is None:
        raise problems.schema_registry(
            f"XDM-{_ACCEPT_CODES[form]}-400",
            "Accept header invalid",
            f"The Accept header {accept!r} is not supported for this request.",
        )
    return match


def page(
    request: web.Request, documents: list[Json], shorten: bool, container: str, plural: str, largest: int
) -> Json:
    """Return one page of a list, filtered by ``property`` and sorted by ``orderby``.

    ``start`` is the last value of the sort key on the previous page. A page ends only where that value
    changes: otherwise documents with equal values would be lost between two pages. ``limit`` is a hint: a
    page holds at most ``largest``.
    """
    for text in request.query.getall("property", []):
        wanted = parse_filter(text)
        if wanted is None or wanted.operator == "~":
            raise problems.schema_registry(
                "XDM-1530-400", "Invalid query parameter", f"Invalid property filter {text}"
            )
        documents = [document for document in documents if wanted.matches(document, any_of=False)]
    order = request.query.get("orderby")
    cursor: str | None = None
    if order:
        documents, cursor = _sorted_page(request, documents, order, largest)
    else:
        documents = documents[:DEFAULT_LIMIT]
    return {
        "results": [_short(document) for document in documents] if shorten else documents,
        "_page": {"orderby": order or "updated", "next": cursor, "count": len(documents)},
        "_links": {
            "next": _next_link(request, cursor),
            "global_schemas": {"href": f"{request.scheme}://{request.host}{BASE}/global/schemas"},
        }
        if (container, plural) == ("tenant", "schemas")
        else {"next": _next_link(request, cursor)},
    }


def _sorted_page(
    request: web.Request, documents: list[Json], order: str, largest: int
) -> tuple[list[Json], str | None]:
    key = order.strip().lstrip("+-")
    documents = ordered(documents, (key, order.strip().startswith("-")))
    start = request.query.get("start")
    if start is not None:
        seen = [index for index, document in enumerate(documents) if _cursor(document, key) == start]
        documents = documents[seen[-1] + 1 :] if seen else []
    limit = min(_limit(request), largest)
    end = limit
    while 0 < end < len(documents) and _cursor(documents[end], key) == _cursor(documents[end - 1], key):
        end += 1
    more = 0 < end < len(documents)
    return documents[:end], _cursor(documents[end - 1], key) if more else None


def _cursor(document: Json, key: str) -> str:
    return str(document.get(key, ""))


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(DEFAULT_LIMIT))
    limit = whole_number(text)
    if limit is None or limit > LARGEST_LIMIT:
        raise problems.schema_registry("XDM-1530-400", "Invalid query parameter", f"Invalid limit {text}")
    return limit


def _next_link(request: web.Request, cursor: str | None) -> Json | None:
    if cursor is None:
        return None
    query = [(key, value) for key, value in request.query.items() if key != "start"]
    return {
        "href": f"{request.scheme}://{request.host}{request.path}?{urlencode([*query, ('start', cursor)])}"
    }


def _short(document: Json) -> Json:
    return {key: document[key] for key in SHORT_KEYS if key in document}


def without_text(node: Any) -> Any:
    """Return a schema without the titles and descriptions of its fields."""
    if isinstance(node, list):
        return [without_text(element) for element in node]
    if not isinstance(node, dict):
        return node
    dropped = ("title", "description") if isinstance(node.get("title", ""), str) else ()
    return {key: without_text(value) for key, value in node.items() if key not in dropped}
