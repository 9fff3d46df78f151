"""The store: a SQLite file that survives a kill, and the folder of lake files next to it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import orjson

Json = dict[str, Any]

DATABASE, LAKE = "platform.sqlite3", "lake"

TABLES = """
CREATE TABLE IF NOT EXISTS resource (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (kind, id)
);
CREATE TABLE IF NOT EXISTS token (token TEXT PRIMARY KEY, expires REAL NOT NULL);
CREATE TABLE IF NOT EXISTS inbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    flow_id TEXT NOT NULL,
    form TEXT NOT NULL,
    received INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    xaction_ids TEXT NOT NULL,
    bodies BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS inbox_of_flow ON inbox (flow_id, seq);
CREATE TABLE IF NOT EXISTS batch (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    dataset_id TEXT NOT NULL,
    status TEXT NOT NULL,
    created INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS batch_of_dataset ON batch (dataset_id, created);
CREATE INDEX IF NOT EXISTS batch_of_status ON batch (status);
CREATE TABLE IF NOT EXISTS fault_log (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    fault TEXT,
    messages INTEGER NOT NULL,
    accepted TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS run (
    id TEXT PRIMARY KEY,
    flow_id TEXT NOT NULL,
    started INTEGER NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (flow_id, started)
);
"""


class Message(NamedTuple):
    """One accepted message.

    ``form`` is ``raw`` or ``xdm``, ``received`` is in milliseconds, ``body`` is JSON without line breaks.
    """

    flow_id: str
    form: str
    received: int
    xaction_id: str
    body: bytes


class Note(NamedTuple):
    """An entry of the log of faults: the fault, the size of the request, and the accepted records' names."""

    fault: str | None
    messages: int
    accepted: list[str]


@dataclass(frozen=True)
class BatchFilter:
    """The batches to list; times in milliseconds."""

    dataset_id: str | None = None
    status: str | None = None
    external_id: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    ascending: bool = False


class Store:
    """One connection to the store; a thread that works with the store opens its own.

    Commits are durable: a write-ahead log with ``synchronous=FULL``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lake = folder / LAKE
        for private in (folder, self.lake):
            private.mkdir(mode=0o700, parents=True, exist_ok=True)
            private.chmod(0o700)
        path = folder / DATABASE
        # An existing database is not opened here: when a process closes any handle of a file, POSIX drops the
        # locks that SQLite holds on it in that process, and another process may then remove the journal.
        with suppress(FileExistsError):
            os.close(open_private(path, os.O_EXCL | os.O_RDWR))
        self._db = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA journal_size_limit=67108864")
        self._db.executescript(TABLES)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block as one transaction."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # Resources: anything with a kind, an id and a JSON body.

    def get(self, kind: str, key: str) -> Json | None:
        """Return the body of one resource."""
        row = self._db.execute("SELECT body FROM resource WHERE kind = ? AND id = ?", (kind, key)).fetchone()
        return _json(row[0]) if row else None

    def put(self, kind: str, key: str, body: Json) -> None:
        """Create or replace a resource; a replacement keeps the position in lists."""
        self._db.execute(
            "INSERT INTO resource (kind, id, body) VALUES (?, ?, ?)"
            " ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body",
            (kind, key, orjson.dumps(body)),
        )

    def delete(self, kind: str, key: str) -> bool:
        """Remove a resource; return whether it existed."""
        return self._db.execute("DELETE FROM resource WHERE kind = ? AND id = ?", (kind, key)).rowcount > 0

    def all(self, kind: str) -> list[Json]:
        """Return the bodies of all resources of a kind, oldest first."""
        rows = self._db.execute("SELECT body FROM resource WHERE kind = ? ORDER BY position", (kind,))
        return [_json(body) for (body,) in rows]

    # Access tokens.

    def keep_token(self, token: str, expires: float) -> None:
        """Store an access token until ``expires`` (Unix time), as a digest.

        This way, neither the file nor the duration of a look-up reveals anything about a token.
        """
        self._db.execute("INSERT INTO token VALUES (?, ?)", (_digest(token), expires))

    def token_expiry(self, token: str) -> float | None:
        """Return the Unix time at which a token expires; None if it was never issued."""
        row = self._db.execute("SELECT expires FROM token WHERE token = ?", (_digest(token),)).fetchone()
        return float(row[0]) if row else None

    # The inbox: messages accepted but not processed yet.

    def accept(self, messages: Iterable[Message], note: Note | None = None) -> None:
        """Add messages to the inbox; they are on disk when this returns.

        Messages of one request share a row for each dataflow and form, because rows cost more than bytes. The
        note is added to the log of faults in the same transaction.
        """
        groups: dict[tuple[str, str, int], list[Message]] = {}
        for message in messages:
            groups.setdefault((message.flow_id, message.form, message.received), []).append(message)
        rows = [
            (
                *shared,
                len(group),
                "\n".join(m.xaction_id for m in group),
                b"\n".join(m.body for m in group),
            )
            for shared, group in groups.items()
        ]
        with self.transaction():
            self._db.executemany(
                "INSERT INTO inbox (flow_id, form, received, messages, xaction_ids, bodies)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )
            if note is not None:
                self._db.execute(
                    "INSERT INTO fault_log (fault, messages, accepted) VALUES (?, ?, ?)",
                    (note.fault, note.messages, "\n".join(note.accepted)),
                )

    def oldest_message(self) -> tuple[str, int] | None:
        """Return flow id and arrival of the oldest message."""
        row = self._db.execute("SELECT flow_id, received FROM inbox ORDER BY seq LIMIT 1").fetchone()
        return (row[0], row[1]) if row else None

    def waiting(self, flow_id: str, limit: int, limit_bytes: int) -> tuple[list[Message], int]:
        """Return a flow's oldest messages and the number of their last row.

        A request's messages stay together, so the last request may exceed the limits.
        """
        rows = self._db.execute(
            "SELECT form, received, xaction_ids, bodies, seq FROM inbox WHERE flow_id = ? ORDER BY seq",
            (flow_id,),
        )
        messages: list[Message] = []
        size = last = 0
        for form, received, xaction_ids, bodies, seq in rows:
            for xaction_id, body in zip(xaction_ids.split("\n"), bodies.split(b"\n"), strict=True):
                messages.append(Message(flow_id, form, received, xaction_id, body))
            last = seq
            size += len(bodies)
            if len(messages) >= limit or size >= limit_bytes:
                break
        rows.close()
        return messages, last

    def remove_waiting(self, flow_id: str, last_seq: int) -> None:
        """Remove a flow's messages up to the row ``last_seq`` from the inbox."""
        self._db.execute("DELETE FROM inbox WHERE flow_id = ? AND seq <= ?", (flow_id, last_seq))

    def inbox_size(self) -> int:
        """Return the number of waiting messages."""
        return int(self._db.execute("SELECT coalesce(sum(messages), 0) FROM inbox").fetchone()[0])

    # Batches and runs.

    def add_batch(self, key: str, dataset_id: str, body: Json) -> None:
        """Record a batch of the lake; its body has its status and creation time."""
        self._db.execute(
            "INSERT INTO batch (id, dataset_id, status, created, body) VALUES (?, ?, ?, ?, ?)",
            (key, dataset_id, body["status"], body["created"], orjson.dumps(body)),
        )

    def put_batch(self, key: str, body: Json) -> None:
        """Replace a batch."""
        self._db.execute(
            "UPDATE batch SET status = ?, body = ? WHERE id = ?", (body["status"], orjson.dumps(body), key)
        )

    def batch(self, key: str) -> Json | None:
        """Return one batch."""
        row = self._db.execute("SELECT body FROM batch WHERE id = ?", (key,)).fetchone()
        return _json(row[0]) if row else None

    def batch_ids(self, dataset_id: str | None = None, status: str | None = None) -> set[str]:
        """Return the ids of all batches, or of those of one dataset or in one state."""
        rows = self._db.execute(
            "SELECT id FROM batch WHERE (:dataset IS NULL OR dataset_id = :dataset)"
            " AND (:status IS NULL OR status = :status)",
            {"dataset": dataset_id, "status": status},
        )
        return {key for (key,) in rows}

    def batches(self, chosen: BatchFilter, limit: int, start: int) -> dict[str, Json]:
        """Return a page of batches by id, newest first unless ``chosen`` says otherwise."""
        clauses: list[str] = []
        values: list[str | int] = []
        for clause, value in (
            ("dataset_id = ?", chosen.dataset_id),
            ("status = ?", chosen.status),
            ("json_extract(CAST(body AS TEXT), '$.externalId') = ?", chosen.external_id),
            ("created > ?", chosen.created_after),
            ("created < ?", chosen.created_before),
        ):
            if value is not None:
                clauses.append(clause)
                values.append(value)
        where = f" WHERE {' AND '.join(clauses)}" if clauses else ""
        order = "ASC" if chosen.ascending else "DESC"
        rows = self._db.execute(
            f"SELECT id, body FROM batch{where} ORDER BY created {order}, position {order} LIMIT ? OFFSET ?",  # noqa: S608 - clauses are the literals above
            (*values, limit, start),
        )
        return {key: _json(body) for key, body in rows}

    def run_of(self, flow_id: str, started: int) -> Json | None:
        """Return a flow's run for the hour that started at this time."""
        row = self._db.execute(
            "SELECT body FROM run WHERE flow_id = ? AND started = ?", (flow_id, started)
        ).fetchone()
        return _json(row[0]) if row else None

    def put_run(self, key: str, flow_id: str, started: int, body: Json) -> None:
        """Create or replace a run."""
        self._db.execute(
            "INSERT INTO run VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (key, flow_id, started, orjson.dumps(body)),
        )

    def runs(self) -> list[Json]:
        """Return all runs, oldest first."""
        return [_json(body) for (body,) in self._db.execute("SELECT body FROM run ORDER BY started, id")]


def open_private(path: Path, flags: int) -> int:
    """Open a file of the store, created private; a planted symbolic link is not followed."""
    return os.open(path, os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | flags, 0o600)


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


def _json(blob: bytes) -> Json:
    loaded: Json = orjson.loads(blob)
    return loaded
