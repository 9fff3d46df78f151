"""Plan a connection: find existing objects, and those to create or update; then apply the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from chatlio_kit.aep import Platform
from chatlio_kit.analysis.identity_audit import IdentityAudit
from chatlio_kit.arguments import checked, flag, list_of_texts, named, optional, text, text_or_texts
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection.connection import Connection, connection_of
from chatlio_kit.connection.manual_steps import ManualSteps
from chatlio_kit.connection.production import require_leave
from chatlio_kit.connection.provision import StepCallback, provision
from chatlio_kit.connection.resources.dataflows import dataflow_resources
from chatlio_kit.connection.resources.names import FEEDBACK, TURNS, ResourceNames, Role
from chatlio_kit.connection.resources.people import People
from chatlio_kit.connection.resources.resource import Action
from chatlio_kit.connection.resources.shared import UnionResource, shared_resources
from chatlio_kit.connection.resources.survey import DataflowState, Survey, a_platform, open_survey
from chatlio_kit.connection.turns import UI_STEPS
from chatlio_kit.display import Progress, Sheet, SheetDisplay
from chatlio_kit.errors import ConnectionIncomplete, UsageError, in_words, option

if TYPE_CHECKING:
    from chatlio_kit.display.figure import Picture

_CHANGING = (Action.CREATE, Action.UPDATE)
_NO_CHANGE = "Nothing to do: everything is there."
_FOR_GOOD = "Enabling the schema for Profile can never be undone: then fields are only ever added."


def an_audit(name: str, value: object) -> None:
    """Accept only an audit of identities.

    Raises:
        UsageError: It is something else.
    """
    if not isinstance(value, IdentityAudit):
        raise UsageError(f"{option(name)} is what audit_identities() returns, not {named(value)}.")


@dataclass(frozen=True)
class Planned:
    """One object of a plan.

    Attributes:
        object: Its type, e.g. ``schema``.
        name: Its name on the platform.
        action: ``reuse``, ``create``, ``update`` or ``conflict``.
        reason: The reason for the action.
        id: Its id, if it exists.
    """

    object: str
    name: str
    action: Action
    reason: str
    id: str | None


class Plan(SheetDisplay):
    """The objects that a connection needs, and the action that each requires.

    Attributes:
        platform: The platform that was inspected.
        name: The connection's name.
        kinds: The kinds whose webhooks are connected.
        objects: One entry for each object, in the order of creation.
        tenant_id: The tenant; its fields are under an underscore and this id.
        people: The identities in the events, and their use in Profile.
        turns: True if it is for conversation turns.
    """

    def __init__(
        self,
        platform: Platform,
        name: str,
        kinds: Sequence[Kind],
        objects: Sequence[Planned],
        tenant_id: str,
        people: People | None = None,
        *,
        turns: bool = False,
    ) -> None:
        self.turns = turns
        self.platform = platform
        self.name = name
        self.people = people or People()
        self.tenant_id = tenant_id
        self.kinds = tuple(kinds)
        self.objects = tuple(objects)

    @property
    def changes(self) -> int:
        """The number of objects that would be created or updated."""
        return sum(item.action in _CHANGING for item in self.objects)

    @property
    def conflicts(self) -> tuple[Planned, ...]:
        """The objects in conflict."""
        return tuple(item for item in self.objects if item.action is Action.CONFLICT)

    @property
    def enables_profile(self) -> bool:
        """True if applying it would enable a schema for Profile, which can never be undone."""
        return any(
            item.object == UnionResource.type_name and item.action is Action.CREATE for item in self.objects
        )

    def require_audit(self, audit: IdentityAudit | None, *, despite_audit: bool) -> None:
        """Refuse to enable Profile without an audit of the same identities that is not red.

        Raises:
            UsageError: There is no such audit, or its verdict is red and that was not accepted.
        """
        if audit is None or audit.identities != self.people.identities:
            names = ", ".join(map(str, self.people.identities))
            how = in_words(
                "Name captures: chatlio-kit connect CAPTURES... --identity ... --profile",
                "Pass apply(audit=audit_identities(tables, [...]))",
            )
            raise UsageError(
                f"Feeding Profile cannot be undone, so the identities {names} must be audited first. {how}."
            )
        if audit.exit_code and not despite_audit:
            raise UsageError(
                f"The audit of identities is red, so nothing was created: {' '.join(audit.reasons)} Leave "
                f"out that identity, or add {option('despite_audit', 'True')} to accept the risk."
            )

    def _require_consent(
        self, audit: IdentityAudit | None, *, despite_audit: bool, confirm: str | None
    ) -> None:
        if not self.enables_profile:
            return
        self.require_audit(audit, despite_audit=despite_audit)
        if confirm != self.name:
            raise UsageError(
                "Feeding Profile can never be undone, so nothing was created. Confirm it with the "
                f"connection's name: {option('confirm', in_words(self.name, repr(self.name)))}."
            )

    @checked(audit=optional(an_audit), confirm=optional(text), despite_audit=flag)
    def apply(
        self,
        *,
        production: bool = False,
        audit: IdentityAudit | None = None,
        despite_audit: bool = False,
        confirm: str | None = None,
        progress: StepCallback | None = None,
        quiet: bool = False,
    ) -> Connection:
        """Create and update the objects as needed, and wait until every dataflow receives data.

        Each object is inspected again before it is changed, so a plan can be applied late, twice, or after a
        crash: nothing is created twice.

        Args:
            production: True if a production sandbox may be changed.
            audit: The audit of the identities; required to feed Profile.
            despite_audit: If true, feed Profile although the audit's verdict is red.
            confirm: The connection's name; required to feed Profile, which can never be undone.
            progress: Called with a sentence for each step, e.g. ``print``.
            quiet: If true, hide the progress bar.

        Raises:
            UsageError: Profile is to be fed without a good audit, or without confirmation.
            ProductionSandbox: The sandbox is of the type production, or its type cannot be read.
            ConnectionIncomplete: An object is in conflict, a mapping gave an unexpected result on samples, or
                a dataflow was not ready within 10 minutes.
            PlatformError: The platform refused a step; what was created is kept and found again.
        """
        if self.conflicts:
            listed = "; ".join(f"the {item.object} {item.name!r}: {item.reason}" for item in self.conflicts)
            raise ConnectionIncomplete(
                f"The plan cannot be applied, because objects are in the way: {listed}."
            )
        self._require_consent(audit, despite_audit=despite_audit, confirm=confirm)
        require_leave(self.platform, production)
        made = []
        changing = [item.object for item in self.objects if item.action in _CHANGING]
        # each change, a trial of each new mapping, and the wait for dataflows
        steps = len(changing) + changing.count("mapping set") + ("dataflow" in changing)
        with Progress("connecting", steps, "steps", quiet=quiet or not steps) as bar:

            def report(sentence: str) -> None:
                bar.advance(1)
                if progress is not None:
                    progress(sentence)

            for name in _parts(self.name, turns=self.turns):
                survey = open_survey(self.platform, name, self.people)
                dataflows = _dataflows(survey, self.kinds)
                provision(survey, dataflows, report)
                made.append(connection_of(survey, dataflows))
        connection, *feedback = made
        connection.feedback = next(iter(feedback), None)
        return connection

    def picture(self) -> Picture:
        """Draw the objects and how they are related; those that do not exist yet have dashed edges."""
        from chatlio_kit.connection.diagram import Diagram  # noqa: PLC0415 - only a drawing needs matplotlib

        missing = {item.name for item in self.objects if item.action is Action.CREATE}
        if self.turns:
            return Diagram(f"{self.name}/{TURNS}", [(Role.HISTORY, Kind.TRANSCRIPT)], missing).picture()
        return Diagram(self.name, [(Role.LIVE, kind) for kind in self.kinds], missing).picture()

    def by_hand(self) -> ManualSteps:
        """Return the steps to create the same connection in Adobe's and Chatlio's own screens.

        Raises:
            UsageError: It is for turns.
        """
        if self.turns:
            raise UsageError("Turns are sent only from files, so there is no webhook to connect by hand.")
        return ManualSteps(self.name, self.tenant_id, self.kinds, self.people)

    def as_dict(self, *, made: Connection | None = None) -> dict[str, Any]:
        """Return the plan as plain data for JSON.

        Args:
            made: The connection returned by applying it, which has the ids of created objects.
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
            ids: If true, show the ids of existing objects, which differ between connections.
        """
        changes = f"{self.changes} of {len(self.objects)} objects to create or update."
        headings = ("object", "name", "action", "reason", "id")
        width = len(headings) if ids and any(item.id for item in self.objects) else len(headings) - 1
        rows = [(item.object, item.name, item.action.value, item.reason, item.id) for item in self.objects]
        return Sheet(
            f"Plan for the connection {self.name} on {self.platform.settings.platform_name}, "
            f"sandbox {self.platform.settings.sandbox}",
            headings[:width],
            [row[:width] for row in rows],
            (
                changes if self.changes or self.conflicts else _NO_CHANGE,
                *([_FOR_GOOD] if self.enables_profile else []),
                *(UI_STEPS if self.turns else []),
            ),
        )


@checked(
    platform=a_platform,
    webhooks=optional(list_of_texts),
    identities=text_or_texts,
    profile=flag,
    slim=flag,
    turns=flag,
)
def plan_connection(
    platform: Platform,
    name: str = "chatlio",
    webhooks: Sequence[str] | None = None,
    *,
    identities: str | Sequence[str] = (),
    profile: bool = False,
    slim: bool = False,
    turns: bool = False,
    quiet: bool = False,
) -> Plan:
    """Inspect existing objects and plan the rest of a connection. Reads only.

    Args:
        platform: The platform.
        name: The connection's name; a platform can have several connections.
        webhooks: The kinds whose webhooks get a dataflow, all five by default. Files of every kind can be
            streamed regardless.
        identities: The fields that identify the visitor, such as ``visitor_id=ChatlioVisitor``; none by
            default, and an existing connection keeps its own.
        profile: True if its dataset feeds Profile, which can never be undone.
        slim: If true, leave out messages, so that events fit into the 10 KB that Profile takes.
        turns: True if it is for conversation turns instead of events: for Customer Journey Analytics, only
            from files, and with the identity ``visitor_id=ChatlioVisitor`` by default.
        quiet: If true, hide progress.

    Raises:
        UsageError: The name or a kind is not valid, or an option does not apply to turns.
        PlatformError: The platform refused the call.
    """
    kinds = _kinds(webhooks)
    chosen = [identities] if isinstance(identities, str) else list(identities)
    people = People.of(chosen, profile=profile, slim=slim)
    if turns and (profile or webhooks is not None):
        raise UsageError(
            "Turns are sent only from files and never feed Profile. Leave out "
            f"{in_words('--webhook and --profile', 'webhooks and profile')}."
        )
    surveys = [open_survey(platform, part, people) for part in _parts(name, turns=turns)]
    objects: dict[tuple[str, str], Planned] = {}
    with Progress("looking", None, "objects", quiet=quiet) as progress:
        for survey in surveys:
            of_dataflows = (
                resource
                for dataflow in _dataflows(survey, kinds)
                for resource in dataflow_resources(survey, dataflow)
            )
            for resource in chain(shared_resources(survey), of_dataflows):
                state = resource.inspect()
                item = Planned(resource.type_name, resource.name, state.action, state.reason, state.id)
                objects[item.object, item.name] = item
                progress.advance(1)
    listed = list(objects.values())
    return Plan(platform, name, kinds, listed, survey.design.tenant_id, survey.design.people, turns=turns)


def _parts(name: str, *, turns: bool) -> list[str]:
    """Return the names of the parts of a connection to plan.

    Raises:
        UsageError: The name is that of a part.
    """
    if ResourceNames(name).part:
        how = option("turns", "True")
        raise UsageError(f"{name!r} is a part of a connection. Name the connection, and add {how}.")
    return [f"{name}/{TURNS}", f"{name}/{FEEDBACK}"] if turns else [name]


def _dataflows(survey: Survey, kinds: Sequence[Kind]) -> list[DataflowState]:
    if survey.naming.part:
        return [DataflowState(role, kind) for role, kind in survey.design.dataflows]
    return [DataflowState(Role.LIVE, kind) for kind in kinds]


def _kinds(webhooks: Sequence[str] | None) -> list[Kind]:
    if webhooks is None:
        return list(Kind)
    unknown = [str(kind) for kind in webhooks if kind not in list(Kind)]
    if unknown:
        raise UsageError(f"There is no webhook called {', '.join(unknown)}. The kinds are {', '.join(Kind)}.")
    return [kind for kind in Kind if kind in webhooks]
