"""Property filters and sorting: the small query language of the list calls."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Any

from ..store import Json

_COMPARISONS = {"<": lt, ">": gt, "<=": le, ">=": ge}
_FILTER = re.compile(r"(?P<path>[^=!<>~]+)(?:(?P<op>==|!=|<=|>=|<|>|~)(?P<value>.*))?", re.DOTALL)


@dataclass(frozen=True)
class PropertyFilter:
    """A ``property`` parameter; without an operator, it tests whether the property exists."""

    path: str
    operator: str | None
    value: str

    def matches(self, document: Json, *, any_of: bool) -> bool:
        """Return whether the document matches; with ``any_of``, a comma separates alternatives."""
        found = list(values_at(document, self.path))
        if self.operator is None:
            return bool(found)
        wanted = self.value.split(",") if any_of else [self.value]
        equal = any(_as_text(value) in wanted for value in found)
        if self.operator == "==":
            return equal
        if self.operator == "!=":
            return not equal
        return any(_compares(value, self.operator, self.value) for value in found)


def parse_filter(text: str) -> PropertyFilter | None:
    """Parse a ``property`` parameter; None if it is malformed."""
    match = _FILTER.fullmatch(text)
    if match is None or not match["path"].strip():
        return None
    if match["op"] and not match["value"]:
        return None
    return PropertyFilter(match["path"].strip(), match["op"], match["value"] or "")


def values_at(document: Any, path: str) -> Iterator[Any]:
    """Yield the values at a dotted path; ``[]`` after a name steps into an array."""
    if isinstance(document, dict) and path in document:
        yield from _spread(document[path])
        return
    yield from _walk(document, path.split("."))


def _walk(value: Any, steps: list[str]) -> Iterator[Any]:
    if not steps:
        yield from _spread(value)
        return
    name, *rest = steps
    if not isinstance(value, dict):
        return
    child = value.get(name.removesuffix("[]"))
    if name.endswith("[]"):
        for element in child if isinstance(child, list) else []:
            yield from _walk(element, rest)
    elif child is not None and not (isinstance(child, list) and rest):
        yield from _walk(child, rest)


def _spread(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif value is not None:
        yield value


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _compares(value: Any, operator: str, bound: str) -> bool:
    compare: Callable[[Any, Any], bool] = _COMPARISONS[operator]
    if not isinstance(value, int | float) or isinstance(value, bool):
        return compare(_as_text(value), bound)
    try:
        return compare(value, float(bound))
    except ValueError:
        return False


def ordered(documents: list[Json], *orders: tuple[str, bool]) -> list[Json]:
    """Sort documents, passed oldest first, by the values at paths, ascending or (True) descending.

    Documents with equal values, such as those of the same millisecond, are sorted oldest first, or newest
    first if the last path descends.
    """
    newest_first = orders[-1][1]
    result = documents[::-1] if newest_first else documents[:]
    for path, descending in reversed(orders):
        result.sort(key=lambda document: _sort_key(document, path), reverse=descending)
    return result


def _sort_key(document: Json, path: str) -> tuple[int, float, str]:
    """Return a key that sorts values of mixed types at a path, missing values last."""
    value = next(values_at(document, path), None)
    if value is None:
        return (2, 0.0, "")
    if isinstance(value, int | float):
        return (0, float(value), "")
    return (1, 0.0, str(value))
