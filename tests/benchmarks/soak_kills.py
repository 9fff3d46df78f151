"""SIGKILL at random moments of one backfill, then run to the end: nothing is lost, the totals are right.

The moments are spread over the whole of it: some while a run starts and converts, most while it sends (after
a random number of requests), some while it reads back. Duplicates in the lake are compared with
the records in flight at each kill: accepted by the platform, but not yet recorded as delivered.
"""

from __future__ import annotations

import argparse
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson

from chatlio_kit import local_platform
from chatlio_kit.delivery.requests.sending import WORKERS
from chatlio_kit.local_platform import Options, read_log
from chatlio_kit.samples import write_sample

WHILE_STARTING = 0.2
WHILE_READING_BACK = 0.2
PATIENCE = 300.0


class Backfill:
    """One backfill in a state folder, run as often as it takes."""

    def __init__(self, folder: Path, captures: Path) -> None:
        self.state = folder
        self.command = [sys.executable, "-m", "chatlio_kit", "backfill", str(captures)]
        self.command += ["--state", str(folder), "--json", "--wait", "900"]
        local_platform.ensure_running(folder / "local", idle=3600, options=Options(faults={}))

    def start(self) -> subprocess.Popen[bytes]:
        """Start a run that will be killed."""
        return subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def finish(self) -> tuple[int, dict[str, Any], float]:
        """Run to the end; return exit code, page and seconds."""
        started = time.monotonic()
        done = subprocess.run(self.command, capture_output=True, check=False)
        return done.returncode, orjson.loads(done.stdout), time.monotonic() - started

    def requests(self) -> int:
        """Return the number of requests that the platform has answered so far."""
        with closing(sqlite3.connect(self.state / "local" / "platform.sqlite3", timeout=60)) as store:
            return int(store.execute("SELECT coalesce(max(number), 0) FROM fault_log").fetchone()[0])

    def unknown(self) -> int:
        """Return the number of accepted events that are not recorded in the ledger."""
        accepted = sum(len(each.accepted) for each in read_log(self.state / "local"))
        ledger = self.state / "ledger.db"
        if not ledger.exists():
            return accepted
        with closing(sqlite3.connect(ledger, timeout=60)) as db:
            return accepted - int(
                db.execute("SELECT count(*) FROM event WHERE fate = 'delivered'").fetchone()[0]
            )


def kill(backfill: Backfill, chance: random.Random, *, requests: int | None) -> bool:
    """Start a run and kill it after some more requests or seconds; return whether it was still alive."""
    process = backfill.start()
    if requests is None:
        moment = time.monotonic() + chance.uniform(0.5, 6.0)
        while process.poll() is None and time.monotonic() < moment:
            time.sleep(0.01)
    else:
        wanted = backfill.requests() + requests
        patience = time.monotonic() + PATIENCE
        while process.poll() is None and backfill.requests() < wanted and time.monotonic() < patience:
            time.sleep(0.005)
        time.sleep(chance.uniform(0.0, 0.2))
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.5)  # the platform still accepts the request that it was reading
    return alive


def main() -> None:
    """Kill, continue, compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sample = write_sample(folder / "captures", events=given.events, seed=given.seed)
        quiet, killed = (Backfill(folder / each, sample.path) for each in ("quiet", "killed"))
        try:
            _, undisturbed, quiet_seconds = quiet.finish()
            in_all = quiet.requests()
            local_platform.stop(quiet.state / "local")
            starting, reading = (round(given.kills * each) for each in (WHILE_STARTING, WHILE_READING_BACK))
            sending = given.kills - starting - reading
            moments = [None] * starting + [
                chance.randint(1, max(2, 2 * in_all // sending)) for _ in range(sending)
            ]
            chance.shuffle(moments)
            in_flight: list[int] = []
            hits = unknown = 0
            for requests in [*moments, *[None] * reading]:
                hits += kill(killed, chance, requests=requests)
                before, unknown = unknown, killed.unknown()
                in_flight.append(max(0, unknown - before))
            exit_code, page, seconds = killed.finish()
            log = read_log(killed.state / "local")
        finally:
            for each in (quiet, killed):
                local_platform.stop(each.state / "local")
    accepted = Counter(name for each in log for name in each.accepted)
    doubled = sum(accepted.values()) - len(accepted)
    bound = WORKERS * max(each.messages for each in log)
    rows = [
        ("events", given.events),
        ("kills that hit", hits),
        ("exit code of the last run", exit_code),
        ("lost", given.events - len(accepted)),
        *((f"total {fate}", count) for fate, count in page["total"].items()),
        ("rows twice in the lake", doubled),
        ("in flight at the kills, summed up", sum(in_flight)),
        ("in flight at one kill, at most", max(in_flight)),
        (f"events that {WORKERS} requests hold, at most", bound),
    ]
    for what, count in rows:
        print(f"{what:56} {count:>10,}")
    print(f"{'seconds of an undisturbed run':56} {quiet_seconds:>10.1f}")
    print(f"{'seconds of the last run':56} {seconds:>10.1f}")
    is_whole = page["total"] == undisturbed["total"] and len(accepted) == given.events
    holds = is_whole and doubled <= sum(in_flight) and max(in_flight) <= bound
    if not holds or exit_code:
        raise SystemExit("The soak failed.")


if __name__ == "__main__":
    main()
