"""The credential's permissions and sandboxes.

Source: Access control API guide, effective policies, permissions and resource types; Sandbox API guide,
available sandboxes. Listing available sandboxes requires no administrator rights; the list leaves out
sandboxes that the credential's role does not include.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from chatlio_kit.aep.transport import Api, Json

PRODUCTION, DEVELOPMENT = "production", "development"

_SANDBOXES = 50
_MOST_PAGES = 20


class AccessControl(Api):
    """Access Control: the credential's own permissions."""

    service: ClassVar[str] = "Access Control"
    base: ClassVar[str] = "/data/foundation/access-control"

    def effective_policies(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Return the named permissions that are held, e.g. ``/permissions/manage-datasets``."""
        operation = "read the credential's permissions"
        answer = self._ask_object(
            operation, "POST", "/acl/effective-policies", body=list(names), repeatable=True
        )
        policies = answer.get("policies")
        if not isinstance(policies, dict):
            raise self.unexpected(operation, "its response contains no policies")
        return {str(name): [str(action) for action in actions or []] for name, actions in policies.items()}

    def known_names(self) -> frozenset[str]:
        """Return every name of a permission or resource type that the organisation knows.

        The nesting of the response is not documented for every version of the service, so keys and strings at
        any depth count, without leading slashes.
        """
        answer = self._ask_object("list the names of permissions", "GET", "/acl/reference")
        return frozenset(text.rpartition("/")[2] for text in _texts_in(answer))


class Sandboxes(Api):
    """Sandbox Management: the sandboxes that the credential may use."""

    service: ClassVar[str] = "Sandbox Management"
    base: ClassVar[str] = "/data/foundation/sandbox-management"

    def type_of(self, name: str) -> str | None:
        """Return the type of a sandbox, ``production`` or ``development``; None if it is not listed.

        Raises:
            PlatformError: The list cannot be read.
        """
        sandbox = next((sandbox for sandbox in self._active() if sandbox.get("name") == name), {})
        kind = sandbox.get("type")
        return kind if kind in (PRODUCTION, DEVELOPMENT) else None

    def _active(self) -> Iterator[Json]:
        operation = "list the sandboxes"
        for page in range(_MOST_PAGES):
            query = [("limit", _SANDBOXES), ("offset", page * _SANDBOXES)]
            sandboxes = self._ask_object(operation, "GET", "/", query=query).get("sandboxes")
            if not isinstance(sandboxes, list):
                raise self.unexpected(operation, "its response contains no sandboxes")
            yield from (sandbox for sandbox in sandboxes if isinstance(sandbox, dict))
            if len(sandboxes) < _SANDBOXES:
                return


def _texts_in(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield str(key)
            yield from _texts_in(value)
    elif isinstance(node, list):
        for item in node:
            yield from _texts_in(item)
