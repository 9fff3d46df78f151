"""On what terms each run read and redacted, so that a run on other terms says what that means.

An event is sent once, under an id that is the same with and without redaction: what went out unredacted stays
so. And a kind that only an option names is part of an event's id: under another option the same record is
another event.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from chatlio_kit.chatlio.redaction import Redaction
from chatlio_kit.connection import Destination
from chatlio_kit.delivery.ledger.ledger import Ledger
from chatlio_kit.tables import ReadOptions

_TABLE = """
CREATE TABLE IF NOT EXISTS run_terms (
    destination INTEGER NOT NULL REFERENCES destination,
    run INTEGER NOT NULL,
    redaction TEXT NOT NULL,
    key_mark TEXT NOT NULL,
    reading TEXT,
    PRIMARY KEY (destination, run)
) WITHOUT ROWID"""
_REMEMBER = "INSERT OR REPLACE INTO run_terms VALUES (:destination, :run, :redaction, :key_mark, :reading)"
_BEFORE = "SELECT run, redaction, key_mark FROM run_terms WHERE destination = ? AND run < ?"
_SENT_IN = """
SELECT count(*) FROM event WHERE destination = ? AND fate != 'pending' AND source_record > 0
    AND run IN (SELECT value FROM json_each(?))
"""
_KEPT_OF = """
SELECT count(*) FROM kept_body JOIN event USING (destination, event_id)
WHERE kept_body.destination = ? AND run IN (SELECT value FROM json_each(?))
"""
_READ_BEFORE = """
SELECT DISTINCT reading FROM run_terms
WHERE destination = :destination AND run != :run AND reading != :reading ORDER BY run
"""
_SENT_TWICE = """
SELECT count(*) FROM (SELECT source_file, source_record FROM event WHERE destination = :destination
    AND run = :run AND source_record > 0)
JOIN (SELECT DISTINCT source_file, source_record FROM event WHERE destination = :destination AND run < :run)
USING (source_file, source_record)
"""


@dataclass(frozen=True)
class RunOptions:
    """On what terms a run reads and redacts.

    Attributes:
        redaction: the ways, as the option writes them; empty where nothing is redacted.
        key_mark: what tells one key from another, without leading to it; empty without a key.
        reading: the options of reading that are part of what an event is; None where frames were sent.
    """

    redaction: str
    key_mark: str = ""
    reading: str | None = None

    @classmethod
    def of(cls, redaction: Redaction, settling: ReadOptions | None = None) -> RunOptions:
        """Return the terms of a run."""
        mark = hmac.digest(redaction.key.reveal().encode(), b"run_terms", "sha256") if redaction.key else b""
        return cls(str(redaction), mark.hex()[:16], None if settling is None else reading_of(settling))


def reading_of(settling: ReadOptions) -> str:
    """Write the options that say how records were read, as the prompt takes them; empty without any."""
    said = [f"--kind {settling.kind}"] if settling.kind else []
    if settling.fields is not None:
        places = {
            "payload": settling.fields.payload,
            "received": settling.fields.received,
            "kind": settling.fields.label,
            "widget": settling.fields.widget,
        }
        said.append("--fields " + ",".join(f"{name}={place}" for name, place in places.items() if place))
    return " ".join(said)


def remember_terms(state: Path, destination: Destination, run: int, terms: RunOptions) -> None:
    """Write down on what terms a run reads and redacts.

    Raises:
        LedgerError: when the ledger cannot be used.
    """
    with Ledger(state) as ledger:
        key = _key(ledger, destination)
        with ledger.change() as db:
            db.execute(_TABLE)
            db.execute(_REMEMBER, {"destination": key, "run": run, **vars(terms)})


def readings(ledger: Ledger) -> list[str]:
    """Return with which options earlier runs read their captures, as far as that was written down."""
    if not ledger.read("SELECT 1 FROM sqlite_master WHERE name = 'run_terms'"):
        return []
    rows = ledger.read("SELECT DISTINCT reading FROM run_terms WHERE reading IS NOT NULL ORDER BY reading")
    return [reading for (reading,) in rows]


def sentences_on_terms(state: Path, destination: Destination, run: int, terms: RunOptions) -> list[str]:
    """Say what earlier runs sent on other terms, and what that means for what is there now."""
    with Ledger(state) as ledger:
        key = _key(ledger, destination)
        return [*_on_redaction(ledger, key, run, terms), *_on_reading(ledger, key, run, terms)]


def _on_redaction(ledger: Ledger, key: int, run: int, terms: RunOptions) -> Iterator[str]:
    told = {before: terms_of for before, *terms_of in ledger.read(_BEFORE, (key, run))}
    runs_on: dict[tuple[str | None, str], list[int]] = {}
    for before in range(1, run):
        redaction, mark = told.get(before, (None, ""))
        runs_on.setdefault((redaction, mark), []).append(before)
    for (redaction, mark), runs in runs_on.items():
        is_same_key = not (mark and terms.key_mark) or mark == terms.key_mark
        if (redaction == terms.redaction and is_same_key) or (redaction is None and not terms.redaction):
            continue
        asked = (key, orjson.dumps(runs).decode())
        ((count,),) = ledger.read(_SENT_IN, asked)
        if not count:
            continue
        ledger.index()
        ((kept,),) = ledger.read(_KEPT_OF, asked)
        how = "in ways that were not written down" if redaction is None else _how(redaction)
        if redaction == terms.redaction:
            how += " with another key, so their hashes differ"
        letters = f" {kept:,} dead letters of theirs are kept so, and replay sends them so." if kept else ""
        yield (
            f"{count:,} events of {_runs(runs)} were sent {how}; this run's, {_how(terms.redaction)}. An "
            "event is sent once and has the same id with and without redaction, so those stay as they were "
            f"sent.{letters}"
        )


def _runs(runs: list[int]) -> str:
    if len(runs) == 1:
        return f"run {runs[0]}"
    if runs[-1] - runs[0] == len(runs) - 1:
        return f"runs {runs[0]} to {runs[-1]}"
    return "runs " + ", ".join(map(str, runs))


def _on_reading(ledger: Ledger, key: int, run: int, terms: RunOptions) -> Iterator[str]:
    if terms.reading is None:
        return
    asked = {"destination": key, "run": run}
    before = [reading for (reading,) in ledger.read(_READ_BEFORE, {**asked, "reading": terms.reading})]
    if not before:
        return
    ((twice,),) = ledger.read(_SENT_TWICE, asked)
    if twice:
        earlier = " and ".join(each or "without such options" for each in before)
        yield (
            f"{twice:,} records were sent before as other events: earlier runs read them {earlier}, this run "
            f"{terms.reading or 'without such options'}. The kind is part of an event's id, so the dataset "
            "holds these records twice. Keep to one set of options for one export."
        )


def _how(redaction: str) -> str:
    return f"redacted ({redaction})" if redaction else "unredacted"


def _key(ledger: Ledger, destination: Destination) -> int:
    query = "SELECT id FROM destination WHERE platform = ? AND org = ? AND sandbox = ? AND dataset = ?"
    key = (destination.platform, destination.org, destination.sandbox, destination.dataset)
    return int(ledger.read(query, key)[0][0])
