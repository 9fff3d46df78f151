"""Event ids: the same whenever and wherever the same event is read.

SHA-256, lower-case hex, over UTF-8 text:

- a transcript: ``transcript|<conversationUUID>|<endedAt as Chatlio wrote it>``
- the start of a conversation: ``conversation_started|<conversationUUID>``
- every other event, and these two when a part is absent:
  ``<kind>|<widget>|<received time, RFC 3339 UTC with microseconds>|<canonical body>``

The first two are also possible as Data Prep expressions, so an event that arrives live and from a file is
one event in Profile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import orjson

from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.chatlio.numbers import as_written
from chatlio_kit.chatlio.timestamps import is_absent


def canonical(payload: Mapping[str, Any]) -> bytes:
    """Write a payload so that equal payloads give equal bytes: keys sorted, no blanks, UTF-8."""
    try:
        return orjson.dumps(payload, default=as_written, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # an integer beyond 64 bits, which orjson refuses and Python keeps exactly
        return json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(text: bytes) -> str:
    """Return the SHA-256 as 64 lower-case hexadecimal digits."""
    return sha256(text).hexdigest()


def event_id(
    kind: Kind, payload: Mapping[str, Any], body: bytes, *, widget: str | None, received: str | None
) -> str:
    """Return the id of an event.

    Args:
        kind: its kind.
        payload: what Chatlio sent.
        body: the same in canonical form.
        widget: the widget that the capture names, if any.
        received: when it was captured, RFC 3339 UTC with microseconds, if known.
    """
    own = id_parts_of(kind, payload)
    return digest(own or id_parts_from_body(kind, body, widget=widget, received=received))


ID_KEYS = ("conversationUUID", "endedAt")
"""The keys whose values may determine an event's id without its body."""


def id_parts_of(kind: Kind, payload: Mapping[str, Any]) -> bytes | None:
    """Return the text whose digest is an event's id; None when the id depends on its body."""
    (own,) = id_parts(kind, *[[payload.get(key)] for key in ID_KEYS])
    return own


def id_parts(
    kind: Kind, conversations: Sequence[str | None], ends: Sequence[str | None]
) -> list[bytes | None]:
    """Return the texts whose digests are the ids of events of one kind; None where an id depends on the body.

    Args:
        kind: their kind.
        conversations: their ``conversationUUID``, as they were written.
        ends: their ``endedAt``.
    """
    if kind is Kind.TRANSCRIPT:
        return [
            f"transcript|{named}|{ended}".encode() if named and not is_absent(ended) else None
            for named, ended in zip(conversations, ends, strict=True)
        ]
    if kind is Kind.CONVERSATION_STARTED:
        return [f"conversation_started|{named}".encode() if named else None for named in conversations]
    return [None] * len(conversations)


def id_parts_from_body(kind: str, body: bytes, *, widget: str | None, received: str | None) -> bytes:
    """Return the text whose digest is the id of an event that depends on its body; see :func:`event_id`."""
    return f"{kind}|{widget or ''}|{received or ''}|".encode() + body
