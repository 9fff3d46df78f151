"""Frames to Experience Platform: what they say is what is sent."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pyarrow.compute as pc

from chatlio_kit.connection import Connection
from chatlio_kit.delivery.run import Run
from chatlio_kit.errors import UsageError
from chatlio_kit.events.kinds import Kind
from chatlio_kit.tables import Deduplicator, Tables, check_again, count, empty

_PIECE = 10_000


def stream(
    tables: Tables | pd.DataFrame,
    connection: Connection,
    *,
    pace: float | None = None,
    stop_after: int | None = None,
    skip_guard: bool = False,
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
        quiet: whether to show no progress.

    Returns:
        The run: it shows its page, and ``run.reconcile()`` reads back what landed.

    Raises:
        UsageError: when the arguments are something else, or in another order.
        FrameError: when a frame no longer has its columns and dtypes.
        LedgerBusy: when another run is sending from the same state folder.
        PlatformError: when the platform cannot be reached or refuses.
    """
    _understand(tables, connection, stop_after)
    events, messages = (tables, empty("messages")) if isinstance(tables, pd.DataFrame) else _both(tables)
    built = check_again(events, messages)
    state = connection.platform.settings.state
    with (
        Run(
            connection,
            state,
            skip_guard=skip_guard,
            pace=pace,
            expected=len(built),
            stop_after=stop_after,
            quiet=quiet,
        ) as run,
        Deduplicator(run.book.settled) as deduplicator,
    ):
        run.counts.add((), (each.reason for each in built.rejected))
        run.rejections += built.rejected
        run.prepare(Kind(kind) for kind in built.rows["kind"].unique().to_pylist())
        for start in range(0, len(built), _PIECE):
            sifted = deduplicator.apply(replace(built, rejected=[]).part(start, start + _PIECE))
            count(run.counts, sifted)
            run.rejections += sifted.built.rejected
            run.pass_over(sifted.duplicates + len(sifted.built.rejected))
            run.send(sifted.built.events, sifted.built.messages)
        named = pc.sum(built.rows["message_count"]).as_py() or 0
        if named and isinstance(tables, pd.DataFrame):
            run.page.notes.append(
                "The frame events was given alone: "
                f"its transcripts travelled without their {named:,} messages."
            )
    return run


def _understand(tables: object, connection: object, stop_after: object) -> None:
    if not isinstance(tables, Tables | pd.DataFrame):
        raise UsageError(
            "What is streamed is tables, as read_export(...).to_tables() gives them, "
            f"not {_kind_of(tables)}: stream(tables, connection)."
        )
    if not isinstance(connection, Connection):
        raise UsageError(
            "What is streamed to is a connection, as plan_connection(platform).apply() or open_connection"
            f"(platform) gives it, not {_kind_of(connection)}: stream(tables, connection)."
        )
    if stop_after is not None and (not isinstance(stop_after, int) or stop_after < 1):
        raise UsageError(f"stop_after is a number of requests from 1, not {stop_after!r}.")


def _kind_of(value: object) -> str:
    return f"a {type(value).__name__}" if value is not None else "None"


def _both(tables: Tables) -> tuple[pd.DataFrame, pd.DataFrame]:
    return tables.events, tables.messages
