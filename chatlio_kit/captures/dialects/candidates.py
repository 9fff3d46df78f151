"""Propose paths of payload, time and kind in records of an unknown logger.

A proposal is tested on the records before it is shown.
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
from chatlio_kit.captures.dialects.columns import PAYLOAD_PATHS
from chatlio_kit.captures.dialects.dialect import kind_of_label
from chatlio_kit.captures.formats.records import InvalidRecord
from chatlio_kit.chatlio.kinds import Shape, shape_of

_DEEPEST = 6
_MOST_VALUES = 1000
_MOST_PAYLOADS = 3
_MOST_TIMES = 2
_LONGEST_BASE64 = 1_000_000
_EARLIEST = datetime(2013, 1, 1, tzinfo=UTC)
_KEY = re.compile(r"[\w .@:/-]+")
"""Only such keys are proposed, because keys are untrusted and people copy proposals into a shell."""

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
"""Besides its shape, a payload has one of these: other chats have messages and e-mail addresses too."""

Path = tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """Named fields that fit some of the records.

    Attributes:
        fields: In the form that :func:`named_fields` parses.
        caution: A condition that the records cannot confirm.
    """

    fields: dict[str, str]
    caution: str = ""


def propose_fields(records: Sequence[Any]) -> list[Candidate]:
    """Return named fields that find a payload in some of these records, the most complete first.

    Nothing within an array is proposed: a record may have several payloads there, and the others would be
    lost.
    """
    objects = [record for record in records if isinstance(record, dict)]
    payloads = [_payloads(record) for record in objects]
    counts = Counter(named for paths in payloads for named in paths)
    ranked = sorted(counts, key=lambda named: (-counts[named], len(named[1]), named))
    proposed: list[Candidate] = []
    for name, path in ranked[:_MOST_PAYLOADS]:
        matching = [record for record, paths in zip(objects, payloads, strict=True) if (name, path) in paths]
        proposed += _around(name, path, matching)
    return proposed


def _around(name: str, path: Path, records: Sequence[Mapping[str, Any]]) -> Iterator[Candidate]:
    """Propose the fields next to a payload, given the records that have it at this path."""
    members = [dict(_beside(record, path)) for record in records]
    shared = [key for key in members[0] if all(key in member for member in members)] if members else []
    columns = {key: [member[key] for member in members] for key in shared}
    payload = {name: written(path)} if path else {}
    widgets = [key for key, values in columns.items() if _is_widget(key, values)]
    if widgets:
        payload["widget"] = written(widgets[0])
    kinds = [key for key, values in columns.items() if _are_kinds(key, values)]
    kinds.sort(key=lambda key: (_rank(key, _KIND_WORDS), len(key)))
    times = [(clock, key) for key, values in columns.items() for clock in _clocks(key, values)]
    times.sort(key=lambda time: (_rank(time[1], _TIME_WORDS), len(time[1])))
    for clock, received in [*times[:_MOST_TIMES], ("", ())]:
        for kind in [*kinds[:1], ()]:
            fields = (
                payload
                | ({clock: written(received)} if clock else {})
                | ({"kind": written(kind)} if kind else {})
            )
            caution = f"if {written(received)} is in UTC" if clock == "received-utc" else ""
            if path or clock or kind:
                yield Candidate(fields, caution)


def written(path: Path) -> str:
    """Write a path as ``--fields`` parses it: dotted, or as a JSON Pointer if keys contain dots."""
    if any("." in key or "/" in key for key in path):
        return "".join(f"/{key.replace('~', '~0').replace('/', '~1')}" for key in path)
    return ".".join(path)


def _payloads(record: Mapping[str, Any]) -> set[tuple[str, Path]]:
    if _is_payload(record):
        return {("payload", ())}
    paths: set[tuple[str, Path]] = set()
    for path, value in islice(_walk(record, _opens), _MOST_VALUES):
        if isinstance(value, dict) and _is_payload(value):
            paths.add(("payload", path))
        elif isinstance(value, str) and (name := _holds_payload(value)):
            paths.add((name, path))
    return paths


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
    """Return the encoding of a payload in a string: JSON, or JSON in base64."""
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
    """Yield the scalars around a payload; if the record is the payload, those that Chatlio never sends."""
    if not payload:
        named = {place.partition(".")[0] for place in PAYLOAD_PATHS}
        outside = {key: value for key, value in record.items() if key not in named}
        yield from ((path, value) for path, value in _walk(outside, lambda _: False) if _is_scalar(value))
        return
    for path, value in islice(_walk(record, _opens), _MOST_VALUES):
        if path[: len(payload)] != payload and _is_scalar(value):
            yield path, value


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _rank(path: Path, words: Sequence[str]) -> int:
    key = path[-1].lower()
    return next((rank for rank, word in enumerate(words) if word in key), len(words))


def _is_widget(path: Path, values: Sequence[Any]) -> bool:
    name = re.sub(r"[^a-z]", "", path[-1].lower())
    return name in _WIDGET_WORDS and all(isinstance(value, str) for value in values)


def _are_kinds(path: Path, values: Sequence[Any]) -> bool:
    if _rank(path, _KIND_WORDS) == len(_KIND_WORDS):
        return False
    # Most is enough: each record that names no kind is rejected, and none gets another record's kind.
    labels = [isinstance(value, str) and kind_of_label(value) is not None for value in values]
    return 2 * sum(labels) > len(labels)


def _clocks(path: Path, values: Sequence[Any]) -> Iterator[str]:
    """Yield the format in which all these values are plausible times of capture, if there is one."""
    if _rank(path, _TIME_WORDS) == len(_TIME_WORDS) or _OTHER_TIMES.search(path[-1]):
        return
    for name, clock in CLOCKS.items():
        if all(_can_be(clock, value) for value in values):
            yield name
            return


def _can_be(clock: Clock, value: Any) -> bool:
    try:
        time = datetime.fromisoformat((clock.read(value, "") or "").replace("Z", "+00:00"))
    except (InvalidRecord, ValueError):
        return False
    return _EARLIEST <= time <= datetime.now(UTC) + timedelta(days=1)
