"""Erase a person from the ledger permanently."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from chatlio_kit.connection import Destination
from chatlio_kit.delivery.ledger.encoding import ID_IN_KEYS, key_parameters
from chatlio_kit.delivery.ledger.ledger import Ledger
from chatlio_kit.delivery.ledger.models import FORGOTTEN, FORGOTTEN_SOURCE
from chatlio_kit.errors import LedgerBusy

FORGOTTEN_FILE = "(forgotten file)"
"""Replaces the name of a file that names the person; its events belong to other people."""

_DELETE_BODIES = f"DELETE FROM kept_body WHERE {ID_IN_KEYS}"  # noqa: S608 - a constant
_DELIVERED_ELSEWHERE = f"""
SELECT platform, org, sandbox, dataset, name, count(*) FROM event
JOIN destination ON destination.id = destination
WHERE platform != 'local' AND fate = 'delivered' AND {ID_IN_KEYS} GROUP BY destination.id
"""  # noqa: S608 - a constant
_ERASE = f"""
UPDATE event SET source_file = :forgotten, source_record = 0, transaction_id = NULL, answer = NULL,
    readback = NULL,
    reason = CASE fate WHEN 'pending' THEN :reason ELSE reason END,
    fate = CASE fate WHEN 'pending' THEN 'dead_lettered' ELSE fate END
WHERE {ID_IN_KEYS} AND source_file != :forgotten
"""  # noqa: S608 - a constant


def dead_letters_naming(ledger: Ledger, names_person: Callable[[str], bool]) -> dict[str, str]:
    """Return the dead letters whose stored record or answer names the person.

    Returns:
        The record (or the answer) by event id.
    """
    kept = ledger.fetch_all("SELECT lower(hex(event_id)), CAST(body AS TEXT) FROM kept_body")
    answers = ledger.fetch_all("SELECT lower(hex(event_id)), answer FROM event WHERE answer IS NOT NULL")
    return {event_id: text for event_id, text in [*answers, *kept] if names_person(text)}


def answers_to(ledger: Ledger, event_ids: Iterable[str]) -> set[str]:
    """Return the platform's answers to these events and to no others: an answer may quote their values."""
    rows = ledger.fetch_all(
        f"SELECT answer FROM event WHERE answer IS NOT NULL GROUP BY answer HAVING min({ID_IN_KEYS})",  # noqa: S608 - a constant
        key_parameters(event_ids),
    )
    return {answer for (answer,) in rows}


def sent_elsewhere(ledger: Ledger, event_ids: Iterable[str]) -> dict[Destination, int]:
    """Count which of these events were delivered to a platform other than the local one."""
    rows = ledger.fetch_all(_DELIVERED_ELSEWHERE, key_parameters(event_ids))
    return {Destination(*where): count for *where, count in rows}


def count_rows(ledger: Ledger, event_ids: Iterable[str]) -> int:
    """Count the ledger's rows of these events."""
    query = f"SELECT count(*) FROM event WHERE {ID_IN_KEYS}"  # noqa: S608 - a constant
    return int(ledger.fetch_all(query, key_parameters(event_ids))[0][0])


def source_files(ledger: Ledger) -> list[str]:
    """Return the names of all files in the ledger."""
    query = "SELECT source_file FROM event UNION SELECT name FROM file_read"
    return [name for (name,) in ledger.fetch_all(query)]


def transcripts_of(ledger: Ledger, is_theirs: Callable[[str], bool]) -> set[str]:
    """Return the ids of transcripts from those channels of Slack exports for which a predicate is true."""
    names = [name for name in source_files(ledger) if "!" in name and is_theirs(name.rpartition("!")[2])]
    query = "SELECT lower(hex(event_id)) FROM event WHERE kind = 'transcript' AND source_file = ?"
    return {event_id for name in names for (event_id,) in ledger.fetch_all(query, (name,))}


def erase_events(ledger: Ledger, event_ids: Iterable[str], files: Iterable[str] = ()) -> int:
    """Erase everything but the digests of these events, at every destination.

    Their ids and payload digests stay: they keep a later backfill from sending the events again, and reveal
    nothing. Events still to be sent become dead letters with the reason ``forgotten``. The next read of the
    dataset is a full one, and finds out whether their rows are still there.

    Args:
        ledger: The ledger, with its exclusive lock held.
        event_ids: The events.
        files: Names of files to erase too; the next backfill reads such a file again.

    Returns:
        The number of erased rows.

    Raises:
        LedgerBusy: Another program reads the ledger, so that its journal keeps old pages.
    """
    keys = key_parameters(event_ids)
    ledger.fetch_all("PRAGMA secure_delete = ON")
    with ledger.transaction() as db:
        db.execute(_DELETE_BODIES, keys)
        erased = db.execute(_ERASE, {"forgotten": FORGOTTEN_SOURCE, "reason": FORGOTTEN, **keys}).rowcount
        for name in files:
            db.execute("UPDATE event SET source_file = ? WHERE source_file = ?", (FORGOTTEN_FILE, name))
            db.execute("DELETE FROM file_read WHERE name = ?", (name,))
    ledger.fetch_all("VACUUM")  # pages that were freed earlier may still hold their content
    if ledger.fetch_all("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]:
        raise LedgerBusy(
            "Another program reads the ledger, so its journal still holds the erased data. "
            "End that program and run forget again."
        )
    return erased
