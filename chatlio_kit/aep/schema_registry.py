"""Schema Registry: field groups and schemas of the tenant.

Source: Schema Registry API guide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from chatlio_kit.aep.transport import Api, Json, Parameters, in_path

Resource = Literal["fieldgroups", "schemas", "classes", "datatypes"]

RESOURCES: tuple[Resource, ...] = ("fieldgroups", "schemas", "classes", "datatypes")
"""Titles are unique across all of these (Schema Registry: troubleshooting guide)."""

_LIST = {"Accept": "application/vnd.adobe.xed-id+json"}
_LOOKUP = {"Accept": "application/vnd.adobe.xed+json; version=1"}
_WORDS: dict[Resource, str] = {
    "fieldgroups": "field group",
    "schemas": "schema",
    "classes": "class",
    "datatypes": "data type",
}
PLURALS: dict[Resource, str] = {
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
        """Give the tenant id; fields of the tenant live under an underscore and this id."""
        operation = "tell the tenant id"
        return self._text(operation, self._ask_object(operation, "GET", "/stats"), "tenantId")

    def titles(self, resource: Resource) -> Iterator[Json]:
        """List ``$id``, ``meta:altId``, ``version`` and ``title`` of every tenant resource of a type.

        ``start`` is a value cursor, the last title seen, and ``null`` ends the list (Appendix).
        """
        cursor: str | None = None
        while True:
            query: Parameters = [("orderby", "title"), ("limit", _PAGE)]
            if cursor is not None:
                query = [*query, ("start", cursor)]
            operation = f"list the {PLURALS[resource]}"
            answer = self._ask_object(operation, "GET", f"/tenant/{resource}", query=query, headers=_LIST)
            yield from answer.get("results") or []
            following = (answer.get("_page") or {}).get("next")
            if following is None or following == cursor:
                return
            cursor = str(following)

    def find(self, resource: Resource, title: str) -> Json | None:
        """Find a resource by its title, which is unique in a tenant; None when there is none."""
        for each in self.titles(resource):
            if each.get("title") == title:
                return self.get(resource, str(each["$id"]))
        return None

    def get(self, resource: Resource, resource_id: str) -> Json:
        """Look a resource up by ``$id`` or ``meta:altId``, with its references as they were sent.

        Raises:
            NotFound: there is none.
        """
        return self._ask_object(
            f"read the {_WORDS[resource]}",
            "GET",
            f"/tenant/{resource}/{in_path(resource_id)}",
            headers=_LOOKUP,
        )

    def create(self, resource: Resource, body: Json) -> Json:
        """Create a resource and give it as it is kept, with its ``$id``.

        Raises:
            Conflict: its title is taken.
        """
        operation = f"create the {_WORDS[resource]} {body.get('title', '')!r}"
        answer = self._ask_object(operation, "POST", f"/tenant/{resource}", body=body)
        self._text(operation, answer, "$id")
        return answer

    def patch(self, resource: Resource, resource_id: str, operations: Sequence[Json]) -> Json:
        """Change a resource by RFC 6902 operations and give it as it is now."""
        return self._ask_object(
            f"change the {_WORDS[resource]}",
            "PATCH",
            f"/tenant/{resource}/{in_path(resource_id)}",
            body=list(operations),
        )

    def add_field_group(self, schema_id: str, field_group_id: str) -> Json:
        """Add a field group to a schema."""
        return self.patch(
            "schemas", schema_id, [{"op": "add", "path": "/allOf/-", "value": {"$ref": field_group_id}}]
        )

    def delete(self, resource: Resource, resource_id: str) -> None:
        """Delete a resource."""
        self._call(f"delete the {_WORDS[resource]}", "DELETE", f"/tenant/{resource}/{in_path(resource_id)}")
