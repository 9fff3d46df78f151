"""Captures in buckets and behind URLs, through fsspec; passwords and signatures in URLs are never shown."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Any
from urllib.parse import unquote, urlsplit

from chatlio_kit.errors import CaptureError, MissingPath, UsageError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^\s'\"<>]+")
_WEB = frozenset({"http", "https"})
# The part before the @ is a container's name there, not a person's.
_CONTAINER_FIRST = frozenset({"abfs", "abfss"})
_EXTRAS = {
    "s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "abfs": "abfs", "abfss": "abfs", "az": "abfs",
}  # fmt: skip
_WILDCARD = re.compile(r"[*?\[]")
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "modified", "Last-Modified", "created")
_VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "Content-MD5", "generation", "version_id")
_GONE = (404, 410)
_BLOCK = 4_000_000
_SILENCE = 60.0
"""Seconds without a byte after which a web server counts as gone; the whole may take as long as it takes."""


def is_address(text: str) -> bool:
    """Whether a text is a URL rather than a path."""
    return _ADDRESS.match(text) is not None


def shown(address: str) -> str:
    """Give a URL without what may be secret: user, password, query and fragment."""
    scheme, _, rest = address.partition("://")
    authority, slash, path = rest.partition("/")
    if "@" in authority and (scheme.lower() not in _CONTAINER_FIRST or ":" in authority):
        authority = authority.rpartition("@")[2]
    # Elsewhere a question mark may be a wildcard, and both may be part of a name.
    query = r"[?#]" if scheme.lower() in _WEB else r"\?(?=.*=)"
    return re.split(query, f"{scheme}://{authority}{slash}{path}", maxsplit=1)[0]


def masked(words: str, address: str) -> str:
    """Take every secret of a URL out of somebody's words about it."""
    try:
        parts = urlsplit(address)
    except ValueError:
        parts = urlsplit("")
    secrets = {parts.query, parts.fragment, parts.username or "", parts.password or ""}
    secrets |= {pair.partition("=")[2] for pair in parts.query.split("&")}
    secrets |= {unquote(secret) for secret in secrets}
    words = _IN_TEXT.sub(lambda found: shown(found.group()), words)
    visible = shown(address)
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) > 3 and secret not in visible:
            words = words.replace(secret, "***")
    return words


@dataclass(frozen=True)
class Listed:
    """One object of a store.

    Attributes:
        path: what its store calls it.
        inside: its path below the folder that was named; empty for an object that was named itself.
        size: its bytes, if the store says it.
        modified_at: its time, UTC, if the store says it.
        version: what changes when the object does, if the store says anything of that sort.
    """

    path: str
    inside: tuple[str, ...]
    size: int | None
    modified_at: datetime | None
    version: str | None


def name_of(address: str) -> str:
    """Give the last part of a URL's path before any wildcard; the host or bucket where there is none."""
    scheme, _, rest = shown(address).partition("://")
    if scheme.lower() in _WEB:
        rest = unquote(rest)
    elif wildcard := _WILDCARD.search(rest):
        rest = rest[: wildcard.start()].rpartition("/")[0]
    return rest.rstrip("/").rpartition("/")[2] or scheme


def list_objects(address: str) -> list[Listed]:
    """List the objects that a URL means: one, all below a folder, or all that a pattern matches.

    Raises:
        MissingPath: when there is nothing there.
        UsageError: when the driver for this sort of URL is not installed.
        CaptureError: when the store refuses or does not answer.
    """
    system = _system(address)
    with _told(address):
        system.invalidate_cache()  # a listing of an earlier call may be old
        path = system._strip_protocol(address)
        known = {} if _is_pattern(address, path) else system.info(path)
        if known and (_is_web(address) or known["type"] != "directory"):
            return [_listed(path, (), known)]
        folder = path.rstrip("/")
        if wildcard := _WILDCARD.search(path) if not known else None:
            folder = path[: wildcard.start()].rpartition("/")[0]
            found = _matching(system, path)
        else:
            found = system.find(folder, detail=True)
    if not found:
        raise _missing(address)
    return [
        _listed(name, tuple(name.removeprefix(folder).strip("/").split("/")), each)
        for name, each in found.items()
        if each.get("type") != "directory" and not name.endswith("/")
    ]


def _is_web(address: str) -> bool:
    return address.partition("://")[0].lower() in _WEB


def _is_pattern(address: str, path: str) -> bool:
    return not _is_web(address) and _WILDCARD.search(path) is not None


def _matching(system: Any, pattern: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, known in system.glob(pattern, detail=True).items():
        found |= system.find(name, detail=True) if known["type"] == "directory" else {name: known}
    return found


def _listed(path: str, inside: tuple[str, ...], known: Mapping[str, Any]) -> Listed:
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
        # A web server may not give parts of a file: it is read as a stream from its start.
        size = 0 if _is_web(address) else _BLOCK
        handle = _system(address).open(path, "rb", block_size=size)
    except Exception as wrong:  # whatever a driver raises
        raise OSError(_words(wrong, address)) from None
    return io.BufferedReader(_Object(handle, address, seekable=bool(size)), _BLOCK)


class _Object(io.RawIOBase):
    """A driver's file, whose troubles are told as any file's are."""

    def __init__(self, handle: Any, address: str, *, seekable: bool) -> None:
        self._handle, self._address, self._seekable = handle, address, seekable

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._seekable

    def readinto(self, buffer: Any) -> int:
        block = self._ask(lambda: self._handle.read(len(buffer)))
        buffer[: len(block)] = block
        return len(block)

    def seek(self, place: int, whence: int = 0) -> int:
        if not self._seekable:
            raise io.UnsupportedOperation("seek")
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


def _system(address: str) -> Any:
    scheme = address.partition("://")[0].lower()
    options: dict[str, Any] = {}
    import fsspec  # noqa: PLC0415  takes a while, and most captures are on this machine

    if scheme in _WEB:
        import aiohttp  # noqa: PLC0415  the same

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_SILENCE, sock_read=_SILENCE)
        options = {"client_kwargs": {"timeout": timeout}}
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
    with _told(address):
        return system(**{**system._get_kwargs_from_urls(address), **options})


def _driver(scheme: str) -> str:
    from fsspec.registry import known_implementations  # noqa: PLC0415  as above

    named = known_implementations.get(scheme, {}).get("class", scheme)
    return str(named).partition(".")[0]


@contextmanager
def _told(address: str) -> Iterator[None]:
    """Tell in a sentence what a driver raises."""
    try:
        yield
    except Exception as error:
        wrong: BaseException = error
        if isinstance(wrong, FileNotFoundError):
            # fsspec says so of every trouble on the web, and keeps what it was.
            if not _is_web(address) or getattr(wrong.__cause__, "status", None) in _GONE:
                raise _missing(address) from None
            wrong = wrong.__cause__ or wrong
        raise CaptureError(
            f"{shown(address)!r} cannot be read: {_words(wrong, address)}. Check the address, the network "
            "and the credentials that its driver uses."
        ) from None


def _missing(address: str) -> MissingPath:
    return MissingPath(f"There is nothing at {shown(address)!r}. Check the address and try again.")


def _words(wrong: BaseException, address: str) -> str:
    return masked(str(wrong).rstrip(".") or type(wrong).__name__, address)


def _time(value: Any) -> datetime | None:
    """Read a time as stores give it; one without a zone is none."""
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
