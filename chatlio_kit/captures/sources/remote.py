"""URLs of captures, without their secrets: passwords and signatures are neither shown nor logged."""

from __future__ import annotations

import logging
import re
from typing import Any
from urllib.parse import unquote, urlsplit

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]+://"
_ADDRESS = re.compile(_SCHEME)
_IN_TEXT = re.compile(rf"{_SCHEME}[^\s'\"<>]+")
_CHAIN = re.compile(rf"::(?={_SCHEME}|\w+::)")
_WEB = frozenset({"http", "https"})
# The part before the @ is the name of a container there, not of a user.
_CONTAINER_FIRST = frozenset({"abfs", "abfss"})
_HOST = re.compile(r"[^:]*(?::\d*)?|\[[^\]]*\](?::\d*)?")
WILDCARD = re.compile(r"[*?\[]")
_DRIVERS = frozenset(
    {
        "adlfs", "aiobotocore", "aiohttp", "azure", "boto3", "botocore", "fsspec", "gcsfs", "google", "msal",
        "s3fs", "s3transfer",
    }
)  # fmt: skip
_CLIENTS = frozenset({"requests", "urllib3"})
_HIDDEN = "(a driver's debug message is not shown: it may hold credentials)"
_QUERY = re.compile(r"(?<=\?)[^\s\"'<>]*=[^\s\"'<>]*")


def is_address(text: str) -> bool:
    """Return whether a string is a URL rather than a path."""
    return _ADDRESS.match(text) is not None


def is_chain(address: str) -> bool:
    """Return whether a URL names one file system within another, as ``zip://a::https://host/b.zip`` does."""
    return _CHAIN.search(address) is not None


def is_web(address: str) -> bool:
    """Return whether it is a web server's URL."""
    return address.partition("://")[0].lower() in _WEB


def shown(address: str) -> str:
    """Return a URL without possible secrets: user, password, query and fragment. Paths are unchanged."""
    return "::".join(_shown(part) if "://" in part else part for part in _CHAIN.split(address))


def _shown(address: str) -> str:
    scheme, _, rest = address.partition("://")
    authority, slash, path = rest.partition("/")
    if "@" in path and not _HOST.fullmatch(authority.rpartition("@")[2]):
        # The apparent host is a user and the start of a password that contains a slash.
        authority, slash, path = rest.rpartition("@")[2].partition("/")
    if "@" in authority and (scheme.lower() not in _CONTAINER_FIRST or ":" in authority):
        authority = authority.rpartition("@")[2]
    # In a bucket a question mark may be a wildcard, and both characters may be part of a name.
    query = r"[?#]" if scheme.lower() in _WEB else r"\?(?=.*=)"
    return re.split(query, f"{scheme}://{authority}{slash}{path}", maxsplit=1)[0]


def masked(message: str, address: str) -> str:
    """Remove all secrets of a URL from a message about it."""
    try:
        parts = urlsplit(address)
    except ValueError:
        parts = urlsplit("")
    secrets = {parts.query, parts.fragment, parts.username or "", parts.password or ""}
    secrets |= {pair.partition("=")[2] for pair in parts.query.split("&")}
    secrets |= {unquote(secret) for secret in secrets}
    message = without_secrets(message)
    visible = shown(address)
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) > 3 and secret not in visible:
            message = message.replace(secret, "***")
    return message


def without_secrets(text: str) -> str:
    """Return a string with every URL in the form of :func:`shown`."""
    return _IN_TEXT.sub(lambda url: shown(url.group()), text)


def name_of(address: str, *, is_literal: bool = False) -> str:
    """Return the last part of a URL's path; the host or bucket if there is none.

    Args:
        address: The URL.
        is_literal: True if wildcards are part of the name; otherwise the name ends before the first.
    """
    scheme, _, rest = shown(address).partition("://")
    if scheme.lower() in _WEB:
        rest = unquote(rest)
    elif not is_literal and (wildcard := WILDCARD.search(rest)):
        rest = rest[: wildcard.start()].rpartition("/")[0]
    return rest.rstrip("/").rpartition("/")[2] or scheme


def mask_driver_logs() -> None:
    """Mask what drivers log, at every level and in every handler.

    Signed URLs lose their queries. The text of drivers' debug messages is replaced, because they contain
    whole requests with signatures and tokens.
    """
    make = logging.getLogRecordFactory()
    if not isinstance(make, _MaskingFactory):
        logging.setLogRecordFactory(_MaskingFactory(make))


class _MaskingFactory:
    """Creates log records with another factory and masks those of drivers."""

    def __init__(self, make: Any) -> None:
        self._make = make

    def __call__(self, *args: Any, **named: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._make(*args, **named)
        logger = record.name.partition(".")[0]
        if logger in _DRIVERS and record.levelno <= logging.DEBUG:
            record.msg, record.args, record.exc_info = _HIDDEN, (), None
        elif logger in _DRIVERS or logger in _CLIENTS:
            text = record.getMessage()
            hidden = _QUERY.sub("***", without_secrets(text))
            if hidden != text:
                record.msg, record.args = hidden, ()
        return record
