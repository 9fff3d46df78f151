"""Convert on a Dask cluster of one and of two workers, with the local pool and without workers, in one run.

    python tests/benchmarks/cluster_speed.py [--events 600000] [--export FOLDER] [--workers 1 --workers 2]

Scheduler, workers and the program are processes of their own on the loopback interface. Prints for each way
the seconds of the wall clock, the processor seconds of the program and of its workers together, the events a
second that these allow, and the ratio of that to no workers. "Allowed" is events / max(program, workers /
their number): what each process would do with a processor of its own. On a machine that others use, or with
fewer processors than processes, the wall clock says little, and this is what can be compared. The last column
says whether the tables are those of the first way.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import distributed
import pandas as pd
import psutil
import pyarrow.parquet as pq

CONVERT = """
import json, os, sys, time
from pathlib import Path
from chatlio_kit.tables import Export, ReadOptions, convert
source, out, workers, cluster = sys.argv[1:]
export = Export([source], ReadOptions(), workers=int(workers), cluster=cluster or None)
begun = time.perf_counter()
converted = convert(export, Path(out), quiet=True)
times = os.times()
print(json.dumps({
    "read": converted.counts.read,
    "wall": time.perf_counter() - begun,
    "program": times.user + times.system,
    "pool": times.children_user + times.children_system,
}))
"""


class Way(NamedTuple):
    """A way to convert: its name, its number of workers, and whether these belong to a cluster."""

    name: str
    workers: int
    is_cluster: bool


@contextmanager
def cluster(workers: int) -> Iterator[tuple[str, list[psutil.Process]]]:
    """Start a scheduler and workers; yield its address and the workers' processes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        run = [sys.executable, "-m", "distributed.cli.dask_"]
        common = ["--scheduler-file", str(file), "--host", "127.0.0.1", "--no-dashboard"]
        started = [_start(run, "scheduler", [*common, "--port", "0"])]
        try:
            while not file.exists():
                time.sleep(0.1)
            one = [*common, "--nthreads", "1", "--nworkers", "1", "--local-directory", folder]
            started += [_start(run, "worker", one) for _ in range(workers)]
            address = json.loads(file.read_text(encoding="utf-8"))["address"]
            with distributed.Client(address, set_as_default=False) as client:
                client.wait_for_workers(workers, timeout=120)
                pids = client.run(_pid)
            yield address, [psutil.Process(pid) for pid in pids.values()]
        finally:
            for process in reversed(started):
                process.terminate()
            for process in started:
                process.wait(60)


def _start(run: list[str], which: str, options: list[str]) -> subprocess.Popen[bytes]:
    command = [*run[:-1], run[-1] + which, *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _pid() -> int:
    return psutil.Process().pid


def measure(way: Way, export: Path, out: Path) -> dict[str, float]:
    """Convert in one way; return the measurements of its processes."""
    if not way.is_cluster:
        figures = _convert(export, out, way.workers, "")
        return {**figures, "workers": figures["pool"]}
    with cluster(way.workers) as (address, processes):
        before = sum(sum(process.cpu_times()[:2]) for process in processes)
        figures = _convert(export, out, 0, address)
        return {**figures, "workers": sum(sum(process.cpu_times()[:2]) for process in processes) - before}


def _convert(export: Path, out: Path, workers: int, address: str) -> dict[str, float]:
    command = [sys.executable, "-c", CONVERT, str(export), str(out), str(workers), address]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    printed = done.stdout.decode()  # DuckDB draws its progress there too
    figures: dict[str, float] = json.loads(printed[printed.index("{") : printed.rindex("}") + 1])
    return figures


def digest(folder: Path) -> str:
    """Return a digest of all output; for Parquet, of the rows in order."""
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix != ".parquet":
            found.update(path.read_bytes())
            continue
        for batch in pq.ParquetFile(path).iter_batches(10_000):
            found.update(pd.util.hash_pandas_object(batch.to_pandas()).to_numpy().tobytes())
    return found.hexdigest()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--events", type=int, default=600_000)
    parser.add_argument("--export", type=Path, help="an existing export")
    parser.add_argument("--workers", type=int, action="append", help="a cluster of so many; may be repeated")
    options = parser.parse_args()
    ways = [Way("no workers", 0, False), Way("local pool of two", 2, False)]
    ways += [Way(f"cluster of {number}", number, True) for number in options.workers or (1, 2)]
    with tempfile.TemporaryDirectory() as folder:
        export = options.export or Path(folder) / "captures"
        if options.export is None:
            sample = [sys.executable, "-m", "chatlio_kit", "sample", str(export)]
            subprocess.run([*sample, "--events", str(options.events)], check=True, capture_output=True)
        print(f"{psutil.cpu_count()} processors, load {psutil.getloadavg()[0]:.1f}", flush=True)
        heads = ("wall", "program", "workers", "allowed", "ratio")
        print(f"{'way':<20}" + "".join(f"{head:>10}" for head in heads) + "  same tables", flush=True)
        first, base = "", 0.0
        for number, way in enumerate(ways):
            out = Path(folder) / str(number)
            figures = measure(way, export, out)
            allowed = figures["read"] / max(figures["program"], figures["workers"] / (way.workers or 1))
            found = digest(out)
            first, base = first or found, base or allowed
            seconds = "".join(f"{figures[name]:>10.1f}" for name in ("wall", "program", "workers"))
            print(
                f"{way.name:<20}{seconds}{allowed:>10,.0f}{allowed / base:>10.2f}  {found == first}",
                flush=True,
            )


if __name__ == "__main__":
    main()
