"""Draw a delivery: the platform's answers, and the rows found in the dataset."""

from __future__ import annotations

from chatlio_kit.counting import counted
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
        f"Drawing of a delivery to {destination}. Of {counted(sent, 'event')}: delivered "
        f"{counts.delivered:,}, dead letters {counts.dead_lettered:,}, pending {counts.pending:,}. Of those "
        f"delivered: found in the dataset {counts.landed:,}, not looked for or found yet "
        f"{counts.under_way:,}, no longer there {counts.gone:,}."
    )
    landing = [Box("landed", f"{counted(counts.landed, 'row')} found", GREEN if counts.landed else QUIET)]
    if counts.under_way:
        landing.append(Box(f"under way: {counts.under_way:,}", "reconcile looks for them", ORANGE))
    if counts.gone:
        landing.append(Box(f"gone: {counts.gone:,}", "reconcile says why", VERMILLION))
    return flow(
        [
            ("your tables", [Box("accepted", counted(sent, "event"), ORANGE)]),
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
