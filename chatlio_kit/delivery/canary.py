"""The canary: the first records of a dataflow, chosen to cover every key, sent and read back first.

A mapping that fails on one key fails only records with that key. The canary therefore covers every key, and
includes the record with the fewest. The platform reports no error if a mapping loses an identity map, so maps
are compared one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from chatlio_kit.chatlio.catalogue import MESSAGES_KEY
from chatlio_kit.chatlio.identities import IDENTITIES_KEY
from chatlio_kit.connection import Connection
from chatlio_kit.connection.rows import stored_rows
from chatlio_kit.delivery.requests.wire import WireRecord, WireRecords

RECORDS = 20
_CLOCK_SKEW = timedelta(minutes=5)

Json = dict[str, Any]


class Canary:
    """Chooses the records of one dataflow whose keys were not read back yet."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def choose(self, records: WireRecords) -> NDArray[np.int64]:
        """Return the indexes of the records to read back before the others follow.

        The first call returns at least 20, if there are so many: the record with the fewest keys, one for
        each key, and the first others. Later calls return records with new keys.
        """
        keys = [frozenset(_keys(orjson.loads(record.body))) for record in records]
        if not keys:
            return np.empty(0, dtype=np.int64)
        is_first = not self._known
        chosen = [min(range(len(keys)), key=lambda index: len(keys[index]))] if is_first else []
        self._known |= keys[chosen[0]] if chosen else set()
        first_with = {having: index for index, having in reversed(list(enumerate(keys)))}
        while missing := set().union(*first_with) - self._known:
            best = max(first_with, key=lambda having: len(having & missing))
            chosen.append(first_with[best])
            self._known |= best
        if is_first:
            others = (index for index in range(len(keys)) if index not in set(chosen))
            chosen += [index for index, _ in zip(others, range(RECORDS - len(chosen)), strict=False)]
        return np.array(sorted(chosen), dtype=np.int64)


def count_lost_identities(connection: Connection, records: Sequence[WireRecord], since: datetime) -> int:
    """Count the records whose identities differ between sending and read-back.

    Args:
        connection: The destination.
        records: The records; those that did not land are left out.
        since: The time of sending.
    """
    sent = {record.event_id: _ids(orjson.loads(record.body).get(IDENTITIES_KEY)) for record in records}
    after = int((since - _CLOCK_SKEW).timestamp() * 1000)
    columns = ["_id", IDENTITIES_KEY]
    rows = stored_rows(connection.platform, connection.dataset_id, columns, [], created_after=after)
    stored = {row["_id"]: _ids(dict(row.get(IDENTITIES_KEY) or ())) for row in rows if row["_id"] in sent}
    return sum(found != sent[event_id] for event_id, found in stored.items())


def _ids(people: Json | None) -> set[tuple[str, str, bool]]:
    """Return namespace, id and primary flag of each identity."""
    items = ((code, item) for code, listed in (people or {}).items() for item in listed or ())
    return {(code, item["id"], bool(item.get("primary"))) for code, item in items}


def _keys(record: Json) -> Iterator[str]:
    """Yield the keys of a record, those of its messages, and its namespaces."""
    yield from record
    yield from (f"{IDENTITIES_KEY}.{code}" for code in record.get(IDENTITIES_KEY) or ())
    yield from (f"{MESSAGES_KEY}.{key}" for message in record.get(MESSAGES_KEY) or () for key in message)
