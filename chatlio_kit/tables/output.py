"""Files of a run: private, and written completely or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import orjson

from chatlio_kit.chatlio.rejections import Reason, Rejection
from chatlio_kit.display import Document
from chatlio_kit.errors import OutputError
from chatlio_kit.private_files import make_private_folder, new_file

MOST_LISTED = 100_000
"""Maximum number of rejections listed per file and reason."""
MOST_SHOWN = 100_000_000
"""Maximum number of characters shown of their records; further records show only their beginning."""
LONGEST_SHOWN = 1_000_000
"""Maximum number of characters of a record that is shown completely."""
BEGINNING = 1000
"""Number of characters shown of any other record."""


def make_folder(out: Path) -> None:
    """Create a folder and its parents.

    Raises:
        OutputError: The folder cannot be created.
    """
    try:
        make_private_folder(out)
    except OSError as error:
        raise unwritable(out, error) from error


def write_json(path: Path, content: object) -> None:
    """Write indented JSON, completely or not at all."""
    text = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    write_whole(path, lambda draft: draft.write_bytes(text))


def write_page(path: Path, document: Document) -> None:
    """Write a report's page, completely or not at all."""
    write_whole(path, lambda draft: draft.write_text(document.to_html(), encoding="utf-8"))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name, and rename it when it is complete.

    Raises:
        OutputError: The file cannot be written.
    """
    draft = None
    try:
        draft = new_file(path)
        write(draft)
        draft.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> OutputError:
    """Return the error for a path that cannot be written."""
    words = error.strerror or str(error)
    return OutputError(f"{str(path)!r} cannot be written: {words}. Choose another place or free this one.")


class RejectedFile:
    """``rejected.jsonl`` while it grows; it gets its name when it is closed without an error.

    A damaged file of a few bytes may unpack to millions of rejections. Therefore records are shown up to a
    limit, and so are a file's rejections for one reason; a last line counts the others.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._draft: Path
        self._file: BinaryIO
        self._listed, self._shown = Counter[tuple[str, Reason]](), Counter[tuple[str, Reason]]()
        self._last: dict[tuple[str, Reason], Rejection] = {}

    def __enter__(self) -> RejectedFile:
        try:
            self._draft = new_file(self._path)
            self._file = self._draft.open("wb")
        except OSError as error:
            raise unwritable(self._path, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._count_unlisted()
            self._file.close()
            if error is None:
                self._draft.replace(self._path)
        except OSError as failure:
            if error is None:
                raise unwritable(self._path, failure) from failure
        finally:
            self._draft.unlink(missing_ok=True)

    def add(self, rejected: Iterable[Rejection]) -> None:
        """Write a line for each rejection.

        Raises:
            OutputError: The file cannot be written.
        """
        try:
            for rejection in rejected:
                group = (rejection.file, rejection.reason)
                self._listed[group] += 1
                if self._listed[group] <= MOST_LISTED:
                    self._write(self._shortened(group, rejection))
                else:
                    self._last[group] = rejection
        except OSError as error:
            raise unwritable(self._path, error) from error

    def _write(self, rejection: Rejection) -> None:
        line: Any = rejection
        if rejection.raw is None:
            line = {name: value for name, value in asdict(rejection).items() if name != "raw"}
        self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def _shortened(self, group: tuple[str, Reason], rejection: Rejection) -> Rejection:
        """Truncate a long record, or any record once enough of its group are shown."""
        raw = rejection.raw
        if raw is None:
            return rejection
        is_enough = self._shown[group] > MOST_SHOWN
        if len(raw) <= (BEGINNING if is_enough else LONGEST_SHOWN):
            self._shown[group] += len(raw)
            return rejection
        detail = f"{rejection.detail} Only the beginning of its {len(raw):,} characters is shown."
        return replace(rejection, raw=raw[:BEGINNING], detail=detail)

    def _count_unlisted(self) -> None:
        for group, last in self._last.items():
            unlisted = self._listed[group] - MOST_LISTED
            detail = (
                f"{last.detail} This is the last of {unlisted:,} more records of the file that were rejected "
                "for this reason and are not listed."
            )
            self._write(replace(self._shortened(group, last), detail=detail))
