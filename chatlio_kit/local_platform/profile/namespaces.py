"""Identity Service: the namespaces of the organisation.

Source: Identity Service API guide, "Namespaces". A namespace is never deleted, and its code and type never
change. Codes are case-sensitive; codes that differ only in case are refused here. The codes of
the standard namespaces are documented; the numbers of Email_LC_SHA256 and GAID are assumed.
"""

from __future__ import annotations

import re

from aiohttp import web

from ..server import errors as problems
from ..server.service import Context, Service, answer, now_ms, route
from ..store import Json

PATH = "/data/core/idnamespace/identities"
TYPES = ("Cookie", "Cross_device", "Device", "Email", "Mobile", "Non_people", "Phone")
OUTSIDE_GRAPHS = frozenset({"non_people"})
"""Types, in lower case, that never enter an identity graph."""

_CODE = re.compile(r"[A-Za-z0-9]{1,64}")
_FIRST_OWN_ID = 10_099_001
_STANDARD = (
    (4, "ECID", "ECID", "Cookie"),
    (6, "Email", "Email", "Email"),
    (7, "Phone", "Phone", "Phone"),
    (9, "TNTID", "TNTID", "Cookie"),
    (11, "Email_LC_SHA256", "Emails (SHA256, lowercased)", "Email"),
    (20, "GAID", "Google Ad ID", "Device"),
    (411, "AdCloud", "AdCloud", "Cookie"),
)


class Namespaces(Service):
    """Lists and creates identity namespaces."""

    @route("GET", PATH)
    async def namespaces(self, _request: web.Request) -> web.Response:
        """List all namespaces."""
        return answer(all_namespaces(self._context))

    @route("POST", PATH)
    async def create(self, request: web.Request) -> web.Response:
        """Create a namespace of the organisation."""
        body = await self.json_object(request)
        code, name, kind = (str(body.get(key) or "") for key in ("code", "name", "idType"))
        types = {known.lower(): known for known in TYPES}
        if not _CODE.fullmatch(code) or not name.strip() or kind.lower() not in types:
            raise _refusal(
                400, "INVALID_REQUEST", "INVALID_REQUEST_PARAMS", "name, code and idType are required"
            )
        existing = all_namespaces(self._context)
        for key, value in (("code", code), ("name", name)):
            if any(namespace[key].lower() == value.lower() for namespace in existing):
                detail = f"The {key} {value} is taken"
                raise _refusal(409, "NAMESPACE_CODE_CONFLICT", "INTEGRATION_CODE_EXISTS", detail)
        moment = now_ms()
        namespace: Json = {
            "updateTime": moment,
            "createTime": moment,
            "id": _FIRST_OWN_ID + len(self._context.store.all("namespace")),
            "code": code,
            "name": name,
            "idType": types[kind.lower()],
            "status": "ACTIVE",
            "description": str(body.get("description") or ""),
            "custom": True,
        }
        self._context.store.put("namespace", code, namespace)
        return answer(namespace)


def all_namespaces(context: Context) -> list[Json]:
    """Return Adobe's standard namespaces and the organisation's own."""
    standard = [
        {"updateTime": 0, "createTime": 0, "id": key, "code": code, "name": name, "idType": kind,
         "status": "ACTIVE", "description": name, "custom": False}
        for key, code, name, kind in _STANDARD
    ]  # fmt: skip
    return [*standard, *context.store.all("namespace")]


def _refusal(status: int, title: str, code: str, detail: str) -> problems.ApiError:
    return problems.generic(status, title, detail, {"code": code})
