"""Many random histories of the delivery; see `history_machine`. A failing history shrinks to a few lines."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from history_bugs import BUGS
from history_machine import TALLY, Histories
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

CHUNK = 100
STEPS = 8


def run_histories(count: int, first_seed: int, *, shrink: bool = True) -> Counter[str]:
    """Run this many histories in chunks, each with its own seed, and return their totals."""
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    number = first_seed
    while TALLY["histories"] < count:
        chosen = settings(
            max_examples=min(CHUNK, count - TALLY["histories"]),
            stateful_step_count=STEPS,
            phases=phases,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(seed(number)(Histories), settings=chosen)
        number += 1
        print(json.dumps(dict(TALLY)), flush=True)
    return TALLY


def find_bugs(histories: int, names: list[str]) -> bool:
    """Inject each bug, search at random, print the shrunk history, and return whether all were found."""
    chosen = settings(
        max_examples=histories,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    missed = []
    for name in names or BUGS:
        try:
            with BUGS[name].put_in():
                run_state_machine_as_test(Histories, settings=chosen)
            missed.append(name)
            print(f"{name}: not found", flush=True)
        except AssertionError as error:
            steps = [line for line in getattr(error, "__notes__", []) if "nothing_forbidden" not in line]
            print(f"{name}: {str(error).splitlines()[0]}\n" + "\n".join(steps), flush=True)
    return not missed


def main() -> None:
    """Run the histories in several processes, and print their totals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=21_000)
    parser.add_argument("--no-shrink", action="store_true", help="print a failing history as it came")
    parser.add_argument("--alone", action="store_true", help="run them in this process")
    parser.add_argument("--bugs", nargs="*", help="look for bugs that are put in; by default for all")
    given = parser.parse_args()
    if given.bugs is not None:
        if not find_bugs(given.histories, given.bugs):
            raise SystemExit("A bug was not found.")
        return
    if given.alone:
        run_histories(given.histories, given.seed, shrink=not given.no_shrink)
        return
    started = time.monotonic()
    share = -(-given.histories // given.processes)
    workers = []
    for number in range(given.processes):
        command = [sys.executable, str(Path(__file__)), "--alone", "--histories", str(share)]
        command += ["--seed", str(given.seed + number * 100_000)]
        command += ["--no-shrink"] if given.no_shrink else []
        workers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    total: Counter[str] = Counter()
    for worker in workers:
        output, _ = worker.communicate()
        total.update(json.loads(output.splitlines()[-1]) if output else {})
    for what, counted in sorted(total.items()):
        print(f"{what:32} {counted:>10,}")
    failed = sum(worker.returncode != 0 for worker in workers)
    print(f"{'processes that found a fault':32} {failed:>10,}")
    print(f"{'seconds':32} {time.monotonic() - started:>10,.0f}")
    if failed:
        raise SystemExit("The soak failed.")


if __name__ == "__main__":
    main()
