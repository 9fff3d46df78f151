"""The derived tables as SQL: one query for each table, the same for rows in memory and for files.

If there are many rows, a query runs once for each range of keys, so that memory stays flat.
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
from chatlio_kit.tables.arrow import arrow_schema, events_of, explode_messages

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

KeyRange = tuple[str | None, str | None]
"""The first key, and the first key after the range; None for no limit."""

ALL_KEYS: KeyRange = (None, None)
DERIVED = ("messages", "conversations", "visitors", "offline_messages")
"""The derived tables; each query reads only tables before its own."""

_MEMORY = "300MB"
_MOST_THREADS = 2  # each thread has its own buffers
_BATCH_ROWS = 16_000


@contextmanager
def database(temporary: Path) -> Iterator[DuckDBPyConnection]:
    """Open an empty database in memory.

    Args:
        temporary: The folder for what does not fit in memory.
    """
    connection = _duckdb().connect(
        config={
            "memory_limit": _MEMORY,
            "threads": min(_MOST_THREADS, os.cpu_count() or 1),
            "temp_directory": str(temporary),
            "preserve_insertion_order": False,  # each query orders its rows
            "arrow_large_buffer_size": True,
            "autoinstall_known_extensions": False,  # nothing is downloaded
            "autoload_known_extensions": False,
        }
    )
    try:
        yield connection
    finally:
        connection.close()


def derive(connection: DuckDBPyConnection, table: str, keys: KeyRange = ALL_KEYS) -> Iterator[Any]:
    """Derive a table.

    Args:
        connection: A database with the views that the table's query reads.
        table: One of ``DERIVED``.
        keys: The range of the table's first key.

    Returns:
        Arrow tables with the table's schema, with its rows in order.

    Raises:
        CaptureError: Memory or disk space is insufficient.
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
            f"The table {table} could not be derived: {words}. Free memory or disk space and start again; "
            "no partial output is left."
        ) from error


def _duckdb() -> Any:
    return import_module("duckdb")  # loaded only where tables are derived, because workers do not need it


@cache
def _query(table: str) -> str:
    return resources.files(__package__).joinpath(f"{table}.sql").read_text(encoding="utf-8")


def derive_rows(nested: Any) -> dict[str, Any]:
    """Derive all tables from events in memory.

    Args:
        nested: The accepted events with their messages (:mod:`chatlio_kit.tables.arrow`).

    Returns:
        Arrow tables by name.
    """
    derived: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="chatlio-kit-") as folder, database(Path(folder)) as connection:
        connection.register("events", _numbered(events_of(nested)))
        connection.register("message_parts", message_parts_of(nested))
        for table in DERIVED:
            rows = [arrow_schema(table).empty_table(), *derive(connection, table)]
            derived[table] = pa.concat_tables(rows)
            if table == "messages":
                connection.register("messages", _numbered(derived[table]))
    return derived


def message_parts_of(nested: Any, first: int = 0) -> Any:
    """Return the messages' own columns, and the number of each message's event in the column ``row``.

    Args:
        nested: Events with their messages.
        first: The number of the first event.
    """
    messages, owners = explode_messages(nested)
    return messages.append_column("row", pa.array(owners + first, pa.int64()))


def _numbered(rows: Any) -> Any:
    return rows.append_column("row", pa.array(range(len(rows)), pa.int64()))


def key_ranges(sample: Sequence[str], step: int) -> list[KeyRange]:
    """Divide keys into ranges with about equal numbers of rows.

    Args:
        sample: The keys of some rows, evenly sampled.
        step: Number of sampled keys in a range.
    """
    borders = sorted(set(sorted(sample)[step::step]))
    return list(pairwise([None, *borders, None]))
