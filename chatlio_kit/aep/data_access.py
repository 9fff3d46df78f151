"""Data Access: the files of a batch, those that landed and those that failed.

Source: Data Access API guide; Retrieve error diagnostics.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import orjson

from chatlio_kit.aep.transport import Api, Json, Parameters, in_path
from chatlio_kit.errors import NotFound

_PAGE = 100
_RANGE = 8_000_000


@dataclass(frozen=True)
class StoredFile:
    """A file that can be downloaded.

    Attributes:
        place: the call that gives it, below the service's base path.
        path: its path there, for the ``path`` parameter.
        size: bytes.
    """

    place: str
    path: str
    size: int

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]


class DataAccess(Api):
    """Lists and downloads what a batch holds."""

    service: ClassVar[str] = "Data Access"
    base: ClassVar[str] = "/data/foundation/export"

    def files(self, batch_id: str) -> list[StoredFile]:
        """List the files that a batch added to its dataset.

        Raises:
            NotFound: there is no such batch.
        """
        found: list[StoredFile] = []
        place = f"/batches/{in_path(batch_id)}/files"
        for entry in self._entries("list the batch's files", place, may_be_absent=False):
            place = f"/files/{in_path(str(entry.get('dataSetFileId') or ''))}"
            found += self._stored("list the parts of a file", place)
        return found

    def failed_files(self, batch_id: str) -> list[StoredFile]:
        """List the files that hold a batch's failed records; none when nothing failed."""
        return self._stored("list the batch's failed files", f"/batches/{in_path(batch_id)}/failed")

    def download(self, file: StoredFile) -> bytes:
        """Give a file's bytes.

        Raises:
            NotFound: it is gone; diagnostics are kept for up to 30 days.
        """
        return self._call(f"download {file.name!r}", "GET", file.place, query=[("path", file.path)]).content

    def save(self, file: StoredFile, target: IO[bytes]) -> None:
        """Write a file's bytes to another one, in ranges, so that a large one need not fit in memory.

        Raises:
            NotFound: it is gone.
        """
        start = 0
        while start < file.size:
            asked = f"bytes={start}-{min(start + _RANGE, file.size) - 1}"
            reply = self._call(
                f"download {file.name!r}",
                "GET",
                file.place,
                query=[("path", file.path)],
                headers={"Range": asked},
            )
            target.write(reply.content)
            if reply.status_code != 206 or not reply.content:  # ranges are not kept to: this is all of it
                return
            start += len(reply.content)

    def row_errors(self, batch_id: str) -> Iterator[Json]:
        """Give the error rows of a batch, each with its ``_errors``; none when it kept none."""
        place = f"/batches/{in_path(batch_id)}/meta"
        for file in self._stored("list the batch's row errors", place, path="row_errors"):
            yield from self._lines(file)

    def failed_rows(self, batch_id: str) -> Iterator[Json]:
        """Give the failed rows of a streamed batch.

        Their ``body``, ``header`` and ``_errors`` may be JSON inside text; they are given unpacked.
        """
        for file in self.failed_files(batch_id):
            for row in self._lines(file):
                yield {key: _unpacked(value) for key, value in row.items()}

    def _lines(self, file: StoredFile) -> Iterator[Json]:
        for line in self.download(file).splitlines():
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                raise self.unexpected(f"read {file.name!r}", "a line of it is not JSON") from None
            if isinstance(row, dict):
                yield row

    def _stored(self, operation: str, place: str, path: str | None = None) -> list[StoredFile]:
        """List what a place holds, without markers such as ``_SUCCESS``, which are empty."""
        query: Parameters = [] if path is None else [("path", path)]
        found = [_stored(place, path, entry) for entry in self._entries(operation, place, query)]
        return [file for file in found if file.size and not file.name.startswith("_")]

    def _entries(
        self, operation: str, place: str, query: Parameters = (), *, may_be_absent: bool = True
    ) -> Iterator[Json]:
        start = 0
        while True:
            try:
                answer = self._ask_object(
                    operation, "GET", place, query=[*query, ("limit", _PAGE), ("start", start)]
                )
            except NotFound:  # the platform keeps no folder for what has no files
                if may_be_absent:
                    return
                raise
            entries = [each for each in answer.get("data") or [] if isinstance(each, dict)]
            yield from entries
            if len(entries) < _PAGE:
                return
            start += _PAGE


def _stored(place: str, folder: str | None, entry: Json) -> StoredFile:
    name = str(entry.get("name") or "")
    link = ((entry.get("_links") or {}).get("self") or {}).get("href")
    # Only the path is taken from the link: the token goes to no host that an answer names.
    asked = parse_qs(urlsplit(str(link)).query).get("path") if link else None
    path = asked[0] if asked else "/".join(part for part in (folder, name) if part)
    return StoredFile(place, path, int(entry.get("length") or 0))


def _unpacked(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(("{", "[")):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
