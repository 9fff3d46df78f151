"""A batch's entry in the catalog, and its changes."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ..server import errors as problems
from ..server.service import now_ms
from ..store import Json, Store


def batch_of(store: Store, request: web.Request) -> tuple[str, Json]:
    """Return the batch id in a request's path, and the batch; refuse an unknown id."""
    batch_id = request.match_info["id"]
    found = store.batch(batch_id)
    if found is None:
        raise problems.not_found(f"batch {batch_id}")
    return batch_id, found


def update_batch(store: Store, batch_id: str, **changed: Any) -> None:
    """Change fields of a batch, and raise its version."""
    found: Json = store.batch(batch_id) or {}
    major, minor, patch = found["version"].split(".")
    version = f"{major}.{minor}.{int(patch) + 1}"
    store.put_batch(batch_id, {**found, "updated": now_ms(), "version": version, **changed})


def deactivate(store: Store, batch_id: str) -> bool:
    """Deactivate a batch; return whether it was successful before."""
    found = store.batch(batch_id)
    if found is None or found["status"] != "success":
        return False
    update_batch(store, batch_id, status="inactive")
    return True
