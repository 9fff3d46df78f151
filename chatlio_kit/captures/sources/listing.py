"""The files of a folder, and those that a pattern matches; nothing in a folder makes this wait or loop."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

_LITTER = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_ANY_DEPTH = "**"

LITTER = "hidden, or left behind by a system"
SPECIAL = "neither file nor folder"


@dataclass(frozen=True)
class Entry:
    """What was found below a folder.

    Attributes:
        path: where it is.
        inside: its path below the folder, part by part.
        status: the file's, links followed; None for what is left out or lost.
        left_out: why it is no capture, in a word or two.
        lost: what went wrong where a folder or a file could not be looked at.
    """

    path: Path
    inside: tuple[str, ...]
    status: os.stat_result | None = None
    left_out: str = ""
    lost: str = ""


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden, or one that systems leave behind in folders and zips."""
    return name.startswith(".") or name in _LITTER


def is_pattern(text: str) -> bool:
    """Whether a path has wildcards."""
    return any(mark in text for mark in "*?[")


def below(folder: Path, inside: tuple[str, ...] = ()) -> Iterator[Entry]:
    """Give everything below a folder: each real folder once, however many links lead to it."""
    waiting, linked = [(folder, inside)], list[tuple[Path, tuple[str, ...]]]()
    seen: set[tuple[int, int]] = set()
    while waiting or linked:
        # What is there itself comes before what a link leads to, and so gives the names.
        place, parts = waiting.pop() if waiting else linked.pop(0)
        try:
            status = place.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(place) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as wrong:
            yield Entry(place, parts, lost=words(wrong))
            continue
        for entry in entries:
            found_as = (Path(entry.path), (*parts, entry.name))
            if is_litter(entry.name):
                yield Entry(*found_as, left_out=LITTER)
                continue
            try:
                status = entry.stat()
            except OSError as wrong:
                if entry.is_symlink():
                    yield Entry(*found_as, left_out="link to nothing")
                else:
                    yield Entry(*found_as, lost=words(wrong))
                continue
            if stat.S_ISDIR(status.st_mode):
                (linked if entry.is_symlink() else waiting).append(found_as)
            elif stat.S_ISREG(status.st_mode):
                yield Entry(*found_as, status)
            else:
                yield Entry(*found_as, left_out=SPECIAL)


def matching(pattern: str) -> tuple[Path, list[Entry]]:
    """Give the part of a pattern before its first wildcard, and what the pattern matches.

    ``*``, ``?`` and ``[...]`` stand for parts of one name, ``**`` for any folders; a folder that is matched
    stands for all that is in it. Hidden names are matched only where the pattern has the dot.
    """
    parts = Path(pattern).parts
    first = next(place for place, part in enumerate(parts) if is_pattern(part))
    base = Path(*parts[:first])
    found: dict[Path, Entry] = {}
    for path, inside in _matched(base, parts[first:], ()):
        for entry in _entries(path, inside):
            found.setdefault(entry.path, entry)
    return base, list(found.values())


def _matched(
    folder: Path, parts: tuple[str, ...], inside: tuple[str, ...]
) -> Iterable[tuple[Path, tuple[str, ...]]]:
    if not parts:
        yield folder, inside
        return
    part, rest = parts[0], parts[1:]
    if part == _ANY_DEPTH:
        yield from _at_any_depth(folder, rest, inside)
    elif is_pattern(part):
        for name in _names(folder):
            if fnmatchcase(name, part) and (part.startswith(".") or not is_litter(name)):
                yield from _matched(folder / name, rest, (*inside, name))
    elif os.path.lexists(folder / part):
        yield from _matched(folder / part, rest, (*inside, part))


def _at_any_depth(
    folder: Path, rest: tuple[str, ...], inside: tuple[str, ...]
) -> Iterable[tuple[Path, tuple[str, ...]]]:
    if not rest or all(part == _ANY_DEPTH for part in rest):
        yield folder, inside
        return
    folders = {(folder, inside)}
    for entry in below(folder, inside):
        if entry.status is not None:
            folders |= {
                (entry.path.parents[up], entry.inside[: -up - 1])
                for up in range(len(entry.inside) - len(inside))
            }
    for place, parts in sorted(folders):
        yield from _matched(place, rest, parts)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _entries(path: Path, inside: tuple[str, ...]) -> Iterator[Entry]:
    try:
        status = path.stat()
    except OSError as wrong:
        yield Entry(path, inside, lost=words(wrong))
        return
    if stat.S_ISDIR(status.st_mode):
        yield from below(path, inside)
    elif stat.S_ISREG(status.st_mode):
        yield Entry(path, inside, status)
    else:
        yield Entry(path, inside, left_out=SPECIAL)


def words(wrong: OSError) -> str:
    """Give the system's words for what went wrong, without the path."""
    return wrong.strerror or str(wrong)
