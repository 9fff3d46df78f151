"""Replay: dead letters sent again, and killed replays."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import orjson

import chatlio_kit as ck
from chatlio_kit import local_platform
from chatlio_kit.aep import Platform
from chatlio_kit.delivery import Ledger, replay
from chatlio_kit.delivery.ledger.erasure import erase_events
from chatlio_kit.delivery.reconcile import LOST
from chatlio_kit.jobs.backfill import backfill
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import Options, running
from chatlio_kit.local_platform.store import DATABASE
from chatlio_kit.samples import write_sample

EVENTS = 150
_SMALL_REQUESTS = (
    "from functools import partial; from chatlio_kit.delivery import run; "
    "from chatlio_kit.delivery.requests import packing; run.pack = partial(packing.pack, limit=6_000);"
    "from chatlio_kit.cli import main; main()"
)
"""The command line, with requests so small that there are many of them."""


def test_a_killed_replay_resumes_where_it_stopped(tmp_path: Path) -> None:
    """SIGKILL in the middle of a replay: the next one sends the rest, and everything lands."""
    state = tmp_path / "state"
    sample = write_sample(tmp_path / "x.d", events=EVENTS, seed=31)
    refuse_all = {"faults": [{"fault": "partial", "status": 400, "share": 1.0}]}
    with (
        running(state / "local", enabling_delay=0.02, processing_delay=0.02, faults=refuse_all) as server,
        Platform(settings_of(server, state)) as platform,
    ):
        assert backfill([sample.path], platform, quiet=True).run.dead_lettered == EVENTS
    slow = Options(processing_delay=0.02, faults={"faults": [{"fault": "slow", "seconds": 0.3}]})
    local_platform.ensure_running(state / "local", options=slow)
    try:
        command = [sys.executable, "-c", _SMALL_REQUESTS, "replay", "--state", str(state), "--json"]
        first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while _delivered(state) < EVENTS // 10:
            assert first.poll() is None
            time.sleep(0.01)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        done = _delivered(state)
        assert done < EVENTS
        second = orjson.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    finally:
        local_platform.stop(state / "local")
    assert second["accepted"] <= EVENTS - done
    assert second["total"] == {"delivered": EVENTS, "dead_lettered": 0, "pending": 0, "landed": EVENTS}


def test_forgotten_events_are_not_requeued(local: Platform, tmp_path: Path) -> None:
    """A dead letter without a stored copy waits for its captures, unless it was forgotten."""
    sample = write_sample(tmp_path / "x.d", events=20, seed=32)
    backfill([sample.path], local, quiet=True)
    with Ledger(local.settings.state) as ledger:
        with ledger.transaction() as db:
            db.execute("UPDATE event SET fate = 'dead_lettered', landed = 0, reason = ?", (LOST,))
        erase_events(ledger, ledger.as_frame()["event_id"][:5])
    with closing(sqlite3.connect(local.settings.state / "local" / DATABASE, timeout=30)) as store, store:
        store.execute("DELETE FROM batch")
    page = replay(ck.open_connection(local), wait=0, quiet=True)
    assert (page.run.pending, page.exit_code) == (15, 1)
    again = backfill([sample.path], local, quiet=True)
    assert (again.counts.accepted, again.total.dead_lettered) == (15, 5)


def _delivered(state: Path) -> int:
    with closing(sqlite3.connect(state / "ledger.db", timeout=30)) as ledger:
        return int(ledger.execute("SELECT count(*) FROM event WHERE fate = 'delivered'").fetchone()[0])
