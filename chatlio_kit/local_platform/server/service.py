"""The common parts of services: context, routes, JSON bodies and JSON answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
from aiohttp import web

from ..faults.plan import FaultPlan, Faults
from ..ims.account import LocalAccount, Options
from ..store import Json, Store
from . import errors as problems

LARGEST_BODY = 16_000_000
DEEPEST_BODY = 100
_LARGEST_NUMBER = 2**53

Handler = Callable[..., Awaitable[web.StreamResponse]]
Method = TypeVar("Method", bound=Handler)


def now_ms() -> int:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Context:
    """The shared context of a server's services; ``store`` belongs to the event loop's thread."""

    account: LocalAccount
    options: Options
    store: Store
    faults: Faults = field(default_factory=lambda: Faults(FaultPlan()))

    def audit(self, moment: int) -> Json:
        """Return the fields that Flow Service and Catalog add to a new object."""
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


def route(method: str, *paths: str) -> Callable[[Method], Method]:
    """Mark a method of a service as the handler of these paths."""

    def mark(handler: Method) -> Method:
        handler.routes = [(method, path) for path in paths]  # type: ignore[attr-defined]
        return handler

    return mark


class Service:
    """A service whose handlers are its methods marked by `route`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the handlers, in the order of their definition."""
        return [
            getattr(web, method.lower())(path, getattr(self, name))
            for name, member in vars(type(self)).items()
            for method, path in getattr(member, "routes", ())
        ]

    async def json_body(self, request: web.Request) -> Any:
        """Return the JSON of a request's body.

        Raises:
            ApiError: The body is not JSON, or is nested more deeply than any schema.
        """
        text = await read_body(request, self._context.options.body_seconds)
        try:
            body = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise problems.bad_request(f"The body is not valid JSON: {error}") from error
        if is_deep(body):
            raise problems.bad_request(f"The body nests more than {DEEPEST_BODY} levels deep")
        return body

    async def json_object(self, request: web.Request) -> Json:
        """Return the JSON object of a request's body.

        Raises:
            ApiError: The body is something else.
        """
        body = await self.json_body(request)
        if not isinstance(body, dict):
            raise problems.bad_request("The body must be a JSON object")
        return body


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a JSON response."""
    return web.Response(
        body=orjson.dumps(body), status=status, content_type="application/json", headers=headers
    )


async def read_body(request: web.Request, seconds: float, limit: int = LARGEST_BODY) -> bytes:
    """Return the body of a request.

    Raises:
        ApiError: The body is larger than ``limit`` bytes, or takes longer than ``seconds`` to arrive.
    """
    refusal = problems.generic(413, "Request entity too large", f"The body is larger than {limit} bytes")
    try:
        if (request.content_length or 0) <= limit:
            async with asyncio.timeout(seconds):
                body = await request.read()
            if len(body) <= limit:
                return body
    except TimeoutError:
        detail = f"The body did not arrive within {seconds:g} seconds"
        refusal = problems.generic(408, "Request Timeout", detail)
    refusal.headers["Connection"] = "close"
    raise refusal


def is_deep(value: Any) -> bool:
    """Return whether a JSON value is nested too deeply; this walks it by levels, without recursion."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEEPEST_BODY + 1):
        members: list[Any] = []
        for container in level:
            members += container.values() if isinstance(container, dict) else container
        level = [member for member in members if isinstance(member, dict | list)]
        if not level:
            return False
    return True


def whole_number(text: str) -> int | None:
    """Return the integer in a query parameter; None unless JSON can hold it exactly."""
    if not text.isascii() or not text.isdecimal() or len(text) > 20 or int(text) > _LARGEST_NUMBER:
        return None
    return int(text)
