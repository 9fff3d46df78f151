"""A run: the pace it keeps, and what it leaves when it is broken off."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from chatlio_kit.aep import Platform
from chatlio_kit.connection import plan_connection
from chatlio_kit.delivery import Ledger, Run, pace_for
from chatlio_kit.tables import Tables, read_export


@pytest.mark.parametrize(
    ("value", "pace"), [("enabled:true", 1_400), ("enabled: true", 1_400), ("enabled:false", 9_000)]
)
def test_a_dataset_that_feeds_profile_is_sent_to_slowly(local: Platform, value: str, pace: int) -> None:
    """The dataset's tags decide; Adobe's samples write them with and without a blank."""
    connection = plan_connection(local).apply(quiet=True)
    assert pace_for(connection) == 9_000
    union = [{"op": "add", "path": "/meta:immutableTags", "value": ["union"]}]
    schema = f"/data/foundation/schemaregistry/tenant/schemas/{quote(connection.schema_id, safe='')}"
    local._transport.call("Schema Registry", "tag the schema", "PATCH", schema, body=union)
    path = f"/data/foundation/catalog/dataSets/{connection.dataset_id}"
    change = {"tags": {"unifiedProfile": [value]}}
    local._transport.call("Catalog", "tag the dataset", "PATCH", path, body=change)
    assert pace_for(connection) == pace


def test_what_is_under_way_is_settled_when_a_run_is_broken_off(local: Platform, documented: Path) -> None:
    """An error in the midst of a run ends sending; what was answered is delivered, not pending."""
    tables = read_export(documented).to_tables(quiet=True)
    connection = plan_connection(local).apply(quiet=True)
    state = local.settings.state
    run = Run(connection, state, skip_guard=True, quiet=True)
    with pytest.raises(KeyboardInterrupt):
        _break_off(run, tables)
    with Ledger(state) as ledger:
        fates = ledger.as_frame()["fate"].value_counts()
    assert run.page.run.delivered == fates.get("delivered", 0)
    assert fates.sum() == len(tables.events)
    assert run.is_stopped


def _break_off(run: Run, tables: Tables) -> None:
    with run:
        run.send(tables.events, tables.messages)
        raise KeyboardInterrupt
