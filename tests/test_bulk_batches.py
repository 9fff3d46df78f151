"""Batches of bulk runs that the platform merges, reverts or deletes: nothing is doubled, or open for ever."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import chatlio_kit as ck
from chatlio_kit.aep import Platform
from chatlio_kit.aep.batch_ingestion import BatchIngestion
from chatlio_kit.aep.data_access import DataAccess
from chatlio_kit.delivery import DestinationLedger, Ledger, Page, Reconciliation, reconcile
from chatlio_kit.delivery import run as sending_run
from chatlio_kit.delivery.bulk.files import FOLDER
from chatlio_kit.delivery.readback import DatasetReader
from chatlio_kit.delivery.reconcile import reconcile_deleted
from chatlio_kit.jobs.backfill import backfill
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import running
from chatlio_kit.local_platform.batch_ingestion import promotion
from chatlio_kit.local_platform.store import DATABASE
from chatlio_kit.samples import write_sample

pytestmark = pytest.mark.usefixtures("short_pauses")
EVENTS = 120


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample export."""
    return write_sample(tmp_path_factory.mktemp("x") / "c", events=EVENTS, seed=8).path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder."""
    return tmp_path / "state"


@contextmanager
def opened(state: Path, **options: Any) -> Iterator[Platform]:
    """Open the local platform of a state folder."""
    with (
        running(state / "local", **{"enabling_delay": 0.02, "processing_delay": 0.01, **options}) as server,
        Platform(settings_of(server, state)) as platform,
    ):
        yield platform


def load(captures: Path | list[Path], platform: Platform, **options: Any) -> Page:
    """Load captures in batches."""
    return backfill(captures, platform, via="batch", wait=20, quiet=True, **options)


def load_without_verdict(
    captures: Path | list[Path], platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Load captures in a batch that succeeds after the run has stopped waiting; return its id."""
    with monkeypatch.context() as patched:
        patched.setattr(promotion.Promotion, "step", lambda *_: 0.05)  # the seconds until it looks again
        assert load(captures, platform, patience=0.02).run.pending
    (last, *_) = batches_of(platform)
    wait_for(platform, last, "success")
    return last


def batches_of(platform: Platform) -> list[str]:
    """Return the ids of the dataset's batches, newest first."""
    dataset_id = ck.open_connection(platform, quiet=True).dataset_id
    return [batch.id for batch in platform.catalog.batches(dataset_id)]


def wait_for(platform: Platform, batch_id: str, status: str) -> None:
    """Wait until a batch has a status."""
    while platform.catalog.batch(batch_id).status != status:
        time.sleep(0.02)


def merge(state: Path) -> None:
    """Restart the platform so that it merges all batches into one."""
    with opened(state, consolidation_delay=0.0) as platform:
        dataset_id = ck.open_connection(platform, quiet=True).dataset_id
        while len(list(platform.catalog.batches(dataset_id, status="success"))) > 1:
            time.sleep(0.02)


def merged(platform: Platform) -> str:
    """Return the batch into which all others were merged."""
    (batch_id,) = (one for one in batches_of(platform) if platform.catalog.batch(one).status == "success")
    return batch_id


def revert_elsewhere(platform: Platform, batch_id: str) -> None:
    """Revert a batch as another program would."""
    platform.batches.revert(batch_id)
    wait_for(platform, batch_id, "inactive")


def delete_from_catalog(state: Path, *batch_ids: str) -> None:
    """Delete batches, as the platform does some time after they became inactive."""
    with closing(sqlite3.connect(state / "local" / DATABASE, timeout=30)) as store, store:
        store.executemany("DELETE FROM batch WHERE id = ?", [(batch_id,) for batch_id in batch_ids])


def look(platform: Platform) -> Reconciliation:
    """Read the dataset back once."""
    connection = ck.open_connection(platform, quiet=True)
    with Ledger(platform.settings.state) as ledger:
        return reconcile(connection, DestinationLedger(ledger, connection.destination), quiet=True)


@pytest.fixture
def half(captures: Path) -> list[Path]:
    """Every second file of the export."""
    return sorted(path for path in captures.rglob("*") if path.is_file())[::2]


@pytest.fixture
def both_merged(captures: Path, half: list[Path], state: Path) -> Path:
    """A state folder after two bulk runs whose batches were read, and then merged into one."""
    with opened(state) as platform:
        load(half, platform)
        assert load(captures, platform).total.landed == EVENTS
    merge(state)
    return state


def test_a_batch_that_was_merged_before_its_verdict_is_not_loaded_again(
    captures: Path, half: list[Path], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is inactive, but its rows are in its successor."""
    with opened(state) as platform:
        load(half, platform)
        load_without_verdict(captures, platform, monkeypatch)
    merge(state)
    with opened(state) as platform:
        page = load(captures, platform)
        rows = ck.open_connection(platform, quiet=True).read_rows(quiet=True)
    assert any("batch 1 of run 2 is finished" in note for note in page.notes)
    assert (page.exit_code, page.total.landed, len(rows)) == (0, EVENTS, EVENTS)


def test_a_run_whose_batch_was_merged_is_not_called_reverted(both_merged: Path) -> None:
    """Its rows are there, and the page names their batch; once that is reverted, they are gone."""
    with opened(both_merged) as platform:
        connection = ck.open_connection(platform, quiet=True)
        for _ in range(2):
            found = ck.revert(connection, 2, quiet=True)
            assert (found.exit_code, found.as_dict()["left"]) == (1, found.as_dict()["events"])
            assert f"merged its rows into the batch {merged(platform)}" in str(found)
        revert_elsewhere(platform, merged(platform))
        found = ck.revert(connection, 2, quiet=True)
    assert (found.exit_code, found.as_dict()["gone"]) == (0, found.as_dict()["events"])


def test_a_deleted_successor_takes_its_rows_along(both_merged: Path) -> None:
    """Its predecessors still name it; reading goes on, and the events are gone."""
    with opened(both_merged) as platform:
        assert look(platform).total.landed == EVENTS
        delete_from_catalog(both_merged, merged(platform))
        assert look(platform).gone_by_reason == {"batch_deleted": EVENTS}


def test_an_unreadable_successor_repeats_no_rows(both_merged: Path) -> None:
    """The rows of merged batches count once, or not at all; once the file is readable, they have landed."""
    with opened(both_merged) as platform:
        (path,) = (both_merged / "local").rglob(f"{merged(platform)}.parquet")
        content = path.read_bytes()
        path.write_bytes(b"damaged")
        found = look(platform)
        assert (found.gone_by_reason, found.lake_rows, found.lake_duplicates) == (
            {"unreadable": EVENTS},
            0,
            0,
        )
        path.write_bytes(content)
        found = look(platform)
    assert (found.exit_code, found.total.landed, found.lake_rows) == (0, EVENTS, EVENTS)


def test_a_reverted_successor_is_read_once(
    captures: Path, both_merged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later quick reads download nothing that they know."""
    with opened(both_merged) as platform:
        look(platform)
        revert_elsewhere(platform, merged(platform))
        assert look(platform).gone_by_reason == {"batch_reverted": EVENTS}
        connection = ck.open_connection(platform, quiet=True)
        ck.replay(connection, gone=True, quiet=True)
        assert load(captures, platform).total.landed == EVENTS
        list_files = Mock(return_value=[])
        monkeypatch.setattr(DataAccess, "files", list_files)
        with Ledger(both_merged) as ledger:
            DatasetReader(connection, DestinationLedger(ledger, connection.destination)).read_new()
    assert not list_files.called


@pytest.mark.parametrize("is_reverted", [True, False], ids=["reverted", "loaded"])
def test_a_run_whose_batch_the_platform_deleted_is_reverted(
    captures: Path, state: Path, *, is_reverted: bool
) -> None:
    """Inactive batches are deleted later: nothing is left to revert, and nothing is refused."""
    with opened(state) as platform:
        load(captures, platform)
        connection = ck.open_connection(platform, quiet=True)
        if is_reverted:
            ck.revert(connection, 1, quiet=True)
        delete_from_catalog(state, *batches_of(platform))
        found = ck.revert(connection, 1, quiet=True)
    assert (found.exit_code, [batch.status for batch in found.batches]) == (0, ["deleted"])
    assert found.as_dict()["gone"] == EVENTS


def test_an_interrupted_run_whose_batch_was_reverted_elsewhere_is_reverted(
    captures: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is refused, and its events are pending."""
    with opened(state) as platform:
        revert_elsewhere(platform, load_without_verdict(captures, platform, monkeypatch))
        found = ck.revert(ck.open_connection(platform, quiet=True), 1, quiet=True)
        assert (found.exit_code, [batch.status for batch in found.batches]) == (0, ["inactive"])
        assert load(captures, platform).total.landed == EVENTS


def load_until(
    owner: object, step: str, captures: Path, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Load captures in batches, and interrupt the run before a step."""
    with monkeypatch.context() as patched:
        patched.setattr(owner, step, Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            load(captures, platform)


@pytest.mark.parametrize("is_unreadable", [False, True], ids=["unread", "unreadable"])
def test_a_batch_that_was_reverted_elsewhere_before_it_was_read_is_gone(
    captures: Path, state: Path, monkeypatch: pytest.MonkeyPatch, *, is_unreadable: bool
) -> None:
    """Its events were delivered, and no read has found them: they are gone, not under way."""
    with opened(state) as platform:
        load_until(sending_run, "reconcile", captures, platform, monkeypatch)
        (batch_id,) = batches_of(platform)
        if is_unreadable:
            (rows,) = (state / "local").rglob(f"{batch_id}.parquet")
            rows.write_bytes(b"damaged")
            assert look(platform).under_way == EVENTS
        revert_elsewhere(platform, batch_id)
        assert look(platform).gone_by_reason == {"batch_reverted": EVENTS}
        ck.replay(ck.open_connection(platform, quiet=True), gone=True, quiet=True)
        page = load(captures, platform)
    assert (page.exit_code, page.total.landed, page.total.gone) == (0, EVENTS, 0)


def test_rows_that_were_removed_before_a_read_are_gone(
    captures: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program removed a visitor's rows: their batch is read, and they are not in it."""
    with opened(state) as platform:
        identities = ["visitor_id=ChatlioVisitor"]
        ck.plan_connection(platform, "chatlio", identities=identities, quiet=True).apply(quiet=True)
        load_until(sending_run, "reconcile", captures, platform, monkeypatch)
        connection = ck.open_connection(platform, quiet=True)
        visitor = connection.read_rows(quiet=True)["visitor_id"].dropna().iloc[0]
        platform.work_orders.delete_identities(connection.dataset_id, {"ChatlioVisitor": [visitor]}, "x")
        while (rows := len(connection.read_rows(quiet=True))) == EVENTS:
            time.sleep(0.02)
        found = look(platform)
        assert (found.total.landed, found.under_way) == (rows, 0)
        assert found.gone_by_reason == {"unknown": EVENTS - rows}
        ck.replay(connection, gone=True, quiet=True)
        assert load(captures, platform).total.landed == EVENTS


def test_trace_claims_no_read_that_did_not_happen(
    captures: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event was loaded and its batch reverted before a read; of a landed one, the read is named."""
    with opened(state) as platform:
        load_until(sending_run, "reconcile", captures, platform, monkeypatch)
        event_id = ck.open_connection(platform, quiet=True).read_rows(quiet=True)["event_id"][0]
        (batch_id,) = batches_of(platform)
        assert f"{batch_id}, loaded" in str(ck.trace(event_id, state=state))
        revert_elsewhere(platform, batch_id)
        look(platform)
        shown = str(ck.trace(event_id, state=state))
        assert "gone, batch_reverted: the read of " in shown
        ck.replay(ck.open_connection(platform, quiet=True), gone=True, quiet=True)
        load(captures, platform)
        revert_elsewhere(platform, batches_of(platform)[0])
        look(platform)
    assert "gone, batch_reverted: a read found it before, and the read of " in str(
        ck.trace(event_id, state=state)
    )


def test_events_under_way_to_a_deleted_dataset_are_gone(captures: Path, state: Path) -> None:
    """They cannot land any more, and nothing waits for them."""
    with opened(state, processing_delay=60.0) as platform:
        assert backfill(captures, platform, wait=0, quiet=True).total.under_way == EVENTS
        dataset_id = ck.open_connection(platform, quiet=True).dataset_id
        ck.disconnect(platform, quiet=True)
        platform.catalog.delete_dataset(dataset_id)
        with Ledger(state) as ledger:
            found = reconcile_deleted(platform, ledger, "chatlio")
    assert found is not None
    assert (found.gone_by_reason, found.under_way) == ({"dataset_deleted": EVENTS}, 0)


def test_a_deleted_dataset_blocks_neither_loading_nor_forget(
    captures: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of an interrupted batch are given up, and the same captures go into the next dataset."""
    with opened(state) as platform:
        load_until(BatchIngestion, "complete", captures, platform, monkeypatch)
        dataset_id = ck.open_connection(platform, quiet=True).dataset_id
        ck.disconnect(platform, quiet=True)
        platform.catalog.delete_dataset(dataset_id)
        page = load(captures, platform)
    assert (page.exit_code, page.total.landed) == (0, EVENTS)
    assert list((state / FOLDER).iterdir()) == []
    assert not ck.forget(captures, email="nobody@example.org", state=state).found


def test_a_new_ledger_loads_what_an_earlier_one_reverted(captures: Path, state: Path) -> None:
    """The batch of the same run, part and content is inactive, and its external id is taken."""
    with opened(state) as platform:
        load(captures, platform)
        ck.revert(ck.open_connection(platform, quiet=True), 1, quiet=True)
        for path in state.glob("ledger.db*"):
            path.unlink()
        page = load(captures, platform)
    assert (page.exit_code, page.total.landed) == (0, EVENTS)
