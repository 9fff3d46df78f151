"""Rejections: records that were not accepted, with the reasons."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """The reason why a record was not accepted."""

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
        "The file, or a part of it, cannot be read: it is truncated, damaged, or not in a format for "
        "captures. Get a complete copy, or convert it to another format."
    ),
    Reason.NOT_JSON: (
        "The record, or its payload, is not valid JSON or not UTF-8. Correct it, or name the encoding with "
        "--encoding."
    ),
    Reason.DUPLICATE_KEY: "An object has the same key twice. Keep the correct one.",
    Reason.TOO_LARGE: "The record is longer than any chat. Split it into its original records.",
    Reason.NOT_AN_OBJECT: "The record, or its payload, is JSON but not an object. Captures are objects.",
    Reason.SHAPE_UNKNOWN: (
        "The record has no payload in any of Chatlio's three shapes. If a logger stored the payload "
        "elsewhere, name its path with --fields; otherwise the record is not a Chatlio webhook."
    ),
    Reason.KIND_UNKNOWN: (
        "Nothing identifies the webhook that sent it, or its label is none of the five kinds. If there is no "
        "label, name the kind with --kind or a folder; otherwise correct the label."
    ),
    Reason.KIND_MISMATCH: (
        "Its label, its file's name or --kind gives a kind that does not match its shape. Correct it."
    ),
    Reason.UNDATED: "The record has no time. Choose a stand-in with --undated-as.",
    Reason.WRONG_TYPE: "A value does not have its field's type. Correct the record.",
    Reason.MISSING: "A required field is missing or empty. Correct the record.",
    Reason.INVALID_TIME: (
        "A time is not in RFC 3339 format, such as 2024-03-11T09:03:10Z. Correct the record, or name its "
        "logger's time format with --fields."
    ),
    Reason.FUTURE_TIME: "A time is in the future. Correct the record and the clock that wrote it.",
    Reason.INVALID_VALUE: "A value breaks its field's rule. Correct the record.",
    Reason.REPEATED: "Two messages of one transcript have the same ts. Correct the record.",
    Reason.CONFLICTING_DUPLICATE: "An earlier record has the same id but another payload. Keep one of them.",
    Reason.UNKNOWN_FIELD: "It has an undocumented field. Accept it with --contract evolve.",
    Reason.NO_OVERLAP: (
        "Webhooks cover its Slack channel at the same time but share no message with the export. Name the "
        "right export, or read it without these captures."
    ),
}
"""Advice on a rejected record, without any of its values."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """One record that was not accepted.

    Attributes:
        file: Its file, as the export names it.
        record: Its number in that file, from 1.
        reason: One of :class:`Reason`.
        field: Path in the payload, e.g. ``messages[3].ts``; None if the whole record is meant.
        detail: A message with the problem, the expectation and the next step.
        raw: The record as read; None where values are redacted.
    """

    file: str
    record: int
    reason: Reason
    field: str | None
    detail: str
    raw: str | None


def shortened(value: object, limit: int = 60) -> str:
    """Return a value for use in a sentence: as JSON, on one line and shortened."""
    if isinstance(value, str):
        text = on_one_line(value[:limit])
        text = f'"{text}"' if len(value) <= limit else f'"{text}'
    elif value is None or isinstance(value, bool | dict | list):
        text = json.dumps(value, ensure_ascii=True, default=str)
    else:
        text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def on_one_line(text: str) -> str:
    """Escape untrusted text so that a terminal only displays it."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
