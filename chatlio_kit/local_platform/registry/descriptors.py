"""Schema descriptors: identities and relationships of a schema's fields.

Source: Schema Registry API guide, "Descriptors".
"""

from __future__ import annotations

import secrets
from typing import Any

from aiohttp import web

from ..profile.namespaces import all_namespaces
from ..server import errors as problems
from ..server.service import Service, answer, route
from ..store import Json
from .routes import BASE, DESCRIPTOR_LIST, DESCRIPTOR_LOOKUP, accepted_form, composed_schema

_LABELS = frozenset({"I1", "I2", "S1", "S2", "PSPD", "RHD", *(f"C{number}" for number in range(1, 13))})
LABEL = "xdm:descriptorLabel"
IDENTITY = "xdm:descriptorIdentity"
DESCRIPTORS = f"{BASE}/tenant/descriptors"


class Descriptors(Service):
    """Descriptors of the tenant's schemas."""

    @route("POST", DESCRIPTORS)
    async def create(self, request: web.Request) -> web.Response:
        """Create a descriptor."""
        return answer(self._save(await self.json_object(request), secrets.token_hex(20)), 201)

    @route("GET", DESCRIPTORS)
    async def descriptors(self, request: web.Request) -> web.Response:
        """List descriptors by type; a type without any is absent."""
        form = accepted_form(request, DESCRIPTOR_LIST)[2]
        groups: dict[str, list[Any]] = {}
        for descriptor in self._context.store.all("descriptor"):
            shown: Any = descriptor
            if form == "-id":
                shown = descriptor["@id"]
            elif form == "-link":
                shown = f"/tenant/descriptors/{descriptor['@id']}"
            groups.setdefault(descriptor["@type"], []).append(shown)
        return answer(groups)

    @route("GET", f"{DESCRIPTORS}/{{id}}")
    async def lookup(self, request: web.Request) -> web.Response:
        """Return one descriptor."""
        if request.headers.get("Accept", "*/*") != "*/*":  # the guide's sample has no body
            accepted_form(request, DESCRIPTOR_LOOKUP)
        return answer(self._find(request))

    @route("PUT", f"{DESCRIPTORS}/{{id}}")
    async def replace(self, request: web.Request) -> web.Response:
        """Replace a descriptor."""
        key = self._find(request)["@id"]
        self._save(await self.json_object(request), key)
        return answer({"@id": key}, 201)

    @route("DELETE", f"{DESCRIPTORS}/{{id}}")
    async def delete(self, request: web.Request) -> web.Response:
        """Delete a descriptor."""
        self._context.store.delete("descriptor", self._find(request)["@id"])
        return web.Response(status=204)

    def _find(self, request: web.Request) -> Json:
        key = request.match_info["id"]
        found = self._context.store.get("descriptor", key)
        if found is None:
            raise problems.schema_registry(
                "XDM-1014-404", "Resource not found", f"The requested descriptor {key} is not found."
            )
        return found

    def _save(self, body: Json, key: str) -> Json:
        self._check(body, key)
        account = self._context.account
        descriptor = {
            **body,
            "@id": key,
            "imsOrg": account.org_id,
            "version": "1",
            "meta:containerId": "tenant",
            "meta:sandboxId": account.sandbox_id,
            "meta:sandboxType": self._context.options.sandbox_type,
        }
        self._context.store.put("descriptor", key, descriptor)
        return descriptor

    def _check(self, body: Json, key: str) -> None:
        kind, schema_id = body.get("@type"), body.get("xdm:sourceSchema")
        path = body.get("xdm:sourceProperty")
        if not isinstance(kind, str) or not kind.startswith("xdm:") or not isinstance(schema_id, str):
            raise _bad("@type and xdm:sourceSchema are required")
        if not isinstance(path, str) or not path.startswith("/") or path.endswith("/") or len(path) < 2:
            raise _bad("xdm:sourceProperty must start with a slash and not end with one")
        schema = composed_schema(self._context, schema_id)
        if schema is None:
            raise problems.schema_registry(
                "XDM-1012-404", "Resource not found", f"The schema {schema_id} is not found."
            )
        node: Any = schema
        for step in path[1:].split("/"):
            node = node.get("properties", {}).get(step)
            if node is None:
                raise _bad(f"The schema {schema_id} has no field {path}")
        if kind == LABEL:
            _check_label(body, node, path)
        if kind != IDENTITY:
            return
        if node.get("type") != "string":
            raise _bad(f"{path} is not a string: only strings can be identities")
        if body.get("xdm:property") not in ("xdm:code", "xdm:id") or not body.get("xdm:namespace"):
            raise _bad("xdm:namespace and xdm:property (xdm:code or xdm:id) are required")
        namespaces = all_namespaces(self._context)
        by = "code" if body["xdm:property"] == "xdm:code" else "id"
        if str(body["xdm:namespace"]) not in {str(namespace[by]) for namespace in namespaces}:
            raise _bad(f"The namespace {body['xdm:namespace']} does not exist")
        others = [
            descriptor
            for descriptor in self._context.store.all("descriptor")
            if descriptor["@type"] == IDENTITY
            and descriptor["xdm:sourceSchema"] == schema_id
            and descriptor["@id"] != key
        ]
        if any(descriptor["xdm:sourceProperty"] == path for descriptor in others):
            raise _bad(f"{path} has an identity descriptor already")
        if body.get("xdm:isPrimary") and any(descriptor.get("xdm:isPrimary") for descriptor in others):
            raise _bad(f"The schema {schema_id} has a primary identity already")


def _check_label(body: Json, node: Json, path: str) -> None:
    """Check a label; the form of its descriptor is known only from client code."""
    labels = body.get("xdm:label")
    if not isinstance(labels, list) or not labels or not all(label in _LABELS for label in labels):
        raise _bad("xdm:label must list core labels")
    if "properties" in node or node.get("type") == "array":
        raise _bad(f"{path} is no leaf: only leaves have labels here")


def _bad(detail: str) -> problems.ApiError:
    return problems.schema_registry("XDM-1530-400", "Descriptor validation error", detail)
