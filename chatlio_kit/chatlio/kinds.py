"""The five kinds of event, the three payload shapes, and their recognition.

Chatlio's payloads have no event type, and three of the five kinds share one shape (Chatlio documentation:
webhooks, chat transcripts). The kind must therefore come from outside the body.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache
from typing import Any


class Kind(StrEnum):
    """The kinds of events: one for each of Chatlio's five webhooks."""

    TRANSCRIPT = "transcript"
    OFFLINE_MESSAGE = "offline_message"
    CONVERSATION_STARTED = "conversation_started"
    UNANSWERED = "unanswered"
    FEEDBACK = "feedback"

    __hash__ = str.__hash__  # Enum's own hash is several times slower, and every record needs it


KINDS: dict[str, Kind] = {str(kind): kind for kind in Kind}
"""The kinds by name."""


class Shape(StrEnum):
    """The set of keys in a payload."""

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
    """Return the XDM ``eventType`` of a kind, e.g. ``chatlio.transcript``."""
    return EVENT_TYPE_PREFIX + kind


@cache
def kind_of_shape(shape: Shape) -> Kind | None:
    """Return the kind of a shape that has only one, else None."""
    kinds = [kind for kind, its_shape in SHAPE_OF.items() if its_shape is shape]
    return kinds[0] if len(kinds) == 1 else None


def shape_of(payload: Mapping[str, Any]) -> Shape | None:
    """Return a payload's shape, determined from its keys; None if it is none of the three.

    The conversation shape does not require ``conversationUUID``, which Adobe's sample lacks.
    """
    keys = payload.keys()
    if isinstance(payload.get("messages"), list) or not keys.isdisjoint(_TRANSCRIPT_KEYS):
        return Shape.TRANSCRIPT
    if "conversationUUID" not in payload and not keys.isdisjoint(_OFFLINE_KEYS):
        return Shape.OFFLINE
    if "visitor" in payload and "message" in payload and not keys.isdisjoint(_CONVERSATION_KEYS):
        return Shape.CONVERSATION
    return None


DISTINCTIVE_KEYS: dict[Shape, frozenset[str]] = {
    Shape.TRANSCRIPT: frozenset({"messages"}),
    Shape.OFFLINE: frozenset({"email"}),
    Shape.CONVERSATION: frozenset({"visitor", "message", "channelId"}),
}
"""Keys that determine a payload's shape, unless it has a key that only another shape has."""

_TRANSCRIPT_KEYS = frozenset({"textBody", "htmlBody", "endedAt", "archiveUrl"})
_OFFLINE_KEYS = frozenset({"email", "emailPretty"})
_CONVERSATION_KEYS = frozenset({"conversationUUID", "slackChannelId", "channelId"})


def kind_in_path(parts: Sequence[str]) -> Kind | None:
    """Return the kind named in a file's path: by the file's name, or else by its folders, innermost first.

    A name contains a kind if it has the kind's words, in any case and with any separators, as in
    ``feedback-2024.ndjson.gz``, ``New Conversations/`` or ``chat_transcripts.json``. A name with two kinds
    counts as neither.
    """
    for part in reversed(parts):
        words = f" {' '.join(re.findall('[a-z0-9]+', part.lower()))} "
        kinds = {kind for kind, names in _NAMES.items() if any(f" {name} " in words for name in names)}
        if kinds:
            return kinds.pop() if len(kinds) == 1 else None
    return None
