"""The tables that answer questions: conversations, messages once each, visitors, offline messages.

All of them are derived from accepted events alone. Rows are told apart by numbers that stand for their keys,
since comparing texts would be most of the work.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chatlio_kit.events.catalogue import OFFLINE_MESSAGES, VISITORS
from chatlio_kit.events.kinds import Kind
from chatlio_kit.tables.schemas import empty, frame

Places = NDArray[np.int64]
"""Row numbers; -1 where there is no such row."""


def distinct_messages(events: pd.DataFrame, messages: pd.DataFrame) -> pd.DataFrame:
    """Show each message once, as the fullest transcript that holds it has it.

    Args:
        events: the accepted events.
        messages: a row for each message of each transcript.

    Returns:
        The table ``messages``: one row for each conversation and ``ts``, in order of conversation and time.
        Messages of a transcript without a conversation id stay as they are.
    """
    by_owner = _Groups(messages["conversation_id"].fillna(messages["event_id"]))
    transcripts = events.loc[_is(events, Kind.TRANSCRIPT), "conversation_id"]
    repeated = by_owner.keys.isin(transcripts[transcripts.duplicated()])[by_owner.numbers]
    rank = np.zeros(len(messages), dtype=np.int64)
    kept = ~repeated  # a transcript has each ts once
    if repeated.any():
        fullest = pd.Index(events["event_id"].array.take(_by_fullness(events)))
        rank[repeated] = fullest.get_indexer(messages.loc[repeated, "event_id"].array)
        told = pd.DataFrame({"owner": by_owner.numbers, "ts": messages["ts"].array, "rank": rank})[repeated]
        once = told.sort_values("rank", kind="stable").drop_duplicates(["owner", "ts"])
        kept[once.index.to_numpy()] = True
    rows = np.flatnonzero(kept)
    order = np.lexsort(
        (
            rank[rows],
            messages["position"].to_numpy(np.int64)[rows],
            _instants(messages["sent_at"])[rows],
            by_owner.numbers[rows],
        )
    )
    return messages.take(rows[order]).reset_index(drop=True)


def conversations(events: pd.DataFrame, messages: pd.DataFrame) -> pd.DataFrame:
    """Tell each conversation in one row.

    Args:
        events: the accepted events.
        messages: the table ``messages``, each message once.
    """
    ours = events[_OF_CONVERSATIONS]
    if ours["conversation_id"].isna().any():
        ours = ours[ours["conversation_id"].notna()]
    if ours.empty:
        return empty("conversations")
    groups = _Groups(ours["conversation_id"])
    by_time = _by_time(ours)
    is_transcript, is_start = _is(ours, Kind.TRANSCRIPT), _is(ours, Kind.CONVERSATION_STARTED)
    fullest = groups.first(_by_fullness(ours), is_transcript)
    start = groups.first(by_time, is_start)
    first = {
        name: groups.first(by_time, ours[name].notna().to_numpy())
        for name in ("visitor_id", "page_url", "channel_id")
    }
    anything = groups.first(by_time, np.ones(len(ours), dtype=bool))
    started_at = (
        _picked(ours["started_at"], fullest)
        .fillna(_picked(ours["occurred_at"], start))
        .fillna(_picked(ours["occurred_at"], anything))
    )
    ended_at = _picked(ours["ended_at"], fullest)
    told = groups.of(messages["conversation_id"])
    answers = np.argsort(_instants(messages["sent_at"]), kind="stable")
    answers = answers[(_wrote(messages, "agent") & (told >= 0))[answers]]
    columns = {
        "conversation_id": pd.Series(groups.keys),
        "started_at": started_at,
        "ended_at": ended_at,
        "duration_seconds": (ended_at - started_at).dt.total_seconds(),
        "first_response_seconds": _first_response(messages, told, len(groups.keys)),
        "visitor_id": _picked(ours["visitor_id"], first["visitor_id"]),
        "page_url": _picked(ours["page_url"], start).fillna(_picked(ours["page_url"], first["page_url"])),
        "channel_id": _picked(ours["channel_id"], first["channel_id"]),
        "agent_name": _picked(ours["agent_name"], fullest),
        "agent_email": _picked(ours["agent_email"], fullest),
        "answered_by": _picked(messages["username"], _firsts(told, len(groups.keys), answers)),
        "visitor_messages": _counted(told[_wrote(messages, "visitor")], len(groups.keys)),
        "agent_messages": _counted(told[_wrote(messages, "agent")], len(groups.keys)),
        "unknown_messages": _counted(told[_wrote(messages, "unknown")], len(groups.keys)),
        "transcripts": groups.count(is_transcript),
        "was_unanswered": groups.count(_is(ours, Kind.UNANSWERED)) > 0,
        "has_feedback": groups.count(_is(ours, Kind.FEEDBACK)) > 0,
    }
    return frame("conversations", columns)


_OF_CONVERSATIONS = [
    "kind", "occurred_at", "conversation_id", "visitor_id", "page_url", "channel_id", "started_at",
    "ended_at", "agent_name", "agent_email", "message_count",
]  # fmt: skip


def visitors(events: pd.DataFrame) -> pd.DataFrame:
    """Tell each visitor in one row, with the latest value that is known of each fact."""
    facts = [each.name for each in VISITORS if each.name in events.columns and each.name != "visitor_id"]
    theirs = events.loc[
        events["visitor_id"].notna(), ["visitor_id", *facts, "occurred_at", "conversation_id"]
    ]
    if theirs.empty:
        return empty("visitors")
    groups = _Groups(theirs["visitor_id"])
    by_time = _by_time(theirs)
    everything = np.ones(len(theirs), dtype=bool)
    columns = {
        name: _picked(theirs[name], groups.first(by_time[::-1], theirs[name].notna().to_numpy()))
        for name in facts
    } | {
        "visitor_id": pd.Series(groups.keys),
        "first_seen_at": _picked(theirs["occurred_at"], groups.first(by_time, everything)),
        "last_seen_at": _picked(theirs["occurred_at"], groups.first(by_time[::-1], everything)),
        "conversations": groups.distinct(theirs["conversation_id"]),
        "events": groups.count(everything),
    }
    return frame("visitors", columns)


def offline_messages(events: pd.DataFrame) -> pd.DataFrame:
    """Show the messages left while nobody was there, in order of time."""
    theirs = events.loc[_is(events, Kind.OFFLINE_MESSAGE), [field.name for field in OFFLINE_MESSAGES]]
    return theirs.take(_by_time(theirs)).reset_index(drop=True)


class _Groups:
    """Rows by a key that each of them has.

    Attributes:
        keys: the keys in their order.
        numbers: for each row the place of its key.
    """

    def __init__(self, keys: pd.Series[str]) -> None:
        numbers, found = pd.factorize(keys, sort=True)
        self.numbers: Places = numbers.astype(np.int64)
        self.keys: pd.Index[str] = pd.Index(found)

    def of(self, keys: pd.Series[str]) -> Places:
        """Give the places of other rows' keys."""
        numbers, found = pd.factorize(keys)
        places = self.keys.get_indexer(pd.Index(found))
        return np.where(numbers >= 0, places[numbers], -1).astype(np.int64)

    def first(self, order: Places, chosen: NDArray[np.bool_]) -> Places:
        """Give the first row of each key, among the chosen ones, in an order of the rows."""
        return _firsts(self.numbers, len(self.keys), order[chosen[order]])

    def count(self, chosen: NDArray[np.bool_]) -> pd.Series[int]:
        """Count the chosen rows of each key."""
        return _counted(self.numbers[chosen], len(self.keys))

    def distinct(self, values: pd.Series[str]) -> pd.Series[int]:
        """Count the distinct values of each key."""
        numbers, found = pd.factorize(values)
        pairs = np.unique((self.numbers * (len(found) + 1) + numbers)[numbers >= 0])
        return _counted(pairs // (len(found) + 1), len(self.keys))


def _counted(numbers: Places, length: int) -> pd.Series[int]:
    return pd.Series(np.bincount(numbers[numbers >= 0], minlength=length))


def _firsts(numbers: Places, length: int, order: Places) -> Places:
    """Give for each number the first row that has it, in an order of some rows."""
    places = np.full(length, -1, dtype=np.int64)
    places[numbers[order[::-1]]] = order[::-1]  # the last one that is written stays
    return places


def _picked(column: pd.Series[Any], rows: Places) -> pd.Series[Any]:
    """Give a column's values in these rows, missing where there is no row."""
    return pd.Series(column.array.take(rows, allow_fill=True))


def _instants(times: pd.Series[pd.Timestamp]) -> Places:
    """Microseconds since 1970; the least number there is where a time is missing."""
    return times.dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64)


def _by_time(events: pd.DataFrame) -> Places:
    return np.argsort(_instants(events["occurred_at"]), kind="stable")


def _by_fullness(events: pd.DataFrame) -> Places:
    """Put transcripts in order, the fullest first: most messages, then latest end, then first read."""
    counts = events["message_count"].to_numpy(np.int64, na_value=-1)
    return np.lexsort((~_instants(events["ended_at"]), ~counts))


def _is(events: pd.DataFrame, kind: Kind) -> NDArray[np.bool_]:
    return (events["kind"] == kind).to_numpy(bool)


def _wrote(messages: pd.DataFrame, author: str) -> NDArray[np.bool_]:
    return (messages["author"] == author).to_numpy(bool)


def _first_response(messages: pd.DataFrame, told: Places, length: int) -> pd.Series[float]:
    """Seconds from the visitor's first message to the first agent's message after it."""
    sent = _instants(messages["sent_at"])
    never = np.iinfo(np.int64).max
    asked, answered = np.full(length, never), np.full(length, never)
    asking = _wrote(messages, "visitor") & (told >= 0)
    np.minimum.at(asked, told[asking], sent[asking])
    answering = _wrote(messages, "agent") & (told >= 0)
    answering[answering] = sent[answering] >= asked[told[answering]]
    np.minimum.at(answered, told[answering], sent[answering])
    seconds = pd.Series((answered - asked) / 1e6)
    return seconds.where((asked < never) & (answered < never))
