"""Dead letters, sent again after what stood in their way was put right."""

from __future__ import annotations

from collections import Counter
from itertools import repeat

from chatlio_kit.arguments import checked
from chatlio_kit.connection import Connection, a_connection, require_leave
from chatlio_kit.delivery.ledger.models import FORGOTTEN_PLACE
from chatlio_kit.delivery.page import Page
from chatlio_kit.delivery.readback import Reader
from chatlio_kit.delivery.requests.sending import PATIENCE
from chatlio_kit.delivery.run import Run


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

    They go out as they were sent, under the same ids. What landed meanwhile is not sent again, and a replay
    that was broken off is gone on with. Of what was lost after acceptance there is no copy: it becomes
    pending, and the stream or backfill that sent it sends it again, with its edits and masks. What was
    forgotten stays forgotten.

    Args:
        connection: where they belong.
        reason: only those, e.g. ``refused_400``; ``status`` lists the reasons.
        gone: call back, instead of dead letters, what was in the dataset once and is gone; with a ``reason``
            such as ``batch_reverted`` only that. Of it, too, there is no copy here.
        skip_guard: whether to send into a dataflow that was just changed without waiting.
        patience: seconds without a verdict of the platform after which sending ends.
        production: whether a production sandbox may be written to.
        wait: seconds to wait for rows that are under way; by default two minutes on the local platform and
            none elsewhere, where an hour may pass.
        quiet: whether to show no progress.

    Raises:
        ProductionSandbox: when the sandbox is of the type production, or of a type that cannot be read.
        LedgerBusy: when another run is sending from the same state folder.
        PlatformError: when the platform cannot be reached or refuses.
    """
    require_leave(connection.platform, production)
    settings = connection.platform.settings
    with Run(
        connection,
        settings.state,
        skip_guard=skip_guard,
        production=production,
        canary=False,
        patience=patience,
        quiet=quiet,
    ) as run:
        if gone:
            _call_back_gone(connection, run, reason)
        else:
            _send_letters(connection, run, reason)
    if wait is None:
        wait = 120.0 if settings.is_local else 0.0
    return run.reconcile(wait=wait, again=False)


def _call_back_gone(connection: Connection, run: Run, reason: str | None) -> None:
    Reader(connection, run.book).read_all()  # what is there after all is not called back
    by_file = Counter[str]()
    for (kind, file), count in run.book.revive_gone(run.number, reason).items():
        run.counts.add(repeat(kind, count), ())
        by_file[file] += count
    _note_pending(run, by_file)


def _send_letters(connection: Connection, run: Run, reason: str | None) -> None:
    Reader(connection, run.book).read_new()
    without_body = [each for each in run.book.without_body(reason) if each.file != FORGOTTEN_PLACE]
    for letters in run.book.letters(reason):
        if run.is_stopped:
            break
        run.counts.add((each.kind for each in letters), ())
        run.resend(letters)
    run.counts.add((each.kind for each in without_body), ())
    run.book.revive(run.number, (each.event_id for each in without_body))
    _note_pending(run, Counter(each.file for each in without_body))


def _note_pending(run: Run, by_file: Counter[str]) -> None:
    run.page.notes += [
        f"{count:,} events of {file} have no copy in the ledger and were not sent; they are pending now."
        for file, count in by_file.items()
    ]
