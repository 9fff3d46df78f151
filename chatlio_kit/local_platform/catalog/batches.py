"""Batch ingestion, as far as it undoes what landed: reverting a batch.

Source: Batch ingestion API guide: actions of a batch. On the service a reverted batch stays ``success`` for
some seconds and is ``inactive`` then; here it is so at once. Its rows go with it.
"""

from __future__ import annotations

from aiohttp import web

from ..lake.files import remove_files
from ..server import errors as problems
from ..server.context import Context, now_ms
from ..store import Store

BASE = "/data/foundation/import"


class Batches:
    """``POST /batches/{id}?action=REVERT``."""

    def __init__(self, ground: Context) -> None:
        self._ground = ground

    def routes(self) -> list[web.RouteDef]:
        """The calls of this service."""
        return [web.post(f"{BASE}/batches/{{id}}", self.act)]

    async def act(self, request: web.Request) -> web.Response:
        """Revert a batch that succeeded."""
        batch_id, action = request.match_info["id"], request.query.get("action", "")
        store = self._ground.store
        found = store.batch(batch_id)
        if found is None:
            raise problems.generic(404, "NotFoundError", f"The batch {batch_id} was not found")
        if action != "REVERT":
            raise problems.generic(400, "BadRequestError", f"The action {action!r} is not served here")
        if not deactivate(store, batch_id):
            detail = f"The batch {batch_id} is {found['status']}: only a batch that succeeded is reverted"
            raise problems.generic(428, "ERR-BI-104", detail)
        remove_files(store.lake, batch_id)
        return web.Response()


def deactivate(store: Store, batch_id: str) -> bool:
    """Turn a successful batch inactive; says whether it was one."""
    found = store.batch(batch_id)
    if found is None or found["status"] != "success":
        return False
    store.put_batch(batch_id, {**found, "status": "inactive", "updated": now_ms()})
    return True
