"""Sandbox management: the only sandbox.

Source: Sandbox API guide.
"""

from __future__ import annotations

from aiohttp import web

from ..server import errors as problems
from ..server.service import Service, answer, route
from ..store import Json

BASE = "/data/foundation/sandbox-management"


class Sandboxes(Service):
    """Lists and looks up sandboxes."""

    @route("GET", f"{BASE}/", f"{BASE}/sandboxes")
    async def active(self, request: web.Request) -> web.Response:
        """Return all sandboxes of the organisation; ``limit`` requires ``offset``, and vice versa."""
        given = [request.query[name] for name in ("limit", "offset") if name in request.query]
        if len(given) == 1 or not all(number.isascii() and number.isdigit() for number in given):
            raise problems.generic(400, "Bad request", "limit and offset must be given together, as numbers")
        limit, offset = (int(number) for number in given) if given else (50, 0)
        page = [self._sandbox()][offset : offset + limit]
        return answer({"sandboxes": page, "_page": {"limit": limit, "count": len(page)}, "_links": {}})

    @route("GET", f"{BASE}/sandboxes/{{name}}")
    async def lookup(self, request: web.Request) -> web.Response:
        """Return one sandbox by name."""
        name = request.match_info["name"]
        if name != self._context.account.sandbox:
            raise problems.generic(404, "Sandbox not found", f"The sandbox {name} was not found")
        return answer(self._sandbox())

    def _sandbox(self) -> Json:
        name, kind = self._context.account.sandbox, self._context.options.sandbox_type
        is_default = kind == "production"  # the default sandbox is a production sandbox
        return {"name": name, "title": name, "state": "active", "type": kind, "isDefault": is_default}
