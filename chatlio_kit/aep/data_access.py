"""Data Access: files of a batch's stored and failed records.

Source: Data Access API guide; Retrieve error diagnostics.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import orjson

from chatlio_kit.aep.transport import Api, Json, Parameters, in_path, objects_in
from chatlio_kit.errors import NotFound

_RANGE = 8_000_000


@dataclass(frozen=True)
class StoredFile:
    """A file that can be downloaded.

    Attributes:
        endpoint: Path of the call that returns it, below the service's base path.
        path: Its own path, for the ``path`` parameter of that call.
        size: Size in bytes.
    """

    endpoint: str
    path: str
    size: int

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]


class DataAccess(Api):
    """Lists and downloads the files of batches."""

    service: ClassVar[str] = "Data Access"
    base: ClassVar[str] = "/data/foundation/export"

    def files(self, batch_id: str) -> list[StoredFile]:
        """List the files that a batch added to its dataset.

        Raises:
            NotFound: The batch does not exist.
        """
        files: list[StoredFile] = []
        for entry in self._entries("list the batch's files", f"/batches/{in_path(batch_id)}/files"):
            endpoint = f"/files/{in_path(str(entry.get('dataSetFileId') or ''))}"
            files += self._files("list the parts of a file", endpoint)
        return files

    def failed_files(self, batch_id: str) -> list[StoredFile]:
        """List the files with a batch's failed records; empty if nothing failed."""
        return self._files("list the batch's failed files", f"/batches/{in_path(batch_id)}/failed")

    def download(self, file: StoredFile) -> bytes:
        """Return a file's bytes.

        Raises:
            NotFound: It is gone; diagnostics are kept for up to 30 days.
        """
        return self._call(
            f"download {file.name!r}", "GET", file.endpoint, query=[("path", file.path)]
        ).content

    def save(self, file: StoredFile, target: IO[bytes]) -> None:
        """Copy a file to another one in ranges, so that a large file need not fit in memory.

        Raises:
            NotFound: It is gone.
        """
        start = 0
        while start < file.size:
            byte_range = f"bytes={start}-{min(start + _RANGE, file.size) - 1}"
            reply = self._call(
                f"download {file.name!r}",
                "GET",
                file.endpoint,
                query=[("path", file.path)],
                headers={"Range": byte_range},
            )
            target.write(reply.content)
            if (
                reply.status_code != 206 or not reply.content
            ):  # the server ignored the range and sent the whole file
                return
            start += len(reply.content)

    def row_errors(self, batch_id: str) -> Iterator[Json]:
        """Yield the refused rows of a batch of files, with their errors.

        JSON in the strings ``_corrupt_record`` and ``_errors`` is parsed.
        """
        endpoint = f"/batches/{in_path(batch_id)}/meta"
        for file in self._files("list the batch's row errors", endpoint, [("path", "row_errors")]):
            for row in self._lines(file):
                yield {key: _parsed(value) for key, value in row.items()}

    def failed_rows(self, batch_id: str) -> Iterator[Json]:
        """Yield the failed rows of a streamed batch.

        JSON in the strings ``body``, ``header`` and ``_errors`` is parsed.
        """
        for file in self.failed_files(batch_id):
            for row in self._lines(file):
                yield {key: _parsed(value) for key, value in row.items()}

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

    def _files(self, operation: str, endpoint: str, query: Parameters = ()) -> list[StoredFile]:
        """List the files at an endpoint, except empty markers such as ``_SUCCESS``."""
        try:
            entries = list(self._entries(operation, endpoint, query))
        except NotFound:  # the platform keeps no folder if there are no files
            return []
        files = [_stored_file(endpoint, entry) for entry in entries]
        return [file for file in files if file.size and not file.name.startswith("_")]

    def _entries(self, operation: str, endpoint: str, query: Parameters = ()) -> Iterator[Json]:
        return self._ask_pages(operation, endpoint, lambda answer: objects_in(answer, "data"), query)


def _stored_file(endpoint: str, entry: Json) -> StoredFile:
    link = ((entry.get("_links") or {}).get("self") or {}).get("href")
    # Only the link's path is used: the token is never sent to a host named in a response.
    linked = parse_qs(urlsplit(str(link)).query).get("path") if link else None
    path = linked[0] if linked else str(entry.get("name") or "")
    return StoredFile(endpoint, path, int(entry.get("length") or 0))


def _parsed(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(("{", "[")):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
