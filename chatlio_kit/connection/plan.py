"""Plan a connection: what it needs, what exists, and what to create or update; then apply it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from chatlio_kit.aep import Platform
from chatlio_kit.arguments import checked, list_of_texts, optional
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection.connection import Connection, connection_of
from chatlio_kit.connection.manual_steps import ManualSteps
from chatlio_kit.connection.production import require_leave
from chatlio_kit.connection.provision import StepCallback, provision
from chatlio_kit.connection.resources.dataflows import dataflow_resources
from chatlio_kit.connection.resources.names import Role
from chatlio_kit.connection.resources.resource import Action, shared_resources
from chatlio_kit.connection.resources.survey import DataflowState, a_platform, open_survey
from chatlio_kit.display import Progress, Sheet, SheetDisplay
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


class Plan(SheetDisplay):
    """The objects that a connection needs, and what has to be done with each.

    Attributes:
        platform: the platform that was inspected.
        name: the connection's name.
        kinds: the kinds whose webhooks are connected.
        objects: one entry for each object, in the order of creation.
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
        return sum(item.action in _CHANGING for item in self.objects)

    @property
    def conflicts(self) -> tuple[Planned, ...]:
        """The objects in conflict."""
        return tuple(item for item in self.objects if item.action is Action.CONFLICT)

    @checked()
    def apply(
        self, *, production: bool = False, progress: StepCallback | None = None, quiet: bool = False
    ) -> Connection:
        """Create and update what is needed, and wait until every dataflow receives data.

        Each object is inspected again before it is changed, so a plan can be applied late, twice, or after a
        crash: nothing is created twice.

        Args:
            production: whether a production sandbox may be changed.
            progress: is called with a sentence for each step, e.g. ``print``.
            quiet: whether to show no bar.

        Raises:
            ProductionSandbox: the sandbox is of the type production, or of a type that cannot be read.
            ConnectionIncomplete: an object is in conflict, a mapping gave something else than expected on
                samples, or a dataflow was not ready within 10 minutes.
            PlatformError: the platform refused a step; what was created is kept and found again.
        """
        if self.conflicts:
            listed = "; ".join(f"the {item.object} {item.name!r}: {item.reason}" for item in self.conflicts)
            raise ConnectionIncomplete(
                f"The plan cannot be applied, because objects are in the way: {listed}."
            )
        require_leave(self.platform, production)
        survey = open_survey(self.platform, self.name)
        dataflows = [DataflowState(Role.LIVE, kind) for kind in self.kinds]
        changing = [item.object for item in self.objects if item.action in _CHANGING]
        # each change, a trial of each new mapping, and the wait for dataflows
        steps = len(changing) + changing.count("mapping set") + ("dataflow" in changing)
        with Progress("connecting", steps, "steps", quiet=quiet or not steps) as bar:

            def report(sentence: str) -> None:
                bar.advance(1)
                if progress is not None:
                    progress(sentence)

            provision(survey, dataflows, report)
        return connection_of(survey, dataflows)

    def picture(self) -> Picture:
        """Draw the objects and their relations; those that do not exist yet have dashed edges."""
        from chatlio_kit.connection.diagram import Diagram  # noqa: PLC0415 - only a drawing needs matplotlib

        missing = {item.name for item in self.objects if item.action is Action.CREATE}
        return Diagram(self.name, [(Role.LIVE, kind) for kind in self.kinds], missing).picture()

    def by_hand(self) -> ManualSteps:
        """Return the steps that make the same connection in Adobe's and Chatlio's own screens."""
        return ManualSteps(self.name, self.tenant_id, self.kinds)

    def as_dict(self, *, made: Connection | None = None) -> dict[str, Any]:
        """Return the plan as plain data for JSON.

        Args:
            made: the connection that applying it returned, which knows the ids of what was created.
        """
        ids = made.ids_by_name() if made is not None else {}
        return {
            "name": self.name,
            "objects": [asdict(replace(item, id=ids.get(item.name, item.id))) for item in self.objects],
        }

    @checked()
    def sheet(self, *, ids: bool = True) -> Sheet:
        """Return the plan as a table.

        Args:
            ids: whether to show the ids of existing objects, which differ each time a connection is made.
        """
        changes = f"{self.changes} of {len(self.objects)} objects to make or update."
        headings = ("object", "name", "action", "reason", "id")
        width = len(headings) if ids and any(item.id for item in self.objects) else len(headings) - 1
        rows = [(item.object, item.name, item.action.value, item.reason, item.id) for item in self.objects]
        return Sheet(
            f"Plan for the connection {self.name} on {self.platform.settings.platform_name}, "
            f"sandbox {self.platform.settings.sandbox}",
            headings[:width],
            [row[:width] for row in rows],
            (changes if self.changes or self.conflicts else _NO_CHANGE,),
        )


@checked(platform=a_platform, webhooks=optional(list_of_texts))
def plan_connection(
    platform: Platform,
    name: str = "chatlio",
    webhooks: Sequence[str] | None = None,
    *,
    quiet: bool = False,
) -> Plan:
    """Inspect what exists and return what a connection would need. Reads only.

    Args:
        platform: the platform.
        name: the connection's name; several connections can exist side by side.
        webhooks: the kinds whose webhooks get a dataflow, all five by default. Files of every kind can be
            streamed in any case.
        quiet: whether to show no progress.

    Raises:
        UsageError: the name or a kind is not valid.
        PlatformError: the platform refused the call.
    """
    kinds = _kinds(webhooks)
    survey = open_survey(platform, name)
    resources = [
        *shared_resources(survey),
        *(
            resource
            for kind in kinds
            for resource in dataflow_resources(survey, DataflowState(Role.LIVE, kind))
        ),
    ]
    objects = []
    with Progress("looking", len(resources), "objects", quiet=quiet) as progress:
        for resource in resources:
            state = resource.inspect()
            objects.append(Planned(resource.type_name, resource.name, state.action, state.reason, state.id))
            progress.advance(1)
    return Plan(platform, name, kinds, objects, survey.design.tenant_id)


def _kinds(webhooks: Sequence[str] | None) -> list[Kind]:
    if webhooks is None:
        return list(Kind)
    unknown = [str(kind) for kind in webhooks if kind not in list(Kind)]
    if unknown:
        raise UsageError(f"There is no webhook called {', '.join(unknown)}. The kinds are {', '.join(Kind)}.")
    return [kind for kind in Kind if kind in webhooks]
