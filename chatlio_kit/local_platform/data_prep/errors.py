"""What can go wrong in a mapping: when it is read, and when it is applied to a record."""

from __future__ import annotations


class ExpressionError(ValueError):
    """An expression or a path that cannot be used at all; `code` tells which kind of problem it is."""

    def __init__(self, message: str, code: str = "SYNTAX_ERROR") -> None:
        super().__init__(message)
        self.code = code


class EvaluationError(Exception):
    """An expression that fails on one record: its attribute becomes null, with a warning."""


class MissingAttributeError(Exception):
    """A reference, inside an expression, to an attribute that the record does not have: the record fails."""


class TypeMismatchError(Exception):
    """A value whose type no conversion brings to the type of its XDM field: the record fails."""

    def __init__(self, path: str, expected: str, actual: str) -> None:
        super().__init__(
            f"type mismatch: destination path {path}., expected data type was: {expected}, "
            f"actual data type was: {actual}."
        )
