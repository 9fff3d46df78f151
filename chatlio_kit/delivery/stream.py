"""Frames to Experience Platform: what they say is what is sent."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pyarrow.compute as pc

from chatlio_kit.arguments import checked, named
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection import Connection, a_connection, require_leave
from chatlio_kit.delivery.requests.sending import PATIENCE
from chatlio_kit.delivery.run import Run
from chatlio_kit.delivery.run_options import RunOptions, remember_terms, sentences_on_terms
from chatlio_kit.errors import UsageError, option
from chatlio_kit.tables import Deduplicator, Tables, count, empty, revalidate

_PIECE = 10_000


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

    The frames are validated again, so an edited frame is checked like any other. Events that were settled at
    this destination before are counted as duplicates and not sent. Stopped half-way, the same call goes on.

    Args:
        tables: the frames; or the frame ``events`` alone, whose transcripts then travel without messages.
        connection: where to.
        pace: messages a second; by default 9,000, or 1,400 where the dataset feeds Profile.
        stop_after: end after so many requests, as a trial; what is left stays pending, and the next call
            goes on with it.
        skip_guard: whether to send into a dataflow that was just made or changed without waiting.
        patience: seconds without a verdict of the platform on any record, by default 600, after which
            sending ends; what is left stays pending, and the next call goes on with it.
        production: whether a production sandbox may be written to.
        quiet: whether to show no progress.

    Returns:
        The run: it shows its page, and ``run.reconcile()`` reads back what landed.

    Raises:
        UsageError: when the arguments are something else, or in another order.
        ProductionSandbox: when the sandbox is of the type production, or of a type that cannot be read.
        FrameError: when a frame no longer has its columns and dtypes.
        LedgerBusy: when another run is sending from the same state folder.
        PlatformError: when the platform cannot be reached or refuses.
    """
    require_leave(connection.platform, production)
    events, messages = (tables, empty("messages")) if isinstance(tables, pd.DataFrame) else _both(tables)
    built = revalidate(events, messages)
    state = connection.platform.settings.state
    with (
        Run(
            connection,
            state,
            skip_guard=skip_guard,
            production=production,
            pace=pace,
            expected=len(built),
            stop_after=stop_after,
            patience=patience,
            quiet=quiet,
        ) as run,
        Deduplicator(run.book.settled) as deduplicator,
    ):
        terms = RunOptions.of(tables.findings.redaction) if isinstance(tables, Tables) else None
        if terms is not None:
            remember_terms(state, connection.destination, run.number, terms)
        run.counts.add((), (each.reason for each in built.rejected))
        run.rejections += built.rejected
        run.prepare(Kind(kind) for kind in built.rows["kind"].unique().to_pylist())
        for start in range(0, len(built), _PIECE):
            batches = deduplicator.apply(replace(built, rejected=[]).part(start, start + _PIECE))
            count(run.counts, batches)
            run.rejections += batches.built.rejected
            run.pass_over(batches.duplicates + len(batches.built.rejected))
            run.send(batches.built.events, batches.built.messages)
        if terms is not None:
            run.page.notes += sentences_on_terms(state, connection.destination, run.number, terms)
        named = pc.sum(built.rows["message_count"]).as_py() or 0
        if named and isinstance(tables, pd.DataFrame):
            run.page.notes.append(
                "The frame events was given alone: "
                f"its transcripts travelled without their {named:,} messages."
            )
    return run


def _both(tables: Tables) -> tuple[pd.DataFrame, pd.DataFrame]:
    return tables.events, tables.messages
