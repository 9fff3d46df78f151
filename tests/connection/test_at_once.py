"""Two simultaneous connects leave one connection behind, complete and used by both."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from filelock import FileLock

import chatlio_kit as ck
from chatlio_kit import local_platform
from chatlio_kit.aep import Platform
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection import Connection, plan_connection, provision
from chatlio_kit.connection.provision import LOCK
from chatlio_kit.errors import ConnectionIncomplete
from chatlio_kit.jobs.platforms import open_platform, settings_of
from chatlio_kit.local_platform import Options, RunningPlatform, running
from chatlio_kit.private_files import make_state
from chatlio_kit.samples import write_sample

Census = dict[str, list[str]]
Count = Callable[[Platform], Census]
OWN = ("mapping set", "source", "target", "dataflow")
ONE_OF_EACH = {"field group": 1, "schema": 1, "dataset": 1} | dict.fromkeys(OWN, len(Kind))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningPlatform]:
    """A platform without any connection."""
    with running(tmp_path / "store", enabling_delay=0.05, processing_delay=0.02) as server:
        yield server


def _meet_at_every_create(platforms: list[Platform], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the platforms' users wait for each other right before each create, after all have looked."""
    everybody = threading.Barrier(len(platforms))

    def together(create: Callable[..., Any]) -> Callable[..., Any]:
        def made(*asked: Any) -> Any:
            try:
                everybody.wait(timeout=0.5)
            except threading.BrokenBarrierError:  # the others reuse existing objects
                everybody.reset()
            return create(*asked)

        return made

    for platform in platforms:
        for api, name in (
            (platform.schemas, "create"),
            (platform.catalog, "create_dataset"),
            (platform.mapping_sets, "create"),
            (platform.flows, "create_endpoint"),
            (platform.flows, "create_flow"),
        ):
            monkeypatch.setattr(api, name, together(getattr(api, name)))


@pytest.mark.parametrize("users", [2, 3])
def test_separate_states_leave_one_of_each(
    tmp_path: Path,
    server: RunningPlatform,
    count_objects: Count,
    monkeypatch: pytest.MonkeyPatch,
    users: int,
) -> None:
    """The run that created an object second removes it and continues with the first."""
    with ExitStack() as stack:
        platforms = [
            stack.enter_context(
                Platform(settings_of(server, tmp_path / f"state {number}"), sleep=lambda seconds: None)
            )
            for number in range(users)
        ]
        _meet_at_every_create(platforms, monkeypatch)

        def connect(platform: Platform) -> Connection:
            return plan_connection(platform, quiet=True).apply(quiet=True)

        with ThreadPoolExecutor(users) as pool:
            first, *others = pool.map(connect, platforms)
        found = count_objects(platforms[0])
        assert {thing: len(ids) for thing, ids in found.items()} == ONE_OF_EACH
        for other in others:
            assert (other.schema_id, other.dataset_id) == (first.schema_id, first.dataset_id)
            flows = {kind: flow.flow_id for kind, flow in other.live.items()}
            assert flows == {kind: flow.flow_id for kind, flow in first.live.items()}
        assert plan_connection(platforms[0], quiet=True).changes == 0


def test_one_state_folder_takes_turns(tmp_path: Path, count_objects: Count) -> None:
    """Two first backfills from one folder at the same time: nothing is created or sent twice."""
    sample = write_sample(tmp_path / "captures", events=40, seed=2)
    state = tmp_path / "state"
    local_platform.ensure_running(
        state / "local", options=Options(enabling_delay=0.02, processing_delay=0.02)
    )
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
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
        said = [entry.communicate() for entry in both]
        codes = sorted(entry.returncode for entry in both)
        assert codes in ([0, 0], [0, 1]), said
        for entry, (out, _) in zip(both, said, strict=True):
            reported = orjson.loads(out)
            assert (
                reported["total"]["landed"] == 40
                if entry.returncode == 0
                else "Another run" in reported["error"]
            )
        with open_platform("local", state=state) as platform:
            found = count_objects(platform)
            rows = ck.open_connection(platform, quiet=True).read_rows(quiet=True)
        assert {thing: len(ids) for thing, ids in found.items()} == ONE_OF_EACH | dict.fromkeys(OWN, 10)
        assert (len(rows), rows["event_id"].nunique()) == (40, 40)
    finally:
        local_platform.stop(state / "local")


def test_a_build_waits_for_its_turn(tmp_path: Path, server: RunningPlatform, count_objects: Count) -> None:
    """While another process builds from the same folder, nothing is created."""
    state = tmp_path / "state"
    state.mkdir()
    with Platform(settings_of(server, state)) as platform, ThreadPoolExecutor(1) as pool:
        plan = plan_connection(platform, quiet=True)
        with FileLock(state / LOCK):
            building = pool.submit(plan.apply, quiet=True)
            with pytest.raises(TimeoutError):
                building.result(timeout=1.0)
            with Platform(settings_of(server, state)) as looking:
                assert not any(count_objects(looking).values())
        assert building.result().live


def test_a_lock_of_a_killed_process_delays_no_one(tmp_path: Path, server: RunningPlatform) -> None:
    """The system releases it; the remaining file belongs to a state folder."""
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    hold = (
        "import filelock, sys; filelock.FileLock(sys.argv[1]).acquire(); print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(state / LOCK)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        other.kill()
    assert (state / LOCK).exists()
    make_state(state)
    with Platform(settings_of(server, state)) as platform:
        assert plan_connection(platform, quiet=True).apply(quiet=True).live


def test_a_folder_that_cannot_be_locked_builds_without(tmp_path: Path, server: RunningPlatform) -> None:
    """Nothing can be locked there, so the objects that others created are compared afterwards."""
    state = tmp_path / "state"
    (state / LOCK).mkdir(parents=True)
    with Platform(settings_of(server, state)) as platform:
        assert plan_connection(platform, webhooks=["feedback"], quiet=True).apply(quiet=True).live


def test_a_long_wait_for_a_lock_is_reported(
    tmp_path: Path, server: RunningPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the folder, and nothing was created."""
    monkeypatch.setattr(provision, "LOCK_TIMEOUT", 0.0)
    with Platform(settings_of(server, tmp_path)) as platform, FileLock(tmp_path / LOCK):
        plan = plan_connection(platform, quiet=True)
        with pytest.raises(ConnectionIncomplete, match="Another process has been connecting") as error:
            plan.apply(quiet=True)
        assert str(tmp_path) in str(error.value)
        assert plan_connection(platform, quiet=True).changes == plan.changes


def test_doubles_of_an_earlier_version_need_no_disconnect(
    tmp_path: Path, server: RunningPlatform, count_objects: Count
) -> None:
    """Of two complete connections with one name, the one in use is found; its URLs keep receiving data."""
    with Platform(settings_of(server, tmp_path)) as platform:
        first = plan_connection(platform, quiet=True).apply(quiet=True)
        empty = platform.catalog.dataset(first.dataset_id)
        body = {key: empty[key] for key in ("name", "description", "schemaRef", "fileDescription")}
        newer = platform.catalog.create_dataset(body)
        (flow,) = [entry for entry in platform.flows.flows() if entry.id == first.live[Kind.FEEDBACK].flow_id]
        target = platform.flows.endpoint("target", flow.target_ids[0])
        other_target = platform.flows.create_endpoint(
            "target",
            {
                "name": target.name,
                "description": _description(platform, "target", target.id),
                "connectionSpec": {"id": target.connection_spec_id, "version": "1.0"},
                "data": target.data,
                "params": {"dataSetId": newer},
            },
        )
        plan = plan_connection(platform, quiet=True)
        assert (plan.changes, plan.conflicts) == (0, ())
        again = plan.apply(quiet=True)
    assert again.dataset_id == first.dataset_id
    assert {kind: value.flow_id for kind, value in again.live.items()} == {
        kind: value.flow_id for kind, value in first.live.items()
    }
    assert other_target not in {value.target_connection_id for value in again.live.values()}


def _description(platform: Platform, side: Any, endpoint_id: str) -> str:
    return platform.flows.endpoint(side, endpoint_id).description


def test_no_conflict_advises_removing_live_urls(tmp_path: Path, server: RunningPlatform) -> None:
    """A dataset that was deleted and recreated leaves dataflows that land elsewhere: they are left alone."""
    with Platform(settings_of(server, tmp_path)) as platform:
        first = plan_connection(platform, quiet=True).apply(quiet=True)
        first.history_flow(Kind.FEEDBACK)
        dataset = platform.catalog.dataset(first.dataset_id)
        body = {key: dataset[key] for key in ("name", "description", "schemaRef", "fileDescription")}
        with closing(sqlite3.connect(tmp_path / "store" / "platform.sqlite3", timeout=30)) as store, store:
            store.execute("DELETE FROM resource WHERE kind = 'dataset'")
        platform.catalog.create_dataset(body)
        plan = plan_connection(platform, quiet=True)
        said = " ".join(conflict.reason for conflict in plan.conflicts)
    assert "another dataset" in said
    assert "choose another name" in said
    assert "disconnect" not in said
