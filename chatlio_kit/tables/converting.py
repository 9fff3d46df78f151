"""An export to tables on disk, in pieces: memory stays flat however long the export is.

Events are written as they come. What needs the whole export - each message once, conversations, visitors,
offline messages in order of time - is sorted on disk and told a stretch of keys at a time, by the same
functions that a notebook's frames are made with. All files take their names together, at the end.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chatlio_kit.display import Progress, Sheet
from chatlio_kit.events.catalogue import OFFLINE_MESSAGES, TABLES, VISITORS
from chatlio_kit.events.kinds import Kind
from chatlio_kit.tables.arrow import frame_of
from chatlio_kit.tables.counts import Counts
from chatlio_kit.tables.derived import conversations, distinct_messages, offline_messages, visitors
from chatlio_kit.tables.duplicates import Sifted
from chatlio_kit.tables.schemas import empty
from chatlio_kit.tables.spill import Spill
from chatlio_kit.tables.tables import Export, count
from chatlio_kit.tables.writing import REJECTED, REPORT, RejectedFile, make_folder, unwritable, write_json

_OWNER = "_owner"
_PART_ROWS = 60_000  # the workers are gone by then, so there is room
_OF_CONVERSATIONS = (
    "event_id", "kind", "occurred_at", "conversation_id", "visitor_id", "page_url", "channel_id",
    "started_at", "ended_at", "agent_name", "agent_email", "message_count",
)  # fmt: skip
_OF_VISITORS = (
    *(each.name for each in VISITORS if each.name in {event.name for event in TABLES["events"]}),
    "occurred_at",
    "conversation_id",
)
_OF_OFFLINE = (*(each.name for each in OFFLINE_MESSAGES), "kind")
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
        notes: sentences about files that gave nothing.
    """

    out: Path
    counts: Counts
    rows: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        """Give the report, as ``report.json`` holds it."""
        return {**self.counts.as_dict(), "tables": self.rows}

    def summary(self) -> Sheet:
        """Show how many records became what."""
        rows = ", ".join(f"{name} {number:,}" for name, number in self.rows.items())
        return self.counts.sheet("Converted", [f"rows: {rows}", *self.notes])

    def __repr__(self) -> str:
        return str(self.summary())

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


def convert(export: Export, out: Path, *, quiet: bool = False) -> Converted:
    """Write an export's five tables, its rejects and a report into a folder.

    Stopped half-way it leaves the folder as it was.

    Raises:
        OutputError: when the folder cannot be written.
    """
    make_folder(out)
    converted = Converted(out, Counts())
    try:
        with _lean_memory(), _Unfinished(out) as unfinished, _Tables(unfinished.folder) as tables:
            with (
                RejectedFile(unfinished.folder / REJECTED) as rejected,
                Progress("converting", None, "records", quiet=quiet) as progress,
            ):
                for sifted in export.sifted():
                    count(converted.counts, sifted)
                    rejected.add(sifted.built.rejected)
                    tables.add(sifted)
                    progress.advance(
                        len(sifted.built.events) + len(sifted.built.rejected) + sifted.duplicates
                    )
            converted.rows = tables.finish()
            converted.notes = list(export.captures.notes)
            write_json(unfinished.folder / REPORT, converted.report())
            unfinished.publish([*(f"{name}.parquet" for name in TABLES), REJECTED, REPORT])
    except OSError as error:
        raise unwritable(out, error) from error
    return converted


@contextmanager
def _lean_memory() -> Iterator[None]:
    """Let Arrow take memory from the system, which gets it back at once; its own pool keeps what it had."""
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


class _Unfinished:
    """A hidden folder beside the results, for as long as they are not whole."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self.folder = out / f".unfinished-{os.getpid()}"

    def __enter__(self) -> _Unfinished:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def publish(self, names: list[str]) -> None:
        """Give the files their names, the report last."""
        for name in names:
            (self.folder / name).replace(self._out / name)


class _Table:
    """One Parquet file while it grows."""

    def __init__(self, folder: Path, name: str) -> None:
        self.rows = 0
        self._schema = pa.Table.from_pandas(empty(name), preserve_index=False).schema
        keys = () if name == "messages" else ("conversation_id", "event_id")
        distinct = [each for each in self._schema.names if each in _DISTINCT and each not in keys]
        self._writer = pq.ParquetWriter(
            folder / f"{name}.parquet", self._schema, use_dictionary=distinct, compression="snappy"
        )

    def add(self, frame: pd.DataFrame) -> Any:
        """Write a frame's rows, and give them as an Arrow table."""
        rows = pa.Table.from_pandas(frame, schema=self._schema, preserve_index=False, nthreads=1)
        if len(rows):
            self.rows += len(rows)
            self._writer.write_table(rows)
        return rows.replace_schema_metadata(None)

    def close(self) -> None:
        self._writer.close()


class _Tables:
    """The five tables while they grow."""

    def __init__(self, folder: Path) -> None:
        self._tables = {name: _Table(folder, name) for name in TABLES}
        self._by_owner = Spill(folder, "owners", _OWNER)
        self._messages = Spill(folder, "messages", _OWNER)
        self._visitors = Spill(folder, "visitors", "visitor_id")
        self._offline = Spill(folder, "offline", "occurred_at")

    def __enter__(self) -> _Tables:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for table in self._tables.values():
            table.close()

    def add(self, sifted: Sifted) -> None:
        """Write a piece's events, and keep what the other tables are told from."""
        events, messages = sifted.built.events, sifted.built.messages
        if events.empty:
            return
        rows = self._tables["events"].add(events)
        kinds = rows["kind"]
        owned = pc.or_(pc.is_valid(rows["conversation_id"]), pc.equal(kinds, str(Kind.TRANSCRIPT)))
        self._by_owner.add(_owned(rows.select(_OF_CONVERSATIONS).filter(owned)))
        self._visitors.add(rows.select(_OF_VISITORS).filter(pc.is_valid(rows["visitor_id"])))
        self._offline.add(rows.select(_OF_OFFLINE).filter(pc.equal(kinds, str(Kind.OFFLINE_MESSAGE))))
        if len(messages):
            said = pa.Table.from_pandas(messages, preserve_index=False, nthreads=1)
            self._messages.add(_owned(said.replace_schema_metadata(None)))

    def finish(self) -> dict[str, int]:
        """Write what the whole export tells, close all files, and count their rows."""
        borders = self._by_owner.borders(_PART_ROWS)
        parts = zip(self._by_owner.parts(borders), self._messages.parts(borders), strict=True)
        for owners, said in parts:
            if owners is None:
                continue
            events = frame_of(owners.drop_columns([_OWNER]))
            told = empty("messages") if said is None else frame_of(said.drop_columns([_OWNER]))
            messages = distinct_messages(events, told)
            self._tables["messages"].add(messages)
            self._tables["conversations"].add(conversations(events, messages))
        for name, spill, tell in (
            ("visitors", self._visitors, visitors),
            ("offline_messages", self._offline, offline_messages),
        ):
            for part in spill.parts(spill.borders(_PART_ROWS)):
                if part is not None:
                    self._tables[name].add(tell(frame_of(part)))
        for table in self._tables.values():
            table.close()
        return {name: table.rows for name, table in self._tables.items()}


def _owned(rows: Any) -> Any:
    """Name what each row belongs to: its conversation, or the event itself where there is none."""
    return rows.append_column(_OWNER, pc.coalesce(rows["conversation_id"], rows["event_id"]))
