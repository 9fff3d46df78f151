"""Captures in buckets and on other remote file systems, through fsspec and its drivers."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Any

from chatlio_kit.captures.sources.driver_logs import mask_driver_logs
from chatlio_kit.captures.sources.remote import WILDCARD, is_chain, masked, shown
from chatlio_kit.errors import CaptureError, MissingPath, UsageError

_EXTRAS = {
    "s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "abfs": "abfs", "abfss": "abfs", "az": "abfs",
}  # fmt: skip
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "modified", "Last-Modified", "created")
_VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "Content-MD5", "generation", "version_id")
_BLOCK = 4_000_000
_ANY_DEPTH = "**"

UNOPENABLE = "its name ends with a slash, so its driver takes it for a folder"
NAMESAKE = "a folder named like the object; name it with a slash at its end"

_systems: dict[str, Any] = {}
"""The file system of each URL that was listed: its connections serve for reading too."""


@dataclass(frozen=True)
class Listed:
    """One object of a store.

    Attributes:
        path: what its store calls it.
        inside: its path below the folder that was named; empty for an object that was named itself.
        size: its bytes, if the store says it.
        modified_at: its time, UTC, if the store says it.
        version: what changes when the object does, if the store says anything of that sort.
        left_out: why it is not read; empty for an object that is.
    """

    path: str
    inside: tuple[str, ...]
    size: int | None
    modified_at: datetime | None
    version: str | None
    left_out: str = ""


@dataclass(frozen=True)
class Listing:
    """What a URL means.

    Attributes:
        objects: the objects.
        is_pattern: whether wildcards of the URL stand for parts of names.
    """

    objects: list[Listed]
    is_pattern: bool = False


def list_objects(address: str) -> Listing:
    """List the objects that a URL means: one, all below a folder, or all that a pattern matches.

    An object or folder that has this very name counts before a pattern. A slash at the end asks for a folder.

    Raises:
        MissingPath: when there is nothing there.
        UsageError: when the driver for this sort of URL is not installed.
        CaptureError: when the store refuses or does not answer.
    """
    system = _systems[address] = _connect(address)
    with _telling(address):
        path = system._strip_protocol(address).rstrip("/") or "/"
        wants_folder = shown(address).endswith("/")
        known = _info(system, path)
        if known is None:
            listing = Listing(_matching(system, path, wants_folder), is_pattern=True)
        elif known["type"] == "directory":
            listing = Listing(_below(system, path, path))
        elif wants_folder and (inside := _below(system, path, path)):
            listing = Listing(inside)
        else:
            listing = Listing([described(path, (), known), *_namesake(system, path)])
        # What is read is looked up anew: it may have changed, and one name may be an object's and a folder's.
        system.invalidate_cache()
    if not listing.objects:
        raise missing(address)
    return listing


def _info(system: Any, path: str) -> Mapping[str, Any] | None:
    """Describe what has this very name; None where only a pattern can be meant."""
    try:
        known: Mapping[str, Any] = system.info(path)
    except (FileNotFoundError, PermissionError):
        if WILDCARD.search(path):
            return None
        raise
    return known


def _namesake(system: Any, path: str) -> list[Listed]:
    """Describe the folder that has an object's name, where a store has both."""
    with suppress(OSError):
        if system.isdir(path):
            return [Listed(f"{path}/", ("",), None, None, None, NAMESAKE)]
    return []


def _below(system: Any, folder: str, base: str) -> list[Listed]:
    """Describe all objects below a folder; their names begin at the base."""
    found = []
    for path, known in system.find(folder, detail=True).items():
        if known.get("type") == "directory" or path == folder:
            continue
        inside = tuple(path.removeprefix(base).removeprefix("/").split("/"))
        if not path.endswith("/"):
            found.append(described(path, inside, known))
        elif known.get("size"):  # an empty one is how a store writes down a folder
            found.append(Listed(path, inside, None, None, None, UNOPENABLE))
    return found


def _matching(system: Any, pattern: str, wants_folder: bool) -> list[Listed]:
    """Describe what a pattern matches; a folder that is matched stands for all that is in it."""
    wildcard = WILDCARD.search(pattern)
    base = pattern[: wildcard.start() if wildcard else None].rpartition("/")[0]
    parts = pattern.removeprefix(base).removeprefix("/").split("/")
    if _ANY_DEPTH in parts:
        return [each for each in _below(system, base, base) if _matches(each.inside, parts, wants_folder)]
    found: dict[str, Listed] = {}
    for known in _by_level(system, base, parts):
        path = known["name"]
        if known["type"] == "directory":
            found |= {each.path: each for each in _below(system, path.rstrip("/"), base)}
        elif not wants_folder:
            found[path] = described(path, tuple(path.removeprefix(base).strip("/").split("/")), known)
    return list(found.values())


def _by_level(system: Any, folder: str, parts: list[str]) -> Iterator[Mapping[str, Any]]:
    part, *rest = parts
    if rest and not WILDCARD.search(part):
        yield from _by_level(system, f"{folder}/{part}", rest)
        return
    try:
        entries = system.ls(folder, detail=True)
    except FileNotFoundError:
        return
    for known in entries:
        is_folder = known["type"] == "directory"
        name = known["name"].rstrip("/") if is_folder else known["name"]
        if not fnmatchcase(name.rpartition("/")[2], part):
            continue
        if not rest:
            yield known
        elif is_folder:
            yield from _by_level(system, name, rest)


def _matches(inside: Sequence[str], parts: Sequence[str], wants_folder: bool) -> bool:
    """Whether a path, or a folder on its way, matches a pattern whose ``**`` stands for any folders."""
    if not parts:
        return bool(inside) or not wants_folder
    if not inside:
        return False
    if parts[0] == _ANY_DEPTH:
        return _matches(inside, parts[1:], wants_folder) or _matches(inside[1:], parts, wants_folder)
    return fnmatchcase(inside[0], parts[0]) and _matches(inside[1:], parts[1:], wants_folder)


def described(path: str, inside: tuple[str, ...], known: Mapping[str, Any]) -> Listed:
    """Describe an object by what its store, or a web server, says of it."""
    size = known.get("size")
    modified_at = next((time for key in _TIMES if (time := _time(known.get(key)))), None)
    stated = [f"{key}={known[key]}" for key in _VERSIONS if known.get(key)]
    if modified_at is not None:
        stated.append(modified_at.isoformat())
    version = sha256("|".join([str(size), *stated]).encode()).hexdigest() if stated else None
    return Listed(path, inside, int(size) if isinstance(size, int | float) else None, modified_at, version)


def open_object(address: str, path: str) -> io.BufferedReader:
    """Open an object for reading; it is fetched as it is read.

    Args:
        address: the URL that was named.
        path: what the store calls the object.

    Raises:
        OSError: when it cannot be opened, without what is secret in the URL.
    """
    try:
        system = _systems.get(address) or _connect(address)
        handle = system.open(path, "rb", block_size=_BLOCK)
    except Exception as wrong:  # whatever a driver raises
        raise OSError(_words(wrong, address)) from None
    return io.BufferedReader(_Object(handle, address), _BLOCK)


class _Object(io.RawIOBase):
    """A driver's file, whose errors are those of any file."""

    def __init__(self, handle: Any, address: str) -> None:
        self._handle, self._address = handle, address

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._ask(lambda: self._handle.read(len(buffer)))
        buffer[: len(block)] = block
        return len(block)

    def seek(self, place: int, whence: int = 0) -> int:
        return int(self._ask(lambda: self._handle.seek(place, whence)))

    def tell(self) -> int:
        return int(self._handle.tell())

    def close(self) -> None:
        if not self.closed:
            with suppress(Exception):  # what was read was read
                self._handle.close()
        super().close()

    def _ask(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except Exception as wrong:
            raise OSError(_words(wrong, self._address)) from None


def _connect(address: str) -> Any:
    scheme = address.partition("://")[0].lower()
    if is_chain(address):
        raise UsageError(
            f"{shown(address)!r} names one address inside another, which is not read. Name the file itself: "
            "what is packed is unpacked while it is read."
        )
    mask_driver_logs()
    import fsspec  # noqa: PLC0415  takes a while, and most captures are on this machine

    try:
        system = fsspec.get_filesystem_class(scheme)
    except ValueError:
        raise UsageError(
            f"{scheme}:// is no sort of address that can be read. Name a path, or an address such as s3://, "
            "gs://, abfs:// or https://."
        ) from None
    except ImportError:
        extra = _EXTRAS.get(scheme)
        package = f"'chatlio-kit[{extra}]'" if extra else _driver(scheme)
        raise UsageError(
            f"{scheme}:// needs a driver that is not installed. Install it with: pip install {package}"
        ) from None
    with _telling(address):
        # A new one each time: listings and credentials of an earlier call may be old.
        return system(**system._get_kwargs_from_urls(address), skip_instance_cache=True)


def _driver(scheme: str) -> str:
    from fsspec.registry import known_implementations  # noqa: PLC0415  as above

    named = known_implementations.get(scheme, {}).get("class", scheme)
    return str(named).partition(".")[0]


@contextmanager
def _telling(address: str) -> Iterator[None]:
    """Say in a sentence what a driver raises."""
    try:
        yield
    except FileNotFoundError:
        raise missing(address) from None
    except Exception as wrong:
        raise unreadable(address, _words(wrong, address)) from None


def missing(address: str) -> MissingPath:
    """Make the error of a URL where nothing is."""
    return MissingPath(f"There is nothing at {shown(address)!r}. Check the address and try again.")


def unreadable(address: str, words: str, advice: str = "") -> CaptureError:
    """Make the error of a URL that cannot be read."""
    advice = advice or "Check the address, the network and the credentials that its driver uses."
    return CaptureError(f"{shown(address)!r} cannot be read: {words}. {advice}")


def _words(wrong: BaseException, address: str) -> str:
    return masked(str(wrong).rstrip(".") or type(wrong).__name__, address)


def _time(value: Any) -> datetime | None:
    """Read a time as stores write it; one without a zone is none."""
    try:
        if isinstance(value, str):
            value = _read_time(value)
        elif isinstance(value, int | float):
            value = datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo else None


def _read_time(text: str) -> datetime:
    return datetime.fromisoformat(text) if text[:1].isdigit() else parsedate_to_datetime(text)
