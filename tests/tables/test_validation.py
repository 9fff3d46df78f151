"""Validation avoids pandera's pitfalls: nothing is coerced, and no valid row is lost with an invalid one."""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from chatlio_kit.chatlio.catalogue import TABLES
from chatlio_kit.errors import FrameError
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import Export, ReadOptions, Tables, failures, revalidate, schema
from chatlio_kit.tables.validate import schemas


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """A realistic export, converted."""
    sample = write_sample(tmp_path_factory.mktemp("sample") / "x.d", events=300)
    return Export([sample.path], ReadOptions()).to_tables(quiet=True)


@pytest.mark.parametrize("table", TABLES)
def test_a_schema_neither_coerces_nor_drops(table: str) -> None:
    """No schema changes a value or drops a row: "false" never becomes True, 1.9 never 1."""
    found = schema(table)
    assert not found.coerce
    assert not found.drop_invalid_rows
    assert not found.add_missing_columns
    assert not found.unique
    for column in found.columns.values():
        assert not column.coerce
        assert not column.unique
        assert not column.drop_invalid_rows


@pytest.mark.parametrize(
    ("table", "column", "values"),
    [
        ("conversations", "was_unanswered", "false"),
        ("events", "message_count", 1.9),
        ("events", "source_record", "7"),
        ("events", "received_at", "2024-03-11T09:03:10Z"),
    ],
)
def test_a_value_of_another_type_is_reported_and_not_coerced(
    tables: Tables, table: str, column: str, values: Any
) -> None:
    """A column that merely looks right is refused, with its dtype and the expected one."""
    frame = tables.frames()[table].assign(**{column: values})
    with pytest.raises(FrameError, match=f"the column {column} is .*, not "):
        failures(table, frame)


def test_times_in_nanoseconds_are_reported(tables: Tables) -> None:
    """A time column with another unit is refused by name; the expected unit is microseconds."""
    times = tables.events["occurred_at"].astype("datetime64[ns, UTC]")
    with pytest.raises(FrameError, match=r"occurred_at is datetime64\[ns, UTC\], not datetime64\[us, UTC\]"):
        revalidate(tables.events.assign(occurred_at=times), tables.messages)


def test_repeated_index_labels_cost_no_good_row(tables: Tables) -> None:
    """Rows are identified by position, not label: with one label for all, only the bad row is dropped."""
    events, messages = tables.events.copy(), tables.messages.copy()
    events.loc[7, "ip_address"] = "nowhere"
    events.index = pd.Index([0] * len(events))
    messages.index = pd.Index([0] * len(messages))
    built = revalidate(events, messages)
    assert [rejection.field for rejection in built.rejected] == ["ip_address"]
    assert len(built.events) == len(events) - 1
    assert tables.events["event_id"].iat[7] not in set(built.events["event_id"])


def test_every_bad_value_of_every_row_is_reported(tables: Tables) -> None:
    """Validation covers the whole frame: a first error hides no second one, in its row or in another."""
    events = tables.events.copy()
    bad = {(0, "kind"): "chat", (0, "ip_address"): "x", (4, "visitor_id"): "y", (9, "message_count"): -1}
    for (row, column), value in bad.items():
        events.loc[row, column] = value
    events.loc[2, "occurred_at"] = pd.NaT
    events.loc[3, "occurred_at"] = pd.Timestamp("2190-01-01", tz="UTC")
    found = [(failure.row, failure.column, str(failure.reason)) for failure in failures("events", events)]
    assert found == [
        (0, "kind", "invalid_value"),
        (0, "ip_address", "invalid_value"),
        (2, "occurred_at", "missing"),
        (3, "occurred_at", "future_time"),
        (4, "visitor_id", "invalid_value"),
        (9, "message_count", "invalid_value"),
    ]


def test_failures_and_rejects_survive_a_pickle(tables: Tables) -> None:
    """Validation failures can be pickled, unlike pandera's own errors."""
    events = tables.events.copy()
    events.loc[1, "ip_address"] = "nowhere"
    found = failures("events", events)
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301  our own
    rejected = revalidate(events, tables.messages).rejected
    assert pickle.loads(pickle.dumps(rejected)) == rejected  # noqa: S301  our own


def test_schemas_can_be_loaded_again(tables: Tables) -> None:
    """A notebook that reloads the package registers no check twice."""
    assert importlib.reload(schemas).failures("events", tables.events) == []


def test_times_with_and_without_fractions_share_a_column(tmp_path: Path) -> None:
    """Whole seconds, fractions and offsets in one column are all read."""
    written = ["2024-03-11T09:03:10Z", "2024-03-11T09:03:10.5Z", "2024-03-11T10:03:10.000900030+01:00"]
    visitor = '{"UUID": "5b0c7d1e-9a34-4e2f-6c18-b2f09d41a7e3"}'
    lines = [
        f'{{"receivedAt": "{time}", "kind": "feedback", "payload": {{"visitor": {visitor}, "message": "x",'
        f' "channelId": "C{number}"}}}}'
        for number, time in enumerate(written)
    ]
    (tmp_path / "in.ndjson").write_text("\n".join(lines))
    events = Export([tmp_path / "in.ndjson"], ReadOptions()).to_tables(quiet=True).events
    assert [value.isoformat() for value in events["occurred_at"]] == [
        "2024-03-11T09:03:10+00:00", "2024-03-11T09:03:10.500000+00:00", "2024-03-11T09:03:10.000900+00:00",
    ]  # fmt: skip
