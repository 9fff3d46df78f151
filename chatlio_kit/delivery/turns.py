"""Rows of conversation turns: one for each message of a transcript, and one for each feedback event.

Nothing is guessed: a message without a side, a text or a conversation has no row and is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
import orjson
import pandas as pd

from chatlio_kit.chatlio import turns
from chatlio_kit.chatlio.identities import (
    IDENTITIES_KEY,
    VISITOR,
    ConversationVisitors,
    Identity,
    identity_columns,
)
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.delivery.requests.wire import WireRecord, WireRecords, time_texts
from chatlio_kit.tables.validate.event_batch import EventBatch

Json = dict[str, Any]

NO_SIDE = "neither side known"
NO_TEXT = "no text"
NO_CONVERSATION = "no conversation known"


@dataclass
class TurnCounts:
    """``read = rows + repeated + left out``, always.

    Attributes:
        read: Messages, or feedback events.
        rows: Rows for this run to send.
        repeated: Items already sent by an earlier run or contained in another transcript.
        left_out: Items without a row, by reason.
        without_identity: Number of rows without an identity: the lake keeps them, and Customer Journey
            Analytics skips them.
    """

    read: int = 0
    rows: int = 0
    repeated: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    without_identity: int = 0

    def as_dict(self) -> Json:
        """Return the counts as plain data for JSON."""
        return {
            "read": self.read,
            "rows": self.rows,
            "repeated": self.repeated,
            "left_out": dict(self.left_out),
            "without_identity": self.without_identity,
        }

    def sentence(self, what: str) -> str:
        """Return the equation in words."""
        left_out = self.left_out.total()
        return (
            f"{what} {self.read:,} = rows {self.rows:,} + repeated {self.repeated:,} + left out {left_out:,}"
        )


@dataclass(frozen=True)
class TurnRow:
    """One row, ready to be sent.

    Attributes:
        id: The row's ``_id``.
        body: The record as sent.
        file: The file of its event.
        record: The number of the record in that file.
        has_identity: True if it has an identity.
    """

    id: str
    body: bytes
    file: str
    record: int
    has_identity: bool


def rows_to_send(kind: Kind, rows: Sequence[TurnRow]) -> tuple[pd.DataFrame, WireRecords]:
    """Return rows in the forms for the ledger and the sender."""
    frame = pd.DataFrame(
        {
            "event_id": [row.id for row in rows],
            "kind": str(kind),
            "payload_digest": [sha256(row.body).hexdigest() for row in rows],
            "source_file": [row.file for row in rows],
            "source_record": [row.record for row in rows],
        }
    )
    return frame, WireRecords.of(WireRecord(row.id, row.body) for row in rows)


class TurnBuilder:
    """Converts events to rows, and counts those without a row.

    Args:
        identities: The fields that identify the visitor.

    Attributes:
        messages: The counts of messages.
        feedbacks: The counts of feedback events.
    """

    def __init__(self, identities: Sequence[Identity]) -> None:
        self.messages, self.feedbacks = TurnCounts(), TurnCounts()
        self._identities = identities
        self._visitors = ConversationVisitors()
        self._feedback: list[pd.DataFrame] = []
        self._comments: set[tuple[str, str]] = set()
        self._spoken: set[tuple[str, str]] = set()

    def learn(self, events: pd.DataFrame) -> None:
        """Note the visitor of each conversation and the feedback, which may be in any file."""
        self._visitors.add(events)
        feedback = events[events["kind"] == Kind.FEEDBACK]
        self._feedback.append(feedback)
        known = feedback[["conversation_id", "message"]].dropna()
        self._comments |= set(zip(known["conversation_id"], known["message"], strict=True))

    def turns(self, batch: EventBatch, redacted: EventBatch) -> list[TurnRow]:
        """Return a row for each message of a batch that has a side, a text and a conversation.

        Args:
            batch: The batch as read; ids derive from it.
            redacted: The same batch, redacted.
        """
        events, messages = redacted.events, redacted.messages
        self.messages.read += len(messages)
        if not len(messages):
            return []
        ids = _values(batch.events["conversation_id"])
        people, visitors = self._people(events), self._visitors_of(events)
        columns = {name: _values(events[name]) for name in ("conversation_id", "widget_id", "source_file")}
        times = {name: time_texts(events[name]) for name in ("started_at", "ended_at")}
        records = events["source_record"].tolist()
        owners = pd.Index(events["event_id"]).get_indexer(pd.Index(messages["event_id"]))
        own = (_values(messages[name]) for name in ("ts", "author", "text", "slack_user_id", "username"))
        rows, last = [], (-1, "", "")
        for owner, sent_at, ts, author, text, agent_id, name in zip(
            owners.tolist(), time_texts(messages["sent_at"]), *own, strict=True
        ):
            before, last = last, (owner, author, ts)
            is_answer = author == "agent" and before[:2] == (owner, "visitor")
            conversation_id = columns["conversation_id"][owner]
            if reason := _left_out(conversation_id, author, text):
                self.messages.left_out[reason] += 1
                continue
            if author == "visitor" and (conversation_id, text) in self._comments:
                self._spoken.add((conversation_id, text))
            widget = columns["widget_id"][owner]
            said = turns.prompt if author == "visitor" else turns.response
            record: Json = {
                "event_id": turns.turn_row_id(ids[owner], ts),
                "occurred_at": sent_at,
                "conversation_id": conversation_id,
                "visitor_id": visitors[owner],
                **{key: value[owner] for key, value in times.items()},
                "ts": ts,
                "author": author,
                turns.CONVERSATION_KEY: said(conversation_id, before[2] if is_answer else ts, text),
                turns.AGENTIC_KEY: turns.agentic(widget, agent_id, name)
                if author == "agent"
                else turns.agentic(widget),
            }
            rows.append(_row(record, people[owner], columns["source_file"][owner], records[owner]))
        return rows

    def feedback(self) -> Iterator[TurnRow]:
        """Yield a row for each feedback event that names its conversation. Call it after all turns.

        Chatlio may send the chat's first message as the comment; then the row has no text.
        """
        events = pd.concat(self._feedback, ignore_index=True) if self._feedback else None
        if events is None or not len(events):
            return
        self.feedbacks.read += len(events)
        names = ("event_id", "conversation_id", "message", "source_file", "source_record")
        columns = (_values(events[name]) for name in names)
        times, people = time_texts(events["occurred_at"]), self._people(events)
        for event_id, conversation_id, text, file, number, occurred_at, person, visitor in zip(
            *columns, times, people, self._visitors_of(events), strict=True
        ):
            if conversation_id is None:
                self.feedbacks.left_out[NO_CONVERSATION] += 1
                continue
            is_comment = bool(text and text.strip()) and (conversation_id, text) not in self._spoken
            record: Json = {
                "event_id": event_id,
                "occurred_at": occurred_at,
                "conversation_id": conversation_id,
                "visitor_id": visitor,
                turns.CONVERSATION_KEY: turns.feedback(conversation_id, text if is_comment else None),
            }
            yield _row(record, person, file, number)

    def _visitors_of(self, events: pd.DataFrame) -> list[str | None]:
        return _values(events[VISITOR].fillna(self._visitors.of(events)))

    def _people(self, events: pd.DataFrame) -> list[Json | None]:
        """Return each event's identity map, None without an identity that can be primary."""
        columns = identity_columns(events, self._identities, self._visitors.of(events))
        maps: list[Json | None] = [None] * len(events)
        for column in columns:
            for place in np.flatnonzero(column.ids.notna()).tolist():
                people = maps[place] or {}
                item = {"id": column.ids.iloc[place], "authenticatedState": "ambiguous"}
                people[column.namespace] = [{**item, "primary": not people and not column.is_email}]
                maps[place] = people
        return maps


def _left_out(conversation_id: str | None, author: str | None, text: str | None) -> str | None:
    """Return the reason why a message has no row; None if it has one."""
    if conversation_id is None:
        return NO_CONVERSATION
    if author not in ("visitor", "agent"):
        return NO_SIDE
    return None if text and text.strip() else NO_TEXT


def _row(record: Json, people: Json | None, file: str, number: int) -> TurnRow:
    if people is not None:
        record[IDENTITIES_KEY] = people
    body = orjson.dumps({key: value for key, value in record.items() if value is not None})
    return TurnRow(record["event_id"], body, file, number, people is not None)


def _values(column: pd.Series[Any]) -> list[Any]:
    """Return a column's values, with None for missing ones."""
    return column.astype(object).where(column.notna(), None).tolist()
