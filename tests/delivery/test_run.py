"""A run: its pace, and its state after an interruption."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from chatlio_kit.aep import Platform
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection import plan_connection
from chatlio_kit.delivery import Ledger, Run, pace_for, stream
from chatlio_kit.errors import LedgerBusy
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import running
from chatlio_kit.tables import Tables, read_export


@pytest.mark.parametrize(
    ("value", "pace"), [("enabled:true", 1_400), ("enabled: true", 1_400), ("enabled:false", 9_000)]
)
def test_a_dataset_that_feeds_profile_is_sent_to_slowly(local: Platform, value: str, pace: int) -> None:
    """The dataset's tags decide; Adobe's samples write them with and without a space."""
    connection = plan_connection(local).apply(quiet=True)
    assert pace_for(connection) == 9_000
    union = [{"op": "add", "path": "/meta:immutableTags", "value": ["union"]}]
    schema = f"/data/foundation/schemaregistry/tenant/schemas/{quote(connection.schema_id, safe='')}"
    local._transport.call("Schema Registry", "tag the schema", "PATCH", schema, body=union)
    path = f"/data/foundation/catalog/dataSets/{connection.dataset_id}"
    change = {"tags": {"unifiedProfile": [value]}}
    local._transport.call("Catalog", "tag the dataset", "PATCH", path, body=change)
    assert pace_for(connection) == pace


def test_requests_under_way_are_settled_when_a_run_is_interrupted(local: Platform, documented: Path) -> None:
    """An error during a run ends sending; answered records are delivered, not pending."""
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


def test_a_run_is_closed_in_another_thread(local: Platform) -> None:
    """The lock of the state folder belongs to the run, not to the thread that opened it."""
    connection = plan_connection(local).apply(quiet=True)
    with ThreadPoolExecutor(1) as other:
        run = other.submit(Run, connection, local.settings.state, quiet=True).result()
    with Ledger(local.settings.state) as ledger:
        with pytest.raises(LedgerBusy, match="Another run is sending"), ledger.exclusive_lock():
            pass
        run.close()
        with ledger.exclusive_lock():
            assert run.page.run.delivered == 0


def test_a_frame_of_events_is_sent_alone(local: Platform, documented: Path) -> None:
    """A DataFrame of events without messages is sent like the tables that it comes from."""
    events = read_export(documented).to_tables(quiet=True).events
    without_messages = events[events["kind"] != Kind.TRANSCRIPT].reset_index(drop=True)
    connection = plan_connection(local).apply(quiet=True)
    page = stream(without_messages, connection, skip_guard=True, quiet=True).page
    assert (page.run.delivered, page.run.pending) == (len(without_messages), 0)
    assert not any("without" in note for note in page.notes)
    page = stream(events, connection, skip_guard=True, quiet=True).page
    messages = events["message_count"].sum()
    assert any(f"were sent without {messages} messages" in note for note in page.notes)


def test_the_progress_bar_counts_every_event(
    local: Platform, documented: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends at the total, if events are sent and if they were settled before."""
    tables = read_export(documented).to_tables(quiet=True)
    connection = plan_connection(local).apply(quiet=True)
    for requests in (True, False):
        stream(tables, connection, skip_guard=True)
        bar = capsys.readouterr().err.rpartition("streaming:")[2]
        assert f" {len(tables.events)}/{len(tables.events)} " in bar
        assert ("requests=" in bar) is requests


def test_a_canary_that_never_lands_stops_the_run(tmp_path: Path, documented: Path) -> None:
    """After an hour and a half of pauses the rest is not sent; the pauses grow up to half a minute."""
    tables = read_export(documented).to_tables(quiet=True)
    state, pauses = tmp_path / "state", [0.0]
    with running(state / "local", enabling_delay=0.02, processing_delay=600) as server:
        settings = replace(settings_of(server, state), is_local=False)
        with Platform(settings, sleep=pauses.append) as platform:
            connection = plan_connection(platform).apply(quiet=True)
            page = stream(tables, connection, skip_guard=True, quiet=True).page
    assert page.stopped_by is not None
    assert "were not read back" in page.stopped_by
    assert max(pauses) == 30
    assert 5400 <= sum(pauses) < 6000


def test_a_killed_run_leaves_no_lock(local: Platform) -> None:
    """The lock ends with its process, however that ends."""
    state = local.settings.state
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(state)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with Ledger(state) as ledger:
            with pytest.raises(LedgerBusy), ledger.exclusive_lock():
                pass
            holder.kill()
            holder.wait()
            with ledger.exclusive_lock():
                assert ledger.is_empty()


_HOLD = """
import sys, time
from pathlib import Path
from chatlio_kit.delivery import Ledger
with Ledger(Path(sys.argv[1])) as ledger, ledger.exclusive_lock():
    print("held", flush=True)
    time.sleep(600)
"""


def _break_off(run: Run, tables: Tables) -> None:
    with run:
        run.send(tables.events, tables.messages)
        raise KeyboardInterrupt
