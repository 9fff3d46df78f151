"""Twins: one event read from its JSON and from a table that does not keep the JSON's text.

An event's id is made of what Chatlio wrote, to the character. A table of typed columns keeps a time's instant
but not its offset, and a UUID but not its letters' case; a table of cells has no empty fields. So what was
captured once gets another id from there, and a run that reads both would count it twice. Therefore a run
compares such loose records with all others by two coarser digests, made of what the accepted rows say:

- the key says which event it is. It is made as an id is made, of values in coarser form.
- the body says what the event holds.

In this form times are instants, in unknown fields UTC where nothing else is said; UUIDs have lower case; and
what is null, empty or absent is the same. A loose record that has another one's key is its duplicate, or a
conflicting duplicate if their bodies differ. Two records that both keep their text are never compared so:
their ids alone tell them apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from chatlio_kit.captures import parse
from chatlio_kit.captures.dialects import with_offset
from chatlio_kit.chatlio.catalogue import EVENTS, Dtype
from chatlio_kit.chatlio.event_ids import canonical
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.chatlio.timestamps import as_rfc3339
from chatlio_kit.tables.arrow import whole
from chatlio_kit.tables.decode.columns import TEXT, digests
from chatlio_kit.tables.deduplicate.seen_ids import FirstOccurrence, Keys, SeenIds, as_keys
from chatlio_kit.tables.nesting import message_counts, said_in
from chatlio_kit.tables.validate.event_batch import EventBatch

_JSON_NAME = re.compile(r"\.(json|jsonl|ndjson|log|txt|har)(\.(gz|bz2|xz|zst|lz4))?$", re.IGNORECASE)
_UUID = re.compile(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", re.IGNORECASE)
_FIELDS = [each for each in EVENTS if each.places or each.name in ("extra_fields", "message_ts")]
_WITH_CASE = frozenset({"conversation_id", "visitor_id", "user_id"})
_OF_MESSAGES = ("text", "username", "slack_user_id", "author")
_BETWEEN, _BETWEEN_MESSAGES = "\x1f", "\x1d"
_INSTEAD = {"\x1e": "\x1e0", _BETWEEN: "\x1e1", _BETWEEN_MESSAGES: "\x1e2"}
_EMPTY: tuple[Any, ...] = (None, "", [], {})


def may_hold_tables(names: Iterable[str]) -> bool:
    """Whether any of some files may be a table, by their names."""
    return not all(map(_JSON_NAME.search, names))


@dataclass
class Compared:
    """A piece's rows in the form in which twins are alike.

    Attributes:
        keys: which event each row is.
        bodies: what each says, as hexadecimal digits.
        is_loose: whether each comes from a record that does not keep the captured text.
        seen: earlier twins of them, by row.
    """

    keys: Keys
    bodies: Any
    is_loose: NDArray[np.bool_]
    seen: Mapping[int, FirstOccurrence]
    _new: dict[bool, dict[bytes, FirstOccurrence]] = field(default_factory=lambda: {True: {}, False: {}})

    @property
    def is_of_interest(self) -> bool:
        """Whether any row may have a twin."""
        return bool(self.seen) or bool(self.is_loose.any())

    def twin(self, row: int) -> FirstOccurrence | None:
        """Return where a row's twin was read before, and the digest of its body."""
        key = self.keys[row].tobytes()
        within = self._new[True].get(key)
        if within is None and self.is_loose[row]:
            within = self._new[False].get(key)
        return self.seen.get(row) or within

    def body(self, row: int) -> str:
        """Return the digest of a row's body."""
        return str(self.bodies[row].as_py())

    def add(self, row: int, file: str, record: int) -> None:
        """Remember a row for the other rows of its piece."""
        occurrence = FirstOccurrence(self.body(row), file, record)
        self._new[bool(self.is_loose[row])].setdefault(self.keys[row].tobytes(), occurrence)


class Twins:
    """The events that a run has read so far, in the form in which twins are alike.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._seen: dict[bool, SeenIds] = {}
        for is_loose in (True, False):
            within = folder / f"twins-{is_loose}"
            within.mkdir()
            self._seen[is_loose] = SeenIds(within)

    def compare(self, built: EventBatch) -> Compared:
        """Bring a piece into that form, and look up which of its rows have earlier twins."""
        bodies = _bodies(built.rows)
        keys = as_keys(_keys(built.rows, bodies))
        is_loose = np.isin(built.places, list(built.remarks.loose))
        seen = self._seen[True].look_up(keys)
        rows = np.flatnonzero(is_loose)
        others = self._seen[False].look_up(keys[rows])
        return Compared(
            keys, bodies, is_loose, {int(rows[place]): each for place, each in others.items()} | seen
        )

    def add(self, built: EventBatch, compared: Compared, rows: Sequence[int]) -> None:
        """Remember rows of a piece."""
        chosen = np.asarray(rows, dtype=np.int64)
        for is_loose, seen in self._seen.items():
            mine = chosen[compared.is_loose[chosen] == is_loose]
            files = built.rows["source_file"].take(pa.array(mine))
            records = built.rows["source_record"].take(pa.array(mine)).to_numpy()
            seen.add(compared.keys[mine], as_keys(compared.bodies.take(pa.array(mine))), files, records)


def _bodies(rows: Any) -> Any:
    """Return a digest of what each event says, an Arrow column of hexadecimal digits."""
    columns = [whole(rows["kind"])]
    columns += [_coarse(each.name, each.dtype, whole(rows[each.name])) for each in _FIELDS]
    said, _ = said_in(rows)
    ends = pa.array(np.concatenate(([0], np.cumsum(message_counts(rows)))), pa.int64())
    for name in _OF_MESSAGES if len(said) else ():
        told = _unmarked(pc.fill_null(whole(said[name]), ""))
        listed = pa.LargeListArray.from_arrays(ends, told)
        columns.append(pc.binary_join(listed, _text(_BETWEEN_MESSAGES)))
    return digests(_words(columns))


def _keys(rows: Any, bodies: Any) -> Any:
    """Return a digest of which event each row is: as ids are made, but of values in coarser form."""
    kinds, widgets = (_coarse(name, Dtype.TEXT, whole(rows[name])) for name in ("kind", "widget_id"))
    conversations = _coarse("conversation_id", Dtype.TEXT, whole(rows["conversation_id"]))
    ends, received = (_coarse(name, Dtype.TIME, whole(rows[name])) for name in ("ended_at", "received_at"))
    is_named = pc.not_equal(conversations, _text(""))
    is_transcript = pc.and_(pc.equal(kinds, str(Kind.TRANSCRIPT)), pc.not_equal(ends, _text("")))
    is_start = pc.equal(kinds, str(Kind.CONVERSATION_STARTED))
    tells_itself = pc.and_(is_named, pc.or_(is_transcript, is_start))
    return digests(
        _words(
            [
                kinds,
                pc.if_else(tells_itself, conversations, bodies),
                pc.if_else(pc.and_(tells_itself, is_transcript), ends, _text("")),
                *(pc.if_else(tells_itself, _text(""), each) for each in (widgets, received)),
            ]
        )
    )


def _coarse(name: str, dtype: Dtype, column: Any) -> Any:
    """Return a column as texts in coarser form, empty where there is nothing; one text if it is empty."""
    if column.null_count == len(column):
        return _text("")
    if dtype is Dtype.TIME:
        column = pc.cast(pc.cast(column, pa.int64()), TEXT)
    elif dtype is Dtype.JSON:
        known = column.dictionary_encode()
        column = pa.array(map(_coarse_json, known.dictionary.to_pylist()), TEXT).take(known.indices)
    elif name in _WITH_CASE:
        column = pc.utf8_lower(column)
    return _unmarked(pc.fill_null(column, ""))


def _coarse_json(text: str) -> str | None:
    value = coarser(parse(text.encode()))
    return None if value in _EMPTY else canonical(value).decode()


def coarser(value: Any) -> Any:
    """Return a JSON value so that what a typed table makes of it is the same."""
    if isinstance(value, dict):
        told = {key: coarser(each) for key, each in value.items()}
        return {key: each for key, each in told.items() if each not in _EMPTY}
    if isinstance(value, list):
        return [coarser(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        if _UUID.fullmatch(value):
            return value.lower()
        if (written := as_rfc3339(value) or with_offset(value, "Z")) is not None:
            with suppress(ValueError, OverflowError):
                return datetime.fromisoformat(written).astimezone(UTC).isoformat()
    return value


def _words(columns: Sequence[Any]) -> list[bytes]:
    """Join each row's texts; no other texts give the same, since none of them holds what stands between."""
    joined = pc.binary_join_element_wise(*columns, _text(_BETWEEN))
    return [each.encode() for each in joined.to_pylist()]


def _unmarked(column: Any) -> Any:
    """Return a column of texts that hold none of the marks which are put between texts."""
    for mark, instead in _INSTEAD.items():
        if pc.any(pc.match_substring(column, mark)).as_py():
            column = pc.replace_substring(column, mark, instead)
    return column


def _text(value: str) -> Any:
    return pa.scalar(value, TEXT)
