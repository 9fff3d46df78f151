"""The main job: it accounts for every record, is repeatable, and survives kills."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import orjson
import pytest

import chatlio_kit as ck
from chatlio_kit import local_platform
from chatlio_kit.aep import Platform
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection import Connection
from chatlio_kit.delivery import Ledger
from chatlio_kit.delivery.page import Page
from chatlio_kit.errors import CaptureError, ConnectionIncomplete, LedgerBusy, LedgerError, MissingPath
from chatlio_kit.jobs.backfill import backfill
from chatlio_kit.samples import write_sample

Payload = dict[str, Any]
Write = Callable[[Path, Iterable[Any]], Path]
Wrap = Callable[..., Payload]


def assert_adds_up(page: Page) -> None:
    """Check the contract's equations."""
    said = page.as_dict()
    assert said["read"] == said["accepted"] + said["rejected"] + said["duplicates"]
    assert said["accepted"] == said["delivered"] + said["dead_lettered"] + said["pending"]
    assert sum(said["by_kind"].values()) == said["accepted"]
    assert sum(said["rejected_by_reason"].values()) == said["rejected"]
    assert sum(said["dead_by_reason"].values()) == said["dead_lettered"]


def test_a_backfill_lands_and_a_second_one_changes_nothing(local: Platform, tmp_path: Path) -> None:
    """Accepted records land; rejected ones are listed as in the manifest; a second run delivers 0."""
    sample = write_sample(tmp_path / "x.d", events=1500, seed=7, bad_share=0.02)
    first = backfill([sample.path], local, quiet=True)
    assert_adds_up(first)
    said = first.as_dict()
    assert first.exit_code == 3
    assert (said["read"], said["rejected"], said["landed"], said["delivered"]) == (1500, 30, 1470, 1470)
    keys = ("file", "record", "reason", "field")
    (rejected,) = (local.settings.state / "reports").rglob("rejected.jsonl")
    found = [tuple(orjson.loads(line)[key] for key in keys) for line in rejected.read_bytes().splitlines()]
    listed = [
        tuple(orjson.loads(line)[key] for key in keys) for line in sample.manifest.read_bytes().splitlines()
    ]
    assert found == listed

    second = backfill([sample.path], local, quiet=True)
    assert_adds_up(second)
    again = second.as_dict()
    assert (again["delivered"], again["accepted"], again["duplicates"], again["requests"]) == (0, 0, 1470, 0)
    assert again["total"] == said["total"]
    assert again["rejected_by_reason"] == said["rejected_by_reason"]


def test_only_the_corrected_record_is_sent(
    local: Platform, tmp_path: Path, ndjson: Write, envelope: Wrap, conversation: Payload
) -> None:
    """After the rejected line is corrected, the next run sends it and nothing else."""
    good, bad = envelope(conversation, "feedback"), envelope(conversation, "unanswered", received_at=None)
    path = ndjson(tmp_path / "a", [good, bad])
    assert backfill([path], local, quiet=True).as_dict()["rejected_by_reason"] == {"undated": 1}
    ndjson(path, [good, envelope(conversation, "unanswered")])
    page = backfill([path], local, quiet=True).as_dict()
    assert (page["duplicates"], page["accepted"], page["landed"]) == (1, 1, 1)
    assert page["total"]["landed"] == 2


def test_a_conflict_with_an_earlier_run_is_reported(
    local: Platform, tmp_path: Path, ndjson: Write, envelope: Wrap, transcript: Payload
) -> None:
    """An event delivered before with another payload is rejected, and its earlier record is named."""
    backfill([ndjson(tmp_path / "a", [envelope(transcript)])], local, quiet=True)
    other = deepcopy(transcript)
    other["agentName"] = "Somebody Else"
    page = backfill([ndjson(tmp_path / "b", [envelope(other)])], local, quiet=True)
    assert page.as_dict()["rejected_by_reason"] == {"conflicting_duplicate": 1}
    (line,) = (local.settings.state / "reports").rglob("*0002/rejected.jsonl")
    assert "a record 1" in orjson.loads(line.read_bytes())["detail"]


def test_pending_events_of_an_earlier_run_are_accepted_again(local: Platform, tmp_path: Path) -> None:
    """Events that were recorded but never got an answer are sent by the next run."""
    sample = write_sample(tmp_path / "x.d", events=300)
    backfill([sample.path], local, quiet=True)
    with sqlite3.connect(local.settings.state / "ledger.db") as ledger:
        ledger.execute("UPDATE event SET fate = 'pending', landed = 0 WHERE source_record % 3 = 0")
        ledger.execute("DELETE FROM batch_read")
        (left,) = ledger.execute("SELECT count(*) FROM event WHERE fate = 'pending'").fetchone()
    ledger.close()
    page = backfill([sample.path], local, quiet=True).as_dict()
    assert (page["accepted"], page["delivered"], page["duplicates"]) == (left, left, 300 - left)
    assert page["total"] == {"delivered": 300, "dead_lettered": 0, "pending": 0, "landed": 300}


def test_a_killed_backfill_resumes_where_it_stopped(tmp_path: Path) -> None:
    """SIGKILL at three moments, then to the end: everything lands, with the totals of a quiet run."""
    sample = write_sample(tmp_path / "x.d", events=4000, seed=3)
    state = tmp_path / "state"
    command = [
        sys.executable,
        "-m",
        "chatlio_kit",
        "backfill",
        str(sample.path),
        "--state",
        str(state),
        "--json",
    ]
    try:
        for pending_before_kill in (1, 1000, 2500):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _wait_until_settled(state / "ledger.db", pending_before_kill, process)
            process.send_signal(signal.SIGKILL)
            process.wait()
        done = subprocess.run(command, capture_output=True, check=True)
        page = orjson.loads(done.stdout)
    finally:
        local_platform.stop(state / "local")
    assert page["total"] == {"delivered": 4000, "dead_lettered": 0, "pending": 0, "landed": 4000}
    assert page["read"] == page["accepted"] + page["duplicates"] == 4000


def _wait_until_settled(ledger: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if ledger.exists():
            with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as db:
                try:
                    (found,) = db.execute("SELECT count(*) FROM event WHERE fate = 'delivered'").fetchone()
                except sqlite3.OperationalError:
                    found = 0
            db.close()
            if found >= count:
                return
        time.sleep(0.01)


def test_two_simultaneous_backfills_are_refused(local: Platform, documented: Path) -> None:
    """A ledger in use is not shared; the message gives the next step."""
    with (
        Ledger(local.settings.state) as ledger,
        ledger.exclusive_lock(),
        pytest.raises(LedgerBusy, match="--state"),
    ):
        backfill([documented], local, quiet=True)


def test_a_trial_run_does_not_count_elsewhere(local: Platform, documented: Path) -> None:
    """Events sent to one dataset are also sent to another one."""
    assert backfill([documented], local, quiet=True).run.landed == 5
    page = backfill([documented], local, name="other", quiet=True)
    assert (page.counts.duplicates, page.run.landed) == (0, 5)


def test_a_corrupt_ledger_is_reported(local: Platform, documented: Path) -> None:
    """A ledger that is not a database causes a message, not a traceback, and is not overwritten."""
    ledger = local.settings.state / "ledger.db"
    ledger.write_bytes(b"not a database" * 100)
    with pytest.raises(LedgerError, match="cannot be used"):
        backfill([documented], local, quiet=True)
    assert ledger.read_bytes() == b"not a database" * 100


def test_the_state_folder_is_private(tmp_path: Path) -> None:
    """A state folder created by the ledger, and the ledger itself, are readable only by their owner."""
    with Ledger(tmp_path / "state"):
        assert oct((tmp_path / "state").stat().st_mode)[-3:] == "700"
        assert oct((tmp_path / "state" / "ledger.db").stat().st_mode)[-3:] == "600"


def test_no_secret_is_stored_or_shown(
    local: Platform, documented: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither the ledger nor the report nor the output holds an inlet's id or the client's secret."""
    page = backfill([documented], local)
    connection = ck.open_connection(local)
    inlets = [flow.inlet_url.reveal().rsplit("/")[-1] for flow in connection.history.values()]
    state = local.settings.state
    kept = b"".join(
        path.read_bytes() for path in state.rglob("*") if path.is_file() and "local" not in path.parts
    )
    said = "".join(capfd.readouterr()) + repr(page) + page._repr_html_() + repr(connection)
    assert len(inlets) == 5
    for secret in (*inlets, local.settings.client_secret.reveal()):
        assert secret.encode() not in kept
        assert secret not in said


@pytest.mark.parametrize(("make", "error"), [(False, MissingPath), (True, CaptureError)])
def test_missing_captures_are_reported_before_anything_is_created(
    local: Platform, tmp_path: Path, make: bool, error: type[Exception]
) -> None:
    """A missing path or an empty folder is reported, and no connection is created."""
    folder = tmp_path / "empty"
    if make:
        folder.mkdir()
    with pytest.raises(error, match="empty"):
        backfill([folder], local, quiet=True)
    with pytest.raises(ConnectionIncomplete):
        ck.open_connection(local)


def test_dead_letters_after_acceptance_are_reported(
    local: Platform, documented: Path, remap: Callable[[Connection, Kind, str], None]
) -> None:
    """A mapping nulls a required field: accepted at the edge, failed later, reported with the reason."""
    connection = ck.plan_connection(local).apply(quiet=True)
    remap(connection, Kind.FEEDBACK, "nullify()")
    run = ck.stream(ck.read_export(documented).to_tables(quiet=True), connection, quiet=True)
    page = run.reconcile(wait=20)
    assert_adds_up(page)
    assert (page.run.delivered, page.run.landed, page.run.dead_lettered) == (4, 4, 1)
    assert page.exit_code == 3
    (reason,) = page.dead_by_reason
    assert reason != "failed_after_acceptance"
