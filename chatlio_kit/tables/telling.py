"""What a stretch of sorted rows tells: conversations with their messages, visitors, offline messages.

A stretch holds all rows of each of its keys, so the functions that make a notebook's frames make these too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from chatlio_kit.tables.derived import Talks, offline_messages, visitors
from chatlio_kit.tables.spill import Part

Rows = dict[str, Any]
"""Arrow tables by the name of the table that they belong to."""


class Told(NamedTuple):
    """A stretch, and what is told from it."""

    tell: Callable[[Any], Rows]
    part: Part


def tell(told: Told) -> Rows:
    """Read a stretch and tell it; one without rows tells nothing."""
    rows = told.part.read()
    return {} if rows is None else told.tell(rows)


def tell_conversations(rows: Any) -> Rows:
    """Tell messages, each once, and conversations."""
    talks = Talks(rows)
    return {"messages": talks.messages(), "conversations": talks.conversations()}


def tell_visitors(rows: Any) -> Rows:
    """Tell visitors."""
    return {"visitors": visitors(rows)}


def tell_offline_messages(rows: Any) -> Rows:
    """Tell offline messages, in order of time."""
    return {"offline_messages": offline_messages(rows)}
