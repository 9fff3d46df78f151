"""Reconciliation after sending: landed, under way, overdue, lost and failed are distinguished by evidence."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import chatlio_kit as ck
from chatlio_kit.aep import FlowRun, Platform
from chatlio_kit.delivery import (
    DestinationLedger,
    Ledger,
    Page,
    Reconciliation,
    readback,
    reconcile,
    replay,
)
from chatlio_kit.delivery.ledger.models import EventRef, FateCounts
from chatlio_kit.delivery.reconcile import LOST, RunCounters
from chatlio_kit.errors import PermissionMissing
from chatlio_kit.jobs.backfill import backfill
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import read_log, running
from chatlio_kit.local_platform.store import DATABASE
from chatlio_kit.samples import write_sample

EVENTS = 120
HOUR = 3_600_000


@contextmanager
def _platform(state: Path, *faults: dict[str, Any], **options: Any) -> Iterator[Platform]:
    known = {"enabling_delay": 0.02, "processing_delay": 0.02, "faults": {"seed": 4, "faults": list(faults)}}
    with (
        running(state / "local", **{**known, **options}) as server,
        Platform(settings_of(server, state)) as platform,
    ):
        yield platform


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder."""
    return tmp_path / "state"


@pytest.fixture
def captures(tmp_path: Path) -> Path:
    """A small export."""
    return write_sample(tmp_path / "x.d", events=EVENTS, seed=21).path


def _look(platform: Platform) -> Reconciliation:
    with Ledger(platform.settings.state) as ledger:
        connection = ck.open_connection(platform)
        return reconcile(connection, DestinationLedger(ledger, connection.destination), quiet=True)


def _age_ledger(state: Path, hours: float) -> None:
    """Make everything that was accepted older by this much."""
    with closing(sqlite3.connect(state / "ledger.db")) as ledger, ledger:
        ledger.execute("UPDATE event SET settled_at = settled_at - ?", (round(hours * HOUR),))


def _age_runs(state: Path, hours: float) -> None:
    """Make the dataflow's runs older by this much."""
    _change(
        state,
        "UPDATE run SET started = started - :moved, body = json_set(body,"
        " '$.metrics.durationSummary.startedAtUTC', started - :moved)",
        {"moved": round(hours * HOUR)},
    )


def _change(state: Path, statement: str, values: dict[str, Any] | None = None) -> None:
    """Change the platform's answers."""
    with closing(sqlite3.connect(state / "local" / DATABASE, timeout=30)) as store, store:
        store.execute(statement, values or {})


def test_a_dropped_record_is_under_way_for_an_hour_then_lost_then_resent(state: Path, captures: Path) -> None:
    """An event that the edge acknowledged and dropped is not lost until the platform has finished."""
    with _platform(state, {"fault": "dropped", "share": 0.1, "lasting": True}) as platform:
        page = backfill([captures], platform, wait=1.5, quiet=True)
        log = read_log(state / "local")
        missing = EVENTS - len({name for each in log for name in each.accepted})
        assert missing
        assert (page.exit_code, page.run.delivered, page.run.landed) == (4, EVENTS, EVENTS - missing)
        early = _look(platform)
        assert (early.exit_code, early.under_way, early.overdue, early.dead_by_reason) == (4, missing, 0, {})
        assert "may still land" in str(early)
        assert early.as_dict()["lost"] == 0

        _age_ledger(state, hours=2)
        silent = _look(platform)
        assert (silent.exit_code, silent.under_way, silent.overdue) == (4, missing, missing)
        assert "transaction id" in str(silent)
        assert "may still land" not in str(silent)

        _age_runs(state, hours=3)
        late = _look(platform)
    assert (late.exit_code, late.under_way, late.dead_by_reason) == (3, 0, {LOST: missing})
    assert late.as_dict()["lost"] == len(late.as_dict()["dead"]) == missing
    assert all(each.event_id in str(late) for each in late.dead[:20])
    assert "replay" in str(late)

    with _platform(state) as platform:
        connection = ck.open_connection(platform)
        released = replay(connection, quiet=True)
        assert (released.exit_code, released.run.pending) == (1, missing)
        again = backfill([captures], platform, quiet=True)
    assert (again.counts.accepted, again.run.landed, again.exit_code) == (missing, missing, 0)
    assert again.total.landed == EVENTS


def test_nothing_is_lost_while_a_run_or_a_batch_is_open(state: Path, captures: Path) -> None:
    """It is two hours old, but its run is in progress: the platform has not finished."""
    with _platform(state, {"fault": "dropped", "share": 0.1, "lasting": True}) as platform:
        backfill([captures], platform, wait=1.0, quiet=True)
        _age_ledger(state, hours=2)
        _age_runs(state, hours=3)
        set_run = "UPDATE run SET body = json_set(body, '$.metrics.statusSummary.status', :status)"
        _change(state, set_run, {"status": "IN_PROGRESS"})
        assert _look(platform).overdue
        _change(state, set_run, {"status": "success"})
        for shift in (-1, HOUR):  # before and after all others
            _change(
                state,
                "INSERT INTO batch (id, dataset_id, status, created, body) SELECT 'LATE', dataset_id,"
                " 'staging', created + :shift,"
                " json_set(body, '$.status', 'staging', '$.created', created + :shift)"
                " FROM batch ORDER BY created LIMIT 1",
                {"shift": shift},
            )
            assert _look(platform).overdue
            _change(state, "DELETE FROM batch WHERE id = 'LATE'")
        found = _look(platform)
    assert (found.overdue, set(found.dead_by_reason)) == (0, {LOST})


def test_a_lost_event_that_lands_late_is_delivered(state: Path, captures: Path) -> None:
    """A row outweighs any conclusion: a lost event that is read back counts as landed."""
    with _platform(state) as platform:
        backfill([captures], platform, quiet=True)
        with closing(sqlite3.connect(state / "ledger.db")) as ledger, ledger:
            ledger.execute("UPDATE event SET landed = 0, fate = 'dead_lettered', reason = ?", (LOST,))
            ledger.execute("DELETE FROM batch_read")
        found = _look(platform)
    assert (found.exit_code, found.total.landed, found.dead_by_reason) == (0, EVENTS, {})


def test_consolidated_batches_are_followed_and_counted_once(state: Path, captures: Path) -> None:
    """Batches consolidated before or after they were read change no count, even repeatedly."""
    with _platform(state, consolidation_delay=0.0) as platform:
        for folder in sorted(path for path in captures.iterdir() if path.is_dir()):
            page = backfill([folder], platform, quiet=True)
            assert page.exit_code == 0
        _wait_for_one_batch(platform)
        found = _look(platform)
        batches = list(platform.catalog.batches(ck.open_connection(platform).dataset_id))
    assert [each.status for each in batches].count("success") == 1
    assert sum(each.successor_id is not None for each in batches) > 3
    assert (found.total.landed, found.lake_rows, found.lake_duplicates) == (EVENTS, EVENTS, 0)


def _wait_for_one_batch(platform: Platform) -> None:
    dataset_id = ck.open_connection(platform).dataset_id
    while len(list(platform.catalog.batches(dataset_id, status="success"))) > 1:
        time.sleep(0.02)


def test_repeated_rows_are_waited_for(
    state: Path, captures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If rows may repeat an id, reading ends when none of them arrives any more."""
    pauses: list[float] = []

    def send_again(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            with Platform(replace(platform.settings, state=tmp_path / "other")) as other:
                backfill([captures], other, quiet=True)
        else:
            time.sleep(seconds)

    with _platform(state) as platform:
        backfill([captures], platform, quiet=True)
        connection = ck.open_connection(platform)
        slow = SimpleNamespace(monotonic=time.monotonic, sleep=send_again)
        monkeypatch.setattr(readback, "time", slow)
        with Ledger(state) as ledger:
            here = DestinationLedger(ledger, connection.destination)
            assert reconcile(connection, here, wait=60, quiet=True).lake_duplicates == 0
            assert pauses == []
            found = reconcile(connection, here, wait=60, may_repeat=True, quiet=True)
    assert (found.total.landed, found.lake_duplicates) == (EVENTS, EVENTS)


def test_a_failed_read_back_keeps_the_page(
    state: Path, captures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the dataset cannot be read back, the page says so and still shows everything that was sent."""

    def refuse(*asked: Any, **wanted: Any) -> None:
        raise PermissionMissing(
            "Catalog", "list the dataset's batches", "View Datasets is missing", status=403
        )

    with _platform(state) as platform:
        monkeypatch.setattr(platform.catalog, "batches", refuse)
        page = backfill([captures], platform, quiet=True)
    assert (page.exit_code, page.run.delivered, page.run.landed) == (4, EVENTS, 0)
    assert "could not be read back" in str(page)


def _run(started: int, completed: int, status: str = "success", received: int = 10) -> FlowRun:
    return FlowRun("r", "f", status, started, completed, received, received - 1, 1, 0, (), {})


def test_an_account_is_finished_up_to_its_first_open_run() -> None:
    """Finished runs cover the time before them; an open run leaves everything since its start open."""
    both = RunCounters.of([_run(0, HOUR), _run(HOUR, 2 * HOUR)])
    assert (both.received, both.ingested, both.failed) == (20, 18, 2)
    assert both.until == datetime.fromtimestamp(7200, UTC)
    still_open = RunCounters.of([_run(0, HOUR), _run(HOUR, 0, "in_progress")])
    assert still_open.until == datetime.fromtimestamp(3600, UTC)
    assert RunCounters.of([]).until is None
    assert RunCounters.of([_run(0, 0, "queued")]).until is None


def test_a_page_lists_twenty_events_of_a_sort() -> None:
    """It says how many more there are, if any."""
    refs = [EventRef(f"id-{number}", "feedback", "x.ndjson", number) for number in range(23)]
    found = Reconciliation("d", total=FateCounts(delivered=23), missing=refs)
    assert "not landed yet: feedback id-19 (x.ndjson record 19)\n... and 3 more; --json" in str(found)
    found = Reconciliation("d", total=FateCounts(delivered=20), missing=refs[:20])
    assert "more; --json" not in str(found)


def test_a_page_counts_only_the_dataflows_that_its_run_opened() -> None:
    """Without one there is nothing to count, and a zero would look like a loss; some are named."""
    arrived = Reconciliation(
        "local/prod/chatlio",
        by_kind={"feedback": FateCounts(delivered=4), "transcript": FateCounts(delivered=6)},
        lake_rows=10,
    )
    page = Page("local/prod/chatlio", arrived=arrived)
    assert "history dataflows" not in str(page)
    assert "The dataset holds 10 rows of these events." in str(page)
    arrived.runs = {"feedback": RunCounters(received=4, ingested=4)}
    assert "The history dataflows of feedback report 4 received, 4 ingested" in str(page)
    arrived.runs |= {"transcript": RunCounters(received=6, ingested=6)}
    assert "The history dataflows report 10 received, 10 ingested" in str(page)
