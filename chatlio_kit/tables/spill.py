"""Rows in order of a key, sorted on disk: memory stays flat however many they are."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from chatlio_kit.tables.arrow import give_memory_back

RUN_BYTES = 8_000_000
BATCH_ROWS = 1024
_SAMPLE = 64


class Spill:
    """Rows that come in any order and go out in order of one column; equal keys keep the order they came in.

    Args:
        folder: where runs are kept until they are read.
        name: what the rows are, for the runs' names.
        key: the column; it has no missing values.
    """

    def __init__(self, folder: Path, name: str, key: str, *, run_bytes: int = RUN_BYTES) -> None:
        self._folder, self._name, self._key = folder, name, key
        self._run_bytes = run_bytes
        self._waiting: list[Any] = []
        self._size = 0
        self._runs: list[_Run] = []
        self._samples: list[Any] = []

    def add(self, rows: Any) -> None:
        """Take an Arrow table's rows."""
        if not len(rows):
            return
        self._waiting.append(rows)
        self._size += rows.nbytes
        if self._size >= self._run_bytes:
            self._flush()

    def borders(self, rows: int) -> list[Any]:
        """Give keys that cut everything into parts of about as many rows."""
        self._flush()
        samples = sorted(self._samples)
        step = max(1, rows // _SAMPLE)
        return sorted(set(samples[step::step]))

    def parts(self, borders: Sequence[Any]) -> list[Part]:
        """Give the rows in parts, one up to each border and one for the rest; a key is never cut in two."""
        self._flush()
        cuts = (None, *borders, None)
        return [
            Part(self._key, [run.stretch(start, end) for run in self._runs], start, end)
            for start, end in pairwise(cuts)
        ]

    def _flush(self) -> None:
        if not self._waiting:
            return
        rows = pa.concat_tables(self._waiting).combine_chunks()
        self._waiting, self._size = [], 0
        rows = rows.take(pc.sort_indices(rows, sort_keys=[(self._key, "ascending")]))
        self._samples += rows[self._key].take(list(range(0, len(rows), _SAMPLE))).to_pylist()
        path = self._folder / f"{self._name}-{len(self._runs)}.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows, max_chunksize=BATCH_ROWS)
        firsts = rows[self._key].take(list(range(0, len(rows), BATCH_ROWS))).to_pylist()
        self._runs.append(_Run(path, firsts))
        del rows
        give_memory_back()


@dataclass(frozen=True)
class _Run:
    """A file of sorted rows, and the first key of each of its batches."""

    path: Path
    firsts: list[Any]

    def stretch(self, start: Any, end: Any) -> Stretch:
        """Name the batches that can hold keys from ``start`` on and before ``end``."""
        first = 0 if start is None else max(0, bisect_left(self.firsts, start) - 1)
        last = len(self.firsts) if end is None else bisect_left(self.firsts, end)
        return Stretch(self.path, first, last)


@dataclass(frozen=True)
class Stretch:
    """Batches of one file of sorted rows: from ``first`` on and before ``last``."""

    path: Path
    first: int
    last: int

    def read(self) -> Any:
        """Read the batches as one table."""
        with pa.OSFile(str(self.path), "rb") as source:
            reader = pa.ipc.open_file(source)
            batches = [reader.get_batch(place) for place in range(self.first, self.last)]
            return pa.Table.from_batches(batches, reader.schema)


@dataclass(frozen=True)
class Part:
    """Sorted rows, wherever they are read.

    Attributes:
        key: the column they are sorted by.
        stretches: where they stand.
        start: the least key; None for no limit.
        end: the key before which they end; None for no limit.
    """

    key: str
    stretches: Sequence[Stretch]
    start: Any
    end: Any

    def read(self) -> Any:
        """Read the rows, those of each run in order; None when there are none."""
        found = [self._cut(each.read()) for each in self.stretches if each.first < each.last]
        rows = pa.concat_tables(found) if found else None
        return rows if rows is not None and len(rows) else None

    def _cut(self, rows: Any) -> Any:
        keys = rows[self.key]
        first = 0 if self.start is None else _place(keys, self.start)
        last = len(keys) if self.end is None else _place(keys, self.end)
        return rows.slice(first, last - first)


def _place(keys: Any, border: Any) -> int:
    """Where in a sorted column the keys begin that are not below a border."""
    return bisect_left(range(len(keys)), border, key=lambda place: keys[place].as_py())
