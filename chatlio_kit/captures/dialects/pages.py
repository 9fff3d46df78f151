"""Pages: objects that list captures, as loggers' own interfaces answer them.

A file of such pages is read as if the captures stood in it one after another: each is a record, and they are
numbered through all pages of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import orjson

from chatlio_kit.captures.dialects.dialect import EACH, Dialect, FieldPath
from chatlio_kit.captures.formats.records import ByteRecords, LineRecords, Paged, ReadFault, Remark, parse
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


def unfold(
    records: Iterator[LineRecords | ByteRecords | ReadFault | Remark], fields: Dialect | None = None
) -> Iterator[LineRecords | ByteRecords | ReadFault | Remark]:
    """Return the captures that pages list in a file that begins with a page; any other file as it is.

    Args:
        records: the file's records.
        fields: a dialect that the user named. If it walks a list, each element of it is a record.
    """
    if fields is not None and fields.walk:
        yield from _renumbered(records, lambda raw: _elements(raw, fields), fields.walk)
        return
    before: list[LineRecords | ByteRecords | ReadFault | Remark] = []
    is_paged = False
    for found in records:
        before.append(found)
        first = None if isinstance(found, ReadFault | Remark) else _first_object(found)
        if first is not None:
            is_paged = isinstance(found, Paged) or _captures(first, fields) is not None
            break
    if not is_paged:
        yield from before
        yield from records
    else:
        yield from _renumbered(chain(before, records), lambda raw: _captures(raw, fields))


def _renumbered(
    records: Iterator[LineRecords | ByteRecords | ReadFault | Remark],
    unfolded: Callable[[bytes], list[bytes] | None],
    walk: tuple[str, ...] = (),
) -> Iterator[LineRecords | ByteRecords | ReadFault | Remark]:
    """Give records, or the ones that they list, numbered through the file."""
    number = 0
    for found in records:
        if isinstance(found, Remark):
            yield found
            continue
        if isinstance(found, ReadFault):
            number += 1
            yield replace(found, number=number)
            continue
        raws = list(found.raws)
        if not isinstance(found, Paged):
            raws = [each for raw in raws for each in _or_itself(raw, unfolded(raw))]
        elif walk:
            raws = [each for raw in raws for each in _or_itself(raw, unfolded(_listed(raw, walk)))]
        if raws:
            yield ByteRecords(
                list(range(number + 1, number + len(raws) + 1)), raws, found.cut, found.is_loose
            )
        number += len(raws)


def _listed(raw: bytes, walk: tuple[str, ...]) -> bytes:
    """Write an element of a long page as a page that lists it alone."""
    keys = walk[: walk.index(EACH)]
    return b"".join(b"{%b:" % orjson.dumps(key) for key in keys) + b"[" + raw + b"]" + b"}" * len(keys)


def _or_itself(raw: bytes, listed: list[bytes] | None) -> list[bytes]:
    return [raw] if listed is None else listed


def _first_object(found: LineRecords | ByteRecords) -> bytes | None:
    """Return the first record that begins as an object does: words may stand before a page."""
    if found.head.startswith(b"{"):
        return found.head
    return next((raw for raw in found.raws if raw.startswith(b"{")), None)


def _captures(raw: bytes, fields: Dialect | None) -> list[bytes] | None:
    """Give the texts of a page's captures; None when the text is no page, or the user named its payload."""
    try:
        value = orjson.loads(raw)
        page = page_of(value)
        if page is None or (fields is not None and fields.payload.keys and fields.fits(value)):
            return None
        return [_text(each) for each in page.place.find(parse(raw))]
    except ValueError:  # reading the record tells what is wrong with it
        return None


def _elements(raw: bytes, fields: Dialect) -> list[bytes] | None:
    """Give a record for each element of the list that the user named; None where there is no such list."""
    try:
        value = parse(raw)
    except ValueError:  # reading the record tells what is wrong with it
        return None
    if not isinstance(value, dict) or not fields.fits(value):
        return None
    places = (fields.payload, fields.received, fields.label, fields.widget)
    walked = FieldPath(fields.walk).first().keys
    others = [place.keys for place in places if place and place.keys[: len(walked)] != walked]
    return [_text(each) for each in _walked(value, fields.walk, others)]


def _walked(value: Any, walk: tuple[str, ...], others: Sequence[tuple[str, ...]]) -> Iterator[Any]:
    """Give a value once for each element of a list in it, with nothing else than other places need."""
    if not walk:
        yield value
        return
    key, rest = walk[0], walk[1:]
    if key == EACH and isinstance(value, list):
        within = [place[1:] for place in others if place[:1] == ("0",)]
        for each in value:
            yield from ([inner] for inner in _walked(each, rest, within))
    elif key != EACH and isinstance(value, dict) and key in value:
        beside = {place[0]: value[place[0]] for place in others if place and place[0] in value}
        within = [place[1:] for place in others if place[:1] == (key,)]
        for inner in _walked(value[key], rest, within):
            yield {**beside, key: inner}
    else:  # nothing can be walked here, which reading the record tells
        yield value


def _text(capture: Any) -> bytes:
    try:
        return orjson.dumps(capture)
    except TypeError:  # a number beyond 64 bits
        return canonical(capture)
