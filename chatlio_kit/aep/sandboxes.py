"""Sandbox Management: which sandboxes the credential may use, and of which type they are.

Source: Sandbox API guide, available sandboxes. That list needs no right of an administrator; a sandbox that
the credential's role does not include is not on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from chatlio_kit.aep.transport import Api, Json

PRODUCTION, DEVELOPMENT = "production", "development"

_PAGE = 50
_MOST_PAGES = 20


class Sandboxes(Api):
    """Reads the sandboxes that the credential may use."""

    service: ClassVar[str] = "Sandbox Management"
    base: ClassVar[str] = "/data/foundation/sandbox-management"

    def type_of(self, name: str) -> str | None:
        """Return the type of a sandbox, ``production`` or ``development``; None when it is not listed.

        Raises:
            PlatformError: the list cannot be read.
        """
        found = next((each for each in self._active() if each.get("name") == name), {})
        kind = found.get("type")
        return kind if kind in (PRODUCTION, DEVELOPMENT) else None

    def _active(self) -> Iterator[Json]:
        operation = "list the sandboxes"
        for page in range(_MOST_PAGES):
            query = [("limit", _PAGE), ("offset", page * _PAGE)]
            listed = self._ask_object(operation, "GET", "/", query=query).get("sandboxes")
            if not isinstance(listed, list):
                raise self.unexpected(operation, "its answer holds no sandboxes")
            yield from (each for each in listed if isinstance(each, dict))
            if len(listed) < _PAGE:
                return
