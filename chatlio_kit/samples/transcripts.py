"""The messages of a conversation, and its transcript."""

import html
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

import orjson

from .clock import HOUR, MINUTE, SECOND, go_micros, hour_and_minute, log_normal, slack_ts, through_float
from .people import Agent, Visitor, pick
from .words import EXTRA_WORDS, HOSTILE, Language, Talk

Payload = dict[str, Any]

PATIENCE = 300 * SECOND  # a slower answer comes after the `unanswered` webhook
_OLDER_DIALECT_UNTIL = "2023-09"


@dataclass(frozen=True, slots=True)
class Chat:
    """Participants, subject and language of a conversation; without an agent, it stays unanswered."""

    conversation: str
    visitor: Visitor
    agent: Agent | None
    language: Language
    talk: Talk
    page: str


class Line(NamedTuple):
    """One message, by the visitor unless an agent is given."""

    at: int
    text: str
    agent: Agent | None


def fill(text: str, product: str, order: str, host: str) -> str:
    """Insert a product, an order number and the site's host into a string."""
    if "{" not in text:
        return text
    return text.replace("{product}", product).replace("{order}", order).replace("{host}", host)


def _pause(rng: Random, median: float) -> int:
    return SECOND + int(log_normal(rng, median, 0.7) * SECOND)


def say(rng: Random, chat: Chat, at: int, *, late: bool) -> list[Line]:
    """Return the messages from `at` on: opening, alternating answers, thanks; or an unanswered nudge."""
    language, agent = chat.language, chat.agent
    product, order = pick(rng, language.products), str(rng.randrange(10_000, 100_000))
    host = chat.visitor.widget.host
    lines = [Line(at, fill(pick(rng, chat.talk.openings), product, order, host), None)]
    now = at
    if agent is None or rng.random() < 0.05:
        now += 60 * SECOND + int(rng.random() * 90 * SECOND)
        lines.append(Line(now, pick(rng, language.nudges), None))
    if agent is None:
        return lines
    wait = min(int(log_normal(rng, 38, 0.9) * SECOND), PATIENCE - SECOND)
    if late:
        wait = PATIENCE + 10 * SECOND + int(log_normal(rng, 240, 0.8) * SECOND)
    now = max(at + wait, now + SECOND)
    replies = chat.talk.replies
    kept = len(replies) if rng.random() < 0.6 else 1 + int(rng.random() * len(replies))
    for turn, reply in enumerate(replies[:kept]):
        lines.append(Line(now, fill(reply, product, order, host), None if turn % 2 else agent))
        now += _pause(rng, 22)
    if rng.random() < 0.015:
        typed = pick(rng, HOSTILE)
        lines.append(Line(now, html.escape(typed, quote=False) if rng.random() < 0.5 else typed, None))
        now += _pause(rng, 22)
    if rng.random() < 0.7:
        lines.append(Line(now, pick(rng, language.thanks), None))
        if rng.random() < 0.6:
            lines.append(Line(now + _pause(rng, 12), pick(rng, language.farewells), agent))
    return lines


def transcript(rng: Random, chat: Chat, lines: list[Line], ended: int) -> Payload:
    """Return a conversation's transcript, in 2023 sometimes in the older dialect."""
    visitor, agent = chat.visitor, chat.agent
    widget = visitor.widget
    offset = widget.offset(ended)
    started = go_micros(lines[0].at - _pause(rng, 8), offset)
    older = started[:7] < _OLDER_DIALECT_UNTIL and rng.random() < 0.3
    traits: dict[str, object] | str = {"current_page": chat.page, **visitor.traits}
    if older or rng.random() < 0.03:
        traits = orjson.dumps(traits).decode() if rng.random() < 0.8 else ""
    payload: Payload = {
        "conversationUUID": chat.conversation,
        "channelId": visitor.channel_id,
        "channelName": f"z-{visitor.screen_name}",
    }
    if older or rng.random() < 0.25:
        payload["slackTeamID"] = widget.team_id
    payload |= {
        "startedAt": started,
        "endedAt": through_float(slack_ts(ended), offset),
        "agentEmail": agent.email if agent else "",
        "agentName": agent.name if agent else "",
        "visitorEmail": visitor.email,
        "replyToEmail": visitor.email or widget.reply_to,
        "visitorName": visitor.screen_name,
        "visitorTraits": traits,
        "archiveUrl": f"https://{widget.workspace}.slack.example/archives/{visitor.channel_id}",
    }
    if not older:
        payload["extraData"] = []
    payload["messages"] = [
        _message(line, visitor, offset, older_position=number if older else None)
        for number, line in enumerate(lines)
    ]
    payload |= _bodies(rng, chat, lines)
    return payload


def transcript_again(
    rng: Random, chat: Chat, first: Payload, lines: list[Line], ended: int
) -> tuple[int, Payload]:
    """Return the time and the later transcript that `send-to-webhook` sends, fuller or with extra words."""
    older = "extraData" not in first
    late = ended + 4 * MINUTE + int(rng.random() ** 3 * 29 * HOUR)
    offset = chat.visitor.widget.offset(late)
    payload = {**first, "endedAt": through_float(slack_ts(late), offset)}
    fuller = older or rng.random() < 0.5
    if not older and (not fuller or rng.random() < 0.5):
        payload["extraData"] = [pick(rng, EXTRA_WORDS) for _ in range(1 + int(rng.random() * 3))]
    if fuller:
        line = Line(late - 30 * SECOND - int(rng.random() * MINUTE), chat.language.follow_up, None)
        more = _message(line, chat.visitor, offset, older_position=len(lines) if older else None)
        payload["messages"] = [*first["messages"], more]
        payload |= _bodies(rng, chat, [*lines, line])
    return late, payload


def _message(line: Line, visitor: Visitor, offset: int, *, older_position: int | None) -> Payload:
    ts = slack_ts(line.at)
    if older_position:  # Slack once counted up from 000001 instead of measuring microseconds
        ts = f"{line.at // SECOND}.{older_position * 100 + 5:06}"
    message: Payload = {
        "text": line.text,
        "ts": ts,
        "sentAt": through_float(ts, offset),
        "userId": line.agent.user_id if line.agent else "",
        "username": line.agent.short_name if line.agent else visitor.nickname,
    }
    if older_position is None:
        message["isVisitorMsg"] = line.agent is None
    return message


def _bodies(rng: Random, chat: Chat, lines: list[Line]) -> Payload:
    """Return the messages as text and as HTML, where a visitor's markup is not always escaped."""
    visitor = chat.visitor
    offset = visitor.widget.offset(lines[0].at)
    escape = rng.random() < 0.5
    messages = [(line.agent.short_name if line.agent else visitor.nickname, line) for line in lines]
    direction = ' dir="rtl"' if chat.language.right_to_left else ""
    rows = "".join(
        f"<p><b>{name}</b> <i>{hour_and_minute(line.at, offset)}</i> "
        f"{html.escape(line.text, quote=False) if escape else line.text}</p>"
        for name, line in messages
    )
    return {
        "textBody": "\n".join(f"{name}: {line.text}" for name, line in messages),
        "htmlBody": f'<div class="transcript"{direction}>{rows}</div>',
    }
