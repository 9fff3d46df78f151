"""Send frames to Experience Platform unchanged."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pyarrow.compute as pc

from chatlio_kit.arguments import checked, named
from chatlio_kit.chatlio.identities import ConversationVisitors
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection import Connection, a_connection, require_leave
from chatlio_kit.counting import counted
from chatlio_kit.delivery.people import names_visitors
from chatlio_kit.delivery.requests.sending import PATIENCE
from chatlio_kit.delivery.run import Run
from chatlio_kit.delivery.run_options import RunOptions, option_notes, record_options
from chatlio_kit.errors import UsageError, option
from chatlio_kit.tables import Deduplicator, Tables, empty, revalidate

_CHUNK_ROWS = 10_000


def _tables(name: str, value: object) -> None:
    if not isinstance(value, Tables | pd.DataFrame):
        raise UsageError(
            f"{option(name)} is tables, as read_export(...).to_tables() returns them, not {named(value)}: "
            "stream(tables, connection)."
        )


@checked(tables=_tables, connection=a_connection)
def stream(
    tables: Tables | pd.DataFrame,
    connection: Connection,
    *,
    pace: float | None = None,
    stop_after: int | None = None,
    skip_guard: bool = False,
    patience: float = PATIENCE,
    production: bool = False,
    quiet: bool = False,
) -> Run:
    """Send frames to a connection's dataset, each event once.

    The frames are validated again. Events settled earlier at this destination count as duplicates and are not
    sent. To resume an interrupted call, call it again.

    Args:
        tables: The frames; or only the frame ``events``, whose transcripts are then sent without messages.
        connection: The destination.
        pace: Messages a second; by default 9,000, or 1,400 if the dataset feeds Profile.
        stop_after: Number of requests after which sending ends, as a trial; the next call sends the rest.
        skip_guard: If true, send into a new or changed dataflow without waiting.
        patience: Seconds without a verdict after which sending ends, by default 600; the next call sends the
            rest.
        production: True if a production sandbox may be written to.
        quiet: If true, show no progress.

    Returns:
        The run: it displays its page, and ``run.reconcile()`` reads back what landed.

    Raises:
        UsageError: An argument has the wrong type, or the order is wrong.
        ProductionSandbox: The sandbox is of the type production, or of a type that cannot be read.
        FrameError: A frame no longer has its columns and dtypes.
        LedgerBusy: Another run is sending from the same state folder.
        PlatformError: The platform cannot be reached or refuses.
    """
    require_leave(connection.platform, production)
    if isinstance(tables, pd.DataFrame):
        batch = revalidate(tables, empty("messages"))
    else:
        batch = revalidate(tables.events, tables.messages)
    visitors = ConversationVisitors()
    if names_visitors(connection):
        visitors.add(batch.events)
    with (
        Run(
            connection,
            connection.platform.settings.state,
            skip_guard=skip_guard,
            production=production,
            pace=pace,
            expected=len(batch),
            stop_after=stop_after,
            patience=patience,
            quiet=quiet,
            visitors=visitors,
        ) as run,
        Deduplicator(run.destination_ledger.settled) as deduplicator,
    ):
        options = None if isinstance(tables, pd.DataFrame) else RunOptions.of(tables.findings.redaction)
        if options is not None:
            record_options(run.destination_ledger, run.number, options)
        run.counts.add((), (rejection.reason for rejection in batch.rejected))
        run.rejections += batch.rejected
        run.prepare(Kind(kind) for kind in batch.rows["kind"].unique().to_pylist())
        accepted = replace(batch, rejected=[])
        for start in range(0, len(batch), _CHUNK_ROWS):
            chunk = deduplicator.apply(accepted.part(start, start + _CHUNK_ROWS))
            run.counts.add_batch(chunk)
            run.rejections += chunk.rejected
            run.pass_over(chunk.duplicates + len(chunk.rejected))
            run.send(chunk.events, chunk.messages)
        if options is not None:
            run.page.notes += option_notes(run.destination_ledger, run.number, options)
        message_count = pc.sum(batch.rows["message_count"]).as_py() or 0
        if message_count and isinstance(tables, pd.DataFrame):
            run.page.notes.append(
                "Only the frame events was passed: its transcripts were sent without "
                f"{counted(message_count, 'message')}."
            )
    return run
