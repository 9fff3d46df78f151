"""Split valid and invalid rows, compared with pandera's bare lazy validation of the same columns.

    python tests/benchmarks/split_speed.py [--rows 1000000]

The frame is the table ``events``; the 15 of its columns that have rules are checked. One row in a hundred is
bad. Pandera alone lists the failed values; ours also names each fault and returns two frames.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
from pandera.errors import SchemaErrors

from chatlio_kit.chatlio.catalogue import EVENTS
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import Export, ReadOptions, failures, schema

RULED = [each.name for each in EVENTS if each.rule is not None or each.required]
_ROUNDS = 3


def frame_of(rows: int) -> pd.DataFrame:
    """Build a frame of this many events, one in a hundred with an invalid address."""
    with tempfile.TemporaryDirectory() as folder:
        sample = write_sample(Path(folder) / "sample", events=5000)
        events = Export([sample.path], ReadOptions()).to_tables(quiet=True).events
    places = np.resize(np.arange(len(events)), rows)
    frame = events.take(places).reset_index(drop=True)
    frame["event_id"] = pd.array([sha256(b"%d" % row).hexdigest() for row in range(rows)], dtype="str")
    frame.loc[::100, "ip_address"] = "somewhere"
    return frame


def bare(frame: pd.DataFrame) -> None:
    """Validate the columns with rules lazily with pandera."""
    with suppress(SchemaErrors):
        schema("events").select_columns(RULED).validate(frame[RULED], lazy=True)


def split(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return every fault, the valid rows and the invalid rows."""
    is_bad = np.zeros(len(frame), dtype=bool)
    is_bad[[failure.row for failure in failures("events", frame)]] = True
    ruled = frame[RULED]
    return ruled[~is_bad], ruled[is_bad]


def seconds(work: Callable[[pd.DataFrame], object], frame: pd.DataFrame) -> float:
    """Return the best of a few rounds."""
    taken = []
    for _ in range(_ROUNDS):
        begun = time.perf_counter()
        work(frame)
        taken.append(time.perf_counter() - begun)
    return min(taken)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    frame = frame_of(rows)
    pandera, ours = seconds(bare, frame), seconds(split, frame)
    print(f"\nvalidate {rows:,} rows, {len(RULED)} columns with rules")
    print(f"{'pandera, lazily':<30}{pandera:>9.2f} s")
    print(f"{'ours, split into good and bad':<30}{ours:>9.2f} s, {ours / pandera:.2f} times")


if __name__ == "__main__":
    main()
