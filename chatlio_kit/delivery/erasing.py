"""A person's traces taken out of the ledger, for good."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from chatlio_kit.delivery.fates import FORGOTTEN, FORGOTTEN_PLACE
from chatlio_kit.delivery.keys import AMONG, asked, key_of
from chatlio_kit.delivery.ledger import Ledger

_DELETE_BODIES = f"DELETE FROM kept_body WHERE {AMONG}"  # noqa: S608 - from the ledger's own words
_EMPTY = f"""
UPDATE event SET source_file = :place, source_record = 0, transaction_id = NULL, answer = NULL,
    readback = NULL,
    reason = CASE fate WHEN 'pending' THEN :reason ELSE reason END,
    fate = CASE fate WHEN 'pending' THEN 'dead_lettered' ELSE fate END
WHERE {AMONG}
"""  # noqa: S608 - from the ledger's own words


def events_kept(ledger: Ledger, speaks: Callable[[str], bool]) -> dict[str, str]:
    """Find the dead letters whose kept record, or whose answer, is one of those that are meant.

    Returns:
        The record (or the answer) by event id.
    """
    kept = ledger.read("SELECT lower(hex(event_id)), CAST(body AS TEXT) FROM kept_body")
    told = ledger.read("SELECT lower(hex(event_id)), answer FROM event WHERE answer IS NOT NULL")
    return {event_id: text for event_id, text in [*told, *kept] if speaks(text)}


def erase_events(ledger: Ledger, event_ids: Iterable[str]) -> int:
    """Take all that is known of some events out of the ledger, at every destination.

    Their ids and payload digests stay, as digests that lead nowhere: they keep a later backfill from sending
    what was to be forgotten. What was still to be sent becomes a dead letter, ``forgotten``. Whether their
    rows are still in the dataset is for the next read to say, which reads everything.

    Returns:
        How many rows were emptied.
    """
    theirs = asked(b"".join(key_of(each) for each in event_ids))
    ledger.read("PRAGMA secure_delete = ON")
    with ledger.change() as db:
        db.execute(_DELETE_BODIES, theirs)
        emptied = db.execute(_EMPTY, {"place": FORGOTTEN_PLACE, "reason": FORGOTTEN, **theirs}).rowcount
    ledger.read("VACUUM")  # pages that were freed earlier may still hold what stood in them
    ledger.read("PRAGMA wal_checkpoint(TRUNCATE)")
    return emptied
