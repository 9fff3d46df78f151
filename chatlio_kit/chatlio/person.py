r"""One person's ids and addresses, or one channel's conversations, and the search for them in strings.

An address has many forms: other letter case, percent-encoded once or twice, ``\u0040`` in JSON, ``&#64;`` in
HTML, a Punycode domain, or another Unicode normalization. Strings are decoded before they are compared, and
only whole names count: ``bea.ana@x.org`` does not contain ``ana@x.org``.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pandas as pd

from chatlio_kit.chatlio.redaction import Redaction, decoded

VISITOR, CONVERSATION, ADDRESS, CHANNEL = "visitor_id", "conversation_id", "email", "channel_id"
WHO = (VISITOR, "visitor_email", "contact_email")
EVENT_IDS = ("event_id", "_id")

_UUID = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-f])")
_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_ESCAPES = re.compile(r'\\+[nrtbf"/]')
_ENCODED_WORDS = re.compile(r"""[^\s"'<>]*%[0-9A-Fa-f]{2}[^\s"'<>]*""")
_PUNYCODE = re.compile(r"xn--[a-z0-9-]+")
_LAYERS = frozenset("%&\\")
_PLACE_IN_LIST = re.compile(r"\[\d+\]")
_CUT = re.compile(r"…|\.\.\.")
_WORDS = re.compile(r"[^\W_]+")
_OF_CHANNEL = r"""(?:(?<!\w)channel_?id[\s"'\\]*[:=][\s"'\\]*|!)(?:{})(?!\w)"""
"""A channel as it appears in a folded record, or in the name of a file from its part of an export."""
_SHORTEST_CUT = 8
_CUT_NAMES = 80  # names of unknown fields are truncated there without a mark


class Person:
    """The names of one person, extended as further ones are found.

    Args:
        visitor_id: The visitor's id in Chatlio, one per browser.
        email: An e-mail address.
        redaction: The redaction of the values; with its key, keyed hashes of these names count too.
        channel: A Slack channel's id. It identifies the conversations held there, not their visitor. Only a
            conversation's own channel counts, because another chat may mention it.

    Attributes:
        events: Ids of the events that name the person.
        words: The platform's messages about these events, which may quote their values.
    """

    def __init__(
        self,
        visitor_id: str | None = None,
        email: str | None = None,
        redaction: Redaction | None = None,
        *,
        channel: str | None = None,
    ) -> None:
        self.events: set[str] = set()
        self.words: set[str] = set()
        self._fields: set[str] = set()
        self._common_fields: set[str] = set()
        self._redaction = redaction or Redaction()
        self._names: dict[str, set[str]] = {sort: set() for sort in (VISITOR, ADDRESS, CONVERSATION, CHANNEL)}
        self._aliases: set[str] = set()
        self._channels: set[str] = set()
        self._in_channel: re.Pattern[str] | None = None
        self._add_aliases(())
        self.add(VISITOR, [visitor_id] if visitor_id else [])
        self.add(ADDRESS, [email] if email else [])
        self.add(CHANNEL, [channel] if channel else [])

    def names(self, sort: str) -> list[str]:
        """Return the known visitor ids, conversation ids, addresses or channels, folded and sorted."""
        return sorted(self._names[sort])

    @property
    def known(self) -> int:
        """The number of known names and events."""
        return len(self.events) + sum(map(len, self._names.values()))

    def as_dict(self) -> dict[str, list[str]]:
        """Return everything known, in the form that :meth:`restore` expects."""
        return {
            **{sort: sorted(names) for sort, names in self._names.items()},
            "aliases": sorted(self._aliases),
            "events": sorted(self.events),
            "words": sorted(self.words | self.fields),
        }

    def restore(self, known: Mapping[str, Iterable[str]]) -> None:
        """Add the result of :meth:`as_dict`."""
        for sort in self._names:
            self.add(sort, known.get(sort, ()))
        self._add_aliases(known["aliases"])
        self.events |= set(known["events"])
        self.words |= set(known["words"])

    def add(self, sort: str, names: Iterable[str]) -> None:
        """Add further names and their redacted forms."""
        aliases: set[str] = set()
        for name in names:
            plain = fold(name).strip()
            if plain and plain not in self._names[sort]:
                self._names[sort].add(plain)
                aliases |= {plain, *self._redaction.aliases(name), *self._redaction.aliases(plain)}
        if aliases and sort == CHANNEL:
            self._channels |= aliases
            either = "|".join(map(re.escape, sorted(self._channels)))
            self._in_channel = re.compile(_OF_CHANNEL.format(either))
        elif aliases:
            self._add_aliases(aliases)

    def _add_aliases(self, aliases: Iterable[str]) -> None:
        self._aliases |= set(aliases)
        self._whole = {alias for alias in self._aliases if _UUID.fullmatch(alias) or _DIGEST.fullmatch(alias)}
        self._others = sorted(self._aliases - self._whole)
        either = "|".join(map(re.escape, self._others))
        self._pattern = re.compile(rf"(?<![\w.+%-])(?:{either})(?!\.?[\w-])") if either else None
        self._bytes = re.compile(rb"(?<![\w.+%%-])(?:%s)(?!\.?[\w-])" % either.encode()) if either else None
        self._loose = re.compile(rf"(?<![^\W_])(?:{either})(?![^\W_])") if either else None

    def is_named_in(self, text: str) -> bool:
        """Return whether a string, possibly JSON, HTML or a URL, names the person or one of their events."""
        plain = fold(text)
        return (
            self._has_id(plain)
            or (self._pattern is not None and self._pattern.search(plain) is not None)
            or (self._in_channel is not None and self._in_channel.search(plain) is not None)
            or self._has_cut_name(plain)
        )

    def quoted_in(self, text: str) -> bool:
        """Return whether a string names the person, or repeats a message about one of their events."""
        return self.is_named_in(text) or any(words in text for words in self.words | self.fields)

    def names_file(self, name: str) -> bool:
        """Return whether a file's name may contain a name; the end of an address within it is unknown."""
        plain = fold(name)
        return (
            self._has_id(plain)
            or (self._loose is not None and self._loose.search(plain) is not None)
            or not self._channels.isdisjoint(_WORDS.findall(plain))
        )

    def is_in_bytes(self, content: bytes) -> bool:
        """Return whether bytes, such as a database's pages, contain one of the names unencoded."""
        plain = content.lower().decode("latin-1")
        return (
            self._has_id(plain)
            or (self._bytes is not None and self._bytes.search(content.lower()) is not None)
            or (self._in_channel is not None and self._in_channel.search(plain) is not None)
        )

    def without_names(self, text: str, instead: str) -> str:
        """Return a sentence without words that may be the name of a file named after the person."""
        return re.sub(r"\S+", lambda word: instead if self.names_file(word[0]) else word[0], text)

    def learn(self, rows: Iterable[Any]) -> None:
        """Add the events of rows that name the person.

        The person's own rows also add their visitor and conversation, and a channel's rows their
        conversation. Another person's row that only mentions this person does not.
        """
        for row in rows:
            members = list(_members(row))
            self.events |= {value for name, value in members if name in EVENT_IDS}
            if any(name in WHO and self.is_name(value) for name, value in members):
                for sort in (VISITOR, CONVERSATION):
                    self.add(sort, [value for name, value in members if name == sort])
            elif any(name == CHANNEL and self.is_channel(value) for name, value in members):
                self.add(CONVERSATION, [value for name, value in members if name == CONVERSATION])

    def learn_fields(self, theirs: pd.Series[Any], others: pd.Series[Any]) -> None:
        """Add undocumented fields that only the person's records have, because reports list field names.

        Args:
            theirs: The column ``extra_fields`` of rows that name the person.
            others: The same column of all other rows.
        """
        self._fields |= _field_names(theirs)
        self._common_fields |= _field_names(others)

    def look_again(self) -> None:
        """Discard the fields, because rows that seemed to be someone else's may now be the person's."""
        self._fields, self._common_fields = set(), set()

    @property
    def fields(self) -> set[str]:
        """Names of fields that only the person's records have."""
        return self._fields - self._common_fields

    def is_name(self, value: str) -> bool:
        """Return whether a value is exactly one of the names."""
        plain = fold(value).strip()
        return plain in self._whole or plain in self._others

    def is_channel(self, value: str) -> bool:
        """Return whether a value is exactly the channel's id."""
        return bool(self._channels) and fold(value).strip() in self._channels

    def among(self, events: pd.DataFrame) -> pd.Series[bool]:
        """Return a mask of events that have the person as visitor or contact, or are in their conversations.

        Events of the channel count too.
        """
        is_theirs = pd.Series(data=False, index=events.index)
        for column in (*WHO, CONVERSATION):
            names = [value for value in events[column].dropna().unique() if self.is_name(value)]
            is_theirs |= events[column].isin(names)
        channels = [value for value in events[CHANNEL].dropna().unique() if self.is_channel(value)]
        return is_theirs | events[CHANNEL].isin(channels)

    def _has_id(self, plain: str) -> bool:
        ids = (value for pattern in (_UUID, _DIGEST) for value in pattern.findall(plain))
        return any(value in self._whole or value in self.events for value in ids)

    def _has_cut_name(self, plain: str) -> bool:
        """Return whether a string contains a truncated name: before an ellipsis, or at the maximum length."""
        ends = [ellipsis.start() for ellipsis in _CUT.finditer(plain)]
        ends += [len(plain)] if len(plain) >= _CUT_NAMES else []
        return any(_ends_in_part(plain[:end], name) for end in ends for name in self._others)


def fold(text: str) -> str:
    """Return a string in the form in which names are compared."""
    if text.isascii() and _LAYERS.isdisjoint(text):
        plain = text.lower()
    else:
        spaced = _ENCODED_WORDS.sub(lambda word: word[0].replace("+", " "), text) if "%" in text else text
        plain = _ESCAPES.sub(" ", decoded(spaced))
        plain = unicodedata.normalize("NFKC", plain.casefold())
    return _PUNYCODE.sub(_label, plain) if "xn--" in plain else plain


def _field_names(column: pd.Series[Any]) -> set[str]:
    """Return the names in a column of extra fields, as reports write them."""
    names = {name for text in column.dropna().unique() for name in json.loads(text)}
    return {_PLACE_IN_LIST.sub("[]", name)[:_CUT_NAMES] for name in names}


def _label(label: re.Match[str]) -> str:
    with suppress(UnicodeError):
        return unicodedata.normalize("NFKC", label[0][4:].encode().decode("punycode").casefold())
    return label[0]


def _ends_in_part(text: str, name: str) -> bool:
    """Return whether a string ends with the beginning of a name, long enough to be recognised."""
    least = min(name.find("@") + 1 or _SHORTEST_CUT, _SHORTEST_CUT)
    parts = (name[:size] for size in range(len(name) - 1, least - 1, -1))
    return any(text.endswith(part) and not re.search(r"[\w.+%-]$", text[: -len(part)]) for part in parts)


def _members(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the strings in a value, at any depth, with their keys."""
    if isinstance(value, dict):
        for name, inside in value.items():
            if isinstance(inside, str):
                yield name, inside
            yield from _members(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _members(inside)
