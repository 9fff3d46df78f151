"""The streaming endpoint: single messages and batches, acknowledged once they are on disk.

Source: "Streaming ingestion API", "Send multiple messages in a single HTTP request", "HTTP API source".
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from ..catalog.routes import same_schema
from ..faults.answers import apply_after, apply_before, inlet_unknown, refusal_of
from ..faults.plan import BEFORE, Limit, Trial
from ..flow_service.routes import flow_of_inlet, settled_flow
from ..registry import xdm
from ..registry.routes import composed_schema
from ..server import errors as problems
from ..server.service import Context, Service, answer, is_deep, now_ms, read_body, route
from ..store import Json, Message, Note, Store

LARGEST_BODY = 1_000_000
VALIDATED_PER_MINUTE = 60
"""Requests with ``syncValidation``, for each inlet."""
FLOW_HEADER = "x-adobe-flow-id"
HEADER_MANDATORY = "The 'header' field is mandatory. Provide a valid 'header' value and try again."
Handle = Callable[[web.Request, Trial], Awaitable[web.Response]]
_MEMBERS_OF_HEADER = ("schemaRef", "flowId", "datasetId")


class MessageProblem(ValueError):
    """An error for a single message that the endpoint does not accept."""


@dataclass(frozen=True)
class Inlet:
    """An existing inlet, and the dataflow that a request for raw records names, if any."""

    id: str
    flow: Json | None


class Inbox:
    """A thread that writes accepted messages durably and wakes the lake."""

    def __init__(self, store: Store, arrived: Callable[[], None], *, keeps_log: bool = False) -> None:
        self._store = store
        self._keeps_log = keeps_log
        self._arrived = arrived
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inbox")

    async def accept(self, messages: list[Message], note: Note) -> None:
        """Return when the messages are on disk."""
        if messages or self._keeps_log:
            kept = note if self._keeps_log else None
            await asyncio.get_running_loop().run_in_executor(self._thread, self._store.accept, messages, kept)
        if messages:
            self._arrived()

    def close(self) -> None:
        """Finish pending writes."""
        self._thread.shutdown()
        self._store.close()


class Ingestion(Service):
    """``/collection/{inlet}`` and ``/collection/batch/{inlet}``."""

    def __init__(self, context: Context, inbox: Inbox) -> None:
        super().__init__(context)
        self._inbox = inbox
        self._requests = Limit(context.options.requests_per_second)
        self._messages = Limit(context.options.messages_per_second)
        self._validated: dict[str, Limit] = {}

    @route("POST", "/collection/{inlet}")
    async def single(self, request: web.Request) -> web.StreamResponse:
        """Accept one message; the dataflow of a raw record is named by a header or a query parameter."""
        return await self._try(request, self._single)

    @route("POST", "/collection/batch/{inlet}")
    async def batch(self, request: web.Request) -> web.StreamResponse:
        """Accept several messages and answer 207 with one element for each, in their order."""
        return await self._try(request, self._batch)

    async def _try(self, request: web.Request, handle: Handle) -> web.StreamResponse:
        """Handle a request, unless a limit or an injected fault prevents it."""
        if not self._requests.takes(1):
            raise _too_many("requests")
        trial = self._context.faults.trial()
        if trial.fault in BEFORE and trial.rule is not None and trial.rule.share is None:
            await self._inbox.accept([], Note(trial.fault, 0, []))
        response = await apply_before(request, trial)
        if response is not None:
            return response
        return await apply_after(request, trial, await handle(request, trial))

    async def _single(self, request: web.Request, trial: Trial) -> web.Response:
        body = await self._body(request)
        named = request.headers.get(FLOW_HEADER) or request.query.get(FLOW_HEADER)
        inlet = self._inlet(request, named)
        received = now_ms()
        xaction_id = _transaction(received)
        if not isinstance(body, dict):
            raise self._invalid(inlet.id, "Message has unknown xdm format")
        try:
            message = self._message(inlet, body, received, xaction_id)
        except MessageProblem as problem:
            raise self._invalid(inlet.id, str(problem)) from problem
        await self._check_whole(trial, inlet.id, [body])
        outcome: Json = {"skipped": True}
        if request.query.get("syncValidation") == "true":
            self._limit_validation(inlet.id)
            if message.form == "xdm":
                self._validate_now(inlet.id, body)
                outcome = {"status": "pass"}
        is_dropped = trial.fault == "dropped" and trial.picks(body)
        kept = [] if is_dropped else [message]
        await self._inbox.accept(kept, Note(trial.fault, 1, [trial.name_of(body) for _ in kept]))
        return answer(
            {
                "inletId": inlet.id,
                "xactionId": xaction_id,
                "flowId": message.flow_id,
                "receivedTimeMs": received,
                "syncValidation": outcome,
            }
        )

    async def _batch(self, request: web.Request, trial: Trial) -> web.Response:
        body = await self._body(request)
        inlet = self._inlet(request, request.headers.get(FLOW_HEADER))
        messages = body.get("messages") if isinstance(body, dict) else None
        if not isinstance(messages, list) or not messages:
            raise self._invalid(inlet.id, "The body must hold a non-empty array named messages")
        await self._check_whole(trial, inlet.id, messages)
        received = now_ms()
        batch_id = _transaction(received)
        names: list[str] = []
        accepted: list[Message] = []
        responses: list[Json] = []
        for index, content in enumerate(messages):
            xaction_id = f"{batch_id}:{index}"
            is_picked = trial.picks(content)
            if trial.fault == "partial" and is_picked:
                responses.append(trial.element(batch_id, index))
                continue
            try:
                message = self._message(inlet, content, received, xaction_id)
            except MessageProblem as problem:
                responses.append({"status": 400, "xactionId": f"{batch_id}-{index}", "message": str(problem)})
                continue
            responses.append({"xactionId": xaction_id})
            if not (trial.fault == "dropped" and is_picked):
                accepted.append(message)
                names.append(trial.name_of(content))
        await self._inbox.accept(accepted, Note(trial.fault, len(messages), names))
        head = {"inletId": inlet.id, "batchId": batch_id, "receivedTimeMs": received}
        return answer({**head, "responses": trial.altered(responses)}, 207)

    async def _check_whole(self, trial: Trial, inlet_id: str, messages: list[Any]) -> None:
        """Refuse a whole request that exceeds the limit, or by an injected fault."""
        if not self._messages.takes(len(messages)):
            raise _too_many("messages")
        if trial.rule is not None and trial.refuses(messages):
            await self._inbox.accept([], Note(trial.fault, len(messages), []))
            raise refusal_of(trial.rule, inlet_id)

    async def _body(self, request: web.Request) -> Any:
        if request.content_type != "application/json" or "Content-Encoding" in request.headers:
            raise problems.content_type()
        try:
            text = await read_body(request, self._context.options.body_seconds, LARGEST_BODY)
        except problems.ApiError as refusal:
            raise (_too_large() if refusal.status == 413 else refusal) from refusal
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as error:
            message = f"inletId: [{request.match_info['inlet']}] The body is not valid JSON: {error}"
            raise problems.collection(400, message, title="Invalid JSON") from error

    def _inlet(self, request: web.Request, flow_id: str | None) -> Inlet:
        """Return the inlet of the path; a named dataflow must be enabled and belong to it."""
        inlet_id = request.match_info["inlet"]
        owner = flow_of_inlet(self._context, inlet_id)
        if owner is None:
            raise inlet_unknown(inlet_id, secrets.token_hex(16))
        if flow_id is None:
            return Inlet(inlet_id, None)
        if flow_id != owner["id"]:
            raise problems.collection(
                400, f"inletId: [{inlet_id}] Unknown flow id [{flow_id}]", title="Unknown flow id"
            )
        self._check_enabled(inlet_id, owner)
        return Inlet(inlet_id, owner)

    def _check_enabled(self, inlet_id: str, flow: Json) -> None:
        if flow["state"] != "enabled":
            raise problems.collection(
                400,
                f"inletId: [{inlet_id}] The flow [{flow['id']}] is {flow['state']}",
                title="Flow not enabled",
            )

    def _message(self, inlet: Inlet, body: Any, received: int, xaction_id: str) -> Message:
        if not isinstance(body, dict):
            raise MessageProblem(f"inletId: [{inlet.id}] Message has unknown xdm format")
        if is_deep(body):
            raise MessageProblem(f"inletId: [{inlet.id}] Message is nested too deeply")
        if "header" in body and "body" in body:
            flow_id = self._flow_of_envelope(inlet, body)
            return Message(flow_id, "xdm", received, xaction_id, orjson.dumps(body))
        if inlet.flow is None:
            raise MessageProblem(HEADER_MANDATORY)
        return Message(inlet.flow["id"], "raw", received, xaction_id, orjson.dumps(body))

    def _flow_of_envelope(self, inlet: Inlet, body: Json) -> str:
        """Return the dataflow that an XDM envelope names, after the endpoint's checks."""
        account = self._context.account
        header, content = body["header"], body["body"]
        where = f"inletId: [{inlet.id}] imsOrgId: [{account.org_id}]"
        unknown_format = MessageProblem(f"{where} Message has unknown xdm format")
        if not isinstance(header, dict) or not isinstance(content, dict):
            raise unknown_format
        if header.get("imsOrgId", account.org_id) != account.org_id:
            raise MessageProblem(
                f"inletId: [{inlet.id}] imsOrgId: [{header['imsOrgId']}]"
                " Message has an absent or wrong ims org in the header"
            )
        meta, entity = content.get("xdmMeta"), content.get("xdmEntity")
        references = [header.get("schemaRef"), meta.get("schemaRef") if isinstance(meta, dict) else None]
        if any(not isinstance(reference, dict) for reference in references) or not isinstance(entity, dict):
            raise unknown_format
        if any(not isinstance(header.get(name), str) for name in _MEMBERS_OF_HEADER[1:]):
            raise MessageProblem(HEADER_MANDATORY)
        flow = settled_flow(self._context, header["flowId"])
        owner = flow_of_inlet(self._context, inlet.id)
        if flow is None or owner is None or flow["id"] != owner["id"] or flow["state"] != "enabled":
            raise MessageProblem(f"{where} Unknown flow id [{header['flowId']}]")
        target = self._context.store.get("targetConnections", flow["targetConnectionIds"][0])
        dataset = self._context.store.get("dataset", header["datasetId"])
        if dataset is None or target is None or target["params"]["dataSetId"] != header["datasetId"]:
            raise MessageProblem(f"{where} Message has an unknown dataset [{header['datasetId']}]")
        if not all(same_schema(dict(reference or {}), dataset["schemaRef"]) for reference in references):
            raise unknown_format
        return str(flow["id"])

    def _limit_validation(self, inlet_id: str) -> None:
        limit = self._validated.setdefault(inlet_id, Limit(VALIDATED_PER_MINUTE / 60, VALIDATED_PER_MINUTE))
        if not limit.takes(1):
            raise _too_many("requests with syncValidation")

    def _validate_now(self, inlet_id: str, body: Json) -> None:
        schema = composed_schema(self._context, body["header"]["schemaRef"]["id"])
        if schema is None:
            raise self._invalid(inlet_id, "Message has unknown xdm format")
        found = xdm.Validator(schema).violations(body["body"]["xdmEntity"])
        if found:
            summary = {
                "schemaLocation": "#",
                "pointerToViolation": "#",
                "message": f"{len(found)} schema violations found",
                "causingExceptions": found,
            }
            raise self._invalid(inlet_id, "Message is invalid", {"_streamingValidation": [summary]})

    def _invalid(self, inlet_id: str, message: str, cause: Json | None = None) -> problems.ApiError:
        where = f"inletId: [{inlet_id}] imsOrgId: [{self._context.account.org_id}] "
        if message.startswith("inletId: ["):
            where = ""
        return problems.collection(400, f"{where}{message}", cause=cause)


def _too_large() -> problems.ApiError:
    return problems.collection(
        413, f"The body is larger than {LARGEST_BODY} bytes", title="Request entity too large"
    )


def _too_many(what: str) -> problems.ApiError:
    return problems.collection(429, f"Too many {what}", title="Too many requests")


def _transaction(received: int) -> str:
    return f"{received}:{secrets.randbelow(10_000)}:{secrets.randbelow(100)}"
