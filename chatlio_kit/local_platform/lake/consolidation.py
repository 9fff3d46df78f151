"""Consolidation: a dataset's batches are merged into one, which the old ones name as their successor.

Client code shows that batches may be merged later, and that the tag ``acp_successor`` leads to their rows.
The time, and the state of the old batches, are not documented. Here they become ``inactive``
and lose their files.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow.parquet as pq

from ..server.service import Context, now_ms
from ..store import BatchFilter, Json
from .files import PartWriter, good_files, new_batch_id

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
    writer = PartWriter(lake, key)
    for path in (path for batch_id in old for path in good_files(lake, batch_id)):
        writer.add(pq.read_table(path))
    writer.close()
    first = next(iter(old.values()))
    counts = ("inputRecordCount", "outputRecordCount", "failedRecordCount", "inputByteSize")
    files = {"inputFileCount": len(old), "outputFileCount": writer.parts}
    metrics = {name: sum(batch["metrics"][name] for batch in old.values()) for name in counts}
    body = {
        **{name: value for name, value in first.items() if name not in ("id", "externalId", "replay")},
        "created": moment,
        "updated": moment,
        "started": moment,
        "completed": moment,
        "tags": {},
        "errors": [],
        "metrics": {**metrics, **files, "outputByteSize": writer.size},
    }
    with context.store.transaction():
        context.store.add_batch(key, dataset_id, body)
        for batch_id, before in old.items():
            tags = {**before["tags"], "acp_successor": [key]}
            context.store.put_batch(
                batch_id, {**before, "status": "inactive", "updated": moment, "tags": tags}
            )
