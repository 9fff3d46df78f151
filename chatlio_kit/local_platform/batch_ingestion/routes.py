"""The batch ingestion API: create a batch, upload its files, complete it; abort, fail or revert it.

Source: Batch Ingestion API reference and developer guide. Error bodies are not documented, so problem
documents are used. A batch in the wrong state is refused with 428 and ``ERR-BI-104``, as observed live.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from ..catalog.batches import batch_of, update_batch
from ..faults.plan import Limit
from ..lake.files import new_batch_id
from ..registry.routes import composed_schema
from ..server import errors as problems
from ..server.service import Context, Service, answer, now_ms, route, whole_number
from ..store import BatchFilter, Json
from .conversion import TypeCompatibilityException
from .promotion import revert_due
from .reading import UnreadableFile, rows_of
from .uploads import PROCESSED, Uploads, merged

BASE = "/data/foundation/import"
FILE = f"{BASE}/batches/{{id}}/datasets/{{dataset}}/files/{{path:.+}}"
LARGEST_FILE = 256_000_000
LARGEST_CHUNK = 512_000_000
BATCHES_PER_MINUTE = 2_000
FORMATS = ("json", "parquet")
_FIELDS = frozenset(
    {
        "datasetId", "inputFormat", "externalId", "tags", "replay", "enableErrorDiagnostics",
        "partialIngestionPercent",
    }
)  # fmt: skip
_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})")
_COMPLETED = (*PROCESSED, "stalled", "success")


class BatchIngestion(Service):
    """Batches and their files."""

    def __init__(self, context: Context, notify: Callable[[], None]) -> None:
        super().__init__(context)
        self._notify = notify
        self._created = Limit(BATCHES_PER_MINUTE / 60, BATCHES_PER_MINUTE)

    @route("POST", f"{BASE}/batches")
    async def create(self, request: web.Request) -> web.Response:
        """Create a batch for a dataset; it is ``loading`` until it is completed."""
        if not self._created.takes(1):
            raise problems.generic(429, "Too many requests", "Too many batches within a minute")
        body = await self.json_object(request)
        dataset_id, input_format = self._checked(body)
        key, moment, account = new_batch_id(), now_ms(), self._context.account
        batch: Json = {
            "id": key,
            "externalId": self._external_id(body.get("externalId", key)),
            "imsOrg": account.org_id,
            "sandboxId": account.sandbox_id,
            "created": moment,
            "updated": moment,
            "createdClient": account.client_id,
            "createdUser": account.technical_user,
            "updatedUser": account.technical_user,
            "version": "1.0.0",
            "status": "loading",
            "inputFormat": input_format,
            "relatedObjects": [{"type": "dataSet", "id": dataset_id}],
            "tags": {**body.get("tags", {}), **_ingestion_tags(body)},
        }
        if "replay" in body:
            batch["replay"] = {
                "predecessors": self._predecessors(dataset_id, body["replay"]),
                "reason": "replace",
            }
        self._context.store.add_batch(key, dataset_id, batch)
        return answer(batch, 201)

    @route("PUT", FILE)
    async def upload(self, request: web.Request) -> web.Response:
        """Accept a whole file, and replace one with the same path."""
        uploads, path = self._loading(request)
        is_new = uploads.get(path) is None
        # If the batch was completed meanwhile, it keeps its earlier file.
        place, still_loading = uploads.place(path), lambda _: self._loading(request)
        size = await self._receive(request, uploads, place, LARGEST_FILE, still_loading)
        uploads.put(path, size)
        return web.Response(status=201 if is_new else 200)

    @route("PATCH", FILE)
    async def upload_chunk(self, request: web.Request) -> web.Response:
        """Accept a chunk of an initialized large file."""
        uploads, path = self._loading(request)
        self._unfinished(uploads, path)
        span = _RANGE.fullmatch(request.headers.get("Content-Range", ""))
        if span is None or int(span[2]) < int(span[1]):
            raise problems.bad_request("Content-Range must be bytes {first}-{last}")
        chunk = int(span[1]), int(span[2])

        def check(size: int) -> None:
            self._unfinished(*self._loading(request))
            if size != chunk[1] - chunk[0] + 1:
                detail = f"Content-Range does not match the {size} bytes sent"
                raise problems.bad_request(detail)

        await self._receive(request, uploads, uploads.place(path, chunk), LARGEST_CHUNK, check)
        entry = self._unfinished(uploads, path)
        chunks = {(first, last) for first, last in entry["chunks"]} | {chunk}
        uploads.put(path, None, sorted(chunks))
        return web.Response()

    @route("POST", FILE)
    async def act_on_file(self, request: web.Request) -> web.Response:
        """Initialize a large file, or join its chunks."""
        uploads, path = self._loading(request)
        action = request.query.get("action")
        if action == "INITIALIZE":
            uploads.put(path, None)
            return web.Response(status=201)
        if action != "COMPLETE":
            raise problems.bad_request("action must be INITIALIZE or COMPLETE")
        chunks = [(first, last) for first, last in self._unfinished(uploads, path)["chunks"]]
        size = await asyncio.to_thread(uploads.stitch, path, chunks)
        if size is None:
            raise problems.bad_request(f"Chunks of the file {path} overlap or are missing")
        uploads.put(path, size)
        return answer({"name": path, "sizeInBytes": size})

    @route("HEAD", FILE)
    async def received(self, request: web.Request) -> web.Response:
        """Return the range of bytes that was received."""
        uploads, path = self._uploads(request)
        entry = uploads.get(path)
        if entry is None:
            raise problems.not_found(f"file {path}")
        chunks = [(0, entry["size"] - 1)] if entry["size"] else [(a, b) for a, b in entry["chunks"]]
        ranges = ",".join(f"{first}-{last}" for first, last in merged(chunks))
        return web.Response(headers={"Range": f"bytes={ranges}"} if ranges else {})

    @route("GET", f"{BASE}/batches/{{id}}/datasets/{{dataset}}/preview")
    async def preview(self, request: web.Request) -> web.Response:
        """Return the first rows of the upload, with their values by path."""
        batch_id, batch = self._of_dataset(request)
        form = {**batch["inputFormat"], "format": request.query.get("format", "").lower()}
        count = whole_number(request.query.get("nrow", "0"))
        if form["format"] not in FORMATS or count is None:
            raise problems.bad_request("format must be json or parquet, and nrow a number")
        uploads = Uploads(self._context.store, batch_id)
        places = [uploads.place(file["path"]) for file in uploads.all() if file["size"]]
        dataset = self._context.store.get("dataset", request.match_info["dataset"]) or {}
        json_schema = composed_schema(self._context, dataset["schemaRef"]["id"]) if dataset else None
        if json_schema is None:
            raise problems.not_found(f"dataset {request.match_info['dataset']}")
        try:
            rows = await asyncio.to_thread(_first_rows, places, form, json_schema, count)
        except (UnreadableFile, TypeCompatibilityException) as error:
            raise problems.bad_request(str(error)) from error
        cids = {name: str(cid) for cid, name in enumerate(sorted({name for row in rows for name in row}))}
        columns = [{"cid": cid, "name": name} for name, cid in cids.items()]
        shown = [{cids[name]: value for name, value in row.items()} for row in rows]
        return answer({"formatParams": form, "preview": {"columns": columns, "rows": shown}})

    @route("POST", f"{BASE}/batches/{{id}}")
    async def act(self, request: web.Request) -> web.Response:
        """Complete, abort, fail or revert a batch."""
        batch_id, batch = batch_of(self._context.store, request)
        actions = {"COMPLETE": self._complete, "ABORT": self._end, "FAIL": self._end, "REVERT": self._revert}
        action = request.query.get("action", "")
        if action not in actions:
            raise problems.bad_request(f"action must be one of {', '.join(actions)}")
        actions[action](batch_id, batch, action)
        return web.Response()

    def _complete(self, batch_id: str, batch: Json, action: str) -> None:
        if batch["status"] in _COMPLETED or (batch["status"] == "failed" and "started" in batch):
            return
        _require(batch_id, batch, "loading", action)
        unfinished = [
            file["path"] for file in Uploads(self._context.store, batch_id).all() if file["size"] is None
        ]
        if unfinished:
            raise problems.bad_request(f"The file {unfinished[0]} is not complete")
        update_batch(self._context.store, batch_id, status="loaded")
        self._notify()

    def _end(self, batch_id: str, batch: Json, action: str) -> None:
        _require(batch_id, batch, "loading", action)
        status = {"ABORT": "aborted", "FAIL": "failed"}[action]
        update_batch(self._context.store, batch_id, status=status, completed=now_ms())
        Uploads(self._context.store, batch_id).remove()

    def _revert(self, batch_id: str, batch: Json, action: str) -> None:
        _require(batch_id, batch, "success", action)
        if self._context.store.get("revert", batch_id) is None:
            self._context.store.put("revert", batch_id, {"id": batch_id, "asked": now_ms()})
        if self._context.options.processing_delay:
            self._notify()
        else:
            revert_due(self._context)

    def _checked(self, body: Json) -> tuple[str, Json]:
        """Return dataset and format of a new batch."""
        unknown = sorted(body.keys() - _FIELDS)
        if unknown:
            raise problems.bad_request(f"The field {unknown[0]} is not known")
        dataset_id, input_format = body.get("datasetId"), body.get("inputFormat")
        if not isinstance(dataset_id, str) or not isinstance(input_format, dict):
            raise problems.bad_request("datasetId and inputFormat are required")
        if self._context.store.get("dataset", dataset_id) is None:
            raise problems.bad_request(f"The dataset {dataset_id} was not found")
        name = str(input_format.get("format")).lower()
        is_multi_line = input_format.get("isMultiLineJson", False)
        if name == "csv":
            raise problems.bad_request("CSV is for flat schemas; that of the dataset is not flat")
        if name not in FORMATS:
            raise problems.bad_request("inputFormat.format must be JSON, Parquet or CSV")
        if not isinstance(is_multi_line, bool) or (is_multi_line and name != "json"):
            raise problems.bad_request("isMultiLineJson is true or false, and for JSON alone")
        tags = body.get("tags", {})
        if not isinstance(tags, dict) or not all(_are_texts(values) for values in tags.values()):
            raise problems.bad_request("tags must be an object of arrays of strings")
        percent = body.get("partialIngestionPercent", 1)
        if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 < percent <= 100:
            raise problems.bad_request("partialIngestionPercent must be more than 0 and at most 100")
        if not isinstance(body.get("enableErrorDiagnostics", False), bool):
            raise problems.bad_request("enableErrorDiagnostics must be true or false")
        return dataset_id, {**input_format, "format": name}

    def _external_id(self, wanted: Any) -> str:
        """Return the external id of a new batch; refuse one that the organisation has used before."""
        if not isinstance(wanted, str) or not wanted.strip():
            raise problems.bad_request("externalId must be a string")
        if self._context.store.batches(BatchFilter(external_id=wanted), 1, 0):
            raise problems.bad_request(f"A batch with the externalId {wanted} exists already")
        return wanted

    def _predecessors(self, dataset_id: str, replay: Any) -> list[str]:
        """Return the ids of the batches that a new one replaces."""
        if not isinstance(replay, dict) or replay.get("reason") != "replace":
            raise problems.bad_request('replay.reason must be "replace"')
        found: list[str] = []
        for name, is_external in (("predecessors", False), ("predecessorsByExternalId", True)):
            given = replay.get(name, [])
            if not _are_texts(given) or not all(value.startswith("$") for value in given):
                raise problems.bad_request(f"replay.{name} must list ids, each with a $ before it")
            for value in (value[1:] for value in given):
                key = self._by_external_id(value) if is_external else value
                old = self._context.store.batch(key)
                if old is None or old["status"] != "success" or old["relatedObjects"][0]["id"] != dataset_id:
                    raise problems.bad_request(f"{value} is no successful batch of the dataset")
                found.append(key)
        if not found:
            raise problems.bad_request("replay must name the batches to replace")
        return found

    def _by_external_id(self, external_id: str) -> str:
        return next(iter(self._context.store.batches(BatchFilter(external_id=external_id), 1, 0)), "")

    def _of_dataset(self, request: web.Request) -> tuple[str, Json]:
        batch_id, batch = batch_of(self._context.store, request)
        dataset_id = request.match_info["dataset"]
        if batch["relatedObjects"][0]["id"] != dataset_id:
            raise problems.not_found(f"dataset {dataset_id} of the batch {batch_id}")
        return batch_id, batch

    def _uploads(self, request: web.Request) -> tuple[Uploads, str]:
        """Return the batch's files, and the path of the requested one."""
        batch_id, _ = self._of_dataset(request)
        path = request.match_info["path"]
        if any(step.strip() in ("", ".", "..") for step in path.split("/")):
            raise problems.bad_request(f"The path {path!r} has an empty step, or one of dots")
        return Uploads(self._context.store, batch_id), path

    def _loading(self, request: web.Request) -> tuple[Uploads, str]:
        uploads, path = self._uploads(request)
        _require(uploads.batch_id, batch_of(self._context.store, request)[1], "loading", "An upload")
        return uploads, path

    def _unfinished(self, uploads: Uploads, path: str) -> Json:
        entry = uploads.get(path)
        if entry is None or entry["size"] is not None:
            raise problems.not_found(f"file {path} that was initialized and is not complete")
        return entry

    async def _receive(
        self, request: web.Request, uploads: Uploads, place: Path, limit: int, check: Callable[[int], object]
    ) -> int:
        refusal = problems.generic(413, "Request entity too large", f"The body is larger than {limit} bytes")
        refusal.headers["Connection"] = "close"
        if (request.content_length or 0) > limit:
            raise refusal
        size = await uploads.receive(place, self._pieces(request), limit, check)
        if size is None:
            raise refusal
        return size

    async def _pieces(self, request: web.Request) -> AsyncIterator[bytes]:
        """Yield the pieces of a body as they arrive.

        Raises:
            ApiError: Nothing arrives within the time that other calls allow for a whole body.
        """
        seconds = self._context.options.body_seconds
        while True:
            try:
                async with asyncio.timeout(seconds):
                    piece = await request.content.readany()
            except TimeoutError:
                detail = f"Nothing arrived for {seconds:g} seconds"
                raise problems.generic(408, "Request Timeout", detail) from None
            if not piece:
                return
            yield piece


def _first_rows(places: list[Path], form: Json, json_schema: Json, count: int) -> list[Json]:
    rows = (row for place in places for row, _ in rows_of(place, form, json_schema, places[0]))
    return [dict(_values(row)) for row in itertools.islice(rows, count) if row is not None]


def _values(row: Json, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the values of a row as strings, by path."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _values(value, f"{path}{name}/")
        elif value is not None:
            yield f"{path}{name}", value if isinstance(value, str) else orjson.dumps(value).decode()


def _ingestion_tags(body: Json) -> Json:
    """Return the tags under which Catalog shows the handling of errors; their values are not arrays."""
    names = {
        "enableErrorDiagnostics": "acp_enableErrorDiagnostics",
        "partialIngestionPercent": "acp_partialIngestionPercent",
    }
    return {tag: body[name] for name, tag in names.items() if name in body}


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _require(batch_id: str, batch: Json, status: str, action: str) -> None:
    if batch["status"] != status:
        detail = f"The batch {batch_id} is {batch['status']}: {action} needs one that is {status}"
        raise problems.generic(428, "ERR-BI-104", detail)
