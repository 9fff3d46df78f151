"""The resources of one dataflow: mapping set, source connection, target connection, and the dataflow itself.

Source and target connections are never updated, because their dataflow would not notice (Update dataflows). A
mapping set is replaced, and the dataflow is then updated to its new version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from chatlio_kit.aep import Endpoint, Flow, to_int
from chatlio_kit.aep.flow_service import Side
from chatlio_kit.connection.mapping_check import may_lack_identities, try_people, without_identities
from chatlio_kit.connection.resources.blueprint import Json, transformation
from chatlio_kit.connection.resources.names import Role
from chatlio_kit.connection.resources.people import People
from chatlio_kit.connection.resources.resource import Action, Resource, ResourceState, known
from chatlio_kit.connection.resources.survey import DataflowState, Survey
from chatlio_kit.errors import Conflict

_OFF = ("disabled", "disabling")
_WAY_OUT = {
    Role.LIVE: "webhooks may still post to its dataflow, so it is left alone: choose another name for a new "
    "connection",
    Role.HISTORY: "no webhook posts there: delete its dataflow, then it, under Sources, and connect again",
}
"""Advice on resolving a conflict; ``disconnect`` would also remove the connection's live URLs."""


class DataflowResource(Resource):
    """One resource of a dataflow."""

    def __init__(self, survey: Survey, dataflow: DataflowState) -> None:
        self.dataflow = dataflow
        self.role, self.kind = dataflow.role, dataflow.kind
        type_name = self.type_name.removesuffix(" connection")
        super().__init__(survey, survey.naming.own(type_name, self.role, self.kind))


class MappingSetResource(DataflowResource):
    """The mapping set."""

    type_name: ClassVar[str] = "mapping set"

    def inspect(self) -> ResourceState:
        """Check that it has our schema and our mappings."""
        dataflow = self.dataflow
        dataflow.mapping_set_id, dataflow.mapping_is_due = None, False
        body = next(iter(self.survey.mapping_sets(self.role, self.kind)), None)
        if body is None:
            return ResourceState(Action.CREATE, "not there yet")
        dataflow.mapping_set_id, dataflow.mapping_version = str(body["id"]), to_int(body.get("version"))
        is_ours = self.survey.schema_id is not None and _schema_of(body) == self.survey.schema_id
        dataflow.mapping_is_due = not is_ours or not self._is_wanted(body)
        if dataflow.mapping_is_due:
            reason = "its mappings differ" if is_ours else "it is for another schema"
            return ResourceState(Action.UPDATE, reason, dataflow.mapping_set_id)
        return ResourceState(Action.REUSE, "has every mapping", dataflow.mapping_set_id)

    def create(self) -> str:
        """Create the mapping set."""
        mapping_set_id, version = self.survey.platform.mapping_sets.create(self._body())
        self.dataflow.mapping_set_id, self.dataflow.mapping_version = mapping_set_id, version
        return mapping_set_id

    def update(self) -> None:
        """Replace the mappings, which raises the version."""
        self.dataflow.mapping_version = self.survey.platform.mapping_sets.replace(
            known(self.dataflow.mapping_set_id), self._body()
        )
        self.dataflow.mapping_is_due = False

    def candidates(self) -> list[str]:
        """List our mapping sets of this name, the oldest first."""
        return [str(body["id"]) for body in self.survey.mapping_sets(self.role, self.kind)]

    def delete_duplicate(self, resource_id: str) -> None:
        """Delete a mapping set."""
        self.survey.platform.mapping_sets.delete(resource_id)

    def _is_wanted(self, body: Json) -> bool:
        """Return whether a mapping set has our mappings; a live one may lack identities.

        In that case the platform is asked again whether it can build an identity map from a live record.
        """
        survey, dataflow, mappings = self.survey, self.dataflow, _mappings_of(body)
        if mappings == _mappings_of(self._body()):
            dataflow.people = dataflow.people or survey.design.people
            return True
        if dataflow.people is not None or not may_lack_identities(survey.design, self.role, self.kind):
            return False
        plain = without_identities(survey.design.people)
        if mappings != _mappings_of(self._body(plain)):
            return False
        schema_id = known(survey.schema_id)
        dataflow.people, _ = try_people(survey.platform, survey.design, self.role, self.kind, schema_id)
        return dataflow.people == plain

    def _body(self, people: People | None = None) -> Json:
        survey = self.survey
        people = people or self.dataflow.people
        return survey.design.mapping_set(self.role, self.kind, known(survey.schema_id), people)


class _EndpointResource(DataflowResource):
    """A source or target connection."""

    side: ClassVar[Side]

    def delete_duplicate(self, resource_id: str) -> None:
        """Delete a source or target connection."""
        self.survey.platform.flows.delete_endpoint(self.side, resource_id)

    def _endpoints(self) -> list[Endpoint]:
        return self.survey.endpoints(self.side, self.role, self.kind)


class SourceResource(_EndpointResource):
    """The source connection."""

    type_name: ClassVar[str] = "source connection"
    side: ClassVar[Side] = "source"

    def inspect(self) -> ResourceState:
        """Check that it exists."""
        self.dataflow.source_id = next((endpoint.id for endpoint in self._endpoints()), None)
        if self.dataflow.source_id is None:
            return ResourceState(Action.CREATE, "not there yet")
        return ResourceState(Action.REUSE, "is there", self.dataflow.source_id)

    def create(self) -> str:
        """Create the source connection."""
        body = self.survey.design.source(self.role, self.kind)
        self.dataflow.source_id = self.survey.platform.flows.create_endpoint("source", body)
        return self.dataflow.source_id

    def candidates(self) -> list[str]:
        """List our source connections of this name, the oldest first."""
        return _by_age(self._endpoints())


class TargetResource(_EndpointResource):
    """The target connection."""

    type_name: ClassVar[str] = "target connection"
    side: ClassVar[Side] = "target"

    def inspect(self) -> ResourceState:
        """Check that it lands in our dataset with our schema."""
        endpoints = self._endpoints()
        self.dataflow.target_id = next((endpoint.id for endpoint in endpoints if self._fits(endpoint)), None)
        if self.dataflow.target_id is not None:
            return ResourceState(Action.REUSE, "lands in the dataset", self.dataflow.target_id)
        if endpoints:
            reason = f"it lands in another dataset; {_WAY_OUT[self.role]}"
            return ResourceState(Action.CONFLICT, reason, endpoints[0].id)
        return ResourceState(Action.CREATE, "not there yet")

    def create(self) -> str:
        """Create the target connection."""
        schema_id, dataset_id = known(self.survey.schema_id), known(self.survey.dataset_id)
        body = self.survey.design.target(self.role, self.kind, schema_id, dataset_id)
        self.dataflow.target_id = self.survey.platform.flows.create_endpoint("target", body)
        return self.dataflow.target_id

    def candidates(self) -> list[str]:
        """List our target connections of this name that land in our dataset, the oldest first."""
        return _by_age(endpoint for endpoint in self._endpoints() if self._fits(endpoint))

    def _fits(self, endpoint: Endpoint) -> bool:
        schema_id = (endpoint.data.get("schema") or {}).get("id")
        dataset_id = endpoint.params.get("dataSetId")
        return (dataset_id, schema_id) == (self.survey.dataset_id, self.survey.schema_id)


class FlowResource(DataflowResource):
    """The dataflow."""

    type_name: ClassVar[str] = "dataflow"

    def inspect(self) -> ResourceState:
        """Check that it joins our connections, applies our mapping set and is enabled."""
        dataflow = self.dataflow
        flow = dataflow.flow = next(iter(self.survey.flows(self.role, self.kind)), None)
        if flow is None:
            return ResourceState(Action.CREATE, "not there yet")
        if flow.source_ids != (dataflow.source_id,) or flow.target_ids != (dataflow.target_id,):
            reason = f"it joins connections that are gone or not ours; {_WAY_OUT[self.role]}"
            return ResourceState(Action.CONFLICT, reason, flow.id)
        if not self._applies_mapping(flow):
            return ResourceState(Action.UPDATE, "it applies another mapping", flow.id)
        if dataflow.mapping_is_due:
            return ResourceState(Action.UPDATE, "its mapping set is to be replaced", flow.id)
        if flow.state.lower() in _OFF:
            return ResourceState(Action.UPDATE, f"it is {flow.state}", flow.id)
        if not flow.is_ready:
            reason = f"not ready yet: it is {flow.state or 'without a state'}"
            return ResourceState(Action.REUSE, reason, flow.id)
        return ResourceState(Action.REUSE, "enabled", flow.id)

    def create(self) -> str:
        """Create the dataflow, which becomes ready a little later."""
        dataflow, flows = self.dataflow, self.survey.platform.flows
        source_id, target_id = known(dataflow.source_id), known(dataflow.target_id)
        body = self.survey.design.flow(self.role, self.kind, source_id, target_id, self._transformation())
        flow_id = flows.create_flow(body)
        dataflow.flow = flows.flow(flow_id)
        return flow_id

    def update(self) -> None:
        """Apply our mapping set, and enable the dataflow if it is disabled."""
        flows = self.survey.platform.flows
        flow = self._current()
        if not self._applies_mapping(flow):
            change = [{"op": "replace", "path": "/transformations/0", "value": self._transformation()}]
            try:
                flows.update_flow(flow, change)
            except (
                Conflict
            ):  # the platform has just finished a change of its own: read the dataflow again, once
                flows.update_flow(self._current(), change)
            flow = self._current()
        if flow.state.lower() in _OFF:
            flows.enable_flow(flow.id)
        self.dataflow.flow = self._current()

    def candidates(self) -> list[str]:
        """List our dataflows of this name, the oldest first."""
        return _by_age(self.survey.flows(self.role, self.kind))

    def delete_duplicate(self, resource_id: str) -> None:
        """Delete a dataflow whose URL no one has received yet."""
        self.survey.platform.flows.delete_flow(resource_id)

    def _applies_mapping(self, flow: Flow) -> bool:
        wanted = (self.dataflow.mapping_set_id, self.dataflow.mapping_version)
        return (flow.mapping_set_id, flow.mapping_version) == wanted

    def _transformation(self) -> Json:
        return transformation(known(self.dataflow.mapping_set_id), self.dataflow.mapping_version)

    def _current(self) -> Flow:
        flow = self.dataflow.flow
        return self.survey.platform.flows.flow(known(flow.id if flow else None))


def dataflow_resources(survey: Survey, dataflow: DataflowState) -> list[DataflowResource]:
    """Return the resources of one dataflow, in the order of their creation."""
    return [
        MappingSetResource(survey, dataflow),
        SourceResource(survey, dataflow),
        TargetResource(survey, dataflow),
        FlowResource(survey, dataflow),
    ]


def _by_age(listed: Iterable[Endpoint | Flow]) -> list[str]:
    return [item.id for item in sorted(listed, key=lambda item: (item.created_at, item.id))]


def _schema_of(mapping_set: Mapping[str, Any]) -> str:
    """Return the schema id of a mapping set, from its current or its legacy form."""
    current = ((mapping_set.get("outputSchema") or {}).get("schemaRef") or {}).get("id")
    return str(current or (mapping_set.get("xdmSchema") or {}).get("id") or "")


def _mappings_of(mapping_set: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return destination and source of every mapping; responses may use legacy names and quote literals."""
    mappings = set()
    for mapping in mapping_set.get("mappings") or []:
        source = str(mapping.get("source") or mapping.get("sourceAttribute") or "")
        if len(source) > 1 and source[0] == source[-1] == '"':
            source = source[1:-1]
        mappings.add((str(mapping.get("destination") or mapping.get("destinationXdmPath") or ""), source))
    return mappings
