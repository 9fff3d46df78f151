"""What a connection needs, what is there, and what would be done; then the doing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatlio_kit.aep import Platform
from chatlio_kit.arguments import checked, list_of_texts, optional
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection.connection import Connection, connection_of
from chatlio_kit.connection.manual_steps import ManualSteps
from chatlio_kit.connection.objects.dataflows import dataflow_objects
from chatlio_kit.connection.objects.names import Role
from chatlio_kit.connection.objects.shared import Action, shared_objects
from chatlio_kit.connection.objects.survey import DataflowState, a_platform, open_survey
from chatlio_kit.connection.production import require_leave
from chatlio_kit.connection.provision import Progress, build
from chatlio_kit.display import Progress as Bar
from chatlio_kit.display import Sheet
from chatlio_kit.errors import ConnectionIncomplete, UsageError

if TYPE_CHECKING:
    from chatlio_kit.display.figure import Picture

_CHANGING = (Action.CREATE, Action.UPDATE)
_NO_CHANGE = "Nothing to do: everything is there."


@dataclass(frozen=True)
class Planned:
    """One object of a plan.

    Attributes:
        object: what it is, e.g. ``schema``.
        name: its name on the platform.
        action: ``reuse``, ``create``, ``update`` or ``conflict``.
        reason: why.
        id: its id, if it is there.
    """

    object: str
    name: str
    action: Action
    reason: str
    id: str | None


class Plan:
    """Everything that a connection needs, and what is to be done about it.

    Attributes:
        platform: the platform that was looked at.
        name: the connection's name.
        kinds: the kinds whose webhooks are connected.
        objects: one entry for each object, in the order in which they are made.
        tenant_id: the tenant, whose fields live under an underscore and this id.
    """

    def __init__(
        self,
        platform: Platform,
        name: str,
        kinds: Sequence[Kind],
        objects: Sequence[Planned],
        tenant_id: str,
    ) -> None:
        self.platform = platform
        self.name = name
        self.tenant_id = tenant_id
        self.kinds = tuple(kinds)
        self.objects = tuple(objects)

    @property
    def changes(self) -> int:
        """How many objects would be created or updated."""
        return sum(each.action in _CHANGING for each in self.objects)

    @property
    def conflicts(self) -> tuple[Planned, ...]:
        """The objects that stand in the way."""
        return tuple(each for each in self.objects if each.action is Action.CONFLICT)

    @checked()
    def apply(
        self, *, production: bool = False, progress: Progress | None = None, quiet: bool = False
    ) -> Connection:
        """Make and update what is needed, and wait until every dataflow takes data.

        Each object is looked for again before it is touched, so a plan can be applied late, twice, or after
        a crash: nothing is made double.

        Args:
            production: whether a production sandbox may be changed.
            progress: told a sentence for each step, e.g. ``print``.
            quiet: whether to show no bar.

        Raises:
            ProductionSandbox: the sandbox is of the type production, or of a type that cannot be read.
            ConnectionIncomplete: an object stands in the way, a trial of a mapping gave something else than
                expected, or a dataflow was not ready within 10 minutes.
            PlatformError: the platform refused a step; what was built stays and is found again.
        """
        if self.conflicts:
            listed = "; ".join(f"the {each.object} {each.name!r}: {each.reason}" for each in self.conflicts)
            raise ConnectionIncomplete(
                f"The plan cannot be applied, since objects stand in the way: {listed}."
            )
        require_leave(self.platform, production)
        site = open_survey(self.platform, self.name)
        lanes = [DataflowState(Role.LIVE, kind) for kind in self.kinds]
        with Bar("connecting", self._steps, "steps", quiet=quiet or not self._steps) as bar:

            def say(sentence: str) -> None:
                bar.advance(1)
                if progress is not None:
                    progress(sentence)

            build(site, lanes, say)
        return connection_of(site, lanes)

    @property
    def _steps(self) -> int:
        """Count the steps of applying: each change, the trial of each new mapping, a wait for dataflows."""
        changing = [each.object for each in self.objects if each.action in _CHANGING]
        return len(changing) + changing.count("mapping set") + ("dataflow" in changing)

    def picture(self) -> Picture:
        """Draw the objects and how they hang together; what is not there yet has a dashed edge."""
        from chatlio_kit.connection.diagram import DiagramLabels  # noqa: PLC0415 - only a drawing needs matplotlib

        missing = {each.name for each in self.objects if each.action is Action.CREATE}
        return DiagramLabels(self.name, [(Role.LIVE, kind) for kind in self.kinds], missing).picture()

    def by_hand(self) -> ManualSteps:
        """Tell how the same connection is made in Adobe's and Chatlio's own screens."""
        return ManualSteps(self.name, self.tenant_id, self.kinds)

    def as_dict(self, *, made: Connection | None = None) -> dict[str, Any]:
        """Return the plan as plain data for JSON.

        Args:
            made: the connection that it was applied to, which knows the ids of what was made.
        """
        ids = made.ids_by_name() if made is not None else {}
        return {
            "name": self.name,
            "objects": [
                {
                    "object": each.object,
                    "name": each.name,
                    "action": each.action.value,
                    "reason": each.reason,
                    "id": ids.get(each.name, each.id),
                }
                for each in self.objects
            ],
        }

    @checked()
    def sheet(self, *, ids: bool = True) -> Sheet:
        """Lay the plan out as a table.

        Args:
            ids: whether to show the ids of objects that are there, which differ from one making to the next.
        """
        changes = f"{self.changes} of {len(self.objects)} objects to make or update."
        headings = ("object", "name", "action", "reason", "id")
        shown = len(headings) if ids and any(each.id for each in self.objects) else len(headings) - 1
        rows = [(each.object, each.name, each.action.value, each.reason, each.id) for each in self.objects]
        return Sheet(
            f"Plan for the connection {self.name} on {self.platform.settings.platform_name}, "
            f"sandbox {self.platform.settings.sandbox}",
            headings[:shown],
            [row[:shown] for row in rows],
            (changes if self.changes or self.conflicts else _NO_CHANGE,),
        )

    def __repr__(self) -> str:
        return str(self.sheet())

    def _repr_html_(self) -> str:
        return self.sheet()._repr_html_()


@checked(platform=a_platform, webhooks=optional(list_of_texts))
def plan_connection(
    platform: Platform,
    name: str = "chatlio",
    webhooks: Sequence[str] | None = None,
    *,
    quiet: bool = False,
) -> Plan:
    """Look at what is there and say what a connection would need. Reads only.

    Args:
        platform: the platform.
        name: the connection's name; several can stand side by side.
        webhooks: the kinds whose webhooks get a dataflow, all five by default. Files of any kind can be
            streamed whatever is chosen here.
        quiet: whether to show no progress.

    Raises:
        UsageError: the name or a kind is none.
        PlatformError: the platform refused to tell.
    """
    kinds = _kinds(webhooks)
    site = open_survey(platform, name)
    pieces = [
        *shared_objects(site),
        *(piece for kind in kinds for piece in dataflow_objects(site, DataflowState(Role.LIVE, kind))),
    ]
    objects = []
    with Bar("looking", len(pieces), "objects", quiet=quiet) as bar:
        for piece in pieces:
            standing = piece.look()
            objects.append(Planned(piece.thing, piece.name, standing.action, standing.reason, standing.id))
            bar.advance(1)
    return Plan(platform, name, kinds, objects, site.design.tenant_id)


def _kinds(webhooks: Sequence[str] | None) -> list[Kind]:
    if webhooks is None:
        return list(Kind)
    unknown = [str(each) for each in webhooks if each not in list(Kind)]
    if unknown:
        raise UsageError(f"There is no webhook called {', '.join(unknown)}. The kinds are {', '.join(Kind)}.")
    return [kind for kind in Kind if kind in webhooks]
