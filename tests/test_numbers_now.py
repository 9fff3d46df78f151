"""After external changes to the dataset, every page reports the rows there and why the rest are gone."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from click.testing import CliRunner, Result

import chatlio_kit as ck
from chatlio_kit import local_platform
from chatlio_kit.aep import Platform
from chatlio_kit.cli import main
from chatlio_kit.connection import Connection
from chatlio_kit.delivery import Run
from chatlio_kit.delivery import readback as reading_back
from chatlio_kit.errors import NotFound, UnreadableRows
from chatlio_kit.jobs.backfill import backfill
from chatlio_kit.jobs.forget import forget
from chatlio_kit.local_platform import Options
from chatlio_kit.samples import write_sample

EVENTS = 200


@dataclass
class Given:
    """The sent captures and their destination."""

    captures: Path
    state: Path

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Open the connection again, as the next command would."""
        local_platform.ensure_running(
            self.state / "local", options=Options(enabling_delay=0.02, processing_delay=0.02)
        )
        with ck.open_platform("local", state=self.state) as platform:
            yield ck.plan_connection(platform, quiet=True).apply(quiet=True)

    def run(self, *arguments: str | Path) -> Result:
        """Run a command."""
        result = CliRunner().invoke(main, [*map(str, arguments), "--state", str(self.state), "--json"])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result


@pytest.fixture
def given(tmp_path: Path) -> Iterator[Given]:
    """A small export, of which every event has landed."""
    sample = write_sample(tmp_path / "captures", events=EVENTS, seed=4)
    found = Given(sample.path, tmp_path / "state")
    with found.connection() as connection:
        page = backfill([found.captures], connection.platform, quiet=True)
    assert (page.run.landed, page.exit_code) == (EVENTS, 0)
    yield found
    local_platform.stop(found.state / "local")


def _call(platform: Platform, method: str, path: str, **query: str) -> None:
    """Call the platform like another user with the same permissions."""
    settings = platform.settings
    form = {
        "grant_type": "client_credentials",
        "client_id": settings.client_id,
        "client_secret": settings.client_secret.reveal(),
        "scope": settings.scopes,
    }
    token = requests.post(f"{settings.ims_url}/ims/token/v3", data=form, timeout=10).json()["access_token"]
    headers = {
        "Authorization": f"Bearer {token}",
        "x-api-key": settings.client_id,
        "x-gw-ims-org-id": settings.org_id,
        "x-sandbox-name": settings.sandbox,
    }
    url = f"{settings.platform_url}/data/foundation/{path}"
    requests.request(method, url, params=query, headers=headers, timeout=10).raise_for_status()


def _lake_file(given: Given) -> Path:
    return max((given.state / "local" / "lake").glob("*.parquet"), key=lambda path: path.stat().st_size)


def _forget_somebody(given: Given) -> None:
    events = ck.read_export(given.captures).to_tables(quiet=True).events
    visitor = str(events["visitor_id"].value_counts().index[0])
    assert forget([given.captures], visitor_id=visitor, state=given.state).lake_rows > 0


def _remove_a_file(given: Given) -> None:
    _lake_file(given).unlink()


def _damage_a_file(given: Given) -> None:
    path = _lake_file(given)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty_a_file(given: Given) -> None:
    _lake_file(given).write_bytes(b"")


def _replace_a_file(given: Given) -> None:
    pq.write_table(pa.table({"something": [1]}), _lake_file(given))


def _take_rows_out(given: Given) -> None:
    path = _lake_file(given)
    table = pq.read_table(path)
    pq.write_table(table.slice(3), path)


def _revert_a_batch(given: Given) -> None:
    with given.connection() as connection:
        _call(connection.platform, "POST", f"import/batches/{_lake_file(given).stem}", action="REVERT")


def _drop_a_batch(given: Given) -> None:
    with closing(sqlite3.connect(given.state / "local" / "platform.sqlite3", timeout=30)) as store, store:
        store.execute("DELETE FROM batch WHERE id = ?", (_lake_file(given).stem,))


HAPPENS: dict[str, tuple[Callable[[Given], None], str]] = {
    "forget": (_forget_somebody, "erased"),
    "a removed file": (_remove_a_file, "unreadable"),
    "a damaged file": (_damage_a_file, "unreadable"),
    "an empty file": (_empty_a_file, "unreadable"),
    "a file without ids": (_replace_a_file, "unreadable"),
    "rows taken out": (_take_rows_out, "unknown"),
    "a reverted batch": (_revert_a_batch, "batch_reverted"),
    "a batch that is not listed any more": (_drop_a_batch, "batch_deleted"),
}


def _rows(connection: Connection) -> pd.DataFrame:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UnreadableRows)
        rows = connection.read_rows(quiet=True)
    rows.attrs["warned"] = len(said)
    return rows


@pytest.mark.parametrize(
    ("what", "first"),
    [*((what, "backfill") for what in HAPPENS), ("forget", "reconcile"), ("a damaged file", "reconcile")],
)
def test_every_page_says_what_the_dataset_holds(given: Given, what: str, first: str) -> None:
    """Backfill page, reconcile, status and ``run.ledger()`` count the rows that are there."""
    happen, reason = HAPPENS[what]
    happen(given)
    with given.connection() as connection:
        rows = _rows(connection)
        there = rows["event_id"].nunique()
        missing = EVENTS - there
        assert missing > 0
        commands = [("backfill", given.captures), ("reconcile",)]
        for command in commands if first == "backfill" else reversed(commands):
            result = given.run(*command)
            reported = orjson.loads(result.stdout)
            assert reported["total"] == {
                "delivered": EVENTS,
                "dead_lettered": 0,
                "pending": 0,
                "landed": there,
            }
            if command == ("reconcile",):
                assert (reported["gone"], reported["gone_by_reason"]) == (missing, {reason: missing})
                assert (reported["under_way"], reported["lake_rows"]) == (0, len(rows))
                assert len(reported["gone_events"]) == missing
                assert result.exit_code == (0 if reason == "erased" else 3)
            else:
                assert reported["total_gone_by_reason"] == {reason: missing}
                assert (reported["duplicates"], reported["accepted"], reported["gone"]) == (EVENTS, 0, 0)
            assert (reported["not_read_again"], reported["not_read_again_since"]) == (0, None)
            assert (
                bool(reported["unreadable_batches"]) == (reason == "unreadable") == bool(rows.attrs["warned"])
            )
            assert reported["read_back_at"].endswith("Z")
        (book,) = orjson.loads(given.run("status").stdout)["destinations"]
        assert (book["total"]["landed"], book["gone_by_reason"]) == (there, {reason: missing})
        assert book["read_back_at"] == reported["read_back_at"]
        with Run(connection, given.state, quiet=True) as run:
            pass
        page = run.reconcile(wait=0)
        ledger = run.ledger()
    counts = rows["kind"].value_counts()
    assert ledger["landed"].to_dict() == counts.reindex(ledger.index, fill_value=0).to_dict()
    assert ledger["gone"].sum() == missing == page.total.gone
    assert (ledger["landed"] + ledger["gone"]).equals(ledger["delivered"])
    for shown in (str(page), page._repr_html_()):
        assert "are gone" in shown
        assert str(there) in shown
    if reason == "unreadable":
        assert "cannot be read" in str(page)


def test_a_dataset_that_was_deleted_is_named(given: Given) -> None:
    """Everything in it is gone; a new dataset starts empty, and the old one's numbers are still reported."""
    with given.connection() as connection:
        with Run(connection, given.state, quiet=True) as run:
            pass
        ck.disconnect(connection.platform, quiet=True)
        _call(connection.platform, "DELETE", f"catalog/dataSets/{connection.dataset_id}")
        with pytest.raises(NotFound, match="read the dataset"):
            connection.read_rows(quiet=True)
        page = run.reconcile(wait=0)
        assert (page.total.landed, page.total_gone_by_reason) == (0, {"dataset_deleted": EVENTS})
        assert "dataset deleted 200" in str(page)
        assert run.ledger()["landed"].sum() == 0
    result = given.run("reconcile")
    reported = orjson.loads(result.stdout)
    assert (result.exit_code, reported["gone_by_reason"]) == (3, {"dataset_deleted": EVENTS})
    assert reported["total"]["landed"] == reported["lake_rows"] == 0

    again = orjson.loads(given.run("backfill", given.captures).stdout)
    assert (again["accepted"], again["landed"]) == (EVENTS, EVENTS)
    old, new = orjson.loads(given.run("status").stdout)["destinations"]
    assert (old["total"]["landed"], old["gone_by_reason"]) == (0, {"dataset_deleted": EVENTS})
    assert (new["total"]["landed"], new["gone"]) == (EVENTS, 0)
    assert old["dataset"] != new["dataset"]
    assert orjson.loads(given.run("reconcile").stdout)["total"]["landed"] == EVENTS


def test_a_restored_file_has_landed_again(given: Given) -> None:
    """A file that is put back is read again: nothing is gone, and nothing was sent twice."""
    path = _lake_file(given)
    content = path.read_bytes()
    path.unlink()
    assert orjson.loads(given.run("reconcile").stdout)["gone"] > 0
    path.write_bytes(content)
    result = given.run("reconcile")
    reported = orjson.loads(result.stdout)
    assert (result.exit_code, reported["total"]["landed"], reported["gone"]) == (0, EVENTS, 0)
    assert reported["unreadable_batches"] == []


def test_gone_events_are_sent_again_only_on_request(given: Given) -> None:
    """A backfill leaves it; ``replay --gone`` makes it pending; then the backfill sends exactly that."""
    _revert_a_batch(given)
    left = orjson.loads(given.run("backfill", given.captures).stdout)
    missing = EVENTS - left["total"]["landed"]
    assert (left["accepted"], left["requests"]) == (0, 0)
    other = orjson.loads(given.run("replay", "--gone", "--reason", "erased").stdout)
    assert other["pending"] == 0
    called = given.run("replay", "--gone", "--reason", "batch_reverted")
    reported = orjson.loads(called.stdout)
    assert (called.exit_code, reported["accepted"], reported["pending"]) == (1, missing, missing)
    assert reported["accepted"] == reported["delivered"] + reported["dead_lettered"] + reported["pending"]
    again = orjson.loads(given.run("backfill", given.captures).stdout)
    assert (again["accepted"], again["landed"], again["duplicates"]) == (missing, missing, EVENTS - missing)
    with given.connection() as connection:
        rows = connection.read_rows(quiet=True)
    assert (len(rows), rows["event_id"].nunique(), again["total"]["landed"]) == (EVENTS, EVENTS, EVENTS)


def test_forgotten_events_are_not_requeued_as_gone(given: Given) -> None:
    """``replay --gone`` does not requeue events of forgotten people."""
    _forget_somebody(given)
    reported = orjson.loads(given.run("replay", "--gone").stdout)
    assert (reported["accepted"], reported["pending"]) == (0, 0)
    assert set(reported["total_gone_by_reason"]) == {"erased"}


def test_a_quick_page_gives_the_time_of_an_older_read(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    """If many events have landed, a backfill reads only new batches, and reports what it left out."""
    monkeypatch.setattr(reading_back, "READ_AGAIN_UP_TO", 0)
    before = orjson.loads(given.run("reconcile").stdout)["read_back_at"]
    _remove_a_file(given)
    reported = orjson.loads(given.run("backfill", given.captures).stdout)
    assert (reported["total"]["landed"], reported["not_read_again"]) == (EVENTS, EVENTS)
    assert reported["not_read_again_since"] == before < reported["read_back_at"]
    page = CliRunner().invoke(main, ["backfill", str(given.captures), "--state", str(given.state)]).output
    assert f"Not looked for again: {EVENTS} landed events" in page
    found = orjson.loads(given.run("reconcile").stdout)
    assert (found["total"]["landed"] < EVENTS, found["not_read_again"]) == (True, 0)


@pytest.mark.parametrize("what", ["forget", "a reverted batch", "a batch that is not listed any more"])
def test_a_quick_page_reads_all_again_where_something_is_known_to_have_changed(
    given: Given, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Erased rows and batches that the catalogue no longer lists as they were are enough of a sign."""
    monkeypatch.setattr(reading_back, "READ_AGAIN_UP_TO", 0)
    happen, reason = HAPPENS[what]
    happen(given)
    reported = orjson.loads(given.run("backfill", given.captures).stdout)
    with given.connection() as connection:
        there = connection.read_rows(quiet=True)["event_id"].nunique()
    assert reported["total"]["landed"] == there < EVENTS
    assert (reported["not_read_again"], list(reported["total_gone_by_reason"])) == (0, [reason])


def test_a_ledger_of_the_previous_layout_is_migrated(given: Given) -> None:
    """Landed events stay landed, by a read without a time; the next read is a full one."""
    with closing(sqlite3.connect(given.state / "ledger.db")) as db, db:
        columns: dict[str, Any] = {"event": ("gone", "readback", "batch"), "destination": ("sent_since",)}
        for table, names in columns.items():
            for name in names:
                db.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
        db.execute("ALTER TABLE batch_read RENAME TO newer")
        db.execute(
            "CREATE TABLE batch_read (destination INTEGER NOT NULL, batch_id TEXT NOT NULL, rows INTEGER NOT"
            " NULL, PRIMARY KEY (destination, batch_id)) WITHOUT ROWID"
        )
        db.execute("INSERT INTO batch_read SELECT destination, batch_id, rows FROM newer")
        db.execute("DROP TABLE newer")
        db.execute("DROP TABLE readback")
        db.execute("PRAGMA user_version = 2")
    (book,) = orjson.loads(given.run("status").stdout)["destinations"]
    assert (book["total"]["landed"], book["gone"], book["read_back_at"]) == (EVENTS, 0, None)
    assert (book["not_read_again"], book["not_read_again_since"]) == (EVENTS, None)
    _remove_a_file(given)
    reported = orjson.loads(given.run("backfill", given.captures).stdout)
    with given.connection() as connection:
        there = _rows(connection)["event_id"].nunique()
    assert reported["total"]["landed"] == there < EVENTS
    assert reported["not_read_again"] == 0
