"""Flow Service: source and target connections, dataflows and their runs.

Source: Flow Service API reference; Flow Service: sort and filter; Update dataflows; Monitor dataflows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit

from chatlio_kit.aep.transport import Api, Json, Parameters, in_path, objects_in, to_int
from chatlio_kit.errors import NotFound
from chatlio_kit.settings import Secret, sealed

Side = Literal["source", "target"]
Filters = Sequence[str]

FLOW_ID_HEADER = "x-adobe-flow-id"


@dataclass(frozen=True)
class Endpoint:
    """A source or target connection.

    Attributes:
        id: Its id.
        name: Its name, which need not be unique.
        description: Its description.
        state: E.g. ``enabled``.
        created_at: Milliseconds since 1970.
        connection_spec_id: The type of system that it connects.
        data: Format and schema.
        params: Further parameters, such as ``dataSetId``.
    """

    id: str
    name: str
    description: str
    state: str
    created_at: int
    connection_spec_id: str
    data: Json = field(repr=False)
    params: Json = field(repr=False)


@dataclass(frozen=True)
class Flow:
    """A dataflow.

    Attributes:
        id: Its id.
        name: Its name, which need not be unique.
        description: Its description.
        state: ``enabled``, ``disabled``, ``enabling`` and others.
        etag: Its version, with quotes; required for an update.
        created_at: Milliseconds since 1970.
        updated_at: Milliseconds since 1970.
        flow_spec_id: The type of dataflow.
        source_ids: Ids of its source connections.
        target_ids: Ids of its target connections.
        mapping_set_id: The mapping set that it applies, if any.
        mapping_version: The version of that set.
        inlet_url: The URL that its data is posted to, once it is enabled; secret, because no other credential
            is needed.
    """

    id: str
    name: str
    description: str
    state: str
    etag: str
    created_at: int
    updated_at: int
    flow_spec_id: str
    source_ids: tuple[str, ...]
    target_ids: tuple[str, ...]
    mapping_set_id: str | None
    mapping_version: int
    inlet_url: Secret | None

    @property
    def is_ready(self) -> bool:
        """True if data can be posted to it."""
        return self.state == "enabled" and self.inlet_url is not None


@dataclass(frozen=True)
class RunError:
    """One error of a run: the service's code, its message, and the number of records, if the run gives it."""

    code: str
    message: str
    records: int | None


@dataclass(frozen=True)
class FlowRun:
    """One run of a dataflow; a streaming dataflow has one for each hour with traffic.

    A run with the status ``success`` may contain failed records: read the counts and ``errors``.

    Attributes:
        id: Its id.
        flow_id: The dataflow.
        status: In lower case.
        started_at: Milliseconds since 1970.
        completed_at: Milliseconds since 1970; 0 while it is running.
        received: Records received.
        ingested: Records written to the dataset.
        failed: Records not written.
        warned: Records written without one of their attributes.
        errors: Errors of the run and of its activities.
        body: The whole object.
    """

    id: str
    flow_id: str
    status: str
    started_at: int
    completed_at: int
    received: int
    ingested: int
    failed: int
    warned: int
    errors: tuple[RunError, ...]
    body: Json = field(repr=False)


class FlowService(Api):
    """Reads and changes source and target connections and dataflows."""

    service: ClassVar[str] = "Flow Service"
    base: ClassVar[str] = "/data/foundation/flowservice"

    def endpoints(self, side: Side, filters: Filters = ()) -> list[Endpoint]:
        """List source or target connections.

        Args:
            side: ``source`` or ``target``.
            filters: ``property`` expressions such as ``name==a,b`` (a comma means any); all must hold.
        """
        return [
            _endpoint(item)
            for item in self._items(f"list the {side} connections", f"/{side}Connections", filters)
        ]

    def endpoint(self, side: Side, endpoint_id: str) -> Endpoint:
        """Return one source or target connection.

        Raises:
            NotFound: It does not exist.
        """
        return _endpoint(self._item(f"read the {side} connection", f"/{side}Connections", endpoint_id))

    def create_endpoint(self, side: Side, body: Json) -> str:
        """Create a source or target connection and return its id."""
        return self._create(f"create the {side} connection", f"/{side}Connections", body)

    def delete_endpoint(self, side: Side, endpoint_id: str) -> None:
        """Delete a source or target connection, unless a dataflow uses it."""
        self._call(f"delete the {side} connection", "DELETE", f"/{side}Connections/{in_path(endpoint_id)}")

    def flows(self, filters: Filters = ()) -> list[Flow]:
        """List dataflows; see :meth:`endpoints` for filters."""
        return [_flow(item) for item in self._items("list the dataflows", "/flows", filters)]

    def flow(self, flow_id: str) -> Flow:
        """Return one dataflow, with its inlet once that exists.

        Raises:
            NotFound: It does not exist.
        """
        return _flow(self._item("read the dataflow", "/flows", flow_id))

    def create_flow(self, body: Json) -> str:
        """Create a dataflow and return its id; its inlet exists a little later, once it is enabled."""
        return self._create("create the dataflow", "/flows", body)

    def update_flow(self, flow: Flow, operations: Sequence[Json]) -> None:
        """Update a dataflow by patch operations, with its etag as ``If-Match``.

        Raises:
            Conflict: It has changed in the meantime.
        """
        self._ask_object(
            f"change the dataflow {flow.name!r}",
            "PATCH",
            f"/flows/{in_path(flow.id)}",
            body=list(operations),
            headers={"If-Match": flow.etag},
        )

    def enable_flow(self, flow_id: str) -> None:
        """Start to enable a dataflow."""
        self._call(
            "enable the dataflow", "POST", f"/flows/{in_path(flow_id)}/action", query=[("op", "enable")]
        )

    def disable_flow(self, flow_id: str) -> None:
        """Start to disable a dataflow."""
        self._call(
            "disable the dataflow", "POST", f"/flows/{in_path(flow_id)}/action", query=[("op", "disable")]
        )

    def delete_flow(self, flow_id: str) -> None:
        """Delete a dataflow.

        Raises:
            NotFound: It does not exist.
        """
        self._call("delete the dataflow", "DELETE", f"/flows/{in_path(flow_id)}")

    def connection_spec(self, spec_id: str) -> Json:
        """Return the description of a type of system that can be connected.

        Raises:
            NotFound: It is not offered here.
        """
        return self._item("read the connection spec", "/connectionSpecs", spec_id)

    def runs(self, flow_id: str, *, started_after: int | None = None) -> list[FlowRun]:
        """List a dataflow's runs, newest first.

        Args:
            flow_id: The dataflow.
            started_after: Milliseconds since 1970.
        """
        filters = [f"flowId=={flow_id}"]
        if started_after is not None:
            filters.append(f"metrics.durationSummary.startedAtUTC>{started_after}")
        items = self._items("list the dataflow's runs", "/runs", filters, [("orderby", "-createdAt")])
        return [_run(item) for item in items]

    def _create(self, operation: str, path: str, body: Json) -> str:
        operation = f"{operation} {body.get('name', '')!r}"
        return self._text(operation, self._ask_object(operation, "POST", path, body=body), "id")

    def _item(self, operation: str, path: str, item_id: str) -> Json:
        """Read one object from a response that is a list of one."""
        answer = self._ask_object(operation, "GET", f"{path}/{in_path(item_id)}")
        items = answer.get("items")
        if not isinstance(items, list):
            raise self.unexpected(operation, "its response contains no items")
        if not items:
            raise NotFound(self.service, operation, f"there is no object with the id {item_id}")
        return dict(items[0])

    def _items(self, operation: str, path: str, filters: Filters, extra: Parameters = ()) -> Iterator[Json]:
        """Read all pages of a list; ``_links.next.href`` continues it, relative to the service."""
        query: Parameters = [*(("property", expression) for expression in filters), *extra]
        followed: set[str] = set()
        while True:
            answer = self._ask_object(operation, "GET", path, query=query)
            yield from objects_in(answer, "items")
            following = ((answer.get("_links") or {}).get("next") or {}).get("href")
            if not following or following in followed:
                return
            followed.add(following)
            # Only the link's query is used: the token is never sent to a host named in a response.
            query = parse_qsl(urlsplit(str(following)).query)


@sealed
def webhook_url(inlet_url: Secret, flow_id: str) -> Secret:
    """Return the URL for senders that cannot set headers: its query contains the dataflow's id."""
    return Secret(f"{inlet_url.reveal()}?{FLOW_ID_HEADER}={flow_id}")


def _endpoint(item: Json) -> Endpoint:
    """Parse a source or target connection."""
    return Endpoint(
        id=str(item.get("id") or ""),
        name=str(item.get("name") or ""),
        description=str(item.get("description") or ""),
        state=str(item.get("state") or ""),
        created_at=to_int(item.get("createdAt")),
        connection_spec_id=str((item.get("connectionSpec") or {}).get("id") or ""),
        data=item.get("data") or {},
        params=item.get("params") or {},
    )


def _flow(item: Json) -> Flow:
    """Parse a dataflow."""
    mapping = next(
        (
            step.get("params") or {}
            for step in objects_in(item, "transformations")
            if step.get("name") == "Mapping"
        ),
        {},
    )
    inlet = (item.get("options") or {}).get("inletUrl")
    return Flow(
        id=str(item.get("id") or ""),
        name=str(item.get("name") or ""),
        description=str(item.get("description") or ""),
        state=str(item.get("state") or ""),
        etag=str(item.get("etag") or item.get("eTag") or item.get("version") or ""),
        created_at=to_int(item.get("createdAt")),
        updated_at=to_int(item.get("updatedAt")),
        flow_spec_id=str((item.get("flowSpec") or {}).get("id") or ""),
        source_ids=tuple(map(str, item.get("sourceConnectionIds") or [])),
        target_ids=tuple(map(str, item.get("targetConnectionIds") or [])),
        mapping_set_id=str(mapping["mappingId"]) if mapping.get("mappingId") else None,
        mapping_version=to_int(mapping.get("mappingVersion")),
        inlet_url=inlet if isinstance(inlet, Secret) else None,
    )


def _run(item: Json) -> FlowRun:
    """Parse a run."""
    metrics = item.get("metrics") or {}
    records = metrics.get("recordSummary") or {}
    duration = metrics.get("durationSummary") or {}
    status = metrics.get("statusSummary") or {}
    activities = item.get("activities") or item.get("activites") or []  # the reference's spelling
    summaries = [status, *(step.get("statusSummary") or {} for step in activities if isinstance(step, dict))]
    return FlowRun(
        id=str(item.get("id") or ""),
        flow_id=str(item.get("flowId") or ""),
        status=str(status.get("status") or "").lower(),
        started_at=to_int(duration.get("startedAtUTC")),
        completed_at=to_int(duration.get("completedAtUTC")),
        received=to_int(records.get("inputRecordCount")),
        ingested=to_int(records.get("outputRecordCount")),
        failed=to_int(records.get("failedRecordCount")),
        warned=to_int(records.get("warningRecordCount")),
        errors=tuple(error for summary in summaries for error in _errors_in(summary)),
        body=item,
    )


def _errors_in(summary: Mapping[str, Any]) -> Iterator[RunError]:
    extensions = summary.get("extensions") or {}
    for error in [*(summary.get("errors") or []), *(extensions.get("errors") or [])]:
        if isinstance(error, dict):
            count = error.get("recordCount")
            yield RunError(
                str(error.get("code") or ""),
                str(error.get("message") or ""),
                None if count is None else to_int(count),
            )
