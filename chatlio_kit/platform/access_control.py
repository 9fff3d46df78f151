"""Access control: what the credential may do.

Source: Access control API guide, effective policies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from chatlio_kit.platform.transport import Api


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
