"""Resources of a connection: their common base, and field group, schema and dataset."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, ClassVar

from chatlio_kit.aep import to_int
from chatlio_kit.aep.schema_registry import PLURALS, ResourceType
from chatlio_kit.connection.resources.blueprint import EVENT_CLASS, Json
from chatlio_kit.connection.resources.people import People
from chatlio_kit.connection.resources.survey import Survey
from chatlio_kit.errors import ConnectionIncomplete


class Action(StrEnum):
    """Actions on a resource."""

    REUSE = "reuse"
    CREATE = "create"
    UPDATE = "update"
    CONFLICT = "conflict"


@dataclass(frozen=True)
class ResourceState:
    """The state of a resource: the required action, the reason, and its id if it exists."""

    action: Action
    reason: str
    id: str | None = None


class Resource(ABC):
    """One resource of a connection on the platform.

    Attributes:
        type_name: Its type in words, e.g. ``schema``.
        name: Its name on the platform.
    """

    type_name: ClassVar[str]

    def __init__(self, survey: Survey, name: str) -> None:
        self.survey = survey
        self.name = name

    @abstractmethod
    def inspect(self) -> ResourceState:
        """Find the resource, note its id for those that need it, and return its state. Reads only."""

    @abstractmethod
    def create(self) -> str:
        """Create the resource, note its id, and return it."""

    def update(self) -> None:
        """Update the resource that the last inspection found."""
        raise NotImplementedError(f"a {self.type_name} is never updated")

    def candidates(self) -> list[str]:
        """List the ids of all resources that match this one, the oldest first. Reads only.

        The list is empty if the platform keeps names unique.
        """
        return []

    def delete_duplicate(self, resource_id: str) -> None:
        """Delete a resource that this process created just after another process created the same."""
        raise NotImplementedError(f"the {self.type_name} {resource_id} has a unique name")


class _Registered(Resource):
    """A field group or schema, found by its title."""

    resource_type: ClassVar[ResourceType]

    def __init__(self, survey: Survey, name: str) -> None:
        super().__init__(survey, name)
        self._body: Json = {}

    def _find(self) -> ResourceState | None:
        """Find the resource by its title and keep its body; return a state if it is missing or not ours."""
        body = self.survey.registered(self.resource_type, self.name)
        if body is None:
            taken = self.survey.title_taken(self.resource_type, self.name)
            if taken:
                reason = f"the title is taken among the {PLURALS[taken[0]]}; choose another name"
                return ResourceState(Action.CONFLICT, reason, taken[1])
            return ResourceState(Action.CREATE, "not there yet")
        if not self.survey.naming.owns(body.get("description")):
            reason = f"the title is taken by a {self.type_name} that is not ours; choose another name"
            return ResourceState(Action.CONFLICT, reason, str(body["$id"]))
        self._body = body
        self.survey.note_change(body)
        return None


class FieldGroupResource(_Registered):
    """The field group with every sent field of the catalogue."""

    type_name: ClassVar[str] = "field group"
    resource_type: ClassVar[ResourceType] = "fieldgroups"

    def inspect(self) -> ResourceState:
        """Check that every field exists with its type."""
        self.survey.field_group_id = None
        if (state := self._find()) is not None:
            return state
        field_group_id = str(self._body["$id"])
        definition = self._definition()
        if definition is None:
            return ResourceState(Action.CONFLICT, "it no longer holds the chatlio object", field_group_id)
        self.survey.field_group_id = field_group_id
        properties = self._properties(definition)
        missing, differing = self._compare(properties)
        if differing:
            reason = f"{_some(differing)}; a field never changes its type: choose another name"
            return ResourceState(Action.CONFLICT, reason, field_group_id)
        if missing:
            return ResourceState(Action.UPDATE, f"to be added: {_some(sorted(missing))}", field_group_id)
        more = sorted(set(properties) - set(self.survey.design.chatlio_properties()))
        kept = f", and keeps what this version does not send: {_some(more)}" if more else ""
        return ResourceState(Action.REUSE, f"has every field{kept}", field_group_id)

    def create(self) -> str:
        """Create the field group."""
        body = self.survey.platform.schemas.create(self.resource_type, self.survey.design.field_group())
        self.survey.field_group_id = str(body["$id"])
        return self.survey.field_group_id

    def update(self) -> None:
        """Add the missing fields; a schema in use by a dataset may only grow."""
        definition = known(self._definition())
        missing, _ = self._compare(self._properties(definition))
        tenant = self.survey.design.tenant
        base = f"/definitions/{definition}/properties/{tenant}/properties/chatlio/properties"
        operations = [
            {"op": "add", "path": f"{base}/{path}", "value": body} for path, body in missing.items()
        ]
        registry = self.survey.platform.schemas
        self.survey.note_change(
            registry.patch(self.resource_type, known(self.survey.field_group_id), operations)
        )

    def _definition(self) -> str | None:
        """Return the name of the definition that holds our object."""
        definitions = self._body.get("definitions") or {}
        return next((name for name in definitions if self._properties(name)), None)

    def _properties(self, definition: str) -> Json:
        node: Any = self._body["definitions"].get(definition)
        for step in (self.survey.design.tenant, "chatlio"):
            node = ((node or {}).get("properties") or {}).get(step)
        return (node or {}).get("properties") or {}

    def _compare(self, properties: Json) -> tuple[dict[str, Json], list[str]]:
        """Return the missing fields by path, and a description of each field with another type."""
        missing: dict[str, Json] = {}
        differing: list[str] = []
        for path, wanted, existing in _pairs(self.survey.design.chatlio_properties(), properties):
            if existing is None:
                missing[path] = wanted
            elif _type_of(existing) != _type_of(wanted):
                differing.append(f"{_leaf(path)} is {_type_of(existing)} there and {_type_of(wanted)} here")
        return missing, differing


class SchemaResource(_Registered):
    """The schema: the event class and our field group."""

    type_name: ClassVar[str] = "schema"
    resource_type: ClassVar[ResourceType] = "schemas"

    def inspect(self) -> ResourceState:
        """Check that it has our class and our field group."""
        self.survey.schema_id = None
        if (state := self._find()) is not None:
            if not (design := self.survey.design).people.identities:
                self.survey.design = replace(design, people=design.default_people)
            return state
        schema_id = str(self._body["$id"])
        parts = {str(part.get("$ref")) for part in self._body.get("allOf") or [] if isinstance(part, dict)}
        if EVENT_CLASS not in parts:
            return ResourceState(Action.CONFLICT, "it is not of the class ExperienceEvent", schema_id)
        self.survey.schema_id = schema_id
        if (state := self._compare_people(schema_id)) is not None:
            return state
        self.survey.is_in_union = "union" in (self._body.get("meta:immutableTags") or [])
        if self._missing_groups(parts):
            return ResourceState(Action.UPDATE, "to be added: the field group", schema_id)
        if self._body.get("description") != self.survey.design.schema_description:
            return ResourceState(Action.UPDATE, "to be added: identities", schema_id)
        return ResourceState(Action.REUSE, "has the class and the field group", schema_id)

    def create(self) -> str:
        """Create the schema."""
        body = self.survey.design.schema(known(self.survey.field_group_id))
        self.survey.schema_id = str(self.survey.platform.schemas.create(self.resource_type, body)["$id"])
        return self.survey.schema_id

    def update(self) -> None:
        """Add the field group, or the identities in the description."""
        survey, schema_id = self.survey, known(self.survey.schema_id)
        registry, body = survey.platform.schemas, self._body
        known(survey.field_group_id)
        for group_id in self._missing_groups({str(part.get("$ref")) for part in body.get("allOf") or []}):
            body = registry.add_field_group(schema_id, group_id)
        if body.get("description") != survey.design.schema_description:
            change = {"op": "replace", "path": "/description", "value": survey.design.schema_description}
            body = registry.patch(self.resource_type, schema_id, [change])
        survey.note_change(body)

    def _missing_groups(self, parts: set[str]) -> list[str]:
        groups = self.survey.design.field_groups(str(self.survey.field_group_id))
        return [group_id for group_id in groups if group_id not in parts]

    def _compare_people(self, schema_id: str) -> ResourceState | None:
        """Adopt the settings in the description; return a conflict if others are requested."""
        design, stored = self.survey.design, People.read(self._body.get("description"))
        if "union" in (self._body.get("meta:immutableTags") or []) and not stored.profile:
            reason = (
                "it feeds Profile, and its description no longer says with which identities; put that back"
            )
            return ResourceState(Action.CONFLICT, reason, schema_id)
        if not design.people.identities:
            self.survey.design = replace(design, people=stored)
        elif design.people.profile != stored.profile:
            feeds = "feeds Profile" if stored.profile else "does not feed Profile, and never will"
            reason = f"it {feeds}; choose another name for a connection of the other type"
            return ResourceState(Action.CONFLICT, reason, schema_id)
        elif stored.identities and design.people != stored:
            there = ", ".join(map(str, stored.identities))
            reason = f"it was created for the identities {there}; choose another name for others"
            return ResourceState(Action.CONFLICT, reason, schema_id)
        return None


class DatasetResource(Resource):
    """The dataset in which all events land, live and from files."""

    type_name: ClassVar[str] = "dataset"

    def inspect(self) -> ResourceState:
        """Check that it is ours and has our schema."""
        self.survey.dataset_id = None
        datasets = self.survey.platform.catalog.datasets(self.name)
        ours = self._ours(datasets)
        if not ours:
            namesakes = "; another dataset of that name is not ours and stays as it is" if datasets else ""
            return ResourceState(Action.CREATE, f"not there yet{namesakes}")
        dataset_id = next(iter(ours))
        if len(ours) > 1:  # the one that our dataflows write to
            used = self.survey.used_datasets()
            dataset_id = next((own for own in ours if own in used), dataset_id)
        tags = ours[dataset_id].get("tags") or {}
        if self.survey.design.people.profile and not feeds_profile(tags):
            reason = "it does not feed Profile, and rows already in it never would; choose another name"
            return ResourceState(Action.CONFLICT, reason, dataset_id)
        if (ours[dataset_id].get("schemaRef") or {}).get("id") != self.survey.schema_id:
            reason = "it has another schema; rename or delete it, or choose another name"
            return ResourceState(Action.CONFLICT, reason, dataset_id)
        self.survey.dataset_id = dataset_id
        return ResourceState(Action.REUSE, "has the schema", dataset_id)

    def create(self) -> str:
        """Create the dataset."""
        body = self.survey.design.dataset(known(self.survey.schema_id))
        self.survey.dataset_id = self.survey.platform.catalog.create_dataset(body)
        return self.survey.dataset_id

    def candidates(self) -> list[str]:
        """List our datasets of this name, the oldest first."""
        return list(self._ours(self.survey.platform.catalog.datasets(self.name)))

    def delete_duplicate(self, resource_id: str) -> None:
        """Delete a dataset, unless it has batches."""
        catalog = self.survey.platform.catalog
        if not any(True for _ in catalog.batches(resource_id)):
            catalog.delete_dataset(resource_id)

    def _ours(self, datasets: Mapping[str, Json]) -> dict[str, Json]:
        owns = self.survey.naming.owns
        ours = [(key, body) for key, body in datasets.items() if owns(body.get("description"))]
        return dict(sorted(ours, key=lambda item: (to_int(item[1].get("created")), item[0])))


def feeds_profile(tags: Mapping[str, Any]) -> bool:
    """Return whether a dataset's tags enable it for Profile; the value occurs with and without a space."""
    values = tags.get("unifiedProfile") or []
    return any(str(value).replace(" ", "") == "enabled:true" for value in values)


def known(resource_id: str | None) -> str:
    """Return an id that must be known by now.

    Raises:
        ConnectionIncomplete: It is None, because the resource is gone or in conflict.
    """
    if resource_id is None:
        raise ConnectionIncomplete(
            "An object of the connection is gone or in conflict. Plan the connection again to see which."
        )
    return resource_id


def _pairs(
    wanted: Json, existing: Mapping[str, Any], base: str = ""
) -> Iterator[tuple[str, Json, Json | None]]:
    """Yield the path of every wanted property with its body and the existing one, also inside arrays."""
    for name, body in wanted.items():
        other = existing.get(name)
        yield f"{base}{name}", body, other
        inner = (body.get("items") or {}).get("properties")
        if inner and other is not None and _type_of(other) == _type_of(body):
            other_inner = (other.get("items") or {}).get("properties") or {}
            yield from _pairs(inner, other_inner, f"{base}{name}/items/properties/")


def _type_of(field: Mapping[str, Any]) -> str:
    """Return a field's format or type; for an array, also that of its items."""
    name = str(field.get("format") or field.get("type"))
    return f"{name} of {_type_of(field['items'])}" if isinstance(field.get("items"), dict) else name


def _leaf(path: str) -> str:
    return path.rpartition("/")[2]


def _some(names: list[str]) -> str:
    listed = ", ".join(_leaf(name) for name in names[:4])
    return listed if len(names) <= 4 else f"{listed} and {len(names) - 4} more"
