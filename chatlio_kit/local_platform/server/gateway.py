"""The gateway: headers every call needs, rights, and one place where refusals become responses."""

from __future__ import annotations

import logging
import re
import sqlite3
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from ..faults.answers import meet
from ..ims.access_control import permission_for
from . import errors as problems
from .context import Context, answer
from .reading import check_caller

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_ORG = re.compile(r"[0-9A-F]{24}@AdobeOrg")
_FLOW_SERVICE = "/data/foundation/flowservice/"
_WITHOUT_SANDBOX = ("/data/foundation/sandbox-management/",)


class Gateway:
    """Checks the cross-service headers of platform calls and answers refusals.

    Source: Experience Platform troubleshooting guide, "API error messages".
    """

    def __init__(self, ground: Context) -> None:
        self._ground = ground

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request through to its handler, or answer why not."""
        try:
            check_caller(request)
            if request.path.startswith("/data/"):
                struck = await meet(request, self._ground.faults.trial("platform"))
                if struck is not None:
                    return struck
                self._check_credentials(request)
                self._check_sandbox(request)
                self._check_rights(request)
                self._check_content_type(request)
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
        account = self._ground.account
        headers = request.headers
        authorization = headers.get("Authorization", "")
        if not authorization:
            raise problems.gateway("403010", "Oauth token is missing.")
        scheme, _, token = authorization.partition(" ")
        expiry = self._ground.store.token_expiry(token.strip())
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
        if request.path.startswith(_WITHOUT_SANDBOX):
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
        if sandbox != self._ground.account.sandbox:
            detail = f"The sandbox {sandbox} was not found."
            if of_flow_service:
                raise problems.flow_service("2100-404", "Sandbox not found", detail)
            raise problems.generic(404, "Sandbox not found", detail)

    def _check_rights(self, request: web.Request) -> None:
        needed = permission_for(request.method, request.path)
        withheld = self._ground.options.withheld
        if not needed or any(name not in withheld for name in needed):
            return
        detail = f"The permission {needed[0]} is missing."
        if request.path.startswith(_FLOW_SERVICE):
            raise problems.flow_service("2118-403", "Missing permission", detail)
        raise problems.generic(403, "Forbidden", detail)

    def _check_content_type(self, request: web.Request) -> None:
        if request.method not in ("POST", "PUT", "PATCH") or not request.body_exists:
            return
        allowed = ["application/json"]
        if request.method == "PATCH" and request.path.startswith("/data/foundation/catalog/"):
            allowed.append("application/json-patch+json")
        if request.content_type not in allowed:
            raise problems.content_type()


def _route_of(request: web.Request) -> str:
    """The pattern of the path that was asked: the path itself may hold an inlet, which is a secret."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "an unknown path"
