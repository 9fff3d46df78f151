"""SIGKILL at random moments of one bulk load, on a platform that faults one call in ten; then revert it.

Half of the kills come after a random time, half at a random call of batch ingestion or Catalog, before it is
made or before its answer is used. At the end every event is in the dataset once, the page is right, and the
runs that loaded batches are reverted, after which the dataset is empty. Files are small, so that there are
many batches.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from chatlio_kit import local_platform
from chatlio_kit.aep import Platform, http
from chatlio_kit.connection import open_connection, plan_connection
from chatlio_kit.connection.rows import stored_rows
from chatlio_kit.delivery import Ledger, revert
from chatlio_kit.delivery.bulk import files
from chatlio_kit.delivery.bulk.lots import LotState
from chatlio_kit.delivery.bulk.run import BulkRun
from chatlio_kit.jobs.backfill import backfill
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import Options
from chatlio_kit.samples import write_sample

FAULTS: list[dict[str, Any]] = [
    {"fault": "status", "status": 503, "on": "platform", "rate": 0.02},
    {"fault": "status", "status": 500, "on": "platform", "rate": 0.02},
    {"fault": "reset_before", "on": "platform", "rate": 0.02},
    {"fault": "reset_after", "on": "platform", "rate": 0.02},
    {"fault": "expired_token", "on": "platform", "rate": 0.02},
]
MOST_RUNS = 10
SLICE = 500
_COUNTED = ("/foundation/import/", "/catalog/batches")


def child(captures: str, state: str, file_bytes: int, die_at: int | None) -> None:
    """Load the captures in small files, and print the page; die at a call if asked to."""
    files.FULL_FILE, files._ROW_GROUP, files.FULL_BATCH = file_bytes, file_bytes, 2
    send = BulkRun.send

    def send_in_slices(run: BulkRun, events: pd.DataFrame, messages: pd.DataFrame) -> None:
        for start in range(0, len(events), SLICE):
            send(run, events.iloc[start : start + SLICE], messages)

    BulkRun.send = send_in_slices  # type: ignore[method-assign]
    http.FIRST_PAUSE = 0.05
    points, send_once = itertools.count(1), http.send_once

    def reach() -> None:
        if next(points) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(session: Any, method: str, url: str, **parts: Any) -> Any:
        if not any(path in url for path in _COUNTED):
            return send_once(session, method, url, **parts)
        reach()
        reply = send_once(session, method, url, **parts)
        reach()
        return reply

    http.send_once = counted
    server = local_platform.ensure_running(Path(state) / "local", idle=3600)
    with Platform(settings_of(server, Path(state))) as platform:
        page = backfill([captures], platform, via="batch", wait=900, quiet=True)
    sys.stdout.buffer.write(orjson.dumps({**page.as_dict(), "exit_code": page.exit_code}))


class Load:
    """One bulk load in a state folder, run as often as it takes."""

    def __init__(self, folder: Path, captures: Path, file_bytes: int, faults: list[dict[str, Any]]) -> None:
        self.state = folder
        self.command = [sys.executable, __file__, "--child", str(captures), str(folder), str(file_bytes)]
        with (
            local_platform.running(folder / "local", enabling_delay=0.02) as server,
            Platform(settings_of(server, folder)) as platform,
        ):
            plan_connection(platform, quiet=True).apply(quiet=True)  # creation is not under test here
        options = Options(faults={"seed": 7, "faults": faults}, processing_delay=0.02)
        self.server = local_platform.ensure_running(folder / "local", idle=3600, options=options)

    def kill(self, *, after: float | None = None, at: int | None = None) -> bool:
        """Start a run and kill it after some seconds or at some call; return whether it was still alive."""
        command = [*self.command, *([str(at)] if at is not None else [])]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.kill()
        return process.wait() == -signal.SIGKILL

    def finish(self) -> tuple[dict[str, Any], int]:
        """Run to the end, repeating after too many faults; return the page and the number of runs."""
        for runs in range(1, MOST_RUNS + 1):
            done = subprocess.run(self.command, capture_output=True, check=False)
            if not done.stdout:
                print(done.stderr.decode()[-300:], flush=True)
                continue
            page: dict[str, Any] = orjson.loads(done.stdout)
            if page["exit_code"] == 0:
                return page, runs
        raise SystemExit("The load did not come to its end.")

    def rows(self) -> Counter[str]:
        """Count the rows of the dataset by id, as Data Access gives them."""
        with Platform(settings_of(self.server, self.state)) as platform:
            dataset_id = open_connection(platform, quiet=True).dataset_id
            return Counter(row["_id"] for row in stored_rows(platform, dataset_id, ["_id"], []))

    def revert_all(self) -> list[dict[str, Any]]:
        """Revert every run with loaded batches, and return the results."""
        with Ledger(self.state) as ledger:
            query = "SELECT DISTINCT run FROM lot WHERE state = ? ORDER BY run"
            runs = [run for (run,) in ledger.fetch_all(query, (str(LotState.LOADED),))]
        with Platform(settings_of(self.server, self.state)) as platform:
            connection = open_connection(platform, quiet=True)
            return [revert(connection, run, quiet=True).as_dict() for run in runs]

    def batches(self) -> Counter[str]:
        """Count the lots by state."""
        with Ledger(self.state) as ledger:
            return Counter(dict(ledger.fetch_all("SELECT state, count(*) FROM lot GROUP BY state")))


def soak(
    folder: Path, *, events: int, seed: int, file_bytes: int, moments: list[dict[str, Any]]
) -> dict[str, Any]:
    """Kill a load at these moments, finish it, revert it, and return the findings."""
    sample = write_sample(folder / "captures", events=events, seed=seed)
    load = Load(folder / "state", sample.path, file_bytes, FAULTS)
    try:
        started = time.monotonic()
        hits = sum(load.kill(**moment) for moment in moments)
        page, runs = load.finish()
        seconds, rows, batches = time.monotonic() - started, load.rows(), load.batches()
        left_over = [path.name for path in (load.state / files.FOLDER).iterdir()]
        reverted = load.revert_all()
        return {
            "events": events,
            "kills that hit": hits,
            "runs to the end": runs,
            "batches loaded": batches[LotState.LOADED],
            "lots without verdict": batches[LotState.WRITTEN],
            "lost": events - len(rows),
            "doubled": rows.total() - len(rows),
            "page: delivered": page["total"]["delivered"],
            "page: landed": page["total"]["landed"],
            "page: pending": page["total"]["pending"],
            "files left over": len(left_over),
            "runs reverted": len(reverted),
            "events taken back": sum(result["gone"] for result in reverted),
            "rows after revert": load.rows().total(),
            "seconds": round(seconds),
        }
    finally:
        local_platform.stop(load.state / "local")


def is_right(found: dict[str, Any]) -> bool:
    """Return whether nothing was lost or duplicated, the page is right, and everything was reverted."""
    zeros = (
        "lost",
        "doubled",
        "page: pending",
        "lots without verdict",
        "files left over",
        "rows after revert",
    )
    wholes = ("page: delivered", "page: landed", "events taken back")
    return not any(found[name] for name in zeros) and all(found[name] == found["events"] for name in wholes)


def main() -> None:
    """Kill, continue, compare, revert, and print a table."""
    if sys.argv[1:2] == ["--child"]:
        captures, state, file_bytes, *die_at = sys.argv[2:]
        child(captures, state, int(file_bytes), int(die_at[0]) if die_at else None)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--file-bytes", type=int, default=200_000)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    moments: list[dict[str, Any]] = [
        {"after": chance.uniform(2.0, 15.0)} if number % 2 else {"at": chance.randint(1, 150)}
        for number in range(given.kills)
    ]
    with tempfile.TemporaryDirectory() as folder:
        found = soak(
            Path(folder),
            events=given.events,
            seed=given.seed,
            file_bytes=given.file_bytes,
            moments=moments,
        )
    for what, count in found.items():
        print(f"{what:24} {count:>10,}")
    if not is_right(found):
        raise SystemExit("The soak failed.")


if __name__ == "__main__":
    main()
