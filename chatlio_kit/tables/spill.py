"""Rows in order of a key, sorted on disk: memory stays flat however many they are."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

RUN_BYTES = 8_000_000
BATCH_ROWS = 2048
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
        self._runs: list[Path] = []
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

    def parts(self, borders: Sequence[Any]) -> Iterator[Any]:
        """Read the rows back, a part up to each border and one for the rest; a key is never cut in two."""
        self._flush()
        runs = [_Run(path, self._key) for path in self._runs]
        try:
            for border in (*borders, None):
                found = [batch for run in runs for batch in run.below(border)]
                yield pa.Table.from_batches(found) if found else None
        finally:
            for run in runs:
                run.close()

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
        self._runs.append(path)


class _Run:
    """One sorted run while it is read."""

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key
        self._file = pa.OSFile(str(path), "rb")
        self._reader = pa.ipc.open_file(self._file)
        self._next = 0
        self._rest: Any = None

    def below(self, border: Any) -> Iterator[Any]:
        """Give the batches of rows before a border, or all that are left."""
        while True:
            if self._rest is None:
                if self._next >= self._reader.num_record_batches:
                    return
                self._rest = self._reader.get_batch(self._next)
                self._next += 1
            if border is None:
                yield self._rest
                self._rest = None
                continue
            keys = self._rest.column(self._key)
            cut = bisect_left(range(len(keys)), border, key=lambda place: keys[place].as_py())
            if cut:
                yield self._rest.slice(0, cut)
            if cut < len(keys):
                self._rest = self._rest.slice(cut)
                return
            self._rest = None

    def close(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)
