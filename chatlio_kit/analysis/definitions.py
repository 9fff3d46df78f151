"""The meaning and source of each metric, one per line.

Each metric is a function of :mod:`chatlio_kit.analysis.metrics` with the same name.

- DURATION and NUMBER are summarized by quartiles, SHARE by the proportion of true rows, COUNT by a sum.
- With opening hours, a DURATION counts only open seconds. Every other metric counts only what began during
  opening hours.
- A conversation belongs to the period in which it started and to the agent who wrote first; a reply belongs to
  the period of the message that it answers, and to the agent who wrote it.
- A turn is a run of messages by one side: visitor or agent. Messages with an unknown author are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pandas as pd


class Measure(StrEnum):
    """The way in which a metric's values are summarized."""

    DURATION = "seconds"
    NUMBER = "number"
    SHARE = "share"
    COUNT = "count"


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: Name of its function.
        title: Its name for display.
        measure: The way in which its values are summarized.
        meaning: Description of what it measures.
        source: The product or project that defines it, and its name there.
    """

    name: str
    title: str
    measure: Measure
    meaning: str
    source: str


DURATION, NUMBER, SHARE, COUNT = Measure.DURATION, Measure.NUMBER, Measure.SHARE, Measure.COUNT

# fmt: off
_ALL = (
    Metric("conversations", "conversations", COUNT, "Conversations that started", "Zendesk Chat: Chats"),
    Metric("offline_messages", "offline messages", COUNT, "Messages left while no agent was available", "Zendesk Chat: Offline messages"),
    Metric("backlog", "backlog at the end of a day", NUMBER, "Conversations that had started but not ended by the end of a local day", "dbt_zendesk: zendesk__ticket_backlog"),
    Metric("concurrency", "conversations at a time", NUMBER, "Conversations open when one started, including itself", "Zendesk Chat: Chat concurrency"),
    Metric("visitor_messages", "messages by the visitor", NUMBER, "Messages by the visitor in a conversation with a transcript", "dbt_zendesk: count_end_user_comments; Zendesk Chat: count.visitor"),
    Metric("agent_messages", "messages by agents", NUMBER, "Messages by agents in a conversation with a transcript", "dbt_zendesk: count_agent_comments; Zendesk Chat: count.agent"),
    Metric("returning_visitors", "conversations of returning visitors", SHARE, "Share of conversations with a known visitor who had an earlier conversation in these tables", "Zendesk Chat: Returning visitors"),
    Metric("first_reply_time", "first reply time", DURATION, "From the visitor's first message to the next message by an agent", "dbt_zendesk: first_reply_time_*_minutes; dbt_intercom: time_to_first_response_minutes; Zendesk Chat: response_time.first"),
    Metric("reply_time", "reply time", DURATION, "From the first message of each visitor turn to the agent's reply", "dbt_zendesk: total_reply_time_calendar_minutes; Zendesk Chat: response_time.avg"),
    Metric("slowest_reply", "slowest reply of a conversation", DURATION, "The longest reply time in a conversation", "Zendesk Chat: response_time.max"),
    Metric("visitor_wait", "total visitor wait", DURATION, "Sum of a conversation's reply times", "dbt_zendesk: requester_wait_time_in_*_minutes"),
    Metric("agent_wait", "total agent wait", DURATION, "Sum of a conversation's waits from the first message of an agent turn to the visitor's answer", "dbt_zendesk: agent_wait_time_in_*_minutes"),
    Metric("replied_within_a_minute", "first reply within a minute", SHARE, "Share of conversations with a message by the visitor whose first reply time is below 60 seconds", "dbt_zendesk: zendesk__sla_policies, first_reply_time"),
    Metric("unanswered", "reported as unanswered", SHARE, "Share of conversations in captured webhooks that Chatlio reported because no agent answered in time", "Chatlio: webhook visitor unanswered"),
    Metric("missed", "missed conversations", SHARE, "Share of conversations, with a transcript or reported as unanswered, in which no agent wrote", "Zendesk Chat: Missed chats; dbt_zendesk: unreplied_ticket_count"),
    Metric("abandoned", "abandoned conversations", SHARE, "Share of the same conversations, if in captured webhooks, that were missed but not reported as unanswered, because the visitor left first", "Zendesk Chat: abandon_time"),
    Metric("dropped", "dropped conversations", SHARE, "Share of conversations with a message by an agent that end with a visitor turn", "Zendesk Chat: Dropped chats"),
    Metric("duration", "duration", DURATION, "From start to end, for conversations with a transcript", "Zendesk Chat: duration"),
    Metric("handling_time", "handling time", DURATION, "From the first message by an agent to the last message of the conversation", "Zendesk Chat: engagement.duration"),
    Metric("first_resolution_time", "first resolution time", DURATION, "From start to the first end, for conversations in which an agent wrote", "dbt_zendesk: first_resolution_*_minutes; dbt_intercom: time_to_first_close_minutes"),
    Metric("resolution_time", "resolution time", DURATION, "From start to the last end, for conversations in which an agent wrote", "dbt_zendesk: final_resolution_calendar_minutes; dbt_intercom: time_to_last_close_minutes"),
    Metric("one_touch", "one-touch conversations", SHARE, "Share of conversations with a message by an agent that have one agent turn", "dbt_zendesk: is_one_touch_resolution"),
    Metric("two_touch", "two-touch conversations", SHARE, "Share of the same conversations with two agent turns", "dbt_zendesk: is_two_touch_resolution"),
    Metric("multi_touch", "multi-touch conversations", SHARE, "Share of the same conversations with more than two agent turns", "dbt_zendesk: is_multi_touch_resolution"),
    Metric("handed_over", "conversations handed over", SHARE, "Share of conversations with a known agent in which several agents wrote", "dbt_zendesk: unique_assignee_count; dbt_intercom: count_assignments"),
    Metric("reopened", "reopened conversations", SHARE, "Share of conversations with a transcript that have a message after their first end, and a later end", "dbt_zendesk: count_reopens; dbt_intercom: count_reopens"),
    Metric("feedback", "conversations with feedback", SHARE, "Share of conversations in captured webhooks whose visitor left feedback", "Zendesk Chat: rating; dbt_intercom: conversation_rating"),
)
# fmt: on

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}

GROUPS: dict[str, str] = {
    "all": "everything in one row",
    "day": "local days",
    "week": "ISO weeks, which begin on Monday",
    "month": "months",
    "quarter": "quarters",
    "year": "years",
    "hour": "the hour of the local day, from 0 to 23",
    "weekday": "the local weekday",
    "hour_of_week": "the hour of each weekday",
    "agent": "the agent, by the name shown with the message",
    "page": "the page, without query and fragment",
    "site": "the site of the page",
}
"""The values to group by. Days to years have no gaps and are compared with the period before."""

PERIODS = {"day": "D", "week": "W", "month": "M", "quarter": "Q", "year": "Y"}
"""The groups that form a sequence, with pandas' letter for each."""


def definitions() -> pd.DataFrame:
    """Return a row for each metric: title, kind of summary, meaning and source."""
    rows = [
        (metric.name, metric.title, str(metric.measure), metric.meaning, metric.source) for metric in _ALL
    ]
    columns = ["metric", "title", "measure", "meaning", "standard in"]
    return pd.DataFrame(rows, columns=columns).set_index("metric")
