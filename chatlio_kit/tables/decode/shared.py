"""What all ways of reading many records together share: what they need, and what they make of it.

They take records that are just as the catalogue knows them. What is not surely so is refused as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from chatlio_kit.captures import Text, floats_in, keeps_quotes
from chatlio_kit.chatlio.catalogue import Dtype, Field
from chatlio_kit.chatlio.kinds import SHAPE_OF, Kind
from chatlio_kit.tables.decode.columns import TEXT, WHOLE, Lot, digests, lengths
from chatlio_kit.tables.decode.strict import MESSAGE_PLACES, PARSERS, as_json

TEXTS = frozenset({str, type(None)})
"""What values are where all of them are texts."""
AROUND = {"received_at": "receivedAt", "widget_id": "widget"}
"""What an envelope says besides kind and payload, by column."""
PLACEHOLDER = 0
"""Stands in an envelope for the payload that was taken out of it: one byte when it is written."""
_FREE = {dict, list}
_FLAT = {str, int, bool, type(None)}
_QUOTE = b'"'

Write = Callable[[Any], bytes]


class Unlike(Exception):
    """Among these records is one that is not just as the catalogue knows them."""


def require(is_so: bool) -> None:
    """Go on only if something is as the catalogue knows it.

    Raises:
        Unlike: when it is not.
    """
    if not is_so:
        raise Unlike


class Said(NamedTuple):
    """What transcripts' messages say.

    Attributes:
        counts: how many messages each transcript has.
        columns: Arrow columns, one transcript's messages after another's.
    """

    counts: NDArray[np.int64]
    columns: dict[str, Any]


def is_free(field: Field) -> bool:
    """Whether a field takes other values than texts."""
    return field.dtype is Dtype.JSON or field.any_scalar


def as_texts(field: Field, values: list[Any]) -> list[str | None]:
    """Return the values of a field that takes others than texts as texts.

    Those of a JSON column are JSON. Where nothing has to change it is the same list.

    Raises:
        Unlike: when one of them is nothing that the field takes.
        TypeError: when one of them is nothing that orjson writes.
    """
    if TEXTS.issuperset(map(type, values)):
        return [each and as_json(each) for each in values] if field.dtype is Dtype.JSON else values
    if field.any_scalar:
        return [str(each) if type(each) is int else each for each in values]
    return [
        (each and as_json(each)) if type(each) is str or each is None else json_text(each) for each in values
    ]


def json_text(value: Any) -> str | None:
    """Write a value that is free in form in canonical form; None where it holds nothing.

    Raises:
        Unlike: when it is neither an object nor an array.
        TypeError: when it holds a whole number beyond 64 bits, or is nested too deeply for orjson.
    """
    require(type(value) in _FREE)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode() if value else None


def have_points(value: Any) -> bool:
    """Whether numbers with a point stand in a value that is free in form."""
    if not value or type(value) not in _FREE or _is_flat(value):
        return False
    return any(True for _ in floats_in(value))


def _is_flat(value: Any) -> bool:
    """Whether an object holds nothing but texts and whole numbers, as most do."""
    return type(value) is dict and _FLAT.issuperset(map(type, value.values()))


def are_whole(raws: Sequence[Text], bodies: Sequence[bytes], around: Sequence[Any], write: Write) -> bool:
    """Whether nothing of the records was lost: no key that stands twice, none with a null.

    Written again a text gets no longer, so where the lengths are equal nothing was lost; only numbers with a
    point could grow, and these are written as they stand. Else the quotes tell: a lost key takes two with it.

    Args:
        raws: the records' texts.
        bodies: their payloads, written again.
        around: their envelopes, with ``PLACEHOLDER`` for the payload; empty where there are none.
        write: writes envelopes again.
    """
    # of the list, brackets and commas are not in the records; nor is what stands for each payload
    rest = len(write(around)) - 1 - 2 * len(bodies) if around else 0
    if sum(map(len, raws)) == sum(map(len, bodies)) + rest:
        return True
    own = [write(each).count(_QUOTE) for each in around] or [0] * len(bodies)
    return all(
        keeps_quotes(bytes(raw), body.count(_QUOTE) + more)
        for raw, body, more in zip(raws, bodies, own, strict=True)
    )


def finished(
    kind: Kind,
    places: Sequence[int],
    columns: dict[str, Any],
    bodies: Sequence[bytes],
    words: Sequence[bytes | None],
    said: Said | None,
) -> Lot:
    """Make a lot of what was read of records of one kind.

    Args:
        kind: their kind.
        places: where each stands in its piece.
        columns: their texts.
        bodies: their payloads in canonical form.
        words: those that tell their ids; None for one whose body has to.
        said: what transcripts' messages say.

    Raises:
        Unlike: when one of them lacks what every such record has.
    """
    for field in PARSERS[SHAPE_OF[kind]].required:
        require(field.name in columns and _is_everywhere(columns[field.name]))
    events = {name: column for name, column in columns.items() if column.null_count < len(places)}
    counts, messages = said or Said(np.zeros(len(places), dtype=np.int64), {})
    if said:
        events["message_count"] = pa.array(counts, WHOLE)
        events["message_ts"] = _joined(counts, messages["ts"])
    events["kind"] = pa.repeat(pa.scalar(str(kind), TEXT), len(places))
    events["payload_digest"] = digests(bodies)
    events["event_id"] = digests(words)
    told = zip(places, bodies, words, strict=True)
    by_body = {place: body for place, body, own in told if own is None}
    return Lot(places, events, counts, by_body, messages)


def _is_everywhere(column: Any) -> bool:
    return not column.null_count and bool(lengths(column).all())


def said_in(listed: Sequence[Sequence[Any]], told: Sequence[Any], flags: Any) -> Said:
    """Give what transcripts' messages say.

    Args:
        listed: the messages of each transcript.
        told: a column for each of ``MESSAGE_PLACES``, a row for each message.
        flags: whether a visitor wrote it.

    Raises:
        Unlike: when one has no name, or the name of another one of its transcript.
    """
    columns = {field.name: column for (field, _), column in zip(MESSAGE_PLACES, told, strict=True)}
    names = columns["ts"]
    require(_is_everywhere(names))
    counts = np.fromiter(map(len, listed), np.int64, len(listed))
    ends = np.cumsum(counts)
    require(_are_distinct(names, counts))
    columns["author"] = _authors(flags, columns["slack_user_id"])
    columns["position"] = pa.array(np.arange(1, len(names) + 1) - np.repeat(ends - counts, counts), WHOLE)
    return Said(counts, columns)


def _are_distinct(names: Any, counts: Any) -> bool:
    """Whether no transcript has a message's name twice; the names of most rise from message to message."""
    borders = np.cumsum(counts)
    rises = np.ones(len(names) + 1, dtype=bool)
    rises[1:-1] = pc.greater(names[1:], names[:-1]).to_numpy(zero_copy_only=False)
    rises[borders] = True  # what follows is another transcript's
    if rises.all():
        return True
    told = names.dictionary_encode()
    transcripts = np.repeat(np.arange(len(counts)), counts)
    pairs = transcripts * len(told.dictionary) + told.indices.to_numpy()
    return len(np.unique(pairs)) == len(names)


def _authors(flags: Any, users: Any) -> Any:
    """Say who wrote each message, as :func:`chatlio_kit.tables.decode.strict.author_of` does."""
    visitor, agent, unknown = (pa.scalar(each, TEXT) for each in ("visitor", "agent", "unknown"))
    by_flag = pc.if_else(flags, visitor, agent)
    if not flags.null_count:
        return by_flag
    return pc.coalesce(by_flag, pc.if_else(pc.equal(users, ""), visitor, agent), unknown)


def _joined(counts: Any, names: Any) -> Any:
    """Name each transcript's messages in one text."""
    ends = pa.array(np.concatenate(([0], np.cumsum(counts))), WHOLE)
    return pc.binary_join(pa.LargeListArray.from_arrays(ends, names), pa.scalar(" ", TEXT))
