"""Capture files and their sources: on this machine, in a bucket, or behind a URL."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from chatlio_kit.captures.formats.records import Remark
from chatlio_kit.chatlio.kinds import Kind, kind_in_path

_LITTER = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_MOST_SHOWN = 3

LITTER = "hidden, or left behind by a system"
SPECIAL = "neither file nor folder"
CONVERTED = "tables and reports that convert wrote"


class Source(Protocol):
    """The source of a file's bytes."""

    def open(self) -> io.BufferedReader:
        """Open it for reading.

        Raises:
            OSError: It cannot be opened.
        """

    def mark(self) -> str | None:
        """Return a string that changes with the content; None if a change could go unnoticed."""

    def shared(self) -> Source:
        """Return the same source in a form that works in processes with any working directory."""

    def change_of(self, size: int | None) -> Remark | None:
        """Return whether the size differs from an earlier one; None if it does not, or is unknown."""


@dataclass(frozen=True)
class UnlistedSource:
    """A folder or file that could not be listed; reading it raises the reason."""

    wrong: str

    def open(self) -> io.BufferedReader:
        """Raise the reason."""
        raise OSError(self.wrong)

    def mark(self) -> str | None:
        """Return None."""
        return None

    def shared(self) -> UnlistedSource:
        """Return itself."""
        return self

    def change_of(self, size: int | None) -> None:
        """Return None."""


@dataclass(frozen=True)
class Entry:
    """One file that a path, pattern or URL leads to.

    Attributes:
        inside: Its path below the argument, as a tuple; empty if it is the argument itself.
        source: Its source; None if it is left out.
        identity: Equal for two ways to the same file.
        size: Its size in bytes; None if unknown.
        modified_at: Its time, UTC; None if unknown.
        left_out: Reason for leaving it out; empty if it is read.
        is_link: True if it was reached by its own symbolic link.
    """

    inside: tuple[str, ...]
    source: Source | None = None
    identity: str = ""
    size: int | None = None
    modified_at: datetime | None = None
    left_out: str = ""
    is_link: bool = False


@dataclass(frozen=True)
class CaptureFile:
    """One file of captures, or one archive member.

    Attributes:
        name: Its name in frames, rejections and the ledger: the path starting with the argument's own name,
            so that it does not depend on the machine or the working directory. It is printable and holds no
            secrets. An archive's member is ``a.zip!member``.
        kind: The kind that its name or its folders' names indicate, if any.
        source: Its source, or the source of its archive.
        size: Stored size in bytes; None if unknown.
        modified_at: Its time, UTC; None if unknown.
        is_named: True if it was named explicitly rather than found in a folder or an archive.
        paths: Paths for matching exclusion patterns; empty if there are none.
    """

    name: str
    kind: Kind | None
    source: Source
    size: int | None = None
    modified_at: datetime | None = None
    is_named: bool = False
    paths: tuple[str, ...] = ()

    def member(self, name: str, path: str, size: int, modified_at: datetime | None) -> CaptureFile:
        """Return a member of this archive; if its path indicates no kind, it gets the archive's."""
        kind = kind_in_path(path.split("/")) or self.kind
        return replace(
            self,
            name=f"{self.name}!{name}",
            kind=kind,
            size=size,
            modified_at=modified_at,
            is_named=False,
            paths=(),
        )


def archives_of(name: str) -> set[str]:
    """Return the names of a file and of all archives that it may be a member of."""
    parts = name.split("!")
    return {"!".join(parts[:count]) for count in range(1, len(parts) + 1)}


def printable(name: str) -> str:
    r"""Escape a file's name so that any terminal, table or file can hold it and no two names become one.

    Control characters, bytes that are not text and bidirectional controls become ``\x0a`` and the like, and a
    backslash is doubled.
    """
    return "".join(map(_printable, name))


def _printable(character: str) -> str:
    if character == "\\":
        return "\\\\"
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python represents a byte of a name that is not text
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable() or character == " ":
        return character
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def local_name(path: Path) -> str:
    """Return the last part of a path, even of one such as ``.`` that does not contain it."""
    return os.path.basename(os.path.realpath(path))


def is_litter(name: str) -> bool:
    """Return whether a file or folder is hidden, or one that systems leave behind in folders and archives."""
    return name.startswith(".") or name in _LITTER


@dataclass
class Names:
    """Names to list in a sentence: their number and the first of them.

    Attributes:
        count: Their number.
        first: The first few in alphabetical order.
    """

    count: int = 0
    first: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, names: list[str]) -> Names:
        """Return several names."""
        return cls(len(names), sorted(names)[:_MOST_SHOWN])

    def add(self, name: str) -> None:
        """Count one more name."""
        self.count += 1
        self.first = sorted([*self.first, name])[:_MOST_SHOWN]

    def extend(self, others: Names) -> None:
        """Count other names, too."""
        self.count += others.count
        self.first = sorted([*self.first, *others.first])[:_MOST_SHOWN]

    def __str__(self) -> str:
        more = f" and {self.count - _MOST_SHOWN:,} more" if self.count > _MOST_SHOWN else ""
        return ", ".join(self.first) + more


def note(why: str, names: Names) -> str:
    """Return the sentence about files left out for one reason."""
    return f"left out ({why}): {names}"
