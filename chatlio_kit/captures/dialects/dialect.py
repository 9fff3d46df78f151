"""What a dialect says: how its records are known, and where in them payload, time and kind stand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from chatlio_kit.captures.dialects.clocks import Clock, with_offset
from chatlio_kit.captures.dialects.columns import holds_json, is_split
from chatlio_kit.chatlio.kinds import Kind, kind_in_path

EACH = "*"
_MISSING: Any = object()
_SHORT = 200
"""Up to this length labels are remembered: most records have one that an earlier one had."""
_HOST = re.compile(r"^[a-z][a-z0-9+.-]*://[^/?#]*", re.IGNORECASE)


@dataclass(frozen=True)
class FieldPath:
    """Where in a record something stands: its keys from the outside in.

    A number is a place in an array, ``*`` each place in it.
    """

    keys: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> FieldPath:
        """Read ``request.body``, ``items.*.body``, its other spelling ``items[].body``, or a JSON Pointer.

        A pointer (RFC 6901) is as in ``/request/the.body``; ``""`` is the whole record.
        """
        if not text.startswith("/"):
            return cls(tuple(text.replace("[]", f".{EACH}").split(".")) if text else ())
        parts = text[1:].split("/")
        return cls(tuple(part.replace("~1", "/").replace("~0", "~") for part in parts))

    def first(self) -> FieldPath:
        """Return the place in the first element of each list that is walked."""
        return FieldPath(tuple("0" if key == EACH else key for key in self.keys))

    def find(self, value: Any, default: Any = None) -> Any:
        """Give what stands there."""
        for key in self.keys:
            if isinstance(value, dict) and key in value:
                value = value[key]
            elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                value = value[int(key)]
            else:
                return default
        return value

    def is_in(self, value: Any) -> bool:
        """Whether something stands there, be it null."""
        return self.find(value, _MISSING) is not _MISSING

    def __str__(self) -> str:
        return ".".join(self.keys)


class Body(StrEnum):
    """How a payload is written."""

    OBJECT = "an object"
    JSON = "an object, or its JSON as text"
    BASE64 = "JSON in base64"
    HTTP = "a whole HTTP request in base64"
    COLUMNS = "a column for each field"
    ITSELF = "the record itself"


@dataclass(frozen=True)
class Dialect:
    """How one logger writes down a webhook.

    Attributes:
        name: what reports call it.
        title: who writes it, for people.
        needs: the places that each of its records has.
        payload: where the payload stands; empty when the record itself is the payload.
        source: where its form is documented.
        body: how the payload is written.
        base64_flag: the place that says whether a payload in text is base64, by ``true`` or by that word.
        received: where the moment of capture stands, if it is told.
        clock: how that moment is written.
        label: where a kind, or a path or URL that names one, stands.
        widget: where the widget stands.
        lacks: places that none of its records has, where that tells it from another dialect.
        separator: what stands between the parts of a column's name.
        keeps_kind: whether a label that names no kind has to be told: it was meant to be one.
        walk: the keys of a list whose elements are records of their own, ``*`` for each of them; empty where
            none is walked.
        offset: what times mean that are written without one; empty where they mean nothing.
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
    """The keys that each of its records has."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "marks", frozenset(place.keys[0] for place in self.needs))

    def fits(self, value: Mapping[str, Any]) -> bool:
        """Whether a record has the places that this dialect needs, and none that it lacks."""
        if self.body is Body.COLUMNS:
            return is_split(value, self.separator) if self.separator else holds_json(value)
        return (
            self.marks.issubset(value)
            and all(place.is_in(value) for place in self.needs)
            and not any(place.is_in(value) for place in self.lacks)
        )

    def siblings(self, value: Any) -> dict[str, int]:
        """Count the elements that stand beside the one in which the payload is, where a number names it.

        Returns:
            Their number, by the place that names each of them; nothing where there are none.
        """
        count, named = 0, list(self.payload.keys)
        for place, key in enumerate(self.payload.keys):
            if isinstance(value, list) and len(value) > 1:
                count += len(value) - 1
                named[place] = EACH
            value = FieldPath((key,)).find(value)
        return {".".join(named): count} if count else {}

    def received_at(self, value: Any, offset: str = "") -> str | None:
        """Give the moment of capture as RFC 3339.

        Args:
            value: the record.
            offset: what a moment means that is written without one.

        Raises:
            Refused: when it is written in another way than this dialect's.
        """
        if self.received is None:
            return None
        moment = self.received.find(value)
        if offset and self.clock is Clock.RFC3339 and isinstance(moment, str):
            moment = with_offset(moment, offset) or moment
        return self.clock.read(moment, str(self.received))

    def kind(self, value: Any) -> Any:
        """Give the kind that a label names."""
        label = self.label.find(value) if self.label else None
        if not isinstance(label, str) or not label:
            return label or None if self.keeps_kind else None
        found = _kind_of_short_label(label) if len(label) <= _SHORT else kind_of_label(label)
        return label if found is None and self.keeps_kind and "/" not in label else found


def kind_of_label(label: str) -> Kind | None:
    """Read a kind out of a path, a URL or a name, by the patterns of file names; a host's name says none."""
    parts = re.split(r"[/?&=#:]", unquote(_HOST.sub("", label)))
    return kind_in_path(parts)


_kind_of_short_label = lru_cache(maxsize=1024)(kind_of_label)
