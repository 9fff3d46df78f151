"""The tables that answer questions: conversations, messages once each, visitors, offline messages.

All of them are derived from accepted events alone, as Arrow rows. Rows are told apart by numbers that stand
for their keys, since comparing texts would be most of the work.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from chatlio_kit.events.catalogue import OFFLINE_MESSAGES, VISITORS
from chatlio_kit.events.kinds import Kind
from chatlio_kit.tables.arrow import arrow_table
from chatlio_kit.tables.nesting import messages_of, said_in

Places = NDArray[np.int64]
"""Row numbers; -1 where there is no such row."""

Mask = NDArray[np.bool_]


class Talks:
    """Events and their messages, by the conversation that both belong to.

    A transcript without a conversation id is a talk of its own, and no conversation.

    Args:
        events: the accepted events, each with its messages (:mod:`chatlio_kit.tables.nesting`).
    """

    def __init__(self, events: Any) -> None:
        said, owners = said_in(events)
        self._events = events
        self._is_named = _is_there(events["conversation_id"])
        self._talks = _Groups(pc.coalesce(events["conversation_id"], events["event_id"]))
        self._is_transcript = self._is_named & _is(events, Kind.TRANSCRIPT)
        self._by_fullness = _by_fullness(events)
        shown = self._shown(said, owners)
        self._said, self._owners = said.take(shown), owners[shown]

    def messages(self) -> Any:
        """Show each message once, as the fullest transcript that holds it has it.

        Returns:
            The table ``messages``: one row for each conversation and ``ts``, in order of conversation and
            time. Messages of a transcript without a conversation id stay as they are.
        """
        return messages_of(self._events, self._said, self._owners)

    def conversations(self) -> Any:
        """Tell each conversation in one row."""
        events, talks = self._events, self._talks
        by_time = _by_time(events)
        fullest = talks.first(self._by_fullness, self._is_transcript)
        start = talks.first(by_time, self._is_named & _is(events, Kind.CONVERSATION_STARTED))
        first = {
            name: talks.first(by_time, self._is_named & _is_there(events[name]))
            for name in ("visitor_id", "page_url", "channel_id")
        }
        started_at = pc.coalesce(
            _picked(events["started_at"], fullest),
            _picked(events["occurred_at"], start),
            _picked(events["occurred_at"], talks.first(by_time, self._is_named)),
        )
        ended_at = _picked(events["ended_at"], fullest)
        page_url = (_picked(events["page_url"], rows) for rows in (start, first["page_url"]))
        columns = {
            "conversation_id": talks.keys,
            "started_at": started_at,
            "ended_at": ended_at,
            "duration_seconds": _seconds(started_at, ended_at),
            "visitor_id": _picked(events["visitor_id"], first["visitor_id"]),
            "page_url": pc.coalesce(*page_url),
            "channel_id": _picked(events["channel_id"], first["channel_id"]),
            "agent_name": _picked(events["agent_name"], fullest),
            "agent_email": _picked(events["agent_email"], fullest),
            "transcripts": talks.count(self._is_transcript),
            "was_unanswered": talks.has(self._is_named & _is(events, Kind.UNANSWERED)),
            "has_feedback": talks.has(self._is_named & _is(events, Kind.FEEDBACK)),
        }
        told = arrow_table("conversations", columns | self._answers())
        return told.filter(talks.has(self._is_named))

    def _answers(self) -> dict[str, Any]:
        """Tell of each conversation who wrote how much, and who answered when."""
        talk_of = np.where(self._is_named, self._talks.numbers, -1)[self._owners]
        length = len(self._talks.keys)
        by = {
            author: np.flatnonzero((talk_of >= 0) & _equals(self._said["author"], author))
            for author in ("visitor", "agent", "unknown")
        }
        sent = _instants(self._said["sent_at"])
        asked = _firsts(talk_of, length, by["visitor"])
        question = asked[talk_of[by["agent"]]]
        answers = by["agent"][(question >= 0) & (sent[by["agent"]] >= sent[question])]
        answered = _firsts(talk_of, length, answers)
        between = (_picked(self._said["sent_at"], rows) for rows in (asked, answered))
        return {
            "first_response_seconds": _seconds(*between),
            "answered_by": _picked(self._said["username"], _firsts(talk_of, length, by["agent"])),
            **{f"{author}_messages": pa.array(_counts(talk_of[rows], length)) for author, rows in by.items()},
        }

    def _shown(self, said: Any, owners: Places) -> Places:
        """Give the messages that are shown, in order of talk and time."""
        talk_of = self._talks.numbers[owners]
        repeats = _counts(self._talks.numbers[self._is_transcript], len(self._talks.keys)) > 1
        is_repeated = repeats[talk_of]
        rank = np.zeros(len(owners), dtype=np.int64)
        is_shown = ~is_repeated  # a transcript has each ts once
        if is_repeated.any():
            rows = np.flatnonzero(is_repeated)
            rank[rows] = _inverse(self._by_fullness)[owners[rows]]
            is_shown[rows[_once(talk_of[rows], said["ts"].take(pa.array(rows)), rank[rows])]] = True
        rows = np.flatnonzero(is_shown)
        position, sent = said["position"].to_numpy(), _instants(said["sent_at"])
        return rows[np.lexsort((rank[rows], position[rows], sent[rows], talk_of[rows]))]


def visitors(events: Any) -> Any:
    """Tell each visitor in one row, with the latest value that is known of each fact."""
    facts = [each.name for each in VISITORS if each.name in events.column_names and each.name != "visitor_id"]
    groups = _Groups(events["visitor_id"])
    by_time = _by_time(events)
    columns = {
        name: _picked(events[name], groups.first(by_time[::-1], _is_there(events[name]))) for name in facts
    } | {
        "visitor_id": groups.keys,
        "first_seen_at": _picked(events["occurred_at"], groups.first(by_time)),
        "last_seen_at": _picked(events["occurred_at"], groups.first(by_time[::-1])),
        "conversations": groups.distinct(events["conversation_id"]),
        "events": groups.count(),
    }
    return arrow_table("visitors", columns)


def offline_messages(events: Any) -> Any:
    """Show the messages left while nobody was there, in order of time."""
    by_time = _by_time(events)
    theirs = pa.array(by_time[_is(events, Kind.OFFLINE_MESSAGE)[by_time]])
    return arrow_table(
        "offline_messages", {each.name: events[each.name].take(theirs) for each in OFFLINE_MESSAGES}
    )


class _Groups:
    """Rows by a key.

    Attributes:
        keys: the keys in their order.
        numbers: for each row the place of its key; -1 where it has none.
    """

    def __init__(self, keys: Any) -> None:
        self.numbers, found = _numbered(keys)
        order = pc.sort_indices(found)
        self.keys = found.take(order)
        self.numbers = np.append(_inverse(order.to_numpy()), -1)[self.numbers]

    def first(self, order: Places, chosen: Mask | None = None) -> Places:
        """Give the first row of each key, among the chosen ones, in an order of the rows."""
        return _firsts(self.numbers, len(self.keys), order[self._known(chosen)[order]])

    def count(self, chosen: Mask | None = None) -> Any:
        """Count the rows of each key, or the chosen ones among them."""
        return pa.array(_counts(self.numbers[self._known(chosen)], len(self.keys)))

    def has(self, chosen: Mask) -> Any:
        """Tell of each key whether one of the chosen rows has it."""
        return pc.greater(self.count(chosen), 0)

    def distinct(self, values: Any) -> Any:
        """Count the distinct values of each key."""
        numbers, found = _numbered(values)
        pairs = np.unique((self.numbers * len(found) + numbers)[self._known(numbers >= 0)])
        return pa.array(_counts(pairs // max(1, len(found)), len(self.keys)))

    def _known(self, chosen: Mask | None) -> Mask:
        known = self.numbers >= 0
        return known if chosen is None else known & chosen


def _numbered(values: Any) -> tuple[Places, Any]:
    """Give a number for each value, -1 where one is missing, and the values that the numbers stand for."""
    encoded = values.dictionary_encode().combine_chunks()
    return pc.fill_null(encoded.indices, -1).to_numpy().astype(np.int64), encoded.dictionary


def _counts(numbers: Places, length: int) -> Places:
    return np.bincount(numbers, minlength=length)


def _firsts(numbers: Places, length: int, order: Places) -> Places:
    """Give for each number the first row that has it, in an order of some rows."""
    places = np.full(length, -1, dtype=np.int64)
    places[numbers[order[::-1]]] = order[::-1]  # the last one that is written stays
    return places


def _once(talks: Places, ts: Any, rank: Places) -> Places:
    """Give of each talk's messages with the same ts the one of the least rank."""
    numbers, found = _numbered(ts)
    order = np.argsort(rank, kind="stable")
    _, first = np.unique((talks * len(found) + numbers)[order], return_index=True)
    return order[first]


def _inverse(order: Places) -> Places:
    """Give for each row its place in an order."""
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    return places


def _picked(column: Any, rows: Places) -> Any:
    """Give a column's values in these rows, missing where there is no row."""
    return column.take(pa.array(rows, mask=rows < 0))


def _instants(times: Any) -> Places:
    """Microseconds since 1970; the least number there is where a time is missing."""
    instants: Places = pc.fill_null(times.cast(pa.int64()), np.iinfo(np.int64).min).to_numpy()
    return instants


def _seconds(start: Any, end: Any) -> Any:
    """Give the seconds between times: whole microseconds divided once, so that no digit is made up."""
    return pc.divide(pc.subtract(end, start).cast(pa.int64()).cast(pa.float64()), 1e6)


def _by_time(events: Any) -> Places:
    return np.argsort(_instants(events["occurred_at"]), kind="stable")


def _by_fullness(events: Any) -> Places:
    """Put transcripts in order, the fullest first: most messages, then latest end, then first read."""
    counts = pc.fill_null(events["message_count"], -1).to_numpy()
    return np.lexsort((~_instants(events["ended_at"]), ~counts))


def _is(events: Any, kind: Kind) -> Mask:
    return _equals(events["kind"], kind)


def _equals(column: Any, value: str) -> Mask:
    return _mask(pc.fill_null(pc.equal(column, str(value)), False))


def _is_there(column: Any) -> Mask:
    return _mask(pc.is_valid(column))


def _mask(flags: Any) -> Mask:
    mask: Mask = flags.to_numpy()
    return mask
