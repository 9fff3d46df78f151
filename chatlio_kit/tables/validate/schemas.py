"""pandera schemas, derived from the catalogue, and the meaning of their failures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow
import pyarrow.compute as pc

from chatlio_kit.chatlio.catalogue import PAST, TABLES, Dtype, Field
from chatlio_kit.chatlio.rejections import Reason, shortened
from chatlio_kit.chatlio.timestamps import TIME_DTYPE
from chatlio_kit.errors import FrameError
from chatlio_kit.tables.arrow import frame_of

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema

PANDERA = "pandera.pandas"
"""Loaded at the first validation, so that a process that only writes tables starts without it."""

PANDAS_DTYPES: dict[Dtype, str] = {
    Dtype.TEXT: "str",
    Dtype.JSON: "str",
    Dtype.TIME: TIME_DTYPE,
    Dtype.INTEGER: "Int64",
    Dtype.NUMBER: "Float64",
    Dtype.FLAG: "boolean",
}

_PAST = "past"
_REASONS = {"not_nullable": Reason.MISSING, _PAST: Reason.FUTURE_TIME}


@dataclass(frozen=True, slots=True)
class Failure:
    """One value that breaks its column's rule."""

    row: int
    column: str
    reason: Reason
    value: Any
    hint: str

    def sentence(self, name: str) -> str:
        """Describe the problem with the value, with the field's name in the payload."""
        if self.reason is Reason.MISSING:
            return f"{name} is missing or empty. Every such record needs it."
        if self.reason is Reason.FUTURE_TIME:
            return f"{name} is in the future ({self.value}). An event can only be sent after it happened."
        return f"{name} is {shortened(self.value)}; expected {self.hint}."


def _pandera() -> Any:
    return import_module(PANDERA)


@cache
def schema(table: str) -> DataFrameSchema:
    """Return the pandera schema of a table: its columns, their dtypes and rules, in catalogue order."""
    made: DataFrameSchema = _pandera().DataFrameSchema(
        {field.name: _column(field) for field in TABLES[table]}, strict=True, ordered=True, name=table
    )
    return made


@cache
def _rules(table: str, columns: frozenset[str]) -> DataFrameSchema:
    """Return the rules of some columns, for data whose columns and dtypes are already right."""
    pa = _pandera()
    made: DataFrameSchema = pa.DataFrameSchema(
        {
            field.name: pa.Column(None, checks=_checks(field), nullable=not field.required)
            for field in TABLES[table]
            if field.name in columns
        },
        name=table,
    )
    return made


def _ruled(table: str, is_empty: Callable[[str], bool], computed: frozenset[str]) -> frozenset[str]:
    """Name the columns that need checking; every check takes time, even on an empty column."""
    return frozenset(
        field.name
        for field in TABLES[table]
        if field.name not in computed
        and (field.required or (field.rule is not None and not is_empty(field.name)))
    )


@cache
def _form(table: str) -> dict[str, Any]:
    return dict(empty(table).dtypes)


def empty(table: str) -> pd.DataFrame:
    """Return a table without rows, with its columns and dtypes."""
    return frame(table, {field.name: [] for field in TABLES[table]})


def frame(table: str, columns: dict[str, Any]) -> pd.DataFrame:
    """Build a table from columns of values, converting each to its dtype."""
    return pd.DataFrame(
        {
            field.name: pd.Series(columns[field.name], dtype=PANDAS_DTYPES[field.dtype])
            for field in TABLES[table]
        }
    )


def arrow_rows(frame: pd.DataFrame, name: str) -> Any:
    """Return a table's frame as Arrow rows, as its file has them."""
    return pyarrow.Table.from_pandas(frame, schema=file_schema(name), preserve_index=False, nthreads=1)


@cache
def file_schema(name: str) -> Any:
    """Return the schema of a table's file, including the pandas metadata."""
    return pyarrow.Table.from_pandas(empty(name), preserve_index=False).schema


def failures(table: str, rows: pd.DataFrame) -> list[Failure]:
    """Validate a whole table lazily and list every value that breaks a rule.

    Args:
        table: The table's name.
        rows: The table, indexed from 0.

    Raises:
        FrameError: A column is missing, extra, out of order or of another dtype.
    """
    is_formed = list(rows.columns) == list(_form(table)) and dict(rows.dtypes) == _form(table)
    ruled = _ruled(table, lambda name: bool(rows[name].isna().all()), frozenset()) if is_formed else None
    cases = _cases(schema(table) if ruled is None else _rules(table, ruled), rows)
    if cases is None:
        return []
    # pandera reports a wrong dtype once for the column, or once for each row.
    structural = cases[cases["index"].isna() | cases["check"].astype(str).str.startswith("dtype(")]
    if len(structural):
        raise FrameError(_structure_sentence(table, rows, structural.drop_duplicates(["column", "check"])))
    return _failures_in(table, cases)


def failures_of(table: str, rows: Any, computed: frozenset[str]) -> list[Failure]:
    """Validate an Arrow table that was just built; only columns that can break a rule are checked.

    Args:
        table: The table's name.
        rows: Its rows; computed columns may be missing.
        computed: Columns that the caller computed, so that their values follow their rules by construction.
    """
    looked_at = [field for field in TABLES[table] if field.name not in computed]
    kept = {field.name for field in looked_at if _is_past_and_complete(field, rows[field.name])}
    if not len(rows):
        return []
    ruled = _ruled(table, lambda name: rows[name].null_count == len(rows), computed | kept)
    cases = _cases(_rules(table, ruled), frame_of(rows.select(sorted(ruled)))) if ruled else None
    return [] if cases is None else _failures_in(table, cases)


def _is_past_and_complete(field: Field, times: Any) -> bool:
    """Return whether the latest time is not in the future, and no required time is missing."""
    if field.rule is not PAST or (field.required and times.null_count):
        return False
    latest = pc.max(times).as_py()
    return latest is not None and latest <= datetime.now(UTC)


def _cases(rules: DataFrameSchema, rows: pd.DataFrame) -> Any:
    """Return pandera's list of values that break rules, one row for each; None if there are none."""
    try:
        rules.validate(rows, lazy=True)
    except _pandera().errors.SchemaErrors as errors:
        return errors.failure_cases
    return None


def _failures_in(table: str, cases: Any) -> list[Failure]:
    fields = {field.name: field for field in TABLES[table]}
    order = {name: position for position, name in enumerate(fields)}
    found = [
        Failure(
            int(case.index),
            case.column,
            _REASONS.get(case.check, Reason.INVALID_VALUE),
            case.failure_case,
            _hint(fields[case.column]),
        )
        for case in cases.itertuples(index=False, name="Case")
    ]
    return sorted(found, key=lambda failure: (failure.row, order[failure.column]))


def _column(field: Field) -> Any:
    return _pandera().Column(
        PANDAS_DTYPES[field.dtype], checks=_checks(field), nullable=not field.required, required=True
    )


def _checks(field: Field) -> list[Any]:
    rule = field.rule
    if rule is None:
        return []
    check, checks = _pandera().Check, []
    if rule.pattern is not None:
        checks.append(check(partial(_match, rf"^(?:{rule.pattern})$"), name=f"matches {rule.pattern}"))
    if rule.allowed:
        checks.append(check.isin(list(rule.allowed)))
    if rule.minimum is not None:
        checks.append(check.ge(rule.minimum))
    if rule.past:
        checks.append(check(_is_past, name=_PAST))
    return checks


def _match(pattern: str, texts: pd.Series[str]) -> pd.Series[bool]:
    """Return a mask of matching strings; pandas' own ``str.match`` compiles the pattern on every call."""
    found = pc.match_substring_regex(pyarrow.array(texts), pattern)
    return pd.Series(found.to_numpy(zero_copy_only=False), index=texts.index)


def _is_past(times: pd.Series[pd.Timestamp]) -> pd.Series[bool]:
    return times <= pd.Timestamp.now("UTC")


def _hint(field: Field) -> str:
    return field.rule.hint if field.rule is not None else str(field.dtype)


def _structure_sentence(table: str, rows: pd.DataFrame, cases: pd.DataFrame) -> str:
    problems = []
    for case in cases.itertuples(index=False, name="Case"):
        if case.check == "column_in_dataframe":
            problems.append(f"the column {case.failure_case} is missing")
        elif case.check == "column_in_schema":
            problems.append(f"the column {case.failure_case} is not one of its columns")
        elif case.check == "column_ordered":
            problems.append(f"the column {case.failure_case} is not in its place")
        else:
            expected = PANDAS_DTYPES[next(f.dtype for f in TABLES[table] if f.name == case.column)]
            problems.append(f"the column {case.column} is {rows[case.column].dtype}, not {expected}")
    return (
        f"The frame {table} no longer fits its schema: {'; '.join(problems)}. Restore it, or start again "
        "from to_tables()."
    )
