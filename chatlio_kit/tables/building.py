"""One piece of an export to validated frames: accepted rows, and a rejection for every other record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from chatlio_kit.captures import Captured, Piece
from chatlio_kit.errors import UsageError
from chatlio_kit.events.catalogue import EVENTS, MESSAGES, Dtype
from chatlio_kit.events.identity import canonical, digest, event_id
from chatlio_kit.events.kinds import SHAPE_OF, Kind, kind_of_shape, shape_of
from chatlio_kit.events.rejection import Reason, Rejection, shortened
from chatlio_kit.events.times import parse_rfc3339, parse_slack_ts
from chatlio_kit.tables.dating import UndatedAs, date_events
from chatlio_kit.tables.reading import READERS, MessageRow, Unfit
from chatlio_kit.tables.schemas import empty, failures, frame

_ENVELOPE_PLACES = {"received_at": "receivedAt", "widget_id": "widget", "kind": "kind"}
_PLACE_OF_SOURCE = {"ended_at": "endedAt", "visitor_created": "visitor.createdAt"}
_TIME_COLUMNS = [each.name for each in EVENTS if each.dtype is Dtype.TIME and each.name != "occurred_at"]
_EVENT_PLACES = {each.name: each.places for each in EVENTS}
_MESSAGE_PLACES = {each.name: next(iter(each.places.values()), each.name) for each in MESSAGES}
_MESSAGE_PLACES["sent_at"] = "ts"


@dataclass(frozen=True)
class Settling:
    """What the user decided where captures say nothing.

    Attributes:
        kind: the kind of records that nothing else names; it overrides nothing.
        undated_as: what stands in for a missing time.
    """

    kind: Kind | None = None
    undated_as: UndatedAs = field(default_factory=UndatedAs)

    @classmethod
    def from_options(cls, kind: str | None = None, undated_as: str | None = None) -> Settling:
        """Read the options ``--kind`` and ``--undated-as``.

        Raises:
            UsageError: when one of them is none of its values.
        """
        if kind is not None and kind not in set(Kind):
            raise UsageError(f"--kind {kind!r} is none of the five kinds: {', '.join(Kind)}.")
        return cls(Kind(kind) if kind is not None else None, UndatedAs.from_text(undated_as))


@dataclass
class Built:
    """A piece as frames.

    Attributes:
        events: accepted events, one row each, indexed from 0.
        messages: the messages of these events, a row for each message of each transcript (``event_id``).
        owners: for each row of ``messages`` the row of ``events`` that it belongs to.
        rejected: the records that were not accepted.
        raws: each accepted event's record as it was read, in the order of ``events``.
    """

    events: pd.DataFrame
    messages: pd.DataFrame
    owners: list[int]
    rejected: list[Rejection]
    raws: list[bytes]

    def keep(self, rows: Sequence[int], rejected: Iterable[Rejection] = ()) -> Built:
        """Keep some of the events with their messages, and add rejections of others."""
        place = {row: position for position, row in enumerate(rows)}
        mine = [position for position, owner in enumerate(self.owners) if owner in place]
        return Built(
            self.events.iloc[list(rows)].reset_index(drop=True),
            self.messages.iloc[mine].reset_index(drop=True),
            [place[self.owners[position]] for position in mine],
            [*self.rejected, *rejected],
            [self.raws[row] for row in rows],
        )


def build(piece: Piece, settling: Settling) -> Built:
    """Turn a piece into validated frames.

    A record whose event or any of whose messages breaks a rule is rejected whole, with its first fault
    named; every other record is kept whole.
    """
    reading = _Reading(settling)
    for captured in piece.captured:
        reading.take(captured)
    return reading.finish(piece.rejected)


class _Reading:
    """The columns of a piece while they grow, and the records they come from."""

    def __init__(self, settling: Settling) -> None:
        self._settling = settling
        self._records: list[Captured] = []
        self._kinds: list[Kind] = []
        self._columns: dict[str, list[Any]] = {each.name: [] for each in EVENTS}
        self._messages: list[list[MessageRow]] = []
        self._rejected: list[Rejection] = []

    def take(self, captured: Captured) -> None:
        try:
            kind = self._kind(captured)
            values, messages = READERS[SHAPE_OF[kind]].read(captured.payload)
            values["received_at"] = _text_or_none(captured.received_at, "receivedAt")
            values["widget_id"] = _text_or_none(captured.widget, "widget")
        except Unfit as unfit:
            self._rejected.append(_rejection(captured, unfit.reason, unfit.field or None, unfit.detail))
            return
        self._records.append(captured)
        self._kinds.append(kind)
        self._messages.append(messages)
        for name, column in self._columns.items():
            column.append(values.get(name))

    def _kind(self, captured: Captured) -> Kind:
        shape = shape_of(captured.payload)
        if shape is None:
            detail = "The payload is none of Chatlio's shapes: transcript, offline message or conversation."
            raise Unfit(Reason.SHAPE_UNKNOWN, "", detail)
        named = captured.kind
        if named and not (isinstance(named, str) and named in set(Kind)):
            detail = f"kind is {shortened(named)}; expected one of {', '.join(Kind)}."
            raise Unfit(Reason.KIND_UNKNOWN, "kind", detail)
        kind = Kind(named) if named else captured.file.kind or kind_of_shape(shape) or self._settling.kind
        if kind is None:
            detail = (
                "Neither its capture nor its file or folder says whether this is conversation_started, "
                "unanswered or feedback. Name it with --kind, or put the file into a folder of that name."
            )
            raise Unfit(Reason.KIND_UNKNOWN, "kind", detail)
        if SHAPE_OF[kind] is not shape:
            detail = f"It is labelled {kind}, but its payload is of the {shape} shape. Correct the label."
            raise Unfit(Reason.KIND_MISMATCH, "kind", detail)
        return kind

    def finish(self, rejected_before: Iterable[Rejection]) -> Built:
        rejected = [*rejected_before, *self._rejected]
        if not self._records:
            return Built(empty("events"), empty("messages"), [], rejected, [])
        faults: dict[int, Rejection] = {}
        events = self._events(faults)
        messages, owners = self._message_rows(events)
        for failure in failures("events", _with_stand_ins(events)):
            name = self._place(failure.row, failure.column, events)
            self._fault(faults, failure.row, failure.reason, name, failure.sentence(name))
        for failure in failures("messages", messages):
            first = owners.index(owners[failure.row])
            name = f"messages[{failure.row - first}].{_MESSAGE_PLACES[failure.column]}"
            self._fault(faults, owners[failure.row], failure.reason, name, failure.sentence(name))
        raws = [captured.raw for captured in self._records]
        kept = [row for row in range(len(self._records)) if row not in faults]
        return Built(events, messages, owners, rejected, raws).keep(kept, faults.values())

    def _events(self, faults: dict[int, Rejection]) -> pd.DataFrame:
        columns = self._columns
        ended_as_written = columns["ended_at"]
        for name in _TIME_COLUMNS:
            texts = pd.Series(columns[name], dtype="str")
            columns[name], wrong = parse_rfc3339(texts)  # type: ignore[assignment]
            for row in wrong[wrong].index:
                place = self._place(row, name)
                detail = (
                    f"{place} is {shortened(texts[row])}; expected an RFC 3339 time "
                    "such as 2024-03-11T09:03:10.0009+01:00."
                )
                self._fault(faults, row, Reason.INVALID_TIME, place, detail)
        columns["kind"] = [str(kind) for kind in self._kinds]
        columns["message_count"] = [
            len(messages) if kind is Kind.TRANSCRIPT else None
            for kind, messages in zip(self._kinds, self._messages, strict=True)
        ]
        columns["message_ts"] = [" ".join(row["ts"] for row in rows) or None for rows in self._messages]
        columns["source_file"] = [captured.file.name for captured in self._records]
        columns["source_record"] = [captured.record for captured in self._records]
        self._identify(columns)
        events = frame("events", columns)
        date_events(events, self._file_times(), self._settling.undated_as)
        for row in events.index[events["occurred_at"].isna()]:
            self._fault_undated(faults, row, bool(ended_as_written[row]))
        return events

    def _identify(self, columns: dict[str, list[Any]]) -> None:
        bodies = [canonical(captured.payload) for captured in self._records]
        received = columns["received_at"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # type: ignore[attr-defined]
        columns["event_id"] = [
            event_id(
                kind,
                captured.payload,
                body,
                widget=widget,
                received=when if isinstance(when, str) else None,
            )
            for kind, captured, body, widget, when in zip(
                self._kinds, self._records, bodies, columns["widget_id"], received, strict=True
            )
        ]
        columns["payload_digest"] = [digest(body) for body in bodies]

    def _file_times(self) -> pd.Series[pd.Timestamp]:
        times = {file: file.modified_at for file in {captured.file for captured in self._records}}
        return pd.Series(pd.to_datetime([times[captured.file] for captured in self._records], utc=True))

    def _message_rows(self, events: pd.DataFrame) -> tuple[pd.DataFrame, list[int]]:
        owners = [row for row, messages in enumerate(self._messages) for _ in messages]
        rows = [message for messages in self._messages for message in messages]
        columns: dict[str, Any] = {each.name: [row.get(each.name) for row in rows] for each in MESSAGES}
        columns["sent_at"] = parse_slack_ts(pd.Series(columns["ts"], dtype="str"))
        for name in ("event_id", "conversation_id"):
            columns[name] = events[name].to_numpy()[owners] if owners else []
        return frame("messages", columns), owners

    def _place(self, row: int, column: str, events: pd.DataFrame | None = None) -> str:
        """Call a column as the record does: by its place in the payload or in the envelope."""
        if column == "occurred_at" and events is not None:
            return _PLACE_OF_SOURCE.get(str(events["occurred_at_source"].iat[row]), "receivedAt")
        place = _EVENT_PLACES[column].get(SHAPE_OF[self._kinds[row]])
        return place or _ENVELOPE_PLACES.get(column, column)

    def _fault_undated(self, faults: dict[int, Rejection], row: int, has_end: bool) -> None:
        is_transcript = self._kinds[row] is Kind.TRANSCRIPT
        place = "endedAt" if is_transcript and not has_end else "receivedAt"
        detail = (
            "Nothing says when it happened: the capture has no received time"
            f"{' and the transcript no endedAt' if is_transcript else ''}. "
            "Choose a stand-in with --undated-as, or add receivedAt to the capture."
        )
        self._fault(faults, row, Reason.UNDATED, place, detail)

    def _fault(self, faults: dict[int, Rejection], row: int, reason: Reason, name: str, detail: str) -> None:
        if row not in faults:
            faults[row] = _rejection(self._records[row], reason, name, detail)


def _with_stand_ins(events: pd.DataFrame) -> pd.DataFrame:
    """Undated rows are told already; a stand-in keeps validation from telling them again."""
    undated = events["occurred_at"].isna()
    if not undated.any():
        return events
    return events.assign(
        occurred_at=events["occurred_at"].where(~undated, pd.Timestamp(0, unit="us", tz="UTC")),
        occurred_at_source=events["occurred_at_source"].where(~undated, "given"),
    )


def _text_or_none(value: Any, place: str) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    detail = f"{place} is {shortened(value)}; expected a text."
    raise Unfit(Reason.WRONG_TYPE, place, detail)


def _rejection(captured: Captured, reason: Reason, field: str | None, detail: str) -> Rejection:
    raw = captured.raw.decode("utf-8", errors="replace")
    return Rejection(captured.file.name, captured.record, reason, field, detail, raw)
