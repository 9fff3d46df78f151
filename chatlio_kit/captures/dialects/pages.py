"""Pages: objects that list captures, as loggers' own interfaces answer them.

A file of such pages is read as if the captures stood in it one after another: each is a record, and they are
numbered through all pages of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import orjson

from chatlio_kit.captures.dialects.dialect import FieldPath
from chatlio_kit.captures.records import Fault, Lines, Paged, Raws, parse
from chatlio_kit.events.identity import canonical
from chatlio_kit.events.kinds import shape_of

LISTS: dict[str, FieldPath] = {
    "webhook.site and Beeceptor": FieldPath.of("data"),
    "Hookdeck": FieldPath.of("models"),
    "ngrok and WireMock": FieldPath.of("requests"),
    "Amazon CloudWatch Logs": FieldPath.of("events"),
    "Amazon CloudWatch Logs, a subscription": FieldPath.of("logEvents"),
    "AWS Lambda (SQS)": FieldPath.of("Records"),
    "HAR": FieldPath.of("log.entries"),
}
"""Where each logger's pages list their captures."""


@dataclass(frozen=True)
class Page:
    """A page's captures and where in it they stand."""

    place: FieldPath
    captures: list[dict[str, Any]]


def page_of(value: Any) -> Page | None:
    """Tell whether an object is a page: it lists objects where loggers' pages do, and is no payload."""
    if not isinstance(value, Mapping) or "payload" in value or shape_of(value) is not None:
        return None
    for place in LISTS.values():
        found = place.find(value)
        if isinstance(found, list) and all(isinstance(each, dict) for each in found):
            return Page(place, found)
    return None


def unfold(records: Iterator[Lines | Raws | Fault]) -> Iterator[Lines | Raws | Fault]:
    """Return the captures that pages list in a file that begins with a page; any other file as it is."""
    before: list[Lines | Raws | Fault] = []
    is_paged = False
    for found in records:
        before.append(found)
        first = None if isinstance(found, Fault) else _first_object(found)
        if first is not None:
            is_paged = isinstance(found, Paged) or _captures(first) is not None
            break
    if not is_paged:
        yield from before
        yield from records
        return
    number = 0
    for found in chain(before, records):
        if isinstance(found, Fault):
            number += 1
            yield Fault(number, found.raw, found.reason, found.detail)
            continue
        raws = (
            found.raws
            if isinstance(found, Paged)
            else [each for raw in found.raws for each in _captures_or(raw)]
        )
        if raws:
            yield Raws(list(range(number + 1, number + len(raws) + 1)), raws, found.cut)
        number += len(raws)


def _first_object(found: Lines | Raws) -> bytes | None:
    """Return the first record that begins as an object does: words may stand before a page."""
    if found.head.startswith(b"{"):
        return found.head
    return next((raw for raw in found.raws if raw.startswith(b"{")), None)


def _captures_or(raw: bytes) -> list[bytes]:
    captures = _captures(raw)
    return [raw] if captures is None else captures


def _captures(raw: bytes) -> list[bytes] | None:
    """Give the texts of a page's captures; None when the text is no page."""
    try:
        page = page_of(orjson.loads(raw))
        if page is None:
            return None
        return [_text(each) for each in page.place.find(parse(raw))]
    except ValueError:  # reading the record tells what is wrong with it
        return None


def _text(capture: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(capture)
    except TypeError:  # a number beyond 64 bits
        return canonical(capture)
