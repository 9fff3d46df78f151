"""Schema Registry: field groups and schemas of the tenant.

Source: Schema Registry API guide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from chatlio_kit.aep.transport import Api, Json, Parameters, in_path, objects_in

ResourceType = Literal["fieldgroups", "schemas", "classes", "datatypes"]

RESOURCE_TYPES: tuple[ResourceType, ...] = ("fieldgroups", "schemas", "classes", "datatypes")
"""Titles are unique across all of these (Schema Registry: troubleshooting guide)."""

_LIST = {"Accept": "application/vnd.adobe.xed-id+json"}
_DESCRIPTORS = {"Accept": "application/vnd.adobe.xdm+json"}
_LOOKUP = {"Accept": "application/vnd.adobe.xed+json; version=1"}
_RESOLVED = {"Accept": "application/vnd.adobe.xed-full+json; version=1"}
_SINGULARS: dict[ResourceType, str] = {
    "fieldgroups": "field group",
    "schemas": "schema",
    "classes": "class",
    "datatypes": "data type",
}
PLURALS: dict[ResourceType, str] = {
    "fieldgroups": "field groups",
    "schemas": "schemas",
    "classes": "classes",
    "datatypes": "data types",
}
_PAGE = 300


class SchemaRegistry(Api):
    """Reads, creates and extends field groups and schemas in the tenant container."""

    service: ClassVar[str] = "Schema Registry"
    base: ClassVar[str] = "/data/foundation/schemaregistry"

    def tenant_id(self) -> str:
        """Return the tenant id; the tenant's fields are in an object named by an underscore and this id."""
        operation = "read the tenant id"
        return self._text(operation, self._ask_object(operation, "GET", "/stats"), "tenantId")

    def titles(self, resource_type: ResourceType) -> Iterator[Json]:
        """List ``$id``, ``meta:altId``, ``version`` and ``title`` of every resource of a type in the tenant.

        ``start`` is a value cursor, the last title seen, and ``null`` ends the list (Appendix).
        """
        cursor: str | None = None
        while True:
            query: Parameters = [("orderby", "title"), ("limit", _PAGE)]
            if cursor is not None:
                query = [*query, ("start", cursor)]
            operation = f"list the {PLURALS[resource_type]}"
            answer = self._ask_object(
                operation, "GET", f"/tenant/{resource_type}", query=query, headers=_LIST
            )
            yield from answer.get("results") or []
            following = (answer.get("_page") or {}).get("next")
            if following is None or following == cursor:
                return
            cursor = str(following)

    def get(self, resource_type: ResourceType, resource_id: str) -> Json:
        """Return a resource by ``$id`` or ``meta:altId``, with references unresolved.

        Raises:
            NotFound: It does not exist.
        """
        return self._ask_object(
            f"read the {_SINGULARS[resource_type]}",
            "GET",
            f"/tenant/{resource_type}/{in_path(resource_id)}",
            headers=_LOOKUP,
        )

    def adobe_field_group(self, group_id: str) -> Json:
        """Return one of Adobe's field groups by ``$id``, with references resolved.

        Raises:
            NotFound: It does not exist, or the organisation is not enabled for it.
        """
        operation, path = "read Adobe's field group", f"/global/fieldgroups/{in_path(group_id)}"
        return self._ask_object(operation, "GET", path, headers=_RESOLVED)

    def create(self, resource_type: ResourceType, body: Json) -> Json:
        """Create a resource and return it as stored, with its ``$id``.

        Raises:
            Conflict: Its title is taken.
        """
        operation = f"create the {_SINGULARS[resource_type]} {body.get('title', '')!r}"
        answer = self._ask_object(operation, "POST", f"/tenant/{resource_type}", body=body)
        self._text(operation, answer, "$id")
        return answer

    def patch(self, resource_type: ResourceType, resource_id: str, operations: Sequence[Json]) -> Json:
        """Update a resource by RFC 6902 operations and return it."""
        return self._ask_object(
            f"change the {_SINGULARS[resource_type]}",
            "PATCH",
            f"/tenant/{resource_type}/{in_path(resource_id)}",
            body=list(operations),
        )

    def enable_for_profile(self, schema_id: str) -> Json:
        """Add a schema to the union of its class, which cannot be undone, and return it.

        Raises:
            PlatformError: It has neither a primary identity nor an identity map, or its fields do not fit.
        """
        return self.patch(
            "schemas", schema_id, [{"op": "add", "path": "/meta:immutableTags", "value": ["union"]}]
        )

    def descriptors(self, descriptor_type: str) -> list[Json]:
        """List the descriptors of a type, e.g. ``xdm:descriptorIdentity``; empty if there are none."""
        answer = self._ask_object("list the descriptors", "GET", "/tenant/descriptors", headers=_DESCRIPTORS)
        return objects_in(answer, descriptor_type)

    def create_descriptor(self, body: Json) -> str:
        """Create a descriptor and return its id."""
        operation = f"describe the field {body.get('xdm:sourceProperty', '')}"
        return self._text(
            operation, self._ask_object(operation, "POST", "/tenant/descriptors", body=body), "@id"
        )

    def delete_descriptor(self, descriptor_id: str) -> None:
        """Delete a descriptor."""
        self._call("delete the descriptor", "DELETE", f"/tenant/descriptors/{in_path(descriptor_id)}")

    def add_field_group(self, schema_id: str, field_group_id: str) -> Json:
        """Add a field group to a schema."""
        return self.patch(
            "schemas", schema_id, [{"op": "add", "path": "/allOf/-", "value": {"$ref": field_group_id}}]
        )
