"""Paths into records and schemas: steps by name, by index, or over every element of an array."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .errors import ExpressionError

WILDCARD = -1
"""The step that stands for every element of an array, written `[*]`."""

Step = str | int
Path = tuple[Step, ...]

_DESTINATION_STEP = re.compile(
    r"(?P<name>(?:[^.\[\]\\]|\\\.)+)(?P<indexes>(?:\[(?:\*|[0-9]{1,4})\])*)(?:\.(?!$)|$)"
)


class Missing:
    """The type of `MISSING`, which stands for a value that a record does not have."""


MISSING = Missing()


def path_text(path: Iterable[Step]) -> str:
    """Write a path as mappings do."""
    text = ""
    for step in path:
        if isinstance(step, str):
            text += ("." if text else "") + step.replace(".", "\\.")
        else:
            text += "[*]" if step == WILDCARD else f"[{step}]"
    return text


def destination_path(text: str) -> Path:
    """Read a destination path; raises `ExpressionError` when it is not one."""
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
    """Read what stands between brackets."""
    return WILDCARD if text == "*" else int(text)


def read(value: Any, path: Path) -> Any:
    """Follow a path; give `MISSING` where a step leads nowhere.

    Over a wildcard the answer is a list with one entry per element, `MISSING` among them where an element
    lacks the rest of the path.
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
