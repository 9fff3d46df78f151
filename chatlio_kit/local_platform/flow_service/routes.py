"""Flow Service: source and target connections, dataflows with their inlets, and runs.

Source: Flow Service API guide.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import uuid
from collections.abc import Callable
from urllib.parse import urlencode

import orjson
from aiohttp import web
from multidict import MultiDict

from ..server import errors as problems
from ..server.filters import ordered, parse_filter
from ..server.json_patch import PatchProblem, apply_patch
from ..server.service import Context, Service, answer, now_ms, route, whole_number
from ..store import Json
from .specs import CONNECTION_SPECS, FLOW_SPECS
from .validation import (
    bad,
    check_flow,
    check_source_connection,
    check_target_connection,
    check_transformations,
    missing,
)

BASE = "/data/foundation/flowservice"
KINDS = "{plural:sourceConnections|targetConnections|flows}"
DEFAULT_LIMIT = 100
BUSY_STATES = ("initializing", "enabling")

_CHECKS: dict[str, Callable[[Context, Json], None]] = {
    "sourceConnections": check_source_connection,
    "targetConnections": check_target_connection,
    "flows": check_flow,
}
_PATCHABLE = {
    "sourceConnections": ("name", "description", "labels"),
    "targetConnections": ("name", "description", "labels"),
    "flows": ("name", "description", "labels", "transformations"),
}
_PATCH_CODES = {"body": "1405-400", "op": "1434-400", "path": "1455-400"}


def settled_flow(context: Context, flow_id: str) -> Json | None:
    """Return a dataflow in its current state: after a delay, it is enabled and has its inlet."""
    flow = context.store.get("flows", flow_id)
    return None if flow is None else _settled(context, flow)


def flow_of_inlet(context: Context, inlet_id: str) -> Json | None:
    """Return the dataflow of a provisioned inlet; it may be disabled."""
    inlet = context.store.get("inlet", inlet_id)
    flow = settled_flow(context, inlet["flowId"]) if inlet else None
    return flow if flow and "options" in flow else None


def _settled(context: Context, flow: Json) -> Json:
    if flow["state"] not in BUSY_STATES:
        return flow
    ready = flow["lastOperation"]["started"] + round(context.options.enabling_delay * 1000)
    if now_ms() < ready:
        return flow
    inlet_id = context.store.get("inlet_of_flow", flow["id"])
    if inlet_id is None:
        raise LookupError(f"the dataflow {flow['id']} has no inlet")
    enabled = {**flow, "state": "enabled", "options": {"inletUrl": f"/collection/{inlet_id['inletId']}"}}
    enabled["lastOperation"] = {**flow["lastOperation"], "updated": ready}
    return _keep(context, "flows", enabled, ready)


def _keep(context: Context, plural: str, document: Json, moment: int) -> Json:
    """Store a changed document under a new etag."""
    etag = f'"{secrets.token_hex(4)}-0000-0200-0000-{moment // 1000:08x}0000"'
    kept = {**document, "version": etag, "etag": etag, "updatedAt": moment}
    context.store.put(plural, kept["id"], kept)
    return kept


class FlowService(Service):
    """Connections, dataflows and runs."""

    @route("GET", f"{BASE}/connectionSpecs")
    async def connection_specs(self, request: web.Request) -> web.Response:
        """List connection specs."""
        return answer(self._listed(request, "connectionSpecs", list(CONNECTION_SPECS.values())))

    @route("GET", f"{BASE}/flowSpecs")
    async def flow_specs(self, request: web.Request) -> web.Response:
        """List flow specs."""
        return answer(self._listed(request, "flowSpecs", list(FLOW_SPECS.values())))

    @route("GET", f"{BASE}/connectionSpecs/{{id}}")
    async def connection_spec(self, request: web.Request) -> web.Response:
        """Return one connection spec."""
        return answer({"items": [_spec(CONNECTION_SPECS, "connectionSpecs", request)]})

    @route("GET", f"{BASE}/flowSpecs/{{id}}")
    async def flow_spec(self, request: web.Request) -> web.Response:
        """Return one flow spec."""
        return answer({"items": [_spec(FLOW_SPECS, "flowSpecs", request)]})

    @route("GET", f"{BASE}/runs")
    async def runs(self, request: web.Request) -> web.Response:
        """List runs."""
        return answer(self._listed(request, "runs", self._context.store.runs()))

    @route("GET", f"{BASE}/runs/{{id}}")
    async def run(self, request: web.Request) -> web.Response:
        """Return one run."""
        key = request.match_info["id"]
        for run in self._context.store.runs():
            if run["id"] == key:
                return answer({"items": [run]})
        raise missing("runs", key)

    @route("POST", f"{BASE}/{KINDS}")
    async def create(self, request: web.Request) -> web.Response:
        """Create a connection or a dataflow; a dataflow is enabled after a delay."""
        plural = request.match_info["plural"]
        if not request.body_exists:
            raise bad("1405-400", "The body is empty")
        if "mode" in request.query:
            raise bad("1368-400", "mode is not supported for this flow spec")
        body = await self.json_object(request)
        if not body:
            raise bad("1405-400", "The body is empty")
        _CHECKS[plural](self._context, body)
        moment = now_ms()
        document = {**body, "id": str(uuid.uuid4()), **self._context.audit(moment)}
        with self._context.store.transaction():
            if plural == "flows":
                document.update(self._new_flow(document, moment))
            else:
                document["state"] = "enabled"
            kept = _keep(self._context, plural, document, moment)
        location = f"{BASE}/{plural}/{kept['id']}"
        return answer({"id": kept["id"], "etag": kept["etag"]}, 201, {"Location": location})

    @route("GET", f"{BASE}/{KINDS}")
    async def documents(self, request: web.Request) -> web.Response:
        """List connections or dataflows."""
        plural = request.match_info["plural"]
        return answer(
            self._listed(request, plural, [self._shown(document, request) for document in self._all(plural)])
        )

    @route("GET", f"{BASE}/{KINDS}/{{id}}")
    async def document(self, request: web.Request) -> web.Response:
        """Return one connection or dataflow, in a list of one."""
        return answer({"items": [self._shown(self._find(request), request)]})

    @route("PATCH", f"{BASE}/{KINDS}/{{id}}")
    async def patch(self, request: web.Request) -> web.Response:
        """Change a connection or dataflow; the etag of the last read is mandatory."""
        plural = request.match_info["plural"]
        current = self._find(request)
        expected = request.headers.get("If-Match")
        if not expected:
            raise problems.flow_service("1403-400", "Header is missing", "The If-Match header is missing.")
        if expected != current["etag"]:
            raise problems.flow_service(
                "1404-412", "Version not matching", f"The version is {current['etag']}, not {expected}."
            )
        if current["state"] in BUSY_STATES:
            raise bad("1416-400", f"The operation is not allowed in the state {current['state']}")
        if not request.body_exists:
            raise bad("1405-400", "The body is empty")
        patch = await self.json_body(request)
        try:
            changed = apply_patch(current, patch)
        except PatchProblem as problem:
            raise bad(_PATCH_CODES[problem.kind], str(problem)) from problem
        if changed.get("connectionSpec") != current.get("connectionSpec"):
            raise bad("1414-400", "The connection spec cannot be changed")
        touched = {operation["path"].split("/")[1] for operation in patch}
        refused = touched.difference(_PATCHABLE[plural])
        if refused:
            raise bad("1455-400", f"Nothing can be changed at /{min(refused)}")
        if plural == "flows":
            target = self._context.store.get("targetConnections", changed["targetConnectionIds"][0])
            if target is None:
                raise missing("targetConnections", changed["targetConnectionIds"][0])
            check_transformations(self._context, changed.get("transformations"), target)
        kept = _keep(self._context, plural, changed, now_ms())
        return answer({"id": kept["id"], "etag": kept["etag"]})

    @route("DELETE", f"{BASE}/{KINDS}/{{id}}")
    async def delete(self, request: web.Request) -> web.Response:
        """Delete a dataflow, or a connection that no dataflow uses."""
        plural = request.match_info["plural"]
        found = self._find(request)
        store = self._context.store
        if plural != "flows":
            ids = f"{plural.removesuffix('s')}Ids"
            users = [flow["id"] for flow in store.all("flows") if found["id"] in flow[ids]]
            if users:
                raise bad("1447-400", f"Active dataflows refer to {found['id']}: {', '.join(users)}")
        with store.transaction():
            store.delete(plural, found["id"])
            if plural == "flows":
                store.put("deleted_flow", found["id"], self._with_dataset(found))
        return web.Response(status=204)

    @route("POST", f"{BASE}/flows/{{id}}/action")
    async def action(self, request: web.Request) -> web.Response:
        """Enable or disable a dataflow."""
        key = request.match_info["id"]
        flow = settled_flow(self._context, key)
        if flow is None:
            raise missing("flows", key)
        operation = request.query.get("op", "").lower()
        if operation not in ("enable", "disable"):
            raise bad("1402-400", f"The operation {operation or '(none)'} is not allowed")
        if flow["state"] in BUSY_STATES:
            raise bad("1422-400", f"The dataflow is {flow['state']}")
        if flow["state"] == f"{operation}d":
            raise bad("1420-400" if operation == "enable" else "1421-400", f"The dataflow is {flow['state']}")
        moment = now_ms()
        state = "enabling" if operation == "enable" else "disabled"
        changed = {**flow, "state": state, "lastOperation": _operation(operation, moment)}
        kept = _keep(self._context, "flows", changed, moment)
        return answer({"id": kept["id"], "etag": kept["etag"]})

    def _listed(self, request: web.Request, plural: str, documents: list[Json]) -> Json:
        return listed(request, plural, documents, self._context.options.largest_page)

    def _all(self, plural: str) -> list[Json]:
        found = self._context.store.all(plural)
        return [_settled(self._context, flow) for flow in found] if plural == "flows" else found

    def _find(self, request: web.Request) -> Json:
        plural, key = request.match_info["plural"], request.match_info["id"]
        found = self._context.store.get(plural, key)
        if found is None:
            raise missing(plural, key)
        return _settled(self._context, found) if plural == "flows" else found

    def _shown(self, document: Json, request: web.Request) -> Json:
        """Return a document with the inlet's URL on the request's host: ports differ between starts."""
        if "options" not in document:
            return document
        url = f"{request.scheme}://{request.host}{document['options']['inletUrl']}"
        return {**document, "options": {**document["options"], "inletUrl": url}}

    def _new_flow(self, body: Json, moment: int) -> Json:
        inlet_id = secrets.token_hex(32)
        flow_id = body["id"]
        store = self._context.store
        store.put("inlet", inlet_id, {"flowId": flow_id})
        store.put("inlet_of_flow", flow_id, {"inletId": inlet_id})
        inherited: Json = {"properties": {"isSourceFlow": True}}
        for plural in ("sourceConnections", "targetConnections"):
            key = body[f"{plural.removesuffix('s')}Ids"][0]
            connection = store.get(plural, key) or {}
            inherited[plural] = [{"id": key, "connectionSpec": connection.get("connectionSpec")}]
        return {
            "state": "initializing",
            "inheritedAttributes": inherited,
            "runs": f"/runs?property=flowId=={flow_id}",
            "providerRefId": str(uuid.uuid4()),
            "lastOperation": _operation("enable", moment),
        }

    def _with_dataset(self, flow: Json) -> Json:
        """Return a deleted dataflow with its dataset's id: messages accepted earlier still land there."""
        target = self._context.store.get("targetConnections", flow["targetConnectionIds"][0])
        return {**flow, "dataSetId": target["params"]["dataSetId"] if target else None}


def _operation(name: str, moment: int) -> Json:
    return {"started": moment, "updated": moment, "operation": name}


def _spec(specs: dict[str, Json], plural: str, request: web.Request) -> Json:
    key = request.match_info["id"]
    if key not in specs:
        raise missing(plural, key)
    return specs[key]


def listed(request: web.Request, plural: str, documents: list[Json], largest: int) -> Json:
    """Return a list call's answer: at most ``largest`` ``items`` with ``_links``, or a ``count``."""
    query, offset = _query(request)
    counting = query.get("count", "").lower() == "true"
    if counting and "limit" in query:
        raise bad("1401-400", "limit cannot be used together with count")
    for text in query.getall("property", []):
        documents = _filtered(documents, text)
    if counting:
        return {"count": len(documents)}
    documents = _ordered(documents, query.get("orderby"))
    text = query.get("limit", str(DEFAULT_LIMIT))
    limit = whole_number(text)
    if not limit:
        raise bad("1448-400", f"limit must be a positive number, not {text}")
    end = offset + min(limit, largest)
    links: Json = {}
    if end < len(documents):
        token = base64.urlsafe_b64encode(orjson.dumps({"offset": end, "query": list(query.items())})).decode()
        links = {"next": {"href": f"/{plural}?{urlencode({'continuationToken': token})}"}}
    return {"items": documents[offset:end], "_links": links}


def _query(request: web.Request) -> tuple[MultiDict[str], int]:
    """Return the query and the start of the page; a continuation token holds both."""
    token = request.query.get("continuationToken")
    if token is None:
        return MultiDict(request.query), 0
    try:
        content = orjson.loads(base64.urlsafe_b64decode(token.encode()))
        query = MultiDict([(str(key), str(value)) for key, value in content["query"]])
        offset = whole_number(str(content["offset"]))
    except (binascii.Error, orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise bad("1449-400", "The continuationToken is not valid") from error
    if offset is None:
        raise bad("1449-400", "The continuationToken is not valid")
    return query, offset


def _filtered(documents: list[Json], text: str) -> list[Json]:
    wanted = parse_filter(text)
    if wanted is None or wanted.operator in (None, "!="):
        raise bad("1448-400", f"Invalid filter expression {text}")
    if wanted.operator == "~":
        raise bad("1440-400", "The operator ~ is not implemented")
    if wanted.operator != "==" and "," in wanted.value:
        raise bad("1443-400", f"The operator {wanted.operator} takes a single value")
    return [document for document in documents if wanted.matches(document, any_of=True)]


def _ordered(documents: list[Json], order: str | None) -> list[Json]:
    if order is None:
        return documents
    orders: list[tuple[str, bool]] = []
    for text in order.split(","):
        sign, name = text[:1], text.lstrip("+- ")
        if not name or " " in name or len(text) - len(name) > 1:
            raise bad("1432-400", f"Invalid orderby {order}")
        orders.append((name, sign == "-"))
    return ordered(documents, *orders)
