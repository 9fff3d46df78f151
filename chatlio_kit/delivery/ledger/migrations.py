"""The ledger's SQLite schema, and the migrations of older ledgers.

Event ids and payload digests are 32 bytes each; times are milliseconds since 1970. ``PRAGMA user_version``
holds the version.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime

from chatlio_kit.delivery.ledger.encoding import key_of

VERSION = 3

_DESTINATION = """
CREATE TABLE IF NOT EXISTS destination (
    id INTEGER PRIMARY KEY,
    platform TEXT NOT NULL,
    org TEXT NOT NULL,
    sandbox TEXT NOT NULL,
    dataset TEXT NOT NULL,
    name TEXT NOT NULL,
    first_sent_at INTEGER,
    runs INTEGER NOT NULL DEFAULT 0,
    sent_since INTEGER,
    UNIQUE (platform, org, sandbox, dataset)
)"""
_EVENT = """
CREATE TABLE IF NOT EXISTS event (
    destination INTEGER NOT NULL REFERENCES destination,
    event_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    fate TEXT NOT NULL,
    landed INTEGER NOT NULL DEFAULT 0,
    run INTEGER NOT NULL,
    request INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    payload_digest BLOB NOT NULL,
    source_file TEXT NOT NULL,
    source_record INTEGER NOT NULL,
    transaction_id TEXT,
    reason TEXT,
    answer TEXT,
    settled_at INTEGER,
    gone TEXT,
    readback INTEGER,
    batch INTEGER
)"""
_KEPT_BODY = """
CREATE TABLE IF NOT EXISTS kept_body (
    destination INTEGER NOT NULL REFERENCES destination,
    event_id BLOB NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (destination, event_id)
) WITHOUT ROWID"""
_CANARY = """
CREATE TABLE IF NOT EXISTS canary (
    destination INTEGER NOT NULL REFERENCES destination,
    flow_id TEXT NOT NULL,
    PRIMARY KEY (destination, flow_id)
) WITHOUT ROWID"""
_FILE_READ = """
CREATE TABLE IF NOT EXISTS file_read (
    destination INTEGER NOT NULL REFERENCES destination,
    name TEXT NOT NULL,
    mark TEXT NOT NULL,
    records INTEGER NOT NULL,
    PRIMARY KEY (destination, name)
) WITHOUT ROWID"""
_BATCH_READ = """
CREATE TABLE IF NOT EXISTS batch_read (
    number INTEGER PRIMARY KEY,
    destination INTEGER NOT NULL REFERENCES destination,
    batch_id TEXT NOT NULL,
    rows INTEGER NOT NULL,
    state TEXT NOT NULL,
    readback INTEGER,
    problem TEXT,
    UNIQUE (destination, batch_id)
)"""
_READBACK = """
CREATE TABLE IF NOT EXISTS readback (
    destination INTEGER NOT NULL REFERENCES destination,
    number INTEGER NOT NULL,
    began_at INTEGER NOT NULL,
    at INTEGER,
    PRIMARY KEY (destination, number)
) WITHOUT ROWID"""
_TABLES = (_DESTINATION, _EVENT, _KEPT_BODY, _CANARY, _FILE_READ, _BATCH_READ, _READBACK)
BY_ID = "CREATE UNIQUE INDEX IF NOT EXISTS event_by_id ON event (destination, event_id)"

_FROM_TEXT = (
    "ALTER TABLE destination ADD COLUMN sent_since INTEGER",
    "ALTER TABLE event RENAME TO old_event",
    "ALTER TABLE kept_body RENAME TO old_kept_body",
    "DROP INDEX IF EXISTS event_by_id",
    *_TABLES,
    "INSERT INTO event (rowid, destination, event_id, kind, fate, landed, run, attempts, payload_digest,"
    " source_file, source_record, transaction_id, reason, answer, settled_at)"
    " SELECT rowid, destination, key_of(event_id), kind, fate, landed, run, attempts, key_of(payload_digest),"
    " source_file, source_record, transaction_id, reason, answer, milliseconds(settled_at) FROM old_event",
    "INSERT INTO kept_body SELECT destination, key_of(event_id), body FROM old_kept_body",
    "DROP TABLE old_event",
    "DROP TABLE old_kept_body",
)
_FROM_2 = (
    "ALTER TABLE destination ADD COLUMN sent_since INTEGER",
    "ALTER TABLE event ADD COLUMN gone TEXT",
    "ALTER TABLE event ADD COLUMN readback INTEGER",
    "ALTER TABLE event ADD COLUMN batch INTEGER",
    "ALTER TABLE batch_read RENAME TO old_batch_read",
    *_TABLES,
    "INSERT INTO batch_read (destination, batch_id, rows, state)"
    " SELECT destination, batch_id, rows, iif(rows > 0, 'read', 'failed') FROM old_batch_read",
    "DROP TABLE old_batch_read",
)
"""Landed events stay landed but lack the number of a read, so the next read is a full one."""


class SchemaTooNew(Exception):
    """A later version of chatlio-kit wrote the ledger."""


def migrate(db: sqlite3.Connection) -> None:
    """Create missing tables and migrate older ones, all in one transaction.

    Raises:
        SchemaTooNew: A later version wrote the file.
        sqlite3.Error: It cannot be read or written.
    """
    if _version(db) == VERSION:
        return
    db.create_function("key_of", 1, key_of)
    db.create_function("milliseconds", 1, _milliseconds)
    db.execute("BEGIN IMMEDIATE")
    try:
        if (version := _version(db)) > VERSION:
            raise SchemaTooNew
        for statement in _steps_from(db, version):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _steps_from(db: sqlite3.Connection, version: int) -> tuple[str, ...]:
    if version == VERSION:
        return ()
    if version == 2:
        return _FROM_2
    is_old = bool(db.execute("SELECT 1 FROM sqlite_master WHERE name = 'event'").fetchall())
    return _FROM_TEXT if is_old else _TABLES


def _version(db: sqlite3.Connection) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def _milliseconds(text: str | None) -> int | None:
    return None if text is None else round(datetime.fromisoformat(text).timestamp() * 1000)
