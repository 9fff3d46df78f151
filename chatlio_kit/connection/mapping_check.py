"""Check a mapping before anything is built on it: the platform maps samples, Python checks the results.

What Data Prep does with an expression is documented in prose only; ``mappingSets/preview`` shows it for the
sandbox before a dataflow exists. The samples have the documented shapes and invented values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any

import orjson

from chatlio_kit.aep import Platform
from chatlio_kit.chatlio.catalogue import MESSAGES_KEY, Dtype, nested_fields
from chatlio_kit.chatlio.event_ids import canonical, event_id
from chatlio_kit.chatlio.kinds import SHAPE_OF, Kind, Shape, event_type
from chatlio_kit.connection.resources.blueprint import Blueprint
from chatlio_kit.connection.resources.mappings import history_fields, live_fields
from chatlio_kit.connection.resources.names import Role, in_words
from chatlio_kit.errors import ConnectionIncomplete

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


@dataclass(frozen=True)
class Expected:
    """The value that Python expects at one path of a mapped record.

    Attributes:
        path: the path, with dots.
        value: the value, for messages.
        fits: whether a mapped value is as expected.
    """

    path: str
    value: str
    fits: Callable[[Any], bool]


def check_mappings(platform: Platform, design: Blueprint, role: Role, kind: Kind, schema_id: str) -> None:
    """Compare what the platform maps from this kind's samples with what Python expects.

    Raises:
        ConnectionIncomplete: a field differs; the error names the field, the expected and the actual value.
    """
    samples = list(
        _live_samples(kind, design.tenant, platform.now)
        if role is Role.LIVE
        else _history_samples(kind, design)
    )
    mapping_set = design.mapping_set(role, kind, schema_id)
    previews = platform.mapping_sets.preview([record for record, _ in samples], mapping_set)
    for (_, expectations), preview in zip(samples, previews, strict=True):
        for expected in expectations:
            actual = _value_at(preview["data"], expected.path)
            if not expected.fits(actual):
                errors = f" The mapper says: {_brief(preview['errors'])}." if preview["errors"] else ""
                raise ConnectionIncomplete(
                    f"A trial of the {role} mapping for {in_words(kind)} gave {_brief(actual)} in "
                    f"{expected.path}, where {expected.value} was expected.{errors} "
                    "Nothing was built on this mapping; please report it with the name of your data centre."
                )


def wire_sample(kind: Kind) -> Json:
    """Return a wire record of a kind with every key that a wire record can have."""
    payload = PAYLOADS[SHAPE_OF[kind]]
    record: Json = {"event_id": _sample_id(kind, payload), "occurred_at": "2024-02-05T08:34:10.000Z"}
    for field in history_fields(kind):
        value = _value_at(payload, field.places.get(SHAPE_OF[kind], ""))
        if value is None:
            value = _INVENTED[field.dtype]
        elif field.dtype is Dtype.TIME:
            value = _on_the_wire(value)
        elif field.dtype is Dtype.JSON and not isinstance(value, str):
            value = orjson.dumps(value).decode()
        record[field.name] = value
    if SHAPE_OF[kind] is Shape.TRANSCRIPT:
        record[MESSAGES_KEY] = [{field.name: _INVENTED[field.dtype] for field in nested_fields()}]
    return record


def _live_samples(
    kind: Kind, tenant: str, clock: Callable[[], datetime]
) -> Iterator[tuple[Json, list[Expected]]]:
    shape = SHAPE_OF[kind]
    payload = PAYLOADS[shape]
    has_own_id = kind in (Kind.TRANSCRIPT, Kind.CONVERSATION_STARTED)
    expectations = [
        _same("_id", _sample_id(kind, payload)) if has_own_id else _a_uuid("_id"),
        _moment("timestamp", payload["endedAt"])
        if shape is Shape.TRANSCRIPT
        else _about_now("timestamp", clock),
        _same("eventType", event_type(kind)),
    ]
    for field in live_fields(kind):
        value = _value_at(payload, field.places[shape])
        make = _moment if field.dtype is Dtype.TIME else _same
        expectations.append(make(f"{tenant}.{field.xdm}", value))
    if shape is Shape.TRANSCRIPT:
        copied = [
            {field.name: message[field.name] for field in nested_fields() if field.name in message}
            for message in payload["messages"]
        ]
        expectations.append(_objects(f"{tenant}.chatlio.{MESSAGES_KEY}", copied))
    yield payload, expectations


def _history_samples(kind: Kind, design: Blueprint) -> Iterator[tuple[Json, list[Expected]]]:
    """Yield a full record and, because wire records omit missing values, one with the fewest keys."""
    full = wire_sample(kind)
    always = [
        _same("_id", full["event_id"]),
        _moment("timestamp", full["occurred_at"]),
        _same("eventType", event_type(kind)),
    ]
    expectations = list(always)
    for field in history_fields(kind):
        make = _moment if field.dtype is Dtype.TIME else _same
        expectations.append(make(f"{design.tenant}.{field.xdm}", full[field.name]))
    if MESSAGES_KEY in full:
        expectations.append(_objects(f"{design.tenant}.chatlio.{MESSAGES_KEY}", full[MESSAGES_KEY]))
    yield full, expectations
    yield {key: full[key] for key in ("event_id", "occurred_at")}, always


def _sample_id(kind: Kind, payload: Json) -> str:
    return event_id(kind, payload, canonical(payload), widget=None, received=None)


def _same(path: str, value: Any) -> Expected:
    return Expected(path, _brief(value), lambda actual: actual == value)


def _moment(path: str, text: str) -> Expected:
    """Expect a time in any format; expressions may cut it to the second."""
    wanted = datetime.fromisoformat(text)

    def fits(actual: Any) -> bool:
        moment = _parse_time(actual)
        return moment is not None and timedelta(0) <= wanted - moment < timedelta(seconds=1)

    return Expected(path, text, fits)


def _about_now(path: str, clock: Callable[[], datetime]) -> Expected:
    def fits(actual: Any) -> bool:
        moment = _parse_time(actual)
        return moment is not None and abs(clock() - moment) < timedelta(days=1)

    return Expected(path, "the current time", fits)


def _a_uuid(path: str) -> Expected:
    return Expected(path, "a UUID", lambda actual: isinstance(actual, str) and bool(_UUID.fullmatch(actual)))


def _objects(path: str, wanted: list[Json]) -> Expected:
    """Expect a list of objects with at least these keys and values."""

    def fits(actual: Any) -> bool:
        return (
            isinstance(actual, list)
            and len(actual) == len(wanted)
            and all(
                isinstance(item, dict) and all(_is_same(value, item.get(key)) for key, value in least.items())
                for least, item in zip(wanted, actual, strict=True)
            )
        )

    return Expected(path, _brief(wanted), fits)


def _is_same(wanted: Any, actual: Any) -> bool:
    """Whether two values are equal, or the same time in two formats."""
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
