"""Why a record was not accepted, in one place and one form."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """What keeps a record from being accepted."""

    UNREADABLE = "unreadable"
    NOT_JSON = "not_json"
    DUPLICATE_KEY = "duplicate_key"
    TOO_LARGE = "too_large"
    NOT_AN_OBJECT = "not_an_object"
    SHAPE_UNKNOWN = "shape_unknown"
    KIND_UNKNOWN = "kind_unknown"
    KIND_MISMATCH = "kind_mismatch"
    UNDATED = "undated"
    WRONG_TYPE = "wrong_type"
    MISSING = "missing"
    INVALID_TIME = "invalid_time"
    FUTURE_TIME = "future_time"
    INVALID_VALUE = "invalid_value"
    REPEATED = "repeated"
    CONFLICTING_DUPLICATE = "conflicting_duplicate"


@dataclass(frozen=True, slots=True)
class Rejection:
    """One record that was not accepted.

    Attributes:
        file: the file it stands in, as the export names it.
        record: its number in that file, from 1.
        reason: one of :class:`Reason`.
        field: where in the payload, e.g. ``messages[3].ts``; None when the whole record is meant.
        detail: a sentence: what was found, what was expected, what to do.
        raw: the record as it was read.
    """

    file: str
    record: int
    reason: Reason
    field: str | None
    detail: str
    raw: str


def shortened(value: object, limit: int = 60) -> str:
    """Show a value inside a sentence, quoted and cut to a readable length."""
    text = repr(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
