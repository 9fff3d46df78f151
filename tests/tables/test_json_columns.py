"""JSON columns hold JSON, whatever was captured; highly repetitive files are read in time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlio_kit.tables import Export, FieldPolicy, ReadOptions, Tables

Payload = dict[str, Any]
COLUMNS = ("visitor_traits", "command_words", "extra_fields")
VISITOR = {"UUID": "21c00797-e483-4875-6f98-d27ba80e6320"}
CONVERSATION = {"visitor": VISITOR, "message": "m", "channelId": "C", "conversationUUID": ""}
TRANSCRIPT = {"messages": [], "endedAt": "2024-03-11T09:00:00Z"}


def _tables(path: Path, redact: str | None = None) -> Tables:
    export = Export([path], ReadOptions.from_options(kind="feedback"), FieldPolicy.from_options(redact))
    return export.to_tables(quiet=True)


TRAITS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.sampled_from(
        ["gold", "a=1&b=2", "{'a': 1}", "NaN", "-", "{", "01", "1e999", "5", "null", '{"a":1}', "[" * 700]
    ),
    st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=3), max_size=2),
    st.lists(st.integers(), max_size=2),
)


@given(traits=st.lists(TRAITS, min_size=1, max_size=40), extra=TRAITS, is_mixed=st.booleans())
@settings(max_examples=60)
def test_json_columns_hold_json(
    tmp_path_factory: pytest.TempPathFactory, traits: list[Any], extra: Any, is_mixed: bool
) -> None:
    """json.loads can read every value of a JSON column; a string that is not JSON becomes a JSON string."""
    records = []
    for place, trait in enumerate(traits):
        payload: Payload = {**CONVERSATION, "visitor": {**VISITOR, "identTraits": trait}}
        if is_mixed:
            payload |= {"rating": extra}
        at = f"2024-03-11T09:{place:02}:00Z"
        records.append({"receivedAt": at, "kind": "feedback", "payload": payload})
        talk = {**TRANSCRIPT, "visitorTraits": trait, "extraData": extra}
        records.append({"receivedAt": at, "kind": "transcript", "payload": talk})
    path = tmp_path_factory.mktemp("json") / "a.ndjson"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    tables = _tables(path)
    assert tables.rejected.empty
    for column in COLUMNS:
        for value in tables.events[column].dropna():
            json.loads(value)
    feedback = tables.events[tables.events["kind"] == "feedback"]["visitor_traits"]
    for written, captured in zip(feedback, traits, strict=True):
        if isinstance(captured, str) and captured and written != captured:
            assert json.loads(written) == captured


def test_strings_that_are_not_json_can_be_redacted_and_sent(tmp_path: Path) -> None:
    """Masked columns are still JSON."""
    payload = {**CONVERSATION, "visitor": {**VISITOR, "identTraits": 'gold \u00e9 \\ "x"'}}
    record = {"receivedAt": "2024-03-11T09:00:00Z", "kind": "feedback", "payload": payload}
    (tmp_path / "a.ndjson").write_text(json.dumps(record) + "\n")
    for redact in (None, "mask"):
        for table in (_tables(tmp_path, redact).events, _tables(tmp_path, redact).visitors):
            (traits,) = table["visitor_traits"]
            assert json.loads(traits) == ("***" if redact else 'gold \u00e9 \\ "x"')


OVER_AND_OVER: dict[str, Callable[[int], str]] = {
    "one key": lambda size: ",".join(['"a":1'] * (size // 6)),
    "other keys": lambda size: ",".join(f'"{place:x}":1' for place in range(size // 9)),
    "a null": lambda size: ",".join(f'"{place:x}":null' for place in range(size // 12)),
    "quotes": lambda size: '"a":"' + r"\"" * (size // 2) + '"',
    "escapes": lambda size: '"a":"' + r"\u0022" * (size // 6) + '"',
    "brackets": lambda size: '"a":[' + ",".join(["[]"] * (size // 3)) + "]",
    "numbers": lambda size: '"a":[' + ",".join(["0.1234567890123456789"] * (size // 22)) + "]",
}


@pytest.mark.parametrize("thing", OVER_AND_OVER)
def test_a_long_record_is_decoded_quickly(tmp_path: Path, thing: str) -> None:
    """A record of 2 MB takes seconds. With a step for every pair of characters it took hours."""
    path = tmp_path / "long.ndjson"
    path.write_text(json.dumps(CONVERSATION)[:-1] + "," + OVER_AND_OVER[thing](2_000_000) + "}\n")
    started = time.process_time()
    _tables(path)
    assert time.process_time() - started < 60
