"""One piece of an export to validated frames: accepted rows, and a rejection for every other record."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from chatlio_kit.captures import Dialect, RawBatch, named_fields, parse
from chatlio_kit.captures.dialects import advice, meaning, with_offset
from chatlio_kit.chatlio.catalogue import EVENTS, MESSAGES, Dtype
from chatlio_kit.chatlio.event_ids import words_by_body
from chatlio_kit.chatlio.kinds import SHAPE_OF, Kind
from chatlio_kit.chatlio.rejections import Reason, Rejection, shortened
from chatlio_kit.chatlio.timestamps import ARROW_TIME, RFC3339, read_rfc3339, read_slack_ts, write_rfc3339
from chatlio_kit.errors import UsageError, option
from chatlio_kit.tables.arrow import NESTED_SCHEMA, arrow_table, events_of, frame_of, messages_of, nest
from chatlio_kit.tables.decode.columns import digests, texts
from chatlio_kit.tables.decode.decode import Remarks, Rows, read_rows
from chatlio_kit.tables.decode.shared import AROUND
from chatlio_kit.tables.validate.event_time import Undated, UndatedAs, date_events
from chatlio_kit.tables.validate.schemas import failures_of

_RFC3339 = re.compile(RFC3339)
_AS_IN = "2024-03-11T09:03:10.0009+01:00"
_ENVELOPE_PLACES = {**AROUND, "kind": "kind"}
_PLACE_OF_SOURCE = {"ended_at": "endedAt", "visitor_created": "visitor.createdAt"}
_TIME_COLUMNS = [each.name for each in EVENTS if each.dtype is Dtype.TIME and each.name != "occurred_at"]
_EVENT_PLACES = {each.name: each.places for each in EVENTS}
_MESSAGE_PLACES = {each.name: next(iter(each.places.values()), each.name) for each in MESSAGES}
_MESSAGE_PLACES["sent_at"] = "ts"
# What no capture can spoil is not looked at again for every piece; a message's ids are its event's.
_COMPUTED = frozenset(
    {
        "event_id", "kind", "occurred_at_source", "message_count", "payload_digest", "source_file",
        "source_record",
    }
)  # fmt: skip
_COMPUTED_OF_MESSAGES = frozenset({"event_id", "conversation_id", "author", "position"})
_DATED_MESSAGES = _COMPUTED_OF_MESSAGES | {"ts"}  # a time is read from none but a well-formed ts


@dataclass(frozen=True)
class ReadOptions:
    """What the user decided where captures say nothing.

    Attributes:
        kind: the kind of records that nothing else names; it overrides nothing.
        undated_as: what stands in for a missing time.
        fields: where payload, time and kind stand in records of loggers that no dialect is known of.
    """

    kind: Kind | None = None
    undated_as: UndatedAs = field(default_factory=UndatedAs)
    fields: Dialect | None = None

    @classmethod
    def from_options(
        cls,
        kind: str | None = None,
        undated_as: str | None = None,
        fields: str | Mapping[str, str] | None = None,
    ) -> ReadOptions:
        """Read the options ``--kind``, ``--undated-as`` and ``--fields``.

        Raises:
            UsageError: when one of them is none of its values.
        """
        if kind is not None and kind not in set(Kind):
            raise UsageError(f"{option('kind', repr(kind))} is none of the five kinds: {', '.join(Kind)}.")
        told = Kind(kind) if kind is not None else None
        return cls(told, UndatedAs.from_text(undated_as), named_fields(fields))


@dataclass
class EventBatch:
    """A piece's accepted events, and a rejection for every other record.

    Attributes:
        rows: the accepted events as an Arrow table, each with its messages
            (:mod:`chatlio_kit.tables.arrow`).
        rejected: the records that were not accepted.
        piece: the records that it was built of; none where it was built elsewhere.
        places: for each row the place of its record in the piece.
        dialects: how many of the piece's records a payload was taken from, by dialect.
        remarks: what else was found in the piece's records.
    """

    rows: Any
    rejected: list[Rejection]
    piece: RawBatch
    places: NDArray[np.int64]
    dialects: Counter[str] = field(default_factory=Counter)
    remarks: Remarks = field(default_factory=Remarks)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def events(self) -> pd.DataFrame:
        """The accepted events as a frame, one row each, indexed from 0."""
        return frame_of(events_of(self.rows))

    @property
    def messages(self) -> pd.DataFrame:
        """Their messages as a frame: a row for each message of each transcript (``event_id``)."""
        return frame_of(messages_of(self.rows))

    def keep(self, rows: Sequence[int], rejected: Iterable[Rejection] = ()) -> EventBatch:
        """Keep some of the events with their messages, and add rejections of others."""
        chosen = np.asarray(rows, dtype=np.int64)
        told = [*self.rejected, *rejected]
        rows = self.rows.take(pa.array(chosen))
        return replace(self, rows=rows, rejected=told, places=self.places[chosen])

    def part(self, start: int, end: int) -> EventBatch:
        """Give the events of these rows, in a table that shares its memory with this one."""
        return replace(self, rows=self.rows.slice(start, end - start), places=self.places[start:end])

    def raw(self, row: int) -> str:
        """Give the record of a row as text."""
        return self.piece.shown(int(self.places[row]))


def build(piece: RawBatch, settling: ReadOptions) -> EventBatch:
    """Turn a piece into validated frames.

    A record whose event or any of whose messages breaks a rule is rejected whole, with its first fault
    named; every other record is kept whole.
    """
    rows = read_rows(piece, settling.kind, settling.fields)
    rejected = [*piece.rejected, *rows.rejected]
    if not len(rows.told.places):
        nothing = np.array([], dtype=np.int64)
        return EventBatch(NESTED_SCHEMA.empty_table(), rejected, piece, nothing, rows.dialects, rows.remarks)
    return _Building(piece, rows, settling).finish(rejected)


class _Building:
    """A piece's rows on their way to frames."""

    def __init__(self, piece: RawBatch, rows: Rows, settling: ReadOptions) -> None:
        self._told, self._dialects, self._remarks = rows.told, rows.dialects, rows.remarks
        self._piece = piece
        sizes = list(map(len, piece.stretches))
        self._files = [stretch.file for stretch in piece.stretches]
        self._file_of = np.repeat(np.arange(len(sizes)), sizes)[self._told.places]
        numbers = [np.asarray(stretch.records.numbers, dtype=np.int64) for stretch in piece.stretches]
        self._records = np.concatenate(numbers)[self._told.places]
        self._columns = self._told.events
        self._settling = settling
        self._faults: dict[int, Rejection] = {}

    def finish(self, rejected: list[Rejection]) -> EventBatch:
        columns = self._events()
        events = arrow_table("events", columns)
        messages, owners = self._messages(), self._told.owners
        for failure in failures_of("events", _with_stand_ins(events), _COMPUTED):
            name = self._place(failure.row, failure.column, columns)
            self._fault(failure.row, failure.reason, name, failure.sentence(name))
        computed = _COMPUTED_OF_MESSAGES if messages["sent_at"].null_count else _DATED_MESSAGES
        for failure in failures_of("messages", messages, computed):
            owner = int(owners[failure.row])
            place = failure.row - int(np.searchsorted(owners, owner))
            name = f"messages[{place}].{_MESSAGE_PLACES[failure.column]}"
            self._fault(owner, failure.reason, name, failure.sentence(name))
        rows = nest(events, messages, np.bincount(owners, minlength=len(events)))
        built = EventBatch(rows, rejected, self._piece, self._told.places, self._dialects, self._remarks)
        if not self._faults:
            return built
        kept = [row for row in range(len(rows)) if row not in self._faults]
        return built.keep(kept, self._faults.values())

    def _events(self) -> dict[str, Any]:
        columns = self._columns
        columns["source_file"] = texts([file.name for file in self._files]).take(pa.array(self._file_of))
        columns["source_record"] = pa.array(self._records)
        ended = columns["ended_at"]
        for name in _TIME_COLUMNS:
            columns[name] = self._times(name, columns[name])
        columns["event_id"] = self._ids(columns)
        dates = date_events(columns, self._file_times, self._settling.undated_as)
        columns["occurred_at"], columns["occurred_at_source"] = dates
        for row in pc.indices_nonzero(pc.is_null(columns["occurred_at"])).to_pylist():
            self._fault_undated(row, ended[row].is_valid)
        return columns

    def _times(self, name: str, written: pa.Array) -> pa.Array:
        times, wrong = read_rfc3339(written)
        for row in wrong:
            place = self._place(row, name)
            text = written[row].as_py()
            detail = f"{place} is {shortened(text)}; expected an RFC 3339 time such as {_AS_IN}."
            if _RFC3339.fullmatch(text):
                detail = (
                    f"{place} is {shortened(text)}; expected a day and a time that exist. Correct the record."
                )
            else:
                detail += _time_advice(name, place, text)
            self._fault(row, Reason.INVALID_TIME, place, detail)
        return times

    def _ids(self, columns: dict[str, Any]) -> pa.Array:
        """Give the ids, those told by their bodies included."""
        missing = pc.is_null(columns["event_id"])
        places = self._told.places[missing.to_numpy(zero_copy_only=False)].tolist()
        kinds, widgets = (columns[name].filter(missing).to_pylist() for name in ("kind", "widget_id"))
        received = write_rfc3339(columns["received_at"].filter(missing))
        told = zip(places, kinds, widgets, received, strict=True)
        words = [
            words_by_body(kind, self._told.bodies[place], widget=widget, received=at)
            for place, kind, widget, at in told
        ]
        return pc.replace_with_mask(columns["event_id"], missing, digests(words))

    def _file_times(self) -> pa.Array:
        times = pa.array([file.modified_at for file in self._files], ARROW_TIME)
        return times.take(pa.array(self._file_of))

    def _messages(self) -> Any:
        """Give what messages have of their own; what they have from their events needs no look."""
        columns = self._told.messages
        return pa.table({**columns, "sent_at": read_slack_ts(columns["ts"])})

    def _place(self, row: int, column: str, events: dict[str, Any] | None = None) -> str:
        """Call a column as the record does: by its place in the payload or in the envelope."""
        if column == "occurred_at" and events is not None:
            return _PLACE_OF_SOURCE.get(events["occurred_at_source"][row].as_py(), "receivedAt")
        place = _EVENT_PLACES[column].get(SHAPE_OF[self._kind(row)])
        return place or _ENVELOPE_PLACES.get(column, column)

    def _kind(self, row: int) -> Kind:
        return Kind(self._columns["kind"][row].as_py())

    def _fault_undated(self, row: int, has_end: bool) -> None:
        if (told := self._received_among_extras(row)) is not None:
            key, value = told
            detail = f"Nothing says when it happened, but {key} is {shortened(value)}. {advice(value, key)}"
            self._fault(row, Reason.UNDATED, key, detail)
            return
        is_transcript = self._kind(row) is Kind.TRANSCRIPT
        place = "endedAt" if is_transcript and not has_end else "receivedAt"
        by_file = self._settling.undated_as.choice is Undated.FILE_TIME
        detail = (
            "Nothing says when it happened: the capture has no received time"
            f"{' and the transcript no endedAt' if is_transcript else ''}"
            f"{', and its file no time with a zone' if by_file else ''}. "
            "Choose a stand-in with --undated-as (in Python undated_as=), or add receivedAt to the capture."
        )
        self._fault(row, Reason.UNDATED, place, detail)

    def _received_among_extras(self, row: int) -> tuple[str, Any] | None:
        """Return what stands among the payload's own fields as if it were a time of arrival, and its key."""
        extra = self._columns["extra_fields"][row].as_py()
        fields = parse(extra.encode()) if extra else {}
        return next(((key, fields[key]) for key in fields if meaning(key) == AROUND["received_at"]), None)

    def _fault(self, row: int, reason: Reason, name: str, detail: str) -> None:
        if row not in self._faults:
            file, record = self._files[self._file_of[row]].name, int(self._records[row])
            raw = self._piece.shown(int(self._told.places[row]))
            self._faults[row] = Rejection(file, record, reason, name, detail, raw)


def _time_advice(column: str, place: str, value: str) -> str:
    """Return the sentence that names the option for a time in another form, if there is one."""
    return f" {advice(value, place)}" if column == "received_at" or with_offset(value, "Z") else ""


def _with_stand_ins(events: Any) -> Any:
    """Undated rows are told already; a stand-in keeps validation from telling them again."""
    place = events.schema.get_field_index("occurred_at")
    stand_in = pa.scalar(0, ARROW_TIME)
    return events.set_column(place, events.schema.field(place), pc.fill_null(events.column(place), stand_in))
