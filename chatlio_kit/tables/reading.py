"""Read tables that ``convert`` wrote."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from chatlio_kit.arguments import checked
from chatlio_kit.chatlio.catalogue import TABLES
from chatlio_kit.chatlio.rejections import Reason, Rejection
from chatlio_kit.errors import CaptureError, MissingPath, UsageError
from chatlio_kit.tables.arrow import arrow_schema, frame_of
from chatlio_kit.tables.findings import RecordCounts
from chatlio_kit.tables.report import REJECTED, REPORT
from chatlio_kit.tables.tables import Tables


@checked()
def read_tables(folder: Path | str) -> Tables:
    """Return the tables that ``convert`` wrote into a folder, with the rejections.

    They equal the frames of ``read_export(...).to_tables()`` for the same captures, and can be sent, measured
    and edited like them. ``tables.next_steps`` is empty: the captures are not read again.

    Args:
        folder: The folder given to ``convert`` as ``--out``.

    Raises:
        MissingPath: There is no such folder.
        UsageError: The folder lacks one of the tables or the report.
        CaptureError: A file in it cannot be read, or is not what ``convert`` writes.
    """
    out = Path(folder)
    if not out.is_dir():
        raise MissingPath(f"There is no folder {str(out)!r}. Name the folder that convert wrote.")
    missing = [
        name for name in (*(f"{table}.parquet" for table in TABLES), REPORT) if not (out / name).is_file()
    ]
    if missing:
        raise UsageError(
            f"{str(out)!r} lacks {', '.join(missing)}. Name the folder that convert wrote, or convert again."
        )
    frames: dict[str, Any] = {name: _read_table(out / f"{name}.parquet", name) for name in TABLES}
    try:
        report = orjson.loads((out / REPORT).read_bytes())
        rejections = _read_rejections(out / REJECTED)
        counts = _counts(report, frames["events"], rejections)
    except (ValueError, KeyError, TypeError) as error:
        raise unreadable_table(out / REPORT, error) from error
    except OSError as error:
        raise unreadable_table(out, error) from error
    return Tables(**frames, rejections=rejections, counts=counts, notes=[])


def _read_table(path: Path, name: str) -> pd.DataFrame:
    try:
        rows = pq.read_table(path)
        if rows.column_names != arrow_schema(name).names:
            raise CaptureError(
                f"{str(path)!r} has other columns than the table {name}. Another version or program "
                "wrote it; convert the captures again."
            )
        return frame_of(rows.cast(arrow_schema(name)))
    except (OSError, pa.ArrowException) as error:
        raise unreadable_table(path, error) from error


def _read_rejections(path: Path) -> list[Rejection]:
    if not path.is_file():
        return []
    return [
        Rejection(**{"raw": None, **line, "reason": Reason(line["reason"])})
        for line in map(orjson.loads, path.read_bytes().splitlines())
    ]


def _counts(report: dict[str, Any], events: pd.DataFrame, rejections: list[Rejection]) -> RecordCounts:
    """Return the counts of the report, with the events' months."""
    counts = RecordCounts(
        report["duplicates"],
        Counter(report["by_kind"]),
        rejected_by_reason=Counter(report["rejected_by_reason"]),
    )
    months = events["occurred_at"].dt.tz_localize(None).to_numpy().astype("datetime64[M]").astype(np.int64)
    counts.by_month.update(zip(months.tolist(), events["kind"], strict=True))
    for rejection in rejections:
        counts.add_example(rejection)
    return counts


def unreadable_table(path: Path, error: Exception) -> CaptureError:
    """Return the error of a file in a folder of tables that cannot be read."""
    words = str(error).partition("\n")[0].rstrip(".")
    return CaptureError(f"{str(path)!r} cannot be read: {words}. Convert the captures again.")
