"""SIGKILL at random moments of one backfill, then to the end: nothing lost, the totals of a quiet run."""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import orjson

from chatlio_kit import local_platform
from chatlio_kit.delivery.sending import WORKERS
from chatlio_kit.samples import write_sample


def main() -> None:
    """Kill, go on, compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--longest", type=float, default=12.0, help="seconds before a kill, at most")
    given = parser.parse_args()
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        sample = write_sample(Path(folder) / "captures", events=given.events, seed=given.seed)
        command = [sys.executable, "-m", "chatlio_kit", "backfill", str(sample.path)]
        command += ["--state", str(state), "--json", "--wait", "600"]
        options = local_platform.Options(faults={})
        local_platform.ensure_running(state / "local", idle=3600, options=options)
        try:
            kills = 0
            for _ in range(given.kills):
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                try:
                    process.wait(chance.uniform(1.0, given.longest))
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    kills += 1
            started = time.monotonic()
            done = subprocess.run(command, capture_output=True, check=False)
            seconds = time.monotonic() - started
            page = orjson.loads(done.stdout)
            log = local_platform.read_log(state / "local")
        finally:
            local_platform.stop(state / "local")
    accepted = Counter(name for each in log for name in each.accepted)
    largest = max(each.messages for each in log)
    doubled = sum(accepted.values()) - len(accepted)
    bound = kills * WORKERS * largest
    rows = [
        ("events", given.events),
        ("kills that hit", kills),
        ("exit code of the last run", done.returncode),
        ("lost", given.events - len(accepted)),
        ("total delivered", page["total"]["delivered"]),
        ("total landed", page["total"]["landed"]),
        ("total pending", page["total"]["pending"]),
        ("accepted twice", doubled),
        ("at most, by requests in flight", bound),
    ]
    for what, count in rows:
        print(f"{what:32} {count:>12,}")
    print(f"{'seconds of the last run':32} {seconds:>12.1f}")
    whole = {"delivered": given.events, "dead_lettered": 0, "pending": 0, "landed": given.events}
    if page["total"] != whole or len(accepted) != given.events or doubled > bound:
        raise SystemExit("The soak failed.")


if __name__ == "__main__":
    main()
