"""A connection that is there: its objects, and the dataflows that take data."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
import pandas as pd

from chatlio_kit.aep import FLOW_ID_HEADER, Inlet, Platform, masked_url, webhook_url
from chatlio_kit.arguments import checked, named, wrong
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection.manual_steps import ManualSteps
from chatlio_kit.connection.objects.dataflows import dataflow_objects
from chatlio_kit.connection.objects.names import Names, Role, in_words
from chatlio_kit.connection.objects.shared import Action, known, shared_objects
from chatlio_kit.connection.objects.survey import DataflowState, Survey, a_platform, open_survey
from chatlio_kit.connection.production import require_leave
from chatlio_kit.connection.provision import Progress, build
from chatlio_kit.connection.rows import dataflow_runs, read_rows
from chatlio_kit.display import Progress as Bar
from chatlio_kit.display import Sheet
from chatlio_kit.errors import ConnectionIncomplete, OutputError, UsageError, option
from chatlio_kit.settings import Secret, sealed

if TYPE_CHECKING:
    from chatlio_kit.display.figure import Picture

GUARD_AFTER_FLOW_CHANGE = timedelta(minutes=5)
GUARD_AFTER_SCHEMA_CHANGE = timedelta(minutes=15)


def _a_kind(name: str, value: object) -> None:
    if not isinstance(value, str) or value not in set(Kind):
        raise wrong(name, f"one of the five kinds: {', '.join(Kind)}", value)


@dataclass(frozen=True)
class Destination:
    """Where events land, as the ledger names it.

    Attributes:
        platform: ``local`` or the platform's URL.
        org: the organisation.
        sandbox: the sandbox.
        dataset: the dataset's id.
        name: the connection's name.
    """

    platform: str
    org: str
    sandbox: str
    dataset: str
    name: str

    def __str__(self) -> str:
        place = urlsplit(self.platform).hostname or self.platform
        return f"{place}/{self.sandbox}/{self.name}"


@dataclass(frozen=True)
class Dataflow:
    """One dataflow that takes data.

    Attributes:
        kind: the kind of its events.
        flow_id: its id.
        inlet_url: where its data is posted; a secret, as it is the only key to the inlet.
        mapping_set_id: the mapping set it applies.
        source_connection_id: its source connection.
        target_connection_id: its target connection.
        changed_at: when it last changed, in milliseconds since 1970.
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
        """When it last changed, by the platform's clock."""
        return _moment(self.changed_at)

    @property
    def webhook_url(self) -> Secret:
        """The URL to paste into Chatlio, which cannot send the dataflow's id as a header."""
        return webhook_url(self.inlet_url, self.flow_id)

    @property
    def masked_url(self) -> str:
        """The webhook URL as it may be shown."""
        return f"{masked_url(self.inlet_url)}?{FLOW_ID_HEADER}={self.flow_id}"

    def inlet(self, *, connections: int = 16) -> Inlet:
        """Open the inlet."""
        return Inlet(self.inlet_url, self.flow_id, connections=connections)


@dataclass(repr=False)
class Connection:
    """Chatlio's connection to one dataset.

    Attributes:
        name: its name.
        platform: the platform it is on.
        tenant_id: the tenant, whose fields live under an underscore and this id.
        schema_id: the schema.
        dataset_id: the dataset.
        field_group_id: the field group.
        live: the dataflow of each kind that Chatlio's webhooks post to.
        history: the dataflow of each kind that files are streamed through, made when first needed.
        schema_changed_at: when the schema last changed, in milliseconds since 1970; 0 if never.
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

    @property
    def destination(self) -> Destination:
        """Where its events land."""
        settings = self.platform.settings
        return Destination(
            settings.platform_name, settings.org_id, settings.sandbox, self.dataset_id, self.name
        )

    @property
    def webhook_urls(self) -> dict[Kind, str]:
        """The URL for each of Chatlio's webhooks, masked."""
        return {kind: flow.masked_url for kind, flow in self.live.items()}

    @checked()
    @sealed
    def write_webhook_urls(self, path: Path | str) -> Path:
        """Write the webhook URLs, unmasked, as JSON to a file that only its owner may read.

        Raises:
            OutputError: the file cannot be written.
        """
        target = Path(path)
        urls = {str(kind): flow.webhook_url.reveal() for kind, flow in self.live.items()}
        try:
            # mkstemp makes it with mode 0600, so there is no moment at which others could read it.
            handle, draft = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(orjson.dumps(urls, option=orjson.OPT_INDENT_2) + b"\n")
                Path(draft).replace(target)
            except OSError:
                Path(draft).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise OutputError(
                f"The webhook URLs could not be written to {target}: {error.strerror or error}. "
                "Choose a file in a folder that you may write to."
            ) from error
        return target

    @checked(kind=_a_kind)
    def history_flow(
        self, kind: Kind, progress: Progress | None = None, *, production: bool = False
    ) -> Dataflow:
        """Return the dataflow that files of a kind are streamed through; make or complete it when needed.

        Args:
            kind: the kind.
            progress: is called with a sentence for each step.
            production: whether a production sandbox may be changed.

        Raises:
            ProductionSandbox: it is to be made in a sandbox of the type production, or of an unknown type.
            ConnectionIncomplete: it could not be completed; see :func:`open_connection`.
            PlatformError: the platform refused a step.
        """
        kind = Kind(kind)
        if kind not in self.history:
            require_leave(self.platform, production)
            site, lane = open_survey(self.platform, self.name), DataflowState(Role.HISTORY, kind)
            build(site, [lane], progress)
            self.history[kind] = dataflow_of(lane)
            self.schema_changed_at = max(self.schema_changed_at, site.schema_changed_at)
        return self.history[kind]

    def ids_by_name(self) -> dict[str, str]:
        """Return the id of each of its objects by the object's name on the platform."""
        naming = Names(self.name)
        found = {
            naming.shared("field group"): self.field_group_id,
            naming.shared("schema"): self.schema_id,
            naming.shared("dataset"): self.dataset_id,
        }
        for role, flows in self._flows():
            for kind, flow in flows.items():
                found |= {
                    naming.own("mapping set", role, kind): flow.mapping_set_id,
                    naming.own("source", role, kind): flow.source_connection_id,
                    naming.own("target", role, kind): flow.target_connection_id,
                    naming.own("dataflow", role, kind): flow.flow_id,
                }
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the ids of its objects as plain data for JSON. It holds no inlet."""
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
        return {**shared, **of_kinds}

    def by_hand(self) -> ManualSteps:
        """Tell how the same connection is made in Adobe's and Chatlio's own screens."""
        return ManualSteps(self.name, self.tenant_id, tuple(self.live) or tuple(Kind))

    def dataflow_runs(self) -> pd.DataFrame:
        """Tell what the platform's own counters say of the history dataflows.

        Returns:
            A row for each kind: how many records its runs received, ingested and failed.

        Raises:
            PlatformError: the platform refused to tell.
        """
        return dataflow_runs(self)

    @checked()
    def read_rows(self, *, quiet: bool = False) -> pd.DataFrame:
        """Read all rows of the dataset back; they have to fit in memory.

        Args:
            quiet: whether to show no progress.

        Returns:
            A row for each row of the dataset, in the order of time. Columns are named as in the frame
            ``events``; times are exact to the millisecond, as the platform keeps them.

        Warns:
            UnreadableRows: a batch's file is missing or damaged; the rows of all others are there.

        Raises:
            NotFound: the dataset was deleted.
            PlatformError: the platform refused to give them.
        """
        return read_rows(self, quiet=quiet)

    def picture(self) -> Picture:
        """Draw the objects and how they hang together, without ids and URLs."""
        from chatlio_kit.connection.diagram import DiagramLabels  # noqa: PLC0415 - only a drawing needs matplotlib

        lanes = [(role, kind) for role, flows in self._flows() for kind in flows]
        return DiagramLabels(self.name, lanes).picture()

    def guard_until(self, flow: Dataflow) -> datetime:
        """Give the time before which data sent to a dataflow may be lost without a word.

        It is 5 minutes after the dataflow was made or changed (HTTP API source; update dataflows) and 15
        after its schema was changed, since validators keep schemas for so long (streaming validation).
        """
        return max(
            flow.changed + GUARD_AFTER_FLOW_CHANGE,
            _moment(self.schema_changed_at) + GUARD_AFTER_SCHEMA_CHANGE,
        )

    @checked()
    def sheet(self, *, ids: bool = True) -> Sheet:
        """Lay the objects out, URLs masked.

        Args:
            ids: whether to show ids and addresses, which differ from one making to the next.
        """
        rows: list[tuple[str, str, str]] = [
            ("tenant", self.tenant_id, ""),
            ("field group", self.field_group_id, ""),
            ("schema", self.schema_id, ""),
            ("dataset", self.dataset_id, ""),
        ]
        for role, flows in self._flows():
            rows += [
                (f"{role} dataflow, {in_words(kind)}", flow.flow_id, flow.masked_url)
                for kind, flow in flows.items()
            ]
        headings = ("object", "id", "takes data at")
        shown = len(headings) if ids else 1
        return Sheet(
            f"Connection {self.name} on {self.destination}", headings[:shown], [row[:shown] for row in rows]
        )

    def _flows(self) -> tuple[tuple[Role, dict[Kind, Dataflow]], ...]:
        return (Role.LIVE, self.live), (Role.HISTORY, self.history)

    def __repr__(self) -> str:
        return str(self.sheet())

    def _repr_html_(self) -> str:
        return self.sheet()._repr_html_()


def a_connection(name: str, value: object) -> None:
    """Accept a connection alone.

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(value, Connection):
        raise UsageError(
            f"{option(name)} is a connection, as plan_connection(platform).apply() or "
            f"open_connection(platform) returns it, not {named(value)}."
        )


@checked(platform=a_platform)
def open_connection(platform: Platform, name: str = "chatlio", *, quiet: bool = False) -> Connection:
    """Find a connection that was made before. Reads only.

    A kind of webhook that was never connected is left out of ``live``; one that is half there is not.
    History dataflows that are half there are left out: they are completed when first needed.

    Args:
        platform: where it is.
        name: the connection's name.
        quiet: whether to show no progress.

    Raises:
        ConnectionIncomplete: something is missing; names it.
        PlatformError: the platform refused to tell.
    """
    site = open_survey(platform, name)
    missing: list[str] = []
    for piece in shared_objects(site):
        standing = piece.look()
        if standing.action in (Action.CREATE, Action.CONFLICT):
            missing.append(f"the {piece.thing} ({standing.reason})")
    found: list[DataflowState] = []
    lanes = [DataflowState(role, kind) for role in Role for kind in Kind]
    with Bar("looking", len(lanes), "dataflows", quiet=quiet) as bar:
        for lane in lanes:
            is_whole, lacking = _look_at(site, lane)
            found += [lane] if is_whole else []
            missing += lacking
            bar.advance(1)
    if missing:
        raise ConnectionIncomplete(
            f"The connection {name!r} is not complete; missing: {', '.join(missing)}. "
            "Connect (plan_connection, then apply) to make what is missing; what is there is kept."
        )
    return connection_of(site, found)


def _look_at(site: Survey, lane: DataflowState) -> tuple[bool, list[str]]:
    """Say whether a dataflow can be used as it is; and, of a live one that is half there, what it lacks."""
    standings = [(piece, piece.look()) for piece in dataflow_objects(site, lane)]
    ready = bool(lane.flow and lane.flow.is_ready)
    if lane.role is Role.HISTORY:
        return ready and all(standing.action is Action.REUSE for _, standing in standings), []
    if ready and all(standing.id for _, standing in standings):
        return True, []
    if lane.flow or any(standing.id for piece, standing in standings if piece.thing != "mapping set"):
        return False, [
            f"the {piece.thing} {piece.name!r} ({standing.reason})"
            for piece, standing in standings
            if not standing.id or (piece.thing == "dataflow" and not ready)
        ]
    return False, []


def connection_of(site: Survey, lanes: list[DataflowState]) -> Connection:
    """Make a connection of what was found or built."""
    flows = {(lane.role, lane.kind): dataflow_of(lane) for lane in lanes}
    return Connection(
        name=site.naming.name,
        platform=site.platform,
        tenant_id=site.design.tenant_id,
        schema_id=known(site.schema_id),
        dataset_id=known(site.dataset_id),
        field_group_id=known(site.field_group_id),
        live={kind: flow for (role, kind), flow in flows.items() if role is Role.LIVE},
        history={kind: flow for (role, kind), flow in flows.items() if role is Role.HISTORY},
        schema_changed_at=site.schema_changed_at,
    )


def dataflow_of(lane: DataflowState) -> Dataflow:
    """Make a dataflow of a lane that is ready."""
    flow = lane.flow
    if flow is None or flow.inlet_url is None:
        raise ConnectionIncomplete(
            f"The {lane.role} dataflow for {in_words(lane.kind)} has no inlet. Connect again."
        )
    return Dataflow(
        kind=lane.kind,
        flow_id=flow.id,
        inlet_url=flow.inlet_url,
        mapping_set_id=known(lane.mapping_set_id),
        source_connection_id=known(lane.source_id),
        target_connection_id=known(lane.target_id),
        changed_at=flow.updated_at,
    )


def _moment(milliseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
