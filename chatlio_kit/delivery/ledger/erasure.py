"""A person's traces taken out of the ledger, for good."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from chatlio_kit.connection import Destination
from chatlio_kit.delivery.ledger.keys import AMONG, asked, key_of
from chatlio_kit.delivery.ledger.ledger import Ledger
from chatlio_kit.delivery.ledger.models import FORGOTTEN, FORGOTTEN_PLACE
from chatlio_kit.errors import LedgerBusy

FORGOTTEN_FILE = "(forgotten file)"
"""Replaces the name of a file that is called after the person; its events are other people's."""

_DELETE_BODIES = f"DELETE FROM kept_body WHERE {AMONG}"  # noqa: S608 - from the ledger's own words
_DELIVERED_ELSEWHERE = f"""
SELECT platform, org, sandbox, dataset, name, count(*) FROM event
JOIN destination ON destination.id = destination
WHERE platform != 'local' AND fate = 'delivered' AND {AMONG} GROUP BY destination.id
"""  # noqa: S608 - from the ledger's own words
_EMPTY = f"""
UPDATE event SET source_file = :place, source_record = 0, transaction_id = NULL, answer = NULL,
    readback = NULL,
    reason = CASE fate WHEN 'pending' THEN :reason ELSE reason END,
    fate = CASE fate WHEN 'pending' THEN 'dead_lettered' ELSE fate END
WHERE {AMONG} AND source_file != :place
"""  # noqa: S608 - from the ledger's own words


def events_kept(ledger: Ledger, speaks: Callable[[str], bool]) -> dict[str, str]:
    """Find the dead letters whose kept record, or whose answer, is one of those that are meant.

    Returns:
        The record (or the answer) by event id.
    """
    kept = ledger.read("SELECT lower(hex(event_id)), CAST(body AS TEXT) FROM kept_body")
    answers = ledger.read("SELECT lower(hex(event_id)), answer FROM event WHERE answer IS NOT NULL")
    return {event_id: text for event_id, text in [*answers, *kept] if speaks(text)}


def answers_to(ledger: Ledger, event_ids: Iterable[str]) -> set[str]:
    """Return what the platform answered to some events and to no others: it may quote their values."""
    found = ledger.read(
        f"SELECT answer FROM event WHERE answer IS NOT NULL GROUP BY answer HAVING min({AMONG})",  # noqa: S608 - from the ledger's own words
        _asked(event_ids),
    )
    return {answer for (answer,) in found}


def sent_elsewhere(ledger: Ledger, event_ids: Iterable[str]) -> dict[Destination, int]:
    """Count those of some events that were delivered to a platform other than the local one."""
    rows = ledger.read(_DELIVERED_ELSEWHERE, _asked(event_ids))
    return {Destination(*place): count for *place, count in rows}


def known_among(ledger: Ledger, event_ids: Iterable[str]) -> int:
    """Count the ledger's rows of some events."""
    query = f"SELECT count(*) FROM event WHERE {AMONG}"  # noqa: S608 - from the ledger's own words
    return int(ledger.read(query, _asked(event_ids))[0][0])


def files_known(ledger: Ledger) -> list[str]:
    """Return the names of all files that the ledger knows."""
    query = "SELECT DISTINCT source_file FROM event UNION SELECT name FROM file_read"
    return [name for (name,) in ledger.read(query)]


def erase_events(ledger: Ledger, event_ids: Iterable[str], files: Iterable[str] = ()) -> int:
    """Take all that is known of some events out of the ledger, at every destination.

    Their ids and payload digests stay, as digests that lead nowhere: they keep a later backfill from sending
    what was to be forgotten. What was still to be sent becomes a dead letter, ``forgotten``. Whether their
    rows are still in the dataset is for the next read to say, which reads everything.

    Args:
        ledger: the ledger, which no run holds.
        event_ids: the events.
        files: names of files that are taken out too; such a file is read again by the next backfill.

    Returns:
        How many rows were emptied.

    Raises:
        LedgerBusy: when another program reads the ledger, whose journal keeps old pages then.
    """
    theirs = _asked(event_ids)
    ledger.read("PRAGMA secure_delete = ON")
    with ledger.change() as db:
        db.execute(_DELETE_BODIES, theirs)
        emptied = db.execute(_EMPTY, {"place": FORGOTTEN_PLACE, "reason": FORGOTTEN, **theirs}).rowcount
        for name in files:
            db.execute("UPDATE event SET source_file = ? WHERE source_file = ?", (FORGOTTEN_FILE, name))
            db.execute("DELETE FROM file_read WHERE name = ?", (name,))
    ledger.read("VACUUM")  # pages that were freed earlier may still hold what was in them
    if ledger.read("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]:
        raise LedgerBusy(
            "Another program reads the ledger, so its journal still holds what was taken out. "
            "End that program and run forget again."
        )
    return emptied


def _asked(event_ids: Iterable[str]) -> dict[str, object]:
    return asked(b"".join(key_of(each) for each in event_ids))
