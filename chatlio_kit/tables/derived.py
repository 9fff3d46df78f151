"""The tables that answer questions: conversations, messages once each, visitors, offline messages.

All of them are derived from accepted events alone.
"""

from __future__ import annotations

import pandas as pd

from chatlio_kit.events.catalogue import OFFLINE_MESSAGES, VISITORS
from chatlio_kit.events.kinds import Kind
from chatlio_kit.tables.schemas import empty, frame


def distinct_messages(events: pd.DataFrame, messages: pd.DataFrame) -> pd.DataFrame:
    """Show each message once, as the fullest transcript that holds it has it.

    Args:
        events: the accepted events.
        messages: a row for each message of each transcript.

    Returns:
        The table ``messages``: one row for each conversation and ``ts``, in order of conversation and time.
        Messages of a transcript without a conversation id stay as they are.
    """
    rank = pd.Series(range(len(events)), index=_by_fullness(events)["event_id"])
    # Numbers in the owners' order stand in for them: comparing texts is most of the work otherwise.
    owner, _ = pd.factorize(messages["conversation_id"].fillna(messages["event_id"]), sort=True)
    ranked = messages.assign(_rank=messages["event_id"].map(rank), _owner=owner)
    once = ranked.sort_values("_rank", kind="stable").drop_duplicates(["_owner", "ts"])
    ordered = once.sort_values(["_owner", "sent_at", "position"], kind="stable")
    return ordered.drop(columns=["_rank", "_owner"]).reset_index(drop=True)


def conversations(events: pd.DataFrame, messages: pd.DataFrame) -> pd.DataFrame:
    """Tell each conversation in one row.

    Args:
        events: the accepted events.
        messages: the table ``messages``, each message once.
    """
    ours = events[events["conversation_id"].notna()]
    if ours.empty:
        return empty("conversations")
    by_time = ours.sort_values("occurred_at", kind="stable").groupby("conversation_id", sort=True)
    ids = pd.Index(sorted(ours["conversation_id"].unique()), name="conversation_id")
    transcripts = ours[ours["kind"] == Kind.TRANSCRIPT]
    fullest = (
        _by_fullness(transcripts).drop_duplicates("conversation_id").set_index("conversation_id").reindex(ids)
    )
    starts = _first(ours[ours["kind"] == Kind.CONVERSATION_STARTED], ids)
    started_at = (
        fullest["started_at"].fillna(starts["occurred_at"]).fillna(by_time["occurred_at"].min().reindex(ids))
    )
    told = messages[messages["conversation_id"].notna()]
    columns = {
        "conversation_id": ids.to_series(index=ids),
        "started_at": started_at,
        "ended_at": fullest["ended_at"],
        "duration_seconds": (fullest["ended_at"] - started_at).dt.total_seconds(),
        "first_response_seconds": _first_response(told).reindex(ids),
        "visitor_id": by_time["visitor_id"].first().reindex(ids),
        "page_url": starts["page_url"].fillna(by_time["page_url"].first().reindex(ids)),
        "channel_id": by_time["channel_id"].first().reindex(ids),
        "agent_name": fullest["agent_name"],
        "agent_email": fullest["agent_email"],
        "visitor_messages": _count(told[told["author"] == "visitor"], ids),
        "agent_messages": _count(told[told["author"] == "agent"], ids),
        "transcripts": _count(transcripts, ids),
        "was_unanswered": _count(ours[ours["kind"] == Kind.UNANSWERED], ids) > 0,
        "has_feedback": _count(ours[ours["kind"] == Kind.FEEDBACK], ids) > 0,
    }
    return frame("conversations", {name: column.array for name, column in columns.items()})


def visitors(events: pd.DataFrame) -> pd.DataFrame:
    """Tell each visitor in one row, with the latest value that is known of each fact."""
    theirs = events[events["visitor_id"].notna()].sort_values("occurred_at", kind="stable")
    if theirs.empty:
        return empty("visitors")
    by_visitor = theirs.groupby("visitor_id", sort=True)
    seen = by_visitor["occurred_at"]
    facts = [field.name for field in VISITORS if field.name in theirs.columns and field.name != "visitor_id"]
    latest = by_visitor[facts].last()
    columns = {name: latest[name].array for name in facts} | {
        "visitor_id": latest.index.array,
        "first_seen_at": seen.min().array,
        "last_seen_at": seen.max().array,
        "conversations": by_visitor["conversation_id"].nunique().array,
        "events": by_visitor.size().array,
    }
    return frame("visitors", columns)


def offline_messages(events: pd.DataFrame) -> pd.DataFrame:
    """Show the messages left while nobody was there, in order of time."""
    theirs = events[events["kind"] == Kind.OFFLINE_MESSAGE].sort_values("occurred_at", kind="stable")
    return theirs[[field.name for field in OFFLINE_MESSAGES]].reset_index(drop=True)


def _by_fullness(events: pd.DataFrame) -> pd.DataFrame:
    """Sort transcripts, the fullest first: most messages, then latest end, then first read."""
    return events.sort_values(["message_count", "ended_at"], ascending=False, kind="stable")


def _first(events: pd.DataFrame, ids: pd.Index[str]) -> pd.DataFrame:
    by_time = events.sort_values("occurred_at", kind="stable").drop_duplicates("conversation_id")
    return by_time.set_index("conversation_id").reindex(ids)


def _count(rows: pd.DataFrame, ids: pd.Index[str]) -> pd.Series[int]:
    return rows.groupby("conversation_id").size().reindex(ids, fill_value=0)


def _first_response(messages: pd.DataFrame) -> pd.Series[float]:
    """Seconds from the visitor's first message to the first agent's message after it."""
    asked = messages[messages["author"] == "visitor"].groupby("conversation_id")["sent_at"].min()
    answers = messages.loc[messages["author"] == "agent", ["conversation_id", "sent_at"]]
    pairs = answers.merge(asked.rename("asked_at").reset_index(), on="conversation_id")
    answered = pairs[pairs["sent_at"] >= pairs["asked_at"]].groupby("conversation_id").min()
    return (answered["sent_at"] - answered["asked_at"]).dt.total_seconds()
