"""Take a connection down: delete its dataflows, their connections and mapping sets.

Schema, field group and dataset stay, because they hold data. Objects without our mark are never touched.
Chatlio keeps posting to deleted dataflows, so its webhook fields have to be cleared first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from chatlio_kit.aep import Platform
from chatlio_kit.aep.flow_service import Side
from chatlio_kit.arguments import checked
from chatlio_kit.connection.production import require_leave
from chatlio_kit.connection.resources.names import WEBHOOK_FIELDS
from chatlio_kit.connection.resources.survey import Survey, a_platform, open_survey
from chatlio_kit.display import Progress, Sheet, SheetDisplay
from chatlio_kit.errors import AuthenticationFailed, NotFound, PlatformError, Unavailable, Unreachable

ADVICE = (
    "First clear these webhook fields in Chatlio (the widget's settings, tab Behavior), as far as they hold "
    f"a URL of this connection: {', '.join(WEBHOOK_FIELDS.values())}."
)
_STAYING = "The schema, the field group and the dataset stay, with all their rows."
_LONGEST_RELEASE = 60.0
_IN_USE = ("1418-400", "1447-400")


@dataclass(frozen=True)
class Removed:
    """One object that is removed, or would be.

    Attributes:
        object: Its type, e.g. ``dataflow``.
        name: Its name.
        id: Its id.
        kept: Reason why it could not be removed; empty if it is gone.
    """

    object: str
    name: str
    id: str
    kept: str = ""


@dataclass(frozen=True, repr=False)
class Removal(SheetDisplay):
    """The objects that were removed, or would be.

    Attributes:
        name: The connection's name.
        done: True if they were removed.
        objects: The objects, in the order of removal.
        webhook_fields: The fields in Chatlio to clear first.
    """

    name: str
    done: bool
    objects: tuple[Removed, ...]
    webhook_fields: tuple[str, ...] = tuple(WEBHOOK_FIELDS.values())

    @property
    def removed(self) -> tuple[Removed, ...]:
        """The objects that are gone, or would be."""
        return tuple(item for item in self.objects if not item.kept)

    @property
    def kept(self) -> tuple[Removed, ...]:
        """The objects that the platform refused to remove."""
        return tuple(item for item in self.objects if item.kept)

    def as_dict(self) -> dict[str, object]:
        """Return the removal as plain data for JSON."""
        return {
            "name": self.name,
            "done": self.done,
            "removed": [{"object": item.object, "name": item.name, "id": item.id} for item in self.removed],
            "kept": [
                {"object": item.object, "name": item.name, "id": item.id, "reason": item.kept}
                for item in self.kept
            ],
            "webhook_fields": list(self.webhook_fields),
        }

    def sheet(self) -> Sheet:
        """Return the removal as a table."""
        outcome = "removed" if self.done else "would be removed"
        return Sheet(
            f"Taking down the connection {self.name}",
            ("object", "name", "outcome", "id"),
            [
                (item.object, item.name, f"kept: {item.kept}" if item.kept else outcome, item.id)
                for item in self.objects
            ],
            (ADVICE, _STAYING) if self.objects else ("Nothing to remove.", _STAYING),
        )


@checked(platform=a_platform)
def list_removals(platform: Platform, name: str = "chatlio") -> Removal:
    """List the objects that :func:`disconnect` would remove. Reads only.

    Raises:
        PlatformError: The platform refused the call.
    """
    return Removal(name, False, tuple(item for item, _ in _removals(open_survey(platform, name))))


@checked(platform=a_platform)
def disconnect(
    platform: Platform, name: str = "chatlio", *, production: bool = False, quiet: bool = False
) -> Removal:
    """Remove our dataflows, live and history, then their connections, then their mapping sets.

    It can be repeated, because an object that is already gone is not an error. A mapping set or connection
    that the platform refuses to remove is listed with the reason.

    Args:
        platform: The platform.
        name: The connection's name.
        production: True if a production sandbox may be changed.
        quiet: If true, hide progress.

    Raises:
        ProductionSandbox: The sandbox is of the type production, or its type cannot be read.
        PlatformError: The platform refused to remove a dataflow, or did not respond.
    """
    survey = open_survey(platform, name)
    require_leave(platform, production)
    removals = _removals(survey)
    removed = []
    with Progress("removing", len(removals), "objects", quiet=quiet) as progress:
        for item, remove in removals:
            kept = ""
            try:
                _remove(platform, remove)
            except NotFound:
                pass
            except (Unreachable, Unavailable, AuthenticationFailed):
                raise
            except PlatformError as error:
                if item.object == "dataflow":
                    raise
                kept = error.reason
            removed.append(replace(item, kept=kept))
            progress.advance(1)
    return Removal(name, True, tuple(removed))


def _removals(survey: Survey) -> list[tuple[Removed, Callable[[], None]]]:
    """List our objects in the order of removal, with the calls that remove them."""
    service, mapping_sets = survey.platform.flows, survey.platform.mapping_sets
    dataflows = survey.design.dataflows
    sides: tuple[Side, ...] = ("source", "target")
    return [
        *(
            (Removed("dataflow", flow.name, flow.id), partial(service.delete_flow, flow.id))
            for role, kind in dataflows
            for flow in survey.flows(role, kind)
        ),
        *(
            (
                Removed(f"{side} connection", endpoint.name, endpoint.id),
                partial(service.delete_endpoint, side, endpoint.id),
            )
            for side in sides
            for role, kind in dataflows
            for endpoint in survey.endpoints(side, role, kind)
        ),
        *(
            (
                Removed("mapping set", str(body.get("name")), str(body["id"])),
                partial(mapping_sets.delete, str(body["id"])),
            )
            for role, kind in dataflows
            for body in survey.mapping_sets(role, kind)
        ),
    ]


def _remove(platform: Platform, remove: Callable[[], None]) -> None:
    """Remove an object; retry while a dataflow still uses it, because dataflows end with a delay."""
    deadline = time.monotonic() + _LONGEST_RELEASE
    pause = 0.5
    while True:
        try:
            remove()
        except PlatformError as error:
            in_use = (error.code or "").endswith(_IN_USE)
            if not in_use or time.monotonic() + pause > deadline:
                raise
        else:
            return
        platform.sleep(pause)
        pause = min(pause * 2, 10.0)
