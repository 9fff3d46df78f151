"""The derived tables as SQL: one query a table, the same for rows in memory and for files.

Where rows are many, a query is asked once for each range of keys, so that memory stays flat.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module, resources
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from chatlio_kit.errors import CaptureError
from chatlio_kit.tables.arrow import arrow_schema
from chatlio_kit.tables.nesting import events_of, message_parts_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Range = tuple[str | None, str | None]
"""Keys from the first on and before the last; None for no limit."""

EVERYTHING: Range = (None, None)
DERIVED = ("messages", "conversations", "visitors", "offline_messages")
"""The derived tables, in an order in which each is made of those before it."""

_MEMORY = "300MB"
_MOST_THREADS = 2  # each has buffers of its own
_BATCH_ROWS = 16_000


@contextmanager
def database(temporary: Path) -> Iterator[DuckDBPyConnection]:
    """Open an empty database in memory.

    Args:
        temporary: the folder for what does not fit into its memory.
    """
    connection = _duckdb().connect(
        config={
            "memory_limit": _MEMORY,
            "threads": min(_MOST_THREADS, os.cpu_count() or 1),
            "temp_directory": str(temporary),
            "preserve_insertion_order": False,  # each query orders its rows
            "arrow_large_buffer_size": True,
            "autoinstall_known_extensions": False,  # nothing is fetched from anywhere
            "autoload_known_extensions": False,
        }
    )
    try:
        yield connection
    finally:
        connection.close()


def derive(connection: DuckDBPyConnection, table: str, keys: Range = EVERYTHING) -> Iterator[Any]:
    """Derive a table.

    Args:
        connection: a database with the views that the table's query names.
        table: one of ``DERIVED``.
        keys: the range of the table's first key.

    Returns:
        Arrow tables of the table's schema, its rows in order.

    Raises:
        CaptureError: when memory or disk space does not suffice.
    """
    query = _query(table)
    parameters = dict(zip(("first", "last"), keys, strict=True)) if "$first" in query else None
    schema = arrow_schema(table)
    try:
        for batch in connection.execute(query, parameters).to_arrow_reader(_BATCH_ROWS):
            columns = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
            yield pa.table(columns, schema=schema)
    except (_duckdb().Error, pa.ArrowException) as error:
        words = str(error).partition("\n")[0].rstrip(".")
        raise CaptureError(
            f"The table {table} could not be derived: {words}. "
            "Free memory or disk space and start again; nothing half-written is left."
        ) from error


def _duckdb() -> Any:
    return import_module("duckdb")  # only where tables are derived: workers start without it


@cache
def _query(table: str) -> str:
    return resources.files(__package__).joinpath(f"{table}.sql").read_text(encoding="utf-8")


def derive_rows(events: Any) -> dict[str, Any]:
    """Derive all tables of events that are held in memory.

    Args:
        events: the accepted events, each with its messages (:mod:`chatlio_kit.tables.nesting`).

    Returns:
        Arrow tables by name.
    """
    derived: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="chatlio-kit-") as folder, database(Path(folder)) as connection:
        connection.register("events", _numbered(events_of(events)))
        connection.register("message_parts", message_parts_of(events, 0))
        for table in DERIVED:
            rows = [arrow_schema(table).empty_table(), *derive(connection, table)]
            derived[table] = pa.concat_tables(rows)
            if table == "messages":
                connection.register("messages", _numbered(derived[table]))
    return derived


def _numbered(rows: Any) -> Any:
    return rows.append_column("row", pa.array(range(len(rows)), pa.int64()))


def ranges(sample: Sequence[str], step: int) -> list[Range]:
    """Cut keys into ranges of about as many rows.

    Args:
        sample: the keys of some rows, evenly taken.
        step: how many of them a range holds.
    """
    borders = sorted(set(sorted(sample)[step::step]))
    return list(pairwise([None, *borders, None]))
