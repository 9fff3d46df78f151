"""Convert an export to tables on disk, in batches: memory stays flat for any length of export.

Events are written as they arrive. Tables that need the whole export (unique messages, conversations,
visitors, offline messages in order of time) are derived from the files by the same SQL as a notebook's
frames, one range of keys at a time. All files get their final names together, at the end.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext, suppress
from errno import EISDIR
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from chatlio_kit.captures import LocalSource
from chatlio_kit.captures.sources.discovery import local_path
from chatlio_kit.captures.sources.remote import is_address, shown
from chatlio_kit.captures.sources.stores import RemoteFolder
from chatlio_kit.chatlio.catalogue import TABLES
from chatlio_kit.display import Progress
from chatlio_kit.errors import UsageError
from chatlio_kit.pool import Pool
from chatlio_kit.private_files import is_left_by, new_temporary_folder
from chatlio_kit.tables.arrow import events_of, system_allocator
from chatlio_kit.tables.derive import EventFiles
from chatlio_kit.tables.export import Export
from chatlio_kit.tables.findings import RecordCounts
from chatlio_kit.tables.output import RejectedFile, make_folder, unwritable, write_json, write_page
from chatlio_kit.tables.report import PAGE, REJECTED, REPORT, Converted
from chatlio_kit.tables.validate.schemas import file_schema

FILES = (*(f"{name}.parquet" for name in TABLES), REJECTED, PAGE, REPORT)
"""The files of a conversion; the report gets its name last."""
_UNFINISHED = ".unfinished-"
_GROUP_ROWS = 15_000
"""The least rows of a row group: every group adds a cost in every column."""
_RANDOM = ("event_id", "payload_digest", "conversation_id", "visitor_id")  # not worth compressing
_WITH_DICTIONARY = frozenset(
    {"kind", "source_file", "occurred_at_source", "widget_id", "user_agent", "location", "agent_name",
     "agent_email", "slack_channel_id", "slack_channel_name", "slack_team_id", "author", "username",
     "slack_user_id", "page_url", "referrer_url", "origin", "ended_by"}
)  # fmt: skip
"""Columns whose values repeat."""


def convert(
    export: Export, out: Path | str, *, executor: Executor | None = None, quiet: bool = False
) -> Converted:
    """Write an export's five tables, its rejections and a report into a folder.

    An interrupted conversion leaves the folder unchanged. A folder in a bucket is written at the end, under
    hidden names until every file is there; its report gets its name last.

    Args:
        export: The captures and reading options.
        out: The folder, or the URL of a folder in a bucket, such as ``s3://bucket/tables``.
        executor: The executor that decodes and validates batches; by default as many processes as save time.
            A :class:`~chatlio_kit.pool.Pool` is shut down after the last batch.
        quiet: If true, show no progress.

    Raises:
        UsageError: The folder is among the captures.
        OutputError: The folder cannot be written.
    """
    if isinstance(out, str) and is_address(local_path(out)):
        with RemoteFolder(out) as remote:
            if any(map(remote.holds, (file.source for file in export.captures.files))):
                raise _overlap(shown(out))
            folder = new_temporary_folder()
            try:
                converted = convert(export, folder, executor=executor, quiet=quiet)
                remote.store([folder / name for name in FILES])
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        converted.out = shown(out).rstrip("/")
        return converted
    out = Path(local_path(out))
    _reject_overlap(export, out)
    make_folder(out)
    converted = Converted(out, RecordCounts())
    try:
        with (
            _atomic_folder(out) as folder,
            nullcontext(executor) if executor else export.create_pool() as pool,
            system_allocator(),
            _table_files(folder) as files,
            EventFiles(folder) as events,
        ):
            with (
                RejectedFile(folder / REJECTED) as rejected,
                Progress("converting", None, "records", quiet=quiet) as progress,
            ):
                for batch in export.batches(executor=pool):
                    converted.counts.add_batch(batch)
                    rejected.add(batch.rejected)
                    files["events"].add(events_of(batch.rows))
                    events.add(batch.rows)
                    progress.advance(batch.records)
            if isinstance(pool, Pool):
                pool.shutdown()  # its memory is needed now
            files["events"].close()
            for name, derived in events.derive():
                for rows in derived:
                    files[name].add(rows)
                files[name].close()
            for file in files.values():
                file.close()
            converted.rows = {name: file.rows for name, file in files.items()}
            converted.findings = export.findings
            converted.slack = export.slack.counts if export.slack is not None else None
            converted.notes, converted.next_steps = export.notes(), export.next_steps
            write_json(folder / REPORT, converted.report())
            write_page(folder / PAGE, converted.document())
    except OSError as error:
        raise unwritable(out, error) from error
    return converted


def _reject_overlap(export: Export, out: Path) -> None:
    """Reject a folder whose earlier tables would be read as captures."""
    folder = out.resolve()
    for file in export.captures.files:
        if isinstance(file.source, LocalSource) and file.source.path.resolve().parent == folder:
            raise _overlap(str(out))


def _overlap(out: str) -> UsageError:
    return UsageError(
        f"{out!r} is among the captures, so its files would be read as captures. "
        "Choose a separate folder for the tables."
    )


@contextmanager
def _atomic_folder(out: Path) -> Iterator[Path]:
    """Yield a hidden folder; without an error, its files move to ``out`` together."""
    for name in FILES:
        if (out / name).is_dir():
            raise IsADirectoryError(EISDIR, f"{name} is a folder there")
    for abandoned in out.glob(f"{_UNFINISHED}*"):
        if is_left_by(abandoned.name.removeprefix(_UNFINISHED), abandoned):
            shutil.rmtree(abandoned, ignore_errors=True)
    folder = out / f"{_UNFINISHED}{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
        for name in FILES:
            _flush_to_disk(folder / name)
            (folder / name).chmod(0o600)
        (out / REPORT).unlink(missing_ok=True)  # a report is never next to tables of another run
        for name in FILES:
            (folder / name).replace(out / name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _flush_to_disk(path: Path) -> None:
    with path.open("r+b") as file:  # Windows flushes only files that are open for writing
        os.fsync(file.fileno())


@contextmanager
def _table_files(folder: Path) -> Iterator[dict[str, _TableFile]]:
    files = {name: _TableFile(folder, name) for name in TABLES}
    try:
        yield files
    finally:
        for file in files.values():
            file.abandon()


class _TableFile:
    """A table's Parquet file while it grows.

    Attributes:
        rows: Number of rows added.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.rows = 0
        self._path = folder / f"{name}.parquet"
        self._buffer: list[Any] = []
        schema = file_schema(name)
        repeated = _WITH_DICTIONARY | ({"conversation_id", "event_id"} if name == "messages" else set())
        self._writer = pq.ParquetWriter(
            self._path,
            schema,
            use_dictionary=[column for column in schema.names if column in repeated],
            compression={column: "none" if column in _RANDOM else "snappy" for column in schema.names},
            write_statistics=[column.name for column in schema if column.type != pa.large_string()],
        )

    def add(self, rows: Any) -> None:
        """Add Arrow rows; they are written once they fill a row group."""
        self.rows += len(rows)
        self._buffer.append(rows)
        if sum(map(len, self._buffer)) >= _GROUP_ROWS:
            self._write()

    def _write(self) -> None:
        rows, self._buffer = pa.concat_tables(self._buffer), []
        if len(rows):
            self._writer.write_table(rows)

    def close(self) -> None:
        """Write the rest, and flush the file to disk."""
        if self._writer.is_open:
            try:
                if self._buffer:
                    self._write()
                self._writer.close()
                _flush_to_disk(self._path)
            finally:
                self.abandon()

    def abandon(self) -> None:
        """Close the file without writing the rest, now or when the writer is collected."""
        if self._writer.is_open:
            self._writer.is_open = False
            with suppress(OSError):
                self._writer.file_handle.close()
