"""Trace one event, conversation, visitor, e-mail address or record through local storage."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from chatlio_kit.arguments import a_path_or_paths, checked, place, text
from chatlio_kit.captures import RawBatch
from chatlio_kit.chatlio.event_ids import digest, id_parts
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.chatlio.rejections import Rejection, on_one_line
from chatlio_kit.counting import counted
from chatlio_kit.delivery import Ledger
from chatlio_kit.delivery.ledger.ledger import FILE as LEDGER
from chatlio_kit.delivery.ledger.lookup import (
    LedgerEntry,
    find_events,
    find_ids_at,
    find_ids_in_dead_letters,
    was_read_to_its_end,
)
from chatlio_kit.delivery.ledger.models import Fate
from chatlio_kit.display import Sheet
from chatlio_kit.errors import DONE, FAILED, UsageError, in_words, option
from chatlio_kit.jobs.backfill import REPORTS
from chatlio_kit.settings import DEFAULT_STATE
from chatlio_kit.tables import EventBatch, Export, read_export
from chatlio_kit.tables.explorer import Status
from chatlio_kit.tables.lookup import EventRow, Wanted, find_rejections, find_rows, is_same_file
from chatlio_kit.tables.pipeline import validate_batches

_EVENT_ID = re.compile(r"[0-9a-fA-F]{64}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_RECORD = re.compile(r"(.+):([0-9]{1,15})")
_SHOWN = 20
_EXCERPT = 300
_ADDRESSES = ("visitor_email", "contact_email", "reply_to_email")


@dataclass(frozen=True)
class CaptureRecord:
    """A record found in the captures.

    Attributes:
        file: Its file.
        record: Its number in that file.
        raw: Its beginning, as text; empty if the captures are read with redaction.
        event_id: The id of its event.
        kind: The kind of its event.
    """

    file: str
    record: int
    raw: str
    event_id: str
    kind: str

    def is_at(self, file: str, record: int) -> bool:
        """Return whether this is the given record."""
        return record == self.record and is_same_file(file, self.file)


@dataclass
class TracedEvent:
    """One event, and each store's data about it.

    Attributes:
        event_id: Its id.
        in_captures: The records in the captures that hold it; all but one are duplicates.
        row: Its row in the tables.
        entries: The ledger's entries, one for each destination.
    """

    event_id: str
    in_captures: list[CaptureRecord] = field(default_factory=list)
    row: EventRow | None = None
    entries: list[LedgerEntry] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """Its kind."""
        known = [*(entry.kind for entry in self.entries), *(record.kind for record in self.in_captures)]
        return str(known[0] if known else self.row.kind if self.row else "event")

    @property
    def accepted_from(self) -> tuple[str, int] | None:
        """The file and record from which it was accepted; None if unknown."""
        for entry in self.entries:
            if not entry.is_forgotten:
                return entry.file, entry.record
        if self.row is not None:
            return self.row.file, self.row.record
        return None


@dataclass
class Trace:
    """The status of an event, conversation, visitor, e-mail address or record.

    Attributes:
        what: The traced id, address or record.
        events: The events that were found, ordered by time where it is known.
        rejections: The rejected records that were found, each with the folders that list it.
        notes: Sentences on items not found and stores not searched.
        looked_at: The stores that were searched, by name.
    """

    what: str
    events: list[TracedEvent] = field(default_factory=list)
    rejections: dict[Rejection, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    looked_at: dict[str, bool] = field(default_factory=dict)

    @property
    def found(self) -> bool:
        """True if anything is known about it."""
        return bool(self.events or self.rejections)

    @property
    def exit_code(self) -> int:
        """0 if something is known, else 1."""
        return DONE if self.found else FAILED

    def as_dict(self) -> dict[str, Any]:
        """Return the fields of ``trace --json``."""
        return {
            "what": self.what,
            "found": self.found,
            "looked_at": self.looked_at,
            "events": [
                {
                    "event_id": event.event_id,
                    "kind": event.kind,
                    "steps": [{"step": step, "text": words} for step, words in self._steps(event)],
                    "captures": [asdict(record) for record in event.in_captures],
                    "tables": None if event.row is None else asdict(event.row),
                    "ledger": [
                        {**asdict(entry), "status": entry.status, "destination": str(entry.destination)}
                        for entry in event.entries
                    ],
                }
                for event in self.events
            ],
            "rejected": [
                {**asdict(rejection), "listed_in": folders} for rejection, folders in self.rejections.items()
            ],
            "notes": self.notes,
        }

    def sheets(self) -> list[Sheet]:
        """Return a table of steps for each event, and one for each rejected record."""
        sheets = []
        if len(self.events) > 1:
            sheets.append(self._overview())
        for event in self.events[:_SHOWN]:
            sheets.append(Sheet(f"{event.kind} {event.event_id}", ("", ""), self._steps(event)))
        for rejection, folders in list(self.rejections.items())[:_SHOWN]:
            sheets.append(Sheet("rejected record", ("", ""), _rejection_steps(rejection, folders)))
        left = max(0, len(self.events) - _SHOWN) + max(0, len(self.rejections) - _SHOWN)
        more = [f"{left:,} more; {in_words('--json', 'as_dict()')} lists them."] if left else []
        if not self.found:
            sheets.append(Sheet(f"Nothing is known about {self.what}.", ("", ""), []))
        last = sheets[-1]
        return [*sheets[:-1], replace(last, notes=[*more, *self.notes])]

    def __repr__(self) -> str:
        return "\n\n".join(map(str, self.sheets()))

    def _repr_html_(self) -> str:
        return "".join(sheet._repr_html_() for sheet in self.sheets())

    def _overview(self) -> Sheet:
        """Count the events by kind and status."""
        rows: dict[tuple[str, str], int] = {}
        for event in self.events:
            statuses = [entry.status for entry in event.entries] or [Status.NOT_SENT]
            status = min(statuses, key=list(Status).index).replace("_", " ")
            rows[event.kind, status] = rows.get((event.kind, status), 0) + 1
        cells = [(kind, status, count) for (kind, status), count in sorted(rows.items())]
        return Sheet(
            f"{counted(len(self.events), 'event')} of {self.what}", ("kind", "status", "events"), cells
        )

    def _steps(self, event: TracedEvent) -> list[tuple[str, str]]:
        """Return the steps of one event, with the reason for each missing step."""
        steps = [("record", self._record_step(event))]
        steps += [
            ("also read from", f"{record.file} record {record.record:,}, a duplicate")
            for record in event.in_captures
            if event.accepted_from is not None and not record.is_at(*event.accepted_from)
        ]
        steps += [("as captured", _excerpt(record.raw)) for record in event.in_captures[:1] if record.raw]
        steps.append(("tables", self._tables_step(event)))
        if not event.entries:
            why = "the ledger does not know this event" if self.looked_at["ledger"] else "there is no ledger"
            return [*steps, ("request", f"none: {why}, so nothing was sent from this state folder")]
        for entry in event.entries:
            steps.append(("destination", f"{entry.destination}, dataset {entry.destination.dataset}"))
            steps += _ledger_steps(entry)
        return steps

    def _record_step(self, event: TracedEvent) -> str:
        if event.accepted_from is not None:
            file, record = event.accepted_from
            return f"{file} record {record:,}"
        if event.entries:
            return "erased: forget erased this person; the ledger keeps only the event's digest"
        if event.in_captures:
            first = event.in_captures[0]
            return f"{first.file} record {first.record:,}"
        return "not known"

    def _tables_step(self, event: TracedEvent) -> str:
        if event.row is not None:
            rows = {"events": 1, **event.row.rows}
            return ", ".join(f"{name} {count:,}" for name, count in rows.items() if count)
        if self.looked_at["tables"]:
            return "no row in the given tables"
        return f"not searched: name the folder that convert wrote with {option('tables')}"


@checked(what=text, state=place)
def trace(
    what: str,
    captures: Export | Path | str | Sequence[Path | str] = (),
    *,
    tables: Path | str | Sequence[Path | str] = (),
    state: Path | str = DEFAULT_STATE,
) -> Trace:
    """Trace one event, conversation, visitor, e-mail address or record, step by step.

    The ledger and the rejections in the state folder are always searched; they hold event ids and records.
    The events of a conversation, a visitor or an address are found through tables or captures. Tables lead to
    whole conversations, captures to the records that contain the id or address themselves, including
    duplicates.

    Args:
        what: An event id, a conversation or visitor id, an e-mail address, or ``file:record``. The file may
            be given by its last parts; if it is an existing path, the record itself is read.
        captures: Captures that were sent, or an export from :func:`read_export` with the same options as
            then.
        tables: Folders that ``convert`` wrote.
        state: The state folder.

    Raises:
        UsageError: ``what`` is none of these, or a folder holds no tables.
        MissingPath: The captures do not exist.
        CaptureError: Captures or tables cannot be read.
        LedgerError: There is a ledger that cannot be used.
    """
    wanted = _wanted(what.strip())
    folders = [Path(folder) for folder in _paths("tables", tables)]
    if not isinstance(captures, Export):
        found = capture_named_in(what)
        paths = _paths("captures", captures) or ([found] if found else [])
    export = captures if isinstance(captures, Export) else read_export(paths) if paths else None
    state = Path(state)
    with ExitStack() as opened:
        has_ledger = (state / LEDGER).exists()
        ledger = opened.enter_context(Ledger(state)) if has_ledger else None
        return _Search(wanted, state, folders, export, ledger).run(what.strip())


def capture_named_in(what: str) -> Path | None:
    """Return the file in ``file:record``, or the archive that holds it, if it exists."""
    match = _RECORD.fullmatch(what.strip())
    if match is None:
        return None
    path = Path(match[1].partition("!")[0])
    return path if path.is_file() else None


def _paths(name: str, value: object) -> list[Path | str]:
    return [] if isinstance(value, list | tuple) and not value else a_path_or_paths(name, value)


def _wanted(what: str) -> Wanted:
    if _EVENT_ID.fullmatch(what):
        return Wanted((what.lower(),))
    if _UUID.fullmatch(what):
        return Wanted(name_id=what.lower())
    if (match := _RECORD.fullmatch(what)) is not None:
        return Wanted(file=match[1].replace("\\", "/"), record=int(match[2]))
    if "@" in what:
        return Wanted(address=what.lower())
    raise UsageError(
        f"{what!r} cannot be traced. Name an event id of 64 digits, a conversation or visitor id, an e-mail "
        "address, or file:record, such as captures/feedback/2024-03.ndjson:12."
    )


class _Search:
    """The search in each store, in the order in which one leads to the next."""

    def __init__(
        self,
        wanted: Wanted,
        state: Path,
        folders: list[Path],
        export: Export | None,
        ledger: Ledger | None,
    ) -> None:
        self._wanted, self._state, self._folders = wanted, state, folders
        self._export, self._ledger = export, ledger
        self._events: dict[str, TracedEvent] = {}

    def run(self, what: str) -> Trace:
        """Search, and return what was found."""
        searched = {"captures": self._export, "tables": self._folders, "ledger": self._ledger}
        trace = Trace(what, looked_at={name: bool(place) for name, place in searched.items()})
        unaccepted = self._search_captures()
        self._search_ledger_for_ids()
        self._search_tables()
        if self._ledger is not None:
            for entry in find_events(self._ledger, [*self._wanted.event_ids, *self._events]):
                self._event(entry.event_id).entries.append(entry)
        reports = sorted((self._state / REPORTS).glob("*"))
        for folder, rejection in find_rejections([*self._folders, *reports], self._wanted):
            trace.rejections.setdefault(rejection, []).append(str(folder))
        for rejection in unaccepted:
            if not any(_are_one_record(rejection, listed) for listed in trace.rejections):
                trace.rejections[rejection] = ["captures, as they are read now"]
        last = datetime.max.replace(tzinfo=UTC)
        trace.events = sorted(
            self._events.values(), key=lambda event: event.row.occurred_at if event.row else last
        )
        trace.notes = list(self._notes(trace))
        return trace

    def _event(self, event_id: str) -> TracedEvent:
        return self._events.setdefault(event_id, TracedEvent(event_id))

    def _search_captures(self) -> list[Rejection]:
        """Find records in the captures, and return the rejected ones."""
        unaccepted = []
        shows_raw = self._export is not None and not self._export.policy.redaction.is_on
        for batch in self._capture_batches():
            for index, row in self._rows_of(batch.events).iterrows():
                raw = batch.raw(int(str(index)))[: _EXCERPT + 1] if shows_raw else ""
                origin = str(row["source_file"]), int(row["source_record"])
                found = CaptureRecord(*origin, raw, str(row["event_id"]), str(row["kind"]))
                self._event(str(row["event_id"])).in_captures.append(found)
            unaccepted += [rejection for rejection in batch.rejected if self._wanted.is_rejection(rejection)]
        return unaccepted

    def _capture_batches(self) -> Iterator[EventBatch]:
        """Yield the batches that may hold the wanted records; only one for a record of a single file."""
        if self._export is None:
            return
        captures, wanted = copy(self._export.captures), self._wanted
        captures.read = {}
        if wanted.record is None:
            with self._export.create_pool() as pool:
                yield from validate_batches(captures.batches(), self._export.options, pool)
            return
        outer = replace(wanted, file=str(wanted.file).partition("!")[0])
        captures.files = [file for file in captures.files if outer.is_at(file.name, wanted.record)]
        holding = (raw_batch for raw_batch in captures.batches() if _holds(raw_batch, wanted))
        yield from validate_batches(holding, self._export.options, None)

    def _rows_of(self, events: pd.DataFrame) -> pd.DataFrame:
        wanted = self._wanted
        if wanted.record is not None:
            rows = events[events["source_record"] == wanted.record]
            return rows[[wanted.is_at(str(file), wanted.record) for file in rows["source_file"]]]
        if wanted.event_ids:
            return events[events["event_id"].isin(wanted.event_ids)]
        columns = _ADDRESSES if wanted.address else ("conversation_id", "visitor_id")
        name = wanted.address or wanted.name_id
        is_theirs = pd.Series(data=False, index=events.index)
        for column in columns:
            is_theirs |= (events[column].str.lower() == name).fillna(value=False).astype(bool)
        return events[is_theirs]

    def _search_ledger_for_ids(self) -> None:
        """Find events in the ledger itself: by record, or in stored dead letters."""
        ledger, wanted = self._ledger, self._wanted
        if ledger is None or wanted.event_ids:
            return
        if wanted.record is not None:
            ids = find_ids_at(ledger, str(wanted.file), wanted.record)
        else:
            name = str(wanted.name_id or wanted.address)
            ids = find_ids_in_dead_letters(ledger, name, wanted.is_named_in)
            if (
                wanted.name_id is not None
            ):  # the id of a conversation's start derives from the conversation's id
                (parts,) = id_parts(Kind.CONVERSATION_STARTED, [name], [None])
                started = digest(parts or b"")
                ids += [started] if find_events(ledger, [started]) else []
        for event_id in ids:
            self._event(event_id)

    def _search_tables(self) -> None:
        wanted = self._wanted
        if wanted.record is not None:
            wanted = replace(wanted, event_ids=tuple(self._events))
        for folder in self._folders:
            for row in find_rows(folder, wanted):
                event = self._event(row.event_id)
                event.row = event.row or row

    def _notes(self, trace: Trace) -> Iterator[str]:
        wanted = self._wanted
        if self._ledger is None:
            yield f"There is no ledger in {str(self._state)!r}, so nothing was sent from there."
        if wanted.record is not None:
            yield from self._notes_on_record(trace)
        elif not wanted.event_ids and not self._folders and self._export is None:
            yield (
                "The ledger holds no conversation ids, visitor ids or addresses, except in dead letters. "
                f"Name tables with {option('tables')}, or captures, to find the other events."
            )
        if trace.found:
            return
        if not self._folders:
            yield f"Tables were not searched: name the folder that convert wrote with {option('tables')}."
        if self._export is None:
            yield "Captures were not searched: name the files that were sent, with the same options as then."

    def _notes_on_record(self, trace: Trace) -> Iterator[str]:
        wanted = self._wanted
        for event in trace.events:
            source = event.accepted_from
            if source is not None and not wanted.is_at(*source):
                yield (
                    f"{wanted.file} record {wanted.record:,} is a duplicate: its event was accepted from "
                    f"{source[0]} record {source[1]:,}."
                )
        if trace.found or self._ledger is None:
            return
        if was_read_to_its_end(self._ledger, str(wanted.file)):
            yield (
                "A run read this file to its end and rejected nothing, so the file has no such record, or it "
                "is a duplicate. Name the file by its path, or the captures, to see which event it repeats."
            )


def _are_one_record(rejection: Rejection, other: Rejection) -> bool:
    return rejection.record == other.record and is_same_file(rejection.file, other.file)


def _holds(raw_batch: RawBatch, wanted: Wanted) -> bool:
    """Return whether a batch holds the wanted record."""
    return any(map(wanted.is_rejection, raw_batch.rejected)) or any(
        wanted.is_at(part.file.name, wanted.record) and wanted.record in part.records.numbers
        for part in raw_batch.slices
        if wanted.record is not None
    )


def _ledger_steps(entry: LedgerEntry) -> list[tuple[str, str]]:
    request = f"run {entry.run:,}"
    if entry.request is not None:
        request += f", {'batch' if entry.via == 'batch' else 'request'} {entry.request:,}"
    elif entry.fate is Fate.DEAD_LETTERED:
        request += ", not sent: refused before any request"
    else:
        request += ", no answered request yet"
    request += f", {entry.attempts:,} {'attempt' if entry.attempts == 1 else 'attempts'}"
    return [
        ("request", request),
        ("answer", _answer(entry)),
        ("batch", _batch(entry)),
        ("dataset row", _dataset_row(entry)),
    ]


def _answer(entry: LedgerEntry) -> str:
    when = _moment(entry.settled_at)
    if entry.fate is Fate.PENDING:
        return "none yet: pending; the next run sends it again"
    if entry.fate is Fate.DELIVERED:
        receipt = f", transaction {entry.transaction_id}" if entry.transaction_id else ""
        return f"accepted {when}{receipt}"
    answer = f": {_excerpt(entry.answer)}" if entry.answer else ""
    return f"dead-lettered {when}, {entry.reason}{answer}"


def _batch(entry: LedgerEntry) -> str:
    if entry.batch_id is not None:
        return f"{entry.batch_id}, {entry.batch_state}"
    if entry.fate is not Fate.DELIVERED:
        return "none: it was not accepted"
    return "unknown: no read of the dataset found it"


def _dataset_row(entry: LedgerEntry) -> str:
    if entry.gone is not None:
        before = "a read found it before, and " if entry.found_at is not None else ""
        return f"gone, {entry.gone}: {before}the read of {_moment(entry.read_at)} did not find it"
    if entry.landed and entry.is_forgotten and entry.found_at is None:
        return "landed before the person was forgotten; reconcile checks whether it is still there"
    if entry.landed:
        when = f"the read of {_moment(entry.found_at)}" if entry.found_at else "an earlier read"
        return f"landed: {when} found it, as _id {entry.event_id}"
    if entry.fate is not Fate.DELIVERED:
        return "none: it was not accepted"
    if entry.read_at is None:
        return "unknown: the dataset was never read back; run reconcile"
    return f"not found by the read of {_moment(entry.read_at)}; reconcile reads again"


def _rejection_steps(rejection: Rejection, folders: list[str]) -> list[tuple[str, str]]:
    steps = [
        ("record", f"{rejection.file} record {rejection.record:,}"),
        ("rejected", f"{rejection.reason}: {rejection.detail}"),
        ("field", rejection.field or ""),
        ("listed in", ", ".join(folders)),
        ("as captured", _excerpt(rejection.raw or "")),
        ("request", "none: a rejected record is not sent"),
    ]
    return [(step, words) for step, words in steps if words]


def _excerpt(text: str) -> str:
    return on_one_line(text[:_EXCERPT]) + ("…" if len(text) > _EXCERPT else "")


def _moment(moment: datetime | None) -> str:
    return "at an unknown time" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"
