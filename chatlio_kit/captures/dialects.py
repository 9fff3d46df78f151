"""How a captured webhook looks: the bare payload, or our envelope around it.

The envelope: ``{"receivedAt": "<RFC 3339>", "kind": "<kind>", "widget": "<id>", "payload": {...}}``;
only ``payload`` is required.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatlio_kit.events.kinds import shape_of


@dataclass(slots=True)
class Unwrapped:
    """A payload and what its capture says about it, all of it as it was found."""

    payload: Any
    received_at: Any = None
    kind: Any = None
    widget: Any = None


def unwrap(value: Mapping[str, Any]) -> Unwrapped:
    """Take a payload out of its envelope, if it has one."""
    if "payload" in value and shape_of(value) is None:
        return Unwrapped(value["payload"], value.get("receivedAt"), value.get("kind"), value.get("widget"))
    return Unwrapped(value)
