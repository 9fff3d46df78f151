"""The reading and redaction options of each run, so that a run with other options can explain their effect.

An event is sent once, and redaction does not change its id: if it was sent unredacted, it stays unredacted.
The kind is part of an event's id, so another ``--kind`` makes the same record another event.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import orjson

from chatlio_kit.captures.dialects.clocks import CLOCKS
from chatlio_kit.chatlio.redaction import Redaction
from chatlio_kit.counting import counted
from chatlio_kit.delivery.ledger.destination import DestinationLedger
from chatlio_kit.delivery.ledger.ledger import Ledger
from chatlio_kit.tables import ReadOptions
from chatlio_kit.tables.validate.event_time import Undated

_TABLE = """
CREATE TABLE IF NOT EXISTS run_terms (
    destination INTEGER NOT NULL REFERENCES destination,
    run INTEGER NOT NULL,
    redaction TEXT NOT NULL,
    key_mark TEXT NOT NULL,
    reading TEXT,
    PRIMARY KEY (destination, run)
) WITHOUT ROWID"""
_RECORD = "INSERT OR REPLACE INTO run_terms VALUES (:destination, :run, :redaction, :key_mark, :reading)"
_EARLIER_REDACTIONS = "SELECT run, redaction, key_mark FROM run_terms WHERE destination = ? AND run < ?"
_COUNT_SENT = """
SELECT count(*) FROM event WHERE destination = ? AND fate != 'pending' AND source_record > 0
    AND run IN (SELECT value FROM json_each(?))
"""
_COUNT_KEPT = """
SELECT count(*) FROM kept_body JOIN event USING (destination, event_id)
WHERE kept_body.destination = ? AND run IN (SELECT value FROM json_each(?))
"""
_OTHER_READINGS = """
SELECT DISTINCT reading FROM run_terms
WHERE destination = :destination AND run != :run AND reading != :reading ORDER BY run
"""
_READINGS = """
SELECT DISTINCT reading FROM run_terms JOIN (SELECT DISTINCT destination, run FROM event)
USING (destination, run)
WHERE reading IS NOT NULL ORDER BY reading
"""
_COUNT_SENT_BEFORE = """
SELECT count(*) FROM event JOIN run_terms USING (destination, run)
WHERE destination = :destination AND run < :run AND reading != :reading
    AND source_file IN (SELECT value FROM json_each(:files))
"""
_COUNT_SENT_TWICE = """
SELECT count(*) FROM
(SELECT source_file, source_record FROM event WHERE destination = :destination AND run = :run)
JOIN (SELECT DISTINCT source_file, source_record FROM event WHERE destination = :destination AND run < :run)
USING (source_file, source_record)
"""


@dataclass(frozen=True)
class RunOptions:
    """The options with which a run reads and redacts.

    Attributes:
        redaction: The redaction, in the form of the option; empty if nothing is redacted.
        key_mark: Differs from key to key without revealing the key; empty without a key.
        reading: The reading options that affect event ids; None if frames were sent.
    """

    redaction: str
    key_mark: str = ""
    reading: str | None = None

    @classmethod
    def of(cls, redaction: Redaction, reading: ReadOptions | None = None) -> RunOptions:
        """Return the options of a run."""
        mark = hmac.digest(redaction.key.reveal().encode(), b"run_terms", "sha256") if redaction.key else b""
        return cls(str(redaction), mark.hex()[:16], None if reading is None else reading_of(reading))


def reading_of(options: ReadOptions) -> str:
    """Return the reading options in the form of the command line; empty if there are none."""
    words = [f"--kind {options.kind}"] if options.kind else []
    undated = options.undated_as
    if undated.choice is not Undated.REJECT:
        words.append(f"--undated-as {undated.time.isoformat() if undated.time else undated.choice}")
    if options.fields is not None:
        clock = next(name for name, clock in CLOCKS.items() if clock is options.fields.clock)
        paths = {
            "payload": options.fields.payload,
            clock: options.fields.received,
            "kind": options.fields.label,
            "widget": options.fields.widget,
        }
        words.append("--fields " + ",".join(f"{name}={path}" for name, path in paths.items() if path))
    return " ".join(words)


def record_options(destination: DestinationLedger, run: int, options: RunOptions) -> None:
    """Record the options of a run."""
    with destination.ledger.transaction() as db:
        db.execute(_TABLE)
        db.execute(_RECORD, {"destination": destination.id, "run": run, **vars(options)})


def recorded_readings(ledger: Ledger) -> list[str]:
    """Return the recorded reading options of earlier runs that sent anything."""
    if not ledger.fetch_all("SELECT 1 FROM sqlite_master WHERE name = 'run_terms'"):
        return []
    return [reading for (reading,) in ledger.fetch_all(_READINGS)]


def option_notes(
    destination: DestinationLedger, run: int, options: RunOptions, files: Iterable[str] = ()
) -> list[str]:
    """Report events that earlier runs sent with other options, and the effect on the dataset.

    Args:
        destination: The ledger's part for the destination.
        run: The number of this run.
        options: Its options.
        files: Names of the files that it read.
    """
    return [
        *_redaction_notes(destination, run, options),
        *_reading_notes(destination, run, options, files),
    ]


def _redaction_notes(destination: DestinationLedger, run: int, options: RunOptions) -> Iterator[str]:
    ledger = destination.ledger
    rows = ledger.fetch_all(_EARLIER_REDACTIONS, (destination.id, run))
    recorded = {number: (redaction, key_mark) for number, redaction, key_mark in rows}
    runs_by_options: dict[tuple[str | None, str], list[int]] = {}
    for number in range(1, run):
        runs_by_options.setdefault(recorded.get(number, (None, "")), []).append(number)
    for (redaction, key_mark), runs in runs_by_options.items():
        is_same_key = not (key_mark and options.key_mark) or key_mark == options.key_mark
        if (redaction or "") == options.redaction and is_same_key:
            continue
        parameters = (destination.id, orjson.dumps(runs).decode())
        ((sent,),) = ledger.fetch_all(_COUNT_SENT, parameters)
        if not sent:
            continue
        ledger.ensure_index()
        ((kept,),) = ledger.fetch_all(_COUNT_KEPT, parameters)
        how = "in an unrecorded way" if redaction is None else _how(redaction)
        if redaction == options.redaction:
            how += " with another key, so their hashes differ"
        letters = (
            f" {counted(kept, 'dead letter stays', 'dead letters stay')} unchanged too, also in a replay."
            if kept
            else ""
        )
        yield (
            f"{counted(sent, f'event of {_runs(runs)} was', f'events of {_runs(runs)} were')} sent {how}; "
            f"this run's, {_how(options.redaction)}. An event is sent once and has the same id with and "
            f"without redaction, so earlier ones stay as they were sent.{letters}"
        )


def _runs(runs: list[int]) -> str:
    if len(runs) == 1:
        return f"run {runs[0]}"
    if runs[-1] - runs[0] == len(runs) - 1:
        return f"runs {runs[0]} to {runs[-1]}"
    return "runs " + ", ".join(map(str, runs))


def _how(redaction: str) -> str:
    return f"redacted ({redaction})" if redaction else "unredacted"


def _reading_notes(
    destination: DestinationLedger, run: int, options: RunOptions, files: Iterable[str]
) -> Iterator[str]:
    if options.reading is None:
        return
    parameters: dict[str, int | str] = {"destination": destination.id, "run": run}
    readings = destination.ledger.fetch_all(_OTHER_READINGS, {**parameters, "reading": options.reading})
    if not readings:
        return
    earlier = " and ".join(reading or "without such options" for (reading,) in readings)
    ((sent_twice,),) = destination.ledger.fetch_all(_COUNT_SENT_TWICE, parameters)
    these: dict[str, int | str] = {
        "reading": options.reading,
        "files": orjson.dumps(sorted(files)).decode(),
    }
    ((sent_before,),) = destination.ledger.fetch_all(_COUNT_SENT_BEFORE, parameters | these)
    if sent_before > sent_twice:
        yield (
            f"Unchanged: {counted(sent_before - sent_twice, 'event')} of these files, sent by earlier runs. "
            f"These read the files {earlier}, this run {options.reading or 'without such options'}. An "
            "event is sent once, so a corrected time does not replace the earlier one."
        )
    if sent_twice:
        yield (
            f"Sent before as other events: {counted(sent_twice, 'record')}. Earlier runs read the files "
            f"{earlier}, this run {options.reading or 'without such options'}. The kind is part of an "
            "event's id, so the dataset holds these records twice. Keep to one set of options for one "
            "export."
        )
