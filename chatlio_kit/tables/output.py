"""Frames, rejects and report on disk; a file appears whole or not at all, and for its owner alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import orjson

from chatlio_kit.chatlio.rejections import Reason, Rejection
from chatlio_kit.display import Document
from chatlio_kit.errors import OutputError
from chatlio_kit.private_files import make_private_folder, new_file
from chatlio_kit.tables.report import PAGE, converted_document, report_of
from chatlio_kit.tables.tables import Tables

REJECTED = "rejected.jsonl"
REPORT = "report.json"
_TOLD = [each.name for each in fields(Rejection)]
MOST_LISTED = 100_000
"""Rejects of one file for one reason that are listed."""
MOST_SHOWN = 100_000_000
"""Characters of their records that are shown; after them, of each record its beginning."""
LONGEST_SHOWN = 1_000_000
"""Characters of a record that is shown whole."""
BEGINNING = 1000
"""Characters that are shown of any other."""


def write_tables(tables: Tables, out: Path) -> dict[str, object]:
    """Write the five frames as Parquet, the rejects, the report and its page into a folder.

    Returns:
        The report, as ``report.json`` holds it.

    Raises:
        OutputError: when the folder cannot be written.
    """
    rows = {name: len(frame) for name, frame in tables.frames().items()}
    report = report_of(tables.counts, tables.findings, rows, tables.next_steps)
    make_folder(out)
    for name, frame in tables.frames().items():
        _write_whole(out / f"{name}.parquet", partial(frame.to_parquet, index=False))
    with RejectedFile(out / REJECTED) as rejected:
        rejected.add(tables.rejections)
    page = converted_document(tables.counts, tables.findings, rows, tables.notes, tables.next_steps)
    write_page(out / PAGE, page)
    write_json(out / REPORT, report)
    return report


def make_folder(out: Path) -> None:
    """Make a folder with its parents.

    Raises:
        OutputError: when that is not possible.
    """
    try:
        make_private_folder(out)
    except OSError as error:
        raise unwritable(out, error) from error


def write_json(path: Path, content: object) -> None:
    """Write JSON, indented, whole or not at all."""
    text = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    _write_whole(path, lambda unfinished: unfinished.write_bytes(text))


def write_page(path: Path, document: Document) -> None:
    """Write a report's page, whole or not at all."""
    _write_whole(path, lambda unfinished: unfinished.write_text(document.to_html(), encoding="utf-8"))


class RejectedFile:
    """``rejected.jsonl`` while it grows; it takes its name when it is closed without an error.

    A damaged file of a few bytes may unfold to millions of rejects. So a record is shown up to a limit, and
    of each file's rejects for one reason only so many are listed; a last line counts the others.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unfinished: Path
        self._listed, self._shown = Counter[tuple[str, Reason]](), Counter[tuple[str, Reason]]()
        self._last: dict[tuple[str, Reason], Rejection] = {}
        self._file: BinaryIO

    def __enter__(self) -> RejectedFile:
        try:
            self._unfinished = new_file(self._path)
            self._file = self._unfinished.open("wb")
        except OSError as error:
            raise unwritable(self._path, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._count_others()
            self._file.close()
            if error is None:
                self._unfinished.replace(self._path)
        except OSError as wrong:
            if error is None:
                raise unwritable(self._path, wrong) from wrong
        finally:
            self._unfinished.unlink(missing_ok=True)

    def add(self, rejected: Iterable[Rejection]) -> None:
        """Write rejections, a line for each.

        Raises:
            OutputError: when the disk refuses.
        """
        try:
            for rejection in rejected:
                sort = (rejection.file, rejection.reason)
                self._listed[sort] += 1
                if self._listed[sort] <= MOST_LISTED:
                    self._write(self._cut(sort, rejection))
                else:
                    self._last[sort] = rejection
        except OSError as error:
            raise unwritable(self._path, error) from error

    def _write(self, rejection: Rejection) -> None:
        told = {name: getattr(rejection, name) for name in _TOLD}
        if rejection.raw is None:
            del told["raw"]
        self._file.write(orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE))

    def _cut(self, sort: tuple[str, Reason], rejection: Rejection) -> Rejection:
        """Show the beginning only of a long record, and of any record where enough of them are shown."""
        raw = rejection.raw
        if raw is None:
            return rejection
        is_enough = self._shown[sort] > MOST_SHOWN
        if len(raw) <= (BEGINNING if is_enough else LONGEST_SHOWN):
            self._shown[sort] += len(raw)
            return rejection
        detail = f"{rejection.detail} Only the beginning of its {len(raw):,} characters is shown."
        return replace(rejection, raw=raw[:BEGINNING], detail=detail)

    def _count_others(self) -> None:
        for sort, last in self._last.items():
            others = self._listed[sort] - MOST_LISTED
            detail = (
                f"{last.detail} This is the last of {others:,} more records of the file that were rejected "
                "for this reason and are not listed."
            )
            self._write(replace(self._cut(sort, last), detail=detail))


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    unfinished = None
    try:
        unfinished = new_file(path)
        write(unfinished)
        unfinished.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> OutputError:
    """Say that a place cannot be written."""
    words = error.strerror or str(error)
    return OutputError(f"{str(path)!r} cannot be written: {words}. Choose another place or free this one.")
