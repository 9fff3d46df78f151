"""Records read many at once, into types or as they are, and each by itself: the same."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlio_kit.captures import CaptureFile, FileSlice, LocalSource, RawBatch
from chatlio_kit.captures.formats.records import ByteRecords, LineRecords
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.tables.decode import decode as rows
from chatlio_kit.tables.decode import shared as together
from chatlio_kit.tables.decode import typed
from chatlio_kit.tables.decode.columns import TEXT, Lot
from chatlio_kit.tables.decode.decode import Rows, read_rows

VISITOR = {
    "UUID": "21c00797-e483-4875-6f98-d27ba80e6320",
    "email": "ana@example.org",
    "identUserId": "00123",
    "identTraits": '{"zip":"09407"}',
    "createdAt": "2024-03-11T09:03:10.0009+01:00",
}
RECORDS: list[dict[str, Any]] = [
    {"visitor": VISITOR, "message": "hi \"there\" é", "conversationUUID": "c", "channelId": "C1"},
    {"visitor": VISITOR, "message": "x", "name": "Ana", "email": "a@b", "emailPretty": "<a@b>"},
    {
        "conversationUUID": "c",
        "endedAt": "2024-03-11T09:03:10Z",
        "visitorTraits": {"zip": "01", "visits": 3, "price": 1.10, "list": [{"a": None}]},
        "extraData": ["send", "it"],
        "messages": [
            {"text": "hello", "ts": "1672569413.772621", "sentAt": "s", "userId": "", "username": "ana"},
            {"text": "yes", "ts": "1672569414.000001", "userId": "U1", "isVisitorMsg": False},
        ],
        "textBody": "hello", "htmlBody": "<p>hello</p>",
    },
]  # fmt: skip
LOGGED: list[Callable[[dict[str, Any]], dict[str, Any]]] = [
    lambda body: {
        "uuid": "u",
        "token_id": "t",
        "created_at": "2024-03-11 09:03:10",
        "url": "https://webhook.site/feedback",
        "content": json.dumps(body),
    },
    lambda body: {
        "method": "POST",
        "path": "/transcript",
        "headers": {"a": "b"},
        "body": body,
        "bodyRaw": json.dumps(body),
    },
    lambda body: {
        "receivedAt": "2024-03-11T09:03:10Z",
        "kind": "feedback",
        "widget": "w",
        "x": 1,
        "payload": body,
    },
    lambda body: {"received_at": "2024-03-11T09:03:10Z", "Widget-ID": "w", "payload": json.dumps(body)},
    lambda body: {"ReceivedAt": "2024-03-11T09:03:10Z", "Kind": "feedback", **body, "widget_id": "w"},
]
"""Records as loggers write them."""
TRAITS = orjson.dumps(VISITOR["identTraits"]).decode()
PRICES = orjson.dumps(RECORDS[2]["visitorTraits"]).decode()
DOTTED = [
    "visitor.UUID", "payload.message", "messages.0.ts", "body", "payload", "received_at", "Kind", "widgetId",
]  # fmt: skip
LONG = ("0.1234567890123456789", "12345678901234567890.5", "1e-400")
"""Numbers that no double holds."""
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.sampled_from(["", "transcript", "feedback", "nothing", "2024-03-11 09:03:10Z", '{"a": 1}', "{"]),
    st.lists(st.one_of(st.none(), st.text(max_size=3), st.floats(-1e3, 1e3)), max_size=2),
    st.dictionaries(st.text(max_size=3), st.one_of(st.integers(), st.floats(-1e3, 1e3)), max_size=2),
)  # fmt: skip


def _places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, each in inside for place in [(*above, key), *_places(each, (*above, key))]]


@st.composite
def texts(draw: st.DrawFn, *, records: list[dict[str, Any]] = RECORDS) -> bytes:
    """A record's text: a good one with values changed or left out, keys added or repeated, in any style."""
    record = json.loads(json.dumps(draw(st.sampled_from(records))))
    if draw(st.booleans()):
        says = {"receivedAt": "2024-03-11T09:03:10Z", "kind": draw(st.sampled_from([*Kind, ""]))}
        record = {**draw(st.sampled_from([says, {}])), "payload": record}
    elif draw(st.booleans()):
        record = draw(st.sampled_from(LOGGED))(record)
    for _ in range(draw(st.integers(0, 2))):
        *way, last = draw(st.sampled_from(_places(record) or [("x",)]))
        inside = record
        for key in way:
            inside = inside[key]
        if draw(st.booleans()):
            inside[last] = draw(VALUES)
        elif isinstance(inside, dict):
            inside.pop(last, None)
            if draw(st.booleans()):
                inside[draw(st.one_of(st.text(max_size=4), st.sampled_from(DOTTED)))] = draw(VALUES)
    written = json.dumps(
        record,
        ensure_ascii=draw(st.booleans()),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": ")])),
        sort_keys=draw(st.booleans()),
    )
    with suppress(TypeError):  # a whole number beyond 64 bits
        written = draw(st.sampled_from([written, orjson.dumps(record).decode()]))
    if draw(st.integers(0, 3)) == 0:
        places = [place + 1 for place, mark in enumerate(written) if mark == "{"]
        place = draw(st.sampled_from(places))
        key = written[place:].partition(":")[0] if written[place : place + 1] == '"' else '"x"'
        value = draw(st.sampled_from(["1", "1e5", "0.10", "null", "{}", '"x"', *LONG]))
        written = f"{written[:place]}{key}:{value},{written[place:]}"
    return written.encode()


def _nothing(_first: int, raws: list[bytes], *_: object) -> tuple[list[Lot], Counter[str], list[int]]:
    """Take no record, so that all are read carefully."""
    return [], Counter(), list(range(len(raws)))


def _none_typed(*_: object) -> None:
    """Take no records as one."""


def _none_opened(*_: object) -> tuple[list[Lot], Counter[str], set[int]]:
    """Take no record that a logger wrote either."""
    return [], Counter(), set()


def _read(raws: list[bytes], by_file: Kind | None, fallback: Kind | None, *, are_lines: bool = False) -> Rows:
    file = CaptureFile("x.ndjson", by_file, LocalSource(Path("x.ndjson")))
    records: ByteRecords | LineRecords = ByteRecords(range(1, len(raws) + 1), raws)
    if are_lines and raws:
        records = LineRecords(1, b"\n".join(raws), np.cumsum([len(raw) + 1 for raw in raws])[:-1] - 1)
    return read_rows(RawBatch([FileSlice(file, records)]), fallback)


def _shown(rows: Rows) -> dict[str, Any]:
    """Everything that was read, as Python has it."""
    told = rows.told
    return {
        "places": told.places.tolist(),
        "events": {name: column.to_pylist() for name, column in told.events.items()},
        "bodies": told.bodies,
        "owners": told.owners.tolist(),
        "messages": {name: column.to_pylist() for name, column in told.messages.items()},
        "rejected": sorted(rows.rejected, key=lambda each: each.record),
        "dialects": +rows.dialects,
        "remarks": rows.remarks,
    }


def _all_ways(
    raws: list[bytes], by_file: Kind | None, fallback: Kind | None = None, *, are_lines: bool = True
) -> int:
    """Read records in each of the three ways, and count the different results."""
    with patch.object(typed, "_WORTH", 1):
        into_types = _read(raws, by_file, fallback, are_lines=are_lines)
    with patch.object(rows, "take_typed", _none_typed):
        together = _read(raws, by_file, fallback, are_lines=are_lines)
    with patch.multiple(rows, take_typed=_none_typed, take=_nothing, take_opened=_none_opened):
        by_itself = _read(raws, by_file, fallback)
    shown = [_shown(each) for each in (into_types, together, by_itself)]
    return sum(each not in shown[:place] for place, each in enumerate(shown))


@given(
    raws=st.lists(texts(), max_size=12)
    | st.sampled_from(RECORDS).flatmap(lambda record: st.lists(texts(records=[record]), max_size=3)),
    by_file=st.sampled_from([None, *Kind]),
    fallback=st.sampled_from([None, Kind.FEEDBACK]),
    are_lines=st.booleans(),
)
@settings(max_examples=300)
def test_records_read_together_give_what_each_gives_by_itself(
    raws: list[bytes], by_file: Kind | None, fallback: Kind | None, are_lines: bool
) -> None:
    """Records that are read together have the values, messages, bodies and faults of the careful way.

    So none that the careful way rejects is ever taken: repeated keys, wrong types, lost digits.
    """
    assert _all_ways(raws, by_file, fallback, are_lines=are_lines) == 1


ODD = [
    ('"createdAt"', '"name":"x","name":"y","createdAt"'),  # a key that stands twice, with a text each time
    ('"createdAt"', '"name":null,"createdAt"'),
    ('"createdAt"', '"n\\u0061me":"x","createdAt"'),
    ('"createdAt"', '"unknown":"x","createdAt"'),
    ('"createdAt"', '"location":"\\/","createdAt"'),
    ('"00123"', "123"),
    ('"00123"', "12345678901234567890123"),
    ('"00123"', "true"),
    ('"00123"', "1.5"),
    ('"00123"', "1" * 310),
    (TRAITS, '{"a":%s}' % ("1" * 310)),
    (TRAITS, "5"),
    (TRAITS, "true"),
    (TRAITS, "null"),
    (TRAITS, "[]"),
    (TRAITS, "[1.5]"),
    (TRAITS, '{"a":1.50}'),
    (TRAITS, '{"a":1e16}'),
    (TRAITS, '{"a":-0}'),
    (TRAITS, '{"a":-0.0}'),
    *[
        (TRAITS, "[" * depth + inside + "]" * depth)
        for depth in (200, 300, 900, 1100)
        for inside in ("1", "1.5")
    ],
    (TRAITS, '{"a":1e+16}'),
    (TRAITS, '{"a": 1.5}'),
    (TRAITS, '{"b":12345678901234567890123,"a":{"d":1,"c":2}}'),
    (TRAITS, '{"a":[1.5],"b":{"identTraits":{"a":[1.5]}}}'),
    (TRAITS, '{"a":1.5},"identUserId":{"identTraits":{"a":1.5}}'),
    ('"message"', '"Message"'),
    ('"channelId"', '"slackChannelId"'),
    ('"conversationUUID":"c"', '"email":"x"'),
    ('"conversationUUID":"c"', '"endedAt":"x"'),
    ('"conversationUUID":"c"', '"messages":[]'),
    ('"conversationUUID":"c"', '"conversationUUID":""'),
    ('"receivedAt":"2024-03-11T09:03:10Z"', '"receivedAt":1710147790'),
    ('"kind":"unanswered"', '"kind":"feedback"'),
    ('"kind":"unanswered"', '"kind":null'),
    ('"kind":"unanswered"', '"kind":0'),
    ('"kind":"unanswered"', '"kind":1e-400'),
    ('"kind":"unanswered"', '"kind":"transcript"'),
    (TRAITS, '{"a":0.1234567890123456789}'),
    (PRICES, '{"a":0.1234567890123456789},"extraData":[{"visitorTraits":{"a":0.12345678901234568}}]'),
    (PRICES, '{"a":0.1234567890123456789},"extraData":["\\"visitorTraits\\":{\\"a\\":0.12345678901234568}"]'),
    ('"message":"hi \\"there\\" é",', ""),
    ('"sentAt":"s"', '"sentAt":1672569413.7726211234567'),
    ('"userId":""', '"userId":"","userId":"U1"'),
    ('"isVisitorMsg":false', '"isVisitorMsg":""'),
    ('"payload"', '"load"'),
    ('"payload"', '"payload":{},"payload"'),
]
"""What makes a record odd: a part of its text, and what stands there instead."""


@pytest.mark.parametrize(("part", "instead"), ODD)
@pytest.mark.parametrize("place", [None, 0, 1])
def test_types_take_nothing_that_the_careful_way_reads_in_another_way(
    part: str, instead: str, place: int | None
) -> None:
    """An odd record is read as it is read carefully, by itself, before a good one and after it."""
    talk = {each: RECORDS[2][each] for each in RECORDS[2] if each != "extraData"}
    texts = [
        orjson.dumps({"receivedAt": "2024-03-11T09:03:10Z", "kind": kind, "payload": payload})
        for kind, payload in (("unanswered", RECORDS[0]), ("transcript", talk))
    ]
    text = next(each for each in texts if part.encode() in each)
    odd = text.replace(part.encode(), instead.encode())
    raws = [odd] if place is None else [text, text]
    if place is not None:
        raws.insert(place, odd)
    assert _all_ways(raws, None) == _all_ways(raws, Kind.UNANSWERED) == 1


@pytest.mark.parametrize("lost", [b'"name":"xx",', b'"identTraits":null,'])
@pytest.mark.parametrize("envelope", [b"%b", b'{"payload":%b}', b'{"kind":"","payload":%b}'])
def test_nothing_is_lost_however_many_stand_beside_it(lost: bytes, envelope: bytes) -> None:
    """A key that would be lost is found, whatever its length has to do with the number of records."""
    payload = b'{"visitor":{"UUID":"u","name":"x"},"message":"m","channelId":"C"}'
    odd = payload.replace(b'"UUID"', lost + b'"UUID"')
    for beside in range(1, 40):
        raws = [envelope % each for each in [*[payload] * beside, odd]]
        assert _all_ways(raws, Kind.FEEDBACK) == 1


def test_good_records_are_read_into_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many records of one kind and form that the catalogue knows take the shortest way, however written."""
    monkeypatch.setattr(rows, "take", None)
    points = {**RECORDS[2], "visitorTraits": {"price": 1.5}, "extraData": []}
    none = {**RECORDS[2], "visitorTraits": {"price": 1}}
    compact = [orjson.dumps(each) for each in (*RECORDS, points)]
    spaced = [json.dumps(each).encode() for each in (*RECORDS[:2], none)]
    for text in (*compact, *spaced):
        for raw in (text, b'{"kind":"","receivedAt":"x","payload":%b}' % text):
            found = _read([raw] * typed._WORTH, None, Kind.FEEDBACK, are_lines=True)
            assert found.told.places.tolist() == list(range(typed._WORTH))


def test_good_records_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records as the catalogue knows them never take the careful way, nor do those with a field more.

    Whoever wrote them down.
    """
    monkeypatch.setattr(rows, "parse", None)
    envelope = {"receivedAt": "2024-03-11T09:03:10Z", "kind": "feedback", "payload": RECORDS[0]}
    more = {**RECORDS[2], "rating": 5, "messages": [{**RECORDS[2]["messages"][0], "edited": True}]}
    logged = [LOGGED[0](RECORDS[0]), LOGGED[1](RECORDS[2]), LOGGED[2](RECORDS[0])]
    raws = [orjson.dumps(each) for each in (*RECORDS, envelope, more, *logged)]
    found = _read(raws, None, Kind.UNANSWERED)
    assert found.told.places.tolist() == list(range(8))
    assert found.dialects == {"bare": 4, "webhook.site": 1, "pipedream": 1, "envelope": 2}


@given(transcripts=st.lists(st.lists(st.sampled_from(["1.000000", "2.000000", "3.000000"]), max_size=4)))
def test_a_name_that_a_transcript_has_twice_is_found(transcripts: list[list[str]]) -> None:
    """Names are distinct within each transcript, in whatever order its messages stand, or they are not."""
    names = pa.array([each for one in transcripts for each in one], TEXT)
    counts = np.array(list(map(len, transcripts)), dtype=np.int64)
    expected = all(len(set(one)) == len(one) for one in transcripts)
    assert together._are_distinct(names, counts) == expected


@pytest.mark.parametrize("number", LONG)
def test_numbers_that_no_double_holds_keep_their_digits(number: str) -> None:
    """They stand in traits and in unknown fields as they stand in the record."""
    record = {**RECORDS[2], "visitorTraits": {"a": 1.5}, "rating": 1.5}
    raws = [orjson.dumps(each) for each in (*RECORDS, record)]
    raws[-1] = raws[-1].replace(b"1.5", number.encode())
    columns = _read(raws, None, Kind.UNANSWERED).told.events
    assert columns["visitor_traits"].to_pylist()[-1] == f'{{"a":{number}}}'
    assert columns["extra_fields"].to_pylist()[-1] == f'{{"rating":{number}}}'


def test_one_odd_record_among_many_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the record that is unlike the others is read by itself."""
    read_carefully = list[bytes]()
    parse = rows.parse
    monkeypatch.setattr(rows, "parse", lambda raw: read_carefully.append(raw) or parse(raw))
    raws = [orjson.dumps({**RECORDS[0], "message": f"{place}"}) for place in range(500)]
    raws[333] = orjson.dumps({**RECORDS[0], "message": 333})
    found = _read(raws, None, Kind.FEEDBACK)
    assert read_carefully == [raws[333]]
    assert [each.record for each in found.rejected] == [334]
    assert found.told.places.tolist() == [place for place in range(500) if place != 333]
