"""The gateway: checks of every request before a service sees it, and conversion of refusals to responses.

Web pages reach the loopback interface through the user's browser, with another site's name in ``Host`` if
that name was bound to 127.0.0.1 (DNS rebinding), or with an ``Origin`` (CSRF). Programs send neither.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import time

from aiohttp import web

from ..faults.answers import apply_after, apply_before
from ..ims.access_control import permission_for
from . import errors as problems
from .service import Context, Handler, answer

log = logging.getLogger(__name__)

_LOOPBACK = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE | re.ASCII)
_ORG = re.compile(r"[0-9A-F]{24}@AdobeOrg")
_FLOW_SERVICE = "/data/foundation/flowservice/"
_SANDBOXES = "/data/foundation/sandbox-management/"
_BATCH_INGESTION = "/data/foundation/import/"
LONGEST_ADDRESS = 2_000


class Gateway:
    """Checks of the headers that all services share, and answers to refused requests.

    Source: Experience Platform troubleshooting guide, "API error messages".
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Pass a request to its handler, or answer with a refusal."""
        try:
            _check_caller(request)
            if request.path.startswith("/data/"):
                trial = self._context.faults.trial("platform")
                response = await apply_before(request, trial)
                if response is not None:
                    return response
                _check_length(request)
                self._check_credentials(request)
                self._check_sandbox(request)
                self._check_rights(request)
                _check_content_type(request)
                return await apply_after(request, trial, await handler(request))
            return await handler(request)
        except problems.ApiError as refusal:
            return answer(refusal.body, refusal.status, refusal.headers)
        except web.HTTPException as error:
            return answer({"status": error.status, "title": error.reason}, error.status)
        except (sqlite3.OperationalError, OSError) as error:
            if isinstance(error, ConnectionError):
                raise
            log.error("%s %s: %s", request.method, _route_of(request), error)
            title = f"The store of the local platform cannot be written: {error}"
            return answer({"status": 503, "title": title}, 503)
        except Exception:
            log.exception("%s %s failed", request.method, _route_of(request))
            return answer({"status": 500, "title": "Internal Server Error"}, 500)

    def _check_credentials(self, request: web.Request) -> None:
        account = self._context.account
        headers = request.headers
        authorization = headers.get("Authorization", "")
        if not authorization:
            raise problems.gateway("403010", "Oauth token is missing.")
        scheme, _, token = authorization.partition(" ")
        expiry = self._context.store.token_expiry(token.strip())
        if scheme.lower() != "bearer" or expiry is None or expiry <= time.time():
            raise problems.gateway("401013", "Oauth token is not valid")
        if not headers.get("x-api-key"):
            raise problems.gateway("403000", "Api Key is required")
        if headers["x-api-key"] != account.client_id:
            raise problems.gateway("403003", "Api Key is invalid")
        org = headers.get("x-gw-ims-org-id")
        if not org:
            raise problems.gateway("400003", "Missing header")
        if not _ORG.fullmatch(org):
            raise problems.gateway("403027", "User region is missing")
        if org != account.org_id:
            raise problems.gateway("403025", "Profile is not valid")

    def _check_sandbox(self, request: web.Request) -> None:
        if request.path.startswith(_SANDBOXES):
            return
        of_flow_service = request.path.startswith(_FLOW_SERVICE)
        sandbox = request.headers.get("x-sandbox-name")
        if not sandbox:
            if of_flow_service:
                raise problems.flow_service(
                    "2105-400", "Header is missing", "The x-sandbox-name header is required."
                )
            raise problems.generic(400, "Header is missing", "The x-sandbox-name header is required.")
        if of_flow_service and "x-sandbox-id" in request.headers:
            raise problems.flow_service(
                "2110-400", "Headers not allowed", "The x-sandbox-id header is not allowed for this token."
            )
        if sandbox != self._context.account.sandbox:
            detail = f"The sandbox {sandbox} was not found."
            if of_flow_service:
                raise problems.flow_service("2100-404", "Sandbox not found", detail)
            raise problems.generic(404, "Sandbox not found", detail)

    def _check_rights(self, request: web.Request) -> None:
        needed = permission_for(request.method, request.path)
        withheld = self._context.options.withheld
        if not needed or any(name not in withheld for name in needed):
            return
        detail = f"The permission {needed[0]} is missing."
        if request.path.startswith(_FLOW_SERVICE):
            raise problems.flow_service("2118-403", "Missing permission", detail)
        raise problems.generic(403, "Forbidden", detail)


def _check_content_type(request: web.Request) -> None:
    if request.method not in ("POST", "PUT", "PATCH") or not request.body_exists:
        return
    if request.method != "POST" and request.path.startswith(_BATCH_INGESTION):
        if request.content_type != "application/octet-stream":
            raise problems.generic(415, "Unsupported Media Type", "A file is application/octet-stream")
        return
    allowed = ["application/json"]
    if request.method == "PATCH" and request.path.startswith("/data/foundation/catalog/"):
        allowed.append("application/json-patch+json")
    if request.content_type not in allowed:
        raise problems.content_type()


def _check_length(request: web.Request) -> None:
    address = f"{request.scheme}://{request.host}{request.raw_path}"
    if request.path.startswith(_BATCH_INGESTION) and len(address) > LONGEST_ADDRESS:
        detail = f"The URL is longer than {LONGEST_ADDRESS} characters"
        raise problems.generic(414, "URI Too Long", detail)


def _check_caller(request: web.Request) -> None:
    """Reject requests that no local program sends: other hosts' names, web pages, compressed bodies."""
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 or not _LOOPBACK.fullmatch(hosts[0]):
        raise problems.generic(403, "Forbidden", "The Host header must name the loopback interface")
    site = request.headers.get("Sec-Fetch-Site", "none")
    if "Origin" in request.headers or site not in ("none", "same-origin"):
        raise problems.generic(403, "Forbidden", "Web pages may not call this server")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise problems.generic(415, "Unsupported Media Type", "A compressed body is not accepted")


def _route_of(request: web.Request) -> str:
    """Return the pattern of the path, because the path itself may hold an inlet, which is a secret."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "an unknown path"
