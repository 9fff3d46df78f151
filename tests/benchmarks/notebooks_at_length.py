"""Run every notebook with other parameters in its own kernel; print seconds and peak memory of each.

``python tests/benchmarks/notebooks_at_length.py [EVENTS]``: a larger export with bad records, a platform with
faults, bare captures whose kind and time two parameters say, and an export of EVENTS (100,000 by default).
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbclient import NotebookClient

import chatlio_kit as ck
from chatlio_kit import local_platform
from chatlio_kit.jobs.platforms import STORE

NOTEBOOKS = sorted((Path(__file__).parent.parent.parent / "notebooks").glob("*.ipynb"))
FAULTS = {
    "seed": 3,
    "faults": [
        {"fault": "status", "status": 429, "rate": 0.2, "retry_after": 0},
        {"fault": "reset_after", "count": 2},
        {"fault": "partial", "status": 400, "share": 0.02, "lasting": True},
    ],
}
_LOOK_SECONDS = 0.1


def run(path: Path, parameters: dict[str, Any]) -> tuple[float, float]:
    """Run a notebook with other parameters; return seconds and the peak memory of its processes in MB."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source += "".join(f"\n{name} = {value!r}" for name, value in parameters.items())
    place = {"metadata": {"path": str(path.parent)}}
    started = time.monotonic()
    with _peak() as peak:
        NotebookClient(notebook, timeout=1200, kernel_name="python3", resources=place).execute()
    return time.monotonic() - started, max(peak)


@contextmanager
def _peak() -> Iterator[list[float]]:
    """Watch the memory of all processes that were started meanwhile."""
    peak, ended = [0.0], threading.Event()
    me, before = psutil.Process(), {each.pid for each in psutil.Process().children(recursive=True)}

    def watch() -> None:
        while not ended.wait(_LOOK_SECONDS):
            held = 0
            for each in me.children(recursive=True):
                if each.pid not in before:
                    try:
                        held += each.memory_full_info().pss
                    except psutil.Error:
                        continue
            peak.append(held / 1e6)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def bare(folder: Path, captures: Path) -> Path:
    """Write the bare payloads of conversation starts, without envelopes."""
    folder.mkdir()
    with (folder / "hooks.ndjson").open("w") as out:
        for file in sorted((captures / "conversation_started").glob("*")):
            with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as lines:
                out.writelines(json.dumps(json.loads(line)["payload"]) + "\n" for line in lines)
    return folder


def main(events: int) -> None:
    """Run all of them and print a line for each."""
    with tempfile.TemporaryDirectory(prefix="notebooks-at-length-") as name:
        folder = Path(name)
        clean = ck.write_sample(folder / "clean" / "captures", events=2000, seed=5, slack=True).path
        bad = ck.write_sample(
            folder / "bad" / "captures", events=10_000, seed=11, bad_share=0.25, slack=True
        ).path
        many = ck.write_sample(
            folder / "many" / "captures", events=events, seed=13, bad_share=0.01, slack=True
        ).path
        hooks = bare(folder / "hooks", clean)
        cases: dict[str, dict[str, Any]] = {
            "10,000 records, every fourth broken": {"CAPTURES": str(bad), "SLACK": f"{bad}.slack.zip"},
            "a platform with faults": {
                "CAPTURES": str(clean),
                "SLACK": f"{clean}.slack.zip",
                "STATE": str(folder / "faulty"),
            },
            "bare captures": {
                "CAPTURES": str(hooks),
                "SLACK": f"{clean}.slack.zip",
                "KIND": "conversation_started",
                "UNDATED_AS": "visitor-created",
            },
            f"{events:,} records": {"CAPTURES": str(many), "SLACK": f"{many}.slack.zip"},
        }
        ck.open_platform("local", state=folder / "faulty", faults=FAULTS).close()
        try:
            for what, parameters in cases.items():
                for path in NOTEBOOKS:
                    seconds, megabytes = run(path, parameters)
                    print(f"{what:<36} {path.stem:<14} {seconds:7.1f} s {megabytes:7,.0f} MB", flush=True)
        finally:
            local_platform.stop(folder / "faulty" / STORE)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
