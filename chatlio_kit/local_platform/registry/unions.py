"""The union of a class: the schemas enabled for Profile, which can never leave it.

Source: Schema Registry API guide, "Unions"; troubleshooting guide; rules of schema evolution.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..store import Json
from .xdm import INVALID, RegistryProblem

TAGS = "meta:immutableTags"
UNION = "union"


def is_in_union(schema: Mapping[str, Any]) -> bool:
    """Return whether a schema is enabled for Profile."""
    return UNION in (schema.get(TAGS) or [])


def problem_of(
    schema: Json, before: Json | None, composed: Json, others: Iterable[tuple[str, Json]], has_primary: bool
) -> RegistryProblem | None:
    """Return the reason why the rules of unions forbid a schema; None if they allow it.

    Args:
        schema: The schema to be stored.
        before: The previous version of the schema, if any.
        composed: The schema, composed.
        others: Title and composed form of the other schemas in the union of the class.
        has_primary: True if the schema has a primary identity descriptor.
    """
    tags = schema.get(TAGS, [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        return RegistryProblem(*INVALID, f"{TAGS} must be a list of texts")
    strangers = [key for key in schema if key.startswith("meta:immutable") and key != TAGS]
    if strangers:
        return RegistryProblem(*INVALID, f"A schema has no {strangers[0]}")
    if not is_in_union(schema):
        if before is not None and is_in_union(before):
            return RegistryProblem(*INVALID, "A schema never leaves its union")
        return None
    if not has_primary and "identityMap" not in composed.get("properties", {}):
        title = "Union descriptor validation error"
        return RegistryProblem("XDM-1528-400", title, "The schema has no primary identity and no identityMap")
    mine = dict(_types(composed, ""))
    for title, other in others:
        for path, kind in _types(other, ""):
            if mine.get(path, kind) != kind:
                detail = f"{path} is {mine[path]} here and {kind} in {title}"
                return RegistryProblem("XDM-1413-400", "Merge Schema Error", detail)
    return None


def _types(node: Json, path: str) -> Iterator[tuple[str, str]]:
    for name, child in (node.get("properties") or {}).items():
        here = f"{path}/{name}"
        yield here, str(child.get("meta:xdmType") or child.get("type"))
        yield from _types(child, here)
        if isinstance(child.get("items"), dict):
            yield f"{here}[*]", str(child["items"].get("meta:xdmType") or child["items"].get("type"))
            yield from _types(child["items"], f"{here}[*]")
