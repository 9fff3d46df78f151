"""The shared objects of a connection: how each is looked for, judged, made and brought up to date."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from chatlio_kit.aep import to_int
from chatlio_kit.aep.schema_registry import PLURALS, ResourceType
from chatlio_kit.connection.objects.blueprint import EVENT_CLASS, Json
from chatlio_kit.connection.objects.survey import Survey
from chatlio_kit.errors import ConnectionIncomplete


class Action(StrEnum):
    """What becomes of an object."""

    REUSE = "reuse"
    CREATE = "create"
    UPDATE = "update"
    CONFLICT = "conflict"


@dataclass(frozen=True)
class ObjectState:
    """How an object stands: what is to be done with it, why, and its id if it is there."""

    action: Action
    reason: str
    id: str | None = None


class SharedObject(ABC):
    """One object of a connection.

    Attributes:
        thing: what it is, e.g. ``schema``.
        name: its name on the platform.
    """

    thing: ClassVar[str]

    def __init__(self, site: Survey, name: str) -> None:
        self.site = site
        self.name = name

    @abstractmethod
    def look(self) -> ObjectState:
        """Look for the object, note its id for the pieces after it, and judge it. Reads only."""

    @abstractmethod
    def make(self) -> str:
        """Create the object, note its id, and give it."""

    @abstractmethod
    def mend(self) -> None:
        """Bring the object, found by the last look, up to date."""

    def alike(self) -> list[str]:
        """List the ids of all objects that this one could be, the oldest first. Reads only.

        There is none beside the one that was made where the platform keeps names unique.
        """
        return []

    def withdraw(self, made: str) -> None:
        """Remove an object that this process has just made, and that another one has made before.

        Args:
            made: its id.
        """
        raise NotImplementedError(f"the {self.thing} {made} has no double, since its name is unique")


class _Registered(SharedObject):
    """A field group or schema, found by its title."""

    resource: ClassVar[ResourceType]

    def __init__(self, site: Survey, name: str) -> None:
        super().__init__(site, name)
        self._found: Json | None = None

    def _find(self) -> ObjectState | None:
        """Look for the title; a standing means that the judgement is done."""
        self._found = self.site.registered(self.resource, self.name)
        if self._found is None:
            taken = self.site.title_taken(self.resource, self.name)
            if taken:
                words = f"the title is taken among the {PLURALS[taken[0]]}; choose another name"
                return ObjectState(Action.CONFLICT, words, taken[1])
            return ObjectState(Action.CREATE, "not there yet")
        if not self.site.naming.owns(self._found.get("description")):
            return ObjectState(
                Action.CONFLICT,
                f"the title is taken by a {self.thing} that is not ours; choose another name",
                str(self._found["$id"]),
            )
        self._note_change(self._found)
        return None

    def _note_change(self, resource: Json) -> None:
        """Note when a resource was changed after it was made: each change raises its version."""
        if str(resource.get("version") or "1.0") != "1.0":
            metadata = resource.get("meta:registryMetadata") or {}
            changed = to_int(metadata.get("repo:lastModifiedDate"))
            self.site.schema_changed_at = max(self.site.schema_changed_at, changed)


class FieldGroupObject(_Registered):
    """The field group, which holds every field that the catalogue sends."""

    thing: ClassVar[str] = "field group"
    resource: ClassVar[ResourceType] = "fieldgroups"

    def look(self) -> ObjectState:
        """Judge whether every field is there with its type."""
        self.site.field_group_id = None
        judged = self._find()
        if judged or self._found is None:
            return judged or ObjectState(Action.CREATE, "not there yet")
        found_id = str(self._found["$id"])
        place = self._place()
        if place is None:
            return ObjectState(Action.CONFLICT, "it no longer holds the chatlio object", found_id)
        self.site.field_group_id = found_id
        there = self._properties(place)
        missing, differing = self._compared(there)
        if differing:
            reason = f"{_some(differing)}; a field never changes its type: choose another name"
            return ObjectState(Action.CONFLICT, reason, found_id)
        if missing:
            return ObjectState(Action.UPDATE, f"to be added: {_some(sorted(missing))}", found_id)
        more = sorted(set(there) - set(self.site.design.chatlio_properties()))
        kept = f", and keeps what this version does not send: {_some(more)}" if more else ""
        return ObjectState(Action.REUSE, f"has every field{kept}", found_id)

    def make(self) -> str:
        """Create the field group."""
        made = self.site.platform.schemas.create(self.resource, self.site.design.field_group())
        self.site.field_group_id = str(made["$id"])
        return self.site.field_group_id

    def mend(self) -> None:
        """Add the missing fields; what a dataset uses may only grow."""
        place = known(self._place())
        missing, _ = self._compared(self._properties(place))
        base = f"/definitions/{place}/properties/{self.site.design.tenant}/properties/chatlio/properties"
        operations = [
            {"op": "add", "path": f"{base}/{path}", "value": body} for path, body in missing.items()
        ]
        registry = self.site.platform.schemas
        self._note_change(registry.patch(self.resource, known(self.site.field_group_id), operations))

    def _place(self) -> str | None:
        """Name the definition that holds our object."""
        definitions = (self._found or {}).get("definitions") or {}
        return next((name for name in definitions if self._properties(name)), None)

    def _properties(self, place: str) -> Json:
        node: Any = (self._found or {}).get("definitions", {}).get(place)
        for step in (self.site.design.tenant, "chatlio"):
            node = ((node or {}).get("properties") or {}).get(step)
        return (node or {}).get("properties") or {}

    def _compared(self, there: Json) -> tuple[dict[str, Json], list[str]]:
        missing: dict[str, Json] = {}
        differing: list[str] = []
        for path, wanted, found in _pairs(self.site.design.chatlio_properties(), there):
            if found is None:
                missing[path] = wanted
            elif _type_of(found) != _type_of(wanted):
                differing.append(f"{_leaf(path)} is {_type_of(found)} there and {_type_of(wanted)} here")
        return missing, differing


class SchemaObject(_Registered):
    """The schema: the event class and our field group."""

    thing: ClassVar[str] = "schema"
    resource: ClassVar[ResourceType] = "schemas"

    def look(self) -> ObjectState:
        """Judge whether it has our class and our field group."""
        self.site.schema_id = None
        judged = self._find()
        if judged or self._found is None:
            return judged or ObjectState(Action.CREATE, "not there yet")
        found_id = str(self._found["$id"])
        parts = {str(part.get("$ref")) for part in self._found.get("allOf") or [] if isinstance(part, dict)}
        if EVENT_CLASS not in parts:
            return ObjectState(Action.CONFLICT, "it is not of the class ExperienceEvent", found_id)
        self.site.schema_id = found_id
        if self.site.field_group_id not in parts:
            return ObjectState(Action.UPDATE, "to be added: the field group", found_id)
        return ObjectState(Action.REUSE, "has the class and the field group", found_id)

    def make(self) -> str:
        """Create the schema."""
        body = self.site.design.schema(known(self.site.field_group_id))
        self.site.schema_id = str(self.site.platform.schemas.create(self.resource, body)["$id"])
        return self.site.schema_id

    def mend(self) -> None:
        """Add the field group."""
        registry = self.site.platform.schemas
        self._note_change(
            registry.add_field_group(known(self.site.schema_id), known(self.site.field_group_id))
        )


class DatasetObject(SharedObject):
    """The dataset in which all events land, live and from files."""

    thing: ClassVar[str] = "dataset"

    def look(self) -> ObjectState:
        """Judge whether it is ours and has our schema."""
        self.site.dataset_id = None
        named = self.site.platform.catalog.datasets(self.name)
        ours = self._ours(named)
        if not ours:
            beside = "; another dataset of that name is not ours and stays as it is" if named else ""
            return ObjectState(Action.CREATE, f"not there yet{beside}")
        found_id = next(iter(ours))
        if len(ours) > 1:  # the one that our dataflows write to
            used = self.site.used_datasets()
            found_id = next((each for each in ours if each in used), found_id)
        body = ours[found_id]
        if (body.get("schemaRef") or {}).get("id") != self.site.schema_id:
            return ObjectState(
                Action.CONFLICT,
                "it has another schema; rename or delete it, or choose another name",
                found_id,
            )
        self.site.dataset_id = found_id
        return ObjectState(Action.REUSE, "has the schema", found_id)

    def make(self) -> str:
        """Create the dataset."""
        body = self.site.design.dataset(known(self.site.schema_id))
        self.site.dataset_id = self.site.platform.catalog.create_dataset(body)
        return self.site.dataset_id

    def mend(self) -> None:
        """Do nothing: a dataset is right or in conflict."""

    def alike(self) -> list[str]:
        """List our datasets of this name, the oldest first."""
        return list(self._ours(self.site.platform.catalog.datasets(self.name)))

    def withdraw(self, made: str) -> None:
        """Remove a dataset that holds nothing."""
        catalog = self.site.platform.catalog
        if not any(True for _ in catalog.batches(made)):
            catalog.delete_dataset(made)

    def _ours(self, named: Mapping[str, Json]) -> dict[str, Json]:
        ours = [(key, body) for key, body in named.items() if self.site.naming.owns(body.get("description"))]
        return dict(sorted(ours, key=lambda item: (to_int(item[1].get("created")), item[0])))


def shared_objects(site: Survey) -> list[SharedObject]:
    """Give the objects that all dataflows share, each after what it needs."""
    naming = site.naming
    return [
        FieldGroupObject(site, naming.shared("field group")),
        SchemaObject(site, naming.shared("schema")),
        DatasetObject(site, naming.shared("dataset")),
    ]


def _pairs(wanted: Json, there: Mapping[str, Any], base: str = "") -> Iterator[tuple[str, Json, Json | None]]:
    """Pair every wanted property with the one that is there, into arrays of objects."""
    for name, body in wanted.items():
        found = there.get(name)
        yield f"{base}{name}", body, found
        inner = (body.get("items") or {}).get("properties")
        if inner and found is not None and _type_of(found) == _type_of(body):
            found_inner = (found.get("items") or {}).get("properties") or {}
            yield from _pairs(inner, found_inner, f"{base}{name}/items/properties/")


def _type_of(field: Mapping[str, Any]) -> str:
    """Name a field's type with its format, and an array's with that of its items."""
    name = str(field.get("format") or field.get("type"))
    return f"{name} of {_type_of(field['items'])}" if isinstance(field.get("items"), dict) else name


def _leaf(path: str) -> str:
    return path.rpartition("/")[2]


def _some(names: list[str]) -> str:
    shown = ", ".join(_leaf(name) for name in names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"


def known(found_id: str | None) -> str:
    """Give an id that must be there by now.

    Raises:
        ConnectionIncomplete: it is not: the object before this one is gone.
    """
    if found_id is None:
        raise ConnectionIncomplete(
            "An object of the connection is gone or in conflict. Plan the connection again to see which."
        )
    return found_id
