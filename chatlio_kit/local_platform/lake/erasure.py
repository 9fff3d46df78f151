"""Erase rows, and every copy of their values, from a store permanently.

The server must not run meanwhile. Batches and runs keep their counts. A kill leaves each file whole, and
copies are erased before the rows that lead to them, so the same call can finish the job.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from ..batch_ingestion.uploads import UPLOADS
from ..server.process import CannotServe, owned, stop
from ..store import DATABASE, LAKE, TABLES, Json
from .files import FAILED_SUFFIX, write_file, write_table

Matches = Callable[[str], bool]
"""A function that decides whether to erase a row, written as JSON."""

ERASED = "(erased)"
LOG = "server.log"
_UNFINISHED = ".unfinished"
_SHORTEST_MESSAGE = 4


@dataclass
class Erased:
    """Counts of erased data in a store.

    Attributes:
        rows: Rows, failed messages, and messages waiting to be processed.
        descriptions: Descriptions of batches and runs that quoted the rows.
        log_lines: Lines of the server's log that quoted the rows.
    """

    rows: int = 0
    descriptions: int = 0
    log_lines: int = 0


def find_rows(store: Path, matches: Matches) -> Iterator[Json]:
    """Yield the rows, failed messages and waiting messages that match.

    The body of a failed message, JSON inside a string, is yielded parsed.
    """
    for path in _files(store):
        for line in _lines(path):
            if matches(line.decode(errors="replace")):
                with suppress(orjson.JSONDecodeError):  # an upload may contain any line
                    yield _parsed(orjson.loads(line))
    for _, _, bodies in _waiting(store):
        for body in bodies:
            if matches(body.decode()):
                yield orjson.loads(body)


def erase_rows(store: Path, matches: Matches) -> Erased:
    """Erase rows from the lake, failed batches and the inbox, and every copy that quotes them.

    This stops the store's server.

    Raises:
        CannotServe: The server does not end or is a thread of another program, or another program reads
            the store.
    """
    stop(store)
    erased = Erased()
    if not (store / DATABASE).exists():
        return erased
    with owned(store):
        selected = {
            path: [matches(line.decode(errors="replace")) for line in _lines(path)] for path in _files(store)
        }
        messages = _messages_about(selected)

        def quotes(text: str) -> bool:
            return matches(text) or any(message in text for message in messages)

        # Quotations are erased first: after a kill, the rows still lead to the remaining quotations.
        erased.descriptions = _erase_descriptions(store, quotes)
        erased.log_lines = _erase_log(store, quotes)
        for path, flags in selected.items():
            if any(flags):
                erased.rows += sum(flags)
                _write_without(path, flags)
        for pattern in (f"{LAKE}/*{_UNFINISHED}", f"{UPLOADS}/*/*{_UNFINISHED}"):
            for unfinished in store.glob(pattern):
                unfinished.unlink()
        erased.rows += _erase_waiting(store, matches)
        return erased


def _files(store: Path) -> list[Path]:
    """Return the files that hold rows: those of the lake, and those uploaded to batches."""
    every = [*(store / LAKE).glob("*"), *(store / UPLOADS).glob("*/*")]
    return [path for path in sorted(every) if path.suffix != _UNFINISHED]


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _lines(path: Path) -> Iterator[bytes]:
    if _is_parquet(path):
        with suppress(pa.ArrowInvalid), pq.ParquetFile(path) as file:  # an upload may be damaged
            for some in file.iter_batches():
                yield from (orjson.dumps(row, default=str) for row in some.to_pylist())
        return
    with path.open("rb") as lines:
        yield from lines


def _write_without(path: Path, flags: list[bool]) -> None:
    if _is_parquet(path):
        kept = pa.array([not flag for flag in flags])
        write_table(path, pq.read_table(path).filter(kept))
    else:
        lines = (line for line, flag in zip(_lines(path), flags, strict=True) if not flag)
        write_file(path, lambda file: file.writelines(lines))


def _parsed(row: Json) -> Json:
    body = row.get("body")
    return {**row, "body": orjson.loads(body)} if isinstance(body, str) else row


def _messages_about(selected: dict[Path, list[bool]]) -> set[str]:
    """Return the error messages that only the selected failed messages have."""
    of_selected: set[str] = set()
    of_others: set[str] = set()
    for path, flags in selected.items():
        if path.suffix == FAILED_SUFFIX:
            for line, flag in zip(_lines(path), flags, strict=True):
                messages = _messages(orjson.loads(orjson.loads(line)["_errors"]))
                (of_selected if flag else of_others).update(messages)
    return {message for message in of_selected - of_others if len(message) >= _SHORTEST_MESSAGE}


def _messages(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inside in value.items():
            if name == "message" and isinstance(inside, str):
                yield inside
            yield from _messages(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _messages(inside)


def _erase_descriptions(store: Path, quotes: Matches) -> int:
    """Erase quotations in batches, runs and the log of faults."""
    count: Counter[str] = Counter()
    with _open_database(store) as db:
        db.executescript(TABLES)  # an older store may lack some tables
        db.execute("BEGIN IMMEDIATE")
        for table in ("batch", "run"):
            for key, body in db.execute(f"SELECT id, body FROM {table}").fetchall():  # noqa: S608 - names from above
                if quotes(bytes(body).decode()):
                    redacted = _redacted(orjson.loads(body), quotes, count)
                    db.execute(f"UPDATE {table} SET body = ? WHERE id = ?", (orjson.dumps(redacted), key))  # noqa: S608 - names from above
        for number, accepted in db.execute("SELECT number, accepted FROM fault_log").fetchall():
            if quotes(accepted):
                names = [ERASED if quotes(name) else name for name in accepted.split("\n")]
                count[ERASED] += names.count(ERASED)
                db.execute("UPDATE fault_log SET accepted = ? WHERE number = ?", ("\n".join(names), number))
        db.execute("COMMIT")
    return count.total()


def _redacted(value: Any, quotes: Matches, count: Counter[str]) -> Any:
    if isinstance(value, dict):
        return {name: _redacted(inside, quotes, count) for name, inside in value.items()}
    if isinstance(value, list):
        return [_redacted(inside, quotes, count) for inside in value]
    if isinstance(value, str) and quotes(value):
        count[ERASED] += 1
        return ERASED
    return value


def _erase_log(store: Path, quotes: Matches) -> int:
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
    """Return the inbox's rows: number, message ids and message bodies."""
    if not (store / DATABASE).exists():
        return []
    with _open_database(store) as db:
        rows = db.execute("SELECT seq, xaction_ids, bodies FROM inbox").fetchall()
    return [(seq, ids.split("\n"), bodies.split(b"\n")) for seq, ids, bodies in rows]


def _erase_waiting(store: Path, matches: Matches) -> int:
    erased = 0
    with _open_database(store) as db:
        db.execute("PRAGMA secure_delete = ON")
        for seq, ids, bodies in _waiting(store):
            kept = [(key, body) for key, body in zip(ids, bodies, strict=True) if not matches(body.decode())]
            erased += len(ids) - len(kept)
            if kept:
                db.execute(
                    "UPDATE inbox SET messages = ?, xaction_ids = ?, bodies = ? WHERE seq = ?",
                    (
                        len(kept),
                        "\n".join(key for key, _ in kept),
                        b"\n".join(body for _, body in kept),
                        seq,
                    ),
                )
            else:
                db.execute("DELETE FROM inbox WHERE seq = ?", (seq,))
        db.execute("VACUUM")  # pages freed long ago may still hold processed messages
        is_busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_busy:
            raise CannotServe(f"another program reads {store / DATABASE}, whose journal keeps old pages")
    return erased


def _open_database(store: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(store / DATABASE, isolation_level=None))
