"""What a stretch of sorted rows tells: conversations with their messages, visitors, offline messages.

A stretch holds all rows of each of its keys, so the functions that make a notebook's frames make these too.
"""

from __future__ import annotations

from typing import Any

from chatlio_kit.tables.derived import Talks, offline_messages, visitors
from chatlio_kit.tables.spill import Part

Rows = dict[str, Any]
"""Arrow tables by the name of the table that they belong to."""


def tell_conversations(part: Part) -> Rows:
    """Tell messages, each once, and conversations."""
    rows = part.read()
    if rows is None:
        return {}
    talks = Talks(rows)
    return {"messages": talks.messages(), "conversations": talks.conversations()}


def tell_visitors(part: Part) -> Rows:
    """Tell visitors."""
    rows = part.read()
    return {} if rows is None else {"visitors": visitors(rows)}


def tell_offline_messages(part: Part) -> Rows:
    """Tell offline messages, in order of time."""
    rows = part.read()
    return {} if rows is None else {"offline_messages": offline_messages(rows)}
