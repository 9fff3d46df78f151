"""Memory of a backfill over its whole process tree: ten times the events should need hardly more.

The local platform has its own process; it is counted once without and once with the others.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from chatlio_kit import local_platform
from chatlio_kit.local_platform import Options
from chatlio_kit.samples import write_sample


@dataclass
class Peaks:
    """The peak memory in bytes.

    Shared pages count in each process, but once in ``shared_once``, if the system reports them.
    """

    main: int = 0
    tree: int = 0
    shared_once: int = 0
    with_platform: int = 0


def measure(events: int, via: str) -> tuple[Peaks, float, int]:
    """Return peaks, seconds, and the ledger's size in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        state, captures = Path(folder) / "state", Path(folder) / "captures"
        write_sample(captures, events=events)
        local_platform.ensure_running(state / "local", idle=3600, options=Options())
        command = [sys.executable, "-m", "chatlio_kit", "backfill", str(captures)]
        command += ["--state", str(state), "--json", "--wait", "7200", "--via", via]
        peaks = Peaks()
        try:
            server = _server_of(state)
            started = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            looks = 0
            while process.poll() is None:
                looks += 1
                if looks % 20 == 0:  # a second: it reads every page table
                    peaks.shared_once = max(peaks.shared_once, _proportional(psutil.Process(process.pid)))
                main, *others = _resident(psutil.Process(process.pid))
                tree = main + sum(others)
                peaks.main, peaks.tree = max(peaks.main, main), max(peaks.tree, tree)
                peaks.with_platform = max(peaks.with_platform, tree + sum(_resident(server)))
                time.sleep(0.05)
            seconds = time.perf_counter() - started
            if process.returncode:
                raise SystemExit(f"The backfill ended with {process.returncode}.")
            ledger = (state / "ledger.db").stat().st_size
        finally:
            local_platform.stop(state / "local")
    return peaks, seconds, ledger


def _server_of(state: Path) -> psutil.Process:
    store = str((state / "local").resolve())
    return next(each for each in psutil.process_iter(["cmdline"]) if store in (each.info["cmdline"] or []))


def _resident(root: psutil.Process) -> list[int]:
    """Return the resident bytes of a process and its descendants."""
    found = []
    try:
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return [0]
    for process in tree:
        try:
            found.append(process.memory_info().rss)
        except psutil.Error:  # it has just ended
            found.append(0)
    return found


def _proportional(root: psutil.Process) -> int:
    """Return the bytes of a process and its children, shared pages counted once; 0 if unknown."""
    total = 0
    try:
        for process in [root, *root.children(recursive=True)]:
            total += getattr(process.memory_full_info(), "pss", 0)
    except psutil.Error:
        return 0
    return total


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--events", type=int, action="append", help="how many; by default 20,000 and ten times"
    )
    parser.add_argument("--via", choices=("stream", "batch"), default="stream", help="the route")
    given = parser.parse_args()
    print(
        "| events | MB, main process | MB, process tree | MB, shared pages once "
        "| MB, with the local platform | s | ledger MB |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for events in given.events or [20_000, 200_000]:
        peaks, seconds, ledger = measure(events, given.via)
        sizes = [f"{size / 1e6:,.0f}" for size in vars(peaks).values()]
        print(f"| {events:,} | {' | '.join(sizes)} | {seconds:.1f} | {ledger / 1e6:.1f} |", flush=True)


if __name__ == "__main__":
    main()
