"""Validate a batch of decoded records: accepted events, and a rejection for every other record."""

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
from chatlio_kit.chatlio.event_ids import id_parts_from_body
from chatlio_kit.chatlio.kinds import SHAPE_OF, Kind
from chatlio_kit.chatlio.rejections import Reason, Rejection, shortened
from chatlio_kit.chatlio.timestamps import ARROW_TIME, RFC3339, read_rfc3339, read_slack_ts, write_rfc3339
from chatlio_kit.errors import UsageError, option
from chatlio_kit.tables.arrow import NESTED_SCHEMA, arrow_table, events_of, frame_of, messages_of, nest
from chatlio_kit.tables.decode.columns import TEXT, digests, string_array
from chatlio_kit.tables.decode.decode import DecodeResult, Remarks, decode_batch
from chatlio_kit.tables.validate.event_time import Undated, UndatedAs, date_events
from chatlio_kit.tables.validate.schemas import failures_of

_RFC3339 = re.compile(RFC3339)
WEBHOOK = "webhook"
"""The origin of events that were read from captures."""
_AS_IN = "2024-03-11T09:03:10.0009+01:00"
_ENVELOPE_KEYS = {"received_at": "receivedAt", "widget_id": "widget", "kind": "kind"}
_PATH_OF_TIME = {"ended_at": "endedAt", "visitor_created": "visitor.createdAt"}
_TIME_COLUMNS = [
    column.name for column in EVENTS if column.dtype is Dtype.TIME and column.name != "occurred_at"
]
_EVENT_PATHS = {column.name: column.paths for column in EVENTS}
_MESSAGE_KEYS = {column.name: next(iter(column.paths.values()), column.name) for column in MESSAGES}
_MESSAGE_KEYS["sent_at"] = "ts"
# Rules that no capture can break are not checked again in every batch; a message's ids are its event's.
_COMPUTED = frozenset(
    {
        "event_id", "kind", "occurred_at_source", "message_count", "payload_digest", "source_file",
        "source_record", "origin", "ended_by", "start_is_whole",
    }
)  # fmt: skip
_COMPUTED_OF_MESSAGES = frozenset(
    {"event_id", "conversation_id", "author", "position", "origin", "slack_text"}
)
_DATED_MESSAGES = _COMPUTED_OF_MESSAGES | {"ts"}  # times are parsed only from a well-formed ts


@dataclass(frozen=True)
class ReadOptions:
    """The user's choices for data that captures lack.

    Attributes:
        kind: The kind of records that nothing else names; it overrides nothing.
        undated_as: The time of an event that has none.
        fields: The paths of payload, time and kind in records of a logger without a dialect.
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
        """Parse the options ``--kind``, ``--undated-as`` and ``--fields``.

        Raises:
            UsageError: One of them has an invalid value.
        """
        if kind is not None and kind not in set(Kind):
            raise UsageError(f"{option('kind', repr(kind))} is none of the five kinds: {', '.join(Kind)}.")
        return cls(
            Kind(kind) if kind is not None else None, UndatedAs.from_text(undated_as), named_fields(fields)
        )


@dataclass
class EventBatch:
    """The accepted events of a raw batch, and a rejection for every other record.

    Attributes:
        rows: The accepted events as an Arrow table with nested messages (:mod:`chatlio_kit.tables.arrow`).
        rejected: The records that were not accepted.
        raw_batch: The records that it was read from; empty if another process read them.
        raw_rows: Index of each row's record in the raw batch.
        duplicates: Number of records that were removed as duplicates.
        dialects: Number of unwrapped payloads, by dialect.
        remarks: Other remarks on the records.
    """

    rows: Any
    rejected: list[Rejection]
    raw_batch: RawBatch
    raw_rows: NDArray[np.int64]
    duplicates: int = 0
    dialects: Counter[str] = field(default_factory=Counter)
    remarks: Remarks = field(default_factory=Remarks)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def records(self) -> int:
        """The number of records that the batch was read from."""
        return len(self) + len(self.rejected) + self.duplicates

    @property
    def events(self) -> pd.DataFrame:
        """The accepted events as a frame, one row each, indexed from 0."""
        return frame_of(events_of(self.rows))

    @property
    def messages(self) -> pd.DataFrame:
        """Their messages as a frame, with a row for each message of each transcript (``event_id``)."""
        return frame_of(messages_of(self.rows))

    def keep(self, rows: Sequence[int], rejected: Iterable[Rejection] = ()) -> EventBatch:
        """Return the batch with only these events, and with rejections of others added."""
        chosen = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            rows=self.rows.take(pa.array(chosen)),
            rejected=[*self.rejected, *rejected],
            raw_rows=self.raw_rows[chosen],
        )

    def part(self, start: int, end: int) -> EventBatch:
        """Return the events of these rows, in a table that shares its memory with this one."""
        return replace(self, rows=self.rows.slice(start, end - start), raw_rows=self.raw_rows[start:end])

    def raw(self, row: int) -> str:
        """Return the record of a row as text; empty where frames or a Slack export were read."""
        if not self.raw_batch.slices:
            return ""
        return self.raw_batch.text(int(self.raw_rows[row]))


def validate_batch(batch: RawBatch, options: ReadOptions) -> EventBatch:
    """Return a batch's records as validated events.

    If an event or any of its messages breaks a rule, the whole record is rejected, and its first fault is
    named.
    """
    result = decode_batch(batch, options.kind, options.fields)
    rejected = [*batch.rejected, *result.rejected]
    if not len(result.decoded.rows):
        rows, raw_rows = NESTED_SCHEMA.empty_table(), result.decoded.rows
        return EventBatch(rows, rejected, batch, raw_rows, dialects=result.dialects, remarks=result.remarks)
    return _Validation(batch, result, options).finish(rejected)


class _Validation:
    """The accepted records of a batch while they are validated."""

    def __init__(self, batch: RawBatch, result: DecodeResult, options: ReadOptions) -> None:
        self._batch, self._options = batch, options
        self._decoded, self._dialects, self._remarks = result.decoded, result.dialects, result.remarks
        lengths = list(map(len, batch.slices))
        self._files = [file_slice.file for file_slice in batch.slices]
        self._file_of = np.repeat(np.arange(len(lengths)), lengths)[self._decoded.rows]
        numbers = [np.asarray(file_slice.records.numbers, dtype=np.int64) for file_slice in batch.slices]
        self._record_numbers = np.concatenate(numbers)[self._decoded.rows]
        self._columns = self._decoded.events
        self._faults: dict[int, Rejection] = {}

    def finish(self, rejected: list[Rejection]) -> EventBatch:
        """Return the valid events and all rejections."""
        self._fill_columns()
        events = arrow_table("events", self._columns)
        for failure in failures_of("events", _with_any_time(events), _COMPUTED):
            path = self._path(failure.row, failure.column)
            self._fault(failure.row, failure.reason, path, failure.sentence(path))
        columns, owners = self._decoded.messages, self._decoded.owners
        texts_of_slack = pa.nulls(len(owners), TEXT)
        messages = pa.table(
            {**columns, "sent_at": read_slack_ts(columns["ts"]), "slack_text": texts_of_slack}
        )
        computed = _COMPUTED_OF_MESSAGES if messages["sent_at"].null_count else _DATED_MESSAGES
        for failure in failures_of("messages", messages, computed):
            owner = int(owners[failure.row])
            index = failure.row - int(np.searchsorted(owners, owner))
            path = f"messages[{index}].{_MESSAGE_KEYS[failure.column]}"
            self._fault(owner, failure.reason, path, failure.sentence(path))
        rows = nest(events, messages, np.bincount(owners, minlength=len(events)))
        validated = EventBatch(
            rows,
            rejected,
            self._batch,
            self._decoded.rows,
            dialects=self._dialects,
            remarks=self._remarks,
        )
        if not self._faults:
            return validated
        kept = [row for row in range(len(rows)) if row not in self._faults]
        return validated.keep(kept, self._faults.values())

    def _fill_columns(self) -> None:
        """Fill the columns that a record does not hold itself: file, times, event time, ids."""
        columns = self._columns
        columns["source_file"] = string_array([file.name for file in self._files]).take(
            pa.array(self._file_of)
        )
        columns["source_record"] = pa.array(self._record_numbers)
        columns["origin"] = pa.repeat(pa.scalar(WEBHOOK, TEXT), len(self._decoded.rows))
        columns["ended_by"] = pa.nulls(len(self._decoded.rows), TEXT)
        columns["start_is_whole"] = pa.nulls(len(self._decoded.rows), pa.bool_())
        ended = columns["ended_at"]
        for name in _TIME_COLUMNS:
            columns[name] = self._parse_times(name, columns[name])
        columns["event_id"] = self._event_ids()
        columns["occurred_at"], columns["occurred_at_source"] = date_events(
            columns, self._file_times, self._options.undated_as
        )
        for row in pc.indices_nonzero(pc.is_null(columns["occurred_at"])).to_pylist():
            self._fault_undated(row, ended[row].is_valid)

    def _parse_times(self, name: str, written: pa.Array) -> pa.Array:
        times, invalid = read_rfc3339(written)
        for row in invalid:
            path, text = self._path(row, name), written[row].as_py()
            if _RFC3339.fullmatch(text):
                expected = "a day and a time that exist. Correct the record."
            else:
                expected = f"an RFC 3339 time such as {_AS_IN}."
                if name == "received_at" or with_offset(text, "Z"):  # an option can read it
                    expected += f" {advice(text, path)}"
            detail = f"{path} is {shortened(text)}; expected {expected}"
            self._fault(row, Reason.INVALID_TIME, path, detail)
        return times

    def _event_ids(self) -> pa.Array:
        """Return the ids, including those that depend on bodies."""
        ids = self._columns["event_id"]
        missing = pc.is_null(ids)
        rows = self._decoded.rows[missing.to_numpy(zero_copy_only=False)].tolist()
        kinds, widgets = (self._columns[name].filter(missing).to_pylist() for name in ("kind", "widget_id"))
        received = write_rfc3339(self._columns["received_at"].filter(missing))
        parts = [
            id_parts_from_body(kind, self._decoded.bodies[row], widget=widget, received=received_at)
            for row, kind, widget, received_at in zip(rows, kinds, widgets, received, strict=True)
        ]
        return pc.replace_with_mask(ids, missing, digests(parts))

    def _file_times(self) -> pa.Array:
        times = pa.array([file.modified_at for file in self._files], ARROW_TIME)
        return times.take(pa.array(self._file_of))

    def _path(self, row: int, column: str) -> str:
        """Return a column value's path in the payload or in the envelope."""
        if column == "occurred_at":
            return _PATH_OF_TIME.get(self._columns["occurred_at_source"][row].as_py(), "receivedAt")
        path = _EVENT_PATHS[column].get(SHAPE_OF[self._kind(row)])
        return path or _ENVELOPE_KEYS.get(column, column)

    def _kind(self, row: int) -> Kind:
        return Kind(self._columns["kind"][row].as_py())

    def _fault_undated(self, row: int, has_end: bool) -> None:
        extra = self._columns["extra_fields"][row].as_py()
        unknown = parse(extra.encode()) if extra else {}
        received = next((key for key in unknown if meaning(key) == _ENVELOPE_KEYS["received_at"]), None)
        if received is not None:
            value = unknown[received]
            detail = (
                f"The record has no readable time: {received} is {shortened(value)}. "
                f"{advice(value, received)}"
            )
            self._fault(row, Reason.UNDATED, received, detail)
            return
        is_transcript = self._kind(row) is Kind.TRANSCRIPT
        path = "endedAt" if is_transcript and not has_end else "receivedAt"
        by_file = self._options.undated_as.choice is Undated.FILE_TIME
        detail = (
            "The record has no time: the capture has no received time"
            f"{' and the transcript no endedAt' if is_transcript else ''}"
            f"{', and its file no time with a zone' if by_file else ''}. "
            "Choose a stand-in with --undated-as (in Python undated_as=), or add receivedAt to the capture."
        )
        self._fault(row, Reason.UNDATED, path, detail)

    def _fault(self, row: int, reason: Reason, path: str, detail: str) -> None:
        if row not in self._faults:
            file, number = self._files[self._file_of[row]].name, int(self._record_numbers[row])
            raw = self._batch.text(int(self._decoded.rows[row]))
            self._faults[row] = Rejection(file, number, reason, path, detail, raw)


def _with_any_time(events: Any) -> Any:
    """Return events with an arbitrary time where they have none, because those are already rejected."""
    index = events.schema.get_field_index("occurred_at")
    filled = pc.fill_null(events.column(index), pa.scalar(0, ARROW_TIME))
    return events.set_column(index, events.schema.field(index), filled)
