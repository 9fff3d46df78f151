"""The Data Prep mapper: mapping sets, checked against a schema, compiled once and applied to records.

A failing expression nulls its attribute with a warning. An expression's reference to an attribute that the
record does not have, and a type without a conversion, are errors that fail the record (Data Prep:
troubleshooting guide; Sources: monitor streaming dataflows).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .conversions import Convert, conversion, field_at, kept_type
from .expressions import Scope, compile_expression, compile_path
from .paths import MISSING, WILDCARD, Path, destination_path, path_text, read, writer
from .values import EvaluationError, ExpressionError, MissingAttributeError, TypeMismatchError

TRANSFORM_ERROR = "MAPPER-3700-400"
"""The only documented mapper code: "Mapper Transform Error"."""

LEGACY_ATTRIBUTE = "text/x.schema-path"
SOURCE_TYPES = ("ATTRIBUTE", "EXPRESSION", "STATIC")


@dataclass(frozen=True)
class MappingProblem:
    """A problem with a mapping, or with applying it to a record."""

    destination: str
    source: str
    code: str
    message: str


@dataclass(frozen=True)
class Mapped:
    """A record's row, its nulled attributes, and the errors that fail it."""

    row: dict[str, Any]
    warnings: tuple[MappingProblem, ...]
    errors: tuple[MappingProblem, ...]


class InvalidMapping(ValueError):
    """An error for an unusable mapping set; `problems` names every bad mapping."""

    def __init__(self, problems: list[MappingProblem]) -> None:
        super().__init__("; ".join(f"{problem.destination}: {problem.message}" for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class _Run:
    """One record on its way through the mappings."""

    scope: Scope
    row: dict[str, Any]
    warnings: list[MappingProblem]
    errors: list[MappingProblem]


_Apply = Callable[[_Run], None]
_Value = Callable[[Scope], Any]


class CompiledMappings:
    """Mappings that fit their schema, ready for records."""

    def __init__(self, steps: Sequence[_Apply]) -> None:
        self._steps = tuple(steps)

    def apply(self, record: Mapping[str, Any], *, now: datetime) -> Mapped:
        """Map one record; `now` is the time, with an offset, that `now()` and `timestamp()` return."""
        run = _Run(Scope(record, now), {}, [], [])
        for step in self._steps:
            step(run)
        return Mapped(run.row, tuple(run.warnings), tuple(run.errors))


def compile_mappings(
    mappings: Sequence[Mapping[str, Any]], json_schema: Mapping[str, Any]
) -> CompiledMappings:
    """Compile mappings, in the current or the legacy form, for a composed schema.

    Raises `InvalidMapping` with a problem for every mapping that has a syntax error, calls an unknown
    function, has a destination that is not in the schema, or has a wrong source type.
    """
    steps: list[_Apply] = []
    problems: list[MappingProblem] = []
    for mapping in mappings:
        try:
            steps.append(_compile(mapping, json_schema))
        except ExpressionError as error:
            source = mapping.get("source", mapping.get("sourceAttribute", ""))
            destination = mapping.get("destination", mapping.get("destinationXdmPath", ""))
            problems.append(MappingProblem(str(destination), str(source), error.code, str(error)))
    if problems:
        raise InvalidMapping(problems)
    return CompiledMappings(steps)


def validate_expression(text: str) -> str | None:
    """Return the problem with a calculated expression, or `None` if it can be used."""
    try:
        compile_expression(text)
    except ExpressionError as error:
        return str(error)
    return None


def _compile(mapping: Mapping[str, Any], json_schema: Mapping[str, Any]) -> _Apply:
    kind, source, destination = current_form(mapping).values()
    path = destination_path(destination)
    field = field_at(json_schema, path)
    convert = conversion(field, path)
    if kind == "EXPRESSION":
        if WILDCARD in path:
            raise ExpressionError("a wildcard destination needs a plain attribute", "INVALID_DESTINATION")
        return _step(compile_expression(source), convert, path, source)
    if kind == "STATIC":
        return _step(_constant(source), convert, path, source)
    source_path = compile_path(source)
    if WILDCARD in path:
        return _wildcard_step(source_path, convert, path, source)
    step = _step(_attribute(source_path), convert, path, source)
    if len(source_path) == 1 and isinstance(source_path[0], str):
        return _quick_step(source_path[0], kept_type(field), path, step)
    return step


def current_form(mapping: Mapping[str, Any]) -> dict[str, str]:
    """Return a mapping in the current form, from either the current or the legacy form.

    Raises:
        ExpressionError: Its source type is unknown, or its source or destination is missing.
    """
    source = mapping.get("source", mapping.get("sourceAttribute"))
    destination = mapping.get("destination", mapping.get("destinationXdmPath"))
    kind = mapping.get("sourceType", None if "source" in mapping else "ATTRIBUTE")
    if kind == LEGACY_ATTRIBUTE:
        kind = "ATTRIBUTE"
    if kind not in SOURCE_TYPES:
        raise ExpressionError(f"sourceType must be one of {', '.join(SOURCE_TYPES)}", "INVALID_SOURCE_TYPE")
    if not isinstance(source, str) or not isinstance(destination, str):
        raise ExpressionError("A mapping needs a source and a destination", "INCOMPLETE_MAPPING")
    return {"sourceType": kind, "source": source, "destination": destination}


def _constant(value: Any) -> _Value:
    return lambda _scope: value


def _attribute(path: Path) -> _Value:
    def value(scope: Scope) -> Any:
        found = read(scope.record, path)
        return None if found is MISSING else _without_gaps(found) if WILDCARD in path else found

    return value


def _without_gaps(values: Any) -> Any:
    if not isinstance(values, list):
        return values
    return [_without_gaps(value) for value in values if value is not MISSING and value is not None]


def _step(value: _Value, convert: Convert, path: Path, source: str) -> _Apply:
    destination, write = path_text(path), writer(path)

    def apply(run: _Run) -> None:
        try:
            found = value(run.scope)
            if found is None:
                return
            converted = convert(found, lambda *warning: run.warnings.append(problem(*warning)))
        except (EvaluationError, ArithmeticError, RecursionError) as error:
            run.warnings.append(problem(destination, str(error)))
        except (MissingAttributeError, TypeMismatchError) as error:
            run.errors.append(problem(destination, str(error)))
        else:
            if converted is not None:
                write(run.row, converted)

    def problem(where: str, message: str) -> MappingProblem:
        return MappingProblem(where, source, TRANSFORM_ERROR, f"{TRANSFORM_ERROR} {message}")

    return apply


def _quick_step(name: str, kept: type | None, path: Path, step: _Apply) -> _Apply:
    """Write a top-level attribute that needs no conversion immediately; leave the others to `step`."""
    write = writer(path)

    def apply(run: _Run) -> None:
        value = run.scope.record.get(name)
        if type(value) is kept:
            write(run.row, value)
        elif value is not None:
            step(run)

    return apply


def _wildcard_step(source_path: Path, convert: Convert, path: Path, source: str) -> _Apply:
    """Map element by element: write the nth element of the source to the nth of the destination."""
    if path.count(WILDCARD) != 1 or source_path.count(WILDCARD) != 1:
        raise ExpressionError(
            "a wildcard destination needs one wildcard, and one in its source", "INVALID_DESTINATION"
        )

    def apply(run: _Run) -> None:
        values = read(run.scope.record, source_path)
        if not isinstance(values, list):
            return
        if path[-1] == WILDCARD:
            values = _without_gaps(values)
        for position, value in enumerate(values):
            place = tuple(position if step == WILDCARD else step for step in path)
            _step(_constant(None if value is MISSING else value), convert, place, source)(run)

    return apply
