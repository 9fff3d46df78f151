"""Captures in buckets and on other remote file systems, through fsspec and its drivers."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from chatlio_kit.captures.formats.compression import ByteStream
from chatlio_kit.captures.sources.files import LITTER, Entry, Source, is_litter
from chatlio_kit.captures.sources.remote import WILDCARD, is_chain, is_web, mask_driver_logs, masked, shown
from chatlio_kit.errors import CaptureError, MissingPath, OutputError, UsageError

_EXTRAS = {
    "s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "abfs": "abfs", "abfss": "abfs", "az": "abfs",
}  # fmt: skip
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "modified", "Last-Modified", "created")
_VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "Content-MD5", "generation", "version_id")
_BLOCK = 4_000_000
_ANY_DEPTH = "**"

UNOPENABLE = "its name ends with a slash, so its driver treats it as a folder"
NAMESAKE = "a folder named like the object; add a slash to name it"

_systems: dict[str, Any] = {}
"""The file system of each listed URL, whose connections are reused for reading."""

Info = Mapping[str, Any]


@dataclass(frozen=True)
class RemoteSource:
    """An object behind a URL, which may contain a password or a signature and is never shown.

    Attributes:
        address: The URL as given.
        path: The store's name for the object.
        version: The store's mark of the object's state, such as its ETag; None if there is none.
    """

    address: str = field(repr=False)
    path: str = field(repr=False)
    version: str | None = None

    def open(self) -> io.BufferedReader:
        """Open the object, which is downloaded while it is read.

        Raises:
            OSError: The object cannot be opened; the message has none of the URL's secrets.
        """
        try:
            system = _systems.get(self.address)
            if system is None:
                system = _systems[self.address] = _connect(self.address)
            handle = system.open(self.path, "rb", block_size=_BLOCK)
        except Exception as wrong:  # drivers raise errors of any class
            _systems.pop(self.address, None)  # its credentials may be outdated
            raise OSError(_message(wrong, self.address)) from None
        return io.BufferedReader(_Object(handle, self.address), _BLOCK)

    def mark(self) -> str | None:
        """Return the version."""
        return self.version

    def shared(self) -> RemoteSource:
        """Return itself: its store is the same for every process."""
        return self

    def change_of(self, size: int | None) -> None:
        """Return None, because drivers raise an error if an object changes."""


class _Object(ByteStream):
    """A driver's file with the errors of a local one."""

    def __init__(self, handle: Any, address: str) -> None:
        self._handle, self._address = handle, address
        super().__init__(lambda size: self._call(lambda: handle.read(size)), self._close_handle)

    def seekable(self) -> bool:
        """Return true."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position, where reading is tried again."""
        self._source.broken = None
        return int(self._call(lambda: self._handle.seek(offset, whence)))

    @property
    def state(self) -> str | None:
        """The store's mark of the object's state when it was opened."""
        source = described(RemoteSource("", ""), (), getattr(self._handle, "details", None) or {}).source
        return source.mark() if source is not None else None

    def tell(self) -> int:
        """Return the position."""
        return int(self._handle.tell())

    def _close_handle(self) -> None:
        with suppress(Exception):  # everything needed was read
            self._handle.close()

    def _call(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except Exception as wrong:
            raise OSError(_message(wrong, self._address)) from None


def list_objects(address: str) -> tuple[list[Entry], bool]:
    """List the objects that a URL means: one, all below a folder, or all that match a pattern.

    An object or folder with exactly this name takes precedence over a pattern. A final slash means a folder.

    Returns:
        The objects, and whether the URL's wildcards are a pattern.

    Raises:
        MissingPath: There is nothing at the URL.
        UsageError: The driver for this URL is not installed.
        CaptureError: The store refuses or does not respond.
    """
    system = _systems[address] = _connect(address)
    store = _Store(system, address)
    with _reported(address):
        path = system._strip_protocol(address).rstrip("/") or "/"
        wants_folder = shown(address).endswith("/")
        info = store.info(path)
        if info is None:
            entries = store.matching(path, wants_folder)
        elif info["type"] == "directory":
            entries = store.below(path, path)
        elif not (wants_folder and (entries := store.below(path, path))):
            entries = [store.entry(path, (), info), *store.namesake(path)]
        # Reading looks an object up again: it may have changed, or its name may also be a folder's.
        system.invalidate_cache()
    if not entries:
        raise missing(address)
    return entries, info is None


class RemoteFolder:
    """A folder in a bucket, written whole or not at all as far as a store without renaming allows.

    Files are sent under a hidden prefix first. Only when all are there, the store copies them to their names,
    one after another; the last one is missing until all others are there. Use it as a context manager.

    Args:
        address: The folder's URL.

    Raises:
        UsageError: The driver for this URL is not installed, or nothing can be written to it.
        OutputError: Nothing can be written there.
    """

    def __init__(self, address: str) -> None:
        if is_web(address):
            raise UsageError(f"{shown(address)!r} is a web server's, which takes no tables. Name a bucket.")
        self._address, self._system = address, _connect(address)
        self._path = self._system._strip_protocol(address).rstrip("/")
        self._draft = f"{self._path}/.unfinished-{uuid4().hex}"
        with self._written():
            self._system.pipe_file(f"{self._draft}/writable", b"")  # before hours of work are done for it

    def __enter__(self) -> RemoteFolder:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):  # any leftovers are hidden
            self._system.invalidate_cache()
            self._system.rm(self._draft, recursive=True)

    def holds(self, source: Source | None) -> bool:
        """Return whether a source is a file of this folder."""
        return isinstance(source, RemoteSource) and source.path.rpartition("/")[0] == self._path

    def store(self, files: Sequence[Path]) -> None:
        """Send files; the last one shows that all are there.

        Raises:
            OutputError: Writing fails; until all files are sent, the folder is unchanged.
        """
        with self._written():
            for file in files:
                self._system.put_file(str(file), f"{self._draft}/{file.name}")
            with suppress(FileNotFoundError):
                self._system.rm_file(f"{self._path}/{files[-1].name}")
            for file in files:
                self._system.cp_file(f"{self._draft}/{file.name}", f"{self._path}/{file.name}")

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except Exception as wrong:  # drivers raise errors of any class
            raise OutputError(
                f"{shown(self._address)!r} cannot be written: {_message(wrong, self._address)}. Check the "
                "address, the network and the credentials that its driver uses."
            ) from None


@dataclass(frozen=True)
class _Store:
    """A file system, listed for one URL."""

    system: Any
    address: str

    def info(self, path: str) -> Info | None:
        """Return the store's data about exactly this name; None if it can only be a pattern."""
        try:
            info: Info = self.system.info(path)
        except (FileNotFoundError, PermissionError):
            if WILDCARD.search(path):
                return None
            raise
        return info

    def entry(self, path: str, inside: tuple[str, ...], info: Info) -> Entry:
        """Return an object as an entry."""
        entry = described(RemoteSource(self.address, path), inside, info)
        return replace(entry, left_out=LITTER) if any(map(is_litter, inside)) else entry

    def namesake(self, path: str) -> list[Entry]:
        """Return the folder with an object's name, if a store has both."""
        with suppress(OSError):
            if self.system.isdir(path):
                return [Entry(("",), left_out=NAMESAKE)]
        return []

    def below(self, folder: str, base: str) -> list[Entry]:
        """Return all objects below a folder; their paths start at the base."""
        entries = []
        for path, info in self.system.find(folder, detail=True).items():
            if info.get("type") == "directory" or path == folder:
                continue
            inside = tuple(path.removeprefix(base).removeprefix("/").split("/"))
            if not path.endswith("/"):
                entries.append(self.entry(path, inside, info))
            elif info.get("size"):  # a store represents a folder by an empty object
                entries.append(Entry(inside, left_out=UNOPENABLE))
        return entries

    def matching(self, pattern: str, wants_folder: bool) -> list[Entry]:
        """Return the objects that a pattern matches; a matching folder means everything in it."""
        wildcard = WILDCARD.search(pattern)
        base = pattern[: wildcard.start() if wildcard else None].rpartition("/")[0]
        parts = pattern.removeprefix(base).removeprefix("/").split("/")
        if _ANY_DEPTH in parts:
            return [entry for entry in self.below(base, base) if _matches(entry.inside, parts, wants_folder)]
        entries: dict[tuple[str, ...], Entry] = {}
        for info in self._by_level(base, parts):
            path = info["name"]
            if info["type"] == "directory":
                entries |= {entry.inside: entry for entry in self.below(path.rstrip("/"), base)}
            elif not wants_folder:
                inside = tuple(path.removeprefix(base).strip("/").split("/"))
                entries[inside] = self.entry(path, inside, info)
        return list(entries.values())

    def _by_level(self, folder: str, parts: list[str]) -> Iterator[Info]:
        part, *rest = parts
        if rest and not WILDCARD.search(part):
            yield from self._by_level(f"{folder}/{part}", rest)
            return
        try:
            children = self.system.ls(folder, detail=True)
        except FileNotFoundError:
            return
        for info in children:
            is_folder = info["type"] == "directory"
            name = info["name"].rstrip("/") if is_folder else info["name"]
            if not fnmatchcase(name.rpartition("/")[2], part):
                continue
            if not rest:
                yield info
            elif is_folder:
                yield from self._by_level(name, rest)


def _matches(inside: Sequence[str], parts: Sequence[str], wants_folder: bool) -> bool:
    """Return whether a path or one of its folders matches a pattern; ``**`` matches any number of folders."""
    if not parts:
        return bool(inside) or not wants_folder
    if not inside:
        return False
    if parts[0] == _ANY_DEPTH:
        return _matches(inside, parts[1:], wants_folder) or _matches(inside[1:], parts, wants_folder)
    return fnmatchcase(inside[0], parts[0]) and _matches(inside[1:], parts[1:], wants_folder)


def described(source: RemoteSource, inside: tuple[str, ...], info: Info) -> Entry:
    """Return an object as an entry, with its store's or web server's data about it."""
    size = info.get("size")
    modified_at = next((time for key in _TIMES if (time := _time(info.get(key)))), None)
    stated = [f"{key}={info[key]}" for key in _VERSIONS if info.get(key)]
    if modified_at is not None:
        stated.append(modified_at.isoformat())
    version = sha256("|".join([str(size), *stated]).encode()).hexdigest() if stated else None
    return Entry(
        inside,
        replace(source, version=version),
        f"{source.address}|{source.path}",
        int(size) if isinstance(size, int | float) else None,
        modified_at,
    )


def _connect(address: str) -> Any:
    scheme = address.partition("://")[0].lower()
    if is_chain(address):
        raise UsageError(
            f"{shown(address)!r} names one URL inside another, which is not supported. Name the file itself: "
            "compressed files are unpacked while they are read."
        )
    mask_driver_logs()
    import fsspec  # noqa: PLC0415  takes a while, and most captures are on this machine

    try:
        system = fsspec.get_filesystem_class(scheme)
    except ValueError:
        raise UsageError(
            f"{scheme}:// is not a supported type of URL. Name a path, or a URL such as s3://, gs://, "
            "abfs:// or https://."
        ) from None
    except ImportError:
        extra = _EXTRAS.get(scheme)
        package = f"'chatlio-kit[{extra}]'" if extra else _driver(scheme)
        raise UsageError(
            f"{scheme}:// needs a driver that is not installed. Install it with: pip install {package}"
        ) from None
    with _reported(address):
        # A new one every time, because an earlier call's listings and credentials may be outdated.
        return system(**system._get_kwargs_from_urls(address), skip_instance_cache=True)


def _driver(scheme: str) -> str:
    from fsspec.registry import known_implementations  # noqa: PLC0415  as above

    named = known_implementations.get(scheme, {}).get("class", scheme)
    return str(named).partition(".")[0]


@contextmanager
def _reported(address: str) -> Iterator[None]:
    """Raise a driver's errors as ours."""
    try:
        yield
    except FileNotFoundError:
        raise missing(address) from None
    except Exception as wrong:
        raise unreadable(address, _message(wrong, address)) from None


def missing(address: str) -> MissingPath:
    """Return the error for a URL with nothing behind it."""
    return MissingPath(f"There is nothing at {shown(address)!r}. Check the URL and try again.")


def unreadable(address: str, message: str, advice: str = "") -> CaptureError:
    """Return the error for an unreadable URL."""
    advice = advice or "Check the URL, the network and the driver's credentials."
    return CaptureError(f"{shown(address)!r} cannot be read: {message}. {advice}")


def _message(wrong: BaseException, address: str) -> str:
    return masked(str(wrong).rstrip(".") or type(wrong).__name__, address)


def _time(value: Any) -> datetime | None:
    """Parse a time as stores write it; None for one without a time zone."""
    try:
        if isinstance(value, str):
            is_iso = value[:1].isdigit()
            value = datetime.fromisoformat(value) if is_iso else parsedate_to_datetime(value)
        elif isinstance(value, int | float):
            value = datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo else None
