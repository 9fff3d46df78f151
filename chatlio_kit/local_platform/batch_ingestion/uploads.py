"""The uploaded files of a batch: written whole or not at all, and listed in the store.

Names on disk are digests, because senders choose the paths.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ..store import Json, Store, open_private

UPLOADS = "uploads"
PROCESSED = ("loaded", "staging", "retrying", "staged")
OPEN = ("loading", *PROCESSED, "stalled")
"""The states of a batch whose uploaded files are still needed."""
_WRITTEN_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Uploads:
    """The files of one batch."""

    store: Store
    batch_id: str

    @property
    def folder(self) -> Path:
        """Their folder, until the batch has landed."""
        return self.store.folder / UPLOADS / sha256(self.batch_id.encode()).hexdigest()[:32]

    @property
    def _kind(self) -> str:
        return f"upload of {self.batch_id}"

    def all(self) -> list[Json]:
        """Return the entries of the files, in the order of their first upload."""
        return self.store.all(self._kind)

    def get(self, path: str) -> Json | None:
        """Return the entry of a file."""
        return self.store.get(self._kind, path)

    def put(self, path: str, size: int | None, chunks: list[tuple[int, int]] | None = None) -> None:
        """Store the entry of a file; without a size, it is incomplete."""
        self.store.put(self._kind, path, {"path": path, "size": size, "chunks": chunks or []})

    def place(self, path: str, chunk: tuple[int, int] | None = None) -> Path:
        """Return the location of a file's content, or of one of its chunks."""
        name = sha256(path.encode()).hexdigest()
        return self.folder / (name if chunk is None else f"{name}.{chunk[0]}-{chunk[1]}")

    async def receive(
        self, place: Path, content: AsyncIterator[bytes], limit: int, check: Callable[[int], object]
    ) -> int | None:
        """Write what arrives; return the number of bytes, or None if they exceed the limit.

        The number of bytes is checked last, and a refused upload replaces nothing.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = self.folder / f"{secrets.token_hex(16)}.unfinished"
        size, gathered = 0, bytearray()
        try:
            with open(open_private(unfinished, os.O_EXCL | os.O_WRONLY), "wb", buffering=0) as file:
                async for piece in content:
                    size += len(piece)
                    if size > limit:
                        return None
                    gathered += piece
                    if len(gathered) >= _WRITTEN_AT_ONCE:
                        await asyncio.to_thread(file.write, bytes(gathered))
                        gathered.clear()
                file.write(gathered)
                await asyncio.to_thread(os.fsync, file.fileno())
            check(size)
            unfinished.replace(place)
        finally:
            unfinished.unlink(missing_ok=True)
        return size

    def stitch(self, path: str, chunks: list[tuple[int, int]]) -> int | None:
        """Join the chunks of a file; return the number of bytes, or None if chunks overlap or are missing."""
        ordered = sorted(chunks)
        if not ordered or ordered[0][0] != 0 or not all(self.place(path, each).exists() for each in ordered):
            return None
        if any(before[1] + 1 != after[0] for before, after in itertools.pairwise(ordered)):
            return None
        unfinished = self.folder / f"{secrets.token_hex(16)}.unfinished"
        with open(open_private(unfinished, os.O_EXCL | os.O_WRONLY), "wb") as whole:
            for chunk in ordered:
                with self.place(path, chunk).open("rb") as part:
                    shutil.copyfileobj(part, whole, _WRITTEN_AT_ONCE)
            whole.flush()
            os.fsync(whole.fileno())
        unfinished.replace(self.place(path))
        for chunk in ordered:
            self.place(path, chunk).unlink(missing_ok=True)
        return ordered[-1][1] + 1

    def remove(self) -> None:
        """Remove the content of all files; their entries stay."""
        shutil.rmtree(self.folder, ignore_errors=True)


def remove_leftovers(store: Store) -> None:
    """Remove leftovers of a kill: unfinished uploads, and uploads to batches that no longer need them."""
    folders = {
        Uploads(store, batch_id).folder for status in OPEN for batch_id in store.batch_ids(status=status)
    }
    for folder in (store.folder / UPLOADS).glob("*"):
        if folder not in folders:
            shutil.rmtree(folder)
        for unfinished in folder.glob("*.unfinished"):
            unfinished.unlink()


def merged(chunks: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the merged ranges of bytes that chunks cover."""
    start = end = -1
    for first, last in sorted(chunks):
        if start < 0:
            start, end = first, last
        elif first <= end + 1:
            end = max(end, last)
        else:
            yield start, end
            start, end = first, last
    if start >= 0:
        yield start, end
