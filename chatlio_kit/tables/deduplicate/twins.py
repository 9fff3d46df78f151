"""Twins: one event read both from its JSON and from a table that does not keep the JSON's text.

An event's id is computed from exactly what Chatlio wrote. A table of typed columns keeps a time's instant but
not its offset, and a UUID but not its letter case; a CSV table has no empty fields. A record from such a
table therefore gets another id than the same record as JSON, and a run that reads both would count the event
twice. So a run compares these loose records with all others by two coarser digests of the accepted rows:

- the key identifies the event. It is computed like an id, from values in coarser form.
- the body covers everything in the event.

In coarser form, times are instants (in unknown fields UTC if nothing else is known), UUIDs have lower case,
and null, empty and absent are the same. A loose record with the key of another record is its duplicate, or a
conflicting duplicate if their bodies differ. Two records that both keep their text are never compared in this
way: their ids alone distinguish them.
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
from chatlio_kit.tables.arrow import combine_chunks, explode_messages, message_counts
from chatlio_kit.tables.decode.columns import TEXT, digests
from chatlio_kit.tables.deduplicate.seen_ids import FirstOccurrence, Keys, SeenIds, as_keys
from chatlio_kit.tables.validate.event_batch import EventBatch

_JSON_NAME = re.compile(r"\.(json|jsonl|ndjson|log|txt|har)(\.(gz|bz2|xz|zst|lz4))?$", re.IGNORECASE)
_UUID = re.compile(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", re.IGNORECASE)
_COMPARED = [column for column in EVENTS if column.paths or column.name in ("extra_fields", "message_ts")]
_WITH_CASE = frozenset({"conversation_id", "visitor_id", "user_id"})
_MESSAGE_COLUMNS = ("text", "username", "slack_user_id", "author")
_SEPARATOR, _MESSAGE_SEPARATOR = "\x1f", "\x1d"
_ESCAPES = {"\x1e": "\x1e0", _SEPARATOR: "\x1e1", _MESSAGE_SEPARATOR: "\x1e2"}
_EMPTY: tuple[Any, ...] = (None, "", [], {})


def may_hold_tables(names: Iterable[str]) -> bool:
    """Return whether any of some files may be a table, by their names."""
    return not all(map(_JSON_NAME.search, names))


@dataclass
class ComparableBatch:
    """A batch's rows in the form in which twins are equal.

    Attributes:
        keys: Each row's event, as a key.
        bodies: Digest of each row's contents, in hexadecimal digits.
        is_loose: True if each row comes from a record that does not keep the captured text.
        earlier: Twins in earlier batches, by row.
    """

    keys: Keys
    bodies: Any
    is_loose: NDArray[np.bool_]
    earlier: Mapping[int, FirstOccurrence]
    _new: dict[bool, dict[bytes, FirstOccurrence]] = field(default_factory=lambda: {True: {}, False: {}})

    @property
    def may_have_twins(self) -> bool:
        """True if any row may have a twin."""
        return bool(self.earlier) or bool(self.is_loose.any())

    def twin(self, row: int) -> FirstOccurrence | None:
        """Return the earlier record of a row's twin, and the digest of its body."""
        key = self.keys[row].tobytes()
        in_batch = self._new[True].get(key)
        if in_batch is None and self.is_loose[row]:
            in_batch = self._new[False].get(key)
        return self.earlier.get(row) or in_batch

    def body(self, row: int) -> str:
        """Return the digest of a row's body."""
        return str(self.bodies[row].as_py())

    def add(self, row: int, file: str, record: int) -> None:
        """Remember a row for the following rows of its batch."""
        occurrence = FirstOccurrence(self.body(row), file, record)
        self._new[bool(self.is_loose[row])].setdefault(self.keys[row].tobytes(), occurrence)


class Twins:
    """The events that a run has read so far, in the form in which twins are equal.

    Args:
        folder: The folder for their files.
    """

    def __init__(self, folder: Path) -> None:
        self._seen: dict[bool, SeenIds] = {}
        for is_loose in (True, False):
            subfolder = folder / f"twins-{is_loose}"
            subfolder.mkdir()
            self._seen[is_loose] = SeenIds(subfolder)

    def compare(self, batch: EventBatch) -> ComparableBatch:
        """Return a batch in that form, with the earlier twins of its rows."""
        bodies = _bodies(batch.rows)
        keys = as_keys(_keys(batch.rows, bodies))
        is_loose = np.isin(batch.raw_rows, list(batch.remarks.loose))
        rows = np.flatnonzero(is_loose)
        of_loose_rows = self._seen[False].look_up(keys[rows])
        earlier = {int(rows[index]): twin for index, twin in of_loose_rows.items()}
        return ComparableBatch(keys, bodies, is_loose, earlier | self._seen[True].look_up(keys))

    def add(self, batch: EventBatch, comparable: ComparableBatch, rows: Sequence[int]) -> None:
        """Remember rows of a batch."""
        chosen = np.asarray(rows, dtype=np.int64)
        for is_loose, seen in self._seen.items():
            indices = chosen[comparable.is_loose[chosen] == is_loose]
            files = batch.rows["source_file"].take(pa.array(indices))
            records = batch.rows["source_record"].take(pa.array(indices)).to_numpy()
            bodies = comparable.bodies.take(pa.array(indices))
            seen.add(comparable.keys[indices], as_keys(bodies), files, records)


def _bodies(rows: Any) -> Any:
    """Return a digest of each event's contents, an Arrow column of hexadecimal digits."""
    columns = [combine_chunks(rows["kind"])]
    columns += [_coarse(column.name, column.dtype, combine_chunks(rows[column.name])) for column in _COMPARED]
    messages, _ = explode_messages(rows)
    offsets = pa.array(np.concatenate(([0], np.cumsum(message_counts(rows)))), pa.int64())
    for name in _MESSAGE_COLUMNS if len(messages) else ():
        texts = _escaped(pc.fill_null(combine_chunks(messages[name]), ""))
        lists = pa.LargeListArray.from_arrays(offsets, texts)
        columns.append(pc.binary_join(lists, _text(_MESSAGE_SEPARATOR)))
    return digests(_joined(columns))


def _keys(rows: Any, bodies: Any) -> Any:
    """Return a digest that identifies each event, computed like an id from values in coarser form."""
    coarse = {
        name: _coarse(name, dtype, combine_chunks(rows[name]))
        for name, dtype in (
            ("kind", Dtype.TEXT),
            ("widget_id", Dtype.TEXT),
            ("conversation_id", Dtype.TEXT),
            ("ended_at", Dtype.TIME),
            ("received_at", Dtype.TIME),
        )
    }
    empty = _text("")
    kinds, conversations, ends = coarse["kind"], coarse["conversation_id"], coarse["ended_at"]
    is_ended = pc.and_(pc.equal(kinds, str(Kind.TRANSCRIPT)), pc.not_equal(ends, empty))
    is_start = pc.equal(kinds, str(Kind.CONVERSATION_STARTED))
    is_identified = pc.and_(pc.not_equal(conversations, empty), pc.or_(is_ended, is_start))
    return digests(
        _joined(
            [
                kinds,
                pc.if_else(is_identified, conversations, bodies),
                pc.if_else(pc.and_(is_identified, is_ended), ends, empty),
                pc.if_else(is_identified, empty, coarse["widget_id"]),
                pc.if_else(is_identified, empty, coarse["received_at"]),
            ]
        )
    )


def _coarse(name: str, dtype: Dtype, column: Any) -> Any:
    """Return a column as strings in coarser form, empty for null; a scalar if all are null."""
    if column.null_count == len(column):
        return _text("")
    if dtype is Dtype.TIME:
        column = pc.cast(pc.cast(column, pa.int64()), TEXT)
    elif dtype is Dtype.JSON:
        encoded = column.dictionary_encode()
        column = pa.array(map(_coarse_json, encoded.dictionary.to_pylist()), TEXT).take(encoded.indices)
    elif name in _WITH_CASE:
        column = pc.utf8_lower(column)
    return _escaped(pc.fill_null(column, ""))


def _coarse_json(text: str) -> str | None:
    value = coarser(parse(text.encode()))
    return None if value in _EMPTY else canonical(value).decode()


def coarser(value: Any) -> Any:
    """Return a JSON value in the form that it shares with a typed table's version."""
    if isinstance(value, dict):
        members = {key: coarser(member) for key, member in value.items()}
        return {key: member for key, member in members.items() if member not in _EMPTY}
    if isinstance(value, list):
        return [coarser(element) for element in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        if _UUID.fullmatch(value):
            return value.lower()
        if (written := as_rfc3339(value) or with_offset(value, "Z")) is not None:
            with suppress(ValueError, OverflowError):
                return datetime.fromisoformat(written).astimezone(UTC).isoformat()
    return value


def _joined(columns: Sequence[Any]) -> list[bytes]:
    """Return each row's strings joined, unambiguously because none holds the separator."""
    joined = pc.binary_join_element_wise(*columns, _text(_SEPARATOR))
    return [text.encode() for text in joined.to_pylist()]


def _escaped(column: Any) -> Any:
    """Return a column of strings without separators."""
    for character, escape in _ESCAPES.items():
        if pc.any(pc.match_substring(column, character)).as_py():
            column = pc.replace_substring(column, character, escape)
    return column


def _text(value: str) -> Any:
    return pa.scalar(value, TEXT)
