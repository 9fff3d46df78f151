"""Read a dataset's rows back into a frame.

Source: Data Access: files of a batch.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from chatlio_kit.aep import Platform
from chatlio_kit.chatlio.catalogue import sent_fields
from chatlio_kit.chatlio.kinds import EVENT_TYPE_PREFIX
from chatlio_kit.counting import counted
from chatlio_kit.display import Progress
from chatlio_kit.errors import NotFound, UnreadableRows
from chatlio_kit.tables import empty

_LANDED = frozenset({"success", "active"})
_NAMED = 5


def read_rows(platform: Platform, dataset_id: str, tenant_id: str, *, quiet: bool) -> pd.DataFrame:
    """Read all rows of a dataset, with the columns of the frame ``events``; see ``Connection.read_rows``."""
    platform.catalog.dataset(dataset_id)  # a deleted dataset is an error, not an empty frame
    unreadable: list[str] = []
    stored = []
    read = partial(_read_flat, tenant=f"_{tenant_id}")
    with Progress("reading rows", None, "rows", quiet=quiet) as progress:
        for table in _stored_tables(platform, dataset_id, read, unreadable):
            stored.append(table)
            progress.advance(len(table))
    if unreadable:
        warnings.warn(
            f"The rows of {counted(len(unreadable), 'batch', 'batches')} cannot be read and are missing "
            f"here: {'; '.join(unreadable[:_NAMED])}. reconcile lists them all.",
            UnreadableRows,
            stacklevel=4,
        )
    fields = list(sent_fields())
    names = [field.name for field in fields]
    if not stored:
        return empty("events")[names]
    rows: pd.DataFrame = pa.concat_tables(stored, promote_options="default").to_pandas()
    rows = rows.reindex(columns=[*names, *rows.columns.difference(names)])
    for field in fields:
        if field.unsent is not None:  # a missing value means this one
            rows[field.name] = rows[field.name].astype("str").fillna(field.unsent)
    rows["kind"] = rows["kind"].str.removeprefix(EVENT_TYPE_PREFIX)
    return rows.sort_values(["occurred_at", "event_id"], ignore_index=True)


def stored_rows(
    platform: Platform,
    dataset_id: str,
    columns: list[str],
    unreadable: list[str],
    *,
    created_after: int = 0,
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a dataset as plain values; a map is a list of pairs.

    Args:
        platform: The platform.
        dataset_id: The dataset.
        columns: The columns to read, such as ``_tenant.chatlio.visitor_id``.
        unreadable: Batches with a missing or damaged file are added to it.
        created_after: Only batches created after this time, in milliseconds since 1970.
    """

    def read(file: io.BytesIO) -> pa.Table:
        with pq.ParquetFile(file) as parquet:
            return parquet.read(columns=columns)

    for table in _stored_tables(platform, dataset_id, read, unreadable, created_after):
        yield from table.to_pylist()


def _stored_tables(
    platform: Platform,
    dataset_id: str,
    read: Callable[[io.BytesIO], pa.Table],
    unreadable: list[str],
    created_after: int = 0,
) -> Iterator[pa.Table]:
    """Yield the table of each stored file; skip batches that consolidation has replaced.

    Batches with a missing or damaged file are added to ``unreadable``; the others are still read.
    """
    access = platform.data_access
    for batch in platform.catalog.batches(dataset_id, created_after=created_after):
        if batch.status in _LANDED and batch.successor_id is None:
            try:
                files = access.files(batch.id)
                if not files and batch.metrics.get("outputRecordCount"):
                    unreadable.append(f"batch {batch.id}, whose files are missing")
                for file in files:
                    yield read(io.BytesIO(access.download(file)))
            except NotFound:
                unreadable.append(f"batch {batch.id}, whose files are missing")
            except (pa.ArrowException, OSError, KeyError):
                unreadable.append(f"batch {batch.id}, which has a damaged file")


def _read_flat(file: io.BytesIO, tenant: str) -> pa.Table:
    return _flatten(pq.read_table(file), tenant)


def _flatten(table: pa.Table, tenant: str) -> pa.Table:
    """Return our columns of a stored file, in which the tenant's fields are nested two levels deep."""
    flat = table.select([tenant]).flatten().flatten()
    prefix = f"{tenant}.chatlio."
    fields = {name.removeprefix(prefix): flat[name] for name in flat.column_names}
    standard = {"event_id": table["_id"], "kind": table["eventType"], "occurred_at": table["timestamp"]}
    return pa.table(standard | fields)
