"""Draw a delivery: the platform's answers, and the rows found in the dataset."""

from __future__ import annotations

from chatlio_kit.delivery.ledger.models import FateCounts
from chatlio_kit.display.diagram import Box, flow
from chatlio_kit.display.figure import Picture
from chatlio_kit.display.palette import BLUE, GREEN, ORANGE, QUIET, VERMILLION


def draw(counts: FateCounts, destination: str) -> Picture:
    """Return the diagram.

    Args:
        counts: The events sent to a destination, by their fate.
        destination: Its name.
    """
    sent = counts.delivered + counts.dead_lettered + counts.pending
    words = (
        f"Drawing of a delivery to {destination}. Of {sent:,} events, {counts.delivered:,} were delivered, "
        f"{counts.dead_lettered:,} are dead letters and {counts.pending:,} are pending. Of those delivered, "
        f"{counts.landed:,} were found in the dataset, {counts.under_way:,} were not looked for or found "
        f"yet, and {counts.gone:,} are no longer there."
    )
    landing = [Box("landed", f"{counts.landed:,} rows found", GREEN if counts.landed else QUIET)]
    if counts.under_way:
        landing.append(Box(f"under way: {counts.under_way:,}", "reconcile looks for them", ORANGE))
    if counts.gone:
        landing.append(Box(f"gone: {counts.gone:,}", "reconcile says why", VERMILLION))
    return flow(
        [
            ("your tables", [Box("accepted", f"{sent:,} events", ORANGE)]),
            (
                "the platform's answer",
                [
                    Box("delivered", f"{counts.delivered:,} confirmed", BLUE),
                    Box(
                        f"dead letters: {counts.dead_lettered:,}",
                        "refused, kept to replay",
                        VERMILLION if counts.dead_lettered else QUIET,
                    ),
                    Box(
                        f"pending: {counts.pending:,}",
                        "sent by the next run",
                        ORANGE if counts.pending else QUIET,
                    ),
                ],
            ),
            ("read back from the dataset", landing),
        ],
        words,
    )
