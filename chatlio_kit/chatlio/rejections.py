"""Rejections: why a record was not accepted."""

from __future__ import annotations

import json
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
    UNKNOWN_FIELD = "unknown_field"
    NO_OVERLAP = "no_overlap"


HINTS: dict[Reason, str] = {
    Reason.UNREADABLE: (
        "The file, or a part of it, cannot be read: it is cut off, damaged, or in no form that holds "
        "captures. Get a whole copy of it, or write it in another form."
    ),
    Reason.NOT_JSON: (
        "The record, or the payload in it, is no JSON or not UTF-8. Correct it, or name the encoding with "
        "--encoding."
    ),
    Reason.DUPLICATE_KEY: "An object has one key twice. Keep the one that is meant.",
    Reason.TOO_LARGE: "The record is longer than any chat. Cut it into the records it was made of.",
    Reason.NOT_AN_OBJECT: "The record, or the payload in it, is JSON but no object. Captures are objects.",
    Reason.SHAPE_UNKNOWN: (
        "No payload of Chatlio's three shapes is where one is looked for. If a logger put it elsewhere, name "
        "its place with --fields; else something else was captured here."
    ),
    Reason.KIND_UNKNOWN: (
        "Nothing says which webhook sent it, or its label names none of the five. Where nothing says it, "
        "name it with --kind, or by a folder; else correct the label."
    ),
    Reason.KIND_MISMATCH: (
        "Its label, its file's name or --kind names a kind of another shape than it has. Correct that."
    ),
    Reason.UNDATED: "Nothing says when it happened. Choose a stand-in with --undated-as.",
    Reason.WRONG_TYPE: "A value is of another type than the field has. Correct the record.",
    Reason.MISSING: "A field that every such record carries is missing or empty. Correct the record.",
    Reason.INVALID_TIME: (
        "A time is no RFC 3339 time, such as 2024-03-11T09:03:10Z. Correct the record, or name how its "
        "logger writes times with --fields."
    ),
    Reason.FUTURE_TIME: "A time is in the future. Correct the record, and the clock that wrote it.",
    Reason.INVALID_VALUE: "A value breaks its field's rule. Correct the record.",
    Reason.REPEATED: "Two messages of one transcript have the same ts. Correct the record.",
    Reason.CONFLICTING_DUPLICATE: "An earlier record has its id and another payload. Keep one of them.",
    Reason.UNKNOWN_FIELD: "It has a field that nobody documented. Let it in with --contract evolve.",
    Reason.NO_OVERLAP: (
        "Webhooks cover its Slack channel at the same time, but share no message with the export. Name the "
        "right export, or read it without these captures."
    ),
}
"""What helps with a rejected record, without any of its values."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """One record that was not accepted.

    Attributes:
        file: its file, as the export names it.
        record: its number in that file, from 1.
        reason: one of :class:`Reason`.
        field: where in the payload, e.g. ``messages[3].ts``; None when the whole record is meant.
        detail: a sentence about what was found, what was expected and what to do.
        raw: the record as it was read; None where values are redacted.
    """

    file: str
    record: int
    reason: Reason
    field: str | None
    detail: str
    raw: str | None


def shortened(value: object, limit: int = 60) -> str:
    """Return a value for use in a sentence: as JSON, on one line and shortened to a readable length."""
    if isinstance(value, str):
        text = on_one_line(value[:limit])
        text = f'"{text}"' if len(value) <= limit else f'"{text}'
    elif value is None or isinstance(value, bool | dict | list):
        text = json.dumps(value, ensure_ascii=True, default=str)
    else:
        text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def on_one_line(text: str) -> str:
    """Escape a stranger's text so that a terminal only shows it."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
