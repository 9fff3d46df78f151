"""Derived tables of events that are too many for memory: files of Parquet, queried where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from glob import escape
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chatlio_kit.tables.derive.database import DERIVED, EVERYTHING, database, derive, ranges
from chatlio_kit.tables.nesting import message_parts_of

RANGE_ROWS = 200_000
"""About how many rows of its source a query looks at in one go."""
_SAMPLED = 64
_GROUP_ROWS = 60_000


class EventFiles:
    """What the derived tables are made of, while events come in and are written to ``events.parquet``.

    Use it as a context manager.

    Args:
        folder: the folder of the tables; what is needed on the way is written there too.
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

    def add(self, events: Any) -> None:
        """Keep the messages of events, in the order in which the events are written.

        Args:
            events: accepted events, each with its messages (:mod:`chatlio_kit.tables.nesting`).
        """
        parts = message_parts_of(events, self._rows)
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._parts, parts.schema, compression="none", use_dictionary=False, write_statistics=False
            )
        if len(parts):
            self._writer.write_table(parts, _GROUP_ROWS)
        talks = pc.coalesce(events["conversation_id"], events["event_id"])
        owners = pc.subtract(_sampled(parts["row"]), self._rows)
        for table, keys in (
            ("messages", talks.take(owners)),
            ("conversations", _sampled(events["conversation_id"]).drop_null()),
            ("visitors", _sampled(events["visitor_id"]).drop_null()),
        ):
            self._samples[table] += keys.to_pylist()
        self._rows += len(events)

    def derive(self) -> Iterator[tuple[str, Iterator[Any]]]:
        """Derive the tables, each after those that it is made of were written to ``TABLE.parquet``.

        Returns:
            The name of each table, and Arrow tables with its rows in order.
        """
        self._close()
        if self._writer is None:  # there was no event
            return
        with database(self._folder / "temporary") as connection:
            for name in ("events", "message_parts"):
                connection.execute(_view(name, self._folder))
            for table in DERIVED:
                yield table, self._derive(connection, table)
                if table == "messages":
                    connection.execute(_view(table, self._folder))

    def _derive(self, connection: Any, table: str) -> Iterator[Any]:
        sample = self._samples.get(table)
        for keys in ranges(sample, RANGE_ROWS // _SAMPLED) if sample else (EVERYTHING,):
            yield from derive(connection, table, keys)

    def _close(self) -> None:
        if self._writer is not None and self._writer.is_open:
            self._writer.close()


def _sampled(column: Any) -> Any:
    return column.take(pa.array(range(0, len(column), _SAMPLED), pa.int64()))


def _view(name: str, folder: Path) -> str:
    """Return the statement that makes a view of a file; its rows are numbered in the column ``row``."""
    path = escape(str(folder / f"{name}.parquet")).replace("'", "''")  # a path may look like a pattern
    rows = "* EXCLUDE (file_row_number)" if name == "message_parts" else "* RENAME (file_row_number AS row)"
    return f"CREATE VIEW {name} AS SELECT {rows} FROM read_parquet('{path}', file_row_number = true)"  # noqa: S608
