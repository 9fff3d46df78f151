"""What a connection's dataset and dataflows say of themselves, as frames.

Source: Data Access: files of a batch; Flow Service: runs.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from chatlio_kit.chatlio.catalogue import sent_fields
from chatlio_kit.chatlio.kinds import EVENT_TYPE_PREFIX, Kind
from chatlio_kit.display import Progress
from chatlio_kit.errors import NotFound, UnreadableRows
from chatlio_kit.tables import empty

if TYPE_CHECKING:
    from chatlio_kit.connection.connection import Connection

_LANDED = frozenset({"success", "active"})
_NAMED = 5
_COUNTERS = ("received", "ingested", "failed")


def read_rows(connection: Connection, *, quiet: bool) -> pd.DataFrame:
    """Read the dataset's rows back, in the columns of the frame ``events``."""
    connection.platform.catalog.dataset(connection.dataset_id)  # one that was deleted holds no empty frame
    unreadable: list[str] = []
    with Progress("reading rows", None, "rows", quiet=quiet) as progress:
        found = []
        for table in _stored(connection, unreadable):
            found.append(table)
            progress.advance(len(table))
    if unreadable:
        warnings.warn(
            f"The rows of {len(unreadable):,} batches cannot be read and are missing here: "
            f"{'; '.join(unreadable[:_NAMED])}. reconcile names all of them.",
            UnreadableRows,
            stacklevel=3,
        )
    names = [field.name for field in sent_fields()]
    if not found:
        return empty("events")[names]
    rows: pd.DataFrame = pa.concat_tables(found, promote_options="default").to_pandas()
    rows = rows.reindex(columns=[*names, *rows.columns.difference(names)])
    rows["kind"] = rows["kind"].str.removeprefix(EVENT_TYPE_PREFIX)
    return rows.sort_values(["occurred_at", "event_id"], ignore_index=True)


def dataflow_runs(connection: Connection) -> pd.DataFrame:
    """Sum the counters of the history dataflows' runs: a row for each kind."""
    rows = {}
    for kind in Kind:
        if kind in connection.history:
            runs = connection.platform.flows.runs(connection.history[kind].flow_id)
            rows[str(kind)] = [sum(getattr(run, counter) for run in runs) for counter in _COUNTERS]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=list(_COUNTERS))
    return frame.rename_axis("kind")


def _stored(connection: Connection, unreadable: list[str]) -> Iterator[pa.Table]:
    """Give our columns of each stored file; a batch that was consolidated into another one is read there.

    A file that is missing or damaged is named in ``unreadable`` and costs its neighbours nothing.
    """
    access = connection.platform.data_access
    for batch in connection.platform.catalog.batches(connection.dataset_id, created_after=0):
        if batch.status in _LANDED and batch.successor_id is None:
            try:
                files = access.files(batch.id)
                if not files and batch.metrics.get("outputRecordCount"):
                    unreadable.append(f"batch {batch.id}, whose files are not there")
                for file in files:
                    table = pq.read_table(io.BytesIO(access.download(file)))
                    yield _ours(table, f"_{connection.tenant_id}")
            except NotFound:
                unreadable.append(f"batch {batch.id}, whose files are not there")
            except (pa.ArrowException, OSError, KeyError):
                unreadable.append(f"batch {batch.id}, of which a file is damaged")


def _ours(table: pa.Table, tenant: str) -> pa.Table:
    """Take our columns out of a stored file: the tenant's fields lie two objects deep."""
    flat = table.select([tenant]).flatten().flatten()
    prefix = f"{tenant}.chatlio."
    fields = {name.removeprefix(prefix): flat[name] for name in flat.column_names}
    standard = {"event_id": table["_id"], "kind": table["eventType"], "occurred_at": table["timestamp"]}
    return pa.table(standard | fields)
