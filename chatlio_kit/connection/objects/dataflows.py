"""The objects of one dataflow: mapping set, source connection, target connection, and the dataflow itself.

Source and target connections of a dataflow are never changed, since the dataflow would not notice
(Update dataflows); a mapping set is replaced and the dataflow told its new version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from chatlio_kit.aep import Endpoint, Flow, to_int
from chatlio_kit.connection.objects.blueprint import Json, transformation
from chatlio_kit.connection.objects.names import Role
from chatlio_kit.connection.objects.shared import Action, ObjectState, SharedObject, known
from chatlio_kit.connection.objects.survey import DataflowState, Survey
from chatlio_kit.errors import Conflict

_OFF = ("disabled", "disabling")
_WAY_OUT = {
    Role.LIVE: "webhooks may still post to its dataflow, so it is left alone: choose another name for a new "
    "connection",
    Role.HISTORY: "no webhook posts there: delete its dataflow, then it, under Sources, and connect again",
}
"""What to do about a conflict; ``disconnect`` would take the connection's live URLs down with it."""


class DataflowObject(SharedObject):
    """One object of a dataflow."""

    def __init__(self, site: Survey, lane: DataflowState) -> None:
        super().__init__(site, site.naming.own(self.thing.removesuffix(" connection"), lane.role, lane.kind))
        self.lane = lane


class MappingSetObject(DataflowObject):
    """The mapping set."""

    thing: ClassVar[str] = "mapping set"

    def look(self) -> ObjectState:
        """Judge whether it has our schema and our mappings."""
        lane = self.lane
        lane.mapping_set_id, lane.mapping_is_due = None, False
        found = next(iter(self.site.mapping_sets(lane.role, lane.kind)), None)
        if found is None:
            return ObjectState(Action.CREATE, "not there yet")
        lane.mapping_set_id, lane.mapping_version = str(found["id"]), to_int(found.get("version"))
        is_ours = self.site.schema_id is not None and _schema_of(found) == self.site.schema_id
        lane.mapping_is_due = not is_ours or _lines_of(found) != _lines_of(self._body())
        if lane.mapping_is_due:
            reason = "its mappings differ" if is_ours else "it is for another schema"
            return ObjectState(Action.UPDATE, reason, lane.mapping_set_id)
        return ObjectState(Action.REUSE, "has every mapping", lane.mapping_set_id)

    def make(self) -> str:
        """Create the mapping set."""
        made, self.lane.mapping_version = self.site.platform.mapping_sets.create(self._body())
        self.lane.mapping_set_id = made
        return made

    def alike(self) -> list[str]:
        """List our mapping sets of this name, the oldest first."""
        return [str(each["id"]) for each in self.site.mapping_sets(self.lane.role, self.lane.kind)]

    def withdraw(self, made: str) -> None:
        """Remove a mapping set."""
        self.site.platform.mapping_sets.delete(made)

    def mend(self) -> None:
        """Replace the mappings; the version rises."""
        self.lane.mapping_version = self.site.platform.mapping_sets.replace(
            known(self.lane.mapping_set_id), self._body()
        )
        self.lane.mapping_is_due = False

    def _body(self) -> Json:
        return self.site.design.mapping_set(self.lane.role, self.lane.kind, known(self.site.schema_id))


class SourceObject(DataflowObject):
    """The source connection."""

    thing: ClassVar[str] = "source connection"

    def look(self) -> ObjectState:
        """Judge whether it is there."""
        found = next(iter(self.site.sources(self.lane.role, self.lane.kind)), None)
        self.lane.source_id = found.id if found else None
        if found is None:
            return ObjectState(Action.CREATE, "not there yet")
        return ObjectState(Action.REUSE, "is there", found.id)

    def make(self) -> str:
        """Create the source connection."""
        body = self.site.design.source(self.lane.role, self.lane.kind)
        self.lane.source_id = self.site.platform.flows.create_endpoint("source", body)
        return self.lane.source_id

    def alike(self) -> list[str]:
        """List our source connections of this name, the oldest first."""
        return _by_age(self.site.sources(self.lane.role, self.lane.kind))

    def withdraw(self, made: str) -> None:
        """Remove a source connection."""
        self.site.platform.flows.delete_endpoint("source", made)

    def mend(self) -> None:
        """Do nothing: a source connection is right as it is."""


class TargetObject(DataflowObject):
    """The target connection."""

    thing: ClassVar[str] = "target connection"

    def look(self) -> ObjectState:
        """Judge whether it lands in our dataset with our schema."""
        every = self.site.targets(self.lane.role, self.lane.kind)
        self.lane.target_id = None
        if not every:
            return ObjectState(Action.CREATE, "not there yet")
        found = next((each for each in every if self._fits(each)), None)
        if found is None:
            return ObjectState(
                Action.CONFLICT, f"it lands in another dataset; {_WAY_OUT[self.lane.role]}", every[0].id
            )
        self.lane.target_id = found.id
        return ObjectState(Action.REUSE, "lands in the dataset", found.id)

    def make(self) -> str:
        """Create the target connection."""
        body = self.site.design.target(
            self.lane.role, self.lane.kind, known(self.site.schema_id), known(self.site.dataset_id)
        )
        self.lane.target_id = self.site.platform.flows.create_endpoint("target", body)
        return self.lane.target_id

    def _fits(self, found: Endpoint) -> bool:
        schema = (found.data.get("schema") or {}).get("id")
        return (found.params.get("dataSetId"), schema) == (self.site.dataset_id, self.site.schema_id)

    def alike(self) -> list[str]:
        """List our target connections of this name that land in our dataset, the oldest first."""
        return _by_age(each for each in self.site.targets(self.lane.role, self.lane.kind) if self._fits(each))

    def withdraw(self, made: str) -> None:
        """Remove a target connection."""
        self.site.platform.flows.delete_endpoint("target", made)

    def mend(self) -> None:
        """Do nothing: a target connection is right or in conflict."""


class FlowObject(DataflowObject):
    """The dataflow."""

    thing: ClassVar[str] = "dataflow"

    def look(self) -> ObjectState:
        """Judge whether it joins our objects, applies our mapping set and is enabled."""
        lane = self.lane
        lane.flow = next(iter(self.site.flows(lane.role, lane.kind)), None)
        flow = lane.flow
        if flow is None:
            return ObjectState(Action.CREATE, "not there yet")
        if flow.source_ids != (lane.source_id,) or flow.target_ids != (lane.target_id,):
            return ObjectState(
                Action.CONFLICT,
                f"it joins connections that are gone or not ours; {_WAY_OUT[lane.role]}",
                flow.id,
            )
        if (flow.mapping_set_id, flow.mapping_version) != (lane.mapping_set_id, lane.mapping_version):
            return ObjectState(Action.UPDATE, "it applies another mapping", flow.id)
        if lane.mapping_is_due:
            return ObjectState(Action.UPDATE, "its mapping set is to be replaced", flow.id)
        if flow.state.lower() in _OFF:
            return ObjectState(Action.UPDATE, f"it is {flow.state}", flow.id)
        if not flow.is_ready:
            return ObjectState(
                Action.REUSE, f"not ready yet: it is {flow.state or 'without a state'}", flow.id
            )
        return ObjectState(Action.REUSE, "enabled", flow.id)

    def make(self) -> str:
        """Create the dataflow; it becomes ready a little later."""
        lane = self.lane
        step = transformation(known(lane.mapping_set_id), lane.mapping_version)
        body = self.site.design.flow(lane.role, lane.kind, known(lane.source_id), known(lane.target_id), step)
        made = self.site.platform.flows.create_flow(body)
        lane.flow = self.site.platform.flows.flow(made)
        return made

    def alike(self) -> list[str]:
        """List our dataflows of this name, the oldest first."""
        return _by_age(self.site.flows(self.lane.role, self.lane.kind))

    def withdraw(self, made: str) -> None:
        """Remove a dataflow whose URL nobody has seen yet."""
        self.site.platform.flows.delete_flow(made)

    def mend(self) -> None:
        """Apply our mapping set, and enable the dataflow where it is off."""
        lane, flows = self.lane, self.site.platform.flows
        flow = self._current()
        if (flow.mapping_set_id, flow.mapping_version) != (lane.mapping_set_id, lane.mapping_version):
            step = transformation(known(lane.mapping_set_id), lane.mapping_version)
            change = [{"op": "replace", "path": "/transformations/0", "value": step}]
            try:
                flows.update_flow(flow, change)
            except Conflict:  # it has just finished a change of its own: read it again, once
                flows.update_flow(self._current(), change)
            flow = self._current()
        if flow.state.lower() in _OFF:
            flows.enable_flow(flow.id)
        lane.flow = self._current()

    def _current(self) -> Flow:
        return self.site.platform.flows.flow(known(self.lane.flow.id if self.lane.flow else None))


def dataflow_objects(site: Survey, lane: DataflowState) -> list[DataflowObject]:
    """Give the objects of one dataflow, each after what it needs."""
    return [
        MappingSetObject(site, lane),
        SourceObject(site, lane),
        TargetObject(site, lane),
        FlowObject(site, lane),
    ]


def _by_age(found: Iterable[Endpoint | Flow]) -> list[str]:
    return [each.id for each in sorted(found, key=lambda each: (each.created_at, each.id))]


def _schema_of(mapping_set: Mapping[str, Any]) -> str:
    """Give the schema of a mapping set, in its current or its legacy form."""
    current = ((mapping_set.get("outputSchema") or {}).get("schemaRef") or {}).get("id")
    return str(current or (mapping_set.get("xdmSchema") or {}).get("id") or "")


def _lines_of(mapping_set: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Give destination and source of every mapping; reads may echo the legacy names and quote literals."""
    lines = set()
    for each in mapping_set.get("mappings") or []:
        source = str(each.get("source") or each.get("sourceAttribute") or "")
        if len(source) > 1 and source[0] == source[-1] == '"':
            source = source[1:-1]
        lines.add((str(each.get("destination") or each.get("destinationXdmPath") or ""), source))
    return lines
