"""How large a Parquet file's rows may become, told from its footer and its pages' headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MOST_HELD = 64_000_000
"""Bytes of rows that are held in memory at once."""

_ROWS_AT_ONCE = 1000
_MANY_ROWS, _ROWS_TO_A_BYTE = 1_000_000, 100
_MOST_PACKED = 200
"""Times its packed size that a column may hold; captures reach a tenth of it."""
_WIDTH = 8
_HEADER = 64
_PREFIXED = "DELTA_BYTE_ARRAY"


@dataclass(frozen=True)
class Size:
    """How a row group may be read.

    Attributes:
        rows: as many rows are read at once.
        as_dictionary: the columns whose repeated values must not be written out.
        refusal: why it is not read; empty for one that is.
    """

    rows: int = _ROWS_AT_ONCE
    as_dictionary: tuple[str, ...] = ()
    refusal: str = ""


def size_of(metadata: Any, schema: Any, group: int, source: Any) -> Size:
    """Look at a row group before it is read.

    Args:
        metadata: the file's footer.
        schema: the file's Parquet schema.
        group: the row group's number.
        source: the file, open for reading and seeking.
    """
    found = metadata.row_group(group)
    chunks = [found.column(place) for place in range(found.num_columns)]
    packed = sum(chunk.total_compressed_size for chunk in chunks)
    if found.num_rows > max(_MANY_ROWS, _ROWS_TO_A_BYTE * packed):
        return Size(refusal=f"it holds {found.num_rows:,} rows in {packed:,} bytes")
    longest, as_dictionary = 1, list[str]()
    for place, chunk in enumerate(chunks):
        column = schema.column(place)
        unpacked, values = chunk.total_uncompressed_size, chunk.num_values
        if unpacked > max(MOST_HELD, _MOST_PACKED * chunk.total_compressed_size):
            return Size(refusal=f"{chunk.path_in_schema} unfolds to {unpacked:,} bytes")
        is_list = column.max_repetition_level > 0
        if is_list and values * _WIDTH > max(MOST_HELD, _MOST_PACKED * packed):
            return Size(refusal=f"{chunk.path_in_schema} holds {values:,} values in {packed:,} bytes")
        value = max(_longest_value(chunk, source), column.length or 0)
        if value > MOST_HELD:
            return Size(refusal=f"{chunk.path_in_schema} may hold values of {value:,} bytes")
        if is_list and value * values > MOST_HELD:
            as_dictionary.append(chunk.path_in_schema)
        elif not is_list:
            longest = max(longest, value)
    return Size(max(1, min(_ROWS_AT_ONCE, MOST_HELD // longest)), tuple(as_dictionary))


def _longest_value(chunk: Any, source: Any) -> int:
    """Return how long a value may be that is written once and stands in many rows."""
    if _PREFIXED in chunk.encodings:
        return int(chunk.total_uncompressed_size)
    if not chunk.has_dictionary_page or chunk.dictionary_page_offset is None:
        return 0
    source.seek(chunk.dictionary_page_offset)
    return _unpacked_size(source.read(_HEADER))


def _unpacked_size(header: bytes) -> int:
    """Read a page's size out of its header, whose first fields are its type and this size.

    Source: Apache Parquet's parquet.thrift (PageHeader) in Thrift's compact protocol.

    Raises:
        OSError: when it is no page's header.
    """
    numbers, position = [], 0
    try:
        for _ in range(2):
            if header[position] != 0x15:  # the next field, an i32
                raise OSError("A page of the Parquet file has no header")
            position, number, shift = position + 1, 0, 0
            while True:
                byte = header[position]
                number |= (byte & 0x7F) << shift
                position, shift = position + 1, shift + 7
                if not byte & 0x80:
                    break
            numbers.append(number >> 1)  # zigzag; neither is negative
    except IndexError:
        raise OSError("A page of the Parquet file is cut off") from None
    return numbers[1]
