"""Mappings of live and history dataflows, from a record's attributes to fields.

Source: Data Prep: mapping functions; dates; run-time behaviour. A failing expression nulls its attribute, and
a reference to a missing attribute may fail the record, so a live dataflow maps only attributes that every
documented sample of the shape has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from chatlio_kit.chatlio.catalogue import EVENTS, MESSAGES_KEY, Dtype, Field, sent_fields
from chatlio_kit.chatlio.identities import IDENTITIES_KEY
from chatlio_kit.chatlio.kinds import SHAPE_OF, Kind, Shape, event_type
from chatlio_kit.connection.resources.names import Role
from chatlio_kit.connection.resources.people import People

SourceType = Literal["ATTRIBUTE", "EXPRESSION", "STATIC"]

_LIVE_IDS = {
    Kind.TRANSCRIPT: 'sha256(concat("transcript|", conversationUUID, "|", endedAt), "UTF-8")',
    Kind.CONVERSATION_STARTED: 'sha256(concat("conversation_started|", conversationUUID), "UTF-8")',
}
_TO_THE_SECOND = "yyyy-MM-dd'T'HH:mm:ssXXX"
_RANDOM_ID = "uuid()"  # nothing in the bodies of the other kinds is unique


@dataclass(frozen=True)
class Mapping:
    """One mapping of a mapping set."""

    source_type: SourceType
    source: str
    destination: str

    @property
    def body(self) -> dict[str, Any]:
        """The mapping as it is sent."""
        return {"sourceType": self.source_type, "source": self.source, "destination": self.destination}


def mappings(role: Role, kind: Kind, tenant: str, people: People | None = None) -> tuple[Mapping, ...]:
    """Return the mappings of one dataflow.

    Args:
        role: Live or history.
        kind: The kind of its events.
        tenant: The tenant's namespace, an underscore and the tenant id.
        people: The connection's settings for people; none by default.
    """
    people = people or People()
    plain = _live(kind, tenant) if role is Role.LIVE else _history(kind, tenant)
    messages = f"{tenant}.chatlio.{MESSAGES_KEY}"
    kept = (mapping for mapping in plain if not (people.slim and mapping.destination == messages))
    return (*kept, *_identities(role, kind, people))


def _identities(role: Role, kind: Kind, people: People) -> Iterator[Mapping]:
    """Yield the mapping of identities: history copies the whole object, live records build one from an id."""
    if role is Role.HISTORY and people.identities:
        yield Mapping("ATTRIBUTE", IDENTITIES_KEY, IDENTITIES_KEY)
    identity = people.live_identity(kind) if role is Role.LIVE else None
    if identity is not None:
        path = next(field for field in EVENTS if field.name == identity.field).paths[SHAPE_OF[kind]]
        yield Mapping("EXPRESSION", _map_expression(identity.namespace, path), IDENTITIES_KEY)


def _map_expression(namespace: str, path: str) -> str:
    """Return an expression that builds an identity map from one id; without a proper id there is none."""
    item = f'to_object("id", {path}, "authenticatedState", "ambiguous", "primary", true)'
    made = f'to_map("{namespace}", to_array(false, {item}))'
    return f'iif(matches_regex({path}, "[0-9A-Fa-f-]{{36}}"), {made}, nullify())'


def live_fields(kind: Kind) -> Iterator[Field]:
    """Yield the event fields that a live dataflow maps: those in every documented sample of the shape.

    The start of a conversation also maps the conversation's id, which its ``_id`` needs anyway.
    """
    shape = SHAPE_OF[kind]
    for field in EVENTS:
        needed_anyway = kind is Kind.CONVERSATION_STARTED and field.paths.get(shape) == "conversationUUID"
        if field.xdm and (shape in field.live or needed_anyway):
            yield field


def history_fields(kind: Kind) -> Iterator[Field]:
    """Yield the event fields that a history dataflow maps, without id, kind and time."""
    shape = SHAPE_OF[kind]
    for field in sent_fields():
        if is_ours(field) and (shape in field.paths or not field.paths):
            yield field


def is_ours(field: Field) -> bool:
    """Return whether a field lands under the tenant's namespace, not in the class's own fields."""
    return field.xdm is not None and "." in field.xdm


def time_expression(path: str) -> str:
    """Return a Data Prep expression that parses RFC 3339 with any number of decimals, to the second.

    No single date format fits 0 to 9 decimals, so the expression removes them; ``Z`` or an offset follows.
    """
    return f'date({_without_decimals(path)}, "{_TO_THE_SECOND}")'


def known_time_expression(path: str) -> str:
    """Return the same for a field in which Chatlio writes the year 0001 for an unknown time.

    An empty string is not a time, so only that attribute becomes null. Times before the Gregorian calendar
    would land as values that Parquet readers interpret differently.
    """
    return f'date(iif(matches_regex({path},"^0001-.*"),"",{_without_decimals(path)}), "{_TO_THE_SECOND}")'


def _without_decimals(path: str) -> str:
    """Return an expression for a time without its decimals."""
    zone = f'iif(matches_regex({path},".*Z"),"Z",right({path},6))'
    return f"concat(substr({path},0,19), {zone})"


def _live(kind: Kind, tenant: str) -> Iterator[Mapping]:
    shape = SHAPE_OF[kind]
    paths = {field.name: field.paths[shape] for field in EVENTS if shape in field.paths}
    occurred_at = time_expression(paths["ended_at"]) if "ended_at" in paths else "now()"
    yield Mapping("EXPRESSION", _LIVE_IDS.get(kind, _RANDOM_ID), "_id")
    yield Mapping("EXPRESSION", occurred_at, "timestamp")
    yield Mapping("STATIC", event_type(kind), "eventType")
    for field in live_fields(kind):
        path, destination = field.paths[shape], f"{tenant}.{field.xdm}"
        if field.dtype is Dtype.TIME:
            yield Mapping("EXPRESSION", known_time_expression(path), destination)
        else:
            yield Mapping("ATTRIBUTE", path, destination)
    if shape is Shape.TRANSCRIPT:  # children with the same name are copied: text, ts, username
        yield Mapping("ATTRIBUTE", "messages", f"{tenant}.chatlio.{MESSAGES_KEY}")


def _history(kind: Kind, tenant: str) -> Iterator[Mapping]:
    yield Mapping("ATTRIBUTE", "event_id", "_id")
    yield Mapping("ATTRIBUTE", "occurred_at", "timestamp")
    yield Mapping("STATIC", event_type(kind), "eventType")
    for field in history_fields(kind):
        yield Mapping("ATTRIBUTE", field.name, f"{tenant}.{field.xdm}")
    if SHAPE_OF[kind] is Shape.TRANSCRIPT:
        yield Mapping("ATTRIBUTE", MESSAGES_KEY, f"{tenant}.chatlio.{MESSAGES_KEY}")
