"""Promotion on the lake's thread: a completed batch is loaded, staging, staged, then success or failed.

Rows are processed in chunks, between streamed messages. The parts are written before the transaction that
records them; after a kill the batch is processed again from its uploaded files.
Source: Batch ingestion troubleshooting guide, "Batch states"; "Partial batch ingestion"; Guardrails.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import orjson

from ..catalog.batches import deactivate, update_batch
from ..lake.data_access import PARSING_ERRORS
from ..lake.files import PartWriter, RowWriter, plain, remove_files, write_failed
from ..registry.routes import composed_schema
from ..registry.xdm import Validator
from ..server.service import Context, now_ms
from ..store import BatchFilter, Json, Store, open_private
from .conversion import TypeCompatibilityException, batch_schema, converted
from .reading import Row, UnreadableFile, rows_of
from .uploads import Uploads

log = logging.getLogger(__name__)

MOST_FILES, MOST_BYTES = 25_000, 1_099_511_627_776
CHUNK_ROWS, CHUNK_BYTES = 2_000, 8_000_000
RETRIES, PAUSE_BEFORE_RETRY = 3, 0.5

CORRUPT, REQUIRED = "1401", "1555"
DESCRIPTIONS = {
    CORRUPT: "The row has corrupted data and cannot be read or parsed. Fix the corrupted data and try again.",
    REQUIRED: "A required field is either missing or has a value of null."
    " Add the required field to the input row and try again.",
}
_UNREADABLE = "Row is corrupted and cannot be read, please fix and resend."
_UNDIAGNOSED = (
    "Encountered errors while parsing, converting or otherwise validating the data. Please resend the data"
    " with error diagnostics enabled to collect additional information on failure types"
)


class BatchFailure(Exception):
    """An error that makes a whole batch fail."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.entry: Json = {"code": code, "description": description, "rows": []}


@dataclass
class _Counts:
    """Results of a batch's rows."""

    rows: int = 0
    failed: int = 0
    by_code: Counter[str] = field(default_factory=Counter)


class Promotion:
    """Promoter of completed batches, one after another."""

    def __init__(self) -> None:
        self._work: Iterator[None] | None = None
        self._attempts: Counter[str] = Counter()

    def step(self, context: Context) -> float | None:
        """Do the work that is due; return the seconds until the next, None if nothing is waiting."""
        delay = round(context.options.processing_delay * 1000)
        reverting = revert_due(context)
        waits = [] if reverting is None else [reverting]
        for status, act in (("staged", _activate), ("staging", self._process), ("loaded", _stage)):
            for batch_id, batch in _oldest(context.store, status):
                left = 0 if status == "staging" else batch["updated"] + delay - now_ms()
                if left <= 0:
                    act(context, batch_id, batch)
                    return 0
                waits.append(left / 1000)
        for batch_id, batch in _oldest(context.store, "retrying"):
            left = batch["updated"] + round(PAUSE_BEFORE_RETRY * 1000) - now_ms()
            if left <= 0:
                _stage(context, batch_id, batch)
                return 0
            waits.append(left / 1000)
        return min(waits, default=None)

    def _process(self, context: Context, batch_id: str, batch: Json) -> None:
        """Process a chunk of the batch that is being staged."""
        try:
            if self._work is None:
                self._work = _landing(context, batch_id, batch)
            next(self._work)
        except StopIteration:
            self._work = None
        except Exception:
            log.exception("a batch could not be processed")
            self._work = None
            self._attempts[batch_id] += 1
            status = "stalled" if self._attempts[batch_id] > RETRIES else "retrying"
            update_batch(context.store, batch_id, status=status)


def revert_due(context: Context) -> float | None:
    """Revert batches after the delay, as requested; return the seconds until the next is due."""
    store, waits = context.store, []
    for asked in store.all("revert"):
        left = asked["asked"] + round(context.options.processing_delay * 1000) - now_ms()
        if left > 0:
            waits.append(left / 1000)
            continue
        with store.transaction():
            deactivate(store, asked["id"])
            store.delete("revert", asked["id"])
        remove_files(store.lake, asked["id"])
    return min(waits, default=None)


def _oldest(store: Store, status: str) -> Iterator[tuple[str, Json]]:
    yield from store.batches(BatchFilter(status=status, ascending=True), 1, 0).items()


def _stage(context: Context, batch_id: str, _batch: Json) -> None:
    update_batch(context.store, batch_id, status="staging", started=now_ms())


def _activate(context: Context, batch_id: str, batch: Json) -> None:
    """Make a staged batch visible, and deactivate the batches that it replaces."""
    store = context.store
    with store.transaction():
        update_batch(store, batch_id, status="success", completed=now_ms())
        replaced = [old for old in batch.get("replay", {}).get("predecessors", []) if deactivate(store, old)]
    for old in replaced:
        remove_files(store.lake, old)
    Uploads(store, batch_id).remove()


def _landing(context: Context, batch_id: str, batch: Json) -> Iterator[None]:
    """Convert the uploaded files to rows, one chunk per step, and record the results."""
    store = context.store
    uploads = Uploads(store, batch_id)
    files = uploads.all()
    counts, writer = _Counts(), PartWriter(store.lake, batch_id)
    remove_files(store.lake, batch_id)  # from an earlier attempt
    spool = uploads.folder / "failed"
    errors: list[Json] = []
    try:
        json_schema = _schema_of(context, batch)
        _check_files(files)
        with open(open_private(spool, os.O_TRUNC | os.O_WRONLY), "wb") as failed:
            yield from _land(uploads, batch, json_schema, _Sink(counts, writer, failed))
        writer.close()
    except TypeCompatibilityException as error:
        errors = [BatchFailure(type(error).__name__, f"{type(error).__name__}: {error}").entry]
    except BatchFailure as failure:
        errors = [failure.entry]
    percent = batch["tags"].get("acp_partialIngestionPercent", 0)
    has_failed = bool(errors) or counts.failed * 100 > percent * counts.rows
    landed = 0 if has_failed else counts.rows - counts.failed
    is_diagnosed = batch["tags"].get("acp_enableErrorDiagnostics", False)
    if counts.failed and not errors:
        errors = _errors(counts, landed) if is_diagnosed else [_entry("INGEST-1211-400", _UNDIAGNOSED)]
    if has_failed:
        remove_files(store.lake, batch_id)
    if counts.failed and is_diagnosed:
        with spool.open("rb") as lines:
            write_failed(store.lake, batch_id, lines)
    metrics = {
        "inputFileCount": len(files),
        "inputByteSize": sum(file["size"] for file in files),
        "inputRecordCount": counts.rows,
        "outputRecordCount": landed,
        "failedRecordCount": counts.failed,
        "outputByteSize": 0 if has_failed else writer.size,
        "outputFileCount": 0 if has_failed else writer.parts,
        "partitionCount": 0 if has_failed else 1,
    }
    done = {"status": "failed", "completed": now_ms()} if has_failed else {"status": "staged"}
    update_batch(store, batch_id, **done, metrics=metrics, errors=errors)
    if has_failed:
        uploads.remove()


@dataclass
class _Sink:
    """The target of a batch's rows."""

    counts: _Counts
    writer: PartWriter
    failed: BinaryIO


def _schema_of(context: Context, batch: Json) -> Json:
    dataset = context.store.get("dataset", batch["relatedObjects"][0]["id"])
    json_schema = composed_schema(context, dataset["schemaRef"]["id"]) if dataset else None
    if json_schema is None:
        raise BatchFailure("INGEST-1401-400", "The dataset of the batch no longer exists")
    return json_schema


def _check_files(files: list[Json]) -> None:
    size = sum(file["size"] for file in files)
    over = [
        f"{value} {unit} (over the {most} threshold)"
        for value, unit, most in ((len(files), "files", MOST_FILES), (size, "bytes", MOST_BYTES))
        if value > most
    ]
    if over:
        raise BatchFailure("400", f"Batch ingestion guardrails hit: {'; '.join(over)}")
    if not files:
        raise BatchFailure("133", "No files were uploaded to the batch.")


def _land(uploads: Uploads, batch: Json, json_schema: Json, sink: _Sink) -> Iterator[None]:
    landing = _RowLanding(json_schema, sink)
    files = uploads.all()
    first = uploads.place(files[0]["path"])
    for file in files:
        before, size, chunk = sink.counts.rows, 0, list[Row]()
        try:
            for row in rows_of(uploads.place(file["path"]), batch["inputFormat"], json_schema, first):
                chunk.append(row)
                size += len(row[1])
                if len(chunk) >= CHUNK_ROWS or size >= CHUNK_BYTES:
                    landing.land(chunk)
                    chunk, size = [], 0
                    yield
        except UnreadableFile as error:
            raise BatchFailure("INGEST-1401-400", f"{error}: {file['path']}") from error
        landing.land(chunk)
        if sink.counts.rows == before:
            raise BatchFailure("106", "Dataset file is empty. Please upload file with data.")
        yield


class _RowLanding:
    """Checks rows, converts them if necessary, and passes them on."""

    def __init__(self, json_schema: Json, sink: _Sink) -> None:
        self._json_schema = json_schema
        self._validator = Validator(batch_schema(json_schema))
        self._writer = RowWriter(json_schema)
        self._sink = sink

    def land(self, chunk: list[Row]) -> None:
        """Land a chunk: each row becomes a row of the dataset or a failure."""
        self._sink.counts.rows += len(chunk)
        good: list[Json] = []
        for row, text in chunk:
            fitting = self._fitting(row, text)
            if fitting is not None:
                good.append(fitting)
        self._write(good)

    def _fitting(self, row: Json | None, text: bytes) -> Json | None:
        """Return a row that fits the schema, converted if necessary; None if it fails."""
        if row is None:
            self._fail(text, PARSING_ERRORS, [(CORRUPT, _UNREADABLE)])
            return None
        if not self._validator.violations(row):
            return row
        changed: Json = converted(row, self._json_schema)
        violations = self._validator.violations(changed)
        if not violations:
            return changed
        reasons = [
            (_code(found), f"{found['pointerToViolation']}: {found['message']}") for found in violations
        ]
        self._fail(text or _text(row), "_conversionErrors", reasons)
        return None

    def _write(self, rows: list[Json]) -> None:
        if not rows:
            return
        try:
            table = self._writer.table(rows)
        except (ValueError, TypeError, OverflowError) as error:
            if len(rows) == 1:
                self._fail(_text(rows[0]), "_conversionErrors", [(CORRUPT, str(error))])
                return
            for row in rows:
                self._write([row])
            return
        self._sink.writer.add(table)

    def _fail(self, text: bytes, kind: str, reasons: list[tuple[str, str]]) -> None:
        errors = {kind: [{"code": code, "message": message} for code, message in reasons]}
        line = {"body": text.decode(errors="replace"), "_errors": orjson.dumps(errors).decode()}
        self._sink.failed.write(orjson.dumps(line) + b"\n")
        self._sink.counts.failed += 1
        self._sink.counts.by_code[reasons[0][0]] += 1


def _text(row: Json) -> bytes:
    return orjson.dumps(plain(row), default=str)


def _code(violation: Json) -> str:
    is_null = violation["keyword"] == "type" and str(violation["message"]).endswith("found: Null")
    return REQUIRED if violation["keyword"] == "required" or is_null else CORRUPT


def _entry(code: str, description: str) -> Json:
    return {"code": code, "description": description}


def _errors(counts: _Counts, landed: int) -> list[Json]:
    summary = (
        f"Encountered {counts.failed} errors in the data. Successfully ingested {landed} rows."
        " Please review the associated diagnostic files for more details."
    )
    return [
        _entry("INGEST-1212-400", summary),
        *(
            {**_entry(f"INGEST-{code}-400", DESCRIPTIONS[code]), "recordCount": count}
            for code, count in sorted(counts.by_code.items())
        ),
    ]
