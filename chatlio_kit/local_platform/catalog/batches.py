"""A batch's entry in the catalog, and how it changes."""

from __future__ import annotations

from typing import Any

from ..server.service import now_ms
from ..store import Json, Store


def update_batch(store: Store, batch_id: str, **changed: Any) -> None:
    """Change fields of a batch; its version goes up."""
    found: Json = store.batch(batch_id) or {}
    major, minor, patch = found["version"].split(".")
    version = f"{major}.{minor}.{int(patch) + 1}"
    store.put_batch(batch_id, {**found, "updated": now_ms(), "version": version, **changed})


def deactivate(store: Store, batch_id: str) -> bool:
    """Turn a successful batch inactive; return whether it was one."""
    found = store.batch(batch_id)
    if found is None or found["status"] != "success":
        return False
    update_batch(store, batch_id, status="inactive")
    return True
