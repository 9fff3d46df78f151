"""Rows erased from a store for good, and every copy of their values with them.

The server must not run meanwhile. Batches and runs keep their counts: they say what happened. A kill leaves
each file whole, and nothing is forgotten before what leads to it: the same call finishes the job.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from ..server.process import CannotServe, owned, stop
from ..store import DATABASE, LAKE, TABLES, Json
from .files import FAILED_SUFFIX, GOOD_SUFFIX, write_failed, write_rows

Speaks = Callable[[str], bool]
"""Says whether a row, written as JSON, is one of those that are meant."""

ERASED = "(erased)"
LOG = "server.log"
_UNFINISHED = ".unfinished"
_SHORTEST_WORDS = 4


@dataclass
class Erased:
    """What was erased from a store.

    Attributes:
        rows: rows and failed messages, and messages that waited to be processed.
        descriptions: descriptions of batches and runs that quoted them.
        log_lines: lines of the server's log that quoted them.
    """

    rows: int = 0
    descriptions: int = 0
    log_lines: int = 0


def find_rows(store: Path, speaks: Speaks) -> Iterator[Json]:
    """Yield the rows, failed messages and waiting messages that are meant, as they are.

    A failed message's body is JSON inside a string; it is yielded opened, so that its members can be read.
    """
    for path in sorted((store / LAKE).glob("*")):
        for line in _lines(path):
            if speaks(line.decode()):
                row: Json = orjson.loads(line)
                yield _opened(row)
    for waiting in _waiting(store):
        for body in waiting[2]:
            if speaks(body.decode()):
                yield orjson.loads(body)


def erase_rows(store: Path, speaks: Speaks) -> Erased:
    """Erase rows from the lake, from failed batches and from the inbox, and every copy that quotes them.

    Stops the server that has the store.

    Raises:
        CannotServe: when the server does not end, is a thread of another program, or another program reads
            the store.
    """
    stop(store)
    erased = Erased()
    if not (store / DATABASE).exists():
        return erased
    with owned(store):
        meant = {path: [speaks(line.decode()) for line in _lines(path)] for path in _files(store)}
        words = _words_about(meant)

        def quotes(text: str) -> bool:
            return speaks(text) or any(each in text for each in words)

        # What quotes a message is erased before the message: after a kill it leads to what is left.
        erased.descriptions = _erase_descriptions(store, quotes)
        erased.log_lines = _erase_log(store, quotes)
        for path, theirs in meant.items():
            if any(theirs):
                erased.rows += sum(theirs)
                _write_without(path, theirs)
        for left in (store / LAKE).glob(f"*{_UNFINISHED}"):
            left.unlink()
        erased.rows += _erase_waiting(store, speaks)
        return erased


def _files(store: Path) -> list[Path]:
    return [each for each in sorted((store / LAKE).glob("*")) if each.suffix in (GOOD_SUFFIX, FAILED_SUFFIX)]


def _lines(path: Path) -> list[bytes]:
    if path.suffix == GOOD_SUFFIX:
        return [orjson.dumps(row, default=str) for row in pq.read_table(path).to_pylist()]
    return path.read_bytes().splitlines() if path.suffix == FAILED_SUFFIX else []


def _write_without(path: Path, theirs: list[bool]) -> None:
    if path.suffix == GOOD_SUFFIX:
        stays = pa.array([not each for each in theirs])
        write_rows(path.parent, path.stem, pq.read_table(path).filter(stays))
    else:
        kept = (line + b"\n" for line, is_meant in zip(_lines(path), theirs, strict=True) if not is_meant)
        write_failed(path.parent, path.stem, kept)


def _opened(row: Json) -> Json:
    body = row.get("body")
    return {**row, "body": orjson.loads(body)} if isinstance(body, str) else row


def _words_about(meant: dict[Path, list[bool]]) -> set[str]:
    """Return what was said of the failed messages that are meant, unless it was said of others too."""
    of_them: set[str] = set()
    of_others: set[str] = set()
    for path, theirs in meant.items():
        if path.suffix == FAILED_SUFFIX:
            for line, is_meant in zip(_lines(path), theirs, strict=True):
                said = set(_messages(orjson.loads(orjson.loads(line)["_errors"])))
                (of_them if is_meant else of_others).update(said)
    return {each for each in of_them - of_others if len(each) >= _SHORTEST_WORDS}


def _messages(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inside in value.items():
            if name == "message" and isinstance(inside, str):
                yield inside
            yield from _messages(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _messages(inside)


def _erase_descriptions(store: Path, quotes: Speaks) -> int:
    """Erase what batches, runs and the log of faults quote."""
    count: Counter[str] = Counter()
    with _opened_store(store) as db:
        db.executescript(TABLES)  # an older store may lack some
        db.execute("BEGIN IMMEDIATE")
        for table in ("batch", "run"):
            for key, body in db.execute(f"SELECT id, body FROM {table}").fetchall():  # noqa: S608 - names from above
                if quotes(bytes(body).decode()):
                    told = _without(orjson.loads(body), quotes, count)
                    db.execute(f"UPDATE {table} SET body = ? WHERE id = ?", (orjson.dumps(told), key))  # noqa: S608 - names from above
        for number, accepted in db.execute("SELECT number, accepted FROM fault_log").fetchall():
            if quotes(accepted):
                names = [ERASED if quotes(each) else each for each in accepted.split("\n")]
                count[ERASED] += names.count(ERASED)
                db.execute("UPDATE fault_log SET accepted = ? WHERE number = ?", ("\n".join(names), number))
        db.execute("COMMIT")
    return count.total()


def _without(value: Any, quotes: Speaks, count: Counter[str]) -> Any:
    if isinstance(value, dict):
        return {name: _without(inside, quotes, count) for name, inside in value.items()}
    if isinstance(value, list):
        return [_without(inside, quotes, count) for inside in value]
    if isinstance(value, str) and quotes(value):
        count[ERASED] += 1
        return ERASED
    return value


def _erase_log(store: Path, quotes: Speaks) -> int:
    path = store / LOG
    if not path.exists():
        return 0
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if not quotes(line)]
    if len(kept) < len(lines):
        unfinished = path.with_name(f"{path.name}{_UNFINISHED}")
        unfinished.write_text("".join(kept), encoding="utf-8")
        unfinished.chmod(0o600)
        unfinished.replace(path)
    return len(lines) - len(kept)


def _waiting(store: Path) -> list[tuple[int, list[str], list[bytes]]]:
    """Return the inbox's rows: number, ids of the messages, and their bodies."""
    if not (store / DATABASE).exists():
        return []
    with _opened_store(store) as db:
        rows = db.execute("SELECT seq, xaction_ids, bodies FROM inbox").fetchall()
    return [(seq, ids.split("\n"), bodies.split(b"\n")) for seq, ids, bodies in rows]


def _erase_waiting(store: Path, speaks: Speaks) -> int:
    erased = 0
    with _opened_store(store) as db:
        db.execute("PRAGMA secure_delete = ON")
        for seq, ids, bodies in _waiting(store):
            kept = [(each, body) for each, body in zip(ids, bodies, strict=True) if not speaks(body.decode())]
            erased += len(ids) - len(kept)
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
        is_busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_busy:
            raise CannotServe(f"another program reads {store / DATABASE}, whose journal keeps old pages")
    return erased


def _opened_store(store: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(store / DATABASE, isolation_level=None))
