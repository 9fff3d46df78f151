"""A backfill through a platform with injected faults: nothing is lost, and the page is correct."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import chatlio_kit as ck
from chatlio_kit.aep import Platform
from chatlio_kit.aep import http as wire
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection import Connection
from chatlio_kit.delivery import DestinationLedger, Ledger, Page, canary, reconcile, run
from chatlio_kit.delivery import replay as send_again
from chatlio_kit.delivery.requests import sending
from chatlio_kit.delivery.requests.packing import pack
from chatlio_kit.jobs.backfill import backfill, forecast
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import Logged, read_log, running
from chatlio_kit.samples import write_sample

EVERY_FAULT: list[dict[str, Any]] = [
    {"fault": "status", "status": 429, "retry_after": 0, "rate": 0.015},
    {"fault": "status", "status": 429, "rate": 0.015},
    {"fault": "status", "status": 503, "retry_after": 0, "rate": 0.02},
    {"fault": "status", "status": 500, "rate": 0.02},
    {"fault": "status", "status": 400, "rate": 0.01},
    {"fault": "status", "status": 413, "rate": 0.01},
    {"fault": "reset_before", "rate": 0.015},
    {"fault": "reset_after", "rate": 0.015},
    {"fault": "hung_before", "seconds": 4.0, "after": 20, "count": 1},
    {"fault": "hung_after", "seconds": 4.0, "after": 40, "count": 1},
    {"fault": "slow", "seconds": 0.05, "rate": 0.01},
    {"fault": "cut", "rate": 0.015},
    {"fault": "not_json", "rate": 0.01},
    {"fault": "short", "rate": 0.015},
    {"fault": "long", "rate": 0.01},
    {"fault": "partial", "status": 503, "share": 0.3, "dialect": "status", "rate": 0.02},
    {"fault": "partial", "status": 500, "share": 0.3, "dialect": "statusCode", "rate": 0.02},
    {"fault": "late_inlet", "count": 3},
]
"""One request in five fails, in every way."""

Remap = Callable[[Connection, Kind, str], None]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small requests, so that many fail; pauses are short."""
    monkeypatch.setattr(sending, "pause_before", lambda tries, retry_after: 0.002)
    monkeypatch.setattr(run, "pack", partial(pack, limit=12_000))
    monkeypatch.setattr(run, "pace_for", lambda connection: 9_000)


@contextmanager
def _platform(state: Path, faults: dict[str, Any] | None = None, **known: Any) -> Iterator[Platform]:
    options = {"enabling_delay": 0.02, "processing_delay": 0.02, "faults": faults, "messages_per_second": 1e6}
    with (
        running(state / "local", **options) as server,
        Platform(replace(settings_of(server, state), **known)) as platform,
    ):
        yield platform


def _accepted(log: list[Logged]) -> Counter[str]:
    return Counter(name for each in log for name in each.accepted)


def _landed(state: Path) -> set[str]:
    with Ledger(state) as ledger:
        frame = ledger.as_frame()
    return set(frame[frame["landed"]]["event_id"])


def _assert_nothing_lost(state: Path, page: Page, log: list[Logged]) -> None:
    """All accepted events were read back; duplicates come from requests with a lost answer."""
    accepted = _accepted(log)
    assert set(accepted) == _landed(state)
    repeated = sum(accepted.values()) - len(accepted)
    unreported = Counter(name for each in log if not each.is_acknowledged for name in each.accepted)
    assert all(accepted[name] - 1 <= unreported[name] for name in accepted)
    assert page.arrived is not None
    assert page.arrived.lake_duplicates == repeated
    assert page.unanswered >= repeated


def test_every_fault_at_once_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request in five fails: everything not reported as refused lands; repeated rows are reported.

    A 400 or 413 for a single record is a refusal of that record, which replay sends again.
    """
    monkeypatch.setattr(wire, "READ_TIMEOUT", 3.0)
    sample = write_sample(tmp_path / "x.d", events=3000, seed=5)
    state = tmp_path / "state"
    with _platform(state, {"seed": 1, "faults": EVERY_FAULT}) as platform:
        page = backfill([sample.path], platform, quiet=True)
        log = read_log(state / "local")
    assert set(page.dead_by_reason) <= {"refused_400", "too_large"}
    assert page.exit_code == (3 if page.dead_by_reason else 0)
    assert page.run.delivered == page.run.landed == 3000 - page.run.dead_lettered
    struck = {each.fault for each in log if each.fault}
    assert struck >= {rule["fault"] for rule in EVERY_FAULT}
    assert sum(1 for each in log if each.fault) > len(log) / 10
    assert page.requests == len(log)
    _assert_nothing_lost(state, page, log)
    with _platform(state, {}) as platform:
        again = send_again(ck.open_connection(platform), quiet=True)
    assert again.as_dict()["total"] == {"delivered": 3000, "dead_lettered": 0, "pending": 0, "landed": 3000}


@pytest.mark.parametrize("dialect", ["status", "statusCode"])
def test_only_records_refused_every_time_are_reported(tmp_path: Path, dialect: str) -> None:
    """Records that are always refused are dead letters; their neighbours all land, once."""
    sample = write_sample(tmp_path / "x.d", events=600, seed=6)
    state = tmp_path / "state"
    rule = {"fault": "partial", "status": 400, "share": 0.05, "lasting": True, "dialect": dialect}
    with _platform(state, {"seed": 2, "faults": [rule]}) as platform:
        page = backfill([sample.path], platform, quiet=True)
        log = read_log(state / "local")
    assert (page.exit_code, set(page.dead_by_reason)) == (3, {"refused_400"})
    assert page.run.delivered == page.run.landed == 600 - page.run.dead_lettered
    assert set(_accepted(log).values()) == {1}


def test_only_the_poisoned_record_is_refused_and_it_can_be_replayed(tmp_path: Path) -> None:
    """Requests refused for one bad record are split down to it; after the fix, replay lands it."""
    sample = write_sample(tmp_path / "x.d", events=400, seed=8)
    state = tmp_path / "state"
    rule = {"fault": "status", "status": 400, "share": 0.02}
    with _platform(state, {"seed": 3, "faults": [rule]}) as platform:
        first = backfill([sample.path], platform, quiet=True)
    assert first.exit_code == 3
    assert first.run.landed + first.run.dead_lettered == 400
    with _platform(state, {}) as platform:
        connection = ck.open_connection(platform)
        assert send_again(connection, reason="no_such_reason", quiet=True).requests == 0
        page = send_again(connection, reason="refused_400", quiet=True)
        log = read_log(state / "local")
    assert page.counts.read == page.run.landed == first.run.dead_lettered
    assert page.as_dict()["total"] == {"delivered": 400, "dead_lettered": 0, "pending": 0, "landed": 400}
    assert page.exit_code == 0
    assert set(_accepted(log).values()) == {1}


def test_a_refused_token_stops_cleanly_and_the_next_run_resumes(tmp_path: Path) -> None:
    """A 401 despite a new token ends the run with exit code 1; the next run lands everything."""
    sample = write_sample(tmp_path / "x.d", events=500, seed=9)
    state = tmp_path / "state"
    with _platform(state, {"faults": [{"fault": "expired_token", "after": 5, "count": 20}]}) as platform:
        first = backfill([sample.path], platform, quiet=True)
        assert (first.exit_code, first.run.dead_lettered) == (1, 0)
        assert first.run.pending
        assert first.stopped_by is not None
        assert "401" in first.stopped_by
        while backfill([sample.path], platform, quiet=True).exit_code == 1:
            pass
    assert len(_landed(state)) == 500


@pytest.mark.parametrize("events", [5, 300])
def test_raw_batches_that_are_refused_become_single_posts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: int
) -> None:
    """If the batch path asks for a header, records are posted one by one and land once; the page says so."""
    monkeypatch.setattr("chatlio_kit.local_platform.faults.plan.Trial.element", _mandatory_header)
    sample = write_sample(tmp_path / "x.d", events=events, seed=10)
    state = tmp_path / "state"
    rule = {"fault": "partial", "share": 1.0}
    with _platform(state, {"faults": [rule]}) as platform:
        page = backfill([sample.path], platform, quiet=True)
        log = read_log(state / "local")
    assert (page.exit_code, page.run.landed) == (0, events)
    assert sum("posted one by one" in note for note in page.notes) == 1
    assert set(_accepted(log).values()) == {1}


def _mandatory_header(trial: Any, batch_id: str, index: int) -> dict[str, Any]:
    message = "The 'header' field is mandatory. Provide a valid 'header' value and try again."
    return {"xactionId": f"{batch_id}-{index}", "status": 400, "message": message}


def test_a_wrong_mapping_is_reported_and_replay_lands_everything_after_the_fix(
    local: Platform, tmp_path: Path, remap: Remap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The edge accepts all, nothing lands: pages give the platform's reason; once corrected, all land."""
    sample = write_sample(tmp_path / "x.d", events=200, seed=11)
    prepare = run.Run.prepare

    def spoil(self: run.Run, kinds: Iterable[Kind]) -> None:
        prepare(self, Kind)
        for kind in Kind:
            remap(self.connection, kind, "nullify()")

    monkeypatch.setattr(run.Run, "prepare", spoil)
    page = backfill([sample.path], local, quiet=True)
    assert (page.exit_code, page.run.dead_lettered, page.run.landed) == (3, 200, 0)
    connection = ck.open_connection(local)
    with Ledger(local.settings.state) as ledger:
        found = reconcile(connection, DestinationLedger(ledger, connection.destination), quiet=True)
    assert (found.exit_code, found.total.dead_lettered, found.total.landed) == (3, 200, 0)
    for reason in page.dead_by_reason:
        assert reason.startswith(("DCVS", "MAPPER"))
    for reported in (str(page), page._repr_html_(), str(found), found._repr_html_()):
        assert "required key [_id] not found" in reported
        assert "replay" in reported
    assert {each["reason"] for each in found.as_dict()["dead"]} == set(page.dead_by_reason)

    for kind in Kind:
        remap(connection, kind, "event_id")
    again = send_again(connection, quiet=True)
    assert (again.exit_code, again.run.landed, again.total.dead_lettered) == (0, 200, 0)
    assert again.arrived is not None
    assert again.arrived.lake_rows == 200
    with Ledger(local.settings.state) as ledger:
        assert ledger.fetch_all("SELECT count(*) FROM kept_body")[0][0] == 0


def test_a_trial_run_on_one_platform_does_not_count_for_another(tmp_path: Path) -> None:
    """Rehearsed on local, then sent from the same state folder to a second platform: everything is sent."""
    sample = write_sample(tmp_path / "x.d", events=120, seed=12)
    state = tmp_path / "state"
    with _platform(tmp_path / "other") as other, _platform(state) as platform:
        assert backfill([sample.path], platform, quiet=True).run.landed == 120
        away = replace(other.settings, is_local=False, state=state)
        with Platform(away, sleep=lambda seconds: time.sleep(0.01)) as second:
            page = backfill([sample.path], second, connect=True, skip_guard=True, wait=20, quiet=True)
        again = backfill([sample.path], platform, quiet=True)
    assert (page.run.delivered, page.run.landed, page.counts.duplicates) == (120, 120, 0)
    assert (again.run.delivered, again.counts.duplicates, again.total.landed) == (0, 120, 120)
    with Ledger(state) as ledger:
        assert len(ledger.destinations()) == 2


def test_a_canary_is_read_back_before_the_rest_is_sent(tmp_path: Path) -> None:
    """Not on local: a few records of each dataflow are sent first; the rest follows when they landed."""
    sample = write_sample(tmp_path / "x.d", events=400, seed=13)
    state = tmp_path / "state"
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        time.sleep(0.02)

    with _platform(state, {}, is_local=False) as platform:
        platform.sleep = sleep
        before = forecast([sample.path], platform)
        page = backfill([sample.path], platform, connect=True, skip_guard=True, wait=20, quiet=True)
        log = read_log(state / "local")
        after = forecast([sample.path], platform)
        times = len(looks)
        more = write_sample(tmp_path / "more.d", events=100, seed=15)
        backfill([more.path], platform, skip_guard=True, wait=20, quiet=True)
    assert len(looks) == times
    first = next(each for each in log if each.accepted)
    assert first.messages <= canary.RECORDS
    assert 1.0 in looks
    assert (before.guard_seconds, before.canaries) == (300, 5)
    assert "about 5 minutes until new dataflows accept data" in str(before)
    assert after.canaries == 0
    assert (page.exit_code, page.run.landed) == (0, 400)
    with Ledger(state) as ledger:
        assert ledger.fetch_all("SELECT count(*) FROM canary")[0][0] == len(page.counts.by_kind)


def test_the_dataflows_of_a_batch_become_active_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are created before the first is waited for, so that their waits overlap."""
    sample = write_sample(tmp_path / "x.d", events=100, seed=16)
    created: list[int] = []
    state = tmp_path / "state"
    monkeypatch.setattr(
        run, "wait_until_active", lambda connection, *_, **__: created.append(len(connection.history))
    )
    with _platform(state) as platform:
        connection = ck.plan_connection(platform).apply()
        tables = ck.read_export(sample.path).to_tables(quiet=True)
        with run.Run(connection, state, quiet=True) as sending:
            sending.send(tables.events, tables.messages)
    assert created == [5] * 5


def test_a_failed_canary_stops_sending(tmp_path: Path, remap: Remap) -> None:
    """If the platform fails the first records after accepting them, nothing more is sent."""
    sample = write_sample(tmp_path / "x.d", events=300, seed=14)
    state = tmp_path / "state"
    with _platform(state, {}, is_local=False) as platform:
        platform.sleep = lambda seconds: time.sleep(0.02)
        connection = ck.plan_connection(platform).apply()
        for kind in Kind:
            remap(connection, kind, "nullify()")
        tables = ck.read_export(sample.path).to_tables(quiet=True)
        page = ck.stream(tables, connection, skip_guard=True, quiet=True).reconcile(wait=0)
        log = read_log(state / "local")
    assert page.exit_code == 1
    assert page.stopped_by is not None
    assert "not read back" in page.stopped_by
    assert sum(each.messages for each in log) <= canary.RECORDS
    assert page.run.pending + page.run.dead_lettered == 300
