"""A finished connection: its resources, and the dataflows that receive data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
import pandas as pd

from chatlio_kit.aep import FLOW_ID_HEADER, Inlet, Platform, masked_url, webhook_url
from chatlio_kit.aep.observability import IN_LAKE, IN_PROFILE
from chatlio_kit.arguments import checked, named, wrong
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection.manual_steps import ManualSteps
from chatlio_kit.connection.production import require_leave
from chatlio_kit.connection.provision import StepCallback, provision
from chatlio_kit.connection.resources.dataflows import dataflow_resources
from chatlio_kit.connection.resources.names import ResourceNames, Role, in_words
from chatlio_kit.connection.resources.people import People
from chatlio_kit.connection.resources.resource import Action, known
from chatlio_kit.connection.resources.shared import shared_resources
from chatlio_kit.connection.resources.survey import DataflowState, Survey, a_platform, open_survey
from chatlio_kit.connection.rows import read_rows
from chatlio_kit.display import Progress, Sheet, SheetDisplay
from chatlio_kit.errors import ConnectionIncomplete, OutputError, UsageError, option
from chatlio_kit.errors import in_words as for_face
from chatlio_kit.private_files import write_private
from chatlio_kit.settings import Secret, sealed

if TYPE_CHECKING:
    from chatlio_kit.display.figure import Picture

_COUNTERS = ("received", "ingested", "failed")
GUARD_AFTER_FLOW_CHANGE = timedelta(minutes=5)
GUARD_AFTER_SCHEMA_CHANGE = timedelta(minutes=15)
GUARD_AFTER_PROFILE = timedelta(minutes=60)


def _a_kind(name: str, value: object) -> None:
    if not isinstance(value, str) or value not in set(Kind):
        raise wrong(name, f"one of the five kinds: {', '.join(Kind)}", value)


@dataclass(frozen=True)
class Destination:
    """The destination of events, as the ledger names it.

    Attributes:
        platform: ``local``, or the platform's URL.
        org: The organisation.
        sandbox: The sandbox.
        dataset: The dataset's id.
        name: The connection's name.
    """

    platform: str
    org: str
    sandbox: str
    dataset: str
    name: str

    @property
    def is_for_turns(self) -> bool:
        """True if it takes conversation turns or their feedback instead of events."""
        return bool(ResourceNames(self.name).part)

    def __str__(self) -> str:
        host = urlsplit(self.platform).hostname or self.platform
        return f"{host}/{self.sandbox}/{self.name}"


@dataclass(frozen=True)
class Dataflow:
    """One dataflow that receives data.

    Attributes:
        kind: The kind of its events.
        flow_id: Its id.
        inlet_url: The URL that its data is posted to; secret, because no other credential is needed.
        mapping_set_id: The mapping set that it applies.
        source_connection_id: Its source connection.
        target_connection_id: Its target connection.
        changed_at: Time of the last change, in milliseconds since 1970.
    """

    kind: Kind
    flow_id: str
    inlet_url: Secret
    mapping_set_id: str
    source_connection_id: str
    target_connection_id: str
    changed_at: int

    @property
    def changed(self) -> datetime:
        """Time of the last change, by the platform's clock."""
        return _moment(self.changed_at)

    @property
    def webhook_url(self) -> Secret:
        """The URL to paste into Chatlio, which cannot send the dataflow's id as a header."""
        return webhook_url(self.inlet_url, self.flow_id)

    @property
    def masked_url(self) -> str:
        """The webhook URL without its secret part."""
        return f"{masked_url(self.inlet_url)}?{FLOW_ID_HEADER}={self.flow_id}"

    def inlet(self, *, connections: int = 16) -> Inlet:
        """Open the inlet."""
        return Inlet(self.inlet_url, self.flow_id, connections=connections)


@dataclass(repr=False)
class Connection(SheetDisplay):
    """Chatlio's connection to one dataset.

    Attributes:
        name: Its name.
        platform: The platform that it is on.
        tenant_id: The tenant; its fields are under an underscore and this id.
        schema_id: The schema.
        dataset_id: The dataset.
        field_group_id: The field group.
        live: The dataflow that Chatlio's webhooks post to, by kind.
        history: The dataflow that files are streamed through, by kind; created when first needed.
        schema_changed_at: Time of the schema's last change, in milliseconds since 1970; 0 if there was none.
        people: The identities in its events, and their use in Profile.
        live_without_identity: Kinds whose live dataflow carries no identity, although history does.
        feedback: The connection for feedback, if it was just created for turns.
    """

    name: str
    platform: Platform
    tenant_id: str
    schema_id: str
    dataset_id: str
    field_group_id: str
    live: dict[Kind, Dataflow] = field(default_factory=dict)
    history: dict[Kind, Dataflow] = field(default_factory=dict)
    schema_changed_at: int = 0
    people: People = field(default_factory=People)
    live_without_identity: tuple[Kind, ...] = ()
    feedback: Connection | None = None

    @property
    def is_for_turns(self) -> bool:
        """True if it takes conversation turns or their feedback instead of events."""
        return self.destination.is_for_turns

    def require_events(self) -> None:
        """Refuse a connection for conversation turns if events are required.

        Raises:
            UsageError: It takes turns or their feedback.
        """
        if self.is_for_turns:
            how = for_face("backfill --turns", "backfill_turns()")
            raise UsageError(
                f"The connection {self.name} takes no events. Send turns with {how} and the name "
                f"{ResourceNames(self.name).base}, or choose another connection."
            )

    @property
    def destination(self) -> Destination:
        """The destination of its events."""
        settings = self.platform.settings
        return Destination(
            settings.platform_name, settings.org_id, settings.sandbox, self.dataset_id, self.name
        )

    @property
    def webhook_urls(self) -> dict[Kind, str]:
        """The masked URL for each of Chatlio's webhooks."""
        return {kind: flow.masked_url for kind, flow in self.live.items()}

    @checked()
    @sealed
    def write_webhook_urls(self, path: Path | str) -> Path:
        """Write the webhook URLs, unmasked, as JSON to a file that only its owner may read.

        Raises:
            OutputError: The file cannot be written.
        """
        target = Path(path)
        urls = {str(kind): flow.webhook_url.reveal() for kind, flow in self.live.items()}
        try:
            write_private(target, orjson.dumps(urls, option=orjson.OPT_INDENT_2) + b"\n")
        except OSError as error:
            raise OutputError(
                f"The webhook URLs could not be written to {target}: {error.strerror or error}. Choose a "
                "file in a folder that you can write to."
            ) from error
        return target

    @checked(kind=_a_kind)
    def history_flow(
        self, kind: Kind, progress: StepCallback | None = None, *, production: bool = False
    ) -> Dataflow:
        """Return the dataflow that files of a kind are streamed through; create or complete it if needed.

        Args:
            kind: The kind.
            progress: Called with a sentence for each step.
            production: True if a production sandbox may be changed.

        Raises:
            ProductionSandbox: It would be created in a sandbox of the type production or of an unknown type.
            ConnectionIncomplete: It could not be completed; see :func:`chatlio_kit.open_connection`.
            PlatformError: The platform refused a step.
        """
        kind = Kind(kind)
        if kind not in self.history:
            require_leave(self.platform, production)
            survey, dataflow = open_survey(self.platform, self.name), DataflowState(Role.HISTORY, kind)
            provision(survey, [dataflow], progress)
            self.history[kind] = _dataflow_of(dataflow)
            self.schema_changed_at = max(self.schema_changed_at, survey.schema_changed_at)
        return self.history[kind]

    def ids_by_name(self) -> dict[str, str]:
        """Return the ids of its objects by their names on the platform."""
        naming = ResourceNames(self.name)
        ids = {
            naming.shared("field group"): self.field_group_id,
            naming.shared("schema"): self.schema_id,
            naming.dataset: self.dataset_id,
        }
        for role, flows in self._flows():
            for kind, flow in flows.items():
                ids |= {
                    naming.own("mapping set", role, kind): flow.mapping_set_id,
                    naming.own("source", role, kind): flow.source_connection_id,
                    naming.own("target", role, kind): flow.target_connection_id,
                    naming.own("dataflow", role, kind): flow.flow_id,
                }
        return ids | (self.feedback.ids_by_name() if self.feedback else {})

    def as_dict(self) -> dict[str, Any]:
        """Return the ids of its objects as plain data for JSON, without inlets."""
        shared = {
            "name": self.name,
            "tenant_id": self.tenant_id,
            "schema_id": self.schema_id,
            "field_group_id": self.field_group_id,
            "dataset_id": self.dataset_id,
        }
        of_kinds = {
            str(role): {
                str(kind): {
                    "dataflow_id": flow.flow_id,
                    "source_connection_id": flow.source_connection_id,
                    "target_connection_id": flow.target_connection_id,
                    "mapping_set_id": flow.mapping_set_id,
                }
                for kind, flow in flows.items()
            }
            for role, flows in self._flows()
        }
        people = {
            "identities": [str(identity) for identity in self.people.identities],
            "profile": self.people.profile,
            "slim": self.people.slim,
            "live_without_identity": [str(kind) for kind in self.live_without_identity],
        }
        feedback = {"feedback": self.feedback.as_dict()} if self.feedback else {}
        return {**shared, **(people if self.people.identities else {}), **of_kinds, **feedback}

    def by_hand(self) -> ManualSteps:
        """Return the steps to create the same connection in Adobe's and Chatlio's own screens.

        Raises:
            UsageError: It is for turns.
        """
        if self.is_for_turns:
            raise UsageError("Turns are sent only from files, so there is no webhook to connect by hand.")
        return ManualSteps(self.name, self.tenant_id, tuple(self.live) or tuple(Kind), self.people)

    def dataflow_runs(self) -> pd.DataFrame:
        """Sum the platform's own counters for the runs of the history dataflows.

        Returns:
            A row for each kind: the numbers of records that its runs received, ingested and failed.

        Raises:
            PlatformError: The platform refused the call.
        """
        rows = {}
        for kind in Kind:
            if kind in self.history:
                runs = self.platform.flows.runs(self.history[kind].flow_id)
                rows[str(kind)] = [sum(getattr(run, counter) for run in runs) for counter in _COUNTERS]
        return pd.DataFrame.from_dict(rows, orient="index", columns=list(_COUNTERS)).rename_axis("kind")

    def counters(self) -> dict[str, int]:
        """Return the platform's own counts of records in the lake and in Profile.

        Profile counts each event once, even if it was sent repeatedly, and may lag by an hour.

        Raises:
            PlatformError: The platform refused the call.
        """
        ask = self.platform.observability.total
        return {"lake": ask(IN_LAKE, self.dataset_id), "profile": ask(IN_PROFILE, self.dataset_id)}

    @checked()
    def read_rows(self, *, quiet: bool = False) -> pd.DataFrame:
        """Read all rows of the dataset into memory.

        Args:
            quiet: If true, hide progress.

        Returns:
            A row for each row of the dataset, ordered by time. Columns are named as in the frame ``events``;
            times are exact to the millisecond, as the platform stores them.

        Warns:
            UnreadableRows: A batch's file is missing or damaged; the rows of all other batches are included.

        Raises:
            NotFound: The dataset was deleted.
            PlatformError: The platform refused the call.
        """
        return read_rows(self.platform, self.dataset_id, self.tenant_id, quiet=quiet)

    def picture(self) -> Picture:
        """Draw the objects and how they are related, without ids and URLs."""
        from chatlio_kit.connection.diagram import Diagram  # noqa: PLC0415 - only a drawing needs matplotlib

        dataflows = [(role, kind) for role, flows in self._flows() for kind in flows]
        return Diagram(self.name, dataflows).picture()

    def guard_until(self, flow: Dataflow) -> datetime:
        """Return the time before which data sent to a dataflow may be lost without an error.

        It is 5 minutes after the dataflow was created or changed (HTTP API source; update dataflows) and 15
        after its schema was changed, because validators cache schemas that long (streaming validation). It is
        60 if the schema feeds Profile: Adobe's own labs wait that long after enabling one.
        """
        return self.guard_after(flow.changed)

    def guard_after(self, changed: datetime) -> datetime:
        """Return the same for a dataflow that was created or changed at this time."""
        schema_changed = _moment(self.schema_changed_at)
        return max(
            changed + GUARD_AFTER_FLOW_CHANGE,
            schema_changed + (GUARD_AFTER_PROFILE if self.people.profile else GUARD_AFTER_SCHEMA_CHANGE),
        )

    @checked()
    def sheet(self, *, ids: bool = True) -> Sheet:
        """List the objects as a table, with masked URLs.

        Args:
            ids: If true, show ids and URLs, which differ between connections.
        """
        rows: list[tuple[str, str, str]] = [
            ("tenant", self.tenant_id, ""),
            ("field group", self.field_group_id, ""),
            ("schema", self.schema_id, ""),
            ("dataset", self.dataset_id, ""),
            *([("feedback dataset", self.feedback.dataset_id, "")] if self.feedback else []),
        ]
        for role, flows in self._flows():
            rows += [
                (f"{role} dataflow, {in_words(kind)}", flow.flow_id, flow.masked_url)
                for kind, flow in flows.items()
            ]
        headings = ("object", "id", "takes data at")
        width = len(headings) if ids else 1
        return Sheet(
            f"Connection {self.name} on {self.destination}",
            headings[:width],
            [row[:width] for row in rows],
            list(self._about_people()),
        )

    def _about_people(self) -> Iterator[str]:
        if not self.people.identities:
            return
        where = "the lake and Profile" if self.people.profile else "the lake"
        yield f"Events carry identities in {where}: {', '.join(map(str, self.people.identities))}."
        if self.people.slim:
            yield "Messages are left out, so that more events stay below the 10 KB that Profile takes."
        if self.live_without_identity:
            kinds = ", ".join(in_words(kind) for kind in self.live_without_identity)
            yield (
                f"Live events of these kinds carry no identity and land only in the lake: {kinds}. A "
                "backfill of their captures gives them one."
            )

    def _flows(self) -> tuple[tuple[Role, dict[Kind, Dataflow]], ...]:
        return (Role.LIVE, self.live), (Role.HISTORY, self.history)


def a_connection(name: str, value: object) -> None:
    """Accept only a connection.

    Raises:
        UsageError: It is something else.
    """
    if not isinstance(value, Connection):
        raise UsageError(
            f"{option(name)} is a connection, as plan_connection(platform).apply() or "
            f"open_connection(platform) returns it, not {named(value)}."
        )


@checked(platform=a_platform)
def open_connection(platform: Platform, name: str = "chatlio", *, quiet: bool = False) -> Connection:
    """Find an existing connection. Reads only.

    A kind of webhook that was never connected is left out of ``live``; an incomplete one is an error.
    Incomplete history dataflows are left out, because they are completed when first needed.

    Args:
        platform: The platform.
        name: The connection's name.
        quiet: If true, hide progress.

    Raises:
        ConnectionIncomplete: Something is missing; the error names it.
        PlatformError: The platform refused the call.
    """
    survey = open_survey(platform, name)
    missing: list[str] = []
    for resource in shared_resources(survey):
        state = resource.inspect()
        if state.action in (Action.CREATE, Action.CONFLICT):
            missing.append(f"the {resource.type_name} ({state.reason})")
    usable: list[DataflowState] = []
    dataflows = [DataflowState(role, kind) for role, kind in survey.design.dataflows]
    with Progress("looking", len(dataflows), "dataflows", quiet=quiet) as progress:
        for dataflow in dataflows:
            is_usable, lacking = _inspect_dataflow(survey, dataflow)
            usable += [dataflow] if is_usable else []
            missing += lacking
            progress.advance(1)
    if missing:
        raise ConnectionIncomplete(
            f"The connection {name!r} is not complete; missing: {', '.join(missing)}. "
            + for_face("Run `chatlio-kit connect`", "Run plan_connection(...).apply()")
            + " to create the missing objects; existing ones are kept."
        )
    return connection_of(survey, usable)


def _inspect_dataflow(survey: Survey, dataflow: DataflowState) -> tuple[bool, list[str]]:
    """Return whether a dataflow is ready to use, and what an incomplete live one lacks."""
    states = [(resource, resource.inspect()) for resource in dataflow_resources(survey, dataflow)]
    is_ready = bool(dataflow.flow and dataflow.flow.is_ready)
    if dataflow.role is Role.HISTORY:
        return is_ready and all(state.action is Action.REUSE for _, state in states), []
    if is_ready and all(state.id for _, state in states):
        return True, []
    if dataflow.flow or any(state.id for resource, state in states if resource.type_name != "mapping set"):
        return False, [
            f"the {resource.type_name} {resource.name!r} ({state.reason})"
            for resource, state in states
            if not state.id or (resource.type_name == "dataflow" and not is_ready)
        ]
    return False, []


def connection_of(survey: Survey, dataflows: list[DataflowState]) -> Connection:
    """Return the connection made up of what was found or built."""
    flows = {(dataflow.role, dataflow.kind): _dataflow_of(dataflow) for dataflow in dataflows}
    return Connection(
        name=survey.naming.name,
        platform=survey.platform,
        tenant_id=survey.design.tenant_id,
        schema_id=known(survey.schema_id),
        dataset_id=known(survey.dataset_id),
        field_group_id=known(survey.field_group_id),
        live={kind: flow for (role, kind), flow in flows.items() if role is Role.LIVE},
        history={kind: flow for (role, kind), flow in flows.items() if role is Role.HISTORY},
        schema_changed_at=survey.schema_changed_at,
        people=survey.design.people,
        live_without_identity=tuple(
            dataflow.kind
            for dataflow in dataflows
            if dataflow.role is Role.LIVE and survey.design.people.identities and not _is_named(dataflow)
        ),
    )


def _is_named(dataflow: DataflowState) -> bool:
    """Return whether a live dataflow's mapping creates identities."""
    return dataflow.people is not None and dataflow.people.live_identity(dataflow.kind) is not None


def _dataflow_of(dataflow: DataflowState) -> Dataflow:
    flow = dataflow.flow
    if flow is None or flow.inlet_url is None:
        raise ConnectionIncomplete(
            f"The {dataflow.role} dataflow for {in_words(dataflow.kind)} has no inlet. Connect again."
        )
    return Dataflow(
        kind=dataflow.kind,
        flow_id=flow.id,
        inlet_url=flow.inlet_url,
        mapping_set_id=known(dataflow.mapping_set_id),
        source_connection_id=known(dataflow.source_id),
        target_connection_id=known(dataflow.target_id),
        changed_at=flow.updated_at,
    )


def _moment(milliseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
