"""Adobe's standard XDM resources, as in the registry's global container.

The selection covers ExperienceEvent schemas for live chat: the class with its behaviour and identity map, and
the standard field groups for web pages, contact requests, surveys, channels and conversations with people or
agents.
"""

from __future__ import annotations

import re
from typing import Any

Resource = dict[str, Any]

XDM = "https://ns.adobe.com/xdm/"
EXPERIENCE_EVENT = f"{XDM}context/experienceevent"
PROFILE = f"{XDM}context/profile"
TIME_SERIES = f"{XDM}data/time-series"
RECORD = f"{XDM}data/record"
IDENTITY_MAP = f"{XDM}context/identitymap"
IDENTITY_ITEM = f"{XDM}context/identityitem"


CONVERSATION_GROUPS = (
    f"{XDM}fieldgroups/agentic/conversationevent",
    f"{XDM}fieldgroups/agenticevent",
)
"""The field groups that must be enabled for an organisation."""

_LIMITED: dict[str, Resource] = {
    "email": {"type": "string", "format": "email"},
    "share": {"type": "number", "minimum": 0, "maximum": 1},
    "polarity": {"type": "number", "minimum": -1, "maximum": 1},
    "signal type": {"type": "string", "enum": ["string", "number", "boolean"]},
}
"""Types with limits, by the names used in the field groups below."""


def _text(title: str, **more: Any) -> Resource:
    return {"type": "string", "title": title, **more}


def _field(name: str, content: str | dict[str, Any] | list[dict[str, Any]]) -> Resource:
    """Return a field: an object of named fields, an array of them, or one of the types."""
    title = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name[0].upper() + name[1:])
    if isinstance(content, list):
        return {"type": "array", "title": title, "items": _field(name, content[0])}
    if isinstance(content, dict):
        properties = {key: _field(key, member) for key, member in content.items()}
        return {"type": "object", "title": title, "properties": properties}
    if content == "strings":
        return {"type": "array", "title": title, "items": {"type": "string"}}
    if content in _LIMITED:
        return {**_LIMITED[content], "title": title}
    return {"type": content, "title": title}


def _resource(
    key: str,
    resource_type: str,
    title: str,
    properties: Resource,
    *,
    required: tuple[str, ...] = (),
    extends: tuple[str, ...] = (),
    intended: str | None = None,
) -> Resource:
    name = key.rpartition("/")[2]
    own: Resource = {"type": "object", "properties": properties}
    if required:
        own["required"] = list(required)
    resource: Resource = {
        "$id": key,
        "meta:altId": "_xdm." + key.removeprefix(XDM).replace("/", "."),
        "meta:resourceType": resource_type,
        "version": "1.0",
        "title": title,
        "type": "object",
        "description": title,
        "definitions": {name: own},
        "allOf": [*({"$ref": base} for base in extends), {"$ref": f"#/definitions/{name}"}],
        "meta:extends": list(extends),
        "meta:extensible": True,
        "meta:abstract": True,
        "meta:xdmType": "object",
        "meta:containerId": "global",
        "meta:tenantNamespace": "_xdm",
        "imsOrg": "Adobe",
    }
    if intended is not None:
        resource["meta:intendedToExtend"] = [intended]
    return resource


def _event_field_group(name: str, title: str, **fields: dict[str, Any]) -> Resource:
    properties = {key: _field(key, content) for key, content in fields.items()}
    return _resource(f"{XDM}{name}", "mixins", title, properties, intended=EXPERIENCE_EVENT)


_SEGMENTS = [{"text": "string", "purpose": "string"}]

_RESOURCES = (
    _resource(
        TIME_SERIES,
        "behaviors",
        "Time-series Schema",
        {
            "_id": _text("Identifier", format="uri-reference"),
            "timestamp": _text("Timestamp", format="date-time"),
            "eventType": _text("Event Type"),
        },
        required=("_id", "timestamp"),
    ),
    _resource(RECORD, "behaviors", "Record Schema", {"_id": _text("Identifier", format="uri-reference")}),
    _resource(
        IDENTITY_ITEM,
        "datatypes",
        "Identity Item",
        {
            "id": _text("Identifier"),
            "authenticatedState": _text(
                "Authenticated State", enum=["ambiguous", "authenticated", "loggedOut"], default="ambiguous"
            ),
            "primary": {"type": "boolean", "title": "Primary", "default": False},
        },
    ),
    _resource(
        IDENTITY_MAP,
        "mixins",
        "IdentityMap",
        {
            "identityMap": {
                "type": "object",
                "title": "IdentityMap",
                "meta:xdmType": "map",
                "additionalProperties": {"type": "array", "items": {"$ref": IDENTITY_ITEM}},
            }
        },
        intended=TIME_SERIES,
    ),
    _resource(
        EXPERIENCE_EVENT,
        "classes",
        "XDM ExperienceEvent",
        {
            "producedBy": _text("Produced By", enum=["self", "system", "salesRef", "customerRep"]),
            "eventMergeId": _text("Experience Event Merge ID"),
        },
        extends=(TIME_SERIES, IDENTITY_MAP),
    ),
    _resource(
        PROFILE,
        "classes",
        "XDM Individual Profile",
        {"createdByBatchID": _text("Created By Batch", format="uri-reference")},
        extends=(RECORD, IDENTITY_MAP),
    ),
    _event_field_group(
        "context/experienceevent-web",
        "Web Details",
        web={
            "webPageDetails": {
                "URL": "string", "name": "string", "server": "string", "siteSection": "string",
                "isHomePage": "boolean",
            },
            "webReferrer": {"URL": "string", "type": "string"},
        },
    ),
    _event_field_group(
        "mixins/experienceevent-contact-request-details",
        "Contact Request Details",
        customerFeedback={
            "chatSessionID": "string", "subject": "string", "chatStart": "integer", "chatEnd": "integer",
            "chatOffered": "integer", "chatDeclined": "integer", "replyToEmailAddress": {"address": "email"},
            "callBackNumber": {"number": "string"},
        },
    ),
    _event_field_group(
        "mixins/experienceevent-survey-response-details",
        "Survey Response Details",
        surveyResponse={"surveyID": "string", "surveyQuestions": "strings", "surveyAnswers": "strings"},
    ),
    _event_field_group(
        "context/experienceevent-channel",
        "Channel Details",
        channel={"typeAtSource": "string", "mode": "string", "mediaType": "string"},
    ),
    _event_field_group(
        "fieldgroups/agentic/conversationevent",
        "Conversation Event",
        conversation={
            "conversationID": "string", "conversationName": "string", "turnID": "string",
            "prompt": {"source": "string", "raw": _SEGMENTS},
            "response": {"source": "string", "raw": _SEGMENTS},
            "feedback": {
                "source": "string", "raw": _SEGMENTS,
                "rating": {"score": "number", "classification": "string", "reasons": "strings"},
            },
            "signals": [{
                "scope": "string", "name": "string", "type": "signal type",
                "values": [{
                    "stringValue": "string", "numberValue": "number", "booleanValue": "boolean",
                    "confidence": "share", "qualifiers": "strings",
                    "metadata": [{"key": "string", "value": "string"}],
                }],
                "attributes": {
                    "subjects": {"values": [{"phrase": "string", "qualifiers": "strings"}]},
                    "intents": {"values": "strings"}, "tones": {"values": "strings"},
                    "sentiment": {"value": "polarity"},
                },
            }],
        },
    ),
    _event_field_group(
        "fieldgroups/agenticevent",
        "Agentic Information",
        agenticExperience={
            "conciergeID": "string", "name": "string", "version": "string", "environment": "string",
            "mode": "string",
            "agents": [{"agentID": "string", "name": "string", "version": "string", "score": "number"}],
        },
    ),
)  # fmt: skip

RESOURCES: dict[str, Resource] = {resource["$id"]: resource for resource in _RESOURCES}
"""The standard resources by `$id`, without the types that the registry adds."""
