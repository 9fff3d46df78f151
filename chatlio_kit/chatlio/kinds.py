"""The five kinds of event, the three shapes of payload, and how they are told apart.

Chatlio's payloads carry no event type, and three of the five kinds share one shape
(Chatlio documentation: webhooks, chat transcripts), so a kind has to be named from outside the body.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache
from typing import Any


class Kind(StrEnum):
    """What happened: one kind for each of Chatlio's five webhooks."""

    TRANSCRIPT = "transcript"
    OFFLINE_MESSAGE = "offline_message"
    CONVERSATION_STARTED = "conversation_started"
    UNANSWERED = "unanswered"
    FEEDBACK = "feedback"

    __hash__ = str.__hash__  # looked up for every record; an enumeration's own way takes several times longer


KINDS: dict[str, Kind] = {str(kind): kind for kind in Kind}
"""The kinds by their names."""


class Shape(StrEnum):
    """Which keys the payload has."""

    TRANSCRIPT = "transcript"
    OFFLINE = "offline"
    CONVERSATION = "conversation"

    __hash__ = str.__hash__


SHAPE_OF: dict[Kind, Shape] = {
    Kind.TRANSCRIPT: Shape.TRANSCRIPT,
    Kind.OFFLINE_MESSAGE: Shape.OFFLINE,
    Kind.CONVERSATION_STARTED: Shape.CONVERSATION,
    Kind.UNANSWERED: Shape.CONVERSATION,
    Kind.FEEDBACK: Shape.CONVERSATION,
}

EVENT_TYPE_PREFIX = "chatlio."

_NAMES: dict[Kind, tuple[str, ...]] = {
    Kind.TRANSCRIPT: ("transcript", "transcripts"),
    Kind.OFFLINE_MESSAGE: ("offline", "offline message", "offline messages"),
    Kind.CONVERSATION_STARTED: ("conversation started", "new conversation", "new conversations"),
    Kind.UNANSWERED: ("unanswered",),
    Kind.FEEDBACK: ("feedback",),
}


def event_type(kind: str) -> str:
    """Give the XDM ``eventType`` of a kind, e.g. ``chatlio.transcript``."""
    return EVENT_TYPE_PREFIX + kind


@cache
def kind_of_shape(shape: Shape) -> Kind | None:
    """Name the kind where a shape has only one, else None."""
    kinds = [kind for kind, its_shape in SHAPE_OF.items() if its_shape is shape]
    return kinds[0] if len(kinds) == 1 else None


def shape_of(payload: Mapping[str, Any]) -> Shape | None:
    """Tell a payload's shape from its keys; None when it is none of the three.

    ``conversationUUID`` is not required for the conversation shape: Adobe's sample of it has none.
    """
    keys = payload.keys()
    if isinstance(payload.get("messages"), list) or not keys.isdisjoint(_TRANSCRIPT_KEYS):
        return Shape.TRANSCRIPT
    if "conversationUUID" not in payload and not keys.isdisjoint(_OFFLINE_KEYS):
        return Shape.OFFLINE
    if "visitor" in payload and "message" in payload and not keys.isdisjoint(_CONVERSATION_KEYS):
        return Shape.CONVERSATION
    return None


def shape_of_all(payloads: Sequence[Mapping[str, Any]]) -> Shape | None:
    """Tell the one shape that all payloads have, as :func:`shape_of` tells it; None where that is not sure.

    Looking at all of them at once takes a fraction of the time.
    """
    if all(isinstance(each.get("messages"), list) for each in payloads):
        return Shape.TRANSCRIPT
    keys = set().union(*payloads)
    if not keys.isdisjoint(_TRANSCRIPT_KEYS) or "messages" in keys:
        return None
    shape = Shape.CONVERSATION
    if not keys.isdisjoint(_OFFLINE_KEYS):
        if "conversationUUID" in keys:
            return None
        shape = Shape.OFFLINE
    return shape if all(TOLD_BY[shape] <= each.keys() for each in payloads) else None


TOLD_BY: dict[Shape, frozenset[str]] = {
    Shape.TRANSCRIPT: frozenset({"messages"}),
    Shape.OFFLINE: frozenset({"email"}),
    Shape.CONVERSATION: frozenset({"visitor", "message", "channelId"}),
}
"""Keys that surely tell a payload's shape, where it has none that is of another shape alone."""


_TRANSCRIPT_KEYS = frozenset({"textBody", "htmlBody", "endedAt", "archiveUrl"})
_OFFLINE_KEYS = frozenset({"email", "emailPretty"})
_CONVERSATION_KEYS = frozenset({"conversationUUID", "slackChannelId", "channelId"})


def kind_in_path(parts: Sequence[str]) -> Kind | None:
    """Read a kind out of a file's path, the file's own name first, then its folders upwards.

    A name says a kind when it holds the kind's words in any case with any separators, as in
    ``feedback-2024.ndjson.gz``, ``New Conversations/`` or ``chat_transcripts.json``.
    A name that holds two kinds says neither.
    """
    for part in reversed(parts):
        words = f" {' '.join(re.findall('[a-z0-9]+', part.lower()))} "
        found = {kind for kind, names in _NAMES.items() if any(f" {name} " in words for name in names)}
        if found:
            return found.pop() if len(found) == 1 else None
    return None
