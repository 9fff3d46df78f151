"""Pages: objects that list captures, as loggers' APIs return them.

In a file of pages, each capture is a record, numbered across all pages. A page that is damaged or too large
for memory is read capture by capture from the start of its list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import orjson

from chatlio_kit.captures.dialects.dialect import EACH, Dialect, FieldPath
from chatlio_kit.captures.formats.records import (
    ByteRecords,
    Paged,
    ReadFault,
    ReadItem,
    Records,
    Remark,
    parse,
)
from chatlio_kit.chatlio.event_ids import canonical
from chatlio_kit.chatlio.kinds import shape_of

LISTS: dict[str, FieldPath] = {
    "webhook.site and Beeceptor": FieldPath.of("data"),
    "Hookdeck": FieldPath.of("models"),
    "ngrok and WireMock": FieldPath.of("requests"),
    "Amazon CloudWatch Logs": FieldPath.of("events"),
    "Amazon CloudWatch Logs, a subscription": FieldPath.of("logEvents"),
    "AWS Lambda (SQS, SNS, Kinesis) and Kinesis": FieldPath.of("Records"),
    "Amazon SQS, receive-message": FieldPath.of("Messages"),
    "Amazon Data Firehose": FieldPath.of("records"),
    "Google Cloud Pub/Sub, pull": FieldPath.of("receivedMessages"),
    "HAR": FieldPath.of("log.entries"),
}
"""The path of the list of captures in each logger's pages."""

_PAYLOAD = "payload"
_DECODER = json.JSONDecoder()
_BLANK = re.compile(r"[ \t\r\n]*")
_FIRST_CAPTURE = re.compile(r"\[[ \t\r\n]*(?=\{)")
_LIST_PATHS = frozenset(path.keys for path in LISTS.values())
_PARENTS = frozenset(keys[:count] for keys in _LIST_PATHS for count in range(1, len(keys)))


@dataclass(frozen=True)
class CapturePage:
    """A page's captures, and the path of their list."""

    place: FieldPath
    captures: list[dict[str, Any]]


def page_of(value: Any) -> CapturePage | None:
    """Return an object as a page if it lists objects at a logger's path and is not a payload."""
    if not isinstance(value, Mapping) or _PAYLOAD in value or shape_of(value) is not None:
        return None
    for path in LISTS.values():
        items = path.find(value)
        if isinstance(items, list) and all(isinstance(item, dict) for item in items):
            return CapturePage(path, items)
    return None


def unfold(records: Iterator[ReadItem], fields: Dialect | None = None) -> Iterator[ReadItem]:
    """Yield the captures that a file of pages lists; yield the records of other files unchanged.

    Args:
        records: The file's records.
        fields: A dialect that the user named. If it walks a list, each of the list's elements is a record.
    """
    if fields is not None and fields.walk:
        yield from _renumbered(records, lambda raw: _elements(raw, fields), fields.walk)
        return
    before: list[ReadItem] = []
    is_paged = False
    for item in records:
        before.append(item)
        first = None if isinstance(item, ReadFault | Remark) else _first_object(item)
        if first is not None:
            is_paged = isinstance(item, Paged) or _captures(first, fields) is not None
            break
    if is_paged:
        yield from _renumbered(chain(before, records), lambda raw: _captures(raw, fields))
    else:
        yield from before
        yield from records


def _renumbered(
    records: Iterator[ReadItem],
    unfolded: Callable[[bytes], list[bytes] | None],
    walk: tuple[str, ...] = (),
) -> Iterator[ReadItem]:
    """Yield records, or the captures that they list, numbered across the file."""
    number = 0
    for item in records:
        if isinstance(item, Remark):
            yield item
            continue
        if isinstance(item, ReadFault):
            number += 1
            yield replace(item, number=number)
            continue
        raws = list(item.raws)
        if not isinstance(item, Paged):
            raws = [listed for raw in raws for listed in _or_itself(raw, unfolded(raw))]
        elif walk:
            raws = [listed for raw in raws for listed in _or_itself(raw, unfolded(_as_page(raw, walk)))]
        if raws:
            yield ByteRecords(list(range(number + 1, number + len(raws) + 1)), raws, item.cut, item.is_loose)
        number += len(raws)


def _as_page(raw: bytes, walk: tuple[str, ...]) -> bytes:
    """Write a capture from a long page as a page of its own."""
    keys = walk[: walk.index(EACH)]
    return b"".join(b"{%b:" % orjson.dumps(key) for key in keys) + b"[" + raw + b"]" + b"}" * len(keys)


def _or_itself(raw: bytes, listed: list[bytes] | None) -> list[bytes]:
    return [raw] if listed is None else listed


def _first_object(records: Records) -> bytes | None:
    """Return the first record that looks like an object, because other lines may precede a page."""
    if records.head.startswith(b"{"):
        return records.head
    return next((raw for raw in records.raws if raw.startswith(b"{")), None)


def _captures(raw: bytes, fields: Dialect | None) -> list[bytes] | None:
    """Return the captures on a page as text; None if it is not a page or the user named its payload."""
    try:
        value = orjson.loads(raw)
        page = page_of(value)
        if page is None or (fields is not None and fields.payload.keys and fields.fits(value)):
            return None
        return [_text(capture) for capture in page.place.find(parse(raw))]
    except ValueError:  # decoding the record reports its errors
        return None


def _elements(raw: bytes, fields: Dialect) -> list[bytes] | None:
    """Return one record for each element of the list that the user named; None if there is no such list."""
    try:
        value = parse(raw)
    except ValueError:  # decoding the record reports its errors
        return None
    if not isinstance(value, dict) or not fields.fits(value):
        return None
    paths = (fields.payload, fields.received, fields.label, fields.widget)
    walked = FieldPath(fields.walk).first().keys
    others = [path.keys for path in paths if path and path.keys[: len(walked)] != walked]
    return [_text(element) for element in _walked(value, fields.walk, others)]


def _walked(value: Any, walk: tuple[str, ...], others: Sequence[tuple[str, ...]]) -> Iterator[Any]:
    """Yield a copy of a value for each element of a list in it, with only what other paths need."""
    if not walk:
        yield value
        return
    key, rest = walk[0], walk[1:]
    if key == EACH and isinstance(value, list):
        within = [path[1:] for path in others if path[:1] == ("0",)]
        for item in value:
            yield from ([inner] for inner in _walked(item, rest, within))
    elif key != EACH and isinstance(value, dict) and key in value:
        siblings = {path[0]: value[path[0]] for path in others if path and path[0] in value}
        within = [path[1:] for path in others if path[:1] == (key,)]
        for inner in _walked(value[key], rest, within):
            yield {**siblings, key: inner}
    else:  # if the list is missing, decoding the record reports it
        yield value


def _text(capture: Any) -> bytes:
    try:
        return orjson.dumps(capture)
    except TypeError:  # a number beyond 64 bits
        return canonical(capture)


@dataclass(frozen=True)
class ListOfPage:
    """The position of a page's list of captures.

    Attributes:
        start: Index of the first capture in the text.
        depth: Number of objects that are open there.
    """

    start: int
    depth: int


def list_of_page(text: str, start: int = 0) -> ListOfPage | None:
    """Find the list of captures in the object at this position; None if it is not a logger's page.

    Only the text before the list is parsed, so the object may be damaged or truncated after it.
    """
    try:
        return _find_list(text, start)
    except (ValueError, RecursionError):
        return None


def begins_page(raws: Iterable[bytes]) -> bool | None:
    """Return whether the first object among records is a page; None if there is no object."""
    for raw in raws:
        if raw.startswith(b"{"):
            return list_of_page(raw.decode("utf-8", errors="surrogateescape")) is not None
    return None


def lists_captures(first: bytes, fields: Dialect | None) -> bool:
    """Return whether a file's first record is a page, so that its records are numbered through the file."""
    return begins_page([first]) is True or _captures(first, fields) is not None


def _find_list(text: str, start: int) -> ListOfPage | None:
    path: tuple[str, ...] = ()
    position = _after(text, "{", start)
    while True:
        position = _skip_blank(text, position)
        if text.startswith("}", position):
            if not path:
                return None
            path, position = path[:-1], _skip_blank(text, position + 1)
        else:
            if not text.startswith('"', position):
                raise ValueError("no key here")
            key, position = _DECODER.raw_decode(text, position)
            position = _skip_blank(text, _after(text, ":", position))
            here = (*path, key)
            if here == (_PAYLOAD,):
                return None
            first = _FIRST_CAPTURE.match(text, position) if here in _LIST_PATHS else None
            if first is not None:
                return ListOfPage(first.end(), len(here))
            if here in _PARENTS and text.startswith("{", position):
                path, position = here, position + 1
                continue
            _, position = _DECODER.raw_decode(text, position)
            position = _skip_blank(text, position)
        if text.startswith(",", position):
            position += 1


def _skip_blank(text: str, position: int) -> int:
    blank = _BLANK.match(text, position)
    return position if blank is None else blank.end()


def _after(text: str, mark: str, position: int) -> int:
    """Return the position after a token.

    Raises:
        ValueError: The token is missing.
    """
    position = _skip_blank(text, position)
    if not text.startswith(mark, position):
        raise ValueError(f"no {mark} here")
    return position + 1
