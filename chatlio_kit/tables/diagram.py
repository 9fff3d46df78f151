"""Draw a conversion: the outcomes of the records, and the resulting tables."""

from __future__ import annotations

from collections.abc import Mapping

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
        f"Drawing of a conversion. {counts.read:,} records were read: {counts.accepted:,} accepted, "
        f"{counts.rejected:,} rejected, {counts.duplicates:,} duplicates. Rows of the tables: {made}."
    )
    reasons = counts.rejected_by_reason
    why = f"{len(reasons)} reasons, all listed" if len(reasons) > 1 else "".join(reasons)
    return flow(
        [
            ("your files", [Box("read", f"{counts.read:,} records", ORANGE)]),
            (
                "one end for each record",
                [
                    Box("accepted", f"{counts.accepted:,} events", GREEN),
                    Box(f"rejected: {counts.rejected:,}", why, VERMILLION if counts.rejected else QUIET),
                    Box(f"duplicates: {counts.duplicates:,}", "read before"),
                ],
            ),
            (
                "five tables",
                [Box(name, f"{count:,} rows", BLUE) for name, count in rows.items()],
            ),
        ],
        words,
    )
