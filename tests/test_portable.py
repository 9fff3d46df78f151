"""The whole journey, with all its processes, runs without POSIX-only modules."""

from __future__ import annotations

import json
import os
import site
import subprocess
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parent.parent
STORE = Path(".chatlio-kit") / "local"
WITHOUT_POSIX = """
import os, signal, sys
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
del os.fork, os.forkpty, os.getuid, os.killpg, signal.SIGKILL
"""
FOUND = "[hasattr(__import__(name), part) for name, part in [('os', 'fork'), ('signal', 'SIGKILL')]]"
CONVERT = f"""
import sys
from pathlib import Path
from chatlio_kit.pool import create_pool
from chatlio_kit.tables import read_export
from chatlio_kit.tables.convert import convert
with create_pool(2) as workers:
    print(workers.submit(eval, {FOUND!r}).result())
    convert(read_export([sys.argv[1]]), Path(sys.argv[2]), executor=workers, quiet=True)
"""
STOP = f"""
from pathlib import Path
from chatlio_kit import local_platform
local_platform.stop(Path({str(STORE)!r}))
"""
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Runs Python in an environment of its own, which takes the POSIX-only parts away at every start."""
    venv.create(tmp_path / "environment", symlinks=True)
    (packages,) = (tmp_path / "environment").glob("lib/python*/site-packages")
    (packages / "without_posix.py").write_text(WITHOUT_POSIX, encoding="utf-8")
    added = "".join(f"import site; site.addsitedir({folder!r})\n" for folder in site.getsitepackages())
    (packages / "journey.pth").write_text(f"{ROOT}\nimport without_posix\n{added}", encoding="utf-8")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*arguments: object) -> str:
        command = [tmp_path / "environment" / "bin" / "python", *map(str, arguments)]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=tmp_path, env=variables
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield run
    run("-c", STOP)


def test_the_journey_needs_nothing_that_only_posix_has(run: Run, tmp_path: Path) -> None:
    """Sample, convert with two workers, backfill on the local platform, status and forget."""
    captures, tables, log = tmp_path / "captures", tmp_path / "tables", tmp_path / STORE / "server.log"
    run("-m", "chatlio_kit", "sample", captures, "--events", 300)
    assert run("-c", CONVERT, captures, tables) == "[False, False]\n"  # a worker lacks them too
    events = pq.read_table(tables / "events.parquet")
    assert events.num_rows == 300

    page = json.loads(run("-m", "chatlio_kit", "backfill", captures, "--connect", "--json"))
    assert (page["delivered"], page["landed"]) == (300, 300)
    assert "soft file lock" in log.read_text(encoding="utf-8")  # the server has no fcntl either

    (sent,) = json.loads(run("-m", "chatlio_kit", "status", "--json"))["destinations"]
    assert sent["total"]["delivered"] == 300

    visitor = next(value for value in events["visitor_id"].to_pylist() if value)
    options = ("--visitor-id", visitor, "--tables", tables, "--yes", "--json")
    forgotten = json.loads(run("-m", "chatlio_kit", "forget", captures, *options))
    of_visitor = events["visitor_id"].to_pylist().count(visitor)
    assert forgotten["lake_rows"] >= of_visitor
    assert forgotten["events"] >= of_visitor
    assert visitor not in pq.read_table(tables / "events.parquet")["visitor_id"].to_pylist()
