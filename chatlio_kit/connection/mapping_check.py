"""Check a mapping before anything depends on it: the platform maps samples, and Python checks the results.

Adobe documents the evaluation of expressions only in prose; ``mappingSets/preview`` shows it for the sandbox
before a dataflow exists. The samples have the documented shapes and invented values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import reduce
from typing import Any

import orjson

from chatlio_kit.aep import Platform
from chatlio_kit.chatlio.catalogue import MESSAGES_KEY, Dtype, Field, nested_fields
from chatlio_kit.chatlio.event_ids import canonical, event_id
from chatlio_kit.chatlio.identities import IDENTITIES_KEY
from chatlio_kit.chatlio.kinds import SHAPE_OF, Kind, Shape, event_type
from chatlio_kit.connection.resources.blueprint import Blueprint
from chatlio_kit.connection.resources.mappings import history_fields, live_fields
from chatlio_kit.connection.resources.names import Role, in_words
from chatlio_kit.connection.resources.people import People
from chatlio_kit.errors import (
    AuthenticationFailed,
    ConnectionIncomplete,
    PermissionMissing,
    PlatformError,
    RateLimited,
    Unavailable,
    Unreachable,
)

Json = dict[str, Any]

_VISITOR: Json = {
    "email": "mia@example.org",
    "UUID": "2f6d1c3a-8e47-4b90-7d25-c1e8f60a93b4",
    "name": "Mia Sol",
    "identUserId": "00718",
    "identTraits": '{"plan":"silver","seats":12}',
    "userAgent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5)",
    "handle": "norway-7",
    "currentPage": "https://shop.example/returns?order=1&lang=no",
    "referrerURL": "https://search.example/",
    "createdAt": "2024-02-05T07:45:09.3021-08:00",
    "IPAddress": "198.51.100.23",
    "location": "Bergen, Vestland, Norway",
}
_MESSAGES: list[Json] = [
    {
        "text": 'Can I send "it" back? 🙂',
        "ts": "1707121803.000500",
        "sentAt": "2024-02-05T09:30:03.000499964+01:00",
        "userId": "",
        "username": "mia-sol",
        "isVisitorMsg": True,
    },
    {
        "text": "Of course.",
        "ts": "1707121847.310200",
        "sentAt": "2024-02-05T09:30:47.310199976+01:00",
        "userId": "U0SAMPLE1",
        "username": "Kim A.",
        "isVisitorMsg": False,
    },
]
PAYLOADS: dict[Shape, Json] = {
    Shape.CONVERSATION: {
        "visitor": _VISITOR,
        "message": "Can I send it back?",
        "conversationUUID": "b81f0e55-41c9-4a7d-6f13-90d2ce7a4410",
        "channelId": "C0SAMPLE11",
        "slackChannelName": "support",
        "slackChannelId": "C0LOBBY22",
    },
    Shape.OFFLINE: {
        "name": "Mia Sol",
        "email": "mia@example.org",
        "emailPretty": '"Mia Sol" <mia@example.org>',
        "message": "Please write to me.",
        "visitor": _VISITOR,
    },
    Shape.TRANSCRIPT: {
        "conversationUUID": "b81f0e55-41c9-4a7d-6f13-90d2ce7a4410",
        "channelId": "C0SAMPLE11",
        "channelName": "z-mia-sol",
        "startedAt": "2024-02-05T09:29:58Z",
        "endedAt": "2024-02-05T09:34:10.00090003+01:00",
        "agentEmail": "kim@example.com",
        "agentName": "Kim Aas",
        "visitorEmail": "mia@example.org",
        "replyToEmail": "help@example.com",
        "visitorName": "mia-sol",
        "visitorTraits": {"plan": "silver"},
        "archiveUrl": "https://acme.slack.example/archives/C0SAMPLE11",
        "extraData": ["return"],
        "messages": _MESSAGES,
        "textBody": "mia-sol: Can I send it back?",
        "htmlBody": "<p>mia-sol: Can I send it back?</p>",
    },
}
_INVENTED: dict[Dtype, Any] = {
    Dtype.TEXT: "sample",
    Dtype.JSON: '{"sample":true}',
    Dtype.TIME: "2024-02-05T09:34:10.000Z",
    Dtype.INTEGER: 2,
    Dtype.NUMBER: 2.5,
    Dtype.FLAG: True,
}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


Expectations = dict[str, Any]
"""By path: the expected value, time (to the second), object with at least some keys, or rule."""


class _Rule(StrEnum):
    """The rule for a value that differs each time."""

    UUID = "a UUID"
    NOW = "the current time"


def without_identities(people: People) -> People:
    """Return a mapping's settings for people, without identities."""
    return replace(people, identities=())


def may_lack_identities(design: Blueprint, role: Role, kind: Kind) -> bool:
    """Return whether a mapping lacks identities because a live record's id cannot become a map."""
    return role is Role.LIVE and design.people.live_identity(kind) is not None


def try_people(
    platform: Platform, design: Blueprint, role: Role, kind: Kind, schema_id: str
) -> tuple[People, str]:
    """Check a mapping and return its settings for people, with the reason if they fall short of the request.

    Adobe documents the functions that build an identity map from a live record's id, but no such mapping. If
    the platform does not evaluate it as expected, live events land without identities.

    Raises:
        ConnectionIncomplete: A field differs, in history or without identities.
    """
    if not may_lack_identities(design, role, kind):
        check_mappings(platform, design, role, kind, schema_id)
        return design.people, ""
    try:
        check_mappings(platform, design, role, kind, schema_id)
    except (Unreachable, Unavailable, RateLimited, AuthenticationFailed, PermissionMissing):
        raise
    except (ConnectionIncomplete, PlatformError) as error:
        plain = replace(design, people=without_identities(design.people))
        check_mappings(platform, plain, role, kind, schema_id)
        return plain.people, str(error)
    return design.people, ""


def check_mappings(platform: Platform, design: Blueprint, role: Role, kind: Kind, schema_id: str) -> None:
    """Compare the platform's mapping of this kind's samples with the results that Python expects.

    Raises:
        ConnectionIncomplete: A field differs; the error gives the field, the expected and the actual value.
    """
    given = _live_samples if role is Role.LIVE else _history_samples
    samples = design.trial() or list(given(kind, design))
    mapping_set = design.mapping_set(role, kind, schema_id)
    previews = platform.mapping_sets.preview([record for record, _ in samples], mapping_set)
    for (_, expectations), preview in zip(samples, previews, strict=True):
        for path, expected in expectations.items():
            actual = _value_at(preview["data"], path)
            if not _fits(expected, actual, platform.now()):
                errors = f" The mapper says: {_brief(preview['errors'])}." if preview["errors"] else ""
                words = expected.value if isinstance(expected, _Rule) else _brief(expected)
                raise ConnectionIncomplete(
                    f"A trial of the {role} mapping for {in_words(kind)} gave {_brief(actual)} in "
                    f"{path}, where {words} was expected.{errors} "
                    "Nothing was built on this mapping; please report it with the name of your data centre."
                )


def wire_sample(kind: Kind, people: People | None = None) -> Json:
    """Return a wire record of a kind with every possible key."""
    people = people or People()
    payload = PAYLOADS[SHAPE_OF[kind]]
    record: Json = {"event_id": _sample_id(kind, payload), "occurred_at": "2024-02-05T08:34:10.000Z"}
    for field in history_fields(kind):
        value = _value_at(payload, field.paths.get(SHAPE_OF[kind], ""))
        if value is None:
            value = _INVENTED[field.dtype]
        elif field.dtype is Dtype.TIME:
            value = _on_the_wire(value)
        elif field.dtype is Dtype.JSON and not isinstance(value, str):
            value = orjson.dumps(value).decode()
        record[field.name] = value
    if SHAPE_OF[kind] is Shape.TRANSCRIPT and not people.slim:
        record[MESSAGES_KEY] = [{field.name: _INVENTED[field.dtype] for field in nested_fields()}]
    if people.identities:
        record[IDENTITIES_KEY] = {
            code: [{"id": f"sample-{number}", "authenticatedState": "ambiguous", "primary": not number}]
            for number, code in enumerate(people.namespaces)
        }
    return record


def _live_samples(kind: Kind, design: Blueprint) -> Iterator[tuple[Json, Expectations]]:
    """Yield a full payload and, if it carries an identity, one whose id is empty."""
    payload = PAYLOADS[SHAPE_OF[kind]]
    expectations = _live_expectations(kind, design.tenant)
    if design.people.slim:
        expectations.pop(f"{design.tenant}.chatlio.{MESSAGES_KEY}", None)
    identity = design.people.live_identity(kind)
    if identity is None:
        yield payload, expectations
        return
    item = {"id": _VISITOR["UUID"], "authenticatedState": "ambiguous", "primary": True}
    yield payload, {**expectations, IDENTITIES_KEY: {identity.namespace: [item]}}
    yield {**payload, "visitor": {**_VISITOR, "UUID": ""}}, {IDENTITIES_KEY: None}


def _live_expectations(kind: Kind, tenant: str) -> Expectations:
    shape = SHAPE_OF[kind]
    payload = PAYLOADS[shape]
    has_own_id = kind in (Kind.TRANSCRIPT, Kind.CONVERSATION_STARTED)
    is_transcript = shape is Shape.TRANSCRIPT
    expectations: Expectations = {
        "_id": _sample_id(kind, payload) if has_own_id else _Rule.UUID,
        "timestamp": datetime.fromisoformat(payload["endedAt"]) if is_transcript else _Rule.NOW,
        "eventType": event_type(kind),
    }
    for field in live_fields(kind):
        expectations[f"{tenant}.{field.xdm}"] = _expected(field, _value_at(payload, field.paths[shape]))
    if is_transcript:
        expectations[f"{tenant}.chatlio.{MESSAGES_KEY}"] = [
            {field.name: message[field.name] for field in nested_fields() if field.name in message}
            for message in payload["messages"]
        ]
    return expectations


def _history_samples(kind: Kind, design: Blueprint) -> Iterator[tuple[Json, Expectations]]:
    """Yield a full record and, because wire records omit missing values, one with the fewest keys."""
    full, tenant = wire_sample(kind, design.people), design.tenant
    always: Expectations = {
        "_id": full["event_id"],
        "timestamp": datetime.fromisoformat(full["occurred_at"]),
        "eventType": event_type(kind),
    }
    expectations = always | {
        f"{tenant}.{field.xdm}": _expected(field, full[field.name]) for field in history_fields(kind)
    }
    if MESSAGES_KEY in full:
        expectations[f"{tenant}.chatlio.{MESSAGES_KEY}"] = full[MESSAGES_KEY]
    if IDENTITIES_KEY in full:
        expectations[IDENTITIES_KEY] = full[IDENTITIES_KEY]
        always = {**always, IDENTITIES_KEY: None}
    yield full, expectations
    yield {key: full[key] for key in ("event_id", "occurred_at")}, always


def _expected(field: Field, value: Any) -> Any:
    return datetime.fromisoformat(value) if field.dtype is Dtype.TIME else value


def _sample_id(kind: Kind, payload: Json) -> str:
    return event_id(kind, payload, canonical(payload), widget=None, received=None)


def _fits(expected: Any, actual: Any, now: datetime) -> bool:
    """Return whether a mapped value is as expected."""
    if expected is _Rule.UUID:
        return isinstance(actual, str) and bool(_UUID.fullmatch(actual))
    if expected is _Rule.NOW:
        time = _parse_time(actual)
        return time is not None and abs(now - time) < timedelta(days=1)
    if isinstance(expected, datetime):  # expressions may truncate it to the second
        time = _parse_time(actual)
        return time is not None and timedelta(0) <= expected - time < timedelta(seconds=1)
    if isinstance(expected, dict):  # an identity map: the namespaces, and what an id must have
        is_map = isinstance(actual, dict) and actual.keys() == expected.keys()
        return is_map and all(_fits(items, actual[code], now) for code, items in expected.items())
    if isinstance(expected, list):
        return (
            isinstance(actual, list)
            and len(actual) == len(expected)
            and all(
                isinstance(item, dict) and all(_is_same(value, item.get(key)) for key, value in least.items())
                for least, item in zip(expected, actual, strict=True)
            )
        )
    return bool(actual == expected)


def _is_same(wanted: Any, actual: Any) -> bool:
    """Return whether two values are equal, or the same time in two formats."""
    time = _parse_time(wanted)
    return bool(actual == wanted) or (time is not None and time == _parse_time(actual))


def _parse_time(value: Any) -> datetime | None:
    """Parse a time as a mapper may write it: ISO 8601, or milliseconds since 1970."""
    try:
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value / 1000, UTC)
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _on_the_wire(text: str) -> str:
    moment = datetime.fromisoformat(text).astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _value_at(record: Any, path: str) -> Any:
    return reduce(
        lambda value, step: value.get(step) if isinstance(value, Mapping) else None, path.split("."), record
    )


def _brief(value: Any) -> str:
    if value is None:
        return "nothing"
    text = orjson.dumps(value).decode()
    return text if len(text) <= 160 else text[:160] + " ..."
