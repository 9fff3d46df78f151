"""Convert beside what an analyst would write: the same files, the same run, each in a process of its own.

    python tests/benchmarks/convert_speed.py [--events 600000 --events 60000] [--only ours]

Prints for each way what it does, the seconds of the whole process, the ratio to json.loads + json_normalize,
and the peak memory summed over its process tree (resident, so pages that two processes share count twice).
Only ours validates, tells kinds apart, takes out duplicates and writes tables to disk. A peer that is not
installed prints "not run"; one that fails prints how.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import psutil

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
    import sys, tempfile
    from chatlio_kit.cli import main
    with tempfile.TemporaryDirectory(dir=sys.argv[2]) as out:
        main(["convert", sys.argv[1], "--out", out, "--json"])
""",
}
DOES = {
    "json.loads + json_normalize": "parses; one frame of payload keys, messages as lists",
    "pandas read_json": "parses; the same",
    "polars read_ndjson": "parses; the same, messages as structs",
    "duckdb read_json": "parses; one Arrow table, payloads as structs",
    "chatlio-kit convert": "parses, checks, sifts; five tables, rejects and a report on disk",
}
_NEEDS = {"polars read_ndjson": "polars", "duckdb read_json": "duckdb"}
BASE, OURS = "json.loads + json_normalize", "chatlio-kit convert"


def measure(code: str, export: Path, scratch: Path) -> tuple[float, float, str]:
    """Run a way; give its seconds, its peak megabytes, and what went wrong, if anything."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(export), str(scratch)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    root, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        peak = max(peak, _resident(root))
        time.sleep(0.1)
    seconds = time.perf_counter() - begun
    _, told = process.communicate()
    wrong = told.strip().splitlines()[-1][:80] if process.returncode and told.strip() else ""
    return seconds, peak / 1e6, wrong


def _resident(root: psutil.Process) -> int:
    total = 0
    try:
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
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


def compare(export: Path, scratch: Path, only: list[str] | None) -> None:
    """Measure every way on one export, and print a line for each."""
    size = sum(path.stat().st_size for path in export.rglob("*.ndjson*")) / 1e6
    print(f"\n{export.name}: {size:,.0f} MB on disk, {os.cpu_count()} processors")
    print(f"{'way':<30}{'seconds':>9}{'ratio':>8}{'peak MB':>9}  does")
    base = 0.0
    for name, code in WAYS.items():
        if only and not any(part in name for part in only):
            continue
        if name in _NEEDS and not _is_installed(_NEEDS[name]):
            print(f"{name:<30}{'not run':>9}")
            continue
        seconds, peak, wrong = measure(code, export, scratch)
        base = seconds if name == BASE else base
        ratio = f"{base / seconds:.2f}" if base and not wrong else "-"
        print(f"{name:<30}{seconds:>9.1f}{ratio:>8}{peak:>9,.0f}  {wrong or DOES[name]}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--events", type=int, action="append", help="records; once for each export")
    parser.add_argument("--export", type=Path, action="append", help="an export that is there already")
    parser.add_argument("--only", action="append", help="a part of a way's name")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for export in options.export or ():
            compare(export, Path(folder), options.only)
        for events in options.events or (() if options.export else (600_000, 60_000)):
            export = Path(folder) / f"{events:,} records"
            command = [sys.executable, "-m", "chatlio_kit", "sample", str(export)]
            subprocess.run([*command, "--events", str(events)], check=True, capture_output=True)
            compare(export, Path(folder), options.only)


if __name__ == "__main__":
    main()
