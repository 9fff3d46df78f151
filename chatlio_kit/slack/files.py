"""The files of a workspace export: a zip, the beginning of a truncated zip, or an unpacked folder.

A zip's directory is read once and its members are grouped by folder. A member is unpacked only when it is
read, in memory and up to a limit.

Sources: Slack help, how to read Slack data exports; the zip format (PKWARE APPNOTE 4.3).
"""

from __future__ import annotations

import mmap
import os
import re
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile, ZipFile, ZipInfo

from chatlio_kit.chatlio.rejections import on_one_line
from chatlio_kit.counting import counted
from chatlio_kit.errors import CaptureError, MissingPath

CHANNELS, GROUPS, USERS = "channels.json", "groups.json", "users.json"
DAY_FILE = re.compile(r"\d{4}-\d\d-\d\d\.json")
INDEX_BYTES, DAY_BYTES = 300_000_000, 64_000_000
"""Maximum size of a member. No real export has a larger one; it would be a decompression bomb."""
_MOST_RATIO, _SURELY_SMALL = 400, 1_000_000
_UTF8_FLAG, _ENCRYPTED, _SIZES_FOLLOW = 0x800, 0x1, 0x8
_LOCAL_HEADER = struct.Struct("<4sHHHHHIIIHH")
_LOCAL, _DESCRIPTOR = b"PK\x03\x04", b"PK\x07\x08"
_STORED, _DEFLATED = 0, 8
_STEP = 1 << 16
_LITTER = ("__MACOSX", ".")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")  # a path keeps only one of a URL's two slashes
_WHAT_TO_DO = "Export it with Slack itself or with `slackdump export`, and name that zip or folder"

Parts = tuple[str, ...]
"""A path within an export, as a tuple of its parts."""


class Unreadable(Exception):
    """A member that cannot be read; the message is a clause without a period."""


class Member(Protocol):
    """One file of an export."""

    def read(self, limit: int) -> bytes:
        """Return its bytes.

        Raises:
            Unreadable: It is damaged, encrypted, or larger than the limit.
        """


class ExportFiles:
    """The files of one export.

    Args:
        path: The zip or folder.

    Attributes:
        name: The name of the zip or folder.
        notes: Sentences about what cannot be read.

    Raises:
        MissingPath: There is no such file or folder.
        CaptureError: It is not a readable Slack export; the message describes it.
    """

    def __init__(self, path: Path) -> None:
        if scheme := _SCHEME.match(path.as_posix()):
            raise CaptureError(
                f"A Slack export is read from this machine only, not from a URL such as {scheme[1]}://. "
                "Download it, and name the zip or folder."
            )
        self.name = on_one_line(os.path.basename(os.path.realpath(path)))
        self.notes: list[str] = []
        try:
            members = self._open(path)
        except OSError as error:
            raise CaptureError(
                f"{str(path)!r} cannot be opened: {error.strerror or error}. Correct this and try again."
            ) from error
        root = _root(members)
        if root is None:
            raise CaptureError(_why_export_is_refused(path, members))
        self._index = {parts[-1]: member for parts, member in members.items() if parts[:-1] == root}
        self._days: defaultdict[str, dict[str, Member]] = defaultdict(dict)
        self.has_workspaces = False
        depth = len(root)
        for parts, member in members.items():
            if len(parts) == depth + 2 and parts[:depth] == root:
                days = self._days[parts[depth]]
                if DAY_FILE.fullmatch(parts[-1]):
                    days[parts[-1]] = member
            elif len(parts) == depth + 3 and parts[depth] == "teams" and parts[-1] == CHANNELS:
                self.has_workspaces = True

    def _open(self, path: Path) -> dict[Parts, Member]:
        if not path.exists():
            raise MissingPath(f"There is no file or folder {str(path)!r}. Check the path and try again.")
        if path.is_dir():
            return dict(_folder_members(path))
        with path.open("rb") as handle:
            head = handle.read(300)
        if not head.startswith(b"PK"):
            raise CaptureError(_why_file_is_refused(path, head))
        try:
            archive = ZipFile(path)
        except (BadZipFile, NotImplementedError):
            return self._recover(path)
        named = ((_parts(info), info) for info in archive.infolist() if not info.is_dir())
        return {parts: _ZipMember(archive, info) for parts, info in named if parts and not _is_litter(parts)}

    def _recover(self, path: Path) -> dict[Parts, Member]:
        """Find the members of a zip that has lost its list of members."""
        with path.open("rb") as handle:
            content = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        members: dict[Parts, Member] = dict(_recovered(content))
        whole = sum(member is not _CUT for member in members.values())
        self.notes.append(
            f"{self.name} has no list of members at its end, so it may be truncated: "
            f"{counted(whole, 'member is', 'members are')} complete, the rest is lost. Get a complete copy"
        )
        return members

    def has(self, name: str) -> bool:
        """Return whether an index such as ``users.json`` exists."""
        return name in self._index

    def index(self, name: str) -> bytes:
        """Return the bytes of an index.

        Raises:
            CaptureError: It cannot be read.
        """
        try:
            return self._index[name].read(INDEX_BYTES)
        except Unreadable as why:
            is_encrypted = "encrypted" in str(why)
            advice = "Unpack the zip and name the folder" if is_encrypted else "Get a complete copy"
            raise CaptureError(f"{self.name}!{name} cannot be read: {why}. {advice}.") from None

    @property
    def folders(self) -> Iterable[str]:
        """The names of the folders that contain files."""
        return self._days.keys()

    def days(self, folder: str) -> Mapping[str, Member]:
        """Return a folder's files with the messages of a day, in the order of their names."""
        return dict(sorted(self._days.get(folder, {}).items()))


@dataclass(frozen=True, slots=True)
class _FolderMember:
    path: str

    def read(self, limit: int) -> bytes:
        try:
            with Path(self.path).open("rb") as handle:
                return _limited(handle.read(limit + 1), limit)
        except OSError as error:
            raise Unreadable(error.strerror or str(error)) from None


@dataclass(frozen=True, slots=True)
class _ZipMember:
    archive: ZipFile
    info: ZipInfo

    def read(self, limit: int) -> bytes:
        info = self.info
        if info.flag_bits & _ENCRYPTED:
            raise Unreadable("it is encrypted")
        if info.file_size > limit or _is_bomb(info.file_size, info.compress_size):
            raise Unreadable(f"it would expand to {info.file_size:,} bytes, more than any real one")
        try:
            with self.archive.open(info) as handle:
                return _limited(handle.read(limit + 1), limit)
        except (BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError):
            raise Unreadable("the zip is damaged there") from None


@dataclass(frozen=True, slots=True)
class _RecoveredMember:
    content: mmap.mmap
    start: int
    end: int
    method: int
    checksum: int | None

    def read(self, limit: int) -> bytes:
        packed = self.content[self.start : self.end]
        try:
            text = packed if self.method == _STORED else zlib.decompressobj(-15).decompress(packed, limit + 1)
        except zlib.error:
            raise Unreadable("the zip is damaged there") from None
        text = _limited(text, limit)
        if _is_bomb(len(text), len(packed)):
            raise Unreadable(f"it expands to {len(text):,} bytes, more than any real one")
        if self.checksum is not None and zlib.crc32(text) != self.checksum:
            raise Unreadable("the zip is damaged there")
        return text


class _CutMember:
    def read(self, limit: int) -> bytes:
        raise Unreadable(
            f"the zip is truncated within it, so none of its up to {limit:,} bytes can be checked"
        )


_CUT = _CutMember()


def _limited(content: bytes, limit: int) -> bytes:
    if len(content) > limit:
        raise Unreadable(f"it is longer than {limit:,} bytes, more than any real one")
    return content


def _is_bomb(size: int, packed: int) -> bool:
    return size > _SURELY_SMALL and size > _MOST_RATIO * max(1, packed)


def _folder_members(path: Path) -> Iterator[tuple[Parts, Member]]:
    """List a folder's files down to the depth of an export; nothing is opened."""
    pending: list[tuple[str, Parts]] = [(str(path), ())]
    while pending:
        folder, parts = pending.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                inside = (*parts, entry.name)
                if _is_litter(inside):
                    continue
                if entry.is_dir():
                    if len(inside) <= 3:  # the enclosing folder, teams, a workspace
                        with suppress(OSError):
                            pending.append((entry.path, inside))
                else:
                    yield inside, _FolderMember(entry.path)


def _parts(info: ZipInfo) -> Parts:
    r"""Return a member's path as a tuple of its parts.

    Slack's zips hold UTF-8 names without the corresponding flag, so Python reads them as code page 437. A
    Windows zipper may separate parts by ``\``.
    """
    name = info.orig_filename.partition("\0")[0]
    if not info.flag_bits & _UTF8_FLAG:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return _split(name)


def _split(name: str) -> Parts:
    return tuple(part for part in re.split(r"[/\\]", name) if part)


def _is_litter(parts: Parts) -> bool:
    return any(part.startswith(_LITTER) for part in parts)


def _recovered(content: mmap.mmap) -> Iterator[tuple[Parts, Member]]:
    """Yield the members of a zip by their local headers."""
    at = 0
    while at + _LOCAL_HEADER.size <= len(content):
        sign, _, flags, method, _, _, checksum, packed, _, name_length, extra_length = (
            _LOCAL_HEADER.unpack_from(content, at)
        )
        if sign != _LOCAL:
            return
        start = at + _LOCAL_HEADER.size + name_length + extra_length
        raw_name = content[at + _LOCAL_HEADER.size : start - extra_length]
        parts = _split(raw_name.decode("utf-8", errors="replace"))
        end: int | None = start + packed
        known: int | None = checksum
        if flags & _SIZES_FOLLOW:
            end, known = (_deflated_end(content, start) if method == _DEFLATED else None), None
        is_whole = end is not None and end <= len(content) and method in (_STORED, _DEFLATED)
        if not is_whole or end is None:
            yield parts, _CUT
            return
        if not flags & _ENCRYPTED and not raw_name.endswith(b"/"):
            yield parts, _RecoveredMember(content, start, end, method, known)
        at = end
        if flags & _SIZES_FOLLOW:
            at += 16 if content[at : at + 4] == _DESCRIPTOR else 12


def _deflated_end(content: mmap.mmap, start: int) -> int | None:
    """Return the end of a deflated member whose header lacks it; None if the file ends first."""
    unpacker, at = zlib.decompressobj(-15), start
    with suppress(zlib.error):
        while not unpacker.eof and at < len(content):
            chunk = unpacker.unconsumed_tail or content[at : at + _STEP]
            if not unpacker.unconsumed_tail:
                at += len(chunk)
            unpacker.decompress(chunk, _STEP)
    return at - len(unpacker.unused_data) if unpacker.eof else None


def _root(members: Iterable[Parts]) -> Parts | None:
    """Return the folder that contains the list of channels: the top, or the only top-level folder with it."""
    for name in (CHANNELS, GROUPS):
        roots = {parts[:-1] for parts in members if parts[-1] == name and len(parts) <= 2}
        if () in roots:
            return ()
        if len(roots) == 1:
            return roots.pop()
    return None


def _why_export_is_refused(path: Path, members: Iterable[Parts]) -> str:
    """Return the sentence about a zip or folder that is not an export."""
    names = {parts[-1] for parts in members}
    found = f"{str(path)!r} is not a Slack export that can be read: "
    if "slackdump.sqlite" in names:
        found += "it is a slackdump archive (SQLite). Convert it with `slackdump convert -f export`, then"
        return f"{found} name that."
    if any(re.fullmatch(r"[CDG][A-Z0-9]{6,}(-\d+\.\d+)?\.json", name) for name in names):
        return f"{found}it is a slackdump dump, one file a channel. {_WHAT_TO_DO}."
    if any(name.endswith(".json.gz") for name in names):
        return f"{found}it is an older slackdump archive in chunks. {_WHAT_TO_DO}."
    if any(DAY_FILE.fullmatch(name) for name in names):
        return (
            f"{found}it has daily files, but no {CHANNELS}, which lists each channel's id. Restore the file, "
            "or export the workspace again."
        )
    if names and all(name.endswith(".txt") for name in names):
        return f"{found}it is a text export, which does not identify messages. {_WHAT_TO_DO}."
    return f"{found}it has no {CHANNELS}. {_WHAT_TO_DO}."


def _why_file_is_refused(path: Path, head: bytes) -> str:
    """Return the sentence about a file that is not a zip."""
    found = f"{str(path)!r} is not a Slack export that can be read: "
    if head.startswith(b"SQLite format 3\0"):
        return (
            f"{found}it is an SQLite database, like slackdump archives. Convert it with `slackdump convert "
            "-f export`, then name the result."
        )
    if b'"channel_id"' in head:
        return f"{found}it is a dump of one channel, not a workspace. {_WHAT_TO_DO}."
    if head.lstrip()[:1] == b"{" and (b'"ok"' in head or b'"messages"' in head):
        return f"{found}it is a page of Slack's API. {_WHAT_TO_DO}."
    return f"{found}it is neither a zip nor a folder. {_WHAT_TO_DO}."


def exports_among(paths: Iterable[Path]) -> list[Path]:
    """Return the files and folders that are workspace exports, or hold one as a zip or folder."""
    found = []
    for path in paths:
        with suppress(OSError, ValueError):  # reported when captures are listed
            if path.exists() and (export := _export_in(path)) is not None:
                found.append(export)
    return found


def _export_in(path: Path) -> Path | None:
    if path.is_dir():
        names = [parts for parts, _ in _folder_members(path)]
        if (root := _root(names)) is not None and _has_days(names, len(root)):
            return path.joinpath(*root)
        zips = (path.joinpath(*parts) for parts in names if parts[-1].lower().endswith(".zip"))
        return next((inner for inner in zips if _export_in(inner)), None)
    try:
        with ZipFile(path) as archive:
            return path if is_export(archive.infolist()) else None
    except (BadZipFile, NotImplementedError, OSError, ValueError):
        return None


def is_export(members: Iterable[ZipInfo]) -> bool:
    """Return whether a zip's list of members is that of a workspace export."""
    names = [_parts(info) for info in members if not info.is_dir()]
    names = [parts for parts in names if parts and not _is_litter(parts)]
    root = _root(names)
    return root is not None and _has_days(names, len(root))


def unpacked_among(names: Iterable[str]) -> str | None:
    """Return the list of channels of an unpacked export among the names of files, if there is one."""
    paths = [_split(name) for name in names]
    exports = {parts[:-2] for parts in paths if len(parts) > 1 and DAY_FILE.fullmatch(parts[-1])}
    lists = (parts for parts in paths if parts[-1] in (CHANNELS, GROUPS) and parts[:-1] in exports)
    return next(("/".join(parts) for parts in lists), None)


def _has_days(names: Iterable[Parts], depth: int) -> bool:
    return any(len(parts) == depth + 2 and DAY_FILE.fullmatch(parts[-1]) for parts in names)
