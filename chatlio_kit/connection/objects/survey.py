"""What is found on the platform while one connection is surveyed or built."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from chatlio_kit.aep import Endpoint, Flow, Platform, to_int
from chatlio_kit.aep.schema_registry import RESOURCE_TYPES, ResourceType
from chatlio_kit.arguments import named, text
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection.objects.blueprint import Blueprint, Json
from chatlio_kit.connection.objects.names import Names, Role
from chatlio_kit.errors import NotFound, UsageError, option

_GOING = "delete"  # the states of an object that is being deleted hold this word


@dataclass
class DataflowState:
    """One dataflow and what it stands on; ids are None until they are found or made.

    Attributes:
        mapping_is_due: whether the mapping set that was found is to be replaced, which raises its version.
    """

    role: Role
    kind: Kind
    mapping_set_id: str | None = None
    mapping_version: int = 0
    mapping_is_due: bool = False
    source_id: str | None = None
    target_id: str | None = None
    flow: Flow | None = None


@dataclass
class Survey:
    """The sandbox, as far as one connection goes.

    Titles and Flow Service lists are read once, for all objects together, and again after :meth:`forget`.

    Attributes:
        platform: the platform.
        design: bodies and names of what belongs here.
        field_group_id: None until found or made; so are the next two.
        schema_changed_at: when the schema was last changed, in milliseconds since 1970; 0 if never.
    """

    platform: Platform
    design: Blueprint
    field_group_id: str | None = None
    schema_id: str | None = None
    dataset_id: str | None = None
    schema_changed_at: int = 0
    _titles: dict[ResourceType, dict[str, str]] = field(default_factory=dict, repr=False)
    _flows: list[Flow] | None = field(default=None, repr=False)
    _sources: list[Endpoint] | None = field(default=None, repr=False)
    _targets: list[Endpoint] | None = field(default=None, repr=False)

    @property
    def naming(self) -> Names:
        """Names and mark."""
        return self.design.naming

    def forget(self) -> None:
        """Read lists anew when they are next needed."""
        self._titles = {}
        self._flows = self._sources = self._targets = None

    def registered(self, resource: ResourceType, title: str) -> Json | None:
        """Give the resource of a type that has a title; None when there is none."""
        found = self._titled(resource).get(title)
        return None if found is None else self.platform.schemas.get(resource, found)

    def title_taken(self, resource: ResourceType, title: str) -> tuple[ResourceType, str] | None:
        """Tell which resource of another type holds a title, with its ``$id``; None when it is free."""
        for other in RESOURCE_TYPES:
            if other != resource and title in self._titled(other):
                return other, self._titled(other)[title]
        return None

    def flows(self, role: Role, kind: Kind) -> list[Flow]:
        """Give our dataflows of a role and kind, the best first; a create gone astray may leave two."""
        if self._flows is None:
            self._flows = [
                each for each in self.platform.flows.flows([self._named("dataflow")]) if self._is_ours(each)
            ]
        name = self.naming.own("dataflow", role, kind)
        found = [each for each in self._flows if each.name == name]
        lands = (
            {each.id for each in self._all_targets() if self._lands_here(each)} if len(found) > 1 else set()
        )
        return sorted(
            found,
            key=lambda each: (lands.isdisjoint(each.target_ids), not each.is_ready, each.created_at, each.id),
        )

    def sources(self, role: Role, kind: Kind) -> list[Endpoint]:
        """Give our source connections of a role and kind, the one in use first."""
        if self._sources is None:
            self._sources = [
                each
                for each in self.platform.flows.endpoints("source", [self._named("source")])
                if self._is_ours(each)
            ]
        used = [end for flow in self.flows(role, kind)[:1] for end in flow.source_ids]
        return _used_first(self._sources, self.naming.own("source", role, kind), used)

    def targets(self, role: Role, kind: Kind) -> list[Endpoint]:
        """Give our target connections of a role and kind, the one in use first."""
        used = [end for flow in self.flows(role, kind)[:1] for end in flow.target_ids]
        return _used_first(self._all_targets(), self.naming.own("target", role, kind), used)

    def used_datasets(self) -> set[str]:
        """Give the ids of the datasets that our dataflows write to."""
        flows = [flow for role in Role for kind in Kind for flow in self.flows(role, kind)]
        used = {end for flow in flows for end in flow.target_ids}
        return {str(each.params.get("dataSetId")) for each in self._all_targets() if each.id in used}

    def mapping_sets(self, role: Role, kind: Kind) -> list[Json]:
        """Give our mapping sets of a role and kind in full, the oldest first."""
        prep = self.platform.mapping_sets
        found = []
        for each in prep.find(self.naming.own("mapping set", role, kind)):
            with suppress(NotFound):  # it was removed since it was listed
                found.append(prep.get(str(each["id"])))
        ours = [each for each in found if self.naming.owns(each.get("description"))]
        return sorted(ours, key=lambda each: (to_int(each.get("createdDate")), str(each.get("id"))))

    def _all_targets(self) -> list[Endpoint]:
        if self._targets is None:
            self._targets = [
                each
                for each in self.platform.flows.endpoints("target", [self._named("target")])
                if self._is_ours(each)
            ]
        return self._targets

    def _lands_here(self, target: Endpoint) -> bool:
        return self.dataset_id is not None and target.params.get("dataSetId") == self.dataset_id

    def _titled(self, resource: ResourceType) -> dict[str, str]:
        if resource not in self._titles:
            listed = self.platform.schemas.titles(resource)
            self._titles[resource] = {str(each.get("title")): str(each["$id"]) for each in listed}
        return self._titles[resource]

    def _named(self, thing: str) -> str:
        return "name==" + ",".join(self.naming.own(thing, role, kind) for role in Role for kind in Kind)

    def _is_ours(self, found: Endpoint | Flow) -> bool:
        return self.naming.owns(found.description) and _GOING not in found.state.lower()


def open_survey(platform: Platform, name: str) -> Survey:
    """Begin a survey: asks for the tenant, and for nothing else yet.

    Raises:
        UsageError: the name cannot be a connection's name, or the platform is none.
    """
    a_platform("platform", platform)
    text("name", name)
    naming = Names(name)
    return Survey(platform, Blueprint(naming, platform.schemas.tenant_id()))


def a_platform(name: str, value: object) -> None:
    """Accept a platform alone.

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(value, Platform):
        raise UsageError(f"{option(name)} is what open_platform() returns, not {named(value)}.")


def _used_first(found: Iterable[Endpoint], name: str, used: Iterable[str]) -> list[Endpoint]:
    in_use = set(used)
    ours = [each for each in found if each.name == name]
    return sorted(ours, key=lambda each: (each.id not in in_use, each.created_at, each.id))
