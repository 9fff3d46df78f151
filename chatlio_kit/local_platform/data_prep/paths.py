"""Paths into records and schemas: steps by name, by index, or over every element of an array."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .values import ExpressionError

WILDCARD = -1
"""The step for every element of an array, written `[*]`."""

Step = str | int
Path = tuple[Step, ...]
Write = Callable[[dict[str, Any], Any], None]

_DESTINATION_STEP = re.compile(
    r"(?P<name>(?:[^.\[\]\\]|\\\.)+)(?P<indexes>(?:\[(?:\*|[0-9]{1,4})\])*)(?:\.(?!$)|$)"
)


class Missing:
    """The type of `MISSING`, a placeholder for a value that a record does not have."""


MISSING = Missing()


def path_text(path: Iterable[Step]) -> str:
    """Return a path as mappings write it."""
    text = ""
    for step in path:
        if isinstance(step, str):
            text += ("." if text else "") + step.replace(".", "\\.")
        else:
            text += "[*]" if step == WILDCARD else f"[{step}]"
    return text


def destination_path(text: str) -> Path:
    """Parse a destination path; raise `ExpressionError` if it is not one."""
    steps: list[Step] = []
    at = 0
    while at < len(text):
        match = _DESTINATION_STEP.match(text, at)
        if match is None:
            break
        steps.append(match["name"].replace("\\.", "."))
        steps.extend(index_step(index) for index in re.findall(r"\[([^\]]+)\]", match["indexes"]))
        at = match.end()
    if not steps or at < len(text):
        raise ExpressionError(f"destination {text!r} is not a path", "INVALID_DESTINATION")
    return tuple(steps)


def index_step(text: str) -> int:
    """Parse the content of brackets."""
    return WILDCARD if text == "*" else int(text)


def read(value: Any, path: Path) -> Any:
    """Return the value at a path; `MISSING` if there is none.

    With a wildcard, return a list with one entry for each element: `MISSING` for an element that lacks the
    rest of the path.
    """
    for position, step in enumerate(path):
        if isinstance(step, str):
            if not isinstance(value, Mapping) or step not in value:
                return MISSING
            value = value[step]
        elif not isinstance(value, list):
            return MISSING
        elif step == WILDCARD:
            return [read(element, path[position + 1 :]) for element in value]
        elif step < len(value):
            value = value[step]
        else:
            return MISSING
    return value


def writer(path: Path) -> Write:
    """Return the writer for a destination path without wildcards."""
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
    """Return the container at a step, creating it if missing; an array is filled up to that index."""
    if isinstance(step, int):
        node.extend(container() for _ in range(step + 1 - len(node)))
        return node[step]
    return node.setdefault(step, container())
