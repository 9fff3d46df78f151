"""Pieces built by several processes at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

from chatlio_kit.captures import Piece
from chatlio_kit.crew import Crew
from chatlio_kit.tables.building import Built, Settling, build
from chatlio_kit.tables.nesting import filled, without_empty_columns
from chatlio_kit.tables.schemas import PANDERA

ROOMS = (__name__, PANDERA)
"""What is loaded once for all workers."""


def build_all(pieces: Iterable[Piece], settling: Settling, crew: Crew) -> Iterator[Built]:
    """Build pieces in their order.

    Args:
        pieces: the pieces.
        settling: what the user decided where captures say nothing.
        crew: who builds.
    """
    for piece, built in crew.map(partial(_build, settling), pieces):
        yield replace(built, rows=filled(built.rows), piece=piece)


def _build(settling: Settling, piece: Piece) -> Built:
    """Build a piece; its records' texts never leave the process that read them."""
    built = build(piece, settling)
    return replace(built, rows=without_empty_columns(built.rows), piece=Piece())
