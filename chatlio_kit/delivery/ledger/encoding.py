"""Encode ids and times for the ledger: ids as 32 bytes, times as milliseconds since 1970."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from chatlio_kit.tables.deduplicate.seen_ids import as_keys

ID_IN_KEYS = "event_id IN (SELECT substr(:keys, value * 32 + 1, 32) FROM json_each(:indexes))"
"""The condition that an event was requested. The keys are one blob, because JSON has no bytes."""
Clock = Callable[[], datetime]

_KEY_BYTES = 32
_DIGEST = re.compile(r"[0-9a-f]{64}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_10000 = 253_402_300_800_000


def key_of(event_id: str) -> bytes:
    """Return an id's key; a string that is not an event id has an empty key, which no event has."""
    return bytes.fromhex(event_id) if _DIGEST.fullmatch(event_id) else b""


def key_array(column: pd.Series[Any]) -> NDArray[np.void]:
    """Return the keys of a column of ids or digests."""
    return as_keys(pa.array(column.array, pa.large_string())).view(f"V{_KEY_BYTES}").ravel()


def key_parameters(keys: bytes | Iterable[str]) -> dict[str, object]:
    """Return the parameters of :data:`ID_IN_KEYS`.

    Args:
        keys: Joined keys, or event ids; other strings are left out.
    """
    joined = keys if isinstance(keys, bytes) else b"".join(map(key_of, keys))
    return {"keys": joined, "indexes": orjson.dumps(list(range(len(joined) // _KEY_BYTES))).decode()}


def to_milliseconds(moment: datetime) -> int:
    """Return a time as the ledger stores it."""
    return int(moment.timestamp() * 1000)


def from_milliseconds(milliseconds: int | None) -> datetime | None:
    """Return a stored time; None if none, or no valid one, is stored."""
    if milliseconds is None or not 0 <= milliseconds < _YEAR_10000:
        return None
    return _EPOCH + timedelta(milliseconds=milliseconds)


def machine_time() -> datetime:
    """Return this machine's time."""
    return datetime.now(UTC)
