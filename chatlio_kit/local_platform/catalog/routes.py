"""Catalog: datasets, and the batches that the lake has written.

Source: Catalog Service API guide. Error bodies are not documented; problem documents stand in.
"""

from __future__ import annotations

import re
import secrets
from datetime import timedelta
from typing import Any

from aiohttp import web

from ..lake.files import remove_files
from ..profile.view import duration, has_tag
from ..registry.unions import is_in_union
from ..server import errors as problems
from ..server.filters import ordered, values_at
from ..server.json_patch import PatchProblem, apply_patch
from ..server.patterns import WrongPattern, compile_pattern
from ..server.service import Service, answer, now_ms, route, whole_number
from ..store import BatchFilter, Json
from .batches import batch_of, deactivate

BASE = "/data/foundation/catalog"
SCHEMA_CONTENT_TYPE = re.compile(
    r"application/vnd\.adobe\.xed(-full)?(-notext)?\+json\s*;\s*version\s*=\s*1(\.\d+)?"
)
_LEAST_EXPIRY, _MOST_EXPIRY = timedelta(days=30), timedelta(days=3650)
_KEPT_BY_CATALOG = ("imsOrg", "created", "createdUser", "createdClient", "viewId", "files", "version", "id")


def same_schema(one: Json, other: Json) -> bool:
    """Return whether two references have the same schema id; the major version is always 1."""
    return bool(one.get("id")) and one.get("id") == other.get("id")


class Catalog(Service):
    """Datasets and batches."""

    @route("POST", f"{BASE}/dataSets")
    async def create(self, request: web.Request) -> web.Response:
        """Create a dataset for a schema of the tenant."""
        body = await self.json_object(request)
        if request.query.get("requestDataSource") != "true" and "dataSourceId" not in body:
            raise problems.bad_request("dataSourceId is required unless requestDataSource=true")
        tags = body.get("tags", {})
        if not isinstance(tags, dict):
            raise problems.bad_request("tags must be an object of arrays")
        key = secrets.token_hex(12)
        account, moment = self._context.account, now_ms()
        dataset: Json = {
            "name": body.get("name", ""),
            **body,
            "imsOrg": account.org_id,
            "sandboxId": account.sandbox_id,
            "tags": {"adobe/pqs/table": [re.sub(r"\W+", "_", str(body.get("name", ""))).lower()], **tags},
            "version": "1.0.0",
            "created": moment,
            "updated": moment,
            "createdClient": account.client_id,
            "createdUser": account.technical_user,
            "updatedUser": account.technical_user,
            "viewId": secrets.token_hex(12),
            "files": f"@/dataSetFiles?dataSetId={key}",
            "id": key,
        }
        dataset.setdefault(
            "fileDescription", {"persisted": True, "containerFormat": "parquet", "format": "parquet"}
        )
        self._check(dataset)
        self._note_profile({"tags": {}}, dataset)
        self._context.store.put("dataset", key, dataset)
        return answer([f"@/dataSets/{key}"], 201, {"Location": f"{BASE}/dataSets/{key}"})

    @route("GET", f"{BASE}/dataSets")
    async def datasets(self, request: web.Request) -> web.Response:
        """List datasets: an object by id."""
        chosen = [dataset for dataset in self._context.store.all("dataset") if _wanted(dataset, request)]
        direction, _, field = request.query.get("orderBy", "desc:created").partition(":")
        if direction not in ("asc", "desc") or not field:
            raise problems.bad_request("orderBy must be asc:<field> or desc:<field>")
        chosen = ordered(chosen, (field, direction == "desc"))
        limit, start = _bounds(request)
        properties = request.query.get("properties")
        page = chosen[start : start + limit]
        return answer({dataset["id"]: _shown(dataset, properties) for dataset in page})

    @route("GET", f"{BASE}/dataSets/{{id}}")
    async def dataset(self, request: web.Request) -> web.Response:
        """Return one dataset: an object with its id as the only key."""
        dataset = self._find(request)
        headers = {"ETag": _etag(dataset)}
        return answer({dataset["id"]: _shown(dataset, request.query.get("properties"))}, headers=headers)

    @route("PATCH", f"{BASE}/dataSets/{{id}}")
    async def patch(self, request: web.Request) -> web.Response:
        """Change a dataset by fields, or by JSON Patch if the content type is that of a patch."""
        dataset = self._find(request)
        body = await self.json_body(request)
        if request.content_type == "application/json-patch+json":
            try:
                changed = apply_patch(dataset, body)
            except PatchProblem as problem:
                raise problems.bad_request(str(problem)) from problem
        elif isinstance(body, dict):
            changed = {**dataset, **body}
        else:
            raise problems.bad_request("The body must be an object")
        return self._save(request, dataset, changed)

    @route("PATCH", f"{BASE}/v2/dataSets/{{id}}")
    async def merge(self, request: web.Request) -> web.Response:
        """Change a dataset by deep merge."""
        dataset = self._find(request)
        return self._save(request, dataset, _merged(dataset, await self.json_object(request)))

    @route("GET", f"{BASE}/ttl/{{id}}")
    async def expiry(self, request: web.Request) -> web.Response:
        """Return a dataset's expiry and its bounds."""
        dataset = self._find(request)
        bounds = {"defaultValue": "P30D", "maxValue": "P10Y", "minValue": "P30D"}
        chosen = dataset.get("extensions") or {}
        stores = ("adobe_lakeHouse", "adobe_unifiedProfile")
        expiry = {name: {**bounds, **(chosen.get(name) or {}).get("rowExpiration", {})} for name in stores}
        return answer({"extensions": {name: {"rowExpiration": bound} for name, bound in expiry.items()}})

    @route("DELETE", f"{BASE}/dataSets/{{id}}")
    async def delete(self, request: web.Request) -> web.Response:
        """Delete a dataset without dataflows, and its rows; an unknown id deletes nothing.

        The fate of its batches is not documented. A reverted batch was observed to stay readable as
        ``inactive``; here, all batches do.
        """
        store = self._context.store
        key = request.match_info["id"]
        targets = {
            target["id"] for target in store.all("targetConnections") if target["params"]["dataSetId"] == key
        }
        if any(targets.intersection(flow["targetConnectionIds"]) for flow in store.all("flows")):
            raise problems.bad_request(f"The dataset {key} is the target of a dataflow")
        with store.transaction():
            if not store.delete("dataset", key):
                return answer([])
            dropped = [batch_id for batch_id in store.batch_ids(key) if deactivate(store, batch_id)]
        for batch_id in dropped:
            remove_files(store.lake, batch_id)
        return answer([f"@/dataSets/{key}"])

    @route("GET", f"{BASE}/batches")
    async def batches(self, request: web.Request) -> web.Response:
        """List batches: an object by id."""
        query = request.query
        direction, _, field = query.get("orderBy", "desc:created").partition(":")
        if direction not in ("asc", "desc") or field != "created":
            raise problems.bad_request("orderBy must be asc:created or desc:created")
        chosen = BatchFilter(
            dataset_id=query.get("dataSet"),
            status=query.get("status"),
            external_id=query.get("externalId"),
            created_after=_moment(query.get("createdAfter")),
            created_before=_moment(query.get("createdBefore")),
            ascending=direction == "asc",
        )
        limit, start = _bounds(request)
        found = self._context.store.batches(chosen, limit, start)
        return answer({key: _shown(document, query.get("properties")) for key, document in found.items()})

    @route("GET", f"{BASE}/batches/{{id}}")
    async def batch(self, request: web.Request) -> web.Response:
        """Return one batch: an object with its id as the only key."""
        batch_id, batch = batch_of(self._context.store, request)
        return answer({batch_id: batch})

    def _find(self, request: web.Request) -> Json:
        key = request.match_info["id"]
        found = self._context.store.get("dataset", key)
        if found is None:
            raise problems.not_found(f"dataset {key}")
        return found

    def _save(self, request: web.Request, before: Json, after: Json) -> web.Response:
        if request.headers.get("If-Match", _etag(before)) != _etag(before):
            raise problems.generic(412, "PreconditionFailed", "The dataset has changed since it was read")
        changed = [key for key in _KEPT_BY_CATALOG if before.get(key) != after.get(key)]
        if changed:
            raise problems.bad_request(f"{', '.join(changed)} cannot be changed")
        self._check(after)
        major, minor, patch = before["version"].split(".")
        after = {**after, "version": f"{major}.{minor}.{int(patch) + 1}", "updated": now_ms()}
        if request.headers.get("Pragma") != "validate-only":
            self._note_profile(before, after)
            self._context.store.put("dataset", after["id"], after)
        return answer([f"@/dataSets/{after['id']}"])

    def _note_profile(self, before: Json, after: Json) -> None:
        """Record when a dataset starts to feed Profile, which ingests only what lands afterwards.

        A new dataset gets the sandbox's expiry.
        """
        if not has_tag(after, "unifiedProfile") or has_tag(before, "unifiedProfile"):
            return
        self._context.store.put("profile_enabled", after["id"], {"at": now_ms()})
        if days := self._context.options.profile_days:
            extensions = after.setdefault("extensions", {})
            expiry = {"rowExpiration": {"ttlValue": f"P{days}D"}}
            extensions["adobe_unifiedProfile"] = {**expiry, **extensions.get("adobe_unifiedProfile", {})}

    def _check(self, dataset: Json) -> None:
        name = dataset.get("name")
        if not isinstance(name, str) or not name.strip():
            raise problems.bad_request("name is required")
        reference = dataset.get("schemaRef")
        if not isinstance(reference, dict) or not isinstance(reference.get("id"), str):
            raise problems.bad_request("schemaRef.id is required")
        if not SCHEMA_CONTENT_TYPE.fullmatch(str(reference.get("contentType", ""))):
            raise problems.bad_request("schemaRef.contentType must be a schema media type with version=1")
        schema = self._context.store.get("schemas", reference["id"])
        if schema is None:
            raise problems.bad_request(f"The schema {reference['id']} was not found")
        tags = dataset.get("tags")
        if not isinstance(tags, dict) or not all(isinstance(value, list) for value in tags.values()):
            raise problems.bad_request("tags must be an object of arrays")
        if has_tag(dataset, "unifiedProfile") and not is_in_union(schema):
            raise problems.bad_request("A dataset for Profile needs a schema with the union tag")
        for name, extension in (dataset.get("extensions") or {}).items():
            expiry = (extension.get("rowExpiration") or {}).get("ttlValue")
            span = duration(expiry)
            if expiry is not None and (span is None or not _LEAST_EXPIRY <= span <= _MOST_EXPIRY):
                raise problems.bad_request(f"{name}: an expiry is from P30D to P10Y, not {expiry}")


def _etag(dataset: Json) -> str:
    return f'"{dataset["id"]}:{dataset["version"]}"'


def _shown(document: Json, properties: str | None) -> Json:
    names = properties.split(",") if properties else [name for name in document if name != "id"]
    return {name: document[name] for name in names if name in document}


def _merged(old: Json, new: Json) -> Json:
    merged = dict(old)
    for key, value in new.items():
        both = isinstance(value, dict) and isinstance(old.get(key), dict)
        merged[key] = _merged(old[key], value) if both else value
    return merged


def _bounds(request: web.Request) -> tuple[int, int]:
    limit = whole_number(request.query.get("limit", "20"))
    start = whole_number(request.query.get("start", "0"))
    if limit is None or not 1 <= limit <= 100:
        raise problems.bad_request("limit must be a number from 1 to 100")
    if start is None:
        raise problems.bad_request("start must be a number")
    return limit, start


def _moment(text: str | None) -> int | None:
    if text is None:
        return None
    moment = whole_number(text)
    if moment is None:
        raise problems.bad_request("Times are Unix milliseconds")
    return moment


def _wanted(dataset: Json, request: web.Request) -> bool:
    if "name" in request.query and dataset["name"] != request.query["name"]:
        return False
    for part in filter(None, request.query.get("tags", "").split(",")):
        key, _, wanted = part.rpartition(":") if part.endswith(":*") else part.partition(":")
        values: list[Any] = dataset["tags"].get(key, [])
        if not values or (wanted != "*" and wanted not in values):
            return False
    return all(_property_matches(dataset, text) for text in request.query.getall("property", []))


def _property_matches(dataset: Json, text: str) -> bool:
    match = re.fullmatch(r"(?P<path>[^=~]+?)(?P<op>==|=|~)(?P<value>.*)", text)
    if match is None:
        raise problems.bad_request(f"Invalid property filter {text}")
    found = [str(value) for value in values_at(dataset, match["path"])]
    if match["op"] != "~":
        return match["value"] in found
    try:
        pattern = compile_pattern(match["value"])
    except WrongPattern as error:
        raise problems.bad_request(f"Invalid pattern in {text}: {error}") from error
    return any(pattern.search(value) for value in found)
