"""One person's rows erased from tables, rejects and reports on disk, each file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chatlio_kit.chatlio.catalogue import TABLES
from chatlio_kit.chatlio.person import CONVERSATION, EVENT_IDS, VISITOR, WHO, Person
from chatlio_kit.errors import UsageError
from chatlio_kit.tables.output import REJECTED, REPORT, unwritable, write_json
from chatlio_kit.tables.report import PAGE

ERASED = "(erased)"
FORGOTTEN_FILE = "(forgotten)"
_NAMED = tuple(name for name in TABLES if name != "messages")  # a message names its writer by its event only
_FILE, _EXTRA = "source_file", "extra_fields"
_PARTIAL = ".partial"


@dataclass
class ErasedFiles:
    """What was erased from files.

    Attributes:
        rejects: lines taken out of ``rejected.jsonl``.
        renamed: lines of others that stay there without the name of their file.
        pages: report pages that were removed.
        reports: values taken out of ``report.json``.
        partials: remains of files that a killed run was writing, removed.
        rows: rows taken out of each table.
    """

    rejects: int = 0
    renamed: int = 0
    pages: int = 0
    reports: int = 0
    partials: int = 0
    rows: dict[str, int] = field(default_factory=dict)

    @property
    def beside_tables(self) -> int:
        """What was erased from files other than tables."""
        return self.rejects + self.renamed + self.pages + self.reports + self.partials


def check_tables(out: Path) -> None:
    """Reject a folder that holds no tables.

    Raises:
        UsageError: when it holds none.
    """
    if not any((out / f"{name}.parquet").is_file() for name in TABLES):
        raise UsageError(
            f"{str(out)!r} holds no tables that convert wrote. Name the folder that was given to --out."
        )


def learn_from_tables(out: Path, person: Person) -> None:
    """Learn from tables who the person is: visitors, conversations, and the events that name them."""
    for name in TABLES:
        for rows in _batches(out, name):
            chosen = _theirs(rows, person)
            theirs = rows.filter(chosen)
            if _EXTRA in rows.column_names:
                others = rows.filter(pc.invert(chosen))
                person.learn_fields(theirs[_EXTRA].to_pandas(), others[_EXTRA].to_pandas())
            kept = [each for each in (*WHO, CONVERSATION, *EVENT_IDS) if each in rows.column_names]
            if name in _NAMED:
                person.learn(theirs.select(kept).to_pylist())
            else:
                person.events |= set(theirs["event_id"].drop_null().to_pylist())


def erase_from_tables(out: Path, person: Person, erased: ErasedFiles) -> None:
    """Erase the person's rows from the five tables, and every row of an event that mentions them.

    Args:
        out: the folder that ``convert`` wrote.
        person: who is meant; all that the tables tell of them was learned before.
        erased: where it is counted.

    Raises:
        OutputError: when a file cannot be written.
    """
    for name in TABLES:
        if count := _erase_from_table(out, name, person):
            erased.rows[name] = erased.rows.get(name, 0) + count
    erase_from_report(out, person, erased)
    report = out / REPORT
    if erased.rows and report.exists():
        content = orjson.loads(report.read_bytes())
        tables = {name: pq.read_metadata(path).num_rows for name, path in _tables_in(out)}
        if content.get("tables") not in (None, tables):
            write_json(report, {**content, "tables": tables})


def erase_from_report(folder: Path, person: Person, erased: ErasedFiles) -> None:
    """Erase the person from a folder's rejects and report; no run writes there meanwhile.

    The page goes first: it shows rejects cut short, where nobody could recognise them afterwards.

    Raises:
        OutputError: when a file cannot be written.
    """
    lines = _lines(folder / REJECTED)
    kept = [_kept_line(line, person) for line in lines]
    page = folder / PAGE
    if page.exists() and (kept != lines or person.quoted_in(unescape(page.read_text(encoding="utf-8")))):
        page.unlink()
        erased.pages += 1
    for name in (REJECTED, PAGE, REPORT, *(f"{table}.parquet" for table in TABLES)):
        for left in folder.glob(f".{name}*{_PARTIAL}"):
            left.unlink()
            erased.partials += 1
    report = folder / REPORT
    if report.exists():
        content = orjson.loads(report.read_bytes())
        scrubbed = _scrubbed(content, person)
        if scrubbed != content:
            write_json(report, scrubbed)
            erased.reports += 1
    if kept != lines:
        gone = kept.count(None)
        erased.rejects += gone
        erased.renamed += sum(new not in (None, old) for old, new in zip(lines, kept, strict=True))
        _replace(folder / REJECTED, b"".join(each for each in kept if each is not None))


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


def _kept_line(line: bytes, person: Person) -> bytes | None:
    """Return what stays of a reject: the line, the line without its file's name, or nothing."""
    try:
        held = orjson.loads(line)
    except orjson.JSONDecodeError:  # cut off: nothing tells whose it was
        return None
    if not isinstance(held, dict):
        return None
    file, detail = str(held.get("file", "")), str(held.get("detail", ""))
    if any(person.speaks(each) for each in _texts({**held, "file": ""})):
        return None
    new_file = FORGOTTEN_FILE if person.names_file(file) else file
    new_detail = person.without_names(detail, FORGOTTEN_FILE)
    if (new_file, new_detail) == (file, detail):
        return line
    return orjson.dumps({**held, "file": new_file, "detail": new_detail}, option=orjson.OPT_APPEND_NEWLINE)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inside in value.items():
            yield name
            yield from _texts(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _texts(inside)


def _scrubbed(value: Any, person: Person) -> Any:
    if isinstance(value, dict):
        return {_scrubbed(name, person): _scrubbed(inside, person) for name, inside in value.items()}
    if isinstance(value, list):
        return [_scrubbed(inside, person) for inside in value]
    return ERASED if isinstance(value, str) and person.quoted_in(value) else value


def _tables_in(out: Path) -> Iterator[tuple[str, Path]]:
    paths = ((name, out / f"{name}.parquet") for name in TABLES)
    return ((name, path) for name, path in paths if path.is_file())


def _batches(out: Path, name: str) -> Iterator[Any]:
    path = out / f"{name}.parquet"
    if path.is_file():
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield pa.Table.from_batches([batch])


def _theirs(rows: Any, person: Person) -> Any:
    """Return a mask of the rows that are the person's or name them, by whatever column."""
    found = pa.array([False] * len(rows))
    for field_ in rows.schema:
        if field_.name == _FILE or not _is_text(field_.type):
            continue
        column = rows[field_.name].combine_chunks()
        named = partial(_speaks, person, field_.name)
        values = [each for each in pc.unique(column).to_pylist() if each is not None and named(each)]
        if values:
            found = pc.or_(found, pc.fill_null(pc.is_in(column, pa.array(values, column.type)), False))
    return found


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _without_files(rows: Any, person: Person) -> Any:
    """Return rows without the names of files that are called after the person."""
    if _FILE not in rows.column_names:
        return rows
    column = rows[_FILE].combine_chunks()
    theirs = [each for each in pc.unique(column).to_pylist() if each and person.names_file(each)]
    if not theirs:
        return rows
    named = pc.fill_null(pc.is_in(column, pa.array(theirs, column.type)), False)
    column = pc.if_else(named, pa.scalar(FORGOTTEN_FILE, column.type), column)
    place = rows.schema.get_field_index(_FILE)
    return rows.set_column(place, rows.schema.field(place), column)


def _speaks(person: Person, column: str, value: str) -> bool:
    if column in EVENT_IDS:
        return value in person.events
    if column in (*WHO, VISITOR, CONVERSATION):
        return person.is_name(value) or person.speaks(value)
    return person.speaks(value)


def _kept(rows: Any, person: Person) -> Any:
    return _without_files(rows.filter(pc.invert(_theirs(rows, person))), person)


def _erase_from_table(out: Path, name: str, person: Person) -> int:
    """Erase rows from one table; its file is written again only where some are meant."""
    path = out / f"{name}.parquet"
    if not any(_kept(rows, person) != rows for rows in _batches(out, name)):
        return 0
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")
    gone = 0
    try:
        with pq.ParquetFile(path) as file, pq.ParquetWriter(unfinished, file.schema_arrow) as writer:
            for batch in file.iter_batches():
                rows = pa.Table.from_batches([batch])
                kept = _kept(rows, person)
                gone += len(rows) - len(kept)
                writer.write_table(kept)
        unfinished.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return gone


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        unfinished.unlink(missing_ok=True)
