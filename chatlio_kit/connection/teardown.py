"""Taking a connection down: its dataflows, their connections and mapping sets. What landed stays.

The schema, the field group and the dataset stay, since they hold data. What does not carry our mark is
never touched. Chatlio goes on posting to a URL that nobody takes any more, so its webhook fields come first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from chatlio_kit.aep import Platform
from chatlio_kit.aep.flow_service import Side
from chatlio_kit.arguments import checked
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection.objects.names import WEBHOOK_FIELDS, Role
from chatlio_kit.connection.objects.survey import Survey, a_platform, open_survey
from chatlio_kit.connection.production import require_leave
from chatlio_kit.display import Progress, Sheet
from chatlio_kit.errors import AuthenticationFailed, NotFound, PlatformError, Unavailable, Unreachable

ADVICE = (
    "First clear these webhook fields in Chatlio (the widget's settings, tab Behavior), as far as they hold "
    f"a URL of this connection: {', '.join(WEBHOOK_FIELDS.values())}."
)
_STAYING = "The schema, the field group and the dataset stay, with all that landed."
_LONGEST_RELEASE = 60.0
_IN_USE = ("1418-400", "1447-400")


@dataclass(frozen=True)
class Removed:
    """One object that is removed, or would be.

    Attributes:
        object: what it is, e.g. ``dataflow``.
        name: its name.
        id: its id.
        kept: why it was left in place after all; empty when it is gone.
    """

    object: str
    name: str
    id: str
    kept: str = ""


@dataclass(frozen=True, repr=False)
class Removal:
    """What was removed, or would be.

    Attributes:
        name: the connection's name.
        done: whether it happened.
        objects: what is concerned, in the order of removal.
        webhook_fields: the fields in Chatlio to clear first.
    """

    name: str
    done: bool
    objects: tuple[Removed, ...]
    webhook_fields: tuple[str, ...] = tuple(WEBHOOK_FIELDS.values())

    @property
    def removed(self) -> tuple[Removed, ...]:
        """What is gone, or would be."""
        return tuple(each for each in self.objects if not each.kept)

    @property
    def kept(self) -> tuple[Removed, ...]:
        """What the platform refused to remove."""
        return tuple(each for each in self.objects if each.kept)

    def as_dict(self) -> dict[str, object]:
        """Give it as plain data for JSON."""
        return {
            "name": self.name,
            "done": self.done,
            "removed": [{"object": each.object, "name": each.name, "id": each.id} for each in self.removed],
            "kept": [
                {"object": each.object, "name": each.name, "id": each.id, "reason": each.kept}
                for each in self.kept
            ],
            "webhook_fields": list(self.webhook_fields),
        }

    def sheet(self) -> Sheet:
        """Lay it out as a table."""
        outcome = "removed" if self.done else "would be removed"
        return Sheet(
            f"Taking down the connection {self.name}",
            ("object", "name", "outcome", "id"),
            [
                (each.object, each.name, f"kept: {each.kept}" if each.kept else outcome, each.id)
                for each in self.objects
            ],
            (ADVICE, _STAYING) if self.objects else ("Nothing to remove.", _STAYING),
        )

    def __repr__(self) -> str:
        return str(self.sheet())

    def _repr_html_(self) -> str:
        return self.sheet()._repr_html_()


@checked(platform=a_platform)
def list_removals(platform: Platform, name: str = "chatlio") -> Removal:
    """Say what :func:`disconnect` would remove. Reads only.

    Raises:
        PlatformError: the platform refused to tell.
    """
    return Removal(name, False, tuple(removed for removed, _ in _ours(open_survey(platform, name))))


@checked(platform=a_platform)
def disconnect(
    platform: Platform, name: str = "chatlio", *, production: bool = False, quiet: bool = False
) -> Removal:
    """Remove our dataflows, live and history, then their connections, then their mapping sets.

    Can be repeated: what is gone already is no error. A mapping set or connection that the platform refuses
    to remove is kept and listed with the reason.

    Args:
        platform: where it is.
        name: the connection's name.
        production: whether a production sandbox may be changed.
        quiet: whether to show no progress.

    Raises:
        ProductionSandbox: the sandbox is of the type production, or of a type that cannot be read.
        PlatformError: the platform refused to remove a dataflow, or did not answer.
    """
    site = open_survey(platform, name)
    require_leave(platform, production)
    ours = _ours(site)
    done = []
    with Progress("removing", len(ours), "objects", quiet=quiet) as progress:
        for removed, remove in ours:
            try:
                _released(platform, remove)
            except NotFound:
                done.append(removed)
            except (Unreachable, Unavailable, AuthenticationFailed):
                raise
            except PlatformError as error:
                if removed.object == "dataflow":
                    raise
                done.append(Removed(removed.object, removed.name, removed.id, kept=error.reason))
            else:
                done.append(removed)
            progress.advance(1)
    return Removal(name, True, tuple(done))


def _ours(site: Survey) -> list[tuple[Removed, Callable[[], None]]]:
    """List what is ours in the order of removal, each with the call that removes it."""
    flows, prep = site.platform.flows, site.platform.mapping_sets
    lanes = [(role, kind) for role in Role for kind in Kind]
    found: list[tuple[Removed, Callable[[], None]]] = []
    for role, kind in lanes:
        for flow in site.flows(role, kind):
            found.append((Removed("dataflow", flow.name, flow.id), _later(flows.delete_flow, flow.id)))
    sides: tuple[Side, ...] = ("source", "target")
    for side in sides:
        listed = site.sources if side == "source" else site.targets
        for role, kind in lanes:
            for end in listed(role, kind):
                removed = Removed(f"{side} connection", end.name, end.id)
                found.append((removed, _later(_endpoint_remover(site, side), end.id)))
    for role, kind in lanes:
        for mapping_set in site.mapping_sets(role, kind):
            removed = Removed("mapping set", str(mapping_set.get("name")), str(mapping_set["id"]))
            found.append((removed, _later(prep.delete, removed.id)))
    return found


def _endpoint_remover(site: Survey, side: Side) -> Callable[[str], None]:
    return lambda endpoint_id: site.platform.flows.delete_endpoint(side, endpoint_id)


def _later(remove: Callable[[str], None], object_id: str) -> Callable[[], None]:
    return lambda: remove(object_id)


def _released(platform: Platform, remove: Callable[[], None]) -> None:
    """Remove an object; one that a dataflow still holds is tried again, as dataflows end with a delay."""
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
