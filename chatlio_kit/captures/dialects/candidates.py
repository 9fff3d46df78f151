"""Where the payload, the time and the kind seem to be in records of a logger that no dialect describes.

What is found here is only proposed: it is tried on the records before anybody reads of it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import orjson

from chatlio_kit.captures.dialects.clocks import CLOCKS, Clock
from chatlio_kit.captures.dialects.columns import PLACES
from chatlio_kit.captures.dialects.dialect import kind_of_label
from chatlio_kit.captures.formats.records import Refused
from chatlio_kit.chatlio.kinds import Shape, shape_of

_DEEPEST = 6
_MOST_VALUES = 1000
_MOST_PAYLOADS = 3
_MOST_TIMES = 2
_LONGEST_BASE64 = 1_000_000
_EARLIEST = datetime(2013, 1, 1, tzinfo=UTC)
_KEY = re.compile(r"[\w .@:/-]+")
"""Only such keys are proposed: strangers wrote them, and people copy what is proposed into a shell."""

_TIME_WORDS = (
    "receiv", "arriv", "captur", "timestamp", "time", "date", "when", "ingest", "creat", "logged", "ts", "at",
)  # fmt: skip
_OTHER_TIMES = re.compile("expir|until|birth|valid|start|end|first|last", re.IGNORECASE)
_KIND_WORDS = (
    "kind", "hook", "event", "type", "path", "url", "uri", "route", "topic", "subject", "source", "name",
)  # fmt: skip
_WIDGET_WORDS = frozenset({"widget", "widgetid"})
_EVIDENCE = {
    Shape.TRANSCRIPT: frozenset({"conversationUUID", "textBody", "htmlBody", "endedAt", "archiveUrl"}),
    Shape.OFFLINE: frozenset({"visitor"}),
    Shape.CONVERSATION: frozenset({"visitor"}),
}
"""Besides its shape, a payload has one of these: other chats have messages too, and anything an address."""

Path = tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """A way of naming fields, for some of the records that were searched.

    Attributes:
        fields: what :func:`named_fields` reads.
        caution: what has to be true for it, where that cannot be seen in the records.
    """

    fields: dict[str, str]
    caution: str = ""


def propose_fields(records: Sequence[Any]) -> list[Candidate]:
    """Return ways of naming fields that find a payload in some of these records, the fullest ones first.

    Nothing inside an array is proposed: a record may have more than one there, and the others would be lost.
    """
    objects = [each for each in records if isinstance(each, dict)]
    payloads = [_payloads(each) for each in objects]
    found = Counter(place for places in payloads for place in places)
    ranked = sorted(found, key=lambda place: (-found[place], len(place[1]), place))
    proposed: list[Candidate] = []
    for name, path in ranked[:_MOST_PAYLOADS]:
        theirs = [each for each, places in zip(objects, payloads, strict=True) if (name, path) in places]
        proposed += _around(name, path, theirs)
    return proposed


def _around(name: str, path: Path, records: Sequence[Mapping[str, Any]]) -> Iterator[Candidate]:
    """Name what stands beside a payload, in all records that have it there."""
    beside = [dict(_beside(each, path)) for each in records]
    shared = [place for place in beside[0] if all(place in each for each in beside)] if beside else []
    columns = {place: [each[place] for each in beside] for place in shared}
    payload = {name: written(path)} if path else {}
    widgets = [place for place, values in columns.items() if _is_widget(place, values)]
    if widgets:
        payload["widget"] = written(widgets[0])
    kinds = [place for place, values in columns.items() if _are_kinds(place, values)]
    kinds.sort(key=lambda place: (_rank(place, _KIND_WORDS), len(place)))
    times = [(clock, place) for place, values in columns.items() for clock in _clocks(place, values)]
    times.sort(key=lambda found: (_rank(found[1], _TIME_WORDS), len(found[1])))
    for clock, place in [*times[:_MOST_TIMES], ("", ())]:
        for kind in [*kinds[:1], ()]:
            fields = (
                payload
                | ({clock: written(place)} if clock else {})
                | ({"kind": written(kind)} if kind else {})
            )
            caution = f"if {written(place)} is in UTC" if clock == "received-utc" else ""
            if path or clock or kind:
                yield Candidate(fields, caution)


def written(path: Path) -> str:
    """Write a place as ``--fields`` reads it: dotted, or as a JSON Pointer where keys have dots."""
    if any("." in key or "/" in key for key in path):
        return "".join(f"/{key.replace('~', '~0').replace('/', '~1')}" for key in path)
    return ".".join(path)


def _payloads(record: Mapping[str, Any]) -> set[tuple[str, Path]]:
    found: set[tuple[str, Path]] = set()
    if _is_payload(record):
        return {("payload", ())}
    for path, value in islice(_walk(record, _opens), _MOST_VALUES):
        if isinstance(value, dict) and _is_payload(value):
            found.add(("payload", path))
        elif isinstance(value, str) and (name := _holds_payload(value)):
            found.add((name, path))
    return found


def _opens(value: Any) -> bool:
    return isinstance(value, dict) and not _is_payload(value)


def _walk(
    value: Mapping[str, Any], opens: Callable[[Any], bool], path: Path = ()
) -> Iterator[tuple[Path, Any]]:
    for key, inside in value.items():
        if not _KEY.fullmatch(key) or key != key.strip():
            continue
        yield (*path, key), inside
        if len(path) < _DEEPEST and opens(inside):
            yield from _walk(inside, opens, (*path, key))


def _is_payload(value: Mapping[str, Any]) -> bool:
    shape = shape_of(value)
    return shape is not None and not _EVIDENCE[shape].isdisjoint(value)


def _holds_payload(text: str) -> str | None:
    """Say under which name a text is a payload: its JSON, or its JSON in base64."""
    raw = text.strip()
    if raw[:1] == "{":
        return "payload" if _is_json_payload(raw.encode(errors="surrogatepass")) else None
    if raw and len(raw) <= _LONGEST_BASE64 and len(raw) % 4 == 0:
        with suppress(binascii.Error, ValueError):
            return "payload-base64" if _is_json_payload(base64.b64decode(raw, validate=True)) else None
    return None


def _is_json_payload(raw: bytes) -> bool:
    try:
        value = orjson.loads(raw)
    except ValueError:
        return False
    return isinstance(value, dict) and _is_payload(value)


def _beside(record: Mapping[str, Any], payload: Path) -> Iterator[tuple[Path, Any]]:
    """Yield the single values around a payload; of a record that is one itself, those Chatlio never sends."""
    if not payload:
        named = {place.partition(".")[0] for place in PLACES}
        outside = {key: value for key, value in record.items() if key not in named}
        yield from ((path, value) for path, value in _walk(outside, lambda _: False) if _is_single(value))
        return
    for path, value in islice(_walk(record, _opens), _MOST_VALUES):
        if path[: len(payload)] != payload and _is_single(value):
            yield path, value


def _is_single(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _rank(path: Path, words: Sequence[str]) -> int:
    key = path[-1].lower()
    return next((place for place, word in enumerate(words) if word in key), len(words))


def _is_widget(path: Path, values: Sequence[Any]) -> bool:
    name = re.sub(r"[^a-z]", "", path[-1].lower())
    return name in _WIDGET_WORDS and all(isinstance(each, str) for each in values)


def _are_kinds(path: Path, values: Sequence[Any]) -> bool:
    if _rank(path, _KIND_WORDS) == len(_KIND_WORDS):
        return False
    return all(isinstance(each, str) and kind_of_label(each) is not None for each in values)


def _clocks(path: Path, values: Sequence[Any]) -> Iterator[str]:
    """Give the ways of writing a time in which all these values are moments that can be."""
    if _rank(path, _TIME_WORDS) == len(_TIME_WORDS) or _OTHER_TIMES.search(path[-1]):
        return
    for name, clock in CLOCKS.items():
        if all(_can_be(clock, each) for each in values):
            yield name
            return


def _can_be(clock: Clock, value: Any) -> bool:
    try:
        moment = datetime.fromisoformat((clock.read(value, "") or "").replace("Z", "+00:00"))
    except (Refused, ValueError):
        return False
    return _EARLIEST <= moment <= datetime.now(UTC) + timedelta(days=1)
