"""Addresses of captures as anyone may read them: passwords and signatures in them are never shown."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]+://"
_ADDRESS = re.compile(_SCHEME)
_IN_TEXT = re.compile(rf"{_SCHEME}[^\s'\"<>]+")
_CHAIN = re.compile(rf"::(?={_SCHEME}|\w+::)")
_WEB = frozenset({"http", "https"})
# The part before the @ is a container's name there, not a person's.
_CONTAINER_FIRST = frozenset({"abfs", "abfss"})
_HOST = re.compile(r"[^:]*(?::\d*)?|\[[^\]]*\](?::\d*)?")
WILDCARD = re.compile(r"[*?\[]")


def is_address(text: str) -> bool:
    """Whether a text is a URL rather than a path."""
    return _ADDRESS.match(text) is not None


def is_chain(address: str) -> bool:
    """Whether a URL names several file systems, one inside another, as ``zip://a::https://host/b.zip``."""
    return _CHAIN.search(address) is not None


def is_web(address: str) -> bool:
    """Whether a URL is one of a web server."""
    return address.partition("://")[0].lower() in _WEB


def shown(address: str) -> str:
    """Return a URL without what may be secret: user, password, query and fragment. A path stays as it is."""
    return "::".join(_shown(each) if "://" in each else each for each in _CHAIN.split(address))


def _shown(address: str) -> str:
    scheme, _, rest = address.partition("://")
    authority, slash, path = rest.partition("/")
    if "@" in path and not _HOST.fullmatch(authority.rpartition("@")[2]):
        # What looks like a host is a user and the beginning of a password that holds a slash.
        authority, slash, path = rest.rpartition("@")[2].partition("/")
    if "@" in authority and (scheme.lower() not in _CONTAINER_FIRST or ":" in authority):
        authority = authority.rpartition("@")[2]
    # Elsewhere a question mark may be a wildcard, and both may be part of a name.
    query = r"[?#]" if scheme.lower() in _WEB else r"\?(?=.*=)"
    return re.split(query, f"{scheme}://{authority}{slash}{path}", maxsplit=1)[0]


def masked(words: str, address: str) -> str:
    """Remove every secret of a URL from somebody's words about it."""
    try:
        parts = urlsplit(address)
    except ValueError:
        parts = urlsplit("")
    secrets = {parts.query, parts.fragment, parts.username or "", parts.password or ""}
    secrets |= {pair.partition("=")[2] for pair in parts.query.split("&")}
    secrets |= {unquote(secret) for secret in secrets}
    words = without_secrets(words)
    visible = shown(address)
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) > 3 and secret not in visible:
            words = words.replace(secret, "***")
    return words


def without_secrets(words: str) -> str:
    """Show every URL of a text without what may be secret in it."""
    return _IN_TEXT.sub(lambda found: shown(found.group()), words)


def name_of(address: str, *, is_literal: bool = False) -> str:
    """Return the last part of a URL's path; the host or bucket where there is none.

    Args:
        address: the URL.
        is_literal: whether wildcards in it are part of a name; otherwise the name ends before the first.
    """
    scheme, _, rest = shown(address).partition("://")
    if scheme.lower() in _WEB:
        rest = unquote(rest)
    elif not is_literal and (wildcard := WILDCARD.search(rest)):
        rest = rest[: wildcard.start()].rpartition("/")[0]
    return rest.rstrip("/").rpartition("/")[2] or scheme
