"""The metrics: functions that take frames and return frames.

Each function takes tables and a :class:`~chatlio_kit.analysis.calendar.Calendar`, and returns a row for each
conversation, reply or day that it measures, with the columns

- ``conversation_id``, ``agent`` and ``page``, where they apply,
- ``at``: the time that determines its day, month or hour, in UTC,
- ``value``: seconds, a number, or 1 for yes and 0 for no,
- ``business_value``: the same in the calendar's opening hours, if it has any. Only open seconds count; any
  other value counts if ``at`` is within the opening hours, and is missing otherwise.

:mod:`chatlio_kit.analysis.definitions` documents the metrics; ``summarize`` summarizes their rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from chatlio_kit.analysis.calendar import Calendar

EVERY_HOUR = Calendar()
"""Calendar time in UTC."""
_ENDED_BY = "ended_at"
_MINUTE = 60.0

Rows = pd.DataFrame
Values = Any  # a series of numbers or booleans, indexed by conversation


def turns(messages: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each turn: a run of messages by the visitor, or by agents, in one conversation.

    Returns:
        ``conversation_id``, ``author``, and ``sent_at`` of its first message; ``next_at`` and ``next_name``
        of the turn that follows it, if any; all in order.
    """
    known = messages[messages["author"].isin(["visitor", "agent"]) & messages["conversation_id"].notna()]
    known = known.sort_values(["conversation_id", "sent_at", "position"], kind="stable")
    keys = known[["conversation_id", "author"]]
    firsts = known[(keys != keys.shift()).any(axis=1)]
    following = firsts.groupby("conversation_id", sort=False)[["sent_at", "username"]].shift(-1)
    return firsts[["conversation_id", "author", "sent_at"]].assign(
        next_at=following["sent_at"], next_name=following["username"]
    )


def conversations(conversations: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return 1 for each conversation."""
    chats = _chats(conversations)
    return _rows(chats, pd.Series(1.0, index=chats.index), calendar)


def offline_messages(offline_messages: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return 1 for each offline message."""
    left = pd.DataFrame(
        {"at": offline_messages["occurred_at"], "page": _page(offline_messages["page_url"])},
        index=pd.RangeIndex(len(offline_messages)),
    )
    return _rows(left, pd.Series(1.0, index=left.index), calendar)


def backlog(conversations: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return the number of conversations for each local day that had started but not ended by midnight.

    Conversations without a known end are left out. Business values are those of days with opening hours.
    """
    ended = _ended(_chats(conversations))
    if ended.empty:
        return _rows(pd.DataFrame({"at": ended["at"]}), ended["at"].dt.day.astype("float64"), calendar)
    first, last = calendar.local(ended["at"]).min(), calendar.local(ended[_ENDED_BY]).max()
    days = pd.date_range(first.normalize(), last.normalize(), freq="D", unit="us")
    midnights = calendar.midnights(pd.date_range(days[0], periods=len(days) + 1, freq="D", unit="us"))
    open_then = _open_at(ended, midnights[1:], side="left")
    rows = pd.DataFrame({"at": midnights[:-1], "value": open_then.astype("float64")})
    if calendar.hours is not None:
        rows["business_value"] = rows["value"].where(calendar.opens_on(days))
    return rows


def concurrency(conversations: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return for each conversation the number of those open when it started, including itself.

    Conversations without a known end are left out.
    """
    ended = _ended(_chats(conversations))
    open_then = _open_at(ended, pd.DatetimeIndex(ended["at"]), side="right")
    return _rows(ended.drop(columns="agent"), pd.Series(open_then, index=ended.index), calendar)


def visitor_messages(conversations: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return the number of the visitor's messages in each conversation with a transcript."""
    chats = _with_transcript(_chats(conversations))
    return _rows(chats, chats["visitor_messages"], calendar)


def agent_messages(conversations: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return the number of agents' messages in each conversation with a transcript."""
    chats = _with_transcript(_chats(conversations))
    return _rows(chats, chats["agent_messages"], calendar)


def returning_visitors(conversations: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return for each conversation with a known visitor whether the visitor had an earlier one."""
    chats = _chats(conversations)
    chats = chats[chats["visitor_id"].notna()].sort_values(["at", "conversation_id"])
    return _rows(chats, chats.groupby("visitor_id").cumcount() > 0, calendar)


def first_reply_time(
    conversations: pd.DataFrame, turns: pd.DataFrame, calendar: Calendar = EVERY_HOUR
) -> Rows:
    """Return the seconds from the visitor's first message to an agent's reply, for each conversation."""
    first = turns[turns["author"] == "visitor"].drop_duplicates("conversation_id")
    return _seconds(_chats(conversations), first, calendar)


def reply_time(conversations: pd.DataFrame, turns: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return the seconds from each of the visitor's turns to the agent's reply: a row for each reply."""
    replies = _answered(turns, "visitor")
    chats = _chats(conversations)
    replies = replies[replies["conversation_id"].isin(chats.index)]
    replies = replies.assign(
        agent=replies["next_name"], page=replies["conversation_id"].map(chats["page"]), at=replies["sent_at"]
    )
    return _between(replies, replies["sent_at"], replies["next_at"], calendar)


def slowest_reply(conversations: pd.DataFrame, turns: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return the longest reply time of each conversation, in seconds."""
    return _of_conversations(_chats(conversations), _answered(turns, "visitor"), "max", calendar)


def visitor_wait(conversations: pd.DataFrame, turns: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return the sum of all reply times in each conversation, in seconds."""
    return _of_conversations(_chats(conversations), _answered(turns, "visitor"), "sum", calendar)


def agent_wait(conversations: pd.DataFrame, turns: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return the time that agents waited for the visitor's answers in each conversation, in seconds."""
    return _of_conversations(_chats(conversations), _answered(turns, "agent"), "sum", calendar)


def replied_within_a_minute(
    conversations: pd.DataFrame, turns: pd.DataFrame, calendar: Calendar = EVERY_HOUR
) -> Rows:
    """Return for each conversation in which the visitor wrote whether an agent replied within a minute.

    The business value counts open seconds and is available whenever the conversation began.
    """
    chats = _chats(conversations)
    replied = first_reply_time(conversations, turns, calendar).set_index("conversation_id")
    asked = turns.loc[turns["author"] == "visitor", "conversation_id"].unique()
    chats = chats[chats.index.isin(asked)]
    within = (replied.reindex(chats.index).filter(like="value") < _MINUTE).astype("float64")
    return _rows(chats, within["value"], calendar, within.get("business_value"))


def unanswered(conversations: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return for each conversation that webhooks report on whether Chatlio reported it as unanswered."""
    chats = _chats(conversations)
    chats = chats[chats["was_unanswered"].notna()]
    return _rows(chats, chats["was_unanswered"], calendar)


def missed(conversations: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return whether no agent wrote, for each conversation with a transcript or reported as unanswered."""
    chats = _with_known_fate(_chats(conversations))
    return _rows(chats, chats["agent_messages"] == 0, calendar)


def abandoned(conversations: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return whether a conversation was missed and not reported as unanswered: the visitor left before."""
    chats = _with_known_fate(_chats(conversations))
    chats = chats[chats["was_unanswered"].notna()]
    return _rows(chats, (chats["agent_messages"] == 0) & ~chats["was_unanswered"], calendar)


def dropped(conversations: pd.DataFrame, turns: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return for each conversation in which an agent wrote whether it ends with a turn of the visitor."""
    chats = _with_agent(_chats(conversations))
    last = turns.drop_duplicates("conversation_id", keep="last").set_index("conversation_id")["author"]
    return _rows(chats, last.reindex(chats.index) == "visitor", calendar)


def duration(conversations: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return the seconds from start to end of each conversation with a transcript."""
    chats = _ended(_chats(conversations))
    return _between(chats, chats["at"], chats[_ENDED_BY], calendar)


def handling_time(
    conversations: pd.DataFrame, messages: pd.DataFrame, calendar: Calendar = EVERY_HOUR
) -> Rows:
    """Return the seconds from the first message of an agent to the conversation's last message."""
    chats = _with_agent(_chats(conversations))
    by_agents = messages[messages["author"] == "agent"]
    first = by_agents.groupby("conversation_id")["sent_at"].min().reindex(chats.index)
    last = messages.groupby("conversation_id")["sent_at"].max().reindex(chats.index)
    return _between(chats, first, last, calendar)


def first_resolution_time(
    conversations: pd.DataFrame, events: pd.DataFrame, calendar: Calendar = EVERY_HOUR
) -> Rows:
    """Return the seconds from start to the first end of each conversation in which an agent wrote."""
    return _resolution(conversations, _ends(events)["min"], calendar)


def resolution_time(
    conversations: pd.DataFrame, events: pd.DataFrame, calendar: Calendar = EVERY_HOUR
) -> Rows:
    """Return the seconds from start to the last end of each conversation in which an agent wrote."""
    return _resolution(conversations, _ends(events)["max"], calendar)


def one_touch(conversations: pd.DataFrame, turns: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return for each conversation in which an agent wrote whether agents had one turn."""
    chats = _with_agent(_chats(conversations))
    return _rows(chats, _touches(chats, turns) == 1, calendar)


def two_touch(conversations: pd.DataFrame, turns: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return for each conversation in which an agent wrote whether agents had two turns."""
    chats = _with_agent(_chats(conversations))
    return _rows(chats, _touches(chats, turns) == 2, calendar)


def multi_touch(conversations: pd.DataFrame, turns: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return for each conversation in which an agent wrote whether agents had more than two turns."""
    chats = _with_agent(_chats(conversations))
    return _rows(chats, _touches(chats, turns) > 2, calendar)


def handed_over(conversations: pd.DataFrame, messages: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return for each conversation in which a known agent wrote whether several did.

    Agents are distinguished by their Slack user; if that is unknown, by the displayed name.
    """
    chats = _chats(conversations)
    by_agents = messages[messages["author"] == "agent"]
    who = by_agents["slack_user_id"].fillna(by_agents["username"])
    agents = who.groupby(by_agents["conversation_id"]).nunique()
    chats = chats[chats.index.isin(agents.index[agents > 0])]
    return _rows(chats, agents.reindex(chats.index) > 1, calendar)


def reopened(
    conversations: pd.DataFrame,
    messages: pd.DataFrame,
    events: pd.DataFrame,
    calendar: Calendar = EVERY_HOUR,
) -> Rows:
    """Return for each conversation with a transcript whether it continued after its first end.

    It did if it has a message after the first end, and a later end.
    """
    chats = _with_transcript(_chats(conversations))
    ends = _ends(events).reindex(chats.index)
    last = messages.groupby("conversation_id")["sent_at"].max().reindex(chats.index)
    return _rows(chats, (last > ends["min"]) & (ends["max"] > ends["min"]), calendar)


def feedback(conversations: pd.DataFrame, calendar: Calendar = EVERY_HOUR) -> Rows:
    """Return for each conversation that webhooks report on whether the visitor left feedback."""
    chats = _chats(conversations)
    chats = chats[chats["has_feedback"].notna()]
    return _rows(chats, chats["has_feedback"], calendar)


def _chats(conversations: pd.DataFrame) -> pd.DataFrame:
    """Return the conversations by id, with the columns by which their values are grouped."""
    chats = conversations.set_index("conversation_id", drop=False).rename_axis(None)
    return chats.assign(at=chats["started_at"], agent=chats["answered_by"], page=_page(chats["page_url"]))


def _page(urls: pd.Series) -> pd.Series:
    return urls.str.replace(r"[?#].*", "", regex=True)


def _with_transcript(chats: pd.DataFrame) -> pd.DataFrame:
    return chats[chats["transcripts"] > 0]


def _with_known_fate(chats: pd.DataFrame) -> pd.DataFrame:
    return chats[(chats["transcripts"] > 0) | chats["was_unanswered"].fillna(value=False)]


def _with_agent(chats: pd.DataFrame) -> pd.DataFrame:
    return chats[chats["agent_messages"] > 0]


def _ended(chats: pd.DataFrame) -> pd.DataFrame:
    """Return the conversations with an end that is not before their start."""
    return chats[(chats[_ENDED_BY] >= chats["at"]).astype("bool")]


def _open_at(ended: pd.DataFrame, times: pd.DatetimeIndex, *, side: Any) -> Any:
    """Return the number of conversations open at each time: begun before it (right: or at it), not ended."""
    starts, ends = ended["at"].sort_values(), ended[_ENDED_BY].sort_values()
    return np.searchsorted(starts, times, side=side) - np.searchsorted(ends, times, side="right")


def _ends(events: pd.DataFrame) -> pd.DataFrame:
    """Return the first and the last end of each conversation, ``min`` and ``max``."""
    transcripts = events[events["kind"] == "transcript"]
    return transcripts.groupby("conversation_id")[_ENDED_BY].agg(["min", "max"])


def _touches(chats: pd.DataFrame, turns: pd.DataFrame) -> pd.Series[int]:
    by_agents = turns[turns["author"] == "agent"]
    return by_agents.groupby("conversation_id").size().reindex(chats.index)


def _answered(turns: pd.DataFrame, author: str) -> pd.DataFrame:
    return turns[(turns["author"] == author) & turns["next_at"].notna()]


def _resolution(conversations: pd.DataFrame, ends: pd.Series, calendar: Calendar) -> Rows:
    chats = _with_agent(_chats(conversations))
    return _between(chats, chats["at"], ends.reindex(chats.index), calendar)


def _seconds(chats: pd.DataFrame, answered: pd.DataFrame, calendar: Calendar) -> Rows:
    """Return the seconds between a turn and the next, for each conversation that has such a turn."""
    spans = answered.set_index("conversation_id")
    chats = chats[chats.index.isin(spans.index)]
    spans = spans.reindex(chats.index)
    return _between(chats, spans["sent_at"], spans["next_at"], calendar)


def _of_conversations(chats: pd.DataFrame, answered: pd.DataFrame, how: str, calendar: Calendar) -> Rows:
    """Return the seconds between turns and the next ones, aggregated for each conversation."""
    waits = _between(
        answered.assign(at=answered["sent_at"]), answered["sent_at"], answered["next_at"], calendar
    )
    together = waits.groupby("conversation_id")[list(waits.filter(like="value"))].agg(how)
    chats = chats[chats.index.isin(together.index)]
    together = together.reindex(chats.index)
    return _rows(chats, together["value"], calendar, together.get("business_value"))


def _between(rows: pd.DataFrame, starts: pd.Series, ends: pd.Series, calendar: Calendar) -> Rows:
    """Return the seconds between times, without rows in which one is missing or the end comes first."""
    is_span = (ends >= starts).astype("bool")
    rows, starts, ends = rows[is_span], starts[is_span], ends[is_span]
    business = calendar.seconds(starts, ends) if calendar.hours is not None else None
    return _rows(rows, (ends - starts).dt.total_seconds(), calendar, business)


def _rows(rows: pd.DataFrame, value: Values, calendar: Calendar, business: Values = None) -> Rows:
    """Return values with their grouping columns; if no business values are given, they follow ``at``."""
    kept = rows[[name for name in ("conversation_id", "at", "agent", "page") if name in rows]]
    value = value.astype("float64")
    values = {"value": value}
    if calendar.hours is not None:
        values["business_value"] = value.where(calendar.is_open(rows["at"])) if business is None else business
    return kept.assign(**values).reset_index(drop=True)
