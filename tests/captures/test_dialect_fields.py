"""Fields that the user names, times, labels, nested envelopes, pages, and records without a payload."""

from __future__ import annotations

import base64
import contextlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlio_kit import read_export
from chatlio_kit.aep import Platform
from chatlio_kit.captures.dialects import Clock, FieldPath, named_fields, unwrap
from chatlio_kit.captures.dialects.dialect import kind_of_label
from chatlio_kit.captures.formats.records import InvalidRecord, RepeatedKey
from chatlio_kit.cli import main
from chatlio_kit.errors import UsageError
from chatlio_kit.jobs.backfill import forecast
from chatlio_kit.tables import Export, ReadOptions, Tables, convert

Payload = dict[str, Any]
EPOCH = "2024-03-11T09:00:00.250000Z"


def _tables(path: Path, **options: Any) -> Tables:
    return Export([path], ReadOptions.from_options(**options)).to_tables(quiet=True)


@pytest.fixture
def unknown(conversation: Payload) -> Payload:
    """A record from a logger without a dialect."""
    return {
        "meta": {"hook": "feedback", "widget": "w-7", "id": 4},
        "request": {
            "body": conversation,
            "at": "2024-03-11T09:00:00.25Z",
            "the.raw": json.dumps(conversation),
        },
    }


NAMED = [
    "payload=request.body,received=request.at,kind=meta.hook,widget=meta.widget",
    " payload = /request/the.raw , received=/request/at,kind=meta.hook,widget=meta.widget",
    {"payload": "request.body", "received": "request.at", "kind": "meta.hook", "widget": "meta.widget"},
]


@pytest.mark.parametrize("fields", NAMED)
def test_fields_that_the_user_names(tmp_path: Path, unknown: Payload, fields: Any) -> None:
    """A dotted path or a JSON Pointer gives the path; the payload may be an object or its JSON."""
    (tmp_path / "a.json").write_text(json.dumps(unknown))
    tables = read_export(tmp_path, fields=fields).to_tables(quiet=True)
    (event,) = tables.events.to_dict("records")
    assert (event["kind"], event["widget_id"], event["occurred_at_source"]) == (
        "feedback",
        "w-7",
        "received_at",
    )
    assert event["received_at"].isoformat() == "2024-03-11T09:00:00.250000+00:00"
    assert tables.findings.dialects == {"named fields": 1}


@pytest.mark.parametrize(
    ("clock", "value"),
    [
        ("received-seconds", 1710147600.25),
        ("received-seconds", "1710147600.25"),
        ("received-milliseconds", 1710147600250),
        ("received-milliseconds", "1710147600250"),
        ("received-utc", "2024-03-11 09:00:00.25"),
        ("received-utc", "2024-03-11T09:00:00.250"),
        ("received-microseconds", "1710147600250000"),
        ("received-microseconds", 1710147600250000.0),
        ("received-nanoseconds", 1710147600250000999),
        ("received-utc", "2024-03-11 09:00:00.25 UTC"),
        ("received", "2024-03-11T10:00:00.25+01:00"),
        ("received", "2024-03-11 09:00:00.250000 UTC"),
        ("received", "2024-03-11t10:00:00.25+0100"),
        ("received", "2024-03-11 10:00:00.25+01"),
    ],
)
def test_moments_are_read_as_they_are_declared(
    tmp_path: Path, unknown: Payload, clock: str, value: Any
) -> None:
    """In every notation, a time is the same moment, to the microsecond."""
    unknown["request"]["at"] = value
    (tmp_path / "a.json").write_text(json.dumps(unknown))
    fields = f"payload=request.body,{clock}=request.at,kind=meta.hook"
    (moment,) = _tables(tmp_path, fields=fields).events["received_at"]
    assert moment.isoformat() == "2024-03-11T09:00:00.250000+00:00"


@pytest.mark.parametrize(
    ("clock", "value"),
    [
        (Clock.RFC3339, 1710147600),
        (Clock.RFC3339, "2024-03-11 09:00:00"),
        (Clock.UTC, "2024-03-11T09:00:00Z"),
        (Clock.UTC, 1710147600),
        (Clock.SECONDS, "2024-03-11"),
        (Clock.SECONDS, True),
        (Clock.SECONDS, "1_000"),
        (Clock.MILLISECONDS, "1e999999999"),
        (Clock.MILLISECONDS, 1e300),
        (Clock.MILLISECONDS, 9_999_999_999_999_999),
        (Clock.MILLISECONDS, {"at": 1}),
    ],
)
def test_a_time_in_another_format_is_refused(clock: Clock, value: Any) -> None:
    """No notation is guessed: a time in another one is reported, with its path."""
    with pytest.raises(InvalidRecord, match=r"request\.at is .*; expected") as refused:
        clock.read(value, "request.at")
    assert refused.value.reason == "invalid_time"


@given(st.integers(0, 4_000_000_000_000_000))
def test_no_microsecond_is_lost(micros: int) -> None:
    """Seconds with six digits are exact, as strings and as far as a float can represent them."""
    text = f"{micros // 1_000_000}.{micros % 1_000_000:06}"
    assert Clock.SECONDS.read(text, "at") == Clock.MILLISECONDS.read(
        f"{micros // 1000}.{micros % 1000:03}", "at"
    )
    assert str(Clock.SECONDS.read(text, "at"))[-7:-1] == text[-6:]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ("", "is not name=path"),
        ("request.body", "is not name=path"),
        ("body=request.body", "'body' is none of payload"),
        ("payload=", "'payload' has no path"),
        ("payload=a..b", "'payload' has no path"),
        ("payload=a,payload=b", "'payload' is named twice"),
        ("received=a,received-seconds=b", "only one of received and received-seconds"),
        ({"payload": 7}, "'payload' has no path"),
        ({}, "nothing is named"),
    ],
)
def test_invalid_fields_are_refused(fields: Any, why: str) -> None:
    """An invalid --fields is reported with the mistake and an example."""
    with pytest.raises(UsageError, match=why):
        named_fields(fields)


def test_wrong_fields_end_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are usage errors: exit code 2 and a message."""
    (tmp_path / "a.json").write_text("{}")
    for command in (["convert", "--out", str(tmp_path / "out")], ["backfill"]):
        with pytest.raises(SystemExit) as ended:
            main([*command, str(tmp_path), "--fields", "body=x"])
        assert ended.value.code == 2
        assert "payload=request.body" in capsys.readouterr().err


def test_named_fields_reach_workers_and_report(tmp_path: Path, unknown: Payload) -> None:
    """They are sent to the worker processes, and the report counts what these read."""
    (tmp_path / "a.json").write_text(json.dumps(unknown))
    options = ReadOptions.from_options(fields="payload=request.body,received=request.at,kind=meta.hook")
    sent = pickle.loads(pickle.dumps(options))  # noqa: S301  our own
    assert sent == options
    report = convert(Export([tmp_path], sent, workers=0), tmp_path / "out", quiet=True).report()
    assert (report["accepted"], report["dialects"]) == (1, {"named fields": 1})
    assert json.loads((tmp_path / "out" / "report.json").read_text())["dialects"] == {"named fields": 1}


def test_named_fields_leave_other_records_to_the_table(
    tmp_path: Path, unknown: Payload, envelope: Any, offline: Payload
) -> None:
    """Records without the named payload are read by their own dialect."""
    records = [unknown, envelope(offline, "offline_message")]
    (tmp_path / "a.ndjson").write_text("".join(json.dumps(record) + "\n" for record in records))
    tables = _tables(tmp_path, fields="payload=request.body,received=request.at,kind=meta.hook")
    assert tables.findings.dialects == {"named fields": 1, "envelope": 1}
    assert tables.rejected.empty
    assert "records by dialect: envelope 1, named fields 1" in str(tables)


def test_named_fields_without_a_payload_are_not_part_of_it(tmp_path: Path, conversation: Payload) -> None:
    """Named fields are removed from the record; the rest is the payload."""
    record = {**conversation, "_at": 1710147600, "_hook": "/in/unanswered"}
    (tmp_path / "a.json").write_text(json.dumps(record))
    tables = _tables(tmp_path, fields="received-seconds=_at,kind=_hook")
    (event,) = tables.events.to_dict("records")
    assert (event["kind"], event["extra_fields"]) == ("unanswered", pytest.approx(float("nan"), nan_ok=True))
    assert event["received_at"].isoformat() == "2024-03-11T09:00:00+00:00"


def test_an_invalid_named_kind_is_reported(tmp_path: Path, unknown: Payload) -> None:
    """A value that was named as the kind is not ignored in favour of another."""
    unknown["meta"]["hook"] = "rating"
    (tmp_path / "feedback.json").write_text(json.dumps(unknown))
    (rejected,) = _tables(
        tmp_path, fields="payload=request.body,received=request.at,kind=meta.hook"
    ).rejections
    assert rejected.reason == "kind_unknown"
    assert '"rating"' in rejected.detail


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("/hooks/feedback", "feedback"),
        ("https://feedback.example/in", None),
        ("https://x.example/a/offline-message?key=1", "offline_message"),
        ("/in?kind=conversation_started", "conversation_started"),
        ("/in#New%20Conversations", "conversation_started"),
        ("arn:aws:sns:us-west-2:1:chatlio-unanswered", "unanswered"),
        ("/feedback/unanswered", "unanswered"),
        ("/feedback-or-unanswered/7", None),
        ("/", None),
    ],
)
def test_labels_name_kinds_as_file_names_do(label: str, kind: str | None) -> None:
    """A path, a query or a name gives a kind by the words used in file names; a host name does not."""
    assert kind_of_label(label) == kind


def test_a_label_that_contradicts_the_shape_is_reported(tmp_path: Path, transcript: Payload) -> None:
    """A transcript that was posted to the feedback webhook is not feedback."""
    record = {"method": "POST", "url": "/hooks/feedback", "headers": {}, "body": transcript}
    (tmp_path / "a.json").write_text(json.dumps(record))
    (rejected,) = _tables(tmp_path).rejections
    assert rejected.reason == "kind_mismatch"


def _log(body: Any, **more: Any) -> Payload:
    return {
        "timestamp": "2024-03-11T09:00:00Z",
        "method": "POST",
        "url": "/feedback",
        "headers": {},
        "body": body,
    } | more


HOLDS_NONE: list[tuple[Any, str, str | None, str]] = [
    (_log(None), "shape_unknown", "body", "its body is empty"),
    (_log(""), "shape_unknown", "body", "its body is empty"),
    (_log({"ok": True}), "shape_unknown", "body", "none of Chatlio's shapes"),
    (_log('{"ok": true}'), "shape_unknown", "body", "none of Chatlio's shapes"),
    (_log("a=1&b=2"), "not_json", "body", "body is not JSON"),
    (_log([1]), "not_an_object", "body", "expected an object"),
    (_log("7"), "not_an_object", "body", "expected an object"),
    (_log('{"a": 1, "a": 2}'), "duplicate_key", "a", "occurs twice"),
    (_log({"visitor": {}}, timestamp=1710147600), "invalid_time", "timestamp", "expected RFC 3339"),
    ({"version": "2.0", "rawPath": "/", "isBase64Encoded": True, "requestContext": {"timeEpoch": 1},
      "body": "%"}, "not_json", "body", "expected base64"),
    (_log({}, uuid=1, token_id=1, content="{}", created_at=""), "shape_unknown", None, "several dialects"),
    ({"payload": "text"}, "not_an_object", "payload", "is a text"),
    ({"payload": '{"visitor": {}}'}, "shape_unknown", None, "none of Chatlio's shapes"),
]  # fmt: skip


@pytest.mark.parametrize(("record", "reason", "field", "words"), HOLDS_NONE)
def test_a_record_without_a_payload_is_reported(
    tmp_path: Path, record: Payload, reason: str, field: str | None, words: str
) -> None:
    """A logger's record without a Chatlio payload is one rejection with a clear reason."""
    (tmp_path / "a.ndjson").write_text(json.dumps(record) + "\n")
    (rejected,) = _tables(tmp_path).rejections
    assert (rejected.reason, rejected.field) == (reason, field)
    assert words in rejected.detail
    assert json.loads(rejected.raw) == record


def test_envelopes_in_one_another_are_opened(tmp_path: Path, conversation: Payload) -> None:
    """A gateway's event in a log: the innermost path and time count, and both dialects are named."""
    event = {
        "version": "2.0",
        "rawPath": "/feedback",
        "isBase64Encoded": True,
        "requestContext": {"timeEpoch": 1710147600250},
        "body": base64.b64encode(json.dumps(conversation).encode()).decode(),
    }
    log = {"timestamp": 1, "ingestionTime": 2, "message": json.dumps(event)}
    (tmp_path / "a.json").write_text(json.dumps(log))
    tables = _tables(tmp_path)
    (row,) = tables.events.to_dict("records")
    assert (row["kind"], row["received_at"].isoformat()) == ("feedback", "2024-03-11T09:00:00.250000+00:00")
    assert tables.findings.dialects == {"aws-cloudwatch > aws-http-api": 1}


def test_envelopes_have_an_end(conversation: Payload) -> None:
    """Endless envelopes are refused, not followed."""
    record: Payload = conversation
    for _ in range(5):
        record = _log(record)
    with pytest.raises(InvalidRecord, match="none of Chatlio's shapes"):
        unwrap(record)


def test_big_numbers_in_a_body_keep_their_digits(conversation: Payload) -> None:
    """A body in text is read as exactly as a record."""
    text = json.dumps({**conversation, "n": 2**70})
    assert unwrap(_log(text)).payload["n"] == 2**70
    with pytest.raises(RepeatedKey):
        unwrap(_log(text.replace('"n"', '"message"')))


def _pages(conversation: Payload, ndjson: bool) -> str:
    def capture(number: int) -> Payload:
        payload = {**conversation, "message": f"number {number}"}
        about = {"uuid": "u", "token_id": "t", "created_at": "2024-03-11 09:00:00"}
        return {**about, "content": json.dumps(payload), "url": "https://webhook.site/t/feedback"}

    pages = [
        {"data": [capture(1), capture(2)], "total": 3, "is_last_page": False},
        {"data": [{**capture(3), "content": "no"}, capture(4)], "total": 3, "is_last_page": True},
        {"data": [], "total": 3},
    ]
    return "\n".join(json.dumps(page, indent=None if ndjson else 1) for page in pages)


@pytest.mark.parametrize("ndjson", [True, False])
def test_pages_are_read_as_their_captures(tmp_path: Path, conversation: Payload, ndjson: bool) -> None:
    """Each capture listed by a page is a record, numbered across all pages of a file."""
    (tmp_path / "pages.json").write_text(_pages(conversation, ndjson))
    tables = _tables(tmp_path)
    assert tables.counts.read == 4
    assert tables.events[["source_record", "message"]].to_numpy().tolist() == [
        [1, "number 1"], [2, "number 2"], [4, "number 4"],
    ]  # fmt: skip
    (rejected,) = tables.rejections
    assert (rejected.record, rejected.field, json.loads(rejected.raw)["content"]) == (3, "content", "no")


def test_a_page_among_other_records_is_reported(tmp_path: Path, conversation: Payload, envelope: Any) -> None:
    """If lines are records, a page is one record, with a message about the right file for it."""
    page = _pages(conversation, ndjson=True).splitlines()[0]
    (tmp_path / "a.ndjson").write_text(json.dumps(envelope(conversation, "feedback")) + "\n" + page + "\n")
    (rejected,) = _tables(tmp_path).rejections
    assert (rejected.record, rejected.reason, rejected.field) == (2, "shape_unknown", "data")
    assert "separate files" in rejected.detail


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4),
        lambda inside: (
            st.lists(inside, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        *"abc",
                        "body",
                        "method",
                        "url",
                        "headers",
                        "payload",
                        "content",
                        "message",
                        "timestamp",
                        "visitor__UUID",
                        "messages",
                        "data",
                        "events",
                    ]
                ),
                inside,
                max_size=6,
            )
        ),
    )
)
def test_any_object_is_opened_or_refused(value: Any) -> None:
    """From any object comes either a payload or a message."""
    if not isinstance(value, dict):
        return
    with contextlib.suppress(ValueError):
        assert unwrap(value).dialect


def test_a_place_is_found() -> None:
    """Keys lead into objects, numbers into arrays; missing values are not found."""
    value = {"a": [{"b/c": 1, "~": None}], "": 2}
    assert FieldPath.of("a.0.b/c").find(value) == 1
    assert FieldPath.of("/a/0/b~1c").find(value) == 1
    assert FieldPath.of("/a/0/~0").is_in(value)
    assert not FieldPath.of("a.1").is_in(value)
    assert not FieldPath.of("a.b").is_in(value)


def test_an_export_lists_its_dialects_once_it_is_read(tmp_path: Path, unknown: Payload) -> None:
    """An export shows how its records were read, and so do its tables."""
    (tmp_path / "a.json").write_text(json.dumps(unknown))
    export = read_export(tmp_path, fields="payload=request.body,received=request.at,kind=meta.hook")
    assert "dialect" not in repr(export)
    assert "records by dialect: named fields 1" in repr(export.to_tables(quiet=True))
    assert "records by dialect: named fields 1" in repr(export)


def test_a_forecast_knows_named_fields(tmp_path: Path, unknown: Payload, local: Platform) -> None:
    """A forecast reports what a backfill would send, with the fields that the user named."""
    path = tmp_path / "captures.json"
    path.write_text(json.dumps(unknown))
    export = read_export(path, fields="payload=request.body,received=request.at,kind=meta.hook")
    found = forecast(export, local).as_dict()
    assert (found["accepted"], found["by_kind"]) == (1, {"feedback": 1})
