"""Repeated events are found, however long ago and however many came in between."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from hashlib import sha256

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlio_kit.captures import RawBatch
from chatlio_kit.tables import Deduplicator, EventBatch

TEXT = pa.large_string()
MOST = 500


def _batch(ids: Iterable[str], first: int) -> EventBatch:
    """Return events with these ids, numbered from the first; a payload is its id."""
    names = list(ids)
    columns = {
        "event_id": pa.array(names, TEXT),
        "payload_digest": pa.array(names, TEXT),
        "source_file": pa.array(["captures.ndjson"] * len(names), TEXT),
        "source_record": pa.array(range(first, first + len(names)), pa.int64()),
    }
    return EventBatch(pa.table(columns), [], RawBatch(), np.arange(len(names)))


@given(batches=st.lists(st.lists(st.integers(0, 400), max_size=60), max_size=30), most=st.integers(1, 300))
@settings(max_examples=40)
def test_an_id_counts_once_however_far_apart_it_occurs(batches: list[list[int]], most: int) -> None:
    """Of equal events the first is kept, wherever its id is held at that point."""
    seen: set[int] = set()
    with Deduplicator(most_in_memory=most) as deduplicator:
        for numbers in batches:
            ids = [f"{number:064x}" for number in numbers]  # equal beginnings, as no digest has them
            found = deduplicator.apply(_batch(ids, 1))
            new = [number for number in dict.fromkeys(numbers) if number not in seen]
            assert found.rows["event_id"].to_pylist() == [f"{number:064x}" for number in new]
            assert found.duplicates == len(numbers) - len(new)
            seen.update(new)


def test_memory_stays_flat_and_old_ids_are_found() -> None:
    """Ids beyond the limit are held on disk: memory stays flat, and none is forgotten."""

    def ids(batch: int) -> list[str]:
        return [sha256(f"{batch} {number}".encode()).hexdigest() for number in range(MOST)]

    tracemalloc.start()
    try:
        with Deduplicator(most_in_memory=MOST) as deduplicator:
            sizes = []
            for batch in range(60):
                assert deduplicator.apply(_batch(ids(batch), batch * MOST)).duplicates == 0
                sizes.append(tracemalloc.get_traced_memory()[0])
            for batch in (0, 31, 59):
                assert deduplicator.apply(_batch(ids(batch), 0)).duplicates == MOST
    finally:
        tracemalloc.stop()
    held_in_vain = 50 * MOST * 80  # what 50 batches of ids, digests and places take
    assert sizes[59] - sizes[9] < held_in_vain / 10
