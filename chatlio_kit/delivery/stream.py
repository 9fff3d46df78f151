"""Frames to Experience Platform: what they say is what is sent."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from chatlio_kit.connection import Connection
from chatlio_kit.delivery.run import Run
from chatlio_kit.events.kinds import Kind
from chatlio_kit.tables import Sightings, Tables, check_again, count, empty

_PIECE = 10_000


def stream(
    tables: Tables | pd.DataFrame, connection: Connection, *, skip_guard: bool = False, quiet: bool = False
) -> Run:
    """Send frames to a connection's dataset, each event once.

    The frames are validated again, so an edited frame is checked like any other. Events that were settled at
    this destination before are counted as duplicates and not sent. Stopped half-way, the same call goes on.

    Args:
        tables: the frames; or the frame ``events`` alone, whose transcripts then travel without messages.
        connection: where to.
        skip_guard: whether to send into a dataflow that was just made or changed without waiting.
        quiet: whether to show no progress.

    Returns:
        The run: it shows its page, and ``run.reconcile()`` reads back what landed.

    Raises:
        FrameError: when a frame no longer has its columns and dtypes.
        LedgerBusy: when another run is sending from the same state folder.
        PlatformError: when the platform cannot be reached or refuses.
    """
    events, messages = (tables, empty("messages")) if isinstance(tables, pd.DataFrame) else _both(tables)
    built = check_again(events, messages)
    state = connection.platform.settings.state
    with (
        Run(connection, state, skip_guard=skip_guard, quiet=quiet) as run,
        Sightings(run.book.settled) as sightings,
    ):
        run.counts.add((), (each.reason for each in built.rejected))
        run.rejections += built.rejected
        run.prepare(Kind(kind) for kind in built.events["kind"].unique())
        for start in range(0, len(built.events), _PIECE):
            rows = range(start, min(start + _PIECE, len(built.events)))
            sifted = sightings.sift(replace(built, rejected=[]).keep(rows))
            count(run.counts, sifted)
            run.rejections += sifted.built.rejected
            run.send(sifted.built.events, sifted.built.messages)
        named = int(built.events["message_count"].fillna(0).sum())
        if named and isinstance(tables, pd.DataFrame):
            run.page.notes.append(
                "The frame events was given alone: "
                f"its transcripts travelled without their {named:,} messages."
            )
    return run


def _both(tables: Tables) -> tuple[pd.DataFrame, pd.DataFrame]:
    return tables.events, tables.messages
