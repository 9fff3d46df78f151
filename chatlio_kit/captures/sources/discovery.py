"""Find files from paths, patterns and URLs, in a fixed order and under stable names."""

from __future__ import annotations

import errno
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

from chatlio_kit.captures.sources.exclusion import Exclusion
from chatlio_kit.captures.sources.files import (
    CONVERTED,
    CaptureFile,
    Entry,
    Names,
    local_name,
    note,
    printable,
)
from chatlio_kit.captures.sources.local import below, entry_of, matching, message_of_system
from chatlio_kit.captures.sources.remote import WILDCARD, is_address, is_web, name_of, shown
from chatlio_kit.captures.sources.stores import list_objects
from chatlio_kit.captures.sources.web import look_up
from chatlio_kit.chatlio.kinds import kind_in_path
from chatlio_kit.errors import CaptureError, MissingPath

_FILE = "file://"
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL})


@dataclass(frozen=True)
class FoundFiles:
    """The files found from the given paths.

    Attributes:
        files: The files, sorted by name.
        left_out: Names of files that were left out, by reason.
        excluded: Names of files that patterns excluded.
    """

    files: list[CaptureFile]
    left_out: dict[str, list[str]]
    excluded: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """Sentences about files that were left out."""
        return [note(why, Names.of(names)) for why, names in sorted(self.left_out.items())]

    def renamed(self, name: Callable[[str], str]) -> FoundFiles:
        """Return the same under other names; if several files share a name, later ones are numbered."""
        files = [replace(file, name=name(file.name)) for file in self.files]
        left_out = {why: list(map(name, names)) for why, names in self.left_out.items()}
        return FoundFiles(list(_numbered(files)), left_out, list(map(name, self.excluded)))


@dataclass(frozen=True)
class _Argument:
    """One path, pattern or URL.

    Attributes:
        root: Its own name.
        whole: A longer name, used if another argument has the same name.
        parent: The folder that holds it, whose name may indicate a kind.
        entries: The entries found from it.
    """

    root: str
    whole: str
    parent: str
    entries: list[Entry]

    def exclusion_paths(self, entry: Entry) -> tuple[str, ...]:
        """Return the paths that patterns match: from the argument on, as typed, and from within it."""
        starts = (self.root, self.whole, "") if entry.inside else (self.root, self.whole)
        return tuple("/".join((start, *entry.inside) if start else entry.inside) for start in starts)


def find_files(paths: Sequence[Path | str], exclusion: Exclusion | None = None) -> FoundFiles:
    """List the files found from paths, patterns and URLs, once each, sorted by name.

    In a folder every file counts, whatever its name, except hidden files and those that systems leave behind;
    a note names the files left out. Links are followed. Unreadable files are listed too, and are rejected
    later.

    Args:
        paths: Files, folders, patterns such as ``captures/**/*.ndjson``, or URLs such as
            ``s3://bucket/path/``.
        exclusion: Patterns for files not to read, if any.

    Raises:
        MissingPath: A path does not exist, or a pattern matches nothing.
        UsageError: A URL needs a driver that is not installed.
        CaptureError: There are no files, or a store does not respond.
    """
    arguments = [_argument(str(path)) for path in paths]
    roots = Counter(argument.root for argument in arguments)
    files: dict[str, CaptureFile] = {}
    left_out: dict[str, list[str]] = {}
    excluded: dict[str, str] = {}
    pairs = [(argument, entry) for argument in arguments for entry in argument.entries]
    # A file's own name takes precedence over that of a link to it.
    for argument, entry in sorted(pairs, key=lambda pair: pair[1].is_link):
        root = argument.root if roots[argument.root] == 1 else argument.whole
        parts = (root, *entry.inside)
        name = printable("/".join(parts))
        if entry.left_out or entry.source is None:
            left_out.setdefault(entry.left_out, []).append(name)
            continue
        exclusion_paths = argument.exclusion_paths(entry) if exclusion else ()
        if exclusion and exclusion.matches(exclusion_paths):
            excluded.setdefault(entry.identity, name)
            continue
        is_named = not entry.inside
        kind = kind_in_path([argument.parent, argument.root] if is_named else "/".join(parts).split("/"))
        file = CaptureFile(name, kind, entry.source, entry.size, entry.modified_at, is_named, exclusion_paths)
        known = files.setdefault(entry.identity, file)
        if is_named and not known.is_named:
            files[entry.identity] = replace(known, is_named=True)
    for identity in excluded:  # a pattern may match any of its names
        files.pop(identity, None)
    if excluded and not files:
        raise CaptureError(
            f"--exclude (in Python exclude=) excludes every file ({len(excluded):,}). Narrow its patterns."
        )
    if not files:
        listed = ", ".join(repr(shown(str(path))) for path in paths)
        if CONVERTED in left_out:
            raise CaptureError(
                f"{listed} holds tables that convert wrote, not captures. Name the captures that they were "
                "made from."
            )
        raise CaptureError(
            f"There are no capture files in {listed}. Name a folder or a file of captured webhooks."
        )
    by_name = sorted(files.items(), key=lambda item: (item[1].name, item[0]))
    return FoundFiles(list(_numbered(file for _, file in by_name)), left_out, sorted(excluded.values()))


def _numbered(files: Iterable[CaptureFile]) -> Iterator[CaptureFile]:
    """Number the later ones of several files with the same name."""
    times = Counter[str]()
    for file in files:
        times[file.name] += 1
        yield file if times[file.name] == 1 else replace(file, name=f"{file.name} ({times[file.name]})")


def local_path(text: Path | str) -> str:
    """Return the path that a URL such as ``file:///captures`` means; return any other string unchanged."""
    text = str(text)
    return unquote(text[len(_FILE) :]) if text.lower().startswith(_FILE) else text


def _argument(text: str) -> _Argument:
    text = local_path(text)
    return _remote(text) if is_address(text) else _local(text)


def _remote(address: str) -> _Argument:
    entries, is_pattern = ([look_up(address)], False) if is_web(address) else list_objects(address)
    whole = shown(address).rstrip("/")
    return _Argument(name_of(address, is_literal=not is_pattern), whole, whole.split("/")[-2], entries)


def _local(text: str) -> _Argument:
    path = Path(text)
    try:
        status = path.stat()
    except (OSError, ValueError) as wrong:
        if isinstance(wrong, OSError) and wrong.errno not in _NOT_THERE:
            raise CaptureError(f"{shown(text)!r} cannot be opened: {message_of_system(wrong)}.") from None
        if WILDCARD.search(text):
            return _pattern(text)
        raise MissingPath(
            f"There is no file or folder {shown(text)!r}. Check the path and try again."
        ) from None
    return _under(path, below(path) if stat.S_ISDIR(status.st_mode) else [entry_of(path, (), status)])


def _pattern(text: str) -> _Argument:
    try:
        base, entries = matching(text)
    except ValueError:
        entries = []
    if all(entry.source is None for entry in entries):
        raise MissingPath(f"No file matches {shown(text)!r}. Check the pattern and try again.")
    return _under(base, entries)


def _under(path: Path, entries: Iterable[Entry]) -> _Argument:
    return _Argument(local_name(path), path.as_posix(), local_name(path.absolute().parent), list(entries))
