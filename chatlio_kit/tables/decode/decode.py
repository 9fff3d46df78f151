"""From raw records to Arrow columns: the inner loop of a conversion.

Each record takes the first of three steps that accepts it:

1. If it is our envelope or a bare payload, its text is decoded into a type built from the catalogue
   (:func:`~chatlio_kit.tables.decode.typed.decode_exact`).
2. Otherwise the text is parsed exactly, and the payload is unwrapped from what a logger put around it. The
   payload is converted into the tolerant form of the same type, and unknown fields are kept next to it
   (:func:`~chatlio_kit.tables.decode.typed.convert_tolerantly`).
3. Otherwise the strict parser reads the payload or reports which rule the record breaks
   (:mod:`chatlio_kit.tables.decode.strict`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from chatlio_kit.captures import Dialect, FileSlice, RawBatch, Unwrapped, parse, refusal
from chatlio_kit.chatlio.event_ids import canonical
from chatlio_kit.chatlio.kinds import SHAPE_OF, Kind, Shape
from chatlio_kit.chatlio.rejections import Rejection
from chatlio_kit.tables.decode.columns import (
    ColumnChunk,
    DecodedBatch,
    DecodedRecord,
    PayloadColumns,
    build_chunk,
    concat_chunks,
    parsed_columns,
)
from chatlio_kit.tables.decode.strict import (
    PARSERS,
    InvalidRecord,
    kind_of,
    received_at_of,
    unwrap_record,
    widget_of,
)
from chatlio_kit.tables.decode.typed import (
    convert_tolerantly,
    decode_exact,
    kinds_without_label,
    open_envelope,
    typed_columns,
)

_CHUNK = 640
"""Records of one kind in a chunk: enough to amortise the cost of a call; more would only take memory."""


@dataclass
class Remarks:
    """Remarks on a batch's records, besides their values.

    Attributes:
        unread: Keys next to payloads that have a value and were not read, with their numbers of records.
        siblings: Numbers of list elements next to the one that ``--fields`` names, by path.
        loose: Rows of records whose text is not the captured one, because they were assembled from typed
            values or columns.
    """

    unread: Counter[str] = field(default_factory=Counter)
    siblings: Counter[str] = field(default_factory=Counter)
    loose: set[int] = field(default_factory=set)

    def add(self, row: int, record: Unwrapped) -> None:
        """Add what was found while a payload was unwrapped."""
        self.unread.update(record.unread)
        self.siblings.update(record.siblings)
        if record.is_loose:
            self.loose.add(row)


@dataclass(frozen=True)
class DecodeResult:
    """The outcomes of a batch's records.

    Attributes:
        decoded: The columns of the accepted records.
        rejected: The rejected records.
        dialects: Number of records with a payload, by dialect.
        remarks: Other findings.
    """

    decoded: DecodedBatch
    rejected: list[Rejection]
    dialects: Counter[str]
    remarks: Remarks


def decode_batch(batch: RawBatch, fallback: Kind | None, fields: Dialect | None = None) -> DecodeResult:
    """Decode a batch's records.

    Args:
        batch: The records.
        fallback: The kind of records that nothing else names.
        fields: The dialect that the user named, if any.
    """
    decoder = _BatchDecoder(fallback, fields)
    first = 0
    for file_slice in batch.slices:
        decoder.decode(first, file_slice)
        first += len(file_slice)
    return decoder.finish()


_ToColumns = Callable[[Shape, Sequence[Any]], PayloadColumns]
_TYPED: _ToColumns = typed_columns


class _BatchDecoder:
    """A batch while it is decoded."""

    def __init__(self, fallback: Kind | None, fields: Dialect | None) -> None:
        self._fallback, self._fields = fallback, fields
        self._pending: defaultdict[tuple[Kind, _ToColumns], list[DecodedRecord]] = defaultdict(list)
        self._chunks: list[ColumnChunk] = []
        self._rejected: list[Rejection] = []
        self._dialects: Counter[str] = Counter()
        self._remarks = Remarks()

    def decode(self, first: int, file_slice: FileSlice) -> None:
        """Decode the records of a slice that begins at this row of the batch."""
        records, file_kind = file_slice.records, file_slice.file.kind
        if records.is_loose:
            self._remarks.loose.update(range(first, first + len(records)))
        unlabelled = kinds_without_label(file_kind, self._fallback)
        for start in range(0, len(records), _CHUNK):
            for index, text in enumerate(records.part(start, start + _CHUNK), start):
                row = first + index
                if self._fields is None and (exact := decode_exact(row, text, unlabelled)):
                    kind, dialect, record = exact
                    self._dialects[dialect] += 1
                    self._pending[kind, _TYPED].append(record)
                    continue
                try:
                    self._decode_any(row, bytes(text), file_kind)
                except (InvalidRecord, ValueError, RecursionError) as error:
                    self._rejected.append(_rejection(error, file_slice, index, bytes(text)))
            self._close_chunks(_CHUNK)

    def finish(self) -> DecodeResult:
        """Return what was decoded."""
        self._close_chunks(1)
        return DecodeResult(concat_chunks(self._chunks), self._rejected, self._dialects, self._remarks)

    def _decode_any(self, row: int, text: bytes, file_kind: Kind | None) -> None:
        """Decode a record of any dialect.

        Raises:
            InvalidRecord: It breaks a rule.
            ValueError: It is not JSON, or no payload can be extracted from it.
        """
        unwrapped = open_envelope(text) if self._fields is None else None
        unwrapped = unwrapped or unwrap_record(parse(text), self._fields)
        self._dialects[unwrapped.dialect] += 1
        self._remarks.add(row, unwrapped)
        kind = kind_of(unwrapped, file_kind, self._fallback)
        shape, payload = SHAPE_OF[kind], unwrapped.payload
        values, to_columns = convert_tolerantly(shape, payload), _TYPED
        if values is None:
            values, to_columns = PARSERS[shape].parse(payload), parsed_columns
        received, widget = received_at_of(unwrapped), widget_of(unwrapped)
        body, unknown = canonical(payload), PARSERS[shape].unknown_fields(payload)
        record = DecodedRecord(row, received, widget, body, values, unknown)
        self._pending[kind, to_columns].append(record)

    def _close_chunks(self, least: int) -> None:
        """Turn pending records of one kind into a chunk wherever there are at least this many."""
        for (kind, to_columns), records in list(self._pending.items()):
            if len(records) >= least:
                columns = to_columns(SHAPE_OF[kind], [record.payload for record in records])
                self._chunks.append(build_chunk(kind, records, columns))
                del self._pending[kind, to_columns]


def _rejection(error: Exception, file_slice: FileSlice, index: int, text: bytes) -> Rejection:
    records = file_slice.records
    if isinstance(error, InvalidRecord):
        reason, path, detail = error.reason, error.field or None, error.detail
    else:
        reason, path, detail = refusal(error, cut=records.cut and index == len(records) - 1)
    raw = text.decode("utf-8", errors="replace")
    return Rejection(file_slice.file.name, records.numbers[index], reason, path, detail, raw)
