"""Access control: what the credential may do.

Source: Access control API guide, effective policies; permissions and resource types.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from chatlio_kit.aep.transport import Api


class AccessControl(Api):
    """Asks for the credential's own rights."""

    service: ClassVar[str] = "Access Control"
    base: ClassVar[str] = "/data/foundation/access-control"

    def effective_policies(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Give the rights held among those named, e.g. ``/permissions/manage-datasets``.

        A right that is not held is left out of the answer.
        """
        operation = "tell the credential's rights"
        answer = self._ask_object(
            operation, "POST", "/acl/effective-policies", body=list(names), repeatable=True
        )
        policies = answer.get("policies")
        if not isinstance(policies, dict):
            raise self.unexpected(operation, "its answer holds no policies")
        return {str(name): [str(each) for each in held or []] for name, held in policies.items()}

    def known_names(self) -> frozenset[str]:
        """Give every name of a permission or resource type that the organisation knows.

        How the answer nests them is not told for every version of the service, so keys and texts at any
        depth are taken, without the slashes before them.
        """
        answer = self._ask_object("list the names of permissions", "GET", "/acl/reference")
        return frozenset(text.rpartition("/")[2] for text in _texts_in(answer))


def _texts_in(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield str(key)
            yield from _texts_in(value)
    elif isinstance(node, list):
        for each in node:
            yield from _texts_in(each)
