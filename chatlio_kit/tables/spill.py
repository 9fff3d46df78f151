"""Rows in order of a key, sorted on disk: memory stays flat however many they are."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from chatlio_kit.tables.arrow import give_memory_back

_RUN_BYTES = 8_000_000
_BATCH_ROWS = 256
_MANY_RUNS, _MOST_HALVINGS = 64, 3
"""The more runs there are, the fewer rows a part has of each: after so many runs each, batches are halved."""
_WRITE_BYTES = 1 << 18
_SAMPLE = 64


class Spill:
    """Rows that come in any order and go out in order of one column; equal keys keep the order they came in.

    They wait in one file, in runs: stretches of sorted rows, each cut into batches.

    Args:
        folder: where the file is kept until it is read.
        name: what the rows are, for the file's name.
        key: the column; it has no missing values.
        run_bytes: how much is sorted in memory at once.
        batch_rows: how many rows are read at once, as long as there are not many runs.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        key: str,
        *,
        run_bytes: int = _RUN_BYTES,
        batch_rows: int = _BATCH_ROWS,
    ) -> None:
        self._path, self._key = folder / f"{name}.arrow", key
        self._run_bytes, self._batch_rows = run_bytes, batch_rows
        self._waiting: list[Any] = []
        self._size = 0
        self._file: Any = None
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
        """Give the rows in parts, one up to each border and one for the rest; a key is never cut in two.

        No more rows are taken after that.
        """
        self._flush()
        self.close()
        cuts = (None, *borders, None)
        return [
            Part(self._path, self._key, [run.stretch(start, end) for run in self._runs], start, end)
            for start, end in pairwise(cuts)
        ]

    def close(self) -> None:
        """Close the file; what stands in it can be read now."""
        if self._file is not None:
            self._file.close()

    def abandon(self) -> None:
        """Close the file, whole or not: its rows are not wanted any more."""
        with suppress(OSError):
            self.close()

    def remove(self) -> None:
        """Take the file away: all its parts were read."""
        self._path.unlink(missing_ok=True)

    def _flush(self) -> None:
        if not self._waiting:
            return
        rows = pa.concat_tables(self._waiting)
        self._waiting, self._size = [], 0
        rows = rows.take(pc.sort_indices(rows, sort_keys=[(self._key, "ascending")]))
        self._samples += rows[self._key].take(pa.array(range(0, len(rows), _SAMPLE))).to_pylist()
        if self._file is None:
            self._file = _File(self._path, rows.schema)
        halvings = min(_MOST_HALVINGS, len(self._runs) // _MANY_RUNS)
        batches = rows.to_batches(max_chunksize=max(1, self._batch_rows >> halvings))
        self._runs.append(_Run(self._file.batches, [batch[self._key][0].as_py() for batch in batches]))
        self._file.write(batches)
        del rows, batches
        give_memory_back(only_much=True)


class _File:
    """The file while it grows."""

    def __init__(self, path: Path, schema: Any) -> None:
        self.batches = 0
        self._sink = pa.output_stream(str(path), compression=None, buffer_size=_WRITE_BYTES)
        self._writer = pa.ipc.new_file(self._sink, schema)

    def write(self, batches: Sequence[Any]) -> None:
        for batch in batches:
            self._writer.write_batch(batch)
        self.batches += len(batches)

    def close(self) -> None:
        if not self._sink.closed:
            self._writer.close()
            self._sink.close()


@dataclass(frozen=True)
class _Run:
    """Sorted rows: the place of their first batch in the file, and the first key of each of their batches."""

    place: int
    firsts: list[Any]

    def stretch(self, start: Any, end: Any) -> range:
        """Name the batches that can hold keys from ``start`` on and before ``end``."""
        first = 0 if start is None else max(0, bisect_left(self.firsts, start) - 1)
        last = len(self.firsts) if end is None else bisect_left(self.firsts, end)
        return range(self.place + first, self.place + last)


@dataclass(frozen=True)
class Part:
    """Sorted rows, wherever they are read.

    Attributes:
        path: the file that they stand in.
        key: the column they are sorted by.
        stretches: of each run the batches that hold them.
        start: the least key; None for no limit.
        end: the key before which they end; None for no limit.
    """

    path: Path
    key: str
    stretches: Sequence[range]
    start: Any
    end: Any

    def read(self) -> Any:
        """Read the rows in one piece, those of each run in order; None when there are none."""
        if not any(self.stretches):
            return None
        with pa.OSFile(str(self.path), "rb") as source:
            file = pa.ipc.open_file(source)
            stretches = [[file.get_batch(place) for place in each] for each in self.stretches if each]
            found = [batch for each in stretches for batch in self._cut(each)]
            rows = pa.Table.from_batches(found, file.schema).combine_chunks()
        return rows if len(rows) else None

    def _cut(self, batches: list[Any]) -> list[Any]:
        """Leave out other parts' keys, which only the first and the last batch of a stretch can hold."""
        if self.start is not None:
            batches[0] = batches[0].slice(_below(batches[0][self.key], self.start))
        if self.end is not None:
            batches[-1] = batches[-1].slice(0, _below(batches[-1][self.key], self.end))
        return batches


def _below(keys: Any, border: Any) -> int:
    """Count the keys of an array that are below a border."""
    count: int = pc.less(keys, pa.scalar(border, keys.type)).true_count
    return count
