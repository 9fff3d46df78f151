"""One server per store folder: found, started, stopped, killed, and never two."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow.parquet as pq
import pytest
import requests

from chatlio_kit.local_platform import CannotServe, Options, ensure_running, running, stop


@pytest.fixture
def store(tmp_path):
    """A store folder whose server is stopped after the test."""
    folder = tmp_path / "store"
    yield folder
    stop(folder)


def pid_of(store):
    """The process that serves a store folder."""
    return json.loads((store / "server.json").read_text())["pid"]


def gone(pid):
    """Return whether a process has ended; waits a little for it."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_a_running_server_is_found(store):
    """The second call finds the server that the first one started."""
    first = ensure_running(store)
    pid = pid_of(store)
    assert ensure_running(store) == first
    assert pid_of(store) == pid


def test_racing_starters_share_one_server(store):
    """Eight simultaneous starters end with one server."""
    with ThreadPoolExecutor(8) as starters:
        found = set(starters.map(lambda _: ensure_running(store), range(8)))
    assert len(found) == 1


def test_racing_processes_share_one_server(store):
    """Starters in different processes end with one server, which outlives them."""
    code = "import sys,pathlib; from chatlio_kit.local_platform import ensure_running as e;"
    code += "print(e(pathlib.Path(sys.argv[1])).url)"
    command = [sys.executable, "-c", code, str(store)]
    starters = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    urls = {starter.communicate(timeout=60)[0].strip() for starter in starters}
    assert len(urls) == 1
    assert requests.get(f"{urls.pop()}/local-platform", timeout=10).status_code == 200


def test_a_stopped_server_does_not_respond(store):
    """Stopping waits for the end; a second stop finds nothing."""
    ensure_running(store)
    pid = pid_of(store)
    assert stop(store) is True
    assert gone(pid)
    assert stop(store) is False
    assert not (store / "server.json").exists()


def test_stopping_an_unused_folder_is_not_an_error(tmp_path):
    """A folder without a server has nothing to stop, and is not created."""
    assert stop(tmp_path / "none") is False
    assert not (tmp_path / "none").exists()


def test_a_killed_server_is_replaced(store):
    """A lock file left by a kill does not deceive: a new server starts."""
    ensure_running(store)
    pid = pid_of(store)
    os.kill(pid, signal.SIGKILL)
    ensure_running(store)
    assert pid_of(store) != pid


def test_another_program_on_the_port_does_not_deceive(store):
    """The answer must come from the server that wrote the lock file."""
    with running(store.parent / "other") as other:
        store.mkdir(mode=0o700)
        (store / "server.json").write_text(
            json.dumps({"pid": 1, "url": other.url, "instance": "ours", "thread": False})
        )
        assert ensure_running(store).url != other.url


def test_two_servers_cannot_share_a_store(store):
    """A store folder has one server, in whichever way it was started."""
    with running(store) as platform:
        assert ensure_running(store) == platform
        with pytest.raises(CannotServe, match="another server"), running(store):
            pass
        with pytest.raises(CannotServe, match="is a thread"):
            stop(store)


def test_an_idle_server_ends_by_itself(store):
    """Without requests the server ends after its idle time."""
    ensure_running(store, idle=0.2)
    assert gone(pid_of(store))


def test_a_server_with_work_is_not_idle(store, connect, event):
    """A server never ends with messages that are not processed."""
    options = Options(enabling_delay=0, processing_delay=1.5)
    api = connect(ensure_running(store, idle=0.5, options=options))
    flow = api.new_flow()
    assert api.send(flow, [event(1)]).status_code == 207
    assert gone(pid_of(store))
    api = connect(ensure_running(store))
    assert api.records(flow)["outputRecordCount"] == 1


def test_folder_and_files_are_private(store, connect, event):
    """The store folder is 0700 and every file in it 0600."""
    api = connect(ensure_running(store, options=Options(enabling_delay=0, processing_delay=0)))
    flow = api.new_flow()
    api.send(flow, [event(1), event(2, at="never")])
    api.wait_for_records(flow, 2)
    for path in (store, *store.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_a_failed_start_gives_the_reason(store):
    """If the server cannot start, the error quotes the end of its log."""
    store.mkdir(mode=0o700)
    (store / "platform.sqlite3").write_text("this is not a database, and long enough to be read as one" * 20)
    with pytest.raises(CannotServe, match="not a database"):
        ensure_running(store)


def test_a_thread_starts_fast_and_leaves_nothing(tmp_path):
    """The in-process server starts in well under a second and ends with its block."""
    started = time.monotonic()
    with running(tmp_path / "store") as platform:
        assert requests.get(f"{platform.url}/local-platform", timeout=10).status_code == 200
        assert time.monotonic() - started < 1
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{platform.url}/local-platform", timeout=10)


@pytest.mark.parametrize("pause", [0.0, 0.1, 0.4])
def test_a_kill_loses_and_doubles_nothing(store, connect, event, pause):
    """Every acknowledged message lands exactly once, wherever in the processing the server is killed."""
    options = Options(enabling_delay=0, processing_delay=0)
    api = connect(ensure_running(store, options=options))
    flow = api.new_flow()
    acknowledged = 0
    for start in range(0, 6000, 500):
        answered = api.send(flow, [event(start + number) for number in range(500)])
        assert answered.status_code == 207
        acknowledged += len(answered.json()["responses"])
    time.sleep(pause)
    os.kill(pid_of(store), signal.SIGKILL)
    api = connect(ensure_running(store, options=options))
    assert api.wait_for_records(flow, acknowledged)["outputRecordCount"] == acknowledged
    ids = rows_of(api, flow)
    assert len(ids) == acknowledged
    assert len(set(ids)) == acknowledged
    recorded = {path.stem for path in (store / "lake").iterdir()}
    assert recorded == set(api.batches(flow, "success"))


def rows_of(api, flow):
    """The ids of all rows of a dataflow's dataset."""
    ids = []
    for batch_id in api.batches(flow, "success"):
        ids += pq.read_table(io.BytesIO(api.download(batch_id)), columns=["_id"])["_id"].to_pylist()
    return ids
