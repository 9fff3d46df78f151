"""msgspec types built from the catalogue, and the conversion of their objects to Arrow columns.

Each payload shape has two types with the same attributes:

- The exact type decodes text. It refuses nulls and every key and type that the catalogue does not have. What
  it accepts is serialized again in canonical form, and a comparison with the text shows whether a repeated
  key was lost.
- The tolerant type is for payloads that were already parsed exactly. It ignores unknown keys, which the
  caller keeps, and accepts nulls, and empty strings in place of objects.

Neither accepts everything that :mod:`chatlio_kit.tables.decode.strict` does, nor anything that it rejects.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from operator import attrgetter
from types import GenericAlias
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, MsgspecError, Raw, Struct, UnsetType, convert, defstruct
from msgspec.json import Decoder, Encoder

from chatlio_kit.captures import BARE, ENVELOPE, Text, Unwrapped, keeps_quotes, parse
from chatlio_kit.chatlio.catalogue import LEFT_BEHIND, LEFT_BEHIND_IN_MESSAGES, Dtype, Field
from chatlio_kit.chatlio.kinds import DISTINCTIVE_KEYS, KINDS, SHAPE_OF, Kind, Shape
from chatlio_kit.tables.decode.columns import Columns, DecodedRecord, PayloadColumns, string_array
from chatlio_kit.tables.decode.strict import MESSAGE_FIELDS, PARSERS, VISITOR, author_of, is_free, to_text

_MESSAGES, _FLAG = "messages", "isVisitorMsg"
_QUOTE = b'"'
_MISMATCH = (MsgspecError, ValueError, RecursionError)
_INTEGER = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_FULL_TEXT = Annotated[str, Meta(min_length=1)]
_SCALAR = str | _INTEGER | bool | None
_DEEPEST = 4


def _json_without_floats(depth: int) -> Any:
    inner = _SCALAR if depth == 1 else _SCALAR | _json_without_floats(depth - 1)
    return dict[str, inner] | list[inner]  # type: ignore[valid-type]


_EXACT_JSON = str | _json_without_floats(_DEEPEST)
"""JSON without floats, which libraries write in different ways."""

_encode = Encoder(order="deterministic").encode
_timestamp = attrgetter("ts")


class Envelope(Struct, forbid_unknown_fields=True, gc=False):
    """Our own envelope, with a payload that is not decoded yet."""

    payload: Raw
    kind: str | UnsetType = UNSET
    received_at: str | UnsetType = msgspec.field(default=UNSET, name="receivedAt")
    widget: str | UnsetType = UNSET


_decode_envelope = Decoder(Envelope).decode


class _Types(NamedTuple):
    """The types of one shape.

    Attributes:
        decode: Decodes text into the exact type.
        tolerant: The tolerant type.
        unknown_visitor: A visitor about whom nothing is known.
    """

    decode: Callable[[Text | Raw], Any]
    tolerant: type[Struct]
    unknown_visitor: Struct


def kinds_without_label(file_kind: Kind | None, fallback: Kind | None) -> list[Kind]:
    """Return the possible kinds of a record that names none, at most one for each shape.

    Args:
        file_kind: The kind that the file's name gives.
        fallback: The kind of records that nothing else names.
    """
    if file_kind:
        return [file_kind]
    kinds = [Kind.TRANSCRIPT, Kind.OFFLINE_MESSAGE]
    return kinds if fallback is None or fallback in kinds else [*kinds, fallback]


def decode_exact(row: int, text: Text, unlabelled: Sequence[Kind]) -> tuple[Kind, str, DecodedRecord] | None:
    """Decode a record in our envelope, or a bare one, that has only known fields.

    Args:
        row: Its position in the batch.
        text: Its text.
        unlabelled: The kinds to try if no envelope names one.

    Returns:
        Its kind, the name of its dialect and its values; None for any other record.
    """
    envelope: Envelope | None = None
    written: Text | Raw = text
    kinds = unlabelled
    try:
        envelope = _decode_envelope(text)
    except _MISMATCH:
        pass
    else:
        written = envelope.payload
        if envelope.kind:
            kinds = (KINDS[envelope.kind],) if envelope.kind in KINDS else ()
    for kind in kinds:
        try:
            payload = _types(SHAPE_OF[kind]).decode(written)
        except _MISMATCH:
            continue
        if kind is Kind.TRANSCRIPT and not _are_distinct(payload.messages):
            return None
        body = _encode(payload)
        if envelope is None:
            return (
                (kind, BARE.name, DecodedRecord(row, None, None, body, payload))
                if _is_lossless(text, body)
                else None
            )
        envelope.payload = Raw(body)
        if not _is_lossless(text, _encode(envelope)):
            return None
        received, widget = envelope.received_at or None, envelope.widget or None
        return kind, ENVELOPE.name, DecodedRecord(row, received, widget, body, payload)
    return None


def open_envelope(text: bytes) -> Unwrapped | None:
    """Return the contents of our envelope in its plain form, much faster than unwrapping any dialect.

    Returns:
        None if it has to be unwrapped like any other record.
    """
    try:
        envelope = _decode_envelope(text)
        payload = parse(bytes(envelope.payload))
    except _MISMATCH:
        return None
    if not isinstance(payload, dict) or not _is_lossless(text, _encode(envelope)):
        return None
    received, kind, widget = envelope.received_at or None, envelope.kind or None, envelope.widget or None
    return Unwrapped(payload, received, kind, widget, ENVELOPE.name)


def _is_lossless(text: Text, again: bytes) -> bool:
    """Return whether nothing of a record was lost: no key occurred twice.

    Serialized again, text without floats never gets longer, so nothing was lost if the lengths are equal. If
    white space or escapes make it shorter, the quotes decide: a lost key takes two of them with it.
    """
    return len(text) == len(again) or keeps_quotes(bytes(text), again.count(_QUOTE))


def convert_tolerantly(shape: Shape, payload: Mapping[str, Any]) -> Any:
    """Return a parsed payload in the tolerant type; None if only the strict parser can judge it."""
    try:
        values: Any = convert(payload, _types(shape).tolerant)
    except _MISMATCH:
        return None
    if shape is Shape.TRANSCRIPT and not _are_distinct(values.messages or ()):
        return None
    return values


def _are_distinct(messages: Sequence[Any]) -> bool:
    return len(set(map(_timestamp, messages))) == len(messages)


def typed_columns(shape: Shape, payloads: Sequence[Any]) -> PayloadColumns:
    """Return the columns of payloads of one shape, given as objects of its types."""
    types, parser = _types(shape), PARSERS[shape]
    visitors = [visitor or types.unknown_visitor for visitor in _values(payloads, VISITOR)]
    events = _columns(payloads, parser.top) | _columns(visitors, parser.visitor)
    if shape is not Shape.TRANSCRIPT:
        return PayloadColumns(events, [0] * len(payloads), {})
    listed = [messages or () for messages in _values(payloads, _MESSAGES)]
    flat = list(chain.from_iterable(listed))
    messages = _columns(flat, MESSAGE_FIELDS)
    if flat:
        authors = map(author_of, _values(flat, _FLAG), _values(flat, "userId"))
        messages["author"] = string_array(list(authors))
    return PayloadColumns(events, list(map(len, listed)), messages)


def _columns(objects: Sequence[Any], fields: Sequence[tuple[Field, str]]) -> Columns:
    columns: Columns = {}
    for field, key in fields:
        values = _values(objects, key)
        if any(values):
            if is_free(field):
                values = [to_text(field, value, key) for value in values]
            columns[field.name] = string_array(values)
    return columns


def _values(objects: Sequence[Any], key: str) -> list[Any]:
    return list(map(attrgetter(key), objects))


@cache
def _types(shape: Shape) -> _Types:
    exact, _ = _payload_type(shape, is_exact=True)
    tolerant, visitor = _payload_type(shape, is_exact=False)
    return _Types(Decoder(exact).decode, tolerant, visitor(**dict.fromkeys(visitor.__struct_fields__)))


def _payload_type(shape: Shape, *, is_exact: bool) -> tuple[Any, Any]:
    """Return the type of a shape's payloads, and the type of their visitors."""
    parser = PARSERS[shape]
    ignored = str if is_exact else Any
    full = {field.paths[shape].removeprefix(f"{VISITOR}.") for field in parser.required}
    named = dict.fromkeys(full, _FULL_TEXT)
    visitor = _struct("Visitor", _types_of(parser.visitor, is_exact) | named, full, is_exact)
    fields = _types_of(parser.top, is_exact) | dict.fromkeys(LEFT_BEHIND[shape], ignored)
    fields[VISITOR] = visitor if is_exact or full else visitor | Literal[""] | None
    needed = {VISITOR} if full else set()
    if shape is Shape.TRANSCRIPT:
        message = _types_of(MESSAGE_FIELDS, is_exact) | dict.fromkeys(LEFT_BEHIND_IN_MESSAGES, ignored)
        message["ts"] = _FULL_TEXT
        message[_FLAG] = bool if is_exact else bool | Literal[""] | None
        listed = GenericAlias(list, (_struct("Message", message, {"ts"}, is_exact),))
        fields[_MESSAGES] = listed if is_exact else listed | Literal[""] | None
    return _struct(
        "Payload", fields, needed | DISTINCTIVE_KEYS[shape] if is_exact else needed, is_exact
    ), visitor


def _types_of(fields: Iterable[tuple[Field, str]], is_exact: bool) -> dict[str, Any]:
    def type_of(field: Field) -> Any:
        if field.dtype is Dtype.JSON:
            return _EXACT_JSON if is_exact else str | dict[str, Any] | list[Any] | None
        if field.any_scalar:
            return str | _INTEGER if is_exact else str | int | None
        return str if is_exact else str | None

    return {key: type_of(field) for field, key in fields}


def _struct(name: str, fields: dict[str, Any], required: Collection[str], is_exact: bool) -> Any:
    """Return a type. Its keys are sorted, so objects of an exact type are written in canonical form."""
    return defstruct(
        name,
        [(key, fields[key]) if key in required else (key, fields[key], None) for key in sorted(fields)],
        kw_only=True,
        omit_defaults=True,
        forbid_unknown_fields=is_exact,
        gc=False,
    )
