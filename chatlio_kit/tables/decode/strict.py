"""From one payload to its values: by the catalogue's places, with nothing guessed and nothing lost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson

from chatlio_kit.chatlio.catalogue import (
    LEFT_BEHIND,
    LEFT_BEHIND_IN_MESSAGES,
    MESSAGES,
    Dtype,
    Field,
    fields_of,
)
from chatlio_kit.chatlio.event_ids import canonical
from chatlio_kit.chatlio.kinds import Shape
from chatlio_kit.chatlio.numbers import WrittenNumber
from chatlio_kit.chatlio.rejections import Reason, shortened

VISITOR = "visitor"
_SURELY_READABLE = 500
"""JSON of so few characters that orjson reads is read by every other parser."""

MessageRow = dict[str, Any]


class InvalidRecord(Exception):
    """A value that no column can hold."""

    def __init__(self, reason: Reason, field: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.field, self.detail = reason, field, detail


class PayloadParser:
    """Reads payloads of one shape."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        fields = list(fields_of(shape))
        self.top = [(field, field.places[shape]) for field in fields if "." not in field.places[shape]]
        self.visitor = [
            (field, field.places[shape].removeprefix(f"{VISITOR}."))
            for field in fields
            if "." in field.places[shape]
        ]
        self.required = [field for field in fields if shape in field.required_in]
        self.known = frozenset({place for _, place in self.top} | LEFT_BEHIND[shape] | {VISITOR})
        self.known_of_visitor = frozenset(place for _, place in self.visitor)
        self.columns = [field.name for field in fields]

    def read(self, payload: Mapping[str, Any]) -> tuple[dict[str, str | None], list[MessageRow]]:
        """Give the values of an event, by column, and its messages.

        Raises:
            Unfit: when a value has the wrong type or a needed one is missing.
        """
        visitor = payload.get(VISITOR)
        if visitor is None or visitor == "":
            visitor = {}
        elif not isinstance(visitor, dict):
            raise _wrong_type(VISITOR, visitor, "an object")
        values = {field.name: _value(field, payload.get(place), place) for field, place in self.top}
        for field, place in self.visitor:
            values[field.name] = _value(field, visitor.get(place), f"{VISITOR}.{place}")
        for field in self.required:
            if values[field.name] is None:
                place = field.places[self.shape]
                detail = f"{place} is missing or empty. Every such event carries it."
                raise InvalidRecord(Reason.MISSING, place, detail)
        messages = self._messages(payload) if self.shape is Shape.TRANSCRIPT else []
        extra = self.unknown_fields(payload, visitor)
        values["extra_fields"] = canonical(extra).decode() if extra else None
        return values, messages

    def unknown_fields(self, payload: Mapping[str, Any], visitor: Mapping[str, Any]) -> dict[str, Any]:
        """Give the fields that the catalogue does not know, by their place in the payload."""
        extra = {key: payload[key] for key in payload.keys() - self.known}
        extra |= {f"{VISITOR}.{key}": visitor[key] for key in visitor.keys() - self.known_of_visitor}
        said = payload.get("messages") or () if self.shape is Shape.TRANSCRIPT else ()
        for index, message in enumerate(said):
            for key in message.keys() - KNOWN_OF_MESSAGE:
                extra[f"messages[{index}].{key}"] = message[key]
        return extra

    def _messages(self, payload: Mapping[str, Any]) -> list[MessageRow]:
        found = payload.get("messages")
        if found is None or found == "":
            found = []
        elif not isinstance(found, list):
            raise _wrong_type("messages", found, "an array")
        rows, seen = [], set()
        for index, message in enumerate(found):
            where = f"messages[{index}]"
            if not isinstance(message, dict):
                raise _wrong_type(where, message, "an object")
            row: MessageRow = {
                field.name: _value(field, message.get(place), f"{where}.{place}")
                for field, place in MESSAGE_PLACES
            }
            if row["ts"] is None:
                raise InvalidRecord(
                    Reason.MISSING, f"{where}.ts", f"{where}.ts is missing or empty; it names the message."
                )
            if row["ts"] in seen:
                detail = (
                    f"{where}.ts is {shortened(row['ts'])}, as an earlier message's of the same transcript."
                )
                raise InvalidRecord(Reason.REPEATED, f"{where}.ts", detail)
            seen.add(row["ts"])
            row["author"] = author_of(message, where)
            row["position"] = index + 1
            rows.append(row)
        return rows


MESSAGE_PLACES = [
    (field, place) for field in MESSAGES if (place := field.places.get(Shape.TRANSCRIPT)) is not None
]
KNOWN_OF_MESSAGE = frozenset({place for _, place in MESSAGE_PLACES} | LEFT_BEHIND_IN_MESSAGES)
MESSAGE_COLUMNS = (*(field.name for field, _ in MESSAGE_PLACES), "author", "position")

PARSERS: dict[Shape, PayloadParser] = {shape: PayloadParser(shape) for shape in Shape}


def author_of(message: Mapping[str, Any], where: str) -> str:
    """Say who wrote a message: older payloads have no ``isVisitorMsg``, but no Slack user for visitors.

    Raises:
        Unfit: when its mark is neither true nor false.
    """
    flag = message.get("isVisitorMsg")
    if isinstance(flag, bool):
        return "visitor" if flag else "agent"
    if flag is not None and flag != "":
        raise _wrong_type(f"{where}.isVisitorMsg", flag, "true or false")
    user = message.get("userId")
    if user is None:
        return "unknown"
    return "agent" if user else "visitor"


def as_json(text: str) -> str:
    """Return a text that a JSON column can hold: itself if it is JSON, else a JSON string of it."""
    try:
        orjson.loads(text)
        if len(text) > _SURELY_READABLE:
            json.loads(text)  # reads less deeply, and refuses numbers of thousands of digits
    except (ValueError, RecursionError):
        return json.dumps(text, ensure_ascii=False)
    return text


def _value(field: Field, value: Any, place: str) -> str | None:
    if isinstance(value, str):
        return as_json(value) if value and field.dtype is Dtype.JSON else value or None
    if value is None:
        return None
    if field.dtype is Dtype.JSON:
        return _json_text(value, place)
    if field.any_scalar and isinstance(value, int | float | WrittenNumber):
        return orjson.dumps(value).decode() if isinstance(value, bool | float) else str(value)
    raise _wrong_type(place, value, "a text")


def _json_text(value: Any, place: str) -> str | None:
    if isinstance(value, dict | list):
        return canonical(value).decode() if value else None  # type: ignore[arg-type]
    raise _wrong_type(place, value, "an object, an array or a text")


def _wrong_type(place: str, value: Any, expected: str) -> InvalidRecord:
    detail = f"{place} is {shortened(value)}; expected {expected}."
    return InvalidRecord(Reason.WRONG_TYPE, place, detail)
