"""Which attribute of a record goes where: the mappings of live and history dataflows.

Source: Data Prep: mapping functions; dates; run-time behaviour. A failing expression nulls its attribute, and
a reference to a missing attribute may fail the record, so a live dataflow maps only what every documented
sample of the shape has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from chatlio_kit.chatlio.catalogue import EVENTS, MESSAGES_KEY, Dtype, Field, sent_fields
from chatlio_kit.chatlio.kinds import SHAPE_OF, Kind, Shape, event_type
from chatlio_kit.connection.objects.names import Role

SourceType = Literal["ATTRIBUTE", "EXPRESSION", "STATIC"]

_LIVE_IDS = {
    Kind.TRANSCRIPT: 'sha256(concat("transcript|", conversationUUID, "|", endedAt), "UTF-8")',
    Kind.CONVERSATION_STARTED: 'sha256(concat("conversation_started|", conversationUUID), "UTF-8")',
}
_TO_THE_SECOND = "yyyy-MM-dd'T'HH:mm:ssXXX"
_RANDOM_ID = "uuid()"  # nothing in the bodies of the other kinds is unique


@dataclass(frozen=True)
class Mapping:
    """One line of a mapping set."""

    source_type: SourceType
    source: str
    destination: str

    @property
    def body(self) -> dict[str, Any]:
        """The line as it is sent."""
        return {"sourceType": self.source_type, "source": self.source, "destination": self.destination}


def mappings(role: Role, kind: Kind, tenant: str) -> tuple[Mapping, ...]:
    """Give the mappings of one dataflow.

    Args:
        role: live or history.
        kind: the kind of its events.
        tenant: the tenant's namespace, an underscore and the tenant id.
    """
    lines = _live(kind, tenant) if role is Role.LIVE else _history(kind, tenant)
    return tuple(lines)


def live_fields(kind: Kind) -> Iterator[Field]:
    """Give the event fields that a live dataflow maps: those of every documented sample of the shape.

    The start of a conversation also maps the conversation, since its ``_id`` needs it anyway.
    """
    shape = SHAPE_OF[kind]
    for field in EVENTS:
        needed_anyway = kind is Kind.CONVERSATION_STARTED and field.places.get(shape) == "conversationUUID"
        if field.xdm and (shape in field.live or needed_anyway):
            yield field


def history_fields(kind: Kind) -> Iterator[Field]:
    """Give the event fields that a history dataflow maps besides id, kind and time."""
    shape = SHAPE_OF[kind]
    for field in sent_fields():
        if is_ours(field) and (shape in field.places or not field.places):
            yield field


def is_ours(field: Field) -> bool:
    """Whether a field lands under the tenant's namespace, not in the class's own fields."""
    return field.xdm is not None and "." in field.xdm


def time_expression(path: str) -> str:
    """Write a Data Prep expression that reads RFC 3339 with any number of decimals, to the second.

    No single date format fits 0 to 9 decimals, so they are cut out; what follows is ``Z`` or an offset.
    """
    return f'date({_cut(path)}, "{_TO_THE_SECOND}")'


def known_time_expression(path: str) -> str:
    """Write the same for a field that Chatlio fills with year 0001 where it knows no time.

    An empty text is no time, so that attribute alone is nulled; what is older than the Gregorian calendar
    would land as a time that no reader of Parquet agrees on.
    """
    return f'date(iif(matches_regex({path},"^0001-.*"),"",{_cut(path)}), "{_TO_THE_SECOND}")'


def _cut(path: str) -> str:
    """Write an expression for a time without its decimals."""
    zone = f'iif(matches_regex({path},".*Z"),"Z",right({path},6))'
    return f"concat(substr({path},0,19), {zone})"


def _live(kind: Kind, tenant: str) -> Iterator[Mapping]:
    shape = SHAPE_OF[kind]
    places = {field.name: field.places[shape] for field in EVENTS if shape in field.places}
    happened = time_expression(places["ended_at"]) if "ended_at" in places else "now()"
    yield Mapping("EXPRESSION", _LIVE_IDS.get(kind, _RANDOM_ID), "_id")
    yield Mapping("EXPRESSION", happened, "timestamp")
    yield Mapping("STATIC", event_type(kind), "eventType")
    for field in live_fields(kind):
        path, destination = field.places[shape], f"{tenant}.{field.xdm}"
        if field.dtype is Dtype.TIME:
            yield Mapping("EXPRESSION", known_time_expression(path), destination)
        else:
            yield Mapping("ATTRIBUTE", path, destination)
    if shape is Shape.TRANSCRIPT:  # children of the same name are copied: text, ts, username
        yield Mapping("ATTRIBUTE", "messages", f"{tenant}.chatlio.{MESSAGES_KEY}")


def _history(kind: Kind, tenant: str) -> Iterator[Mapping]:
    yield Mapping("ATTRIBUTE", "event_id", "_id")
    yield Mapping("ATTRIBUTE", "occurred_at", "timestamp")
    yield Mapping("STATIC", event_type(kind), "eventType")
    for field in history_fields(kind):
        yield Mapping("ATTRIBUTE", field.name, f"{tenant}.{field.xdm}")
    if SHAPE_OF[kind] is Shape.TRANSCRIPT:
        yield Mapping("ATTRIBUTE", MESSAGES_KEY, f"{tenant}.chatlio.{MESSAGES_KEY}")
