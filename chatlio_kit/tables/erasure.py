"""Erase one person from tables, rejections and reports on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from chatlio_kit.chatlio.person import CHANNEL, CONVERSATION, EVENT_IDS, VISITOR, WHO, Person
from chatlio_kit.errors import UsageError
from chatlio_kit.tables.output import write_json, write_whole
from chatlio_kit.tables.reading import unreadable_table
from chatlio_kit.tables.report import EXPLORER, PAGE, REJECTED, REPORT

ERASED = "(erased)"
FORGOTTEN_FILE = "(forgotten)"
_FILE, _EXTRA = "source_file", "extra_fields"


@dataclass
class ErasedFiles:
    """Counts of erased items in files.

    Attributes:
        rejects: Lines removed from ``rejected.jsonl``.
        renamed: Lines about other people that stay there without the name of their file.
        pages: Removed report pages.
        reports: Reports from which values were removed.
        partials: Removed unfinished files of killed runs.
        rows: Rows removed from each table.
    """

    rejects: int = 0
    renamed: int = 0
    pages: int = 0
    reports: int = 0
    partials: int = 0
    rows: dict[str, int] = field(default_factory=dict)

    @property
    def beside_tables(self) -> int:
        """Number of items erased from files other than tables."""
        return self.rejects + self.renamed + self.pages + self.reports + self.partials


def check_tables(out: Path) -> None:
    """Reject a folder that holds no tables.

    Raises:
        UsageError: The folder holds no tables.
    """
    if not any((out / f"{name}.parquet").is_file() for name in TABLES):
        raise UsageError(f"{str(out)!r} holds no tables from convert. Name the folder that convert wrote to.")


def learn_from_tables(out: Path, person: Person) -> None:
    """Collect the person's visitors and conversations from tables, and the events that name them.

    Raises:
        CaptureError: A table cannot be read.
    """
    for name in TABLES:
        for rows in _batches(out, name):
            is_theirs = _is_theirs(rows, person)
            theirs = rows.filter(is_theirs)
            if _EXTRA in rows.column_names:
                others = rows.filter(pc.invert(is_theirs))
                person.learn_fields(theirs[_EXTRA].to_pandas(), others[_EXTRA].to_pandas())
            if name == "messages":  # a message identifies its author only through its event
                person.events |= set(theirs["event_id"].drop_null().to_pylist())
            else:
                known = (*WHO, CONVERSATION, CHANNEL, *EVENT_IDS)
                columns = [column for column in known if column in rows.column_names]
                person.learn(theirs.select(columns).to_pylist())


def erase_from_tables(out: Path, person: Person, erased: ErasedFiles) -> None:
    """Erase the person's rows from the five tables, and every row of an event that mentions them.

    Args:
        out: The folder that ``convert`` wrote.
        person: The person, with everything learned from the tables before.
        erased: The counts to add to.

    Raises:
        OutputError: A file cannot be written.
    """
    for name in TABLES:
        if count := _erase_from_table(out, name, person):
            erased.rows[name] = erased.rows.get(name, 0) + count
    erase_from_report(out, person, erased)
    report = out / REPORT
    if erased.rows and report.exists():
        content = orjson.loads(report.read_bytes())
        paths = {name: out / f"{name}.parquet" for name in TABLES}
        rows = {name: pq.read_metadata(path).num_rows for name, path in paths.items() if path.is_file()}
        if content.get("tables") not in (None, rows):
            write_json(report, {**content, "tables": rows})


def erase_from_report(folder: Path, person: Person, erased: ErasedFiles) -> None:
    """Erase the person from a folder's rejections and report; no run may write there in the meantime.

    The page goes first, because it shows shortened rejections in which the person could not be recognised
    later.

    Raises:
        OutputError: A file cannot be written.
    """
    rejected, report = folder / REJECTED, folder / REPORT
    lines = rejected.read_bytes().splitlines(keepends=True) if rejected.exists() else []
    kept = [_kept_line(line, person) for line in lines]
    for page in (folder / PAGE, folder / EXPLORER):
        if page.exists() and (kept != lines or person.quoted_in(unescape(page.read_text(encoding="utf-8")))):
            page.unlink()
            erased.pages += 1
    for name in (REJECTED, PAGE, EXPLORER, REPORT, *(f"{table}.parquet" for table in TABLES)):
        for partial_file in folder.glob(f".{name}*.partial"):
            partial_file.unlink()
            erased.partials += 1
    if report.exists():
        content = orjson.loads(report.read_bytes())
        scrubbed = _scrubbed(content, person)
        if scrubbed != content:
            write_json(report, scrubbed)
            erased.reports += 1
    if kept != lines:
        erased.rejects += kept.count(None)
        erased.renamed += sum(new not in (None, old) for old, new in zip(lines, kept, strict=True))
        content = b"".join(line for line in kept if line is not None)
        write_whole(rejected, lambda draft: draft.write_bytes(content))


def _kept_line(line: bytes, person: Person) -> bytes | None:
    """Return the part of a rejection to keep: the line, the line without its file's name, or nothing."""
    try:
        rejection = orjson.loads(line)
    except orjson.JSONDecodeError:  # truncated, so its owner is unknown
        return None
    if not isinstance(rejection, dict):
        return None
    file, detail = str(rejection.get("file", "")), str(rejection.get("detail", ""))
    if any(person.is_named_in(text) for text in _texts({**rejection, "file": ""})):
        return None
    new_file = FORGOTTEN_FILE if person.names_file(file) else file
    new_detail = person.without_names(detail, FORGOTTEN_FILE)
    if (new_file, new_detail) == (file, detail):
        return line
    return orjson.dumps(
        {**rejection, "file": new_file, "detail": new_detail}, option=orjson.OPT_APPEND_NEWLINE
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from _texts(member)
    elif isinstance(value, list):
        for element in value:
            yield from _texts(element)


def _scrubbed(value: Any, person: Person) -> Any:
    if isinstance(value, dict):
        return {_scrubbed(name, person): _scrubbed(member, person) for name, member in value.items()}
    if isinstance(value, list):
        return [_scrubbed(element, person) for element in value]
    return ERASED if isinstance(value, str) and person.quoted_in(value) else value


def _batches(out: Path, name: str) -> Iterator[Any]:
    path = out / f"{name}.parquet"
    if path.is_file():
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches():
                    yield pa.Table.from_batches([batch])
        except (OSError, pa.ArrowException) as error:
            raise unreadable_table(path, error) from error


def _is_theirs(rows: Any, person: Person) -> Any:
    """Return a mask of the rows that are the person's or name them in any column."""
    mask = pa.array([False] * len(rows))
    for column in rows.schema:
        if column.name != _FILE and (
            pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        ):
            names_person = partial(_names_person, person, column.name)
            mask = pc.or_(mask, _matching(rows[column.name].combine_chunks(), names_person))
    return mask


def _matching(column: Any, matches: Callable[[str], bool]) -> Any:
    """Return a mask of a column's matching values; each distinct value is checked once."""
    values = [value for value in pc.unique(column).to_pylist() if value is not None and matches(value)]
    return pc.fill_null(pc.is_in(column, pa.array(values, column.type)), False)


def _names_person(person: Person, column: str, value: str) -> bool:
    if column in EVENT_IDS:
        return value in person.events
    if column == CHANNEL and person.is_channel(value):
        return True
    if column in (*WHO, VISITOR, CONVERSATION):
        return person.is_name(value) or person.is_named_in(value)
    return person.is_named_in(value)


def _kept(rows: Any, person: Person) -> Any:
    """Return other people's rows, without the names of files named after the person."""
    rows = rows.filter(pc.invert(_is_theirs(rows, person)))
    if _FILE not in rows.column_names:
        return rows
    files = rows[_FILE].combine_chunks()
    is_named = _matching(files, person.names_file)
    if not pc.any(is_named).as_py():
        return rows
    files = pc.if_else(is_named, pa.scalar(FORGOTTEN_FILE, files.type), files)
    index = rows.schema.get_field_index(_FILE)
    return rows.set_column(index, rows.schema.field(index), files)


def _erase_from_table(out: Path, name: str, person: Person) -> int:
    """Erase rows from one table and return their number; its file is rewritten only if it changes."""
    if not any(_kept(rows, person) != rows for rows in _batches(out, name)):
        return 0
    path = out / f"{name}.parquet"
    erased = 0

    def write(draft: Path) -> None:
        nonlocal erased
        with pq.ParquetWriter(draft, pq.read_schema(path)) as writer:
            for rows in _batches(out, name):
                kept = _kept(rows, person)
                erased += len(rows) - len(kept)
                writer.write_table(kept)

    write_whole(path, write)
    return erased
