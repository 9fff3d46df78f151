"""Flow Service: source and target connections, dataflows and their runs.

Source: Flow Service API reference; Flow Service: sort and filter; Update dataflows; Monitor dataflows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit

from chatlio_kit.aep.flow_objects import Endpoint, Flow, FlowRun, endpoint_in, flow_in, run_in
from chatlio_kit.aep.transport import Api, Json, Parameters, in_path
from chatlio_kit.errors import NotFound

Side = Literal["source", "target"]
Filters = Sequence[str]


class FlowService(Api):
    """Reads and changes connections and dataflows."""

    service: ClassVar[str] = "Flow Service"
    base: ClassVar[str] = "/data/foundation/flowservice"

    def endpoints(self, side: Side, filters: Filters = ()) -> list[Endpoint]:
        """List source or target connections.

        Args:
            side: ``source`` or ``target``.
            filters: ``property`` expressions such as ``name==a,b`` (the comma means any); all must hold.
        """
        found = self._items(f"list the {side} connections", f"/{side}Connections", filters)
        return [endpoint_in(each) for each in found]

    def endpoint(self, side: Side, endpoint_id: str) -> Endpoint:
        """Give one source or target connection.

        Raises:
            NotFound: there is none.
        """
        return endpoint_in(self._item(f"read the {side} connection", f"/{side}Connections", endpoint_id))

    def create_endpoint(self, side: Side, body: Json) -> str:
        """Create a source or target connection and give its id."""
        return self._create(f"create the {side} connection", f"/{side}Connections", body)

    def delete_endpoint(self, side: Side, endpoint_id: str) -> None:
        """Delete a source or target connection; one that a dataflow uses is refused."""
        self._call(f"delete the {side} connection", "DELETE", f"/{side}Connections/{in_path(endpoint_id)}")

    def flows(self, filters: Filters = ()) -> list[Flow]:
        """List dataflows; see :meth:`endpoints` for filters."""
        return [flow_in(each) for each in self._items("list the dataflows", "/flows", filters)]

    def flow(self, flow_id: str) -> Flow:
        """Give one dataflow, with its inlet once that exists.

        Raises:
            NotFound: there is none.
        """
        return flow_in(self._item("read the dataflow", "/flows", flow_id))

    def create_flow(self, body: Json) -> str:
        """Create a dataflow and give its id; it is enabled a little later, and has its inlet then."""
        return self._create("create the dataflow", "/flows", body)

    def update_flow(self, flow: Flow, operations: Sequence[Json]) -> None:
        """Change a dataflow by patch operations; its etag goes along as ``If-Match``.

        Raises:
            Conflict: somebody changed it meanwhile.
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
        self._act("enable the dataflow", flow_id, "enable")

    def disable_flow(self, flow_id: str) -> None:
        """Start to disable a dataflow."""
        self._act("disable the dataflow", flow_id, "disable")

    def delete_flow(self, flow_id: str) -> None:
        """Delete a dataflow.

        Raises:
            NotFound: there is none.
        """
        self._call("delete the dataflow", "DELETE", f"/flows/{in_path(flow_id)}")

    def connection_spec(self, spec_id: str) -> Json:
        """Give what the platform says of a sort of system that can be connected.

        Raises:
            NotFound: it is not offered here.
        """
        return self._item("read the connection spec", "/connectionSpecs", spec_id)

    def runs(self, flow_id: str, *, started_after: int | None = None) -> list[FlowRun]:
        """List a dataflow's runs, newest first; a streaming dataflow has one for each hour with traffic.

        Args:
            flow_id: the dataflow.
            started_after: milliseconds since 1970.
        """
        filters = [f"flowId=={flow_id}"]
        if started_after is not None:
            filters.append(f"metrics.durationSummary.startedAtUTC>{started_after}")
        found = self._items("list the dataflow's runs", "/runs", filters, [("orderby", "-createdAt")])
        return [run_in(each) for each in found]

    def _act(self, operation: str, flow_id: str, action: str) -> None:
        self._call(operation, "POST", f"/flows/{in_path(flow_id)}/action", query=[("op", action)])

    def _create(self, operation: str, path: str, body: Json) -> str:
        operation = f"{operation} {body.get('name', '')!r}"
        return self._text(operation, self._ask_object(operation, "POST", path, body=body), "id")

    def _item(self, operation: str, path: str, item_id: str) -> Json:
        """Read one object; the answer is a list of one."""
        answer = self._ask_object(operation, "GET", f"{path}/{in_path(item_id)}")
        items = answer.get("items")
        if not isinstance(items, list):
            raise self.unexpected(operation, "its answer holds no items")
        if not items:
            raise NotFound(self.service, operation, f"there is none with the id {item_id}")
        return dict(items[0])

    def _items(self, operation: str, path: str, filters: Filters, extra: Parameters = ()) -> Iterator[Json]:
        """Read all pages of a list; ``_links.next.href`` continues it, relative to the service."""
        query: Parameters = [*(("property", each) for each in filters), *extra]
        followed: set[str] = set()
        while True:
            answer = self._ask_object(operation, "GET", path, query=query)
            yield from (dict(each) for each in answer.get("items") or [])
            following = ((answer.get("_links") or {}).get("next") or {}).get("href")
            if not following or following in followed:
                return
            followed.add(following)
            # Only the query is taken from the link: the token goes to no place that an answer names.
            query = parse_qsl(urlsplit(str(following)).query)
