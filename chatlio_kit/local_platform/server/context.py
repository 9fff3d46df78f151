"""What every service stands on: the account, the options, the store and the time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from ..faults.plan import FaultPlan, Faults
from ..ims.account import LocalAccount, Options
from ..store import Json, Store
from .reading import object_of, parsed, read_body

BODY_SECONDS = web.AppKey("body_seconds", float)


def now_ms() -> int:
    """The time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Context:
    """Shared by the services of one server; ``store`` belongs to the event loop's thread."""

    account: LocalAccount
    options: Options
    store: Store
    faults: Faults = field(default_factory=lambda: Faults(FaultPlan()))

    def audit(self, moment: int) -> Json:
        """The fields Flow Service and Catalog stamp a new object with."""
        account = self.account
        return {
            "createdBy": account.technical_user,
            "updatedBy": account.technical_user,
            "createdClient": account.client_id,
            "updatedClient": account.client_id,
            "createdAt": moment,
            "updatedAt": moment,
            "sandboxId": account.sandbox_id,
            "sandboxName": account.sandbox,
            "imsOrgId": account.org_id,
        }


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON response."""
    return web.Response(
        body=orjson.dumps(body), status=status, content_type="application/json", headers=headers
    )


async def json_body(request: web.Request) -> Any:
    """The JSON of a request's body; bodies that are no JSON are refused with a problem document."""
    return parsed(await read_body(request, request.app[BODY_SECONDS]))


async def json_object(request: web.Request) -> Json:
    """The JSON object of a request's body."""
    return object_of(await json_body(request))
