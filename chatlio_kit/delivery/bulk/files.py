"""Parquet files of one batch, kept in the state folder until the batch is settled."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from chatlio_kit.errors import OutputError
from chatlio_kit.private_files import make_private_folder

FULL_FILE = 200_000_000
"""Bytes after which a file is closed: an upload is limited to 256 MB, and one more row group may follow."""
FULL_BATCH = 4
"""Files of a batch: a few large batches are ingested soonest, and Profile takes 90 batches a day."""
FOLDER = "bulk"
"""The folder of the files, in the state folder."""

_ROW_GROUP = 32_000_000
_ROWS_AT_ONCE = 20_000


class BatchFiles:
    """Writes rows to files; all are closed before the first upload.

    Args:
        folder: The folder for the files; files of a killed run are removed.
        schema: The schema of all files.

    Raises:
        OutputError: The folder cannot be created.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder = folder
        self.rows = 0
        self._schema = schema
        self._tables: list[pa.Table] = []
        self._file: IO[bytes] | None = None
        self._writer: pq.ParquetWriter | None = None
        self._count = 0
        remove_files(folder)
        try:
            make_private_folder(folder)
        except OSError as error:
            raise _unwritable(folder, error) from error

    def write(self, table: pa.Table) -> None:
        """Add rows.

        Raises:
            OutputError: The disk is full, or the file cannot be written.
        """
        self.rows += len(table)
        self._tables.append(table)
        if sum(waiting.nbytes for waiting in self._tables) >= _ROW_GROUP:
            self._write_row_group()

    @property
    def is_full(self) -> bool:
        """True if no more rows should be added."""
        return self._count == FULL_BATCH and self._file is None

    def close(self) -> None:
        """Complete the files.

        Raises:
            OutputError: As for :meth:`write`.
        """
        self._write_row_group()
        self._close_file()

    def discard(self) -> None:
        """Remove the files; errors are ignored, because the next run removes the rest."""
        self._tables.clear()
        with suppress(OSError, pa.ArrowException, OutputError):
            self._close_file()
        remove_files(self.folder)

    def _write_row_group(self) -> None:
        if not self._tables:
            return
        rows = pa.concat_tables(self._tables).combine_chunks()
        self._tables.clear()
        try:
            if self._writer is None or self._file is None:
                self._count += 1
                self._file = (self.folder / f"{self._count:05}.parquet").open("wb")
                self._writer = _writer(self._file, self._schema)
            self._writer.write_table(rows)
            is_full = self._file.tell() >= FULL_FILE
        except (OSError, pa.ArrowException) as error:
            raise _unwritable(self.folder, error) from error
        if is_full:
            self._close_file()

    def _close_file(self) -> None:
        writer, file = self._writer, self._file
        self._writer = self._file = None
        try:
            if writer is not None:
                writer.close()
            if file is not None:
                file.close()
        except (OSError, pa.ArrowException) as error:
            raise _unwritable(self.folder, error) from error


def parquet_size(tables: list[pa.Table]) -> int:
    """Return the bytes of these rows as a row group of a file."""
    file = io.BytesIO()
    with _writer(file, tables[0].schema) as writer:
        writer.write_table(pa.concat_tables(tables).combine_chunks())
    return file.tell()


def _writer(file: IO[bytes], schema: pa.Schema) -> pq.ParquetWriter:
    # the platform reads only the file's own schema, so Arrow's is left out
    return pq.ParquetWriter(file, schema, compression="snappy", store_schema=False)


def paths_in(folder: Path) -> list[Path]:
    """Return the files of a batch, in their order; none if one is truncated, as if they were gone."""
    paths = sorted(folder.glob("*.parquet"))
    try:
        for path in paths:
            pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return []
    return paths


def digest_of(folder: Path) -> str:
    """Return a digest of the files' content."""
    digest = sha256()
    for path in paths_in(folder):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def rows_in(folder: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Yield the rows of a batch's files in chunks.

    Raises:
        OutputError: A file is damaged.
    """
    for path in paths_in(folder):
        try:
            with pq.ParquetFile(path) as parquet:
                for rows in parquet.iter_batches(_ROWS_AT_ONCE, columns=columns):
                    yield pa.Table.from_batches([rows])
        except (OSError, pa.ArrowException) as error:
            raise OutputError(
                f"The file {str(path)!r} of a batch is damaged: {_reason(error)}. Remove the folder "
                f"{str(folder)!r}, then run it again: the events of this batch are sent again."
            ) from error


def remove_files(folder: Path) -> None:
    """Remove a folder of files; a later run removes the rest."""
    shutil.rmtree(folder, ignore_errors=True)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]


def _unwritable(folder: Path, error: Exception) -> OutputError:
    return OutputError(
        f"The files of a batch could not be written to {str(folder)!r}: {_reason(error)}. Nothing of this "
        "batch was sent. Free some space there, or use another --state. Then run it again: it resumes where "
        "it stopped."
    )
