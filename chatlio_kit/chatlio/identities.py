"""The rules for identities: permitted fields, valid values, and the choice of the primary id.

Identities attach events to people, and a careless one merges different people. Agents, Slack ids, reply-to
addresses and conversations are therefore never identities; values that Identity Service blocks are omitted;
an event has at most one id in a namespace; and an e-mail address, which visitors type themselves, is never
primary.

Source: Identity Service: namespaces, guardrails, linking logic; XDM: identityMap.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pandas as pd

from chatlio_kit.chatlio.catalogue import UUID
from chatlio_kit.chatlio.redaction import MASK, hashed_email
from chatlio_kit.errors import UsageError, option

DEFAULT = "visitor_id=ChatlioVisitor"
TRAITS = "traits."
VISITOR, USER = "visitor_id", "user_id"
EMAILS = ("visitor_email", "contact_email")
FIELDS = (USER, VISITOR, *EMAILS)
"""Columns that may be identities. A visitor trait may be one too, as ``traits.<name>``."""

EMAIL, HASHED_EMAIL, ECID = "Email", "Email_LC_SHA256", "ECID"
STANDARD = frozenset({EMAIL, HASHED_EMAIL, ECID, "Phone", "TNTID", "GAID", "AdCloud"})
"""Namespaces predefined by Adobe."""

IDENTITIES_KEY = "identityMap"
"""The wire key and XDM field for identities."""

_SYNTAX = re.compile(r"(?P<field>[a-z_]+|traits\.[\w-]+)=(?P<namespace>[A-Za-z0-9_]{1,64})", re.ASCII)
_LONGEST = 1024
_BLOCKED = frozenset({"null", "anonymous", "invalid"})
_PLACEHOLDERS = frozenset({"undefined", "none", "nan", "unknown", "n/a", "guest"})
"""Placeholders that the platform does not block but that would merge different people."""
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_UUID = re.compile(str(UUID.pattern))
_NEVER = {
    "agent_email": "it names an agent, who would join all visitors into one person",
    "agent_name": "it names an agent, who would join all visitors into one person",
    "slack_user_id": "it names an agent, who would join all visitors into one person",
    "reply_to_email": "it is often the company's own address",
    "conversation_id": "a conversation is not a person",
    "channel_id": "a Slack channel is not a person",
    "visitor_handle": "Chatlio generates it, and several visitors may share one",
    "ip_address": "many people share one",
}


class Flaw(StrEnum):
    """Reasons why a value cannot be an identity."""

    BLANK = "blank"
    BLOCKED = "blocked"
    INVALID = "invalid"


@dataclass(frozen=True)
class Identity:
    """A field that identifies the visitor, and its namespace.

    Attributes:
        field: The column, or ``traits.<name>``.
        namespace: The namespace's code, which is case-sensitive.
    """

    field: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.field}={self.namespace}"

    @property
    def is_email(self) -> bool:
        """True if its values are e-mail addresses, which are never primary."""
        return self.namespace in (EMAIL, HASHED_EMAIL) or self.field in EMAILS

    def read(self, value: str | None) -> tuple[str | None, Flaw | None]:
        """Return a value in the form that is sent, or the reason why it cannot be an identity."""
        plain = "" if value is None else value.strip()
        if not plain:
            return None, Flaw.BLANK
        if plain.lower() in _BLOCKED | _PLACEHOLDERS or len(plain) > _LONGEST or MASK in plain:
            return None, Flaw.BLOCKED
        if self.is_email:
            return self._read_email(plain.lower())
        is_wrong = (
            self.namespace == ECID and not (plain.isascii() and plain.isdigit() and len(plain) == 38)
        ) or (self.field == VISITOR and not _UUID.fullmatch(plain))
        return (None, Flaw.INVALID) if is_wrong else (plain, None)

    def _read_email(self, plain: str) -> tuple[str | None, Flaw | None]:
        if self.namespace == HASHED_EMAIL and _DIGEST.fullmatch(plain):
            return plain, None
        if not _ADDRESS.fullmatch(plain):
            return None, Flaw.INVALID
        return (hashed_email(plain) if self.namespace == HASHED_EMAIL else plain), None


@dataclass(frozen=True)
class IdentityColumn:
    """The ids of events in one namespace.

    Attributes:
        namespace: The namespace's code.
        is_email: True if the ids are e-mail addresses, which are never primary.
        ids: The id of each event, with the events' index; missing for events without one.
    """

    namespace: str
    is_email: bool
    ids: pd.Series[str]


def parse_identities(texts: Iterable[str]) -> tuple[Identity, ...]:
    """Return identities in order of precedence, parsed from strings such as ``user_id=CustomerId``.

    The site's own id comes first, then the visitor's, then traits, and e-mail addresses last.

    Raises:
        UsageError: A string cannot be parsed, or a field may not be an identity.
    """
    identities = list(dict.fromkeys(_parsed(text) for text in texts))
    if identities and all(identity.is_email for identity in identities):
        raise UsageError(
            "An e-mail address alone is never an identity, because visitors type it themselves. Add one "
            f"that can be primary, e.g. {option('identity', DEFAULT)}."
        )
    fields = [identity.field for identity in identities]
    if repeated := next((field for field in fields if fields.count(field) > 1), None):
        raise UsageError(f"The field {repeated} is given two namespaces. Choose one.")
    for one in identities:
        for other in identities:
            if (
                one is not other
                and one.namespace == other.namespace
                and not (one.is_email and other.is_email)
            ):
                raise UsageError(
                    f"{one.field} and {other.field} share the namespace {one.namespace}, and two types of id "
                    "in one namespace merge strangers. Choose another namespace for one of them."
                )
    return tuple(sorted(identities, key=_precedence))


def identity_columns(
    events: pd.DataFrame, identities: Sequence[Identity], visitors: pd.Series[str] | None = None
) -> list[IdentityColumn]:
    """Return the ids of events by namespace, in order of precedence.

    An event without an id that can be primary gets no ids at all: Experience Platform would link its ids but
    create no profile for it.

    Args:
        events: Accepted events.
        identities: The fields that identify the visitor.
        visitors: The visitor of each event's conversation, for events that do not name a visitor.
    """
    columns: dict[str, IdentityColumn] = {}
    for identity in identities:
        values = field_values(events, identity.field)
        if identity.field == VISITOR and visitors is not None:
            values = values.fillna(visitors)
        ids = _mapped(values, identity)
        if (column := columns.get(identity.namespace)) is not None:
            ids = column.ids.fillna(ids)
        columns[identity.namespace] = IdentityColumn(identity.namespace, identity.is_email, ids)
    has_primary = pd.Series(data=False, index=events.index)
    for column in columns.values():
        if not column.is_email:
            has_primary |= column.ids.notna()
    return [
        IdentityColumn(column.namespace, column.is_email, column.ids.where(has_primary))
        for column in columns.values()
    ]


def field_values(events: pd.DataFrame, field: str) -> pd.Series[str]:
    """Return the values of a field or trait, as captured; missing for events without one."""
    if not field.startswith(TRAITS):
        return events[field]
    name = field.removeprefix(TRAITS)
    traits = events["visitor_traits"]
    found = {text: _trait(text, name) for text in traits.dropna().unique()}
    return traits.map(found).astype("str")


class ConversationVisitors:
    """The visitor named by the events of each conversation; none if they name several."""

    def __init__(self) -> None:
        self._pairs: list[pd.DataFrame] = []
        self._visitors: pd.Series[str] | None = None

    def add(self, events: pd.DataFrame) -> None:
        """Add the conversations that these events name."""
        self._pairs.append(events[["conversation_id", VISITOR]].dropna().drop_duplicates())
        self._visitors = None

    def of(self, events: pd.DataFrame) -> pd.Series[str]:
        """Return the visitor of each event's conversation, with the events' index."""
        if self._visitors is None:
            pairs = pd.concat(self._pairs).drop_duplicates() if self._pairs else None
            self._pairs = [] if pairs is None else [pairs]
            if pairs is None:
                return pd.Series(data=None, index=events.index, dtype="str")
            clear = pairs[~pairs["conversation_id"].duplicated(keep=False)]
            self._visitors = clear.set_index("conversation_id")[VISITOR]
        return events["conversation_id"].map(self._visitors).astype("str")


def _parsed(text: str) -> Identity:
    match = _SYNTAX.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{option('identity')} takes FIELD=NAMESPACE, as in {DEFAULT}, not {text!r}. The fields are "
            f"{', '.join(FIELDS)} and traits.<name>."
        )
    field, namespace = match["field"], match["namespace"]
    if field in _NEVER:
        raise UsageError(f"{field} is never an identity: {_NEVER[field]}. Leave it out.")
    if field not in FIELDS and not field.startswith(TRAITS):
        raise UsageError(
            f"{field} cannot be an identity. The fields are {', '.join(FIELDS)} and traits.<name>."
        )
    if field == VISITOR and namespace in STANDARD:
        raise UsageError(
            f"{namespace} is Adobe's own namespace, and Chatlio's visitor ids do not belong in it. Choose a "
            f"namespace of your own, as in {DEFAULT}."
        )
    return Identity(field, namespace)


def _precedence(identity: Identity) -> tuple[bool, int]:
    order = (USER, VISITOR)
    place = order.index(identity.field) if identity.field in order else len(order)
    return identity.is_email, FIELDS.index(identity.field) if identity.field in EMAILS else place


def _mapped(values: pd.Series[str], identity: Identity) -> pd.Series[str]:
    found = {value: identity.read(value)[0] for value in values.dropna().unique()}
    return values.map(found).astype("str")


def _trait(text: str, name: str) -> str | None:
    try:
        traits = json.loads(text)
    except ValueError:
        return None
    value = traits.get(name) if isinstance(traits, dict) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None
