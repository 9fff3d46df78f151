"""Values next to a payload are read or reported, however spelled; a payload in text is found by itself."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from chatlio_kit.tables import Export, ReadOptions, Tables, convert

Payload = dict[str, Any]
AT = "2024-03-11T09:00:00.25Z"


def _tables(path: Path, **options: Any) -> Tables:
    return Export([path], ReadOptions.from_options(**options)).to_tables(quiet=True)


def _read(folder: Path, *records: Payload, **options: Any) -> Tables:
    folder.mkdir(exist_ok=True)
    (folder / "a.ndjson").write_text("".join(json.dumps(record) + "\n" for record in records))
    return _tables(folder, **options)


@pytest.fixture
def expected(tmp_path: Path, offline: Payload) -> Payload:
    """The event that our own spelling gives."""
    record = {"receivedAt": AT, "kind": "offline_message", "widget": "w-1", "payload": offline}
    (event,) = _read(tmp_path / "expected", record).events.to_dict("records")
    assert (event["widget_id"], event["occurred_at_source"]) == ("w-1", "received_at")
    return event


SPELLINGS = [
    ("receivedAt", "kind", "widgetId", "payload"),
    ("received_at", "kind", "widget_id", "payload"),
    ("ReceivedAt", "Kind", "WidgetId", "Payload"),
    ("RECEIVED-AT", "KIND", "Widget ID", "PAYLOAD"),
    (" receivedAt", "kind ", " widget ", " payload "),
]


@pytest.mark.parametrize("names", SPELLINGS)
@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_keys_are_read_in_any_spelling(
    tmp_path: Path, offline: Payload, expected: Payload, names: tuple[str, ...], form: str
) -> None:
    """The same capture has the same event id, however its keys are spelled."""
    path = tmp_path / f"a.{form}"
    if form == "ndjson":
        path.write_text(json.dumps(dict(zip(names, (AT, "offline_message", "w-1", offline), strict=True))))
    else:
        text = io.StringIO()
        rows = [list(names), [AT, "offline_message", "w-1", json.dumps(offline)]]
        csv.writer(text).writerows(rows)
        path.write_text(text.getvalue())
    tables = _tables(path)
    (event,) = tables.events.to_dict("records")
    for column in ("event_id", "payload_digest", "widget_id", "received_at", "occurred_at", "kind"):
        assert event[column] == expected[column]
    assert not tables.findings.unread


def test_our_own_spelling_counts_and_the_other_is_reported(
    tmp_path: Path, offline: Payload, expected: Payload
) -> None:
    """If two keys contradict each other, ours is read; equal ones count as one."""
    record = {"receivedAt": AT, "kind": "offline_message", "widget": "w-1", "payload": offline}
    tables = _read(tmp_path, {**record, "widgetId": "w-2", "Kind": "offline_message", "widget_id": ""})
    assert tables.events["event_id"].tolist() == [expected["event_id"]]
    assert tables.findings.unread == {"widgetId": 1}


def test_keys_that_contradict_one_another_are_not_read(tmp_path: Path, offline: Payload) -> None:
    """Two similar spellings with two values: neither is read, and both are reported."""
    record = {"receivedAt": AT, "kind": "offline_message", "payload": offline}
    tables = _read(tmp_path, {**record, "widgetId": "w-1", "widget_id": "w-2"})
    assert tables.events["widget_id"].isna().all()
    assert tables.findings.unread == {"widgetId": 1, "widget_id": 1}


def test_unread_keys_are_reported_and_can_be_named(
    tmp_path: Path, offline: Payload, expected: Payload
) -> None:
    """A key next to the payload is in the report and in a note; with --fields it is read."""
    record = {"receivedAt": AT, "kind": "offline_message", "shop": "w-1", "empty": "", "payload": offline}
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.ndjson"
    path.write_text(json.dumps(record) + "\n")
    converted = convert(Export([path], ReadOptions()), tmp_path / "out", quiet=True)
    assert converted.report()["unread_keys"] == {"shop": 1}
    assert "shop 1" in str(converted)
    named = _tables(path, fields="widget=shop")
    assert named.events["event_id"].tolist() == [expected["event_id"]]
    assert not named.findings.unread


def test_keys_that_the_user_left_out_are_reported(tmp_path: Path, offline: Payload) -> None:
    """Users who name a payload but no time learn that there is one next to it."""
    record = {"receivedAt": AT, "Kind": "offline_message", "widget": 7, "payload": offline}
    tables = _read(tmp_path, record, fields="payload=payload,kind=Kind", undated_as=AT)
    assert tables.findings.unread == {"receivedAt": 1, "widget": 1}


def test_unread_keys_of_a_server_s_log_are_reported(tmp_path: Path, conversation: Payload) -> None:
    """A widget in a log whose dialect has none is reported."""
    log = {"timestamp": AT, "method": "POST", "url": "/feedback", "headers": {}, "widgetId": "w-1"}
    tables = _read(tmp_path, {**log, "body": conversation})
    assert (len(tables.events), tables.findings.unread) == (1, {"widgetId": 1})


@pytest.mark.parametrize(
    "about",
    [
        {"receivedAt": AT, "kind": "feedback", "widget": "w-1"},
        {"received_at": AT, "Kind": "feedback", "widgetId": "w-1"},
    ],
)
def test_values_among_a_payload_s_own_fields_are_read(
    tmp_path: Path, conversation: Payload, about: Payload
) -> None:
    """A bare record with a time of arrival and a kind gives the same event as an envelope."""
    around = {"receivedAt": AT, "kind": "feedback", "widget": "w-1", "payload": conversation}
    enveloped = _read(tmp_path / "enveloped", around).events
    tables = _read(tmp_path / "bare", {**about, **conversation})
    pd.testing.assert_frame_equal(
        tables.events.drop(columns="source_file"), enveloped.drop(columns="source_file")
    )
    assert tables.findings.dialects == {"bare": 1}


@pytest.mark.parametrize(
    ("more", "reason", "words"),
    [
        ({"receivedAt": 1710147600250}, "undated", "--fields received-milliseconds=receivedAt"),
        ({"received_at": "2024-03-11 09:00:00"}, "undated", "--fields without-offset=UTC"),
        ({"receivedAt": AT, "kind": "chat"}, "kind_unknown", 'kind is "chat"'),
    ],
)
def test_a_message_advises_no_existing_setting(
    tmp_path: Path, conversation: Payload, more: Payload, reason: str, words: str
) -> None:
    """A meaningless time or kind in a record is named, together with the option that would read it."""
    kind = {} if "kind" in more else {"kind": "feedback"}
    tables = _read(tmp_path, {**kind, **more, **conversation})
    (rejected,) = tables.rejections
    assert rejected.reason == reason
    assert words in rejected.detail
    assert "add receivedAt" not in rejected.detail


def test_the_advice_about_a_time_works(tmp_path: Path, conversation: Payload) -> None:
    """The option in a rejection's message reads the record, in an envelope and among a payload's fields."""
    around = {"kind": "feedback", "receivedAt": 1710147600250}
    records = [{**around, "payload": conversation}, {**around, **conversation, "message": "Another"}]
    options = {"fields": "received-milliseconds=receivedAt"}
    refused = _read(tmp_path, *records)
    assert len(refused.rejections) == 2
    assert all(options["fields"] in rejection.detail for rejection in refused.rejections)
    tables = _read(tmp_path, *records, **options)
    assert {value.isoformat() for value in tables.events["received_at"]} == {
        "2024-03-11T09:00:00.250000+00:00"
    }
    assert tables.rejected.empty


def test_times_without_an_offset_follow_the_option(tmp_path: Path, conversation: Payload) -> None:
    """One option covers a whole record: its time of arrival, and the times in its payload."""
    conversation["visitor"]["createdAt"] = "2024-03-11 08:00:00.5"
    records = [
        {"receivedAt": "2024-03-11 10:00:00", "kind": "feedback", "payload": conversation},
        {"received_at": "2024-03-11 10:00:00", "kind": "unanswered", "payload": conversation},
        {"received_at": "2024-03-11 10:00:00", "kind": "unanswered", **conversation, "message": "More"},
        {"timestamp": "2024-03-11 10:00:00", "method": "POST", "url": "/feedback", "headers": {},
         "body": {**conversation, "message": "Another"}},
    ]  # fmt: skip
    refused = _read(tmp_path, *records)
    assert [rejection.reason for rejection in refused.rejections] == ["invalid_time"] * 4
    assert all("--fields without-offset=UTC" in rejection.detail for rejection in refused.rejections)
    tables = _read(tmp_path, *records, fields="without-offset=+01:00")
    assert tables.rejected.empty
    assert {value.isoformat() for value in tables.events["received_at"]} == {"2024-03-11T09:00:00+00:00"}
    assert {value.isoformat() for value in tables.events["visitor_created_at"]} == {
        "2024-03-11T07:00:00.500000+00:00"
    }


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


TEXTS: dict[str, Callable[[str], Any]] = {
    "JSON": lambda text: text,
    "JSON in a JSON text": json.dumps,
    "base64": _base64,
    "base64 in lines": lambda text: base64.encodebytes(text.encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "bytes": lambda text: list(text.encode()),
}


@pytest.mark.parametrize("form", TEXTS)
@pytest.mark.parametrize("place", ["payload", "body"])
def test_a_payload_in_text_is_found_by_itself(
    tmp_path: Path, conversation: Payload, form: str, place: str
) -> None:
    """In an envelope and in a log, an object is read from JSON and from base64."""
    conversation["message"] = "Grüße ??>> \U0001f642"
    around = {"receivedAt": AT, "kind": "feedback"}
    log = {"timestamp": AT, "method": "POST", "url": "/feedback", "headers": {}}
    record = around if place == "payload" else log
    expected = _read(tmp_path / "a", {**record, place: conversation}).events
    text = TEXTS[form](json.dumps(conversation, ensure_ascii=False))
    found = _read(tmp_path / "b", {**record, place: text}).events
    assert len(found) == 1
    pd.testing.assert_frame_equal(found.drop(columns="source_file"), expected.drop(columns="source_file"))


def test_a_string_without_a_payload_is_reported(tmp_path: Path) -> None:
    """The message says what is read, and which option names another path."""
    for text, reason in (
        ("eyJub3QganNvbg==", "not_an_object"),
        ("{broken", "not_json"),
        ("[1]", "not_an_object"),
    ):
        (rejected,) = _read(tmp_path, {"receivedAt": AT, "kind": "feedback", "payload": text}).rejections
        assert (rejected.reason, rejected.field) == (reason, "payload")
    assert "--fields" in rejected.detail
