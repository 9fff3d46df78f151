"""Draw a conversion: the outcomes of the records, and the resulting tables."""

from __future__ import annotations

from collections.abc import Mapping

from chatlio_kit.counting import counted
from chatlio_kit.display.diagram import Box, flow
from chatlio_kit.display.figure import Picture
from chatlio_kit.display.palette import BLUE, GREEN, ORANGE, QUIET, VERMILLION
from chatlio_kit.tables.findings import RecordCounts


def draw(counts: RecordCounts, rows: Mapping[str, int]) -> Picture:
    """Return the diagram.

    Args:
        counts: The records, by outcome.
        rows: Number of rows in each table.
    """
    made = ", ".join(f"{name} {count:,}" for name, count in rows.items())
    words = (
        f"Drawing of a conversion. {counted(counts.read, 'record was', 'records were')} read: "
        f"{counts.accepted:,} accepted, {counts.rejected:,} rejected, "
        f"{counted(counts.duplicates, 'duplicate')}. Rows of the tables: {made}."
    )
    reasons = counts.rejected_by_reason
    why = f"{len(reasons)} reasons, all listed" if len(reasons) > 1 else "".join(reasons)
    return flow(
        [
            ("your files", [Box("read", counted(counts.read, "record"), ORANGE)]),
            (
                "one end for each record",
                [
                    Box("accepted", counted(counts.accepted, "event"), GREEN),
                    Box(f"rejected: {counts.rejected:,}", why, VERMILLION if counts.rejected else QUIET),
                    Box(f"duplicates: {counts.duplicates:,}", "read before"),
                ],
            ),
            (
                "five tables",
                [Box(name, counted(count, "row"), BLUE) for name, count in rows.items()],
            ),
        ],
        words,
    )
