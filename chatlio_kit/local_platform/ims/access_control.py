"""The permissions of the credential: effective policies, names, and the permissions that each call needs.

Source: Access Control API guide, "Effective policies" and "Permissions and resource types".
"""

from __future__ import annotations

from aiohttp import web

from ..server import errors as problems
from ..server.service import Service, answer, route

BASE = "/data/foundation/access-control"

PERMISSIONS = (
    "manage-datasets",
    "view-datasets",
    "manage-schemas",
    "view-schemas",
    "manage-identity-metadata",
    "manage-identity-namespaces",
    "view-identity-namespaces",
    "manage-profiles",
    "view-profiles",
    "manage-sources",
    "view-sources",
    "view-monitoring-dashboard",
)
RESOURCE_TYPES = {
    "schemas": "manage-schemas",
    "classes": "manage-schemas",
    "data-types": "manage-schemas",
    "datasets": "manage-datasets",
    "connection": "manage-datasets",
    "StreamingSource": "manage-sources",
}
_RIGHTS_BY_PATH = (
    ("/data/foundation/schemaregistry/", "schemas"),
    ("/data/foundation/catalog/", "datasets"),
    ("/data/foundation/export/", "datasets"),
    ("/data/foundation/import/", "datasets"),
    ("/data/foundation/flowservice/", "sources"),
    ("/data/core/idnamespace/", "identity-namespaces"),
    ("/data/core/ups/", "profiles"),
)


def permission_for(method: str, path: str) -> tuple[str, ...]:
    """Return the permissions for a call, one of which suffices; empty if the call needs none."""
    for prefix, area in _RIGHTS_BY_PATH:
        if path.startswith(prefix):
            if method in ("GET", "HEAD"):
                return (f"view-{area}", f"manage-{area}")
            return (f"manage-{area}",)
    return ()


class AccessControl(Service):
    """The rights of the calling credential."""

    @route("POST", f"{BASE}/acl/effective-policies")
    async def effective_policies(self, request: web.Request) -> web.Response:
        """Return the requested rights that the credential has."""
        asked = await self.json_body(request)
        if not isinstance(asked, list) or not all(isinstance(name, str) for name in asked):
            raise problems.bad_request("The body must be an array of permission names")
        withheld = self._context.options.withheld
        policies: dict[str, list[str]] = {}
        for name in asked:
            kind, _, what = name.removeprefix("/").partition("/")
            if kind == "permissions" and what in PERMISSIONS and what not in withheld:
                policies[name] = ["*"]
            elif kind == "resource-types" and what in RESOURCE_TYPES:
                manage = RESOURCE_TYPES[what]
                if manage not in withheld:
                    policies[name] = ["read", "write", "delete"]
                elif manage.replace("manage", "view") not in withheld:
                    policies[name] = ["read"]
        return answer({"policies": policies})

    @route("GET", f"{BASE}/acl/reference")
    async def reference(self, _request: web.Request) -> web.Response:
        """Return the names of permissions and resource types that the organisation knows."""
        permissions = {name: {"name": name, "resource-types": []} for name in PERMISSIONS}
        resource_types = {
            name: {"name": name, "actions": ["read", "write", "delete"]} for name in RESOURCE_TYPES
        }
        return answer({"permissions": permissions, "resource-types": resource_types})
