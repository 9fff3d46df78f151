"""Redaction of personal values, before anything is written or sent.

| way | result |
| --- | --- |
| ``keep`` | the value is unchanged |
| ``drop`` | the value is missing |
| ``mask`` | only the part that does not identify a person remains: see :func:`masked` |
| ``hash:aep`` | e-mail addresses are hashed for the namespace of SHA-256 e-mails; other values are masked |
| ``hash:keyed`` | HMAC-SHA-256 with a key that the user holds |

All ways except ``keep`` and ``drop`` follow two rules. Equal values stay equal in every table, so tables
still join. And a value keeps its column's form: an id stays a UUID, an IP address an IP address, JSON JSON.

Without a key only random ids and e-mail addresses are hashed, because names, IP addresses and free text can
be guessed from their hashes. So can e-mail addresses, but the namespace requires plain hashes. A value counts
as an e-mail address only if it is exactly one address. For anything else that visitors type into such a field
("ana@example.org, mobile 555"), nothing remains.

Event ids and payload digests are computed from the unredacted payload, so that an event is the same with and
without redaction. Both are SHA-256 over random ids and other values. They reveal no person, but anyone who
already has a payload can find out whether it is among the events.
"""

from __future__ import annotations

import hmac
import html
import re
import unicodedata
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from ipaddress import IPv6Address, ip_network
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from chatlio_kit.chatlio.catalogue import IP, TABLES, UUID, Dtype, Field, Form, Privacy
from chatlio_kit.chatlio.rejections import HINTS, Reason, Rejection
from chatlio_kit.errors import UsageError, option
from chatlio_kit.settings import Secret

MASK = "***"
_AN_ID = next(column for column in TABLES["events"] if column.rule is UUID)
SPEAKS_OF_PEOPLE = tuple(privacy for privacy in Privacy if privacy is not Privacy.PLAIN)
_TEXT = pa.large_string()
_NOWHERE = "0.0.0.0"  # noqa: S104  shown instead of an address, bound to nothing
_WRITTEN_BY = "username"
_PARTS = re.compile(r"([/!])")
_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_ADDRESS = re.compile(rf"[^\s@<>()\[\],;:\"\\]{{1,64}}@((?:{_LABEL}\.)+[^\W\d_][\w-]{{0,61}}[^\W_])")
_HOST = re.compile(r"[\w.-]{1,253}|[0-9a-f:.]{2,45}")
_COUNTRY = re.compile(r"[^\W\d_]{1,30}(?:[ .'’()&-]{1,3}[^\W\d_]{1,30}){0,7}[.)]?")
_SCHEMES = frozenset({"http", "https", "android-app", "ios-app"})
_ESCAPED = re.compile(r"\\+u([0-9A-Fa-f]{4})")
_MOST_LAYERS = 64


class Way(StrEnum):
    """A way to redact a class of values."""

    KEEP = "keep"
    DROP = "drop"
    MASK = "mask"
    AEP = "hash:aep"
    KEYED = "hash:keyed"


@dataclass(frozen=True)
class Redaction:
    """The redaction of each privacy class.

    Attributes:
        ways: Way by class; other classes are kept.
        key: Key for keyed hashes; never shown.
    """

    ways: Mapping[Privacy, Way] = field(default_factory=dict)
    key: Secret | None = None

    @classmethod
    def from_text(
        cls, text: str | Mapping[str, str] | None, key: Callable[[], Secret] | None = None
    ) -> Redaction:
        """Parse the option ``--redact``.

        Args:
            text: One way for all classes, ways for single classes (``CLASS=WAY``), or both, separated by
                commas, or a mapping of classes to ways; None or ``keep`` redacts nothing.
            key: Returns the key; called only if a way needs it.

        Raises:
            UsageError: A class or way does not exist.
            SettingsError: A key is needed, but there is none.
        """
        ways: dict[Privacy, Way] = {}
        singles: dict[Privacy, Way] = {}
        if isinstance(text, Mapping):
            parts = [f"{name}={way}" for name, way in text.items()]
        else:
            parts = [] if text is None else text.split(",")
        for part in parts:
            name, is_single, way = part.strip().rpartition("=")
            if is_single:
                singles[_class_named(name.strip())] = _way_named(way.strip())
            else:
                ways = dict.fromkeys(SPEAKS_OF_PEOPLE, _way_named(way))
        chosen = {privacy: way for privacy, way in (ways | singles).items() if way is not Way.KEEP}
        needs_key = Way.KEYED in chosen.values()
        return cls(chosen, key() if needs_key and key is not None else None)

    def without_key(self) -> Redaction:
        """Return the same ways without the key, to describe what was redacted."""
        return Redaction(self.ways)

    @property
    def is_on(self) -> bool:
        """True if anything is redacted."""
        return bool(self.ways)

    def way_of(self, privacy: Privacy) -> Way:
        """Return the way for a privacy class."""
        return self.ways.get(privacy, Way.KEEP)

    def way_in_words(self, column: Field) -> str:
        """Return a description of how a column is redacted."""
        own, of_staff = self.way_of(column.privacy), self.way_of(Privacy.STAFF)
        if column.name == _WRITTEN_BY and own is not of_staff:
            return f"{own}, agents' {of_staff}"
        return str(own)

    def apply(self, table: str, rows: Any) -> tuple[Any, Counter[str]]:
        """Redact a table.

        Args:
            table: Its name.
            rows: Its rows.

        Returns:
            The table with the same schema and order, and the number of redacted values by column.
        """
        counts: Counter[str] = Counter()
        for column in TABLES[table]:
            if column.privacy is Privacy.PLAIN or not len(rows):
                continue
            values = redacted = rows[column.name].combine_chunks()
            for way, is_meant in self._ways_within(column, rows):
                if way is not Way.KEEP:
                    is_redacted = pc.and_(values.is_valid(), is_meant)
                    counts[column.name] += pc.sum(is_redacted).as_py()
                    redacted = pc.if_else(is_redacted, self._redacted(values, column, way), redacted)
            if redacted is not values:
                index = rows.schema.get_field_index(column.name)
                rows = rows.set_column(index, rows.schema.field(index), redacted)
        return rows, +counts

    def rejection(self, rejection: Rejection) -> Rejection:
        """Return a rejection without the record's values: only its location, the rule, and the next step."""
        reason = rejection.reason
        names_files_only = reason in (Reason.CONFLICTING_DUPLICATE, Reason.UNDATED)
        # an earlier run may have stored file names that this one redacts
        detail = rejection.detail if names_files_only and not _speaks(rejection.detail) else HINTS[reason]
        name = None if reason in (Reason.DUPLICATE_KEY, Reason.UNKNOWN_FIELD) else rejection.field
        name = None if name is not None and _speaks(name) else name
        return Rejection(rejection.file, rejection.record, reason, name, detail, None)

    def file_name(self, name: str) -> str:
        """Redact a file's name: a part of its path that contains ``@`` is redacted as a personal value.

        Such a part may contain an e-mail address with an unknown beginning. A file needs a name, so
        ``drop`` masks here.
        """
        way = self.way_of(Privacy.PERSONAL)
        if way is Way.KEEP:
            return name
        return "".join(self._part(part, way) if _speaks(part) else part for part in _PARTS.split(name))

    def aliases(self, value: str) -> set[str]:
        """Return the redacted forms of an id or an e-mail address that still identify it."""
        is_address = "@" in value
        digests = {hashed_email(value)} if is_address else {_in_form(sha256(value.encode()).digest(), _AN_ID)}
        if self.key is not None:
            plain = _normal(value) if is_address else value
            keyed = hmac.digest(self.key.reveal().encode(), plain.encode(), "sha256")
            digests.add(keyed.hex() if is_address else _in_form(keyed, _AN_ID))
        return digests

    def __str__(self) -> str:
        return ",".join(f"{privacy}={self.ways[privacy]}" for privacy in Privacy if privacy in self.ways)

    def _ways_within(self, column: Field, rows: Any) -> list[tuple[Way, Any]]:
        """Return a column's ways and their rows; a message's name is redacted according to its author."""
        if column.name != _WRITTEN_BY:
            return [(self.way_of(column.privacy), pa.scalar(True))]
        is_agent = pc.fill_null(pc.equal(rows["author"].combine_chunks(), "agent"), False)
        return [(self.way_of(Privacy.STAFF), is_agent), (self.way_of(column.privacy), pc.invert(is_agent))]

    def _part(self, name: str, way: Way) -> str:
        if way is Way.KEYED and self.key is not None:
            return hmac.digest(self.key.reveal().encode(), name.encode(), "sha256").hex()
        return MASK

    def _redacted(self, values: Any, column: Field, way: Way) -> Any:
        if way is Way.DROP:
            return pa.nulls(len(values), _TEXT)
        encoded = values.dictionary_encode()
        redacted = [self._value(value, column, way) for value in encoded.dictionary.to_pylist()]
        return pa.array(redacted, _TEXT).take(encoded.indices)

    def _value(self, value: str, column: Field, way: Way) -> str:
        if way is Way.KEYED and self.key is not None:
            key = self.key.reveal().encode()
            plain = _normal(value) if column.form is Form.EMAIL else value
            return _in_form(hmac.digest(key, plain.encode(), "sha256"), column)
        if way is Way.AEP and column.form is Form.EMAIL and _ADDRESS.fullmatch(value.strip()):
            return hashed_email(value)
        return masked(value, column)


def hashed_email(address: str) -> str:
    """Hash an e-mail address for Experience Platform's namespace of hashed e-mails.

    SHA-256 in lower-case hex of the address, trimmed and in lower case (Adobe Experience Cloud ID Service:
    SHA-256 hashing support).
    """
    return sha256(_normal(address).encode()).hexdigest()


def masked(value: str, column: Field) -> str:
    """Return the part of a value that does not identify a person; :func:`left_by_mask` describes it."""
    if column.rule is UUID:
        return _in_form(sha256(value.encode()).digest(), column)
    if column.rule is IP:
        return _network(value)
    if column.dtype is Dtype.JSON:
        return f'"{MASK}"'
    if column.form is Form.EMAIL:
        address = _ADDRESS.fullmatch(value.strip())
        return f"{MASK}@{address[1].lower()}" if address else MASK
    if column.form is Form.URL:
        return _page(value)
    if column.form is Form.PLACE:
        _, comma, country = value.rpartition(",")
        return country.strip() if comma and _COUNTRY.fullmatch(country.strip()) else MASK
    return MASK


def left_by_mask(column: Field) -> str:
    """Describe the part of a column's values that a mask leaves."""
    if column.rule is UUID:
        return "the SHA-256 of the id, in the form of an id, so that tables still join"
    if column.rule is IP:
        return "the network: /24, or /48 in IPv6"
    if column.form is Form.EMAIL:
        return "the domain, where the value is one address and nothing else"
    if column.form is Form.URL:
        return "the part before `?` and `#`, without segments that may hold an address"
    return "the country, where it is made of letters" if column.form is Form.PLACE else "nothing"


def _in_form(digest: bytes, column: Field) -> str:
    """Write a digest in the form of the column's values."""
    if column.rule is UUID:
        return str(uuid.UUID(bytes=digest[:16]))
    if column.rule is IP:  # a unique local address (RFC 4193)
        return IPv6Address(b"\xfd" + digest[:15]).exploded
    return f'"{digest.hex()}"' if column.dtype is Dtype.JSON else digest.hex()


def _network(address: str) -> str:
    try:
        return str(ip_network(f"{address}/{48 if ':' in address else 24}", strict=False).network_address)
    except ValueError:
        return _NOWHERE


def _page(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return MASK
    if parts.scheme not in _SCHEMES or not _HOST.fullmatch(host):
        return MASK
    path = "/".join(MASK if _hides_more(part) else part for part in parts.path.split("/"))
    return f"{parts.scheme}://{host}{path}"


def _hides_more(part: str) -> bool:
    """Return whether a segment of a URL's path contains an address, text or a query rather than a name."""
    plain = decoded(part)
    return any(mark in plain for mark in "@?#=&") or re.search(r"\s", part) is not None


def _speaks(part: str) -> bool:
    """Return whether a segment of a path may contain an address, even with a multiply encoded ``@``."""
    return "@" in decoded(part)


def decoded(text: str) -> str:
    """Remove all encodings that could hide an address.

    These are percent-encoding, HTML entities, JSON escapes and other Unicode normalizations, each as often as
    it was applied.
    """
    for _ in range(_MOST_LAYERS):
        plain = _ESCAPED.sub(lambda escape: chr(int(escape[1], 16)), html.unescape(unquote(text)))
        plain = unicodedata.normalize("NFKC", plain)
        if plain == text:
            break
        text = plain
    return text


def _normal(address: str) -> str:
    return address.strip().lower()


def _class_named(name: str) -> Privacy:
    if name not in SPEAKS_OF_PEOPLE:
        raise UsageError(
            f"{option('redact')} names {name!r}, which is not a privacy class of personal data. The classes "
            f"are {', '.join(SPEAKS_OF_PEOPLE)}; the data dictionary lists each column's class."
        )
    return Privacy(name)


def _way_named(name: str) -> Way:
    if name not in set(Way):
        raise UsageError(
            f"{option('redact')} names {name!r}, which is not a way to redact. The ways are "
            f"{', '.join(Way)}; for example mask, or personal=hash:keyed,content=drop."
        )
    return Way(name)
