"""The catalogue is complete and consistent."""

from __future__ import annotations

import re

import pytest

from chatlio_kit.chatlio.catalogue import EVENTS, KEYS, TABLES, Field, nested_fields, sent_fields


@pytest.mark.parametrize("table", TABLES)
def test_each_column_is_named_once(table: str) -> None:
    """A table has each column once, in snake_case, and its key among them."""
    names = [field.name for field in TABLES[table]]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in names)
    assert set(KEYS[table]) <= set(names)


@pytest.mark.parametrize(
    "field", [entry for table in TABLES.values() for entry in table], ids=lambda f: f.name
)
def test_each_field_has_a_meaning(field: Field) -> None:
    """Every column of every table is explained in words."""
    assert len(field.meaning.split()) >= 2


def test_sent_fields_land_in_different_places() -> None:
    """No two fields share a path in XDM, and a live mapping has a path to read from."""
    for fields in (list(sent_fields()), list(nested_fields())):
        assert len({field.xdm for field in fields}) == len(fields)
    assert all(field.live <= field.paths.keys() for field in EVENTS)


def test_columns_that_others_rely_on() -> None:
    """The columns of the contract exist."""
    promised = {
        "events": "event_id kind occurred_at occurred_at_source received_at conversation_id visitor_id"
        " message source_file source_record",
        "messages": "conversation_id ts sent_at author username text position",
        "conversations": "conversation_id started_at ended_at",
    }
    for table, names in promised.items():
        assert set(names.split()) <= {field.name for field in TABLES[table]}
