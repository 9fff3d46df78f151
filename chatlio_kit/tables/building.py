"""One piece of an export to validated frames: accepted rows, and a rejection for every other record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from chatlio_kit.captures import Piece
from chatlio_kit.errors import UsageError
from chatlio_kit.events.catalogue import EVENTS, MESSAGES, Dtype
from chatlio_kit.events.identity import digest, event_id
from chatlio_kit.events.kinds import SHAPE_OF, Kind
from chatlio_kit.events.rejection import Reason, Rejection, shortened
from chatlio_kit.events.times import ARROW_TIME, read_rfc3339, read_slack_ts, write_rfc3339
from chatlio_kit.tables.arrow import arrow_frame, texts
from chatlio_kit.tables.dating import UndatedAs, date_events
from chatlio_kit.tables.reading import MESSAGE_COLUMNS
from chatlio_kit.tables.rows import TOP_COLUMNS, VISITOR_COLUMNS, Rows, read_rows
from chatlio_kit.tables.schemas import empty, failures

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
    owners: NDArray[np.int64]
    rejected: list[Rejection]
    raws: list[bytes]

    def keep(self, rows: Sequence[int], rejected: Iterable[Rejection] = ()) -> Built:
        """Keep some of the events with their messages, and add rejections of others."""
        chosen = np.asarray(rows, dtype="int64")
        place = np.full(len(self.events), -1)
        place[chosen] = np.arange(len(chosen))
        owners = place[self.owners]
        mine = np.flatnonzero(owners >= 0)
        return Built(
            self.events.take(chosen).reset_index(drop=True),
            self.messages.take(mine).reset_index(drop=True),
            owners[mine],
            [*self.rejected, *rejected],
            [self.raws[row] for row in rows],
        )


def build(piece: Piece, settling: Settling) -> Built:
    """Turn a piece into validated frames.

    A record whose event or any of whose messages breaks a rule is rejected whole, with its first fault
    named; every other record is kept whole.
    """
    rows = read_rows(piece, settling.kind)
    rejected = [*piece.rejected, *rows.rejected]
    if not rows.kinds:
        return Built(empty("events"), empty("messages"), np.array([], dtype="int64"), rejected, [])
    return _Building(rows, settling).finish(rejected)


class _Building:
    """A piece's rows on their way to frames."""

    def __init__(self, rows: Rows, settling: Settling) -> None:
        self._rows = rows
        self._settling = settling
        self._faults: dict[int, Rejection] = {}

    def finish(self, rejected: list[Rejection]) -> Built:
        columns = self._events()
        events = arrow_frame("events", columns)
        messages, owners = self._messages(columns)
        for failure in failures("events", _with_stand_ins(events)):
            name = self._place(failure.row, failure.column, events)
            self._fault(failure.row, failure.reason, name, failure.sentence(name))
        starts = np.concatenate(([0], np.cumsum(self._rows.counts)))
        for failure in failures("messages", messages):
            owner = int(owners[failure.row])
            name = f"messages[{failure.row - starts[owner]}].{_MESSAGE_PLACES[failure.column]}"
            self._fault(owner, failure.reason, name, failure.sentence(name))
        built = Built(events, messages, owners, rejected, self._rows.raws)
        if not self._faults:
            return built
        kept = [row for row in range(len(events)) if row not in self._faults]
        return built.keep(kept, self._faults.values())

    def _events(self) -> dict[str, Any]:
        rows, count = self._rows, len(self._rows.kinds)
        columns: dict[str, Any] = {"received_at": texts(rows.received), "widget_id": texts(rows.widgets)}
        found = [texts(column) for column in zip(*rows.values, strict=True)]
        top, visitor = found[: len(TOP_COLUMNS)], found[len(TOP_COLUMNS) :]
        columns |= dict(zip(TOP_COLUMNS, top, strict=True))
        for name, column in zip(VISITOR_COLUMNS, visitor, strict=True):
            columns[name] = pc.coalesce(columns[name], column) if name in columns else column
        columns["kind"] = texts([str(kind) for kind in rows.kinds])
        is_transcript = pc.equal(columns["kind"], str(Kind.TRANSCRIPT))
        counts = pa.array(rows.counts, pa.int64())
        columns["message_count"] = pc.if_else(is_transcript, counts, pa.scalar(None, pa.int64()))
        columns["message_ts"] = texts(rows.message_ts)
        columns["extra_fields"] = texts([rows.extra.get(row) for row in range(count)])
        columns["source_file"] = texts([file.name for file in rows.files])
        columns["source_record"] = pa.array(rows.records, pa.int64())
        ended = columns["ended_at"].to_pylist()
        for name in _TIME_COLUMNS:
            columns[name] = self._times(name, columns[name])
        self._identify(columns, ended)
        dates = date_events(columns, self._file_times, self._settling.undated_as)
        columns["occurred_at"], columns["occurred_at_source"] = dates
        if columns["occurred_at"].null_count:
            for row in np.flatnonzero(pc.is_null(columns["occurred_at"]).to_numpy(zero_copy_only=False)):
                self._fault_undated(int(row), bool(ended[row]))
        return columns

    def _times(self, name: str, written: pa.Array) -> pa.Array:
        times, wrong = read_rfc3339(written)
        for row in wrong:
            place = self._place(row, name)
            detail = (
                f"{place} is {shortened(written[row].as_py())}; expected an RFC 3339 time "
                "such as 2024-03-11T09:03:10.0009+01:00."
            )
            self._fault(row, Reason.INVALID_TIME, place, detail)
        return times

    def _identify(self, columns: dict[str, Any], ended: list[str | None]) -> None:
        rows = self._rows
        columns["event_id"] = texts(
            [
                event_id(
                    kind, {"conversationUUID": chat, "endedAt": end}, body, widget=widget, received=received
                )
                for kind, chat, end, body, widget, received in zip(
                    rows.kinds,
                    columns["conversation_id"].to_pylist(),
                    ended,
                    rows.bodies,
                    columns["widget_id"].to_pylist(),
                    write_rfc3339(columns["received_at"]),
                    strict=True,
                )
            ]
        )
        columns["payload_digest"] = texts([digest(body) for body in rows.bodies])

    def _file_times(self) -> pa.Array:
        times = {file: file.modified_at for file in set(self._rows.files)}
        return pa.array([times[file] for file in self._rows.files], ARROW_TIME)

    def _messages(self, events: dict[str, Any]) -> tuple[pd.DataFrame, NDArray[np.int64]]:
        rows = self._rows
        owners = np.repeat(np.arange(len(rows.counts)), rows.counts)
        if not len(owners):
            return empty("messages"), owners
        columns: dict[str, Any] = dict(zip(MESSAGE_COLUMNS, zip(*rows.messages, strict=True), strict=True))
        columns["position"] = pa.array(columns["position"], pa.int64())
        for name in MESSAGE_COLUMNS:
            if name != "position":
                columns[name] = texts(columns[name])
        columns["sent_at"] = read_slack_ts(columns["ts"])
        for name in ("event_id", "conversation_id"):
            columns[name] = events[name].take(pa.array(owners))
        return arrow_frame("messages", columns), owners

    def _place(self, row: int, column: str, events: pd.DataFrame | None = None) -> str:
        """Call a column as the record does: by its place in the payload or in the envelope."""
        if column == "occurred_at" and events is not None:
            return _PLACE_OF_SOURCE.get(str(events["occurred_at_source"].iat[row]), "receivedAt")
        place = _EVENT_PLACES[column].get(SHAPE_OF[self._rows.kinds[row]])
        return place or _ENVELOPE_PLACES.get(column, column)

    def _fault_undated(self, row: int, has_end: bool) -> None:
        is_transcript = self._rows.kinds[row] is Kind.TRANSCRIPT
        place = "endedAt" if is_transcript and not has_end else "receivedAt"
        detail = (
            "Nothing says when it happened: the capture has no received time"
            f"{' and the transcript no endedAt' if is_transcript else ''}. "
            "Choose a stand-in with --undated-as, or add receivedAt to the capture."
        )
        self._fault(row, Reason.UNDATED, place, detail)

    def _fault(self, row: int, reason: Reason, name: str, detail: str) -> None:
        if row not in self._faults:
            rows = self._rows
            raw = rows.raws[row].decode("utf-8", errors="replace")
            self._faults[row] = Rejection(rows.files[row].name, rows.records[row], reason, name, detail, raw)


def _with_stand_ins(events: pd.DataFrame) -> pd.DataFrame:
    """Undated rows are told already; a stand-in keeps validation from telling them again."""
    undated = events["occurred_at"].isna()
    if not undated.any():
        return events
    return events.assign(
        occurred_at=events["occurred_at"].where(~undated, pd.Timestamp(0, unit="us", tz="UTC")),
        occurred_at_source=events["occurred_at_source"].where(~undated, "given"),
    )
