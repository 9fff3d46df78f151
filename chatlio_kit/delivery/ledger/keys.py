"""Event ids and payload digests as the ledger keeps them: 64 hexadecimal characters are 32 bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from chatlio_kit.tables import as_keys

AMONG = "event_id IN (SELECT substr(:keys, value * 32 + 1, 32) FROM json_each(:places))"
"""The condition that an event is one of those asked for. Keys travel in a row, since JSON holds no bytes."""
_SIZE = 32
_DIGEST = re.compile(r"[0-9a-f]{64}")


def key_of(event_id: str) -> bytes:
    """Give an id's key; what is no id of ours has an empty one, which no event has."""
    return bytes.fromhex(event_id) if _DIGEST.fullmatch(event_id) else b""


def keys_of(event_ids: Iterable[str]) -> bytes:
    """Give the keys of ids of ours, one after the other."""
    return bytes.fromhex("".join(event_ids))


def ours_in(event_ids: Iterable[str]) -> bytes:
    """Return the keys of those ids that are ours, one after the other."""
    return bytes.fromhex("".join(each for each in event_ids if _DIGEST.fullmatch(each)))


def asked(keys: bytes) -> dict[str, object]:
    """Give the values that :data:`AMONG` asks for."""
    return {"keys": keys, "places": orjson.dumps(list(range(len(keys) // _SIZE))).decode()}


def keys_in(column: pd.Series[Any]) -> NDArray[np.void]:
    """Give the keys of a column of ids or digests."""
    return as_keys(pa.array(column.array, pa.large_string())).view(f"V{_SIZE}").ravel()
