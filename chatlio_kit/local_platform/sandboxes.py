"""Sandbox management: the one sandbox there is.

Source: Sandbox API guide.
"""

from __future__ import annotations

from aiohttp import web

from . import problems
from .ground import Ground, answer
from .store import Json

BASE = "/data/foundation/sandbox-management"


class Sandboxes:
    """Lists and looks up sandboxes."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def routes(self) -> list[web.RouteDef]:
        """The calls of this service."""
        return [
            web.get(f"{BASE}/", self.active),
            web.get(f"{BASE}/sandboxes", self.active),
            web.get(f"{BASE}/sandboxes/{{name}}", self.lookup),
        ]

    async def active(self, _request: web.Request) -> web.Response:
        """All sandboxes of the organisation."""
        return answer({"sandboxes": [self._sandbox()], "_page": {"limit": 50, "count": 1}, "_links": {}})

    async def lookup(self, request: web.Request) -> web.Response:
        """One sandbox by name."""
        name = request.match_info["name"]
        if name != self._ground.account.sandbox:
            raise problems.generic(404, "Sandbox not found", f"The sandbox {name} was not found")
        return answer(self._sandbox())

    def _sandbox(self) -> Json:
        name = self._ground.account.sandbox
        return {"name": name, "title": name, "state": "active", "type": "production", "isDefault": True}
