"""Which changes of a schema are additive: the only ones allowed once a dataset of it holds data.

Source: Schema Registry API guide, "Rules of schema evolution".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..store import Json

_COMPARED = ("type", "format", "meta:xdmType")


def breaking_changes(before: Json, after: Json, path: str = "") -> Iterator[str]:
    """What of a composed schema is gone, of another type, or newly required; nothing when all is additive."""
    for name in sorted(set(after.get("required", [])) - set(before.get("required", []))):
        yield f"{path}/{name} becomes required"
    fields = after.get("properties", {})
    for name, node in before.get("properties", {}).items():
        here = f"{path}/{name}"
        if name not in fields:
            yield f"{here} is removed"
        else:
            yield from _changes_of(node, fields[name], here)


def _changes_of(before: Any, after: Any, path: str) -> Iterator[str]:
    if any(before.get(key) != after.get(key) for key in _COMPARED):
        yield f"{path} changes its type"
        return
    yield from breaking_changes(before, after, path)
    if isinstance(before.get("items"), dict):
        yield from _changes_of(before["items"], after.get("items", {}), f"{path}/items")
