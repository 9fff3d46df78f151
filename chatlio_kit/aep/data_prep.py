"""Data Prep: mapping sets, and previews of their results.

Source: Data Prep API guide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from chatlio_kit.aep.transport import Api, Json, Parameters, in_path, objects_in, to_int


class MappingSets(Api):
    """Creates, reads, replaces, deletes, validates and previews mapping sets."""

    service: ClassVar[str] = "Data Prep"
    base: ClassVar[str] = "/data/foundation/conversion"

    def create(self, body: Json) -> tuple[str, int]:
        """Create a mapping set and return its id and version, which starts at 0."""
        operation = f"create the mapping set {body.get('name', '')!r}"
        answer = self._ask_object(operation, "POST", "/mappingSets", body=body)
        return self._text(operation, answer, "id"), to_int(answer.get("version"))

    def get(self, mapping_set_id: str) -> Json:
        """Return a mapping set.

        Raises:
            NotFound: It does not exist.
        """
        return self._ask_object("read the mapping set", "GET", f"/mappingSets/{in_path(mapping_set_id)}")

    def replace(self, mapping_set_id: str, body: Json) -> int:
        """Replace a mapping set and return its new version; a dataflow keeps the version that it names."""
        operation = f"replace the mapping set {body.get('name', '')!r}"
        path = f"/mappingSets/{in_path(mapping_set_id)}"
        return to_int(self._ask_object(operation, "PUT", path, body=body).get("version"))

    def delete(self, mapping_set_id: str) -> None:
        """Delete a mapping set. The call exists although the API reference does not list it."""
        self._call("delete the mapping set", "DELETE", f"/mappingSets/{in_path(mapping_set_id)}")

    def find(self, name: str | None = None) -> Iterator[Json]:
        """List all mapping sets, or those with a name."""
        query: Parameters = [] if name is None else [("name", name)]
        mapping_sets = self._ask_pages(
            "list the mapping sets", "/mappingSets", lambda answer: objects_in(answer, "data"), query
        )
        return (item for item in mapping_sets if name is None or item.get("name") == name)

    def preview(self, records: Sequence[Json], body: Json) -> list[Json]:
        """Map records without storing them; return ``{"data": {...}, "errors": [...]}`` for each.

        The guide documents an array of such objects, the reference a single object; both are accepted.
        """
        operation = "preview the mapping set"
        answer = self._ask(
            operation,
            "POST",
            "/mappingSets/preview",
            body={"data": list(records), "mappingSet": body},
            repeatable=True,
        )
        mapped = answer if isinstance(answer, list) else [answer]
        if len(mapped) != len(records) or not all(isinstance(result, dict) for result in mapped):
            raise self.unexpected(operation, f"its response does not contain {len(records)} records")
        return [_preview(result) for result in mapped]


def _preview(result: Json) -> Json:
    if "data" not in result and "errors" not in result:
        return {"data": result, "errors": []}
    return {"data": result.get("data") or {}, "errors": result.get("errors") or []}
