"""Batches decoded and validated by several processes at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial

from chatlio_kit.captures import RawBatch
from chatlio_kit.pool import map_in_order
from chatlio_kit.tables.nesting import filled, without_empty_columns
from chatlio_kit.tables.validate.event_batch import EventBatch, ReadOptions, build
from chatlio_kit.tables.validate.schemas import PANDERA

PRELOAD = (__name__, PANDERA)
"""What workers import as soon as they are started."""


def validate_batches(
    pieces: Iterable[RawBatch], settling: ReadOptions, executor: Executor | None
) -> Iterator[EventBatch]:
    """Decode and validate batches in their order.

    Args:
        pieces: the batches.
        settling: what the user decided where captures say nothing.
        executor: where the work is done; with None in this process.
    """
    for piece, built in map_in_order(executor, partial(_build, settling), pieces):
        yield replace(built, rows=filled(built.rows), piece=piece)


def _build(settling: ReadOptions, piece: RawBatch) -> EventBatch:
    """Build a batch; its records' texts never leave the process that read them."""
    built = build(piece, settling)
    return replace(built, rows=without_empty_columns(built.rows), piece=RawBatch())
