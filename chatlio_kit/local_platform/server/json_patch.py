"""RFC 6902 patches, as far as Experience Platform documents them: add, replace and remove."""

from __future__ import annotations

from typing import Any

import jsonpatch
from jsonpointer import JsonPointerException

from ..store import Json

_OPERATIONS = ("add", "replace", "remove")


class PatchProblem(ValueError):
    """An error for a patch that cannot be applied; ``kind`` is ``body``, ``op`` or ``path``."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def apply_patch(document: Json, patch: Any) -> Json:
    """Return a patched copy of the document.

    Raises:
        PatchProblem: An operation is unknown or its path does not exist.
    """
    if not isinstance(patch, list) or not patch:
        raise PatchProblem("body", "The body must be a non-empty array of patch operations")
    operations = [_checked(operation) for operation in patch]
    try:
        changed: Json = jsonpatch.JsonPatch(operations).apply(document)
    except (jsonpatch.JsonPatchException, JsonPointerException) as error:
        raise PatchProblem("path", str(error)) from error
    return changed


def _checked(operation: Any) -> Json:
    """Return an operation in the library's spelling; Experience Platform accepts ``op`` in any case."""
    if not isinstance(operation, dict):
        raise PatchProblem("body", "A patch operation must be an object")
    op, path = str(operation.get("op", "")).lower(), operation.get("path")
    if op not in _OPERATIONS:
        raise PatchProblem("op", f"Unknown patch operation {operation.get('op')!r}")
    if not isinstance(path, str) or not path.startswith("/"):
        raise PatchProblem("path", f"Not a JSON pointer: {path!r}")
    if op != "remove" and "value" not in operation:
        raise PatchProblem("body", f"The operation on {path} has no value")
    return {**operation, "op": op}
