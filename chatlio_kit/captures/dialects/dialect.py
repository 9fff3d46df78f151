"""What a dialect says: how its records are known, and where in them payload, time and kind stand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from chatlio_kit.captures.dialects.columns import holds_json, is_split
from chatlio_kit.captures.records import Refused
from chatlio_kit.events.kinds import Kind, kind_in_path
from chatlio_kit.events.rejection import Reason, shortened
from chatlio_kit.events.times import RFC3339

_MISSING: Any = object()
_RFC3339 = re.compile(RFC3339)
_WITHOUT_OFFSET = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d(?:\.\d{1,9})?)")
_NUMBER = re.compile(r"\d{1,16}(\.\d{1,12})?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHORT = 200
"""Up to this length labels are remembered: most records have one that an earlier one had."""
_HOST = re.compile(r"^[a-z][a-z0-9+.-]*://[^/?#]*", re.IGNORECASE)


@dataclass(frozen=True)
class FieldPath:
    """Where in a record something stands: its keys from the outside in; a number is a place in an array."""

    keys: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> FieldPath:
        """Read ``request.body``, or a JSON Pointer (RFC 6901) as in ``/request/the.body``; ``""`` is all."""
        if not text.startswith("/"):
            return cls(tuple(text.split(".")) if text else ())
        parts = text[1:].split("/")
        return cls(tuple(part.replace("~1", "/").replace("~0", "~") for part in parts))

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


class Clock(StrEnum):
    """How a moment is written. Which of these a dialect uses is declared, never guessed."""

    RFC3339 = "RFC 3339"
    UTC = "date and time in UTC, without an offset"
    SECONDS = "seconds since 1970"
    MILLISECONDS = "milliseconds since 1970"

    def read(self, value: Any, place: str) -> str | None:
        """Give a moment as RFC 3339, cut to microseconds where it was a number; None where there is none.

        Raises:
            Refused: when it is written in another way.
        """
        if value is None or value == "":
            return None
        written = self._written(value)
        if written is None:
            detail = f"{place} is {shortened(value)}; expected {self}. Name what it is with --fields."
            raise Refused(Reason.INVALID_TIME, place, detail)
        return written

    def _written(self, value: Any) -> str | None:
        if self is Clock.RFC3339:
            return value if isinstance(value, str) and _RFC3339.fullmatch(value) else None
        if self is Clock.UTC:
            found = _WITHOUT_OFFSET.fullmatch(value) if isinstance(value, str) else None
            return f"{found[1]}T{found[2]}Z" if found else None
        if isinstance(value, bool) or not _NUMBER.fullmatch(str(value)):
            return None
        micros = Decimal(str(value)) * (1_000_000 if self is Clock.SECONDS else 1000)
        try:
            moment = _EPOCH + timedelta(microseconds=int(micros))
        except OverflowError:
            return None
        return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


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
        base64_flag: the place that says whether a payload in text is base64, where a logger has one.
        received: where the moment of capture stands, if it is told.
        clock: how that moment is written.
        label: where a kind, or a path or URL that names one, stands.
        widget: where the widget stands.
        lacks: places that none of its records has, where that tells it from another dialect.
        separator: what stands between the parts of a column's name.
        keeps_kind: whether a label that names no kind has to be told: it was meant to be one.
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

    def received_at(self, value: Any) -> str | None:
        """Give the moment of capture as RFC 3339.

        Raises:
            Refused: when it is written in another way than this dialect's.
        """
        return self.clock.read(self.received.find(value), str(self.received)) if self.received else None

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
