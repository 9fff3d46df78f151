"""From the paths that were named to the files that are read, in a fixed order under stable names."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from chatlio_kit.captures.sources.exclusion import Exclusion
from chatlio_kit.captures.sources.files import (
    CaptureFile,
    LocalSource,
    RemoteSource,
    Source,
    UnlistedSource,
    local_name,
    printable,
)
from chatlio_kit.captures.sources.listing import (
    LITTER,
    Entry,
    below,
    is_litter,
    is_pattern,
    matching,
    words,
)
from chatlio_kit.captures.sources.remote import is_address, is_web, name_of, shown
from chatlio_kit.captures.sources.stores import Listing, list_objects
from chatlio_kit.captures.sources.web import look_up
from chatlio_kit.chatlio.kinds import kind_in_path
from chatlio_kit.errors import CaptureError, MissingPath

_SHOWN = 3
_FILE = "file://"
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL})


@dataclass(frozen=True)
class FoundFiles:
    """What the named paths lead to.

    Attributes:
        files: the files, sorted by name.
        left_out: the names of what was left out, by the reason.
        excluded: the names of what patterns excluded.
    """

    files: list[CaptureFile]
    left_out: dict[str, list[str]]
    excluded: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """Sentences about what was left out."""
        return [note(why, names) for why, names in sorted(self.left_out.items())]

    def called(self, name: Callable[[str], str]) -> FoundFiles:
        """Call all by other names; where several files are called alike, the later ones are numbered."""
        files = [replace(file, name=name(file.name)) for file in self.files]
        left_out = {why: list(map(name, names)) for why, names in self.left_out.items()}
        return FoundFiles(list(_numbered(files)), left_out, list(map(name, self.excluded)))


@dataclass(frozen=True)
class _Source:
    """One file before it has its name.

    Attributes:
        inside: its path below what was named; empty for a file that was named itself.
        identity: equal for two ways to the same file.
    """

    inside: tuple[str, ...]
    place: Source
    identity: str
    size: int | None = None
    modified_at: datetime | None = None
    left_out: str = ""
    is_link: bool = False


@dataclass(frozen=True)
class _Named:
    """One argument: what files found through it are called, and the files.

    Attributes:
        root: its own name.
        whole: a longer name, for when another argument has the same name.
        parent: the folder it stands in, which may say a kind.
        sources: what it leads to.
    """

    root: str
    whole: str
    parent: str
    sources: list[_Source]


def find_files(paths: Sequence[Path | str], exclusion: Exclusion | None = None) -> FoundFiles:
    """List the files that paths, patterns and URLs lead to, each once, sorted by name.

    In a folder every file is read whatever its ending, except hidden ones and what systems leave behind;
    what is left out is noted. Links are followed; what cannot be read is among the files, to be told.

    Args:
        paths: files, folders, patterns such as ``captures/**/*.ndjson``, or URLs such as ``s3://bucket/path/``.
        exclusion: what is not to be read, if anything.

    Raises:
        MissingPath: when a named path does not exist, or a pattern matches nothing.
        UsageError: when a URL needs a driver that is not installed.
        CaptureError: when there is no file at all, or a store does not answer.
    """
    named = [_named(str(path)) for path in paths]
    roots = Counter(each.root for each in named)
    found: dict[str, CaptureFile] = {}
    left_out: dict[str, list[str]] = {}
    excluded: dict[str, str] = {}
    sources = [(each, source) for each in named for source in each.sources]
    # A file's own name goes before that of a link to it.
    for each, source in sorted(sources, key=lambda pair: pair[1].is_link):
        root = each.root if roots[each.root] == 1 else each.whole
        parts = (root, *source.inside)
        name = printable("/".join(parts))
        if source.left_out:
            left_out.setdefault(source.left_out, []).append(name)
            continue
        ways = _ways(each, source) if exclusion else ()
        if exclusion and exclusion.matches(ways):
            excluded.setdefault(source.identity, name)
            continue
        kind = kind_in_path("/".join(parts).split("/") if source.inside else [each.parent, each.root])
        is_named = not source.inside
        file = CaptureFile(name, kind, source.place, source.size, source.modified_at, is_named, ways)
        known = found.setdefault(source.identity, file)
        if is_named and not known.is_named:
            found[source.identity] = replace(known, is_named=True)
    for identity in excluded:  # whichever of its names a pattern matches
        found.pop(identity, None)
    if excluded and not found:
        raise CaptureError(
            f"--exclude (in Python exclude=) leaves none of the {len(excluded):,} files to be read. "
            "Narrow its patterns."
        )
    if not found:
        listed = ", ".join(repr(shown(str(path))) for path in paths)
        raise CaptureError(
            f"There are no capture files in {listed}. Name a folder or a file of captured webhooks."
        )
    by_name = sorted(found.items(), key=lambda item: (item[1].name, item[0]))
    return FoundFiles(list(_numbered(file for _, file in by_name)), left_out, sorted(excluded.values()))


def _ways(named: _Named, source: _Source) -> tuple[str, ...]:
    """Return the paths that a source goes by: from the argument on, as it was typed, and inside of it."""
    starts = (named.root, named.whole, "") if source.inside else (named.root, named.whole)
    return tuple("/".join((start, *source.inside) if start else source.inside) for start in starts)


def _numbered(files: Iterable[CaptureFile]) -> Iterator[CaptureFile]:
    """Where several files have one name, number the later ones."""
    times = Counter[str]()
    for file in files:
        times[file.name] += 1
        yield file if times[file.name] == 1 else replace(file, name=f"{file.name} ({times[file.name]})")


@dataclass
class Names:
    """Names to be listed in a sentence: how many there are, and the first of them.

    Attributes:
        count: how many there are.
        first: the first few by the alphabet.
    """

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count one more name."""
        self.count += 1
        self.first = sorted([*self.first, name])[:_SHOWN]

    def __str__(self) -> str:
        more = f" and {self.count - _SHOWN:,} more" if self.count > _SHOWN else ""
        return ", ".join(self.first) + more


def note(why: str, names: Names | list[str]) -> str:
    """Say in one sentence what was left out."""
    if isinstance(names, list):
        names = Names(len(names), sorted(names)[:_SHOWN])
    return f"left out ({why}): {names}"


def _named(text: str) -> _Named:
    if text.lower().startswith(_FILE):
        return _local(unquote(text[len(_FILE) :]))
    return _remote(text) if is_address(text) else _local(text)


def _remote(address: str) -> _Named:
    listing = Listing([look_up(address)]) if is_web(address) else list_objects(address)
    sources = [
        _Source(
            each.inside,
            RemoteSource(address, each.path, each.version),
            f"{address}|{each.path}",
            each.size,
            each.modified_at,
            each.left_out or (LITTER if any(map(is_litter, each.inside)) else ""),
        )
        for each in listing.objects
    ]
    whole = shown(address).rstrip("/")
    parent = whole.split("/")[-2]
    return _Named(name_of(address, is_literal=not listing.is_pattern), whole, parent, sources)


def _local(text: str) -> _Named:
    path = Path(text)
    try:
        status = path.stat()
    except (OSError, ValueError) as wrong:
        if isinstance(wrong, OSError) and wrong.errno not in _NOT_THERE:
            raise CaptureError(f"{shown(text)!r} cannot be opened: {words(wrong)}.") from None
        if is_pattern(text):
            return _by_pattern(text)
        raise MissingPath(
            f"There is no file or folder {shown(text)!r}. Check the path and try again."
        ) from None
    if stat.S_ISDIR(status.st_mode):
        return _of(path, below(path))
    # What is named itself is read even if it is a pipe, as in convert <(zcat ...).
    return _of(path, [Entry(path, (), status)])


def _by_pattern(text: str) -> _Named:
    try:
        base, entries = matching(text)
    except ValueError:
        entries = []
    if not any(entry.status or entry.lost for entry in entries):
        raise MissingPath(f"No file matches {shown(text)!r}. Check the pattern and try again.")
    return _of(base, entries)


def _of(path: Path, entries: Iterator[Entry] | Sequence[Entry]) -> _Named:
    root = local_name(path)
    parent = local_name(path.absolute().parent)
    return _Named(root, path.as_posix(), parent, [_source(entry) for entry in entries])


def _source(entry: Entry) -> _Source:
    identity = os.path.realpath(entry.path)
    is_link = entry.path.is_symlink()
    if entry.status is None:
        return _Source(
            entry.inside, UnlistedSource(entry.lost), identity, left_out=entry.left_out, is_link=is_link
        )
    place = LocalSource(entry.path)
    if not stat.S_ISREG(entry.status.st_mode):
        return _Source(entry.inside, place, identity, is_link=is_link)
    size, modified_at = entry.status.st_size, _time_of(entry.status)
    return _Source(entry.inside, place, identity, size, modified_at, is_link=is_link)


def _time_of(status: os.stat_result) -> datetime | None:
    try:
        return datetime.fromtimestamp(status.st_mtime, UTC)
    except (OverflowError, ValueError, OSError):  # a year that no calendar has
        return None
