"""Convert beside what an analyst would write: the same files, the same run, each in a process of its own.

    python tests/benchmarks/convert_speed.py [--events 600000 --events 60000] [--only chatlio] [--rounds 3]

Ways are run one after the other, in several rounds, since a machine is not equally fast at all times, each
after a rest, so that none pays for what the one before it left behind.
Prints for each way the median seconds of the whole process, their ratio to json.loads + json_normalize with
the least and the greatest of any round, the peak memory summed over its process tree (resident, so pages
that two processes share count twice), and what it does. Only ours validates, tells kinds apart, takes out
duplicates and writes tables to disk. A peer that is not installed prints "not run"; one that fails, how.
"""

from __future__ import annotations

import argparse
import compileall
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from itertools import count
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import NamedTuple

import psutil

import chatlio_kit

_LINES = """
    import gzip, sys
    from pathlib import Path
    files = sorted(Path(sys.argv[1]).rglob("*.ndjson*"))
    opened = lambda path: gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")
"""
WAYS = {
    "json.loads + json_normalize": _LINES
    + """
    import json
    import pandas as pd
    rows = []
    for path in files:
        with opened(path) as lines:
            rows += [json.loads(line) for line in lines]
    print(len(pd.json_normalize(rows)))
""",
    "pandas read_json": _LINES
    + """
    import pandas as pd
    frames = [pd.read_json(path, lines=True) for path in files]
    frame = pd.concat(frames, ignore_index=True)
    print(len(pd.concat([frame.drop(columns="payload"), pd.json_normalize(frame["payload"])], axis=1)))
""",
    "polars read_ndjson": _LINES
    + """
    import polars as pl
    frames = []
    for path in files:
        with opened(path) as lines:
            frames.append(pl.read_ndjson(lines.read(), infer_schema_length=None).unnest("payload"))
    print(len(pl.concat(frames, how="diagonal_relaxed")))
""",
    "duckdb read_json": """
    import sys
    import duckdb
    query = "SELECT * FROM read_json(?, format='newline_delimited', union_by_name=true, sample_size=-1)"
    print(len(duckdb.execute(query, [sys.argv[1] + "/**/*.ndjson*"]).to_arrow_table()))
""",
    "chatlio-kit convert": """
    import sys
    from chatlio_kit.cli import main
    main(["convert", sys.argv[1], "--out", sys.argv[2], "--json"])
""",
}
DOES = {
    "json.loads + json_normalize": "parses; one frame of payload keys, messages as lists",
    "pandas read_json": "parses; the same",
    "polars read_ndjson": "parses; the same, messages as structs",
    "duckdb read_json": "parses; one Arrow table, payloads as structs",
    "chatlio-kit convert": "parses, checks, deduplicates; five tables, rejects and a report on disk",
}
_NEEDS = {"polars read_ndjson": "polars"}
_REST = 3.0
"""Seconds before each run: the system tidies up after one that held gigabytes, or wrote some."""
_TURNS_BETWEEN = 5
"""Looks at a tree's memory for each at who is in it, which takes longer: all processes are read for it."""
BASE, OURS = "json.loads + json_normalize", "chatlio-kit convert"


class Run(NamedTuple):
    """What one run of a way took.

    Attributes:
        seconds: of the whole process.
        peak: megabytes, summed over its process tree.
        wrong: what went wrong, if anything.
    """

    seconds: float
    peak: float
    wrong: str


def measure(code: str, export: Path) -> Run:
    """Run a way; what it writes is taken away afterwards."""
    with tempfile.TemporaryDirectory() as out:
        return _measured(code, export, Path(out))


def _measured(code: str, export: Path, out: Path) -> Run:
    os.sync()
    time.sleep(_REST)
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(export), str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    root, peak, ended = psutil.Process(process.pid), 0, Event()

    def look() -> None:
        nonlocal peak
        tree: list[psutil.Process] = []
        for turn in count():
            if ended.wait(0.1):
                return
            if turn % _TURNS_BETWEEN == 0:
                tree = _tree(root)
            peak = max(peak, _resident(tree))

    looking = Thread(target=look)
    looking.start()
    _, told = process.communicate()
    seconds = time.perf_counter() - begun
    ended.set()
    looking.join()
    wrong = told.strip().splitlines()[-1][:80] if process.returncode and told.strip() else ""
    print(f"  {seconds:.1f} s", end="", file=sys.stderr, flush=True)
    return Run(seconds, peak / 1e6, wrong)


def _tree(root: psutil.Process) -> list[psutil.Process]:
    try:
        return [root, *root.children(recursive=True)]
    except psutil.Error:  # it ended while we looked
        return []


def _resident(tree: list[psutil.Process]) -> int:
    total = 0
    for process in tree:
        try:
            total += process.memory_info().rss
        except psutil.Error:  # it ended while we looked
            continue
    return total


def _is_installed(module: str) -> bool:
    return (
        subprocess.run(
            [sys.executable, "-c", f"import {module}"], capture_output=True, check=False
        ).returncode
        == 0
    )


def compare(export: Path, only: list[str] | None, rounds: int) -> None:
    """Measure every way on one export, and print a line for each."""
    size = sum(path.stat().st_size for path in export.rglob("*.ndjson*")) / 1e6
    print(f"\n{export.name}: {size:,.0f} MB on disk, {os.cpu_count()} processors, {rounds} rounds")
    names = [name for name in WAYS if not only or any(part in name for part in only)]
    there = [name for name in names if name not in _NEEDS or _is_installed(_NEEDS[name])]
    runs = [{name: measure(WAYS[name], export) for name in there} for _ in range(rounds)]
    print(file=sys.stderr)
    print(f"{'way':<30}{'seconds':>9}{'ratio':>8}{'of rounds':>14}{'peak MB':>9}  does")
    for name in names:
        if name not in there:
            print(f"{name:<30}{'not run':>9}")
            continue
        seconds = median(each[name].seconds for each in runs)
        peak = max(each[name].peak for each in runs)
        wrong = next((each[name].wrong for each in runs if each[name].wrong), "")
        ratio = of_rounds = "-"
        if BASE in there and not wrong:
            ratio = f"{median(each[BASE].seconds for each in runs) / seconds:.2f}"
            told = [each[BASE].seconds / each[name].seconds for each in runs]
            of_rounds = f"{min(told):.2f} to {max(told):.2f}"
        print(f"{name:<30}{seconds:>9.1f}{ratio:>8}{of_rounds:>14}{peak:>9,.0f}  {wrong or DOES[name]}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--events", type=int, action="append", help="records; once for each export")
    parser.add_argument("--export", type=Path, action="append", help="an export that is there already")
    parser.add_argument("--only", action="append", help="a part of a way's name")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is run")
    options = parser.parse_args()
    # An installed package comes compiled, as the peers have: a working copy need not be.
    compileall.compile_dir(Path(chatlio_kit.__file__).parent, quiet=1)
    with tempfile.TemporaryDirectory() as folder:
        for export in options.export or ():
            compare(export, options.only, options.rounds)
        for events in options.events or (() if options.export else (600_000, 60_000)):
            export = Path(folder) / f"{events:,} records"
            command = [sys.executable, "-m", "chatlio_kit", "sample", str(export)]
            subprocess.run([*command, "--events", str(events)], check=True, capture_output=True)
            compare(export, options.only, options.rounds)


if __name__ == "__main__":
    main()
