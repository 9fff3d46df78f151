"""Dialects: recognition of a logger's records, and the paths of payload, time and kind in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from chatlio_kit.captures.dialects.clocks import Clock, with_offset_if
from chatlio_kit.captures.dialects.columns import holds_json, is_split
from chatlio_kit.chatlio.kinds import Kind, kind_in_path

EACH = "*"
_MISSING: Any = object()
_SHORT = 200
"""Labels up to this length are cached, because most records repeat one."""
_HOST = re.compile(r"^[a-z][a-z0-9+.-]*://[^/?#]*", re.IGNORECASE)


@dataclass(frozen=True)
class FieldPath:
    """The path of a value in a record: its keys from the outside in.

    A number is an array index, and ``*`` matches every index.
    """

    keys: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> FieldPath:
        """Parse ``request.body``, ``items.*.body`` or its variant ``items[].body``, or a JSON Pointer.

        A pointer (RFC 6901) looks like ``/request/the.body``; ``""`` is the whole record.
        """
        if not text.startswith("/"):
            return cls(tuple(text.replace("[]", f".{EACH}").split(".")) if text else ())
        parts = text[1:].split("/")
        return cls(tuple(part.replace("~1", "/").replace("~0", "~") for part in parts))

    def first(self) -> FieldPath:
        """Return the path with the first element of each walked list."""
        return FieldPath(tuple("0" if key == EACH else key for key in self.keys))

    def find(self, value: Any, default: Any = None) -> Any:
        """Return the value at this path."""
        for key in self.keys:
            if isinstance(value, dict) and key in value:
                value = value[key]
            elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                value = value[int(key)]
            else:
                return default
        return value

    def is_in(self, value: Any) -> bool:
        """Return whether there is a value, possibly null, at this path."""
        return self.find(value, _MISSING) is not _MISSING

    def __str__(self) -> str:
        return ".".join(self.keys)


class Body(StrEnum):
    """The encoding of a payload."""

    OBJECT = "an object"
    JSON = "an object, or its JSON as text"
    BASE64 = "JSON in base64"
    HTTP = "a whole HTTP request in base64"
    COLUMNS = "a column for each field"
    ITSELF = "the record itself"


@dataclass(frozen=True)
class Dialect:
    """One logger's format for recording a webhook.

    Attributes:
        name: Name in reports.
        title: The logger.
        needs: Paths that all of its records have.
        payload: Path of the payload; empty if the record itself is the payload.
        source: Documentation of the format.
        body: Encoding of the payload.
        base64_flag: Path whose value is true, or the word ``base64``, if a payload in text is base64.
        received: Path of the time of capture, if there is one.
        clock: Format of that time.
        label: Path of a kind, or of a path or URL that names one.
        widget: Path of the widget.
        lacks: Paths that only another dialect's records have.
        separator: Separator between the parts of a column name.
        keeps_kind: True if a label that names no kind is kept, so that it is reported.
        walk: Keys of a list whose elements are records, with ``*`` for every element; empty if there is none.
        offset: Offset of times written without one; empty if unknown.
    """

    name: str
    title: str
    needs: tuple[FieldPath, ...]
    payload: FieldPath
    source: str
    body: Body = Body.JSON
    base64_flag: FieldPath | None = None
    received: FieldPath | None = None
    clock: Clock = Clock.RFC3339
    label: FieldPath | None = None
    widget: FieldPath | None = None
    lacks: tuple[FieldPath, ...] = ()
    separator: str = ""
    keeps_kind: bool = False
    walk: tuple[str, ...] = ()
    offset: str = ""
    marks: frozenset[str] = field(init=False, repr=False, compare=False)
    """Keys that all of its records have."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "marks", frozenset(path.keys[0] for path in self.needs))

    def fits(self, value: Mapping[str, Any]) -> bool:
        """Return whether a record has the paths that this dialect needs, and none that it lacks."""
        if self.body is Body.COLUMNS:
            return is_split(value, self.separator) if self.separator else holds_json(value)
        return (
            self.marks.issubset(value)
            and all(path.is_in(value) for path in self.needs)
            and not any(path.is_in(value) for path in self.lacks)
        )

    def siblings(self, value: Any) -> dict[str, int]:
        """Count the further elements of the list from which the payload's path takes one.

        Returns:
            Their number, by the path that names them all; empty if there are none.
        """
        count, keys = 0, list(self.payload.keys)
        for index, key in enumerate(self.payload.keys):
            if isinstance(value, list) and len(value) > 1:
                count += len(value) - 1
                keys[index] = EACH
            value = FieldPath((key,)).find(value)
        return {".".join(keys): count} if count else {}

    def received_at(self, value: Any, offset: str = "") -> str | None:
        """Return the time of capture as RFC 3339.

        Args:
            value: The record.
            offset: Offset of a time written without one.

        Raises:
            InvalidRecord: The time does not have this dialect's format.
        """
        if self.received is None:
            return None
        time = self.received.find(value)
        if self.clock is Clock.RFC3339:
            time = with_offset_if(time, offset)
        return self.clock.read(time, str(self.received))

    def kind(self, value: Any) -> Any:
        """Return the kind that a label names."""
        label = self.label.find(value) if self.label else None
        if not isinstance(label, str) or not label:
            return label or None if self.keeps_kind else None
        kind = _kind_of_short_label(label) if len(label) <= _SHORT else kind_of_label(label)
        return label if kind is None and self.keeps_kind and "/" not in label else kind


def kind_of_label(label: str) -> Kind | None:
    """Return the kind in a path, URL or name, matched as in file names; a host name has none."""
    parts = re.split(r"[/?&=#:]", unquote(_HOST.sub("", label)))
    return kind_in_path(parts)


_kind_of_short_label = lru_cache(maxsize=1024)(kind_of_label)
