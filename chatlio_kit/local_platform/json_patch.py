"""RFC 6902 patches, as far as Experience Platform documents them: add, replace and remove."""

from __future__ import annotations

import copy
from typing import Any

from .store import Json


class PatchProblem(ValueError):
    """A patch that cannot be applied; ``kind`` is ``body``, ``op`` or ``path``."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def apply_patch(document: Json, patch: Any) -> Json:
    """The document after the patch; the one given stays as it is.

    Raises:
        PatchProblem: when an operation is unknown or its path leads nowhere.
    """
    if not isinstance(patch, list) or not patch:
        raise PatchProblem("body", "The body must be a non-empty array of patch operations")
    changed = copy.deepcopy(document)
    for operation in patch:
        if not isinstance(operation, dict):
            raise PatchProblem("body", "A patch operation must be an object")
        _apply(changed, operation)
    return changed


def _apply(document: Json, operation: Json) -> None:
    op = str(operation.get("op", "")).lower()
    path = operation.get("path")
    if op not in ("add", "replace", "remove"):
        raise PatchProblem("op", f"Unknown patch operation {operation.get('op')!r}")
    if not isinstance(path, str) or not path.startswith("/"):
        raise PatchProblem("path", f"Not a JSON pointer: {path!r}")
    if op != "remove" and "value" not in operation:
        raise PatchProblem("body", f"The operation on {path} has no value")
    *parents, last = [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]
    target: Any = document
    for step in parents:
        target = _child(target, step, path)
    value = copy.deepcopy(operation.get("value"))
    if isinstance(target, list):
        _change_list(target, op, last, value, path)
    elif isinstance(target, dict):
        if op != "add" and last not in target:
            raise PatchProblem("path", f"Nothing at {path}")
        if op == "remove":
            del target[last]
        else:
            target[last] = value
    else:
        raise PatchProblem("path", f"Nothing at {path}")


def _child(target: Any, step: str, path: str) -> Any:
    if isinstance(target, dict) and step in target:
        return target[step]
    if isinstance(target, list):
        return target[_index(target, step, path, len(target))]
    raise PatchProblem("path", f"Nothing at {path}")


def _change_list(target: list[Any], op: str, last: str, value: Any, path: str) -> None:
    if op == "add":
        target.insert(len(target) if last == "-" else _index(target, last, path, len(target) + 1), value)
        return
    index = _index(target, last, path, len(target))
    if op == "remove":
        del target[index]
    else:
        target[index] = value


def _index(target: list[Any], step: str, path: str, end: int) -> int:
    if step.isascii() and step.isdigit() and int(step) < end:
        return int(step)
    raise PatchProblem("path", f"No element {step!r} of {len(target)} at {path}")
