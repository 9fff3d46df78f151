"""The values of Data Prep expressions (strings, numbers, comparisons), and the errors of mappings."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from .java_time import rfc3339

Number = int | float
_TYPE_NAMES = {
    type(None): "NULL",
    bool: "BOOLEAN",
    str: "STRING",
    int: "LONG",
    float: "DOUBLE",
    datetime: "DATETIME",
    dict: "OBJECT",
    list: "ARRAY",
}


class ExpressionError(ValueError):
    """An error for an unusable expression or path; `code` is the kind of problem."""

    def __init__(self, message: str, code: str = "SYNTAX_ERROR") -> None:
        super().__init__(message)
        self.code = code


class EvaluationError(Exception):
    """An error for an expression that fails on a record: its attribute becomes null, with a warning."""


class MissingAttributeError(Exception):
    """An error for an expression's reference to an attribute that the record lacks: the record fails."""


class TypeMismatchError(Exception):
    """An error for a value without a conversion to the type of its XDM field: the record fails."""

    def __init__(self, path: str, expected: str, actual: str) -> None:
        super().__init__(
            f"type mismatch: destination path {path}., expected data type was: {expected}, "
            f"actual data type was: {actual}."
        )


def type_name(value: Any) -> str:
    """Return the name of a value's type, as in the mapper's messages."""
    return _TYPE_NAMES[type(value)]


def number_text(value: Number) -> str:
    """Return a number as JSON; raise `EvaluationError` if JSON cannot express it."""
    if isinstance(value, float) and not math.isfinite(value):
        raise EvaluationError("a number that is not finite has no text")
    return repr(value)


def text_of(value: Any) -> str:
    """Return a string, number, boolean or date as a string; raise `EvaluationError` for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number_text(value)
    if isinstance(value, datetime):
        return rfc3339(value)
    raise EvaluationError(f"expected a string, found {type_name(value)}")


def number_of(value: Any) -> Number:
    """Return a number unchanged; raise `EvaluationError` for anything else, even a string of digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EvaluationError(f"expected a number, found {type_name(value)}")
    return value


def whole_number_of(value: Any) -> int:
    """Return a whole number unchanged; raise `EvaluationError` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise EvaluationError(f"expected a whole number, found {type_name(value)}")
    return value


def truth_of(value: Any) -> bool:
    """Return a boolean unchanged; raise `EvaluationError` for anything else."""
    if not isinstance(value, bool):
        raise EvaluationError(f"expected a boolean, found {type_name(value)}")
    return value


def list_of(value: Any) -> list[Any]:
    """Return an array unchanged; raise `EvaluationError` for anything else."""
    if not isinstance(value, list):
        raise EvaluationError(f"expected an array, found {type_name(value)}")
    return value


def are_equal(left: Any, right: Any) -> bool:
    """Compare two values of one kind, or anything with null; raise `EvaluationError` across kinds."""
    if left is None or right is None:
        return left is right
    _require_same_kind(left, right)
    return bool(left == right)


def is_less(left: Any, right: Any) -> bool:
    """Compare two numbers, strings or dates; raise `EvaluationError` for anything else."""
    _require_same_kind(left, right)
    if isinstance(left, bool) or not isinstance(left, int | float | str | datetime):
        raise EvaluationError(f"{type_name(left)} has no order")
    return bool(left < right)


def _require_same_kind(left: Any, right: Any) -> None:
    kinds = {"NUMBER" if name in ("LONG", "DOUBLE") else name for name in (type_name(left), type_name(right))}
    if len(kinds) > 1:
        raise EvaluationError(f"cannot compare {type_name(left)} with {type_name(right)}")
