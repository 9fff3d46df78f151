"""Worker processes: ordered results, no leftover processes, and no untrusted code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from chatlio_kit.errors import CaptureError
from chatlio_kit.pool import Pool, create_pool, map_in_order
from chatlio_kit.samples import write_sample


def _workers(of: int) -> list[psutil.Process]:
    """Return the two workers of a process, once they are there."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = [
            process
            for process in psutil.Process(of).children(recursive=True)
            if "spawn_main" in " ".join(process.cmdline())
        ]
        if len(found) == 2:
            return found
        time.sleep(0.02)
    raise AssertionError("the workers did not start")


def _end(workers: list[psutil.Process]) -> bool:
    """Return whether all of them end; a process that was not waited for has ended too."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in workers):
            return True
        time.sleep(0.02)
    return False


def test_results_come_in_the_order_of_their_items() -> None:
    """Results are returned with their items in the items' order, whatever their duration."""
    with create_pool(2) as pool:
        slept = [0.2, 0.0, 0.1, 0.0]
        assert [item for item, _ in map_in_order(pool, time.sleep, slept)] == slept
        texts = ["a" * size for size in range(50)]
        assert list(map_in_order(pool, len, texts)) == [(text, len(text)) for text in texts]
    assert list(map_in_order(None, len, texts)) == [(text, len(text)) for text in texts]


def test_items_are_read_as_workers_come_free() -> None:
    """Few items are held in memory at a time, whatever their number."""
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        for number in range(100):
            read = number
            yield number

    with create_pool(2) as pool:
        for done, _ in map_in_order(pool, str, items()):
            assert read - done <= 3


def test_workers_end_with_their_work() -> None:
    """After the work no worker is left."""
    with create_pool(2) as pool:
        list(map_in_order(pool, len, ["a"]))
        workers = _workers(os.getpid())
    assert not any(each.is_running() for each in workers)


def _busy(pool: Pool, seconds: float) -> tuple[Iterator[tuple[float, None]], list[psutil.Process]]:
    """Return results that take their time, and the workers that are busy with them."""
    results = map_in_order(pool, time.sleep, [0.0, *[seconds] * 9])
    next(results)
    return results, _workers(os.getpid())


def test_an_interrupt_ends_workers_immediately() -> None:
    """Interrupted work is not waited for, however long it takes."""
    workers: list[psutil.Process] = []

    def interrupted() -> None:
        with create_pool(2) as pool:
            workers.extend(_busy(pool, 600)[1])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert _end(workers)


@pytest.mark.parametrize("which", [0, 1])
def test_a_worker_that_dies_is_reported(which: int) -> None:
    """A killed worker, as after running out of memory, is reported in a sentence."""
    workers: list[psutil.Process] = []

    def killed() -> None:
        with create_pool(2) as pool:
            results, found = _busy(pool, 0.5)
            workers.extend(found)
            found[which].kill()
            list(results)

    with pytest.raises(CaptureError, match="ended unexpectedly"):
        killed()
    assert _end(workers)


def test_workers_end_when_their_program_is_killed(tmp_path: Path) -> None:
    """A program that is killed leaves no worker behind; a script needs no main guard."""
    script = tmp_path / "program.py"
    script.write_text(
        "import time\nfrom chatlio_kit.pool import create_pool, map_in_order\n"
        "with create_pool(2) as pool:\n    list(map_in_order(pool, len, ['a']))\n    time.sleep(600)\n",
        encoding="utf-8",
    )
    with subprocess.Popen([sys.executable, str(script)]) as program:
        workers = _workers(program.pid)
        program.kill()
    assert _end(workers)


def test_workers_get_no_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers get only the environment variables that Python needs; the program's own are unchanged."""
    secrets = ("AEP_CLIENT_SECRET", "CHATLIO_KIT_REDACTION_KEY", "AWS_SECRET_ACCESS_KEY", "SOME_TOKEN")
    for name in secrets:
        monkeypatch.setenv(name, "not-for-workers")
    before = dict(os.environ), list(sys.path), sys.modules["__main__"]
    with create_pool(1) as pool:
        found = dict(map_in_order(pool, os.getenv, ["PATH", *secrets]))
    assert found == {"PATH": os.environ["PATH"], **dict.fromkeys(secrets)}
    assert (dict(os.environ), list(sys.path), sys.modules["__main__"]) == before


@pytest.mark.parametrize("started", ["command", "script", "notebook"])
def test_nothing_is_imported_from_the_folder_of_the_captures(tmp_path: Path, started: str) -> None:
    """Modules next to captures are never run, whatever their names."""
    captures = tmp_path / "captures"
    captures.mkdir()
    shutil.copytree(write_sample(tmp_path / "sample", events=200).path, captures / "in")
    mark, tools = tmp_path / "mark", tmp_path / "tools"
    names = ("orjson", "pandas", "pandera", "queue", "threading", "signal", "sitecustomize", "hypothesis",
             "modin", "dask", "geopandas", "chatlio_kit")  # fmt: skip
    for name in names:
        (captures / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write({name!r})\n", encoding="utf-8")
    tools.mkdir()
    convert = (
        "from chatlio_kit.tables import Export, ReadOptions, convert\n"
        "convert(Export(['in'], ReadOptions(), workers=2), __import__('pathlib').Path('out'), quiet=True)\n"
    )
    # A notebook has '' in its import path, as has what is typed in: what it imports itself came before.
    notebook = "import sys, pandera.pandas, duckdb, chatlio_kit.tables.pipeline\nsys.path.insert(0, '')\n"
    (tools / "program.py").write_text((notebook if started == "notebook" else "") + convert, encoding="utf-8")
    command = [sys.executable, str(tools / "program.py")]
    if started == "command":
        patched = "import chatlio_kit.cli.convert as c; c.default_workers = lambda size: 2; "
        run = "from chatlio_kit.cli import main; main(['convert', 'in', '--out', 'out', '--json'])"
        (tools / "chatlio-kit").write_text(patched + run, encoding="utf-8")
        command = [sys.executable, str(tools / "chatlio-kit")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, cwd=captures, env=environment, check=True, capture_output=True, text=True)
    assert (captures / "out" / "report.json").exists()
    assert not mark.exists(), mark.read_text(encoding="utf-8")
