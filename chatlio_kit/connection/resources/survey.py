"""A connection's objects on the platform, found while it is inspected or built."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from chatlio_kit.aep import Endpoint, Flow, Platform, to_int
from chatlio_kit.aep.flow_service import Side
from chatlio_kit.aep.schema_registry import RESOURCE_TYPES, ResourceType
from chatlio_kit.arguments import named, text
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection.resources.blueprint import Blueprint, Json
from chatlio_kit.connection.resources.names import ResourceNames, Role
from chatlio_kit.connection.resources.people import People
from chatlio_kit.connection.resources.turns import blueprint
from chatlio_kit.errors import NotFound, UsageError, option

_DELETING = "delete"  # the states of an object that is being deleted contain this word


@dataclass
class DataflowState:
    """One dataflow and the resources that it joins; ids are None until they are found or created.

    Attributes:
        mapping_is_due: True if the mapping set is to be replaced, which raises its version.
        people: Its mapping's settings for people, once decided: a live one may carry no identity.
    """

    role: Role
    kind: Kind
    mapping_set_id: str | None = None
    mapping_version: int = 0
    mapping_is_due: bool = False
    source_id: str | None = None
    target_id: str | None = None
    flow: Flow | None = None
    people: People | None = None


@dataclass
class Survey:
    """The resources of one connection in the sandbox.

    Titles and lists of Flow Service are read once for all resources, and again after :meth:`forget`.

    Attributes:
        platform: The platform.
        design: Names and bodies of the connection's resources.
        field_group_id: None until found or created, like the next two.
        schema_changed_at: Time of the schema's last change, in milliseconds since 1970; 0 if there was none.
        is_in_union: True if the schema is enabled for Profile.
    """

    platform: Platform
    design: Blueprint
    field_group_id: str | None = None
    schema_id: str | None = None
    dataset_id: str | None = None
    schema_changed_at: int = 0
    is_in_union: bool = False
    _titles: dict[ResourceType, dict[str, str]] = field(default_factory=dict, repr=False)
    _flows: list[Flow] | None = field(default=None, repr=False)
    _endpoints: dict[Side, list[Endpoint]] = field(default_factory=dict, repr=False)
    _namespaces: list[Json] | None = field(default=None, repr=False)
    _descriptors: dict[str, list[Json]] = field(default_factory=dict, repr=False)

    @property
    def naming(self) -> ResourceNames:
        """Names and mark."""
        return self.design.naming

    def forget(self) -> None:
        """Drop the lists, so that they are read again when next needed."""
        self._titles, self._endpoints, self._flows = {}, {}, None
        self._namespaces, self._descriptors = None, {}

    def note_change(self, body: Json) -> None:
        """Note when a field group or schema was changed, because each change raises its version."""
        if str(body.get("version") or "1.0") != "1.0":
            metadata = body.get("meta:registryMetadata") or {}
            changed_at = to_int(metadata.get("repo:lastModifiedDate"))
            self.schema_changed_at = max(self.schema_changed_at, changed_at)

    def namespaces(self) -> list[Json]:
        """Return all identity namespaces of the organisation."""
        if self._namespaces is None:
            self._namespaces = self.platform.namespaces.all()
        return self._namespaces

    def descriptors(self, descriptor_type: str) -> list[Json]:
        """Return the tenant's descriptors of a type."""
        if descriptor_type not in self._descriptors:
            self._descriptors[descriptor_type] = self.platform.schemas.descriptors(descriptor_type)
        return self._descriptors[descriptor_type]

    def registered(self, resource_type: ResourceType, title: str) -> Json | None:
        """Return the resource of a type with a title; None if there is none."""
        resource_id = self._ids_by_title(resource_type).get(title)
        return None if resource_id is None else self.platform.schemas.get(resource_type, resource_id)

    def title_taken(self, resource_type: ResourceType, title: str) -> tuple[ResourceType, str] | None:
        """Return type and ``$id`` of a resource of another type with a title; None if the title is free."""
        for other in RESOURCE_TYPES:
            if other != resource_type and title in self._ids_by_title(other):
                return other, self._ids_by_title(other)[title]
        return None

    def flows(self, role: Role, kind: Kind) -> list[Flow]:
        """Return our dataflows of a role and kind, the best first; a repeated create may leave two."""
        if self._flows is None:
            listed = self.platform.flows.flows([self._filter("dataflow")])
            self._flows = [flow for flow in listed if self._is_ours(flow)]
        name = self.naming.own("dataflow", role, kind)
        flows = [flow for flow in self._flows if flow.name == name]
        landing: set[str] = set()
        if len(flows) > 1 and self.dataset_id is not None:
            targets = self._our_endpoints("target")
            landing = {target.id for target in targets if target.params.get("dataSetId") == self.dataset_id}

        def rank(flow: Flow) -> tuple[bool, bool, int, str]:
            return landing.isdisjoint(flow.target_ids), not flow.is_ready, flow.created_at, flow.id

        return sorted(flows, key=rank)

    def endpoints(self, side: Side, role: Role, kind: Kind) -> list[Endpoint]:
        """Return our source or target connections of a role and kind, the one in use first."""
        name = self.naming.own(side, role, kind)
        endpoints = [endpoint for endpoint in self._our_endpoints(side) if endpoint.name == name]
        flow = next(iter(self.flows(role, kind)), None)
        used: tuple[str, ...] = ()
        if flow is not None:
            used = flow.source_ids if side == "source" else flow.target_ids
        return sorted(endpoints, key=lambda end: (end.id not in used, end.created_at, end.id))

    def used_datasets(self) -> set[str]:
        """Return the ids of the datasets that our dataflows write to."""
        flows = [flow for role in Role for kind in Kind for flow in self.flows(role, kind)]
        used = {target_id for flow in flows for target_id in flow.target_ids}
        targets = self._our_endpoints("target")
        return {str(target.params.get("dataSetId")) for target in targets if target.id in used}

    def mapping_sets(self, role: Role, kind: Kind) -> list[Json]:
        """Return our mapping sets of a role and kind in full, the oldest first."""
        service = self.platform.mapping_sets
        mapping_sets = []
        for entry in service.find(self.naming.own("mapping set", role, kind)):
            with suppress(NotFound):  # removed after it was listed
                mapping_sets.append(service.get(str(entry["id"])))
        ours = [body for body in mapping_sets if self.naming.owns(body.get("description"))]
        return sorted(ours, key=lambda body: (to_int(body.get("createdDate")), str(body.get("id"))))

    def _our_endpoints(self, side: Side) -> list[Endpoint]:
        if side not in self._endpoints:
            listed = self.platform.flows.endpoints(side, [self._filter(side)])
            self._endpoints[side] = [endpoint for endpoint in listed if self._is_ours(endpoint)]
        return self._endpoints[side]

    def _ids_by_title(self, resource_type: ResourceType) -> dict[str, str]:
        if resource_type not in self._titles:
            entries = self.platform.schemas.titles(resource_type)
            self._titles[resource_type] = {str(entry.get("title")): str(entry["$id"]) for entry in entries}
        return self._titles[resource_type]

    def _filter(self, thing: str) -> str:
        return "name==" + ",".join(self.naming.own(thing, role, kind) for role in Role for kind in Kind)

    def _is_ours(self, listed: Endpoint | Flow) -> bool:
        return self.naming.owns(listed.description) and _DELETING not in listed.state.lower()


def open_survey(platform: Platform, name: str, people: People | None = None) -> Survey:
    """Start a survey, reading only the tenant at first.

    Args:
        platform: The platform.
        name: The connection's name.
        people: The requested settings for people; by default those of an existing connection.

    Raises:
        UsageError: The name cannot be a connection's name, or ``platform`` is not a platform.
    """
    a_platform("platform", platform)
    text("name", name)
    ResourceNames(name)  # refuse an invalid name before calling the platform
    return Survey(platform, blueprint(name, platform.schemas.tenant_id(), people or People()))


def a_platform(name: str, value: object) -> None:
    """Accept only a platform.

    Raises:
        UsageError: It is something else.
    """
    if not isinstance(value, Platform):
        raise UsageError(f"{option(name)} is what open_platform() returns, not {named(value)}.")
