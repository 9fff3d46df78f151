"""The identities of a stored row, as read by Identity Service and Profile.

Source: Identity Service guardrails; identity linking logic; XDM, "identityMap".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..store import Json

Identity = tuple[str, str]
"""Namespace code and id."""

MOST_IN_RECORD = 20
_BLOCKED = frozenset({"", "null", "anonymous", "invalid"})
_LONGEST = 1024
_ECID = re.compile(r"[0-9]{38}")


@dataclass(frozen=True)
class RowIdentities:
    """The identities of one row.

    Attributes:
        valid: Identities that Identity Service accepts, without repetitions.
        primary: The identity by which Profile stores the row; None if there are none or several, or if it
            is blocked.
        declared_primary: The identity declared primary, blocked or not; record delete uses it.
    """

    valid: tuple[Identity, ...]
    primary: Identity | None
    declared_primary: Identity | None


def is_blocked(namespace: str, value: str) -> bool:
    """Return whether Identity Service skips a value."""
    return (
        value.strip().lower() in _BLOCKED
        or len(value) > _LONGEST
        or (namespace == "ECID" and not _ECID.fullmatch(value))
    )


def identities_of(row: Json, described: dict[tuple[str, ...], tuple[str, bool]]) -> RowIdentities:
    """Return the identities of a row read from Parquet.

    Args:
        row: The row; its ``identityMap`` is a list of pairs, as Arrow reads a map.
        described: Namespace and primary flag of each field with an identity descriptor, by its path.
    """
    found: list[tuple[Identity, bool]] = []
    for namespace, items in row.get("identityMap") or []:
        found += [((namespace, item.get("id") or ""), item.get("primary") is True) for item in items or []]
    for path, (namespace, is_primary) in described.items():
        value: Any = row
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if isinstance(value, str):
            found.append(((namespace, value), is_primary))
    primaries = list(dict.fromkeys(identity for identity, is_primary in found if is_primary))
    declared = primaries[0] if len(primaries) == 1 else None
    valid = tuple(dict.fromkeys(identity for identity, _ in found if not is_blocked(*identity)))
    if len(valid) > MOST_IN_RECORD:
        return RowIdentities((), None, declared)
    return RowIdentities(valid, declared if declared in valid else None, declared)
