"""An export to tables on disk, in batches: memory stays flat however long the export is.

Events are written as they come. What needs the whole export - each message once, conversations, visitors,
offline messages in order of time - is derived from the files by the same SQL that makes a notebook's frames,
a range of keys at a time. All files take their names together, at the end.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from errno import EISDIR
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from chatlio_kit.captures import LocalSource
from chatlio_kit.chatlio.catalogue import TABLES
from chatlio_kit.display import Progress, Sheet
from chatlio_kit.errors import UsageError
from chatlio_kit.pool import Pool
from chatlio_kit.private_files import is_left_by
from chatlio_kit.tables.arrow import lean_memory
from chatlio_kit.tables.counts import RecordCounts
from chatlio_kit.tables.deduplicate.deduplicate import DeduplicatedBatch
from chatlio_kit.tables.derive import EventFiles
from chatlio_kit.tables.nesting import events_of
from chatlio_kit.tables.next_steps import NextSteps
from chatlio_kit.tables.options import FieldFindings
from chatlio_kit.tables.output import (
    REJECTED,
    REPORT,
    RejectedFile,
    make_folder,
    unwritable,
    write_json,
    write_page,
)
from chatlio_kit.tables.report import PAGE, converted_document, report_of
from chatlio_kit.tables.tables import Export, count
from chatlio_kit.tables.validate.schemas import file_schema

FILES = (*(f"{name}.parquet" for name in TABLES), REJECTED, PAGE, REPORT)
"""What a conversion writes; the report takes its name last."""
_UNFINISHED = ".unfinished-"
_GROUP_ROWS = 15_000
"""How many rows a row group has at least: each has costs of its own, in every column."""
_RANDOM = ("event_id", "payload_digest", "conversation_id", "visitor_id")  # compression finds next to nothing
_DISTINCT = ("kind", "source_file", "occurred_at_source", "widget_id", "user_agent", "location", "agent_name",
             "agent_email", "slack_channel_id", "slack_channel_name", "slack_team_id", "author", "username",
             "slack_user_id", "page_url", "referrer_url", "conversation_id", "event_id")  # fmt: skip


@dataclass
class Converted:
    """Tables on disk, and what became of the records.

    Attributes:
        out: the folder they stand in.
        counts: how many records were read and what became of them.
        rows: how many rows each table has.
        notes: sentences about files that gave nothing, and about what else was found.
        findings: what else was found in the records.
        next_steps: for each reason of rejection the options that settle it, tried on rejected records.
    """

    out: Path
    counts: RecordCounts
    rows: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    findings: FieldFindings = field(default_factory=FieldFindings)
    next_steps: NextSteps = field(default_factory=NextSteps)

    def report(self) -> dict[str, Any]:
        """Give the report, as ``report.json`` holds it."""
        return report_of(self.counts, self.findings, self.rows, self.next_steps)

    def summary(self) -> Sheet:
        """Show how many records became what."""
        rows = ", ".join(f"{name} {number:,}" for name, number in self.rows.items())
        places = [f"tables: {self.out}", f"report: {self.out / PAGE}"]
        if self.counts.rejected:
            places.append(f"rejected records: {self.out / REJECTED}")
        notes = [f"rows: {rows}", *self.notes, *self.next_steps.sentences(), *places]
        return self.counts.sheet("Converted", notes)

    def __repr__(self) -> str:
        return str(self.summary())

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


def convert(export: Export, out: Path, *, executor: Executor | None = None, quiet: bool = False) -> Converted:
    """Write an export's five tables, its rejects and a report into a folder.

    Stopped half-way it leaves the folder as it was.

    Args:
        export: the captures, and how they are read.
        out: the folder.
        executor: where batches are decoded and validated; by default as many processes as pay. A pool of ours
            is shut down when the last batch is.
        quiet: whether to show no progress.

    Raises:
        UsageError: when the folder's own files are among the captures.
        OutputError: when the folder cannot be written.
    """
    _keep_apart(export, out)
    make_folder(out)
    converted = Converted(out, RecordCounts())
    try:
        with (
            _Unfinished(out, FILES) as unfinished,
            nullcontext(executor) if executor else export.create_pool() as pool,
            lean_memory(),
            _Tables(unfinished.folder) as tables,
        ):
            with (
                RejectedFile(unfinished.folder / REJECTED) as rejected,
                Progress("converting", None, "records", quiet=quiet) as progress,
            ):
                for batches in export.batches(executor=pool):
                    count(converted.counts, batches)
                    rejected.add(batches.built.rejected)
                    tables.add(batches)
                    progress.advance(len(batches.built) + len(batches.built.rejected) + batches.duplicates)
            if isinstance(pool, Pool):
                pool.shutdown()  # their memory is needed for what comes now
            converted.rows = tables.finish()
            converted.findings = export.findings
            converted.notes, converted.next_steps = export.notes(), export.next_steps
            write_json(unfinished.folder / REPORT, converted.report())
            page = converted_document(
                converted.counts,
                converted.findings,
                converted.rows,
                converted.notes,
                converted.next_steps,
            )
            write_page(unfinished.folder / PAGE, page)
            unfinished.publish()
    except OSError as error:
        raise unwritable(out, error) from error
    return converted


def _keep_apart(export: Export, out: Path) -> None:
    """Earlier tables that stand among the captures would be read as captures."""
    folder = out.resolve()
    for file in export.captures.files:
        if isinstance(file.place, LocalSource) and file.place.path.resolve().parent == folder:
            raise UsageError(
                f"{str(out)!r} is among the captures, so its files would be read as captures. "
                "Choose a folder of its own for the tables."
            )


class _Unfinished:
    """A hidden folder beside the results, for as long as they are not whole.

    Args:
        out: the folder for the results.
        names: the results, the one last that says that all are there.
    """

    def __init__(self, out: Path, names: Sequence[str]) -> None:
        self._out, self._names = out, names
        self.folder = out / f"{_UNFINISHED}{os.getpid()}"

    def __enter__(self) -> _Unfinished:
        for name in self._names:
            if (self._out / name).is_dir():
                raise IsADirectoryError(EISDIR, f"{name} is a folder there")
        for left in self._out.glob(f"{_UNFINISHED}*"):
            if is_left_by(left.name.removeprefix(_UNFINISHED), left):
                shutil.rmtree(left, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def publish(self) -> None:
        """Give the files their names at once; a report never stands beside other tables than its own."""
        for name in self._names:
            _bring_to_disk(self.folder / name)
            (self.folder / name).chmod(0o600)
        (self._out / self._names[-1]).unlink(missing_ok=True)
        for name in self._names:
            (self.folder / name).replace(self._out / name)


def _bring_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


class _Table:
    """One Parquet file while it grows."""

    def __init__(self, folder: Path, name: str) -> None:
        self.rows = 0
        self._waiting: list[Any] = []
        self._path = folder / f"{name}.parquet"
        schema = file_schema(name)
        keys = () if name == "messages" else ("conversation_id", "event_id")
        distinct = [each for each in schema.names if each in _DISTINCT and each not in keys]
        self._writer = pq.ParquetWriter(
            self._path,
            schema,
            use_dictionary=distinct,
            compression={each: "none" if each in _RANDOM else "snappy" for each in schema.names},
            write_statistics=[each.name for each in schema if each.type != pa.large_string()],
        )

    def add(self, rows: Any) -> None:
        """Take Arrow rows, and write those that make a row group."""
        self.rows += len(rows)
        self._waiting.append(rows)
        if sum(map(len, self._waiting)) >= _GROUP_ROWS:
            self._write()

    def _write(self) -> None:
        rows, self._waiting = pa.concat_tables(self._waiting), []
        if len(rows):
            self._writer.write_table(rows)

    def close(self) -> None:
        """Write the rest; the disk has all of it then."""
        if self._writer.is_open:
            try:
                if self._waiting:
                    self._write()
                self._writer.close()
                _bring_to_disk(self._path)
            finally:
                self.abandon()

    def abandon(self) -> None:
        """Write no more: what was not written stays unwritten, and is not tried again at some later time."""
        if self._writer.is_open:
            self._writer.is_open = False
            with suppress(OSError):
                self._writer.file_handle.close()


class _Tables:
    """The five tables while they grow."""

    def __init__(self, folder: Path) -> None:
        self._tables = {name: _Table(folder, name) for name in TABLES}
        self._events = EventFiles(folder)

    def __enter__(self) -> _Tables:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._events.__exit__(kind, error, trace)
        for table in self._tables.values():
            table.abandon()

    def add(self, batches: DeduplicatedBatch) -> None:
        """Write a batch's events, and keep what the other tables are derived from."""
        rows = batches.built.rows
        self._tables["events"].add(events_of(rows))
        self._events.add(rows)

    def finish(self) -> dict[str, int]:
        """Write what is derived from all events, close all files, and count their rows."""
        self._tables["events"].close()
        for name, rows in self._events.derive():
            for batch in rows:
                self._tables[name].add(batch)
            self._tables[name].close()
        for table in self._tables.values():
            table.close()
        return {name: table.rows for name, table in self._tables.items()}
