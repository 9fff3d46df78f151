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


class Source(Protocol):
    """Where a file's bytes come from."""

    def open(self) -> io.BufferedReader:
        """Open it for reading.

        Raises:
            OSError: when it cannot be opened.
        """

    def mark(self) -> str | None:
        """Return a text that changes with the content; None where a change could stay unnoticed."""

    def shared(self) -> Source:
        """Return the same source as another process finds it, whatever its working directory is."""

    def change_of(self, size: int | None) -> Remark | None:
        """Return whether the size differs from an earlier one; None where it does not, or is unknown."""


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
        inside: its path below what was named, part by part; empty for a file that was named itself.
        source: its source; None for what is left out.
        identity: equal for two ways to the same file.
        size: its bytes; None where that is unknown.
        modified_at: its time, UTC; None where that is unknown.
        left_out: why it is not read; empty for one that is.
        is_link: whether it was reached by its own symbolic link.
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
    """One file of captures, or one member of an archive.

    Attributes:
        name: its name in frames, rejects and the ledger: the path from the named argument's own name on, so
            that it does not depend on the machine or on the working directory. It is printable and holds
            nothing secret. An archive's member is ``a.zip!member``.
        kind: the kind that its name or its folders' names say, if any.
        source: its source, or the source of the archive that holds it.
        size: its bytes as they are stored; None where that is unknown.
        modified_at: its time, UTC; None where that is unknown.
        is_named: whether it was named itself, not found in a folder or an archive.
        paths: the paths that patterns for exclusion match; empty where there are no such patterns.
    """

    name: str
    kind: Kind | None
    source: Source
    size: int | None = None
    modified_at: datetime | None = None
    is_named: bool = False
    paths: tuple[str, ...] = ()

    def member(self, name: str, path: str, size: int, modified_at: datetime | None) -> CaptureFile:
        """Return a member of this archive; where the member's path says no kind, the archive's says it."""
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
    r"""Write a file's name so that any terminal, table and file can hold it, and no two names become one.

    Control characters, bytes that are no text and marks that turn the direction of writing become ``\x0a``
    and the like, and a backslash is doubled.
    """
    return "".join(map(_printable, name))


def _printable(character: str) -> str:
    if character == "\\":
        return "\\\\"
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte of a name that is no text
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable() or character == " ":
        return character
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def local_name(path: Path) -> str:
    """Return the last part of a path, also of one such as ``.`` that does not contain it."""
    return os.path.basename(os.path.realpath(path))


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden, or one that systems leave behind in folders and archives."""
    return name.startswith(".") or name in _LITTER


@dataclass
class Names:
    """Names to be listed in a sentence: how many there are, and the first of them.

    Attributes:
        count: how many there are.
        first: the first few in alphabetical order.
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
    """Return the sentence about what was left out for one reason."""
    return f"left out ({why}): {names}"
