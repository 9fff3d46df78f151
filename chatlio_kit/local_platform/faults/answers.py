"""Application of faults: before a request is accepted, and on its answer."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from aiohttp import web

from ..server import errors as problems
from .plan import FaultRule, Trial

_POLL_SECONDS = 0.02
_PAGE = "<html><head><title>Welcome</title></head><body>Please sign in to this network.</body></html>"
_REFUSALS = {
    400: "Invalid XDM Message Format",
    413: "Request entity too large",
    429: "Too many requests",
    500: "Internal server error",
    503: "Service unavailable",
}


def refusal_of(rule: FaultRule, inlet: str = "") -> problems.ApiError:
    """Return the refusal of a request as a whole."""
    title = _REFUSALS.get(rule.status, "ApiError")
    refusal = problems.collection(rule.status, f"inletId: [{inlet}] {title}, on demand", title=title)
    if rule.retry_after is not None:
        refusal.headers["Retry-After"] = str(rule.retry_after)
    return refusal


def inlet_unknown(inlet: str, reference: str) -> problems.ApiError:
    """Return the answer to a post to an inlet that does not exist, or not yet."""
    title = f"Inlet does not exist (Reference id: {reference})"
    return problems.collection(404, f"inletId: [{inlet}] {title}", title=title)


def token_ended() -> problems.ApiError:
    """Return the answer to an expired token; its status is a string, as documented."""
    return problems.ApiError(
        401,
        {
            "type": "https://ns.adobe.com/adobecloud/problem/data-collection-service-authorization",
            "status": "401",
            "title": "Authorization",
            "report": {"message": "Ims service token is expired"},
        },
    )


async def apply_before(request: web.Request, trial: Trial) -> web.Response | None:
    """Apply a fault that comes before acceptance; return a response if the request ends there.

    Raises:
        ApiError: The fault is a refusal.
    """
    rule, inlet = trial.rule, request.match_info.get("inlet", "")
    if rule is None:
        return None
    if rule.fault == "status" and rule.share is None:
        raise refusal_of(rule, inlet)
    if rule.fault == "late_inlet":
        raise inlet_unknown(inlet, "on-demand")
    if rule.fault == "expired_token":
        raise (
            token_ended()
            if rule.on == "ingestion"
            else problems.gateway("401013", "Oauth token is not valid")
        )
    if rule.fault == "hung_before":
        await _hang(request, rule.seconds)
    if rule.fault in ("reset_before", "hung_before"):
        return _reset(request)
    return None


async def apply_after(request: web.Request, trial: Trial, response: web.StreamResponse) -> web.StreamResponse:
    """Return the answer that the fault gives to a request whose records were accepted."""
    rule = trial.rule
    if rule is None:
        return response
    if rule.fault in ("slow", "hung_after"):
        await _hang(request, rule.seconds)
    if rule.fault in ("reset_after", "hung_after"):
        return _reset(request)
    if rule.fault == "not_json":
        return web.Response(text=_PAGE, status=response.status, content_type="text/html")
    if rule.fault == "cut":
        return await _cut(request, response)
    return response


async def _hang(request: web.Request, seconds: float) -> None:
    """Wait as long as the client stays connected."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and request.transport is not None and not request.transport.is_closing():
        await asyncio.sleep(_POLL_SECONDS)


def _reset(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


async def _cut(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    body = response.body if isinstance(response, web.Response) else None
    content = body if isinstance(body, bytes) else b"{}"
    broken = web.StreamResponse(status=response.status, headers={"Content-Length": str(len(content))})
    broken.content_type = response.content_type
    with suppress(ConnectionError):  # the client may have disconnected
        await broken.prepare(request)
        await broken.write(content[: len(content) // 2])
    if request.transport is not None:
        request.transport.close()
    return broken
