"""The short way of reading a record, and the careful one: the same, or only the careful one."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlio_kit.captures import parse
from chatlio_kit.events.kinds import Kind
from chatlio_kit.tables.plain import Taken, take
from chatlio_kit.tables.rows import _take_carefully

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
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5), st.sampled_from(["", "transcript", "feedback", "nothing"]),
    st.lists(st.one_of(st.none(), st.text(max_size=3), st.floats(-1e3, 1e3)), max_size=2),
    st.dictionaries(st.text(max_size=3), st.one_of(st.integers(), st.floats(-1e3, 1e3)), max_size=2),
)  # fmt: skip


def _places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, each in inside for place in [(*above, key), *_places(each, (*above, key))]]


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """A record's text: a good one with values changed or left out, keys added or repeated, in any style."""
    record = json.loads(json.dumps(draw(st.sampled_from(RECORDS))))
    if draw(st.booleans()):
        record = {
            "receivedAt": "2024-03-11T09:03:10Z",
            "kind": draw(st.sampled_from([*Kind, ""])),
            "payload": record,
        }
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
                inside[draw(st.text(max_size=4))] = draw(VALUES)
    written = json.dumps(
        record,
        ensure_ascii=draw(st.booleans()),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": ")])),
        sort_keys=draw(st.booleans()),
    )
    if draw(st.integers(0, 3)) == 0:
        places = [place + 1 for place, mark in enumerate(written) if mark == "{"]
        place = draw(st.sampled_from(places))
        key = written[place:].partition(":")[0] if written[place : place + 1] == '"' else '"x"'
        value = draw(st.sampled_from(["1", "1e5", "0.10", "null", "{}"]))
        written = f"{written[:place]}{key}:{value},{written[place:]}"
    return written.encode()


def _without_blanks(taken: Taken) -> Taken:
    """Columns hold nothing where a text is empty."""
    messages = [tuple(value or None for value in message) for message in taken.messages]
    return taken._replace(values=tuple(value or None for value in taken.values), messages=messages)


@given(raw=texts(), by_file=st.sampled_from([None, *Kind]), fallback=st.sampled_from([None, Kind.FEEDBACK]))
@settings(max_examples=400, deadline=None)
def test_the_short_way_gives_what_the_careful_way_gives(
    raw: bytes, by_file: Kind | None, fallback: Kind | None
) -> None:
    """A record that is read the short way has the values, messages and body that the careful way gives.

    So none that the careful way rejects is ever taken: repeated keys, wrong types, lost digits.
    """
    try:
        value = orjson.loads(raw)
    except ValueError:
        return
    taken = take(raw, value, by_file, fallback) if isinstance(value, dict) else None
    if taken is not None:
        careful = _take_carefully(Counter(), raw, by_file, fallback, None)
        assert _without_blanks(taken) == _without_blanks(careful)
        assert parse(raw)
