"""The same captures as JSON and from typed tables: each event once, whatever the types lose."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlio_kit.tables import Export, ReadOptions, Tables, convert
from chatlio_kit.tables.deduplicate.seen_ids import FirstOccurrence
from chatlio_kit.tables.deduplicate.twins import coarser

Payload = dict[str, Any]


def _tables(*paths: Path, **options: Any) -> Tables:
    return Export(list(paths), ReadOptions.from_options(**options)).to_tables(quiet=True)


@pytest.fixture
def captures(conversation: Payload, offline: Payload, transcript: Payload) -> list[Payload]:
    """Captures of each kind, with details that types lose: offsets, capitals, empty fields, nanoseconds."""
    shouting = deepcopy(conversation)
    shouting["conversationUUID"] = "7C1E9A52-3B6D-4F08-5A91-0D4E6B2F8CAA"
    shouting["rating"] = {"stars": 4, "note": None, "at": "2024-03-11T10:00:00+01:00"}
    payloads = [
        ("conversation_started", conversation),
        ("conversation_started", shouting),
        ("feedback", {**conversation, "message": "2024-03-11"}),
        ("unanswered", {**conversation, "message": "x"}),
        ("transcript", transcript),
        ("offline_message", offline),
    ]
    return [
        {
            "receivedAt": f"2024-03-11T10:0{place}:00.5+01:00",
            "kind": kind,
            "widget": "w-1",
            "payload": payload,
        }
        for place, (kind, payload) in enumerate(payloads)
    ]


def _json(path: Path, captures: list[Payload]) -> Path:
    path.write_text("".join(json.dumps(capture) + "\n" for capture in captures))
    return path


def _duckdb(path: Path, captures: list[Payload], query: str = "SELECT * FROM read_json('{}')") -> Path:
    source = _json(path.with_suffix(".source"), captures)
    with duckdb.connect() as db:
        db.execute(f"COPY ({query.format(source)}) TO '{path}' (FORMAT parquet)")
    source.unlink()
    return path


def _arrow(path: Path, captures: list[Payload]) -> Path:
    """Every type by hand: times in nanoseconds and a zone, UUIDs, a map, a decimal, bytes."""
    rows = [deepcopy(capture) for capture in captures]
    for row in rows:
        row["receivedAt"] = pd.Timestamp(row["receivedAt"])
        payload = row["payload"]
        if "visitor" in payload:
            visitor = payload["visitor"]
            visitor["createdAt"] = pd.Timestamp(visitor["createdAt"]).tz_convert("UTC")
            visitor["UUID"] = UUID(visitor["UUID"]).bytes
        if "conversationUUID" in payload:
            payload["conversationUUID"] = UUID(payload["conversationUUID"]).bytes
        for key in ("startedAt", "endedAt"):
            if key in payload:
                payload[key] = pd.Timestamp(payload[key]).tz_convert("UTC")
        for message in payload.get("messages", ()):
            message["ts"] = Decimal(message["ts"])
        if "visitorTraits" in payload:
            payload["visitorTraits"] = list(payload["visitorTraits"].items())
        if "rating" in payload:
            payload["rating"]["stars"] = Decimal(payload["rating"]["stars"])
    utc, uuid = pa.timestamp("ns", tz="UTC"), pa.binary(16)
    text = dict.fromkeys(captures[0]["payload"]["visitor"], pa.string())
    visitor = pa.struct(list((text | {"createdAt": utc, "UUID": uuid}).items()))
    message = pa.struct(
        [("text", pa.string()), ("ts", pa.decimal128(16, 6)), ("userId", pa.string()),
         ("username", pa.string()), ("isVisitorMsg", pa.bool_()), ("sentAt", pa.string())]
    )  # fmt: skip
    rating = pa.struct([("stars", pa.decimal128(5, 0)), ("note", pa.string()), ("at", pa.string())])
    types = {
        "visitor": visitor, "conversationUUID": uuid, "startedAt": utc, "endedAt": utc,
        "visitorTraits": pa.map_(pa.string(), pa.string()), "extraData": pa.list_(pa.string()),
        "messages": pa.list_(message), "rating": rating,
    }  # fmt: skip
    keys = dict.fromkeys(key for capture in captures for key in capture["payload"])
    payload = pa.struct([(key, types.get(key, pa.string())) for key in keys])
    schema = pa.schema(
        [("receivedAt", utc), ("kind", pa.string()), ("widget", pa.string()), ("payload", payload)]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def _dotted(path: Path, captures: list[Payload]) -> Path:
    """As json_normalize and to_csv write them, with parsed times; not for transcripts and objects."""
    captures = [capture for capture in captures if capture["kind"] != "transcript"]
    for capture in captures:
        capture["payload"].pop("rating", None)
    flat = [pd.json_normalize(capture["payload"]).assign(**capture) for capture in captures]
    frame = pd.concat(flat).drop(columns=["payload", "messages"], errors="ignore")
    frame["receivedAt"] = pd.to_datetime(frame["receivedAt"], utc=True, format="ISO8601")
    frame["visitor.createdAt"] = pd.to_datetime(frame["visitor.createdAt"], utc=True, format="ISO8601")
    frame.to_csv(path, index=False)
    return path


FORMS: dict[str, Callable[[Path, list[Payload]], Path]] = {
    "b.parquet": _duckdb,
    "a.parquet": _arrow,
    "z.csv": lambda path, captures: _dotted(
        path, [entry for entry in captures if entry["kind"] != "transcript"]
    ),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("json_name", ["_.ndjson", "~.ndjson"])
def test_each_event_occurs_once(tmp_path: Path, captures: list[Payload], name: str, json_name: str) -> None:
    """In either order, what a typed table repeats is a duplicate, and no record is lost."""
    table = FORMS[name](tmp_path / name, captures)
    alone = _tables(_json(tmp_path / json_name, captures))
    options = {"fields": "without-offset=UTC"} if name == "b.parquet" else {}
    both = _tables(tmp_path / json_name, table, **options)
    assert both.rejected.empty
    assert both.counts.as_dict()["read"] == len(captures) + both.counts.duplicates
    assert both.counts.duplicates == len(captures) - (name == "z.csv")
    assert both.counts.by_kind == alone.counts.by_kind
    in_order = [event.sort_values("occurred_at", ignore_index=True) for event in (both.events, alone.events)]
    times = ["occurred_at", "visitor_created_at", "started_at", "ended_at"]
    for column in [*times, "visitor_traits", "command_words", "message"]:
        found, expected = (entry[column].astype("str").tolist() for entry in in_order)
        assert found == expected
    if json_name == "_.ndjson":
        assert both.events["event_id"].tolist() == alone.events["event_id"].tolist()
        assert not both.notes or "same captures as JSON" not in both.notes[-1]
    else:
        assert f"{len(captures) - (name == 'z.csv')} events came from tables" in both.notes[-1]


@pytest.mark.parametrize("name", ["b.parquet", "a.parquet"])
def test_real_differences_are_reported(tmp_path: Path, captures: list[Payload], name: str) -> None:
    """A conversation whose text differs in a typed table is a conflict, and other events are others."""
    _json(tmp_path / "_.ndjson", captures)
    for capture in captures:
        capture["payload"]["message"] = "Something else"
    captures[4]["payload"]["messages"][0]["text"] = "Something else"
    tables = _tables(
        tmp_path / "_.ndjson", FORMS[name](tmp_path / name, captures), fields="without-offset=UTC"
    )
    assert [rejection.reason for rejection in tables.rejections] == ["conflicting_duplicate"] * 3
    assert all("_.ndjson" in rejection.detail for rejection in tables.rejections)
    assert (tables.counts.accepted, tables.counts.duplicates) == (9, 0)


def test_json_is_never_merged_by_what_types_lose(tmp_path: Path, captures: list[Payload]) -> None:
    """Two captures that both keep their text are two events, whatever else is in the run."""
    other = deepcopy(captures[5])
    other["payload"]["visitor"]["createdAt"] = "2024-03-10T02:20:11.402118Z"
    _json(tmp_path / "a.ndjson", [captures[5], other])
    _arrow(tmp_path / "b.parquet", [captures[0]])
    tables = _tables(tmp_path)
    assert (tables.counts.accepted, tables.counts.duplicates) == (3, 0)


def test_ids_of_json_do_not_depend_on_other_tables(tmp_path: Path, captures: list[Payload]) -> None:
    """Ids are unchanged: a digest of what Chatlio wrote, to the character."""
    alone = _tables(_json(tmp_path / "a.ndjson", captures)).events
    _arrow(tmp_path / "b.parquet", captures)
    beside = _tables(tmp_path).events
    assert beside["event_id"].tolist() == alone["event_id"].tolist()


def test_a_table_of_json_keeps_its_ids(tmp_path: Path, captures: list[Payload]) -> None:
    """If a typed table holds payloads as JSON, their ids are those of JSON, and nothing is reported."""
    alone = _tables(_json(tmp_path / "a.ndjson", captures)).events
    rows = [{**capture, "payload": json.dumps(capture["payload"])} for capture in captures]
    for row in rows:
        row["receivedAt"] = pd.Timestamp(row["receivedAt"])
    pd.DataFrame(rows).to_parquet(tmp_path / "b.parquet")
    tables = _tables(tmp_path / "b.parquet")
    assert tables.events["event_id"].tolist() == alone["event_id"].tolist()
    assert not tables.findings.loose


def test_twins_are_found_across_pieces_and_runs(tmp_path: Path, captures: list[Payload]) -> None:
    """A twin of an event that an earlier run settled is a duplicate too, if the run reads both."""
    _json(tmp_path / "a.ndjson", captures)
    _arrow(tmp_path / "b.parquet", captures)
    export = Export([tmp_path], ReadOptions())
    found = {}
    for batches in export.batches():
        for row in batches.rows.to_pylist():
            found[row["event_id"]] = row
    settled = {
        key: FirstOccurrence(row["payload_digest"], row["source_file"], row["source_record"])
        for key, row in found.items()
    }
    again = list(
        export.batches(
            lambda ids: {identifier: settled[identifier] for identifier in ids if identifier in settled}
        )
    )
    assert sum(len(entry) for entry in again) == 0
    assert sum(entry.duplicates for entry in again) == 2 * len(captures)


def test_a_table_hidden_by_its_name_is_reported(tmp_path: Path, captures: list[Payload]) -> None:
    """If records could not be compared, the note does not claim that they were."""
    _json(tmp_path / "a.ndjson", captures)
    _arrow(tmp_path / "b.json", captures)
    with_tables = Export([tmp_path], ReadOptions())
    pieces = list(with_tables.captures.batches(len(captures)))
    with_tables.captures.batches = lambda: iter(pieces)  # type: ignore[method-assign,assignment]
    tables = with_tables.to_tables(quiet=True)
    assert "were not compared" in tables.notes[-1]


def test_duckdb_s_instants_are_utc(tmp_path: Path, captures: list[Payload]) -> None:
    """DuckDB converts Chatlio's times to UTC instants; a time of arrival without an offset is not guessed."""
    query = "SELECT * REPLACE (receivedAt::TIMESTAMP AS receivedAt) FROM read_json('{}')"
    path = _duckdb(tmp_path / "a.parquet", captures[:1], query)
    (rejected,) = _tables(path).rejections
    assert (rejected.reason, rejected.field) == ("invalid_time", "receivedAt")
    assert "--fields without-offset=UTC" in rejected.detail
    (event,) = _tables(path, fields="without-offset=UTC").events.to_dict("records")
    assert event["visitor_created_at"] == pd.Timestamp("2024-03-10T02:20:11.402118Z")
    assert event["received_at"] == pd.Timestamp("2024-03-11T09:00:00.5Z")


def test_times_without_a_zone_are_reported(tmp_path: Path, captures: list[Payload]) -> None:
    """Times without a zone from other writers are reported, with the option that reads them."""
    row = captures[2]
    row["payload"]["visitor"]["createdAt"] = datetime(2024, 3, 10, 2, 20, 11, 402118)
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    (rejected,) = _tables(tmp_path).rejections
    assert (rejected.reason, rejected.field) == ("invalid_time", "visitor.createdAt")
    assert "--fields without-offset=UTC" in rejected.detail
    (created,) = _tables(tmp_path, fields="without-offset=UTC").events["visitor_created_at"]
    assert created == datetime(2024, 3, 10, 2, 20, 11, 402118, tzinfo=UTC)


def test_values_that_no_record_can_hold_cost_their_row(tmp_path: Path, captures: list[Payload]) -> None:
    """A time beyond the year 9999 and a map with a repeated key are rejected; other rows are kept."""
    rows = [{"at": 1, "traits": [("a", "1")], "body": json.dumps(captures[2]["payload"])} for _ in range(3)]
    rows[0]["at"], rows[1]["traits"] = 2**58, [("a", "1"), ("a", "2")]
    traits = pa.map_(pa.string(), pa.string())
    schema = pa.schema([("at", pa.timestamp("us", tz="UTC")), ("traits", traits), ("body", pa.string())])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "feedback.parquet")
    tables = _tables(tmp_path, fields="payload=body,received=at")
    assert [rejection.reason for rejection in tables.rejections] == ["unreadable", "duplicate_key"]
    assert tables.events["source_record"].tolist() == [3]


def test_the_report_has_both(tmp_path: Path, captures: list[Payload]) -> None:
    """The counts that convert writes add up, and its page has the note."""
    _json(tmp_path / "z.ndjson", captures)
    _arrow(tmp_path / "b.parquet", captures)
    converted = convert(Export([tmp_path], ReadOptions()), tmp_path / "out", quiet=True)
    report = converted.report()
    assert (report["read"], report["accepted"], report["duplicates"]) == (12, 6, 6)
    assert "read both in one run" in (tmp_path / "out" / "report.html").read_text()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=4),
        lambda inside: (
            st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=2), inside, max_size=3)
        ),
    )
)
def test_the_coarser_form_is_final(value: Any) -> None:
    """Coarsening a value twice changes nothing."""
    assert coarser(coarser(value)) == coarser(value)
