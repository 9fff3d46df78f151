"""A run's page as a report that stands alone."""

from __future__ import annotations

from collections.abc import Sequence

from chatlio_kit.delivery.page import Page
from chatlio_kit.display import Document, Part, Sheet, Tile
from chatlio_kit.tables import FieldFindings
from chatlio_kit.tables.next_steps import NextStep
from chatlio_kit.tables.report import further_parts, record_parts, record_tiles


def page_document(page: Page, findings: FieldFindings, next_steps: Sequence[NextStep] = ()) -> Document:
    """Tell a run: what was read, what was sent, what landed, and what did not and why.

    Args:
        page: what the run did.
        findings: what else was found in the records.
        next_steps: what settles the rejected records.
    """
    sheet = page.sheet()
    tiles = [
        *record_tiles(page.counts),
        Tile("delivered", page.run.delivered),
        Tile("dead letters", page.run.dead_lettered, is_trouble=page.run.dead_lettered > 0),
        Tile("pending", page.run.pending, is_trouble=page.run.pending > 0),
        Tile("landed", page.run.landed, is_trouble=page.run.landed < page.run.delivered),
    ]
    return Document(
        f"Backfill to {page.destination}",
        f"{page.requests:,} requests, {page.retries:,} of them again, in {page.seconds:,.1f} s.",
        tiles,
        [
            Part("What became of the records", sheet=Sheet("", sheet.headings, sheet.rows, sheet.notes)),
            *record_parts(page.counts, findings),
            *further_parts(page.counts, (), next_steps),
        ],
    )
