"""Decoding by text, by parsed payload and by the strict parser gives the same results."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlio_kit.captures import CaptureFile, FileSlice, LocalSource, RawBatch
from chatlio_kit.captures.formats.records import ByteRecords, LineRecords
from chatlio_kit.chatlio.kinds import Kind, Shape
from chatlio_kit.tables.decode import decode
from chatlio_kit.tables.decode.decode import DecodeResult, decode_batch
from chatlio_kit.tables.decode.strict import PARSERS

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
    return [place for key, entry in inside for place in [(*above, key), *_places(entry, (*above, key))]]


@st.composite
def texts(draw: st.DrawFn, *, records: list[dict[str, Any]] = RECORDS) -> bytes:
    """A record's text: a valid one with values changed or left out, keys added or repeated, in any style."""
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


def _read(
    raws: list[bytes], by_file: Kind | None, fallback: Kind | None, *, are_lines: bool = False
) -> DecodeResult:
    file = CaptureFile("x.ndjson", by_file, LocalSource(Path("x.ndjson")))
    records: ByteRecords | LineRecords = ByteRecords(range(1, len(raws) + 1), raws)
    if are_lines and raws:
        records = LineRecords(1, b"\n".join(raws), np.cumsum([len(raw) + 1 for raw in raws])[:-1] - 1)
    return decode_batch(RawBatch([FileSlice(file, records)]), fallback)


def _shown(result: DecodeResult) -> dict[str, Any]:
    """Everything that was read, as Python objects."""
    decoded = result.decoded
    return {
        "rows": decoded.rows.tolist(),
        "events": {name: column.to_pylist() for name, column in decoded.events.items()},
        "bodies": decoded.bodies,
        "owners": decoded.owners.tolist(),
        "messages": {name: column.to_pylist() for name, column in decoded.messages.items()},
        "rejected": result.rejected,
        "dialects": +result.dialects,
        "remarks": result.remarks,
    }


def _all_ways(
    raws: list[bytes], by_file: Kind | None, fallback: Kind | None = None, *, are_lines: bool = True
) -> int:
    """Decode records by text, by parsed payload and by the strict parser; count the different results."""
    by_text = _read(raws, by_file, fallback, are_lines=are_lines)
    with patch.object(decode, "decode_exact", _refuse):
        by_payload = _read(raws, by_file, fallback, are_lines=are_lines)
    with patch.multiple(decode, decode_exact=_refuse, open_envelope=_refuse, convert_tolerantly=_refuse):
        strictly = _read(raws, by_file, fallback)
    shown = [_shown(result) for result in (by_text, by_payload, strictly)]
    return sum(result not in shown[:index] for index, result in enumerate(shown))


def _refuse(*_: object) -> None:
    """Leave a record to the next step."""


@given(
    raws=st.lists(texts(), max_size=12)
    | st.sampled_from(RECORDS).flatmap(lambda record: st.lists(texts(records=[record]), max_size=3)),
    by_file=st.sampled_from([None, *Kind]),
    fallback=st.sampled_from([None, Kind.FEEDBACK]),
    are_lines=st.booleans(),
)
@settings(max_examples=300)
def test_records_read_together_equal_records_read_alone(
    raws: list[bytes], by_file: Kind | None, fallback: Kind | None, are_lines: bool
) -> None:
    """Records that are read together have the values, messages, bodies and faults of the careful way.

    So none that the careful way rejects is ever taken: repeated keys, wrong types, lost digits.
    """
    assert _all_ways(raws, by_file, fallback, are_lines=are_lines) == 1


ODD = [
    ('"createdAt"', '"name":"x","name":"y","createdAt"'),  # a key that occurs twice, each time with a string
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
"""Changes that make a record odd: a part of its text, and its replacement."""


@pytest.mark.parametrize(("part", "instead"), ODD)
@pytest.mark.parametrize("place", [None, 0, 1])
def test_typed_decoding_accepts_no_record_that_strict_decoding_reads_differently(
    part: str, instead: str, place: int | None
) -> None:
    """An odd record is read as it is alone, before a normal one and after it."""
    talk = {record: RECORDS[2][record] for record in RECORDS[2] if record != "extraData"}
    texts = [
        orjson.dumps({"receivedAt": "2024-03-11T09:03:10Z", "kind": kind, "payload": payload})
        for kind, payload in (("unanswered", RECORDS[0]), ("transcript", talk))
    ]
    text = next(entry for entry in texts if part.encode() in entry)
    odd = text.replace(part.encode(), instead.encode())
    raws = [odd] if place is None else [text, text]
    if place is not None:
        raws.insert(place, odd)
    assert _all_ways(raws, None) == _all_ways(raws, Kind.UNANSWERED) == 1


@pytest.mark.parametrize("lost", [b'"name":"xx",', b'"identTraits":null,'])
@pytest.mark.parametrize("envelope", [b"%b", b'{"payload":%b}', b'{"kind":"","payload":%b}'])
def test_nothing_is_lost_next_to_any_number_of_others(lost: bytes, envelope: bytes) -> None:
    """A key that would be lost is found, whatever its length and the number of records."""
    payload = b'{"visitor":{"UUID":"u","name":"x"},"message":"m","channelId":"C"}'
    odd = payload.replace(b'"UUID"', lost + b'"UUID"')
    for beside in range(1, 40):
        raws = [envelope % entry for entry in [*[payload] * beside, odd]]
        assert _all_ways(raws, Kind.FEEDBACK) == 1


def test_known_records_are_decoded_by_their_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records with only known fields are never parsed into dictionaries, however they are written."""
    monkeypatch.setattr(decode, "parse", None)
    monkeypatch.setattr(decode, "open_envelope", None)
    whole = [{**record, "visitorTraits": {"visits": 3, "tags": ["a", {"b": 1}]}} for record in RECORDS[2:]]
    compact = [orjson.dumps(record) for record in (*RECORDS[:2], *whole)]
    spaced = [json.dumps(record).encode() for record in RECORDS[:2]]
    for text in (*compact, *spaced):
        for raw in (text, b'{"kind":"","receivedAt":"x","payload":%b}' % text):
            assert _read([raw] * 3, None, Kind.FEEDBACK, are_lines=True).decoded.rows.tolist() == [0, 1, 2]


def test_only_unusual_records_need_the_strict_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown fields, floats, nulls, empty strings for objects and all dialects are decoded by type."""
    monkeypatch.setattr(decode, "PARSERS", {shape: _UnknownFields(shape) for shape in decode.PARSERS})
    envelope = {"receivedAt": "2024-03-11T09:03:10Z", "kind": "feedback", "payload": RECORDS[0]}
    more = {**RECORDS[2], "rating": 5, "messages": [{**RECORDS[2]["messages"][0], "edited": True}]}
    nulls = {**RECORDS[2], "agentName": None, "visitor": "", "messages": None, "textBody": 1}
    logged = [LOGGED[0](RECORDS[0]), LOGGED[1](RECORDS[2]), LOGGED[2](RECORDS[0])]
    raws = [orjson.dumps(record) for record in (*RECORDS, envelope, more, nulls, *logged)]
    result = _read(raws, None, Kind.UNANSWERED)
    assert result.decoded.rows.tolist() == list(range(9))
    assert result.dialects == {"bare": 5, "webhook.site": 1, "pipedream": 1, "envelope": 2}


class _UnknownFields:
    """A strict parser that parses no payload."""

    def __init__(self, shape: Shape) -> None:
        self.unknown_fields = PARSERS[shape].unknown_fields


@given(transcripts=st.lists(st.lists(st.sampled_from(["1.000000", "2.000000", "3.000000"]), max_size=4)))
def test_a_name_that_a_transcript_has_twice_is_found(transcripts: list[list[str]]) -> None:
    """Names are distinct within each transcript, in any order of its messages, or it is rejected."""
    raws = [orjson.dumps({"messages": [{"ts": name} for name in names]}) for names in transcripts]
    rejected = [index for index, names in enumerate(transcripts, 1) if len(set(names)) < len(names)]
    result = _read(raws, None, None)
    assert [rejection.record for rejection in result.rejected] == rejected
    assert {rejection.reason for rejection in result.rejected} <= {"repeated"}


@pytest.mark.parametrize("number", LONG)
def test_numbers_beyond_a_double_keep_their_digits(number: str) -> None:
    """They appear in traits and in unknown fields exactly as in the record."""
    record = {**RECORDS[2], "visitorTraits": {"a": 1.5}, "rating": 1.5}
    raws = [orjson.dumps(entry) for entry in (*RECORDS, record)]
    raws[-1] = raws[-1].replace(b"1.5", number.encode())
    columns = _read(raws, None, Kind.UNANSWERED).decoded.events
    assert columns["visitor_traits"].to_pylist()[-1] == f'{{"a":{number}}}'
    assert columns["extra_fields"].to_pylist()[-1] == f'{{"rating":{number}}}'


def test_one_odd_record_among_many_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the deviating record is parsed by itself."""
    parsed = list[bytes]()
    parse = decode.parse
    monkeypatch.setattr(decode, "parse", lambda raw: parsed.append(raw) or parse(raw))
    raws = [orjson.dumps({**RECORDS[0], "message": f"{index}"}) for index in range(500)]
    raws[333] = orjson.dumps({**RECORDS[0], "message": 333})
    result = _read(raws, None, Kind.FEEDBACK)
    assert parsed == [raws[333]]
    assert [rejection.record for rejection in result.rejected] == [334]
    assert result.decoded.rows.tolist() == [row for row in range(500) if row != 333]
