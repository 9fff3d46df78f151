"""The second stage alone: no message can stop the others."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest

from chatlio_kit.local_platform.ingestion.landing import Pipeline
from chatlio_kit.local_platform.lake.files import RowWriter
from chatlio_kit.local_platform.store import Message

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["_id"],
    "properties": {
        "_id": {"type": "string", "meta:xdmType": "string"},
        "at": {"type": "string", "format": "date-time", "meta:xdmType": "date-time"},
        "small": {"type": "integer", "meta:xdmType": "byte"},
    },
}
MAPPINGS = [
    {"sourceType": "ATTRIBUTE", "source": name, "destination": name} for name in ("_id", "at", "small")
]


def message(number, **record):
    """An accepted raw message."""
    return Message("flow", "raw", 1, f"x:{number}", json.dumps({"_id": str(number), **record}).encode())


def test_only_the_row_whose_value_does_not_fit_fails():
    """A value that passes the schema but fits no column fails its own message, and no other."""
    landing = Pipeline(MAPPINGS, SCHEMA, {}).land([message(1, small=1), message(2, small=999), message(3)])
    assert landing.rows == 2
    assert landing.table.column("_id").to_pylist() == ["1", "3"]
    assert landing.failures.by_layer == {"invalidRecordsUnknown": 1}
    assert json.loads(json.loads(landing.failures.lines[0])["body"])["_id"] == "2"


def test_a_fault_of_the_mapper_fails_its_message(monkeypatch, caplog):
    """An unforeseen exception is logged and fails the one message."""
    pipeline = Pipeline(MAPPINGS, SCHEMA, {})
    healthy = pipeline._mappings.apply

    def faulty(record, *, now):
        if record["_id"] == "2":
            raise ZeroDivisionError("boom")
        return healthy(record, now=now)

    monkeypatch.setattr(pipeline._mappings, "apply", faulty)
    landing = pipeline.land([message(1), message(2), message(3)])
    assert landing.rows == 2
    assert "ZeroDivisionError: boom" in landing.failures.lines[0].decode()
    assert "boom" in caplog.text


@pytest.mark.parametrize(
    ("node", "value", "stored"),
    [
        ({"type": "string"}, "a", "a"),
        ({"type": "number"}, 1, 1.0),
        ({"type": "boolean"}, True, True),
        ({"type": "integer", "meta:xdmType": "long"}, 2**53, 2**53),
        ({"type": "string", "format": "date"}, "2024-03-01", date(2024, 3, 1)),
        (
            {"type": "string", "format": "date-time"},
            "2024-03-01T11:15:30.123456789+01:00",
            datetime(2024, 3, 1, 10, 15, 30, 123_000, UTC),
        ),
        ({"type": "array", "items": {"type": "string"}}, ["a"], ["a"]),
        (
            {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "number"}}}},
            [{"n": 1}, {}],
            [{"n": 1.0}, {"n": None}],
        ),
        (
            {"type": "object", "meta:xdmType": "map", "additionalProperties": {"type": "string"}},
            {"k": "v"},
            [("k", "v")],
        ),
    ],
)
def test_every_field_type_has_a_column(node, value, stored):
    """Each XDM field type is stored as the matching Arrow type."""
    writer = RowWriter({"type": "object", "properties": {"field": node}})
    assert writer.table([{"field": value}, {}]).column("field").to_pylist() == [stored, None]


def test_an_offset_is_never_dropped(monkeypatch):
    """Times keep their instant even if the environment makes pyarrow ignore time zones."""
    monkeypatch.setenv("PYARROW_IGNORE_TIMEZONE", "1")
    writer = RowWriter({"type": "object", "properties": {"at": {"type": "string", "format": "date-time"}}})
    (landed,) = writer.table([{"at": "2024-03-01T11:15:30+01:00"}]).column("at").to_pylist()
    assert landed == datetime(2024, 3, 1, 10, 15, 30, tzinfo=UTC)


def test_an_object_without_known_fields_has_no_column():
    """An empty struct cannot be stored, and holds nothing."""
    writer = RowWriter({"type": "object", "properties": {"field": {"type": "object"}}})
    assert writer.schema.names == []
