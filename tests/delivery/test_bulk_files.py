"""XDM files match the platform's documentation of Parquet, and hold the same data as a stream."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import chatlio_kit as ck
from chatlio_kit.chatlio.catalogue import MESSAGES_KEY, TABLES
from chatlio_kit.chatlio.identities import identity_columns
from chatlio_kit.connection.resources.people import People
from chatlio_kit.delivery.bulk import files
from chatlio_kit.delivery.bulk.files import BatchFiles, paths_in, rows_in
from chatlio_kit.delivery.bulk.xdm import wire_bodies, xdm_schema, xdm_table
from chatlio_kit.delivery.requests.wire import wire_records
from chatlio_kit.errors import OutputError
from chatlio_kit.samples import write_sample

PEOPLE = People.of(
    ("visitor_id=ChatlioVisitor", "visitor_email=Email", "user_id=Cust"), profile=False, slim=False
)

# Written by hand from the reference: the Parquet forms of XDM's string, date-time, integer, boolean and map.
STRING = ("BYTE_ARRAY", "UTF8", "String")
TIME = ("INT64", "TIMESTAMP_MILLIS", "Timestamp")
INTEGER, BOOLEAN = ("INT32", "NONE", "None"), ("BOOLEAN", "NONE", "None")
OF_MAP = {
    "identityMap.key_value.key": STRING,
    "identityMap.key_value.value.list.element.id": STRING,
    "identityMap.key_value.value.list.element.authenticatedState": STRING,
    "identityMap.key_value.value.list.element.primary": BOOLEAN,
}
OF_MESSAGES = {
    f"_acme.chatlio.chat_messages.list.element.{name}": TIME if name == "sent_at" else STRING
    for name in ("ts", "sent_at", "author", "username", "slack_user_id", "text")
}
TIMES = {"received_at", "visitor_created_at", "started_at", "ended_at"}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> ck.Tables:
    """Events of all kinds."""
    return ck.read_export(write_sample(tmp_path_factory.mktemp("x") / "c", events=400).path).to_tables()


def table_of(tables: ck.Tables, people: People = PEOPLE) -> pa.Table:
    """Return the events as rows of XDM."""
    columns = identity_columns(tables.events, people.identities)
    return xdm_table(xdm_schema("chatlio", "acme", people), tables.events, tables.messages, columns)


@pytest.fixture(scope="module")
def path(tables: ck.Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a batch."""
    folder = tmp_path_factory.mktemp("files") / "lot"
    table = table_of(tables)
    written = BatchFiles(folder, table.schema)
    written.write(table)
    written.close()
    (path,) = paths_in(folder)
    return path


def test_the_schema_is_that_of_the_reference_field_by_field(path: Path) -> None:
    """Every leaf has the documented physical, converted and logical type; all but a map's key is optional."""
    schema = pq.ParquetFile(path).schema
    print(schema)
    found = {
        schema.column(index).path: (
            schema.column(index).physical_type,
            schema.column(index).converted_type,
            orjson.loads(schema.column(index).logical_type.to_json())["Type"],
        )
        for index in range(len(schema))
    }
    sent = [field for field in TABLES["events"] if field.xdm and field.xdm.startswith("chatlio.")]
    expected = {"_id": STRING, "timestamp": TIME, "eventType": STRING, **OF_MAP, **OF_MESSAGES}
    for field in sent:
        by_name = {"message_count": INTEGER, "start_is_whole": BOOLEAN}
        form = TIME if field.name in TIMES else by_name.get(field.name, STRING)
        expected[f"_acme.chatlio.{field.name}"] = form
    assert found == expected
    lines = str(schema).splitlines()[2:]
    assert [line.split()[0] for line in lines if line.split()[0] == "required"] == ["required"]
    assert any("required" in line and " key " in line for line in lines)
    assert "ARROW:schema" not in str(pq.ParquetFile(path).metadata.metadata)
    for index in range(len(schema)):
        if found[schema.column(index).path] == TIME:
            assert '"isAdjustedToUTC":true' in schema.column(index).logical_type.to_json()


def test_pyarrow_duckdb_and_polars_read_the_same(tables: ck.Tables, path: Path) -> None:
    """Three readers find the same ids, times, identities and messages as the frames have."""
    arrow = pq.read_table(path)
    assert arrow.num_rows == len(tables.events)
    rows = arrow.to_pylist(maps_as_pydicts="strict")
    assert [row["_id"] for row in rows] == tables.events["event_id"].tolist()
    milliseconds = tables.events["occurred_at"].dt.floor("ms").tolist()
    assert [pd.Timestamp(row["timestamp"]) for row in rows] == milliseconds
    query = f"""
        SELECT _id, epoch_ms(timestamp), identityMap['ChatlioVisitor'][1].id, len(_acme.chatlio.chat_messages)
        FROM read_parquet('{path}')"""  # noqa: S608 - a path of ours
    by_duckdb = duckdb.sql(query).fetchall()
    frame = polars.read_parquet(path)
    by_polars = zip(
        frame["_id"],
        frame["timestamp"].dt.epoch("ms"),
        frame["_acme"].struct.field("chatlio").struct.field("chat_messages").list.len(),
        strict=True,
    )
    expected = [
        (
            row["_id"],
            int(row["timestamp"].timestamp() * 1000),
            (row["identityMap"] or {}).get("ChatlioVisitor", [{}])[0].get("id"),
            len(messages) if (messages := row["_acme"]["chatlio"]["chat_messages"]) is not None else None,
        )
        for row in rows
    ]
    assert by_duckdb == expected
    assert list(by_polars) == [(event_id, moment, count) for event_id, moment, _, count in expected]
    assert any(visitor for _, _, visitor, _ in expected)


@pytest.mark.parametrize(
    "people", [PEOPLE, People(), People.of(PEOPLE.identities and ("visitor_id=V",), profile=True, slim=True)]
)
def test_a_row_is_what_the_history_mapping_makes_of_the_wire_record(
    tables: ck.Tables, people: People
) -> None:
    """Taking a row back to its wire record gives the record that a stream sends."""
    table = table_of(tables, people)
    messages = tables.messages[:0] if people.slim else tables.messages
    streamed = wire_records(tables.events, messages, identity_columns(tables.events, people.identities))
    assert [(event_id, orjson.loads(body)) for event_id, body in wire_bodies(table)] == [
        (record.event_id, orjson.loads(record.body)) for record in streamed
    ]
    assert ("identityMap" in table.schema.names) == bool(people.identities)
    assert (
        table.schema.field("_acme").type.field("chatlio").type.get_field_index(MESSAGES_KEY) < 0
    ) == people.slim


def test_times_before_1970_are_truncated_like_those_of_a_stream(tables: ck.Tables) -> None:
    """A time is cut down to its millisecond on both sides of 1970."""
    moment = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    events = tables.events.iloc[:1].assign(
        visitor_created_at=pd.Series([moment], dtype="datetime64[us, UTC]")
    )
    table = xdm_table(xdm_schema("chatlio", "acme", People()), events, tables.messages[:0])
    ((_, body),) = wire_bodies(table)
    (record,) = wire_records(events, tables.messages[:0])
    assert orjson.loads(body) == orjson.loads(record.body)
    assert orjson.loads(body)["visitor_created_at"] == "1969-12-31T23:59:59.999Z"


def test_files_are_closed_when_they_are_full(
    tables: ck.Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch is full after its last file, and its files hold every row once."""
    monkeypatch.setattr(files, "FULL_FILE", 10_000)
    monkeypatch.setattr(files, "_ROW_GROUP", 50_000)
    table = table_of(tables)
    written = BatchFiles(tmp_path / "lot", table.schema)
    rows = 0
    while not written.is_full:
        written.write(table.slice(rows, 20))
        rows += 20
    written.close()
    assert len(paths_in(tmp_path / "lot")) == files.FULL_BATCH
    assert sum(len(part) for part in rows_in(tmp_path / "lot")) == rows == written.rows


class _FullDisk(io.FileIO):
    """A file on a disk that is full after some bytes."""

    def write(self, data: Any) -> int:
        if self.tell() > 20_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data) or 0


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let every Parquet file meet a full disk."""
    monkeypatch.setattr(files, "_ROW_GROUP", 1)
    opened = Path.open

    def open_(path: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
        return _FullDisk(path, mode) if path.suffix == ".parquet" else opened(path, mode, *more, **options)

    monkeypatch.setattr(Path, "open", open_)
    return None


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_reported_in_one_sentence(tables: ck.Tables, tmp_path: Path) -> None:
    """It names the folder, says that nothing was sent, and gives advice; the partial file is removed."""
    table = table_of(tables)
    written = BatchFiles(tmp_path / "lot", table.schema)
    with pytest.raises(OutputError, match=r"No space left on device\. Nothing of this batch was sent\."):
        written.write(table)
    written.discard()
    assert not (tmp_path / "lot").exists()


def test_a_damaged_file_is_one_sentence(path: Path, tmp_path: Path) -> None:
    """The sentence names the file, and the folder to remove; the footer alone does not show the damage."""
    content = path.read_bytes()
    (tmp_path / "1.parquet").write_bytes(content[:100] + bytes(2000) + content[2100:])
    assert paths_in(tmp_path)
    with pytest.raises(OutputError, match=r"1\.parquet' of a batch is damaged: .* Remove the folder"):
        list(rows_in(tmp_path))
    (tmp_path / "1.parquet").write_bytes(content[:-100])
    assert not paths_in(tmp_path)
