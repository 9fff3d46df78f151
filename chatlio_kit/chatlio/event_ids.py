"""Event ids, which do not depend on when or where an event is read.

An id is the SHA-256, in lower-case hex, of UTF-8 text:

- a transcript: ``transcript|<conversationUUID>|<endedAt as Chatlio wrote it>``
- the start of a conversation: ``conversation_started|<conversationUUID>``
- any other event, and these two if a part is missing:
  ``<kind>|<widget>|<received time, RFC 3339 UTC with microseconds>|<canonical body>``

Data Prep can compute the first two, so Profile treats a live event and the same event from a file as one.
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
    """Serialize a payload so that equal payloads give equal bytes: sorted keys, no spaces, UTF-8."""
    try:
        return orjson.dumps(payload, default=as_written, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # integers beyond 64 bits, which orjson refuses and Python keeps exactly
        return json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(text: bytes) -> str:
    """Return the SHA-256 as 64 lower-case hexadecimal digits."""
    return sha256(text).hexdigest()


def event_id(
    kind: Kind, payload: Mapping[str, Any], body: bytes, *, widget: str | None, received: str | None
) -> str:
    """Return the id of an event.

    Args:
        kind: The event's kind.
        payload: The body that Chatlio sent.
        body: The payload in canonical form.
        widget: The widget that the capture names, if any.
        received: Time of capture, RFC 3339 UTC with microseconds, if known.
    """
    own = id_parts_of(kind, payload)
    return digest(own or id_parts_from_body(kind, body, widget=widget, received=received))


ID_KEYS = ("conversationUUID", "endedAt")
"""Keys whose values may determine an event's id without its body."""


def id_parts_of(kind: Kind, payload: Mapping[str, Any]) -> bytes | None:
    """Return the string whose digest is an event's id; None if the id depends on the body."""
    (own,) = id_parts(kind, *[[payload.get(key)] for key in ID_KEYS])
    return own


def id_parts(
    kind: Kind, conversations: Sequence[str | None], ends: Sequence[str | None]
) -> list[bytes | None]:
    """Return the strings whose digests are the ids of events; None where an id depends on the body.

    Args:
        kind: The kind of all events.
        conversations: Their ``conversationUUID``, as written.
        ends: Their ``endedAt``, as written.
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
    """Return the string whose digest is the id of an event that depends on its body; see :func:`event_id`."""
    return f"{kind}|{widget or ''}|{received or ''}|".encode() + body
