"""Data Prep over HTTP: mapping sets with versions, validation and preview.

Source: Data Prep API guide, "Mapping sets". Error bodies are not documented; problem documents stand in.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict
from datetime import UTC, datetime

from aiohttp import web

from ..catalog.routes import SCHEMA_CONTENT_TYPE
from ..registry.routes import composed_schema
from ..server import errors as problems
from ..server.filters import ordered
from ..server.service import Context, Service, answer, now_ms, route, whole_number
from ..store import Json
from . import mappings as data_prep
from .values import ExpressionError

BASE = "/data/foundation/conversion"
ONE = f"{BASE}/mappingSets/{{id:[0-9a-f]{{32}}}}"


def version_key(mapping_set_id: str, version: int) -> str:
    """Return the store's key of one version of a mapping set."""
    return f"{mapping_set_id}:{version}"


def mapping_set_version(context: Context, mapping_set_id: str, version: int) -> Json | None:
    """Return one version of a mapping set; None if there is none."""
    return context.store.get("mapping_set_version", version_key(mapping_set_id, version))


class DataPrep(Service):
    """Mapping sets of the sandbox."""

    @route("POST", f"{BASE}/mappingSets")
    async def create(self, request: web.Request) -> web.Response:
        """Create a mapping set; refuse it if a mapping does not fit its schema."""
        key = secrets.token_hex(16)
        return answer(self._save(await self.json_object(request), key, 0, now_ms()))

    @route("PUT", ONE)
    async def replace(self, request: web.Request) -> web.Response:
        """Replace a mapping set and raise its version; earlier versions stay readable."""
        current = self._find(request)
        body = await self.json_object(request)
        return answer(self._save(body, current["id"], current["version"] + 1, current["createdDate"]))

    @route("GET", f"{BASE}/mappingSets")
    async def mapping_sets(self, request: web.Request) -> web.Response:
        """List mapping sets; ``limit`` and ``start`` are mandatory."""
        limit = whole_number(request.query.get("limit", ""))
        start = whole_number(request.query.get("start", ""))
        if limit is None or start is None:
            raise problems.bad_request("limit and start are required numbers")
        chosen = self._context.store.all("mapping_set")
        if "name" in request.query:
            chosen = [
                mapping_set for mapping_set in chosen if mapping_set.get("name") == request.query["name"]
            ]
        order = request.query.get("orderBy", "createdDate").strip()
        field = {"createdDate": "createdDate", "updatedDate": "modifiedDate"}.get(order.lstrip("+-"))
        if field is None:
            raise problems.bad_request("orderBy must be createdDate or updatedDate")
        chosen = ordered(chosen, (field, order.startswith("-")))
        page = chosen[start : start + limit]
        return answer({"data": page, "_page": {"count": len(page), "limit": limit}})

    @route("GET", ONE)
    async def mapping_set(self, request: web.Request) -> web.Response:
        """Return one mapping set, in its newest or the requested version."""
        found = self._find(request)
        version = request.query.get("version")
        if version is not None:
            number = whole_number(version)
            chosen = None if number is None else mapping_set_version(self._context, found["id"], number)
            if chosen is None:
                raise problems.not_found(f"version {version} of the mapping set {found['id']}")
            found = chosen
        return answer(found)

    @route("DELETE", ONE)
    async def delete(self, request: web.Request) -> web.Response:
        """Delete a mapping set that no dataflow uses."""
        found = self._find(request)
        for flow in self._context.store.all("flows"):
            if any(
                transformation["params"].get("mappingId") == found["id"]
                for transformation in flow["transformations"]
            ):
                raise problems.bad_request(f"The mapping set is used by the dataflow {flow['id']}")
        self._context.store.delete("mapping_set", found["id"])
        return web.Response(status=204)

    @route("GET", f"{ONE}/mappings")
    async def mappings(self, request: web.Request) -> web.Response:
        """Return the mappings of a set."""
        return answer(self._find(request)["mappings"])

    @route("GET", f"{ONE}/mappings/{{mapping_id}}")
    async def mapping(self, request: web.Request) -> web.Response:
        """Return one mapping of a set."""
        wanted = request.match_info["mapping_id"]
        for mapping in self._find(request)["mappings"]:
            if mapping["id"] == wanted:
                return answer(mapping)
        raise problems.not_found(f"mapping {wanted}")

    @route("POST", f"{BASE}/mappingSets/validate")
    async def validate(self, request: web.Request) -> web.Response:
        """Check each mapping by itself; return one answer for each, in order."""
        body = await self.json_object(request)
        schema = self._schema(_schema_reference(body))
        answers: list[Json] = []
        for mapping in _mappings(body):
            try:
                data_prep.compile_mappings([mapping], schema)
                answers.append({"status": "SUCCESS", "errors": None})
            except data_prep.InvalidMapping as invalid:
                errors = [
                    {**_shown(problem), "sourceType": mapping["sourceType"]} for problem in invalid.problems
                ]
                answers.append({"status": "FAILED", "errors": errors})
        return answer({"validationResponse": answers})

    @route("POST", f"{BASE}/mappingSets/preview")
    async def preview(self, request: web.Request) -> web.Response:
        """Map the given records without storing anything."""
        body = await self.json_object(request)
        records, mapping_set = body.get("data"), body.get("mappingSet")
        if not isinstance(mapping_set, dict) or not isinstance(records, list):
            raise problems.bad_request("data must be an array and mappingSet an object")
        compiled = self._compiled(_mappings(mapping_set), self._schema(_schema_reference(mapping_set)))
        now = datetime.now(UTC)
        rows = []
        for record in records:
            if not isinstance(record, dict):
                raise problems.bad_request("Each element of data must be an object")
            mapped = compiled.apply(record, now=now)
            errors = [_shown(problem) for problem in (*mapped.errors, *mapped.warnings)]
            rows.append({"data": mapped.row, "errors": errors or None})
        return answer(rows)

    @route("POST", f"{BASE}/languages/el/validate")
    async def validate_expression(self, request: web.Request) -> web.Response:
        """Check the syntax of an expression."""
        expression = (await self.json_object(request)).get("expression")
        if not isinstance(expression, str):
            raise problems.bad_request("expression is required")
        error = data_prep.validate_expression(expression)
        status = "failed" if error else "succeeded"
        return answer({"validationStatus": status, "error": error or "none"})

    def _find(self, request: web.Request) -> Json:
        key = request.match_info["id"]
        found = self._context.store.get("mapping_set", key)
        if found is None:
            raise problems.not_found(f"mapping set {key}")
        return found

    def _save(self, body: Json, key: str, version: int, created: int) -> Json:
        reference = _schema_reference(body)
        mappings = _mappings(body)
        self._compiled(mappings, self._schema(reference))
        user, moment = self._context.account.technical_user, now_ms()
        head: Json = {
            "id": key,
            "version": version,
            "createdDate": created,
            "modifiedDate": moment,
            "createdBy": user,
            "modifiedBy": user,
        }
        kept: Json = {
            **{name: body[name] for name in ("name", "description", "inputSchema") if name in body},
            **head,
            "outputSchema": {"schemaRef": reference},
            "mappings": [_read_form(mapping, head) for mapping in mappings],
            "status": "PUBLISHED",
            "strictMapping": False,
            "allowNullValues": False,
        }
        with self._context.store.transaction():
            self._context.store.put("mapping_set", key, kept)
            self._context.store.put("mapping_set_version", version_key(key, version), kept)
        return head

    def _schema(self, reference: Json) -> Json:
        schema = composed_schema(self._context, reference["id"])
        if schema is None:
            raise problems.bad_request(f"The schema {reference['id']} was not found")
        return schema

    def _compiled(self, mappings: list[Json], schema: Json) -> data_prep.CompiledMappings:
        try:
            return data_prep.compile_mappings(mappings, schema)
        except data_prep.InvalidMapping as invalid:
            report = {"validationErrors": [asdict(problem) for problem in invalid.problems]}
            raise problems.generic(400, "Invalid mapping set", str(invalid), report) from invalid


def _shown(problem: data_prep.MappingProblem) -> Json:
    return {
        "destination": problem.destination,
        "exception": problem.message,
        "source": problem.source,
        "columnName": problem.destination,
    }


def _schema_reference(body: Json) -> Json:
    """Return the target schema of a set, from the current or the legacy form of the body."""
    output = body.get("outputSchema")
    reference = output.get("schemaRef") if isinstance(output, dict) else None
    if reference is None and isinstance(body.get("xdmSchema"), str):
        version = str(body.get("xdmVersion", "1.0"))
        reference = {
            "id": body["xdmSchema"],
            "contentType": f"application/vnd.adobe.xed-full+json;version={version}",
        }
    if not isinstance(reference, dict) or not isinstance(reference.get("id"), str):
        raise problems.bad_request("outputSchema.schemaRef.id is required")
    if not SCHEMA_CONTENT_TYPE.fullmatch(str(reference.get("contentType", ""))):
        raise problems.bad_request(
            "outputSchema.schemaRef.contentType must be a schema media type with version=1"
        )
    return reference


def _mappings(body: Json) -> list[Json]:
    """Return the mappings of a set in the current form; accept legacy keys too."""
    listed = body.get("mappings")
    if not isinstance(listed, list) or not listed:
        raise problems.bad_request("mappings must be a non-empty array")
    if not all(isinstance(mapping, dict) for mapping in listed):
        raise problems.bad_request("A mapping must be an object")
    try:
        return [data_prep.current_form(mapping) for mapping in listed]
    except ExpressionError as error:
        raise problems.bad_request(str(error)) from error


def _read_form(mapping: Json, head: Json) -> Json:
    """Return a mapping as reads show it, in both forms."""
    of_attribute = mapping["sourceType"] == "ATTRIBUTE"
    return {
        **head,
        "id": secrets.token_hex(16),
        "sourceType": data_prep.LEGACY_ATTRIBUTE if of_attribute else mapping["sourceType"],
        "source": mapping["source"],
        "destination": mapping["destination"],
        "sourceAttribute": mapping["source"],
        "destinationXdmPath": mapping["destination"],
        "identity": False,
        "primaryIdentity": False,
        "functionVersion": 0,
    }
