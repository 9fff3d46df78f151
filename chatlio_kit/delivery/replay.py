"""Send dead letters again after a fix."""

from __future__ import annotations

from collections import Counter
from itertools import repeat

from chatlio_kit.arguments import checked
from chatlio_kit.connection import Connection, a_connection, require_leave
from chatlio_kit.counting import counted
from chatlio_kit.delivery.ledger.models import FORGOTTEN_SOURCE
from chatlio_kit.delivery.page import Page
from chatlio_kit.delivery.readback import DatasetReader
from chatlio_kit.delivery.requests.sending import PATIENCE
from chatlio_kit.delivery.run import Run, wait_seconds


@checked(connection=a_connection)
def replay(
    connection: Connection,
    *,
    reason: str | None = None,
    gone: bool = False,
    skip_guard: bool = False,
    patience: float = PATIENCE,
    production: bool = False,
    wait: float | None = None,
    quiet: bool = False,
) -> Page:
    """Send dead letters again, all or those of one reason, and read back what landed.

    They are sent unchanged, under the same ids. Events that landed meanwhile are not sent again, and an
    interrupted replay resumes. The ledger has no copy of events lost after acceptance: they become pending,
    and the next stream or backfill sends them with its edits and masks. Forgotten events stay forgotten.

    Args:
        connection: The destination.
        reason: Replay only events with this reason, e.g. ``refused_400``; ``status`` lists the reasons.
        gone: If true, requeue events that are gone from the dataset instead of dead letters; a ``reason``
            such as ``batch_reverted`` selects some. They become pending too.
        skip_guard: If true, send into a dataflow that was just changed without waiting.
        patience: Seconds without a verdict from the platform after which sending ends.
        production: True if a production sandbox may be written to.
        wait: Seconds to wait for rows; by default 120 on the local platform, and 0 on Experience Platform,
            where landing may take an hour.
        quiet: If true, show no progress.

    Raises:
        ProductionSandbox: The sandbox is of the type production, or of a type that cannot be read.
        LedgerBusy: Another run is sending from the same state folder.
        PlatformError: The platform cannot be reached or refuses.
    """
    require_leave(connection.platform, production)
    with Run(
        connection,
        connection.platform.settings.state,
        skip_guard=skip_guard,
        production=production,
        canary=False,
        patience=patience,
        quiet=quiet,
    ) as run:
        if gone:
            _requeue_gone(connection, run, reason)
        else:
            _send_dead_letters(connection, run, reason)
        run.finish()
        return run.reconcile(wait=wait_seconds(connection, wait), again=False)


def _requeue_gone(connection: Connection, run: Run, reason: str | None) -> None:
    ledger = run.destination_ledger
    DatasetReader(connection, ledger).read_all()  # events that are there after all are not requeued
    by_file = Counter[str]()
    for (kind, file), count in ledger.requeue_gone(run.number, reason).items():
        run.counts.add(repeat(kind, count), ())
        by_file[file] += count
    _note_pending(run, by_file)


def _send_dead_letters(connection: Connection, run: Run, reason: str | None) -> None:
    ledger = run.destination_ledger
    DatasetReader(connection, ledger).read_new()
    without_body = [
        event for event in ledger.dead_letters_without_body(reason) if event.file != FORGOTTEN_SOURCE
    ]
    for letters in ledger.retryable_records(reason):
        if run.is_stopped:
            break
        run.counts.add((letter.kind for letter in letters), ())
        run.resend(letters)
    run.counts.add((event.kind for event in without_body), ())
    if not run.counts.read:
        which = f" with the reason {reason}" if reason else ""
        run.page.notes.append(f"Nothing was replayed: there are no dead letters{which}.")
    ledger.requeue(run.number, (event.event_id for event in without_body))
    _note_pending(run, Counter(event.file for event in without_body))


def _note_pending(run: Run, by_file: Counter[str]) -> None:
    run.page.notes += [
        f"Without a copy in the ledger, so not sent but pending: {counted(count, 'event')} of {file}."
        for file, count in by_file.items()
    ]
