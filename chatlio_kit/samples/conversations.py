# ruff: noqa: S311 - a sample has to be repeatable, nothing here is a secret
"""Conversations and the webhooks that they trigger, in the order of their capture."""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from .clock import HOUR, SECOND, captured, log_normal, moments, slack_ts
from .people import Crowd, Visitor, chatlio_uuid, pick
from .slack import Said, SlackWorkspace
from .transcripts import PATIENCE, Chat, Payload, fill, say, transcript, transcript_again
from .words import LANGUAGES

TRANSCRIPT = "transcript"
OFFLINE = "offline_message"
STARTED = "conversation_started"
UNANSWERED = "unanswered"
FEEDBACK = "feedback"
CONVERSATION_KINDS = (STARTED, UNANSWERED, FEEDBACK)
KINDS = (*CONVERSATION_KINDS, OFFLINE, TRANSCRIPT)

_OFFLINE_SHARE = 0.12
_TAILS = ("", "", "", "?utm_source=newsletter&utm_medium=email", "?q=gr%C3%BCn&page=2", "#reviews")
_REFERRERS = ("", "", "", "https://search.example/", "https://forum.example/t/4711?ref=chat")


@dataclass(slots=True)
class Capture:
    """A webhook as a capture service stores it: `at` determines the order, `envelope` is written."""

    at: int
    kind: str
    envelope: dict[str, Any]


class _Plan(NamedTuple):
    """Outcomes of a conversation: whether an agent answers, and which webhooks it triggers."""

    answered: bool
    kinds: tuple[str, ...]


def captures(seed: int, events: int, slack: SlackWorkspace | None = None) -> Iterator[Capture]:
    """Yield exactly `events` webhooks, all valid and distinct, by the time of their capture.

    The chats that triggered them are added to a Slack workspace, if one is given.
    """
    return _History(seed, slack).captures(events)


def _plans(seed: int) -> Iterator[_Plan]:
    rng = _stream(seed, "plans")
    while True:
        unanswered = rng.random() < 0.15
        answered = not unanswered or rng.random() < 0.45
        kinds = [STARTED]
        if unanswered:
            kinds.append(UNANSWERED)
        if rng.random() < 0.70:
            kinds.append(TRANSCRIPT)
            if rng.random() < 0.03:
                kinds.append(TRANSCRIPT)
        if answered and rng.random() < 0.273:
            kinds.append(FEEDBACK)
        yield _Plan(answered, tuple(kinds))


def _stream(seed: int, name: str) -> Random:
    return Random(f"chatlio sample {seed}: {name}")


def _count_conversations(seed: int, events: int) -> int:
    count = 0
    plans = _plans(seed)
    while events > 0:
        events -= len(next(plans).kinds)
        count += 1
    return count


class _History:
    """Conversations and offline messages in time order; only future captures are kept in memory."""

    def __init__(self, seed: int, slack: SlackWorkspace | None = None) -> None:
        self._seed, self._slack = seed, slack
        self._rng = _stream(seed, "life")
        self._crowd = Crowd(self._rng)
        self._pending: list[tuple[int, int, Capture]] = []
        self._number = 0

    def captures(self, events: int) -> Iterator[Capture]:
        seed = self._seed
        offline = round(events * _OFFLINE_SHARE)
        left = events - offline
        conversations = _count_conversations(seed, left)
        plans = _plans(seed)
        steps = heapq.merge(
            ((at, True) for at in moments(_stream(seed, "day"), conversations, while_open=True)),
            ((at, False) for at in moments(_stream(seed, "night"), offline, while_open=False)),
        )
        for at, talks in steps:
            while self._pending and self._pending[0][0] <= at:
                yield heapq.heappop(self._pending)[2]
            if talks:
                plan = next(plans)
                self._converse(at, plan.answered, plan.kinds[:left])
                left -= len(plan.kinds)
            else:
                self._leave_message(at)
        while self._pending:
            yield heapq.heappop(self._pending)[2]

    def _capture(self, kind: str, happened: int, visitor: Visitor, payload: Payload) -> None:
        rng = self._rng
        lag = 0.2 + rng.random() * 2.8
        if rng.random() < 0.03:
            lag += log_normal(rng, 180, 0.8)
        at = happened + int(lag * SECOND)
        offset = pick(rng, (1, 2, -8)) if rng.random() < 0.05 else 0
        envelope: dict[str, Any] = {"receivedAt": captured(at, offset), "kind": kind}
        if kind == TRANSCRIPT and rng.random() < 0.03:  # some services store no time; endedAt dates the event
            if rng.random() < 0.25:
                envelope["receivedAt"] = ""
            else:
                del envelope["receivedAt"]
        envelope["widget"] = visitor.widget.id
        envelope["payload"] = payload
        self._number += 1
        heapq.heappush(self._pending, (at, self._number, Capture(at, kind, envelope)))

    def _url(self, visitor: Visitor, page: str) -> str:
        return f"https://{visitor.widget.host}{page}{pick(self._rng, _TAILS)}"

    def _leave_message(self, at: int) -> None:
        rng = self._rng
        visitor = self._crowd.visitor(at)
        self._crowd.introduce(visitor)
        visitor.busy_until = at
        language = LANGUAGES[visitor.language]
        product, order = pick(rng, language.products), str(rng.randrange(10_000, 100_000))
        subject, message = (fill(text, product, order, "") for text in pick(rng, language.offline))
        mailbox = f"<{visitor.email}>"
        payload: Payload = {
            "name": visitor.name,
            "email": visitor.email,
            "emailPretty": f'"{visitor.name}" {mailbox}' if visitor.name else mailbox,
        }
        if rng.random() < 0.3:
            payload["subject"] = subject
        payload["message"] = message
        payload["visitor"] = visitor.payload(self._url(visitor, "/contact"), pick(rng, _REFERRERS))
        self._capture(OFFLINE, at, visitor, payload)

    def _converse(self, at: int, answered: bool, kinds: tuple[str, ...]) -> None:
        rng = self._rng
        visitor = self._crowd.visitor(at)
        language = LANGUAGES[visitor.language]
        talk, agent = pick(rng, language.talks), pick(rng, visitor.widget.agents)
        chat = Chat(
            chatlio_uuid(rng),
            visitor,
            agent if answered else None,
            language,
            talk,
            self._url(visitor, talk.page),
        )
        lines = say(rng, chat, at, late=UNANSWERED in kinds)
        ended = max(lines[-1].at, at if answered else at + PATIENCE) + int(log_normal(rng, 70, 0.7) * SECOND)
        notice = self._notice(chat)
        opening = lines[0].text
        self._capture(STARTED, at, visitor, notice(opening))
        if UNANSWERED in kinds:
            self._capture(
                UNANSWERED, at + PATIENCE + int(rng.random() * 5 * SECOND), visitor, notice(opening)
            )
        visitor.busy_until = ended + HOUR
        said = [Said(slack_ts(line.at), line.text, line.agent) for line in lines]
        archived = ended
        if TRANSCRIPT in kinds:
            first = transcript(rng, chat, lines, ended)
            self._capture(TRANSCRIPT, ended, visitor, first)
            last = first
            if kinds.count(TRANSCRIPT) > 1:
                late, second = transcript_again(rng, chat, first, lines, ended)
                self._capture(TRANSCRIPT, late, visitor, second)
                visitor.busy_until = late + HOUR
                archived, last = late, second
            speakers = [line.agent for line in lines] + [None]
            said = [
                Said(message["ts"], message["text"], speaker)
                for message, speaker in zip(last["messages"], speakers, strict=False)
            ]
        if self._slack is not None:
            self._slack.add_chat(visitor, said, lines[0].at, archived)
        if FEEDBACK in kinds:
            comment = pick(rng, language.praise) if rng.random() < 0.95 else ""
            gone = ended + 5 * SECOND + int(log_normal(rng, 20, 0.9) * SECOND)
            self._capture(FEEDBACK, gone, visitor, notice(comment))

    def _notice(self, chat: Chat) -> Callable[[str], Payload]:
        """Return a function that builds the body of start, unanswered and feedback from its message."""
        rng, visitor = self._rng, chat.visitor
        about = visitor.payload(chat.page, pick(rng, _REFERRERS)) | {"location": visitor.location}
        rest = {
            "conversationUUID": chat.conversation,
            "channelId": visitor.channel_id,
            "slackChannelName": visitor.widget.lobby_name,
            "slackChannelId": visitor.widget.lobby_id,
        }
        if rng.random() < 0.01:  # the shorter form shown in Adobe's sample
            about = {"email": visitor.email, "UUID": visitor.uuid}
            del rest["conversationUUID"]
        return lambda message: {"visitor": about, "message": message, **rest}
