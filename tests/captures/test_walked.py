"""Lists: each element is a record if the user or a logger says so; none is lost silently."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from chatlio_kit.captures.dialects import named_fields
from chatlio_kit.errors import UsageError
from chatlio_kit.tables import Export, ReadOptions, Tables

Payload = dict[str, Any]
AT = 1710147600250


def _tables(path: Path, fields: Any = None, **options: Any) -> Tables:
    return Export([path], ReadOptions.from_options(fields=fields, **options)).to_tables(quiet=True)


def _page(conversation: Payload, count: int, first: int = 1) -> Payload:
    """Records from an unknown queue."""
    found = [
        {"Text": json.dumps({**conversation, "message": f"number {number}"}), "About": {"At": AT + number}}
        for number in range(first, first + count)
    ]
    return {"Answer": {"Found": found, "Queue": "chats-feedback"}, "Big": "x" * 1000}


WALKED = [
    "payload=Answer.Found.*.Text,received-milliseconds=Answer.Found.*.About.At,kind=Answer.Queue",
    "payload=Answer.Found[].Text,received-milliseconds=Answer.Found[].About.At,kind=Answer.Queue",
    "payload=/Answer/Found/*/Text,received-milliseconds=/Answer/Found/*/About/At,kind=/Answer/Queue",
]


@pytest.mark.parametrize("fields", WALKED)
@pytest.mark.parametrize("indent", [None, 1])
def test_each_element_is_a_record(
    tmp_path: Path, conversation: Payload, fields: str, indent: int | None
) -> None:
    """All paths walk the same element; what is outside the list counts for each element."""
    pages = [_page(conversation, 3), _page(conversation, 0), _page(conversation, 2, first=4)]
    (tmp_path / "a.json").write_text("\n".join(json.dumps(page, indent=indent) for page in pages))
    tables = _tables(tmp_path, fields)
    assert tables.counts.as_dict()["read"] == tables.counts.accepted == 5
    assert tables.events["message"].tolist() == [f"number {number}" for number in range(1, 6)]
    assert tables.events["source_record"].tolist() == [1, 2, 3, 4, 5]
    assert tables.events["kind"].unique().tolist() == ["feedback"]
    assert (tables.events["received_at"].astype("int64") // 1000 - AT).tolist() == [1, 2, 3, 4, 5]
    assert not tables.findings.siblings


def test_only_the_bad_element_is_rejected(tmp_path: Path, conversation: Payload) -> None:
    """Each element has exactly one outcome; a rejection shows only its own element of the page."""
    page = _page(conversation, 3)
    page["Answer"]["Found"][1] = {"Text": "no"}
    page["Answer"]["Found"].append({"Other": 1})
    (tmp_path / "a.json").write_text(json.dumps(page) + "\n{broken\n" + json.dumps(page) + "\n")
    tables = _tables(tmp_path, WALKED[0])
    assert tables.counts.as_dict()["read"] == 9
    assert tables.events["source_record"].tolist() == [1, 3]
    reported = [(rejection.record, rejection.reason) for rejection in tables.rejections]
    assert reported == [
        (2, "not_json"),
        (4, "shape_unknown"),
        (5, "not_json"),
        (7, "not_json"),
        (9, "shape_unknown"),
    ]
    assert tables.counts.duplicates == 2
    assert tables.rejections[0].raw == '{"Answer":{"Queue":"chats-feedback","Found":[{"Text":"no"}]}}'


def test_lists_in_lists_are_walked(tmp_path: Path, conversation: Payload) -> None:
    """A path may walk several lists; another path may be in the outer one only."""
    batches = [
        {"at": "2024-03-11T09:00:00Z", "hooks": [{"body": {**conversation, "message": "a"}}]},
        {
            "at": "2024-03-11T10:00:00Z",
            "hooks": [{"body": {**conversation, "message": text}} for text in "bc"],
        },
        {"at": "2024-03-11T11:00:00Z"},
    ]
    (tmp_path / "unanswered.json").write_text(json.dumps({"batches": batches}))
    tables = _tables(tmp_path, "payload=batches.*.hooks.*.body,received=batches.*.at")
    reported = tables.events[["message", "received_at"]].astype({"received_at": "str"}).to_numpy().tolist()
    hours = ("2024-03-11 09:00:00+00:00", "2024-03-11 10:00:00+00:00", "2024-03-11 10:00:00+00:00")
    assert reported == [list(entry) for entry in zip("abc", hours, strict=True)]
    assert [rejection.record for rejection in tables.rejections] == [4]


def test_a_walk_leaves_other_records_alone(tmp_path: Path, conversation: Payload, envelope: Any) -> None:
    """Records without the list are read by the table of dialects, numbered with the elements."""
    records = [envelope(conversation, "unanswered"), _page(conversation, 2)]
    (tmp_path / "a.ndjson").write_text("".join(json.dumps(record) + "\n" for record in records))
    tables = _tables(tmp_path, WALKED[0])
    assert tables.findings.dialects == {"envelope": 1, "named fields": 2}
    assert tables.events["source_record"].tolist() == [1, 2, 3]


def test_a_walk_reads_parquet(tmp_path: Path, conversation: Payload) -> None:
    """A list column is walked like a list in JSON."""
    row = {"found": [{"text": json.dumps({**conversation, "message": text})} for text in "ab"]}
    pd.DataFrame([row]).to_parquet(tmp_path / "feedback.parquet")
    tables = _tables(tmp_path, "payload=found.*.text", undated_as="2024-03-20T00:00:00Z")
    assert tables.events["message"].tolist() == ["a", "b"]


def test_elements_next_to_the_named_one_are_reported(tmp_path: Path, conversation: Payload) -> None:
    """Users who name one element of a list learn how many were not read, and the path of all."""
    pages = [_page(conversation, 3), _page(conversation, 2, first=7), _page(conversation, 1, first=10)]
    (tmp_path / "a.ndjson").write_text("".join(json.dumps(page) + "\n" for page in pages))
    tables = _tables(tmp_path, WALKED[0].replace("*", "0"))
    assert len(tables.events) == 3
    assert tables.findings.siblings == {"Answer.Found.*.Text": 3}
    assert "not read: 3 elements" in str(tables)
    assert "payload=Answer.Found.*.Text" in str(tables)


def test_one_element_of_a_page_is_reported_too(tmp_path: Path, conversation: Payload) -> None:
    """The user's own path takes precedence over known pages."""
    page = {"data": [{"hook": conversation}, {"hook": conversation}]}
    (tmp_path / "feedback.json").write_text(json.dumps(page))
    tables = _tables(tmp_path, "payload=data.0.hook", undated_as="2024-03-20T00:00:00Z")
    assert (len(tables.events), tables.findings.siblings) == (1, {"data.*.hook": 1})


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ("payload=a.*.b,received=c.*.d", "is not in it"),
        ("payload=a.b,received=a.*.d", "is not in it"),
        ("received=a.*.d", "is not in it"),
        ("payload=*.b", "begins with"),
        ("without-offset=CET", "not an offset"),
        ("without-offset=", "no path"),
    ],
)
def test_invalid_walks_are_refused(fields: str, why: str) -> None:
    """A wrong walk is reported before anything is read."""
    with pytest.raises(UsageError, match=why):
        named_fields(fields)


def _sns(conversation: Payload, text: str) -> Payload:
    return {
        "EventSource": "aws:sns",
        "Sns": {
            "TopicArn": "arn:aws:sns:us-east-1:1:feedback",
            "Timestamp": "2024-03-11T09:00:00.000Z",
            "Message": json.dumps({**conversation, "message": text}),
        },
    }


def _sqs(conversation: Payload, text: str) -> Payload:
    body = json.dumps({**conversation, "message": text})
    return {"MessageId": text, "ReceiptHandle": "r", "Body": body, "Attributes": {"SentTimestamp": str(AT)}}


@pytest.mark.parametrize(("key", "element"), [("Records", _sns), ("Messages", _sqs)])
def test_known_lists_need_no_option(tmp_path: Path, conversation: Payload, key: str, element: Any) -> None:
    """A queue's response and a function's event are read to the last element automatically."""
    page = {key: [element(conversation, text) for text in "abc"]}
    (tmp_path / "feedback.json").write_text(json.dumps(page, indent=1))
    tables = _tables(tmp_path)
    assert tables.events["message"].tolist() == ["a", "b", "c"]
    assert tables.events["occurred_at_source"].unique().tolist() == ["received_at"]


def test_a_har_with_base64_is_read(tmp_path: Path, conversation: Payload) -> None:
    """Some proxies flag a body as base64."""
    text = base64.b64encode(json.dumps(conversation).encode()).decode()
    posted = {"mimeType": "application/json", "text": text, "encoding": "base64"}
    request = {"method": "POST", "url": "https://h.example/feedback", "postData": posted}
    entries = [{"startedDateTime": "2024-03-11T09:00:00Z", "request": request}]
    (tmp_path / "a.har").write_text(json.dumps({"log": {"entries": entries}}))
    tables = _tables(tmp_path)
    assert tables.findings.dialects == {"har": 1}
    assert tables.events["kind"].tolist() == ["feedback"]
