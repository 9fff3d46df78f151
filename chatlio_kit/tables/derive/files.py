"""Derived tables of events that do not fit in memory: Parquet files, queried by DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from glob import escape
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chatlio_kit.tables.derive.database import (
    ALL_KEYS,
    DERIVED,
    database,
    derive,
    key_ranges,
    message_parts_of,
)

RANGE_ROWS = 200_000
"""Approximate number of source rows that a query reads at once."""
_SAMPLED = 64
"""One key in this many rows is sampled."""
_GROUP_ROWS = 60_000


class EventFiles:
    """The source of the derived tables, while events are written to ``events.parquet``.

    Use it as a context manager.

    Args:
        folder: The folder of the tables; intermediate files are written there too.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts = folder / "message_parts.parquet"
        self._writer: Any = None
        self._rows = 0
        self._samples: dict[str, list[str]] = {"messages": [], "conversations": [], "visitors": []}

    def __enter__(self) -> EventFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def add(self, nested: Any) -> None:
        """Write the messages of events, in the order in which the events are written.

        Args:
            nested: Accepted events with their messages (:mod:`chatlio_kit.tables.arrow`).
        """
        parts = message_parts_of(nested, self._rows)
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._parts, parts.schema, compression="none", use_dictionary=False, write_statistics=False
            )
        if len(parts):
            self._writer.write_table(parts, _GROUP_ROWS)
        conversations = pc.coalesce(nested["conversation_id"], nested["event_id"])
        owners = pc.subtract(_every_so_many(parts["row"]), self._rows)
        for table, keys in (
            ("messages", conversations.take(owners)),
            ("conversations", _every_so_many(nested["conversation_id"]).drop_null()),
            ("visitors", _every_so_many(nested["visitor_id"]).drop_null()),
        ):
            self._samples[table] += keys.to_pylist()
        self._rows += len(nested)

    def derive(self) -> Iterator[tuple[str, Iterator[Any]]]:
        """Derive the tables, each after its sources were written to ``TABLE.parquet``.

        Returns:
            The name of each table, and Arrow tables with its rows in order.
        """
        self._close()
        if self._writer is None:  # there were no events
            return
        with database(self._folder / "temporary") as connection:
            for name in ("events", "message_parts"):
                connection.execute(view_of(name, self._folder))
            for table in DERIVED:
                yield table, self._derive(connection, table)
                if table == "messages":
                    connection.execute(view_of(table, self._folder))

    def _derive(self, connection: Any, table: str) -> Iterator[Any]:
        sample = self._samples.get(table)
        for keys in key_ranges(sample, RANGE_ROWS // _SAMPLED) if sample else (ALL_KEYS,):
            yield from derive(connection, table, keys)

    def _close(self) -> None:
        if self._writer is not None and self._writer.is_open:
            self._writer.close()


def _every_so_many(column: Any) -> Any:
    return column.take(pa.array(range(0, len(column), _SAMPLED), pa.int64()))


def view_of(name: str, folder: Path) -> str:
    """Return the statement that creates a view of a file, with its rows numbered in the column ``row``."""
    path = escape(str(folder / f"{name}.parquet")).replace("'", "''")  # a path may look like a pattern
    rows = "* EXCLUDE (file_row_number)" if name == "message_parts" else "* RENAME (file_row_number AS row)"
    return f"CREATE VIEW {name} AS SELECT {rows} FROM read_parquet('{path}', file_row_number = true)"  # noqa: S608
