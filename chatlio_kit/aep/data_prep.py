"""Data Prep: mapping sets, and what the mapper makes of a record.

Source: Data Prep API guide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from chatlio_kit.aep.transport import Api, Json, Parameters, in_path

_PAGE = 100


class MappingSets(Api):
    """Creates, reads, replaces, deletes and tries out mapping sets."""

    service: ClassVar[str] = "Data Prep"
    base: ClassVar[str] = "/data/foundation/conversion"

    def create(self, body: Json) -> tuple[str, int]:
        """Create a mapping set; give its id and version, which starts at 0."""
        operation = f"create the mapping set {body.get('name', '')!r}"
        answer = self._ask_object(operation, "POST", "/mappingSets", body=body)
        return self._text(operation, answer, "id"), version_of(answer)

    def get(self, mapping_set_id: str) -> Json:
        """Give a mapping set.

        Raises:
            NotFound: there is none.
        """
        return self._ask_object("read the mapping set", "GET", f"/mappingSets/{in_path(mapping_set_id)}")

    def replace(self, mapping_set_id: str, body: Json) -> int:
        """Replace a mapping set and give its new version; a dataflow keeps the version it was told."""
        operation = f"replace the mapping set {body.get('name', '')!r}"
        path = f"/mappingSets/{in_path(mapping_set_id)}"
        answer = self._ask_object(operation, "PUT", path, body=body)
        return version_of(answer)

    def delete(self, mapping_set_id: str) -> None:
        """Delete a mapping set. The call exists, though the API reference does not list it."""
        self._call("delete the mapping set", "DELETE", f"/mappingSets/{in_path(mapping_set_id)}")

    def find(self, name: str | None = None) -> Iterator[Json]:
        """List mapping sets, all or those of a name; ``limit`` and ``start`` are mandatory."""
        start = 0
        while True:
            query: Parameters = [("limit", _PAGE), ("start", start)]
            if name is not None:
                query = [*query, ("name", name)]
            answer = self._ask_object("list the mapping sets", "GET", "/mappingSets", query=query)
            found = [each for each in answer.get("data") or [] if isinstance(each, dict)]
            yield from (each for each in found if name is None or each.get("name") == name)
            if len(found) < _PAGE:
                return
            start += _PAGE

    def validate(self, body: Json) -> list[str]:
        """Check a mapping set against its schema; give a sentence for each mapping that fails."""
        operation = "validate the mapping set"
        answer = self._ask_object(operation, "POST", "/mappingSets/validate", body=body, repeatable=True)
        verdicts = answer.get("validationResponse")
        if not isinstance(verdicts, list):
            raise self.unexpected(operation, "its answer holds no verdicts")
        problems: list[str] = []
        for verdict in verdicts:
            if str(verdict.get("status", "")).upper() == "SUCCESS":
                continue
            details = verdict.get("errors") or [{}]
            problems += [
                f"{each.get('source')!r} to {each.get('destination')!r}: {each.get('exception') or 'failed'}"
                for each in details
            ]
        return problems

    def preview(self, records: Sequence[Json], body: Json) -> list[Json]:
        """Give what the mapper makes of each record: ``{"data": {...}, "errors": [...]}``.

        The guide documents an array of such objects, the reference a bare one; both are read.
        """
        operation = "preview the mapping set"
        answer = self._ask(
            operation,
            "POST",
            "/mappingSets/preview",
            body={"data": list(records), "mappingSet": body},
            repeatable=True,
        )
        made = answer if isinstance(answer, list) else [answer]
        if len(made) != len(records) or not all(isinstance(each, dict) for each in made):
            raise self.unexpected(operation, f"its answer does not hold {len(records)} records")
        return [_previewed(each) for each in made]


def version_of(mapping_set: Json) -> int:
    """Give a mapping set's version, which is a number in some answers and text in others."""
    return whole_number(mapping_set.get("version"))


def whole_number(value: Any) -> int:
    """Read a number that may come as text; 0 when there is none."""
    try:
        return int(float(value))
    except (TypeError, ValueError):
        return 0


def _previewed(made: Json) -> Json:
    if "data" not in made and "errors" not in made:
        return {"data": made, "errors": []}
    return {"data": made.get("data") or {}, "errors": made.get("errors") or []}
