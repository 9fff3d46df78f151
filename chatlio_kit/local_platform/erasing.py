"""Rows taken out of a store for good, as data hygiene does on Experience Platform.

The server must not run meanwhile. Batches and runs keep their counts: they say what happened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from .lake_files import FAILED_SUFFIX, GOOD_SUFFIX, write_failed, write_rows
from .lifecycle import owned, stop
from .store import DATABASE, LAKE, Json

Speaks = Callable[[str], bool]
"""Says whether a row, written as JSON, is one of those that are meant."""


def find_rows(store: Path, speaks: Speaks) -> Iterator[Json]:
    """Give the rows and failed messages that are meant, as they stand."""
    for path in sorted((store / LAKE).glob("*")):
        lines = _lines(path)
        yield from (orjson.loads(line) for line in lines if speaks(line.decode()))


def erase_rows(store: Path, speaks: Speaks) -> int:
    """Take rows out of the lake, out of failed batches and out of the inbox, and leave no copy behind.

    Stops the server that has the store.

    Returns:
        How many were taken out.

    Raises:
        CannotServe: when the server does not end, or is a thread of another program.
    """
    stop(store)
    with owned(store):
        erased = 0
        for path in sorted((store / LAKE).glob("*")):
            lines = _lines(path)
            stays = [not speaks(line.decode()) for line in lines]
            if all(stays):
                continue
            erased += stays.count(False)
            if path.suffix == GOOD_SUFFIX:
                write_rows(path.parent, path.stem, pq.read_table(path).filter(pa.array(stays)))
            else:
                kept = (line + b"\n" for line, stay in zip(lines, stays, strict=True) if stay)
                write_failed(path.parent, path.stem, kept)
        return erased + _erase_waiting(store, speaks)


def _lines(path: Path) -> list[bytes]:
    if path.suffix == GOOD_SUFFIX:
        return [orjson.dumps(row, default=str) for row in pq.read_table(path).to_pylist()]
    return path.read_bytes().splitlines() if path.suffix == FAILED_SUFFIX else []


def _erase_waiting(store: Path, speaks: Speaks) -> int:
    erased = 0
    with closing(sqlite3.connect(store / DATABASE, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete = ON")
        for seq, ids, bodies in db.execute("SELECT seq, xaction_ids, bodies FROM inbox").fetchall():
            waiting = list(zip(ids.split("\n"), bodies.split(b"\n"), strict=True))
            kept = [(each, body) for each, body in waiting if not speaks(body.decode())]
            erased += len(waiting) - len(kept)
            if kept:
                db.execute(
                    "UPDATE inbox SET messages = ?, xaction_ids = ?, bodies = ? WHERE seq = ?",
                    (
                        len(kept),
                        "\n".join(each for each, _ in kept),
                        b"\n".join(body for _, body in kept),
                        seq,
                    ),
                )
            else:
                db.execute("DELETE FROM inbox WHERE seq = ?", (seq,))
        db.execute("VACUUM")  # pages that were freed long ago may hold processed messages still
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return erased
