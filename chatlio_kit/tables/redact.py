"""A piece of an export without what its user chose to redact."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from chatlio_kit.chatlio.redaction import Redaction
from chatlio_kit.tables.nesting import message_counts, nest
from chatlio_kit.tables.validate.event_batch import EventBatch
from chatlio_kit.tables.validate.schemas import arrow_rows


def redact(built: EventBatch, redaction: Redaction, counts: Counter[str]) -> EventBatch:
    """Redact a piece's events, messages and rejects.

    Args:
        built: the piece.
        redaction: what becomes of each privacy class.
        counts: where redacted values are counted, by ``table.column``.
    """
    if not redaction.is_on:
        return built
    frames: dict[str, Any] = {}
    for table, rows in (("events", built.events), ("messages", built.messages)):
        frames[table], counted = redaction.apply(table, rows)
        counts.update({f"{table}.{column}": count for column, count in counted.items()})
    rejected = [redaction.rejection(each) for each in built.rejected]
    events, messages = (arrow_rows(frames[table], table) for table in ("events", "messages"))
    return replace(built, rows=nest(events, messages, message_counts(built.rows)), rejected=rejected)
