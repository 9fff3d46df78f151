"""Where captures lie: on this machine, or in a bucket or behind a URL; opened and recognised alike."""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Protocol

from chatlio_kit.captures.formats.records import Remark
from chatlio_kit.captures.sources.remote import is_web
from chatlio_kit.captures.sources.stores import open_object
from chatlio_kit.captures.sources.web import open_page
from chatlio_kit.chatlio.kinds import Kind, kind_in_path

_GREW = Remark(
    "grew after it was listed: what was written after it was read comes with the next run",
    "files grew after they were listed: what was written after they were read comes with the next run",
)
_SHRANK = Remark(
    "is shorter than when it was listed, so it was written anew or cut: read it again",
    "files are shorter than when they were listed, so they were written anew or cut: read them again",
)


class Source(Protocol):
    """Where bytes come from."""

    def open(self) -> io.BufferedReader:
        """Open it for reading.

        Raises:
            OSError: when it cannot be opened.
        """

    def mark(self) -> str | None:
        """Give a text that changes with what is there; None where a change could go unseen."""

    def change_of(self, size: int | None) -> Remark | None:
        """Say whether what is there has another size than it had; None where it has not or cannot say."""


@dataclass(frozen=True)
class LocalSource:
    """A file of this machine."""

    path: Path

    def open(self) -> io.BufferedReader:
        """Open the file."""
        return self.path.open("rb")

    def mark(self) -> str | None:
        """Digest size, time and content; None for a pipe or a file that cannot be read."""
        try:
            status = self.path.stat()
            if not stat.S_ISREG(status.st_mode):
                return None
            with self.path.open("rb") as file:
                content = file_digest(file, "sha256").hexdigest()
        except OSError:  # reading its records tells why, as a reject
            return None
        return sha256(f"{status.st_size}|{status.st_mtime_ns}|{content}".encode()).hexdigest()

    def change_of(self, size: int | None) -> Remark | None:
        """Compare the file's size with what it was."""
        try:
            now = None if size is None else self.path.stat().st_size
        except OSError:  # it is gone; what was read was read
            return None
        if size is None or now is None or now == size:
            return None
        return _GREW if now > size else _SHRANK


@dataclass(frozen=True)
class RemoteSource:
    """An object behind a URL, which may hold a password or a signature and is never shown.

    Attributes:
        address: the URL that was named.
        path: what the store calls the object.
        version: what the store says of the object's state, such as its ETag; None where it says nothing.
    """

    address: str = field(repr=False)
    path: str = field(repr=False)
    version: str | None = None

    def open(self) -> io.BufferedReader:
        """Open the object; what is read is fetched as it is read."""
        return open_page(self.address) if is_web(self.address) else open_object(self.address, self.path)

    def mark(self) -> str | None:
        """Give the version."""
        return self.version

    def change_of(self, size: int | None) -> None:
        """Say nothing: drivers refuse to go on in an object that changes."""


@dataclass(frozen=True)
class UnlistedSource:
    """A folder that could not be listed: whatever is in it is told as unreadable."""

    wrong: str

    def open(self) -> io.BufferedReader:
        """Say why."""
        raise OSError(self.wrong)

    def mark(self) -> str | None:
        """Give nothing."""
        return None

    def change_of(self, size: int | None) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class CaptureFile:
    """One file of captures, or one member of an archive.

    Attributes:
        name: how frames, rejects and the ledger call it: the path from the named argument's own name on,
            so that it does not depend on the machine or on the working directory; it can be printed, and
            holds nothing secret. An archive's member is ``a.zip!member``.
        kind: the kind that its name or its folders' names say, if any.
        place: where it lies, or where the archive lies that it is in.
        size: its bytes as they lie there; None where that is not known.
        modified_at: its time, UTC; None where that is not known.
        is_named: whether it was named itself, not found in a folder or an archive.
        paths: the paths that patterns for exclusion match; empty where there are no such patterns.
    """

    name: str
    kind: Kind | None
    place: Source
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
    """Name every file that a record's file may be a member of, and the file itself."""
    parts = name.split("!")
    return {"!".join(parts[:count]) for count in range(1, len(parts) + 1)}


def printable(name: str) -> str:
    r"""Write a file's name so that any terminal, table and file can hold it, and no two names are one.

    Control characters, bytes that are no text and marks that turn the direction of writing become ``\x0a``
    and the like, a backslash is doubled.
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
    """Give the last part of a path, also of one such as ``.`` that does not say it."""
    return os.path.basename(os.path.realpath(path))
