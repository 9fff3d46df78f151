"""The ways to break a captured record, each with the reason that a converter must report."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple, TypeVar

import orjson

from .conversations import CONVERSATION_KINDS, KINDS, OFFLINE, TRANSCRIPT

_T = TypeVar("_T")

Record = dict[str, Any]

_WITH_VISITOR = (*CONVERSATION_KINDS, OFFLINE)
_WITH_ID = (*CONVERSATION_KINDS, TRANSCRIPT)


class _Case(NamedTuple):
    """A copy of a record, to be broken."""

    rng: Random
    record: Record

    @property
    def payload(self) -> Record:
        body: Record = self.record["payload"]
        return body

    def parent(self, path: str) -> tuple[Record, str]:
        """Return the object that holds a value of the envelope or of the payload, and the value's key."""
        head, _, tail = path.partition(".")
        parent = self.record if head == "receivedAt" else self.payload
        return (parent[head], tail) if tail else (parent, head)

    def one_of(self, choices: tuple[_T, ...]) -> _T:
        return choices[self.rng.randrange(len(choices))]

    def one_message(self) -> tuple[int, Record]:
        messages = self.payload["messages"]
        index = self.rng.randrange(len(messages))
        return index, messages[index]


_Edit = Callable[[_Case], str | None]
_Rewrite = Callable[[_Case], str]


@dataclass(frozen=True)
class Damage:
    """One type of damage: its name, the expected reason, the kinds that it fits, and how to apply it.

    `edit` changes the record and returns the field. `rewrite` returns a line that is not a JSON object. Such
    a line is written between others, because the first line determines the file's format, and the last would
    look truncated. With `repeats` the record is an earlier valid transcript in the same file.
    """

    sort: str
    reason: str
    kinds: tuple[str, ...]
    edit: _Edit | None = None
    rewrite: _Rewrite | None = None
    repeats: bool = False
    messages: int = 0

    @property
    def breaks_line(self) -> bool:
        """True if the line is not a JSON object."""
        return self.rewrite is not None


def _line(sort: str, reason: str, rewrite: _Rewrite) -> Damage:
    return Damage(sort, reason, KINDS, rewrite=rewrite)


def _value(sort: str, reason: str, kinds: tuple[str, ...], path: str, value: object) -> Damage:
    """Return a damage that replaces a value in the envelope or in the payload."""

    def edit(case: _Case) -> str:
        parent, key = case.parent(path)
        parent[key] = value
        return path

    return Damage(sort, reason, kinds, edit)


def _missing(sort: str, reason: str, kinds: tuple[str, ...], path: str, *others: str) -> Damage:
    """Return a damage that removes a value, and others if they exist."""

    def edit(case: _Case) -> str:
        parent, key = case.parent(path)
        del parent[key]
        for other in others:
            case.record.pop(other, None)
        return path

    return Damage(sort, reason, kinds, edit)


def _message(sort: str, reason: str, field: str, change: Callable[[_Case, Record], object]) -> Damage:
    """Return a damage that changes one message of a transcript."""

    def edit(case: _Case) -> str:
        index, message = case.one_message()
        change(case, message)
        return f"messages[{index}].{field}"

    return Damage(sort, reason, (TRANSCRIPT,), edit)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _cut_off(case: _Case) -> str:
    text = _json(case.record)
    return text[: len(text) // 4 + case.rng.randrange(len(text) // 2)].rstrip()


def _garbage(case: _Case) -> str:
    return case.one_of(
        ("502 Bad Gateway", "<html><body>Unavailable</body></html>", "receivedAt,kind,payload", "%&§ \ufffd")
    )


def _nan(case: _Case) -> str:
    case.payload["score"] = 0
    head, _, tail = _json(case.record).rpartition('"score":0')
    return f'{head}"score":NaN{tail}'


def _payload_text(case: _Case) -> str:
    case.record["payload"] = f"({_json(case.payload)[1:-1]})"
    return "payload"


def _payload_list(case: _Case) -> str:
    case.record["payload"] = [case.payload]
    return "payload"


def _ping(case: _Case) -> None:
    case.record["payload"] = case.one_of(({"ping": True}, {"event": "test", "number": 4}, {}))


def _kind_unknown(case: _Case) -> str:
    case.record["kind"] = case.one_of(("chat_rated", "agent_joined", "typing"))
    return "kind"


def _kind_mismatch(case: _Case) -> str:
    kind = case.record["kind"]
    same_shape = CONVERSATION_KINDS if kind in CONVERSATION_KINDS else (kind,)
    case.record["kind"] = case.one_of(tuple(other for other in KINDS if other not in same_shape))
    return "kind"


def _ended_without_offset(case: _Case) -> str:
    case.payload["endedAt"] = re.sub(r"(Z|[+-]\d\d:\d\d)$", "", case.payload["endedAt"])
    return "endedAt"


def _message_object(case: _Case) -> str:
    case.payload["message"] = {"text": case.payload["message"]}
    return "message"


def _visitor_list(case: _Case) -> str:
    case.payload["visitor"] = [case.payload["visitor"]]
    return "visitor"


def _messages_object(case: _Case) -> str:
    case.payload["messages"] = {str(index): message for index, message in enumerate(case.payload["messages"])}
    return "messages"


def _message_string(case: _Case) -> str:
    index, message = case.one_message()
    case.payload["messages"][index] = message["text"]
    return f"messages[{index}]"


def _same_ts(case: _Case) -> str:
    messages = case.payload["messages"]
    index = case.rng.randrange(1, len(messages))
    earlier = messages[index - 1]
    messages[index] |= {"ts": earlier["ts"], "sentAt": earlier["sentAt"]}
    return f"messages[{index}].ts"


def _other_body(case: _Case) -> None:
    _, edited = case.one_message()
    edited["text"] += " (edited)"
    case.payload["textBody"] = "\n".join(
        f"{message['username']}: {message['text']}" for message in case.payload["messages"]
    )


# fmt: off
CATALOGUE: tuple[Damage, ...] = (
    # not JSON, not an object
    _line("line cut off", "not_json", _cut_off),
    _line("garbage text", "not_json", _garbage),
    _line("NaN literal", "not_json", _nan),
    _line("single quotes", "not_json", lambda case: _json(case.record).replace('"', "'")),
    _line("trailing comma", "not_json", lambda case: _json(case.record)[:-1] + ",}"),
    _line("line is an array", "not_an_object",
          lambda case: _json([case.record["kind"], case.record["widget"]])),
    _line("line is a number", "not_an_object", lambda case: str(case.rng.randrange(1, 1000))),
    _line("line is a string", "not_an_object", lambda case: _json(f"ping {case.record['widget']}")),
    Damage("payload is a text that is no JSON", "not_an_object", KINDS, _payload_text),
    Damage("payload is a list", "not_an_object", KINDS, _payload_list),
    # shape and kind
    Damage("payload of no known shape", "shape_unknown", KINDS, _ping),
    Damage("kind that does not exist", "kind_unknown", KINDS, _kind_unknown),
    Damage("kind of another shape", "kind_mismatch", KINDS, _kind_mismatch),
    # time
    _missing("receivedAt missing", "undated", _WITH_VISITOR, "receivedAt"),
    _missing("endedAt and receivedAt missing", "undated", (TRANSCRIPT,), "endedAt", "receivedAt"),
    Damage("endedAt without offset", "invalid_time", (TRANSCRIPT,), _ended_without_offset),
    _value("receivedAt empty", "undated", _WITH_VISITOR, "receivedAt", ""),
    _value("receivedAt null", "undated", _WITH_VISITOR, "receivedAt", None),
    _value("receivedAt in words", "invalid_time", _WITH_VISITOR, "receivedAt", "yesterday"),
    _value("receivedAt without offset", "invalid_time", _WITH_VISITOR, "receivedAt",
           "2024-05-14T09:12:44.120"),
    _value("receivedAt in 2190", "future_time", _WITH_VISITOR, "receivedAt", "2190-01-01T00:00:00.000Z"),
    _value("createdAt with slashes", "invalid_time", _WITH_VISITOR, "visitor.createdAt", "12/03/2024"),
    _value("endedAt on 30 February", "invalid_time", (TRANSCRIPT,), "endedAt", "2024-02-30T10:00:00Z"),
    _value("endedAt in 2190", "future_time", (TRANSCRIPT,), "endedAt", "2190-06-01T12:00:00.000100016+02:00"),
    # types, absences, values, repeats
    _value("visitor.UUID a number", "wrong_type", _WITH_VISITOR, "visitor.UUID", 48_151_623),
    _value("visitor.UUID empty", "missing", _WITH_VISITOR, "visitor.UUID", ""),
    _value("visitor.UUID in words", "invalid_value", _WITH_VISITOR, "visitor.UUID", "not-a-uuid"),
    _value("impossible IP address", "invalid_value", _WITH_VISITOR, "visitor.IPAddress", "999.1.1.1"),
    _value("conversationUUID too short", "invalid_value", _WITH_ID, "conversationUUID",
           "7c1e9a52-3b6d-4f08-5a91-0d4e"),
    _value("conversationUUID not hex", "invalid_value", _WITH_ID, "conversationUUID", "chat-1"),
    _missing("visitor.UUID missing", "missing", _WITH_VISITOR, "visitor.UUID"),
    Damage("message an object", "wrong_type", _WITH_VISITOR, _message_object),
    Damage("visitor a list", "wrong_type", CONVERSATION_KINDS, _visitor_list),
    Damage("messages an object", "wrong_type", (TRANSCRIPT,), _messages_object),
    _message("a message's text a number", "wrong_type", "text",
             lambda case, message: message.update(text=case.rng.randrange(10_000))),
    Damage("a message a string", "wrong_type", (TRANSCRIPT,), _message_string),
    _message("a message's ts missing", "missing", "ts", lambda _, message: message.pop("ts")),
    _message("a message's ts empty", "missing", "ts", lambda _, message: message.update(ts="")),
    _message("a message's ts without decimals", "invalid_value", "ts",
             lambda _, message: message.update(ts=message["ts"].partition(".")[0])),
    _message("a message's ts with letters", "invalid_value", "ts",
             lambda _, message: message.update(ts="p" + message["ts"])),
    Damage("the same ts twice", "repeated", (TRANSCRIPT,), _same_ts, messages=2),
    Damage("another body under an id already used", "conflicting_duplicate", (TRANSCRIPT,), _other_body,
           repeats=True),
)
# fmt: on


class Breaker:
    """Chooses the damage for a record: of the types that fit, the one used least often so far."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._done = [0] * len(CATALOGUE)

    def spoil(
        self, record: Record, *, between: bool, earlier: Record | None
    ) -> tuple[Damage, bytes, str | None]:
        """Break a record and return the damage, the line and the field.

        `between` allows lines that are not objects; `earlier` is a transcript that may be contradicted.
        """
        kind, length = record["kind"], len(record["payload"].get("messages", ()))
        fitting = [
            number
            for number, damage in enumerate(CATALOGUE)
            if kind in damage.kinds
            and damage.messages <= length
            and (between or not damage.breaks_line)
            and (earlier is not None or not damage.repeats)
        ]
        chosen = min(fitting, key=self._done.__getitem__)
        self._done[chosen] += 1
        damage = CATALOGUE[chosen]
        if damage.repeats and earlier is not None:
            record = {**record, "widget": earlier["widget"], "payload": earlier["payload"]}
        case = _Case(self._rng, orjson.loads(orjson.dumps(record)))
        if damage.rewrite is not None:
            return damage, damage.rewrite(case).encode(), None
        field = damage.edit(case) if damage.edit else None
        return damage, orjson.dumps(case.record), field
