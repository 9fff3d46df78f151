"""The strict parser: from a record to its values by the catalogue's paths, or to the first rule it breaks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from chatlio_kit.captures import Dialect, Unwrapped, unwrap
from chatlio_kit.captures.dialects import advice, meaning
from chatlio_kit.chatlio.catalogue import (
    LEFT_BEHIND,
    LEFT_BEHIND_IN_MESSAGES,
    MESSAGES,
    Dtype,
    Field,
    fields_of,
)
from chatlio_kit.chatlio.event_ids import canonical
from chatlio_kit.chatlio.kinds import KINDS, SHAPE_OF, Kind, Shape, kind_of_shape, shape_of
from chatlio_kit.chatlio.numbers import WrittenNumber
from chatlio_kit.chatlio.rejections import Reason, shortened

VISITOR = "visitor"
_SURELY_READABLE = 500
"""JSON up to this length that orjson reads can be read by every other parser."""
_TYPE_NAMES = {list: "an array", str: "a text", bool: "true or false", type(None): "null"}

MessageRow = dict[str, Any]


class InvalidRecord(Exception):
    """A record that breaks a rule."""

    def __init__(self, reason: Reason, field: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.field, self.detail = reason, field, detail


class ParsedPayload(NamedTuple):
    """The values of one payload.

    Attributes:
        values: The event's values by column.
        messages: The values of each message by column; empty if the payload has none.
    """

    values: dict[str, str | None]
    messages: list[MessageRow]


class PayloadParser:
    """Parser for the payloads of one shape.

    Attributes:
        top: The fields at the payload's top level, with their keys.
        visitor: The fields of the visitor, with their keys.
        required: The fields that every payload has.
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        fields = [(field, field.paths[shape]) for field in fields_of(shape)]
        self.top = [(field, path) for field, path in fields if "." not in path]
        self.visitor = [(field, path.removeprefix(f"{VISITOR}.")) for field, path in fields if "." in path]
        self.required = [field for field, _ in fields if shape in field.required_in]
        self._known_keys = frozenset({key for _, key in self.top} | LEFT_BEHIND[shape] | {VISITOR})
        self._known_visitor_keys = frozenset(key for _, key in self.visitor)

    def parse(self, payload: Mapping[str, Any]) -> ParsedPayload:
        """Return the values of an event and of its messages.

        Raises:
            InvalidRecord: A value has the wrong type, or a required one is missing.
        """
        visitor = payload.get(VISITOR)
        if visitor is None or visitor == "":
            visitor = {}
        elif not isinstance(visitor, dict):
            raise _wrong_type(VISITOR, visitor, "an object")
        values = {field.name: to_text(field, payload.get(key), key) for field, key in self.top}
        for field, key in self.visitor:
            values[field.name] = to_text(field, visitor.get(key), f"{VISITOR}.{key}")
        for field in self.required:
            if values[field.name] is None:
                path = field.paths[self._shape]
                detail = f"{path} is missing or empty. Every such event has it."
                raise InvalidRecord(Reason.MISSING, path, detail)
        messages = _parse_messages(payload) if self._shape is Shape.TRANSCRIPT else []
        return ParsedPayload(values, messages)

    def unknown_fields(self, payload: Mapping[str, Any]) -> str | None:
        """Return fields that the catalogue does not know, by path, as a JSON object; None if there are none.

        Args:
            payload: One that was parsed or converted without an error.
        """
        visitor = payload.get(VISITOR) or {}
        unknown = {key: value for key, value in payload.items() if key not in self._known_keys}
        for key, value in visitor.items():
            if key not in self._known_visitor_keys:
                unknown[f"{VISITOR}.{key}"] = value
        messages = payload.get("messages") or () if self._shape is Shape.TRANSCRIPT else ()
        for index, message in enumerate(messages):
            for key, value in message.items():
                if key not in _KNOWN_MESSAGE_KEYS:
                    unknown[f"messages[{index}].{key}"] = value
        return canonical(unknown).decode() if unknown else None


def _parse_messages(payload: Mapping[str, Any]) -> list[MessageRow]:
    messages = payload.get("messages")
    if messages is None or messages == "":
        messages = []
    elif not isinstance(messages, list):
        raise _wrong_type("messages", messages, "an array")
    rows: list[MessageRow] = []
    seen: set[str] = set()
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if not isinstance(message, dict):
            raise _wrong_type(path, message, "an object")
        row: MessageRow = {
            field.name: to_text(field, message.get(key), f"{path}.{key}") for field, key in MESSAGE_FIELDS
        }
        ts = row["ts"]
        if ts is None:
            detail = f"{path}.ts is missing or empty; it names the message."
            raise InvalidRecord(Reason.MISSING, f"{path}.ts", detail)
        if ts in seen:
            detail = f"{path}.ts is {shortened(ts)}, like an earlier message's in the same transcript."
            raise InvalidRecord(Reason.REPEATED, f"{path}.ts", detail)
        seen.add(ts)
        flag = message.get("isVisitorMsg")
        if not (flag is None or flag == "" or isinstance(flag, bool)):
            raise _wrong_type(f"{path}.isVisitorMsg", flag, "true or false")
        rows.append({**row, "author": author_of(flag, message.get("userId"))})
    return rows


MESSAGE_FIELDS = [
    (field, key) for field in MESSAGES if (key := field.paths.get(Shape.TRANSCRIPT)) is not None
]
"""The fields of a message, each with its key."""
_KNOWN_MESSAGE_KEYS = frozenset({key for _, key in MESSAGE_FIELDS} | LEFT_BEHIND_IN_MESSAGES)

PARSERS: dict[Shape, PayloadParser] = {shape: PayloadParser(shape) for shape in Shape}


def author_of(is_visitor: bool | str | None, user: str | None) -> str:
    """Return the author of a message: ``visitor``, ``agent`` or ``unknown``.

    Args:
        is_visitor: ``isVisitorMsg``, which older payloads lack.
        user: ``userId``, the Slack user, which is empty for visitors.
    """
    if isinstance(is_visitor, bool):
        return "visitor" if is_visitor else "agent"
    if user is None:
        return "unknown"
    return "agent" if user else "visitor"


def is_free(field: Field) -> bool:
    """Return whether a field accepts values other than strings."""
    return field.dtype is Dtype.JSON or field.any_scalar


def to_text(field: Field, value: Any, path: str) -> str | None:
    """Return a field's value as its column's string; None if it is missing or empty.

    Args:
        field: The field.
        value: Its value.
        path: Its path in the payload.

    Raises:
        InvalidRecord: The field does not accept the value.
    """
    if isinstance(value, str):
        return _json_of(value) if value and field.dtype is Dtype.JSON else value or None
    if value is None:
        return None
    if field.dtype is Dtype.JSON:
        if isinstance(value, dict | list):
            return canonical(value).decode() if value else None  # type: ignore[arg-type]
        raise _wrong_type(path, value, "an object, an array or a string")
    if field.any_scalar and isinstance(value, int | float | WrittenNumber):
        return orjson.dumps(value).decode() if isinstance(value, bool | float) else str(value)
    raise _wrong_type(path, value, "a text")


def _json_of(text: str) -> str:
    """Return a string that a JSON column can hold: itself if it is JSON, otherwise as a JSON string."""
    try:
        orjson.loads(text)
        if len(text) > _SURELY_READABLE:
            json.loads(text)  # has a lower limit on nesting, and refuses numbers of thousands of digits
    except (ValueError, RecursionError):
        return json.dumps(text, ensure_ascii=False)
    return text


def unwrap_record(value: Any, fields: Dialect | None) -> Unwrapped:
    """Return the payload of a record, an object, and the capture's values next to it.

    Raises:
        InvalidRecord: The record or its payload is not an object.
        ValueError: No payload can be extracted from the record.
    """
    if not isinstance(value, dict):
        detail = f"The record is {_type_name(value)}, not an object: {shortened(value)}."
        raise InvalidRecord(Reason.NOT_AN_OBJECT, "", detail)
    unwrapped = unwrap(value, fields)
    if not isinstance(unwrapped.payload, dict):
        detail = (
            f"The envelope's payload is {_type_name(unwrapped.payload)}, not an object. JSON or base64 "
            "in a text is read, too. If the payload is elsewhere, name its path with --fields "
            "(in Python fields=)."
        )
        raise InvalidRecord(Reason.NOT_AN_OBJECT, "payload", detail)
    return unwrapped


def _type_name(value: object) -> str:
    return _TYPE_NAMES.get(type(value), "a number")


def kind_of(record: Unwrapped, file_kind: Kind | None, fallback: Kind | None) -> Kind:
    """Return the kind of a record: from its capture, or else its file, its shape or the fallback.

    Raises:
        InvalidRecord: Nothing names a kind, or the name contradicts the payload's shape.
    """
    shape = shape_of(record.payload)
    if shape is None:
        detail = "The payload is none of Chatlio's shapes: transcript, offline message or conversation."
        raise InvalidRecord(Reason.SHAPE_UNKNOWN, "", detail)
    named = record.kind
    if named and not (isinstance(named, str) and named in KINDS):
        raise _unknown_kind(named)
    kind = KINDS[named] if named else file_kind or kind_of_shape(shape) or fallback
    if kind is None:
        texts = (value for key, value in record.payload.items() if meaning(key) == "kind")
        own = next((text for text in texts if isinstance(text, str) and text), None)
        if own is not None:
            raise _unknown_kind(own)
        detail = (
            "Neither its capture nor its file or folder says whether this is conversation_started, "
            "unanswered or feedback. Name it with --kind (in Python kind=), or put the file into a folder of "
            "that name."
        )
        raise InvalidRecord(Reason.KIND_UNKNOWN, "kind", detail)
    if SHAPE_OF[kind] is not shape:
        detail = f"It is labelled {kind}, but its payload has the {shape} shape. Correct the label."
        if not named:
            source = "Its file or folder is" if file_kind else "--kind (in Python kind=) is"
            detail = f"{source} named {kind}, but its payload has the {shape} shape. " + (
                "Put it in a file with another name." if file_kind else "Name another kind."
            )
        raise InvalidRecord(Reason.KIND_MISMATCH, "kind", detail)
    return kind


def received_at_of(record: Unwrapped) -> str | None:
    """Return a record's time of capture, as written.

    Raises:
        InvalidRecord: The time is not a string.
    """
    return _text_or_none(record.received_at, "receivedAt")


def widget_of(record: Unwrapped) -> str | None:
    """Return the widget that sent a record; an integer counts too, because CSV tables have its digits.

    Raises:
        InvalidRecord: It is neither a string nor an integer.
    """
    widget = record.widget
    return _text_or_none(str(widget) if type(widget) is int else widget, "widget")


def _text_or_none(value: Any, path: str) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    detail = f"{path} is {shortened(value)}; expected a string."
    if path == "receivedAt":
        detail += f" {advice(value, path)}"
    raise InvalidRecord(Reason.WRONG_TYPE, path, detail)


def _unknown_kind(named: Any) -> InvalidRecord:
    detail = f"kind is {shortened(named)}; expected one of {', '.join(Kind)}."
    return InvalidRecord(Reason.KIND_UNKNOWN, "kind", detail)


def _wrong_type(path: str, value: Any, expected: str) -> InvalidRecord:
    detail = f"{path} is {shortened(value)}; expected {expected}."
    return InvalidRecord(Reason.WRONG_TYPE, path, detail)
