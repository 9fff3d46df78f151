"""Consolidation: a dataset's batches merged into one, which the old ones name as their successor.

Code that calls the service shows that batches may be merged later, and that the tag ``acp_successor`` leads
to their rows. When it happens, and what becomes of the old batches, is not documented. Here they turn
``inactive`` and lose their files.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from ..server.service import Context, now_ms
from ..store import BatchFilter, Json
from .files import good_file, new_batch_id, write_rows

_PAGE = 100


def consolidate(context: Context, created_before: int) -> None:
    """Merge the successful batches of each dataset that are older than a time in milliseconds."""
    for dataset in context.store.all("dataset"):
        old = dict(_batches(context, dataset["id"], created_before))
        if len(old) > 1:
            _merge(context, dataset["id"], old)


def _batches(context: Context, dataset_id: str, created_before: int) -> Iterator[tuple[str, Json]]:
    chosen = BatchFilter(dataset_id, "success", created_before=created_before, ascending=True)
    start = 0
    while page := context.store.batches(chosen, _PAGE, start):
        yield from page.items()
        start += _PAGE


def _merge(context: Context, dataset_id: str, old: dict[str, Json]) -> None:
    lake, key, moment = context.store.lake, new_batch_id(), now_ms()
    tables = [pq.read_table(good_file(lake, batch_id)) for batch_id in old]
    size = write_rows(lake, key, pa.concat_tables(tables, promote_options="default"))
    first = next(iter(old.values()))
    counts = ("inputRecordCount", "outputRecordCount", "failedRecordCount", "inputByteSize")
    metrics = {name: sum(batch["metrics"][name] for batch in old.values()) for name in counts}
    body = {
        **first,
        "created": moment,
        "updated": moment,
        "started": moment,
        "completed": moment,
        "tags": {},
        "metrics": {**metrics, "outputByteSize": size, "inputFileCount": len(old), "outputFileCount": 1},
    }
    with context.store.transaction():
        context.store.add_batch(key, dataset_id, body)
        for batch_id, before in old.items():
            tags = {**before["tags"], "acp_successor": [key]}
            context.store.put_batch(
                batch_id, {**before, "status": "inactive", "updated": moment, "tags": tags}
            )
