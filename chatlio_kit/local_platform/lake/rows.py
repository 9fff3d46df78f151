"""Writing a value into a row at its destination path, making the objects and arrays on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..data_prep.paths import Path

Write = Callable[[dict[str, Any], Any], None]


def writer(path: Path) -> Write:
    """Make the writer for one destination path without wildcards."""
    *before, last = path
    if not before and isinstance(last, str):
        return lambda row, value: row.__setitem__(last, value)
    if len(before) == 1 and isinstance(before[0], str) and isinstance(last, str):
        return _into_object(before[0], last)

    def write(row: dict[str, Any], value: Any) -> None:
        node: Any = row
        for step, following in zip(before, path[1:], strict=True):
            node = _entered(node, step, list if isinstance(following, int) else dict)
        if isinstance(last, int):
            node.extend([None] * (last + 1 - len(node)))
        node[last] = value

    return write


def _into_object(parent: str, name: str) -> Write:
    def write(row: dict[str, Any], value: Any) -> None:
        if parent in row:
            row[parent][name] = value
        else:
            row[parent] = {name: value}

    return write


def _entered(node: Any, step: str | int, container: Callable[[], Any]) -> Any:
    """Give the container at a step, made when it is not there; an array gets one at every place before."""
    if isinstance(step, int):
        node.extend(container() for _ in range(step + 1 - len(node)))
        return node[step]
    return node.setdefault(step, container())
