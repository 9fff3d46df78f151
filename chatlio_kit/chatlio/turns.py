"""Conversation turns: the terms of Adobe's field groups for the two sides of a chat, and the ids of turns.

A row is one message. A visitor's message is a prompt and begins a turn. An agent's message directly after it
is the response in the same turn; every other agent's message is a turn of its own. A turn therefore has at
most one prompt and one response, and a longer transcript changes no id.

Source: Customer Journey Analytics: Conversation Insights, implement; XDM: Conversation Event, Agentic
Information.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from chatlio_kit.chatlio.kinds import Kind

Json = dict[str, Any]

TURN, FEEDBACK = "conversation.turn", "conversation.feedback"
"""The XDM ``eventType`` of messages and of feedback."""
EVENT_TYPES = {Kind.TRANSCRIPT: TURN, Kind.FEEDBACK: FEEDBACK}
"""The same, by the kind of event that a row comes from."""

CONVERSATION_GROUP = "https://ns.adobe.com/xdm/fieldgroups/agentic/conversationevent"
AGENTIC_GROUP = "https://ns.adobe.com/xdm/fieldgroups/agenticevent"
GROUP_TITLES = {CONVERSATION_GROUP: "Conversation Event", AGENTIC_GROUP: "Agentic Information"}
"""Adobe's field groups by ``$id``."""

CONVERSATION_KEY, AGENTIC_KEY = "conversation", "agenticExperience"
_VISITOR, _PERSON = "end-user", "concierge"
_TEXT, _MAIN = "free-form-text", "main"


def turn_row_id(conversation_id: str, ts: str) -> str:
    """Return the id of a message's row, which does not depend on when it is read."""
    return sha256(f"turn|{conversation_id}|{ts}".encode()).hexdigest()


def prompt(conversation_id: str, turn: str, text: str) -> Json:
    """Return the ``conversation`` object of a visitor's message."""
    side = {"source": _VISITOR, "raw": [{"text": text, "purpose": _TEXT}]}
    return {"conversationID": conversation_id, "turnID": turn, "prompt": side}


def response(conversation_id: str, turn: str, text: str) -> Json:
    """Return the ``conversation`` object of an agent's message."""
    side = {"source": _PERSON, "raw": [{"text": text, "purpose": _MAIN}]}
    return {"conversationID": conversation_id, "turnID": turn, "response": side}


def feedback(conversation_id: str, text: str | None) -> Json:
    """Return the ``conversation`` object of feedback, which belongs to no turn."""
    side: Json = {"source": _VISITOR}
    if text is not None:
        side["raw"] = [{"text": text, "purpose": _TEXT}]
    return {"conversationID": conversation_id, "feedback": side}


def agentic(widget: str | None, agent_id: str | None = None, name: str | None = None) -> Json:
    """Return the ``agenticExperience`` object: the chat and, in a response, the agent."""
    agent = {key: value for key, value in (("agentID", agent_id), ("name", name)) if value}
    experience: Json = {"name": "Chatlio", "environment": "prod"}
    if widget:
        experience["conciergeID"] = widget
    if agent:
        experience["agents"] = [agent]
    return experience


def written_paths() -> dict[str, set[str]]:
    """Return the paths that rows write, by the ``$id`` of Adobe's field group that holds them."""
    conversations = [prompt("", "", ""), response("", "", ""), feedback("", "")]
    objects = {
        CONVERSATION_GROUP: [{CONVERSATION_KEY: conversation} for conversation in conversations],
        AGENTIC_GROUP: [{AGENTIC_KEY: agentic("widget", "agent", "name")}],
    }
    return {group: {path for item in listed for path in _paths(item)} for group, listed in objects.items()}


def _paths(value: Any, base: str = "") -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _paths(item, base)
    elif isinstance(value, dict):
        for name, inside in value.items():
            yield from _paths(inside, f"{base}.{name}" if base else name)
    else:
        yield base
