"""The local clock may be wrong or jump: the platform's times are compared with the platform's clock."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

import chatlio_kit as ck
from chatlio_kit.aep import Platform
from chatlio_kit.aep import http as wire
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection import connection as connections
from chatlio_kit.delivery import DestinationLedger, Ledger, activation, reconcile
from chatlio_kit.delivery.activation import forecast_guard, seconds_until_active
from chatlio_kit.jobs.backfill import backfill
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import running
from chatlio_kit.samples import write_sample

EVENTS = 60
OFF = [timedelta(hours=3), timedelta(days=1500), -timedelta(hours=3), -timedelta(days=400)]
SetClock = Callable[[timedelta], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Shift the local clock for all of chatlio_kit except the platform."""

    def put(ahead: timedelta) -> None:
        class Wrong(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                return datetime.now(tz) + ahead

        wrong_time = ModuleType("time")
        wrong_time.__dict__.update(time.__dict__)
        wrong_time.__dict__["time"] = lambda: time.time() + ahead.total_seconds()
        for name, module in list(sys.modules.items()):
            ours = name.startswith("chatlio_kit.") and not name.startswith("chatlio_kit.local_platform")
            if ours and isinstance(getattr(module, "datetime", None), type):
                monkeypatch.setattr(module, "datetime", Wrong)
            if ours and isinstance(getattr(module, "time", None), ModuleType):
                monkeypatch.setattr(module, "time", wrong_time)

    return put


@contextmanager
def _platform(state: Path, *faults: dict[str, Any], is_local: bool = True) -> Iterator[Platform]:
    known = {"seed": 4, "faults": list(faults)}
    with running(state / "local", enabling_delay=0.02, processing_delay=0.02, faults=known) as server:
        settings = replace(settings_of(server, state), is_local=is_local)
        with Platform(settings, sleep=lambda seconds: time.sleep(min(seconds, 0.05))) as platform:
            yield platform


@pytest.fixture
def captures(tmp_path: Path) -> Path:
    """A small export of events that happened long ago."""
    return write_sample(tmp_path / "captures", events=EVENTS, seed=21).path


@pytest.mark.parametrize("ahead", OFF[:3], ids=str)
@pytest.mark.parametrize("is_local", [True, False])
def test_landed_rows_are_found_with_any_local_clock(
    tmp_path: Path, captures: Path, set_clock: SetClock, ahead: timedelta, is_local: bool
) -> None:
    """With guard, canary and read-back, on the local platform and on one that counts as remote."""
    set_clock(ahead)
    with _platform(tmp_path / "state", is_local=is_local) as platform:
        page = backfill([captures], platform, connect=True, skip_guard=not is_local, wait=60, quiet=True)
        assert (page.exit_code, page.run.landed, page.total.under_way) == (0, EVENTS, 0)
        said = page.as_dict()["read_back_at"]
    assert abs(datetime.fromisoformat(said).timestamp() - time.time()) < 300


def test_a_clock_that_is_a_year_behind_still_finds_landed_events(
    tmp_path: Path, documented: Path, set_clock: SetClock
) -> None:
    """Events from before that time, so that none is in the future."""
    set_clock(OFF[3])
    with _platform(tmp_path / "state") as platform:
        page = backfill([documented], platform, quiet=True)
    assert (page.exit_code, page.run.landed) == (0, 5)


@pytest.mark.parametrize("jump", OFF, ids=str)
def test_clock_jumps_mark_no_event_overdue_or_lost(
    tmp_path: Path, captures: Path, set_clock: SetClock, jump: timedelta
) -> None:
    """An event that the edge has just dropped may still land, whatever the local clock shows."""
    with _platform(tmp_path / "state", {"fault": "dropped", "share": 0.2, "lasting": True}) as platform:
        page = backfill([captures], platform, wait=0.5, quiet=True)
        assert page.run.under_way > 0
        set_clock(jump)
        with Ledger(platform.settings.state) as ledger:
            connection = ck.open_connection(platform, quiet=True)
            destination = DestinationLedger(ledger, connection.destination)
            found = reconcile(connection, destination, quiet=True)
    assert found.under_way > 0
    assert (found.overdue, found.dead_by_reason) == (0, {})


@pytest.mark.parametrize("ahead", OFF, ids=str)
@pytest.mark.parametrize("is_local", [True, False])
def test_the_guard_lasts_as_long_as_the_platform_asks(
    tmp_path: Path, set_clock: SetClock, ahead: timedelta, is_local: bool
) -> None:
    """An error of the local clock neither removes nor extends it."""
    with _platform(tmp_path / "state", is_local=is_local) as platform:
        connection = ck.plan_connection(platform, quiet=True).apply(quiet=True)
        flow = next(iter(connection.live.values()))
        set_clock(ahead)
        left = seconds_until_active(connection, flow)
    assert 0 <= left <= 0.5 if is_local else 200 < left <= 301


def test_the_forecast_counts_the_longest_wait_of_the_kinds_to_be_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing dataflow waits from now on; an existing one waits for what is left."""
    monkeypatch.setattr(connections, "GUARD_AFTER_SCHEMA_CHANGE", timedelta(minutes=1))
    monkeypatch.setattr(activation, "GUARD_AFTER_SCHEMA_CHANGE", timedelta(minutes=1))
    with _platform(tmp_path / "state", is_local=False) as platform:
        connection = ck.plan_connection(platform, quiet=True).apply(quiet=True)
        assert round(forecast_guard(connection, Kind), -1) == 300
        assert forecast_guard(connection, []) == 0
        connection.history_flow(Kind.FEEDBACK)
        assert 50 < forecast_guard(connection, [Kind.FEEDBACK]) <= 60
        assert round(forecast_guard(connection, Kind), -1) == 300
    assert forecast_guard(None, Kind) == 300


def test_a_ledger_that_a_wrong_clock_has_begun_is_read_back(tmp_path: Path, captures: Path) -> None:
    """Local times recorded by an earlier version are not compared with the platform's."""
    with _platform(tmp_path / "state") as platform:
        backfill([captures], platform, quiet=True)
        with closing(sqlite3.connect(tmp_path / "state" / "ledger.db")) as db, db:
            late = round((time.time() + 9e7) * 1000)
            db.execute("UPDATE destination SET first_sent_at = ?, sent_since = NULL", (late,))
            db.execute("UPDATE event SET landed = 0, readback = NULL, settled_at = ?", (late,))
            db.execute("DELETE FROM batch_read")
        page = backfill([captures], platform, quiet=True)
        assert page.total.landed == EVENTS
        with Ledger(platform.settings.state) as ledger:
            settled = ledger.as_frame()["settled_at"]
    assert settled.max() < pd.Timestamp.now("UTC") + timedelta(minutes=10)


@pytest.mark.parametrize("ahead", OFF, ids=str)
def test_a_pause_until_a_time_is_measured_by_the_platforms_clock(
    set_clock: SetClock, ahead: timedelta
) -> None:
    """``Retry-After`` as a date counts from the ``Date`` of the same answer."""
    set_clock(ahead)
    headers = {"Date": "Sun, 29 Nov 2026 06:00:00 GMT", "Retry-After": "Sun, 29 Nov 2026 06:00:07 GMT"}
    assert wire.asked_pause(wire.retry_after(headers)) == 7.0
