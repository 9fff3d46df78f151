"""The ids that a run has seen, on disk.

Most ids are new, which a Bloom filter of fixed size determines at once. The others are looked up in sorted
runs on disk. Memory therefore stays flat, however long an export is.
"""

from __future__ import annotations

from binascii import unhexlify
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatlio_kit.tables.arrow import combine_chunks

_FILTER_BITS = 1 << 26  # 8 MB: of a million ids, about ten are looked up needlessly
_KEY_BYTES = 32
MOST_IN_MEMORY = 100_000
"""Number of ids held in memory before they are written to disk: 8 MB."""

_ENTRY = np.dtype(
    [("id", "u1", _KEY_BYTES), ("digest", "u1", _KEY_BYTES), ("file", "<i8"), ("record", "<i8")]
)
_PREFIX = np.dtype({"names": ["prefix"], "formats": ["<u8"], "offsets": [0], "itemsize": _ENTRY.itemsize})
"""The first bytes of an entry's id as a number, by which runs are sorted."""

Keys = NDArray[np.uint8]
"""SHA-256 digests, 32 bytes in each row."""


@dataclass(frozen=True, slots=True)
class FirstOccurrence:
    """An event's first record, and the digest of its payload."""

    digest: str
    file: str
    record: int


class SeenIds:
    """Event ids with their first occurrence.

    Args:
        folder: The folder for sorted runs.
        most_in_memory: Number of ids held in memory before they are written to disk.
    """

    def __init__(self, folder: Path, most_in_memory: int = MOST_IN_MEMORY) -> None:
        self._folder, self._most = folder, most_in_memory
        self._filter = np.zeros(_FILTER_BITS // 8, dtype=np.uint8)
        self._runs: list[Path] = []
        self._in_memory: list[NDArray[Any]] = []
        self._file_numbers: dict[str, int] = {}
        self._file_names: list[str] = []

    def add(self, keys: Keys, digests: Keys, files: Any, records: NDArray[np.int64]) -> None:
        """Add ids that were not seen before.

        Args:
            keys: The ids.
            digests: Digests of their payloads.
            files: Name of each id's file, an Arrow column.
            records: Number of each id's record in its file.
        """
        if not len(keys):
            return
        for bits in _filter_bits(keys):
            self._set(bits)
        entries = np.zeros(len(keys), dtype=_ENTRY)
        entries["id"], entries["digest"], entries["record"] = keys, digests, records
        entries["file"] = self._numbers(files)
        self._in_memory.append(_sorted(entries))
        if sum(map(len, self._in_memory)) >= self._most:
            path = self._folder / f"seen-{len(self._runs)}"
            run, self._in_memory = np.concatenate(self._in_memory), []
            _sorted(run).tofile(path)
            self._runs.append(path)

    def look_up(self, keys: Keys) -> dict[int, FirstOccurrence]:
        """Return the first occurrence of each id that was seen before, by its row."""
        if not len(keys):
            return {}
        is_candidate = np.ones(len(keys), dtype=bool)
        for bits in _filter_bits(keys):
            is_candidate &= (self._filter[bits >> 3] >> (bits & 7).astype(np.uint8)) & 1 == 1
        occurrences: dict[int, FirstOccurrence] = {}
        rows = np.flatnonzero(is_candidate)
        runs: list[Path | NDArray[Any]] = [*self._in_memory, *self._runs]
        for run in runs:
            if not len(rows):
                break
            # A run on disk is mapped again each time, because touched pages count as memory.
            entries = np.memmap(run, _ENTRY, mode="r") if isinstance(run, Path) else run
            hits = _search(entries, keys[rows])
            for row, hit in zip(rows[hits >= 0].tolist(), hits[hits >= 0].tolist(), strict=True):
                entry = entries[hit]
                digest = entry["digest"].tobytes().hex()
                occurrences[row] = FirstOccurrence(
                    digest, self._file_names[entry["file"]], int(entry["record"])
                )
            rows = rows[hits < 0]
        return occurrences

    def _set(self, bits: NDArray[np.int64]) -> None:
        """Set bits of the filter; several in one byte take one round each."""
        while len(bits):
            masks = (1 << (bits & 7)).astype(np.uint8)
            self._filter[bits >> 3] |= masks
            bits = bits[self._filter[bits >> 3] & masks == 0]

    def _numbers(self, files: Any) -> NDArray[np.int64]:
        encoded = combine_chunks(files).dictionary_encode()
        names = encoded.dictionary.to_pylist()
        for name in names:
            if name not in self._file_numbers:
                self._file_numbers[name] = len(self._file_names)
                self._file_names.append(name)
        indices: NDArray[np.int64] = encoded.indices.to_numpy()
        return np.array([self._file_numbers[name] for name in names], dtype=np.int64)[indices]


def as_keys(digests: Any) -> Keys:
    """Return an Arrow column of SHA-256 digests, without nulls, as bytes."""
    texts = combine_chunks(digests)
    if not len(texts):
        return np.empty((0, _KEY_BYTES), dtype=np.uint8)
    _, offsets, text = texts.buffers()
    first, last = np.frombuffer(offsets, dtype=np.int64)[[texts.offset, texts.offset + len(texts)]]
    return np.frombuffer(unhexlify(memoryview(text)[first:last]), dtype=np.uint8).reshape(-1, _KEY_BYTES)


def are_distinct(keys: Keys) -> bool:
    """Return whether ids are known to be all different."""
    prefixes = np.sort(_prefixes_of(keys))
    return not (prefixes[1:] == prefixes[:-1]).any()


def _prefixes_of(keys: Keys) -> NDArray[np.uint64]:
    return np.ascontiguousarray(keys[:, :8]).view("<u8").ravel()


def _prefixes(entries: NDArray[Any]) -> NDArray[np.uint64]:
    """Return a view of entries' prefixes; a search touches only those on its path."""
    prefixes: NDArray[np.uint64] = entries.view(_PREFIX)["prefix"]
    return prefixes


def _sorted(entries: NDArray[Any]) -> NDArray[Any]:
    return entries.take(np.argsort(np.ascontiguousarray(_prefixes(entries))))


def _filter_bits(keys: Keys) -> list[NDArray[np.int64]]:
    """Return four bits of the filter for each id; ids are digests, so any of their bits are random."""
    words = np.ascontiguousarray(keys[:, 8:24]).view("<u4").astype(np.int64)
    return list(words.T & (_FILTER_BITS - 1))


def _search(entries: NDArray[Any], keys: Keys) -> NDArray[np.int64]:
    """Return the index of each key in a sorted run; -1 if it is missing."""
    prefixes, wanted = _prefixes(entries), _prefixes_of(keys)
    candidates = np.searchsorted(prefixes, wanted)
    hits = np.full(len(keys), -1, dtype=np.int64)
    rows = np.arange(len(keys))
    while len(rows):
        rows = rows[candidates[rows] < len(entries)]
        rows = rows[prefixes[candidates[rows]] == wanted[rows]]
        is_equal = (entries["id"][candidates[rows]] == keys[rows]).all(axis=1)
        hits[rows[is_equal]] = candidates[rows[is_equal]]
        rows = rows[~is_equal]
        candidates[rows] += 1
    return hits
