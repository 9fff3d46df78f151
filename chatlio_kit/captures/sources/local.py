"""Local files: the contents of folders and the matches of patterns, without waiting or looping."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from hashlib import file_digest, sha256
from pathlib import Path

from chatlio_kit.captures.formats.records import Remark
from chatlio_kit.captures.sources.files import (
    CONVERTED,
    LITTER,
    SPECIAL,
    Entry,
    UnlistedSource,
    is_litter,
)
from chatlio_kit.captures.sources.remote import WILDCARD
from chatlio_kit.chatlio.catalogue import TABLES

_ANY_DEPTH = "**"
_TABLE_FILES = frozenset(f"{table}.parquet" for table in TABLES)
_CONVERTED_FILES = _TABLE_FILES | {"rejected.jsonl", "report.json", "report.html", "explorer.html"}
_GREW = Remark(
    "grew after it was listed: lines written after it was read are left for the next run",
    "files grew after they were listed: lines written after they were read are left for the next run",
)
_SHRANK = Remark(
    "is shorter than when it was listed, so it was rewritten or truncated: read it again",
    "files are shorter than when they were listed, so they were rewritten or truncated: read them again",
)

Parts = tuple[str, ...]


@dataclass(frozen=True)
class LocalSource:
    """A file on this machine."""

    path: Path

    def open(self) -> io.BufferedReader:
        """Open the file."""
        return self.path.open("rb")

    def mark(self) -> str | None:
        """Return a digest of size, time and content; None for a pipe or an unreadable file."""
        try:
            status = self.path.stat()
            if not stat.S_ISREG(status.st_mode):
                return None
            with self.path.open("rb") as file:
                content = file_digest(file, "sha256").hexdigest()
        except OSError:  # reading its records reports the error
            return None
        return sha256(f"{status.st_size}|{status.st_mtime_ns}|{content}".encode()).hexdigest()

    def shared(self) -> LocalSource:
        """Return the file by its absolute path."""
        return LocalSource(self.path.absolute())

    def change_of(self, size: int | None) -> Remark | None:
        """Compare the file's size with an earlier one."""
        try:
            now = None if size is None else self.path.stat().st_size
        except OSError:  # it was removed after it was read
            return None
        if size is None or now is None or now == size:
            return None
        return _GREW if now > size else _SHRANK


def entry_of(path: Path, inside: Parts, status: os.stat_result) -> Entry:
    """Return a file that may be read, even if it is a pipe, as in ``convert <(zcat ...)``."""
    is_regular = stat.S_ISREG(status.st_mode)
    return Entry(
        inside,
        LocalSource(path),
        os.path.realpath(path),
        status.st_size if is_regular else None,
        _time_of(status) if is_regular else None,
        is_link=path.is_symlink(),
    )


def _unlisted(path: Path, inside: Parts, wrong: OSError) -> Entry:
    return Entry(inside, UnlistedSource(message_of_system(wrong)), os.path.realpath(path))


def _time_of(status: os.stat_result) -> datetime | None:
    try:
        return datetime.fromtimestamp(status.st_mtime, UTC)
    except (OverflowError, ValueError, OSError):  # a year outside the calendar
        return None


def below(folder: Path, inside: Parts = ()) -> Iterator[Entry]:
    """Yield everything below a folder, visiting each real folder once, however many links lead to it."""
    waiting, linked = [(folder, inside)], list[tuple[Path, Parts]]()
    seen: set[tuple[int, int]] = set()
    while waiting or linked:
        # Real folders come before links to them, so that their files get the real names.
        path, parts = waiting.pop() if waiting else linked.pop(0)
        try:
            status = path.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(path) as scan:
                children = sorted(scan, key=lambda child: child.name)
        except OSError as wrong:
            yield _unlisted(path, parts, wrong)
            continue
        is_converted = _TABLE_FILES.issubset(child.name for child in children)
        for child in children:
            child_path, child_parts = Path(child.path), (*parts, child.name)
            if is_litter(child.name):
                yield Entry(child_parts, left_out=LITTER)
                continue
            if is_converted and child.name in _CONVERTED_FILES:
                yield Entry(child_parts, left_out=CONVERTED)
                continue
            try:
                status = child.stat()
            except OSError as wrong:
                if child.is_symlink():
                    yield Entry(child_parts, left_out="link to nothing")
                else:
                    yield _unlisted(child_path, child_parts, wrong)
                continue
            if stat.S_ISDIR(status.st_mode):
                (linked if child.is_symlink() else waiting).append((child_path, child_parts))
            elif stat.S_ISREG(status.st_mode):
                yield entry_of(child_path, child_parts, status)
            else:
                yield Entry(child_parts, left_out=SPECIAL)


def matching(pattern: str) -> tuple[Path, list[Entry]]:
    """Return the part of a pattern before its first wildcard, and the pattern's matches.

    ``*``, ``?`` and ``[...]`` match within one name, ``**`` matches any folders; a matching folder means
    everything in it. Hidden names match only if the pattern has the dot.
    """
    parts = Path(pattern).parts
    first = next(index for index, part in enumerate(parts) if WILDCARD.search(part))
    base = Path(*parts[:first])
    entries: dict[Parts, Entry] = {}
    for path, inside in _matched(base, parts[first:], ()):
        for entry in _entries(path, inside):
            entries.setdefault(entry.inside, entry)
    return base, list(entries.values())


def _matched(folder: Path, parts: Parts, inside: Parts) -> Iterator[tuple[Path, Parts]]:
    if not parts:
        yield folder, inside
        return
    part, rest = parts[0], parts[1:]
    if part == _ANY_DEPTH:
        for path, below_here in _folders(folder, inside) if set(rest) - {_ANY_DEPTH} else [(folder, inside)]:
            yield from _matched(path, rest, below_here)
    elif WILDCARD.search(part):
        for name in _names(folder):
            if fnmatchcase(name, part) and (part.startswith(".") or not is_litter(name)):
                yield from _matched(folder / name, rest, (*inside, name))
    elif os.path.lexists(folder / part):
        yield from _matched(folder / part, rest, (*inside, part))


def _folders(folder: Path, inside: Parts) -> list[tuple[Path, Parts]]:
    """Return a folder and all folders below it that contain files."""
    folders = {inside}
    for entry in below(folder, inside):
        if isinstance(entry.source, LocalSource):
            folders |= {entry.inside[:depth] for depth in range(len(inside) + 1, len(entry.inside))}
    return [(folder.joinpath(*parts[len(inside) :]), parts) for parts in sorted(folders)]


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _entries(path: Path, inside: Parts) -> Iterator[Entry]:
    try:
        status = path.stat()
    except OSError as wrong:
        yield _unlisted(path, inside, wrong)
        return
    if stat.S_ISDIR(status.st_mode):
        yield from below(path, inside)
    elif stat.S_ISREG(status.st_mode):
        yield entry_of(path, inside, status)
    else:
        yield Entry(inside, left_out=SPECIAL)


def message_of_system(wrong: OSError) -> str:
    """Return the system's message, without the path."""
    return wrong.strerror or str(wrong)
