"""The files of the lake: written whole or not at all, one per batch."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ..server.context import now_ms
from ..store import Store, open_private

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
GOOD_FILE, FAILED_FILE = "part-00000.parquet", "part-00000.json"
GOOD_SUFFIX, FAILED_SUFFIX = ".parquet", ".json"


def new_batch_id() -> str:
    """An id that sorts by time: 10 digits of milliseconds and 16 random ones."""
    moment = now_ms()
    head = "".join(_DIGITS[moment >> shift & 31] for shift in range(45, -1, -5))
    return head + "".join(secrets.choice(_DIGITS) for _ in range(16))


def good_file(lake: Path, batch_id: str) -> Path:
    """Where the rows of a successful batch are."""
    return lake / f"{batch_id}{GOOD_SUFFIX}"


def failed_file(lake: Path, batch_id: str) -> Path:
    """Where the messages of a failed batch are."""
    return lake / f"{batch_id}{FAILED_SUFFIX}"


def write_rows(lake: Path, batch_id: str, table: pa.Table) -> int:
    """Write a batch's rows as Parquet; says how many bytes."""
    return _write(good_file(lake, batch_id), lambda file: pq.write_table(table, file))


def write_failed(lake: Path, batch_id: str, lines: Iterable[bytes]) -> int:
    """Write a batch's failed messages, a line each; says how many bytes."""
    return _write(failed_file(lake, batch_id), lambda file: file.writelines(lines))


def _write(path: Path, fill: Callable[[BinaryIO], None]) -> int:
    unfinished = path.with_suffix(f"{path.suffix}.unfinished")
    with open(open_private(unfinished, os.O_TRUNC | os.O_WRONLY), "wb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    if os.name == "posix":  # Windows does not open folders
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return path.stat().st_size


def remove_files(lake: Path, batch_id: str) -> None:
    """Remove a batch's files."""
    for path in (good_file(lake, batch_id), failed_file(lake, batch_id)):
        path.unlink(missing_ok=True)


def remove_orphans(store: Store) -> None:
    """Remove files whose batch was never recorded: their messages are in the inbox still."""
    known = store.batch_ids()
    for path in store.lake.iterdir():
        if path.suffix == ".unfinished" or path.stem not in known:
            path.unlink()
