"""The body of every object of a connection, derived from the catalogue.

Sources: Schema Registry: field groups and schemas; Catalog: create a dataset; Data Prep: mapping sets;
Create a Chatlio source connection and dataflow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, ClassVar

from chatlio_kit.chatlio.catalogue import MESSAGES_KEY, Dtype, Field, nested_fields, sent_fields
from chatlio_kit.chatlio.identities import HASHED_EMAIL, TRAITS, Identity
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection.resources.mappings import is_ours, mappings
from chatlio_kit.connection.resources.names import ResourceNames, Role, in_words
from chatlio_kit.connection.resources.people import People

Json = dict[str, Any]

IDENTITY_DESCRIPTOR = "xdm:descriptorIdentity"
EVENT_CLASS = "https://ns.adobe.com/xdm/context/experienceevent"
SOURCE_SPEC = "073127a3-26e3-496c-9d94-9f48fb93fba8"  # Chatlio
SOURCE_PROVIDER = "521eee4d-8cbe-4906-bb48-fb6bd4450033"
TARGET_SPEC = "c604ff05-7f1a-43c0-8e18-33bf874cb11c"  # the data lake
FLOW_SPEC = "e77fde5a-22a8-11ed-861d-0242ac120002"  # streaming with a mapping

_SCHEMA_VERSION = "application/vnd.adobe.xed-full+json;version=1"
_DATASET_SCHEMA = "application/vnd.adobe.xed+json;version=1"

_TYPES: dict[Dtype, Json] = {
    Dtype.TEXT: {"type": "string"},
    Dtype.JSON: {"type": "string"},
    Dtype.TIME: {"type": "string", "format": "date-time"},
    Dtype.INTEGER: {"type": "integer"},
    Dtype.NUMBER: {"type": "number"},
    Dtype.FLAG: {"type": "boolean"},
}


@dataclass(frozen=True)
class Blueprint:
    """Bodies of all objects of one connection.

    XDM fields have no patterns, because a row with an odd value is better than a lost row.

    Attributes:
        naming: Names and mark.
        tenant_id: The tenant's id, without underscore.
        people: The identities in its events, and their use in Profile.
    """

    naming: ResourceNames
    tenant_id: str
    people: People = field(default_factory=People)

    default_people: ClassVar[People] = People()
    adobe_groups: ClassVar[Mapping[str, Set[str]]] = {}
    """Adobe's field groups in its schema, by ``$id``, with the paths that are written there."""

    @property
    def dataflows(self) -> Sequence[tuple[Role, Kind]]:
        """Role and kind of every dataflow that it can have."""
        return [(role, kind) for role in Role for kind in Kind]

    @property
    def described(self) -> tuple[Identity, ...]:
        """The identities whose fields get a descriptor."""
        if self.people.profile:
            return ()
        # a trait is inside a JSON string, and the hash of an address is in no field
        return tuple(
            identity
            for identity in self.people.identities
            if not identity.field.startswith(TRAITS) and identity.namespace != HASHED_EMAIL
        )

    def trial(self) -> list[tuple[Json, Json]]:
        """Return wire records with the results expected of a mapping; empty if the catalogue defines them."""
        return []

    @property
    def tenant(self) -> str:
        """The name of the object that holds the tenant's fields."""
        return f"_{self.tenant_id}"

    def chatlio_properties(self) -> Json:
        """Return the XDM properties of the ``chatlio`` object."""
        properties = properties_of(field for field in sent_fields() if is_ours(field))
        properties[MESSAGES_KEY] = {
            "type": "array",
            "title": "Chat messages",
            "description": "The messages of a transcript, in order",
            "items": {"type": "object", "properties": properties_of(nested_fields())},
        }
        return properties

    def field_group(self) -> Json:
        """Return the body of the field group."""
        chatlio = {
            "type": "object",
            "title": "Chatlio",
            "description": "Chatlio's data about a live chat",
            "properties": self.chatlio_properties(),
        }
        tenant = {"type": "object", "properties": {"chatlio": chatlio}}
        return {
            "type": "object",
            "title": self.naming.shared("field group"),
            "description": self.naming.describe("Fields of Chatlio live-chat events."),
            "meta:intendedToExtend": [EVENT_CLASS],
            "definitions": {"customFields": {"type": "object", "properties": {self.tenant: tenant}}},
            "allOf": [{"$ref": "#/definitions/customFields"}],
        }

    def schema(self, field_group_id: str) -> Json:
        """Return the body of the schema: the event class and our field group."""
        return {
            "type": "object",
            "title": self.naming.shared("schema"),
            "description": self.schema_description,
            "allOf": [{"$ref": part} for part in (EVENT_CLASS, *self.field_groups(field_group_id))],
        }

    def field_groups(self, field_group_id: str) -> tuple[str, ...]:
        """Return the ids of the schema's field groups: Adobe's, and ours."""
        return (*self.adobe_groups, field_group_id)

    @property
    def schema_description(self) -> str:
        """The schema's description, which also holds the connection's settings for people."""
        return self.naming.describe(self.people.described("Chatlio live-chat events."))

    def descriptor(self, schema_id: str, identity: Identity) -> Json:
        """Return the body of an identity descriptor, by which privacy jobs find rows; it is never primary."""
        return {
            "@type": IDENTITY_DESCRIPTOR,
            "xdm:sourceSchema": schema_id,
            "xdm:sourceVersion": 1,
            "xdm:sourceProperty": f"/{self.tenant}/chatlio/{identity.field}",
            "xdm:namespace": identity.namespace,
            "xdm:property": "xdm:code",
            "xdm:isPrimary": False,
        }

    def dataset(self, schema_id: str) -> Json:
        """Return the body of the dataset."""
        tags = {"unifiedProfile": ["enabled:true"], "unifiedIdentity": ["enabled:true"]}
        return {
            **({"tags": tags} if self.people.profile else {}),
            "name": self.naming.dataset,
            "description": self.naming.describe("Chatlio live-chat events, live and from files."),
            "schemaRef": {"id": schema_id, "contentType": _DATASET_SCHEMA},
            "fileDescription": {"persisted": True, "containerFormat": "parquet", "format": "parquet"},
        }

    def mapping_set(self, role: Role, kind: Kind, schema_id: str, people: People | None = None) -> Json:
        """Return the body of a dataflow's mapping set.

        Args:
            role: Live or history.
            kind: The kind of its events.
            schema_id: The schema.
            people: Settings for people; by default the connection's.
        """
        return {
            "name": self.naming.own("mapping set", role, kind),
            "description": self._described(role, kind),
            "outputSchema": {"schemaRef": {"id": schema_id, "contentType": _SCHEMA_VERSION}},
            "mappings": [
                mapping.body for mapping in mappings(role, kind, self.tenant, people or self.people)
            ],
        }

    def source(self, role: Role, kind: Kind) -> Json:
        """Return the body of a dataflow's source connection."""
        return {
            "name": self.naming.own("source", role, kind),
            "description": self._described(role, kind),
            "providerId": SOURCE_PROVIDER,
            "connectionSpec": {"id": SOURCE_SPEC, "version": "1.0"},
            "data": {"format": "json"},
        }

    def target(self, role: Role, kind: Kind, schema_id: str, dataset_id: str) -> Json:
        """Return the body of a dataflow's target connection."""
        return {
            "name": self.naming.own("target", role, kind),
            "description": self._described(role, kind),
            "connectionSpec": {"id": TARGET_SPEC, "version": "1.0"},
            "data": {"format": "json", "schema": {"id": schema_id, "version": _SCHEMA_VERSION}},
            "params": {"dataSetId": dataset_id},
        }

    def flow(self, role: Role, kind: Kind, source_id: str, target_id: str, transformation: Json) -> Json:
        """Return the body of a dataflow."""
        return {
            "name": self.naming.own("dataflow", role, kind),
            "description": self._described(role, kind),
            "flowSpec": {"id": FLOW_SPEC, "version": "1.0"},
            "sourceConnectionIds": [source_id],
            "targetConnectionIds": [target_id],
            "transformations": [transformation],
        }

    def _described(self, role: Role, kind: Kind) -> str:
        when = "as Chatlio sends them" if role is Role.LIVE else "from captured webhooks"
        return self.naming.describe(f"Chatlio events of the kind {in_words(kind)}, {when}.")


def transformation(mapping_set_id: str, version: int) -> Json:
    """Return the step of a dataflow that applies a mapping set; its name is fixed."""
    return {"name": "Mapping", "params": {"mappingId": mapping_set_id, "mappingVersion": version}}


def properties_of(fields: Iterable[Field]) -> Json:
    """Return the XDM properties of catalogue fields."""
    return {
        (field.xdm or field.name).rpartition(".")[2]: {
            **_TYPES[field.dtype],
            "title": field.name.replace("_", " ").capitalize(),
            "description": field.meaning,
        }
        for field in fields
    }
