"""The ids that a run has seen, on disk.

Most ids are new. A bitmap of fixed size says so at once; what it cannot rule out is looked up in sorted runs
on disk. So memory stays flat however long an export is.
"""

from __future__ import annotations

from binascii import unhexlify
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatlio_kit.tables.arrow import whole

_BITS = 1 << 26  # 8 MB: ten of a million ids are looked up in vain
_KEY_BYTES = 32
MOST_IN_MEMORY = 100_000
"""How many ids are held in memory before they go to disk: 8 MB."""

_ENTRY = np.dtype(
    [("id", "u1", _KEY_BYTES), ("digest", "u1", _KEY_BYTES), ("file", "<i8"), ("record", "<i8")]
)
_BY_START = np.dtype({"names": ["start"], "formats": ["<u8"], "offsets": [0], "itemsize": _ENTRY.itemsize})
"""How an entry's id begins: the same bytes, seen as the number that entries are sorted by."""

Keys = NDArray[np.uint8]
"""SHA-256 digests, 32 bytes in each row."""


@dataclass(frozen=True, slots=True)
class FirstOccurrence:
    """Where an event was read first, and the digest of its payload."""

    digest: str
    file: str
    record: int


class SeenIds:
    """Event ids with the place where each was seen first.

    Args:
        folder: where sorted runs are kept.
        most_in_memory: how many ids are held in memory before they go there.
    """

    def __init__(self, folder: Path, most_in_memory: int = MOST_IN_MEMORY) -> None:
        self._folder, self._most = folder, most_in_memory
        self._bits = np.zeros(_BITS // 8, dtype=np.uint8)
        self._runs: list[Path] = []
        self._waiting: list[NDArray[Any]] = []
        self._files: dict[str, int] = {}
        self._names: list[str] = []

    def add(self, keys: Keys, digests: Keys, files: Any, records: NDArray[np.int64]) -> None:
        """Remember ids that were not seen before.

        Args:
            keys: the ids.
            digests: the digests of their payloads.
            files: the name of the file of each, an Arrow column.
            records: the number of each in its file.
        """
        if not len(keys):
            return
        for places in _places(keys):
            self._set(places)
        entries = np.zeros(len(keys), dtype=_ENTRY)
        entries["id"], entries["digest"], entries["record"] = keys, digests, records
        entries["file"] = self._numbers(files)
        self._waiting.append(_sorted(entries))
        if sum(map(len, self._waiting)) >= self._most:
            path = self._folder / f"seen-{len(self._runs)}"
            run, self._waiting = np.concatenate(self._waiting), []
            _sorted(run).tofile(path)
            self._runs.append(path)

    def look_up(self, keys: Keys) -> dict[int, FirstOccurrence]:
        """Give where those of the ids were seen that were seen before, by their rows."""
        if not len(keys):
            return {}
        maybe = np.ones(len(keys), dtype=bool)
        for places in _places(keys):
            maybe &= (self._bits[places >> 3] >> (places & 7).astype(np.uint8)) & 1 == 1
        found: dict[int, FirstOccurrence] = {}
        candidates = np.flatnonzero(maybe)
        runs: list[Path | NDArray[Any]] = [*self._waiting, *self._runs]
        for run in runs:
            if not len(candidates):
                break
            entries = _read(run)
            hits = _search(entries, keys[candidates])
            for row, place in zip(candidates[hits >= 0].tolist(), hits[hits >= 0].tolist(), strict=True):
                entry = entries[place]
                digest = entry["digest"].tobytes().hex()
                found[row] = FirstOccurrence(digest, self._names[entry["file"]], int(entry["record"]))
            candidates = candidates[hits < 0]
        return found

    def _set(self, places: NDArray[np.int64]) -> None:
        """Set bits; where several fall into one byte they need a round each."""
        while len(places):
            masks = (1 << (places & 7)).astype(np.uint8)
            self._bits[places >> 3] |= masks
            places = places[self._bits[places >> 3] & masks == 0]

    def _numbers(self, files: Any) -> NDArray[np.int64]:
        told = whole(files).dictionary_encode()
        names = told.dictionary.to_pylist()
        for name in names:
            if name not in self._files:
                self._files[name] = len(self._names)
                self._names.append(name)
        places: NDArray[np.int64] = told.indices.to_numpy()
        return np.array([self._files[name] for name in names], dtype=np.int64)[places]


def _read(run: Path | NDArray[Any]) -> NDArray[Any]:
    """Give a run's entries; those on disk are not kept, since pages that were looked at count as memory."""
    if isinstance(run, Path):
        return np.memmap(run, _ENTRY, mode="r")
    return run


def _sorted(entries: NDArray[Any]) -> NDArray[Any]:
    return entries.take(np.argsort(np.ascontiguousarray(_starts(entries))))


def as_keys(digests: Any) -> Keys:
    """Read an Arrow column of SHA-256 digests, none of them missing, without making a text of each."""
    texts = whole(digests)
    if not len(texts):
        return np.empty((0, _KEY_BYTES), dtype=np.uint8)
    _, ends, text = texts.buffers()
    first, last = np.frombuffer(ends, dtype=np.int64)[[texts.offset, texts.offset + len(texts)]]
    return np.frombuffer(unhexlify(memoryview(text)[first:last]), dtype=np.uint8).reshape(-1, _KEY_BYTES)


def are_distinct(keys: Keys) -> bool:
    """Whether ids are surely all different."""
    starts = np.sort(_wanted(keys))
    return not (starts[1:] == starts[:-1]).any()


def _wanted(keys: Keys) -> NDArray[np.uint64]:
    return np.ascontiguousarray(keys[:, :8]).view("<u8").ravel()


def _starts(entries: NDArray[Any]) -> NDArray[np.uint64]:
    """Show how entries begin without copying them: a search touches the few that stand on its way."""
    starts: NDArray[np.uint64] = entries.view(_BY_START)["start"]
    return starts


def _places(keys: Keys) -> list[NDArray[np.int64]]:
    """Four places in the bitmap for each id; ids are digests, so any of their bits are random."""
    words = np.ascontiguousarray(keys[:, 8:24]).view("<u4").astype(np.int64)
    return list(words.T & (_BITS - 1))


def _search(entries: NDArray[Any], keys: Keys) -> NDArray[np.int64]:
    """Give the place of each key in a sorted run, -1 where it is not there."""
    starts, wanted = _starts(entries), _wanted(keys)
    places = np.searchsorted(starts, wanted)
    found = np.full(len(keys), -1, dtype=np.int64)
    open_ = np.arange(len(keys))
    while len(open_):
        inside = places[open_] < len(entries)
        open_ = open_[inside]
        open_ = open_[starts[places[open_]] == wanted[open_]]
        equal = (entries["id"][places[open_]] == keys[open_]).all(axis=1)
        found[open_[equal]] = places[open_[equal]]
        open_ = open_[~equal]
        places[open_] += 1
    return found
