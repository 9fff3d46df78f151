"""The bodies of a connection's part for conversation turns, whose fields are Adobe's own.

One schema takes two of Adobe's field groups and a small one of ours. It has two datasets, one for turns and
one for feedback, each with a dataflow that copies whole objects. It is never for Profile.

Source: Customer Journey Analytics: Conversation Insights, implement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from chatlio_kit.chatlio import turns
from chatlio_kit.chatlio.catalogue import EVENTS, MESSAGES, Field
from chatlio_kit.chatlio.identities import DEFAULT, IDENTITIES_KEY, Identity
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection.resources.blueprint import Blueprint, Json, properties_of
from chatlio_kit.connection.resources.mappings import Mapping as XdmMapping
from chatlio_kit.connection.resources.names import FEEDBACK, TURNS, ResourceNames, Role
from chatlio_kit.connection.resources.people import People

KIND_OF_PART = {TURNS: Kind.TRANSCRIPT, FEEDBACK: Kind.FEEDBACK}
"""The kind of event from which the rows of each part derive."""

_OF_EVENTS = ("conversation_id", "visitor_id", "started_at", "ended_at")
_OF_MESSAGES = ("ts", "author")
_SAMPLE_TIME = "2024-02-05T08:30:03.000Z"
_SAMPLE_CONVERSATION = "b81f0e55-41c9-4a7d-6f13-90d2ce7a4410"


def own_fields() -> tuple[Field, ...]:
    """Return the fields that Adobe's field groups lack, as they appear in rows."""
    events = [field for field in EVENTS if field.name in _OF_EVENTS]
    return (*events, *(field for field in MESSAGES if field.name in _OF_MESSAGES))


@dataclass(frozen=True)
class TurnsBlueprint(Blueprint):
    """Bodies of all objects of the part for turns, or of the part for feedback."""

    default_people: ClassVar[People] = People.of([DEFAULT], profile=False, slim=False)
    adobe_groups: ClassVar[Mapping[str, Set[str]]] = turns.written_paths()

    @property
    def kind(self) -> Kind:
        """The kind of event that its rows come from."""
        return KIND_OF_PART[self.naming.part]

    @property
    def dataflows(self) -> Sequence[tuple[Role, Kind]]:
        """Only files: a live dataflow makes one row of a webhook, and a transcript holds many turns."""
        return [(Role.HISTORY, self.kind)]

    @property
    def described(self) -> tuple[Identity, ...]:
        """None, because the identities are only in ``identityMap``."""
        return ()

    @property
    def schema_description(self) -> str:
        """The schema's description, which also names the identities."""
        return self.naming.describe(self.people.described("Chatlio conversation turns."))

    def chatlio_properties(self) -> Json:
        """Return the XDM properties of the ``chatlio`` object."""
        return properties_of(own_fields())

    def dataset(self, schema_id: str) -> Json:
        """Return the body of the dataset."""
        what = "feedback" if self.naming.part == FEEDBACK else "turns"
        description = self.naming.describe(f"Chatlio conversation {what}, from files.")
        return {**super().dataset(schema_id), "description": description}

    def mapping_set(self, role: Role, kind: Kind, schema_id: str, people: People | None = None) -> Json:
        """Return the body of the dataflow's mapping set."""
        mappings = [
            XdmMapping("ATTRIBUTE", "event_id", "_id"),
            XdmMapping("ATTRIBUTE", "occurred_at", "timestamp"),
            XdmMapping("STATIC", turns.EVENT_TYPES[self.kind], "eventType"),
            *(XdmMapping("ATTRIBUTE", key, key) for key in self._objects()),
            *(
                XdmMapping("ATTRIBUTE", field.name, f"{self.tenant}.chatlio.{field.name}")
                for field in own_fields()
            ),
        ]
        body = super().mapping_set(role, kind, schema_id, people)
        return {**body, "mappings": [mapping.body for mapping in mappings]}

    def trial(self) -> list[tuple[Json, Json]]:
        """Return a row of each side, or feedback, with its expected mapping, and the smallest row."""
        item = {"id": "sample-1", "authenticatedState": "ambiguous", "primary": True}
        people = {next(iter(self.people.namespaces), "ChatlioVisitor"): [item]}
        if self.kind is Kind.FEEDBACK:
            conversations = [turns.feedback(_SAMPLE_CONVERSATION, 'Very "kind" 🙂')]
        else:
            conversations = [
                turns.prompt(_SAMPLE_CONVERSATION, "1707121803.000500", 'Can I send "it" back? 🙂'),
                turns.response(_SAMPLE_CONVERSATION, "1707121803.000500", "Of course."),
            ]
        record: Json = {"event_id": "0" * 64, "occurred_at": _SAMPLE_TIME}
        own: Json = {
            "conversation_id": _SAMPLE_CONVERSATION,
            "visitor_id": "2f6d1c3a-8e47-4b90-7d25-c1e8f60a93b4",
            "started_at": _SAMPLE_TIME,
            "ended_at": _SAMPLE_TIME,
            "ts": "1707121803.000500",
            "author": "visitor",
        }
        objects = {turns.AGENTIC_KEY: turns.agentic("widget", "U0SAMPLE1", "Kim A."), IDENTITIES_KEY: people}
        rows = [
            {key: row[key] for key in (turns.CONVERSATION_KEY, *objects) if key in self._objects()}
            for row in ({turns.CONVERSATION_KEY: conversation, **objects} for conversation in conversations)
        ]
        always = {
            "_id": record["event_id"],
            "timestamp": datetime.fromisoformat(_SAMPLE_TIME),
            "eventType": turns.EVENT_TYPES[self.kind],
        }
        paths = {
            f"{self.tenant}.chatlio.{name}": datetime.fromisoformat(value) if value == _SAMPLE_TIME else value
            for name, value in own.items()
        }
        return [
            *(({**record, **own, **row}, {**always, **paths, **row}) for row in rows),
            (record, {**always, IDENTITIES_KEY: None}),
        ]

    def _objects(self) -> tuple[str, ...]:
        agentic = () if self.kind is Kind.FEEDBACK else (turns.AGENTIC_KEY,)
        return (turns.CONVERSATION_KEY, *agentic, IDENTITIES_KEY)


def blueprint(name: str, tenant_id: str, people: People) -> Blueprint:
    """Return the bodies of a connection's objects, or of the objects of its part for turns.

    Raises:
        UsageError: The name cannot be a connection's name.
    """
    naming = ResourceNames(name)
    return (TurnsBlueprint if naming.part else Blueprint)(naming, tenant_id, people)
