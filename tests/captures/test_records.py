"""Files to records: containers, formats, and damage."""

from __future__ import annotations

import bz2
import codecs
import gzip
import json
import lzma
import math
import operator
import random
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chatlio_kit.captures.formats import json_values as values
from chatlio_kit.captures.formats.records import MOST_BYTES, ReadFault, Remark, parse, refusal
from chatlio_kit.captures.formats.splitting import read_records
from chatlio_kit.captures.formats.text_blocks import PEEK
from chatlio_kit.chatlio.event_ids import canonical
from chatlio_kit.chatlio.rejections import Reason

VALUES: list[Any] = [{"a": 1}, {"b": "zwölf \u2028 🙂"}, {"c": [1, {"d": None}]}]

FORMS: dict[str, Callable[[list[Any]], bytes]] = {
    "ndjson": lambda values: b"".join(json.dumps(value).encode() + b"\n" for value in values),
    "ndjson without a last newline": lambda values: b"\n".join(json.dumps(v).encode() for v in values),
    "ndjson with CRLF": lambda values: b"".join(json.dumps(value).encode() + b"\r\n" for value in values),
    "ndjson with a BOM": lambda values: b"\xef\xbb\xbf" + FORMS["ndjson"](values),
    "array": lambda values: json.dumps(values).encode(),
    "array with an element a line": lambda values: json.dumps(values, indent=2, ensure_ascii=False).encode(),
    "objects that span lines": lambda values: "\n".join(json.dumps(v, indent=2) for v in values).encode(),
}


@dataclass
class Record:
    """A record as it is read and parsed: a value, or the reason why there is none."""

    number: int
    value: Any = None
    reason: Reason | None = None
    detail: str = ""


def _read(path: Path) -> list[Record]:
    records = []
    with path.open("rb") as file:
        read = list(read_records(file))
    for found in read:
        if isinstance(found, Remark):
            continue
        if isinstance(found, ReadFault):
            records.append(Record(found.number, None, found.reason, found.detail))
            continue
        for number, raw in zip(found.numbers, found.raws, strict=True):
            try:
                records.append(Record(number, parse(raw)))
            except ValueError as wrong:
                reason, _, detail = refusal(wrong, cut=found.cut and number == found.numbers[-1])
                records.append(Record(number, None, reason, detail))
    return records


def _good(records: list[Record]) -> list[Any]:
    return [record.value for record in records if record.reason is None]


CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda content: content,
    "gzip": gzip.compress,
    "two gzips in a row": lambda content: gzip.compress(content[:20]) + gzip.compress(content[20:]),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "UTF-16, little end first": lambda content: codecs.BOM_UTF16_LE + _text(content).encode("utf-16-le"),
    "UTF-16, big end first": lambda content: codecs.BOM_UTF16_BE + _text(content).encode("utf-16-be"),
    "UTF-16 in gzip": lambda content: gzip.compress(CONTAINERS["UTF-16, big end first"](content)),
}


def _text(content: bytes) -> str:
    return content.decode("utf-8-sig")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_every_form_gives_the_same_records(tmp_path: Path, form: str, container: str) -> None:
    """Lines, arrays and objects give the same records in every container, whatever the file's name."""
    path = tmp_path / "captures"
    path.write_bytes(CONTAINERS[container](FORMS[form](VALUES)))
    assert _good(_read(path)) == VALUES


@pytest.mark.parametrize("container", ["gzip", "bzip2", "xz"])
def test_a_truncated_container_keeps_earlier_records(tmp_path: Path, container: str) -> None:
    """In every compression, intact records are kept and the break is one unreadable record."""
    seed = random.Random(1)
    values = [{"n": number, "noise": seed.random()} for number in range(40_000)]
    packed = CONTAINERS[container](FORMS["ndjson"](values))
    path = tmp_path / "captures"
    path.write_bytes(packed[: len(packed) * 9 // 10])
    records = _read(path)
    good = _good(records)
    assert good == values[: len(good)]
    assert len(good) > 1000
    assert [record.reason for record in records if record.reason] == [Reason.UNREADABLE]


def _zstd(content: bytes) -> bytes:
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(content)
    return packed.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("pack", "block"),
    [(lzma.compress, 0), (partial(bz2.compress, compresslevel=1), 100_000), (_zstd, 1 << 17)],
)
def test_a_broken_container_keeps_earlier_records(
    tmp_path: Path, pack: Callable[[bytes], bytes], block: int
) -> None:
    """Bytes missing in the middle cost the rest, and in the part before, only the block they were in."""
    noise = random.Random(1)
    values = [{"n": number, "noise": noise.randbytes(100).hex()} for number in range(1200)]
    content = FORMS["ndjson"](values)
    packed = bytearray(pack(content))
    place = len(packed) // 2
    del packed[place : place + 100]
    path = tmp_path / "captures"
    path.write_bytes(packed)
    records = _read(path)
    kept = sum(takewhile(bool, map(operator.eq, _good(records), values)))
    assert kept / len(values) > 0.48 - block / len(content)
    assert Reason.UNREADABLE in [record.reason for record in records]


def test_only_the_oversized_line_is_rejected(tmp_path: Path) -> None:
    """A line beyond the maximum record is rejected as too large; its neighbours are kept."""
    path = tmp_path / "captures"
    monster = b'{"n": "' + b"x" * (MOST_BYTES + 1) + b'"}'
    path.write_bytes(b'{"n": 1}\n' + monster + b'\n{"n": 3}\n')
    records = _read(path)
    assert _good(records) == [{"n": 1}, {"n": 3}]
    assert [(record.number, record.reason) for record in records if record.reason] == [(2, Reason.TOO_LARGE)]


def test_only_the_bad_element_of_an_array_is_rejected(tmp_path: Path) -> None:
    """If the brackets allow it, the elements after an invalid one are kept."""
    path = tmp_path / "captures"
    path.write_bytes(b'[{"n": 1}, {"n": nonsense}, {"n": 3}]')
    records = _read(path)
    assert _good(records) == [{"n": 1}, {"n": 3}]
    assert [(record.number, record.reason) for record in records if record.reason] == [(2, Reason.NOT_JSON)]


def test_lines_are_numbered_as_an_editor_numbers_them(tmp_path: Path) -> None:
    """Blank lines are not records, but they count."""
    path = tmp_path / "a"
    path.write_bytes(b'\n{"a":1}\n\n  \n{"b":2}\n')
    assert [record.number for record in _read(path)] == [2, 5]


def test_array_elements_are_numbered_from_one(tmp_path: Path) -> None:
    """An element of an array is numbered from 1."""
    path = tmp_path / "a"
    path.write_bytes(b'[{"a":1}, 7, {"b":2}]')
    assert [(record.number, record.value) for record in _read(path)] == [(1, {"a": 1}), (2, 7), (3, {"b": 2})]


def test_a_single_object_is_one_record(tmp_path: Path) -> None:
    """A file with a single object is one record, on one line or several."""
    for text in ('{"a": {"b": 1}}', '{\n "a": {\n  "b": 1}\n}\n'):
        path = tmp_path / "a"
        path.write_text(text)
        assert [(record.number, record.value) for record in _read(path)] == [(1, {"a": {"b": 1}})]


@pytest.mark.parametrize(
    "bad",
    [b'{"a": 1', b"{'a': 1}", b'{"a": NaN}', b'{"a": 1,}', b"nonsense", b'{"a": "\xff"}', b'{"a": "\\ud83d"}',
     b'{"a": 1} {"b": 2}', b"\x00", b'{"a": "\x00"}', b"[" * 2000],
)  # fmt: skip
def test_only_the_broken_line_is_rejected(tmp_path: Path, bad: bytes) -> None:
    """A line that is not JSON is one rejected record, named by its line; all others are kept."""
    good = [{"n": number} for number in range(1000)]
    lines = [json.dumps(value).encode() for value in good]
    lines.insert(500, bad)
    path = tmp_path / "a"
    path.write_bytes(b"\n".join(lines) + b"\n")
    records = _read(path)
    assert _good(records) == good
    assert [(r.number, r.reason) for r in records if r.reason] == [(501, Reason.NOT_JSON)]


def test_only_the_broken_first_line_is_rejected(tmp_path: Path) -> None:
    """A truncated first line does not change the file's detected format."""
    path = tmp_path / "a"
    path.write_bytes(b'{"a": {"b": \n{"c": 1}\n[1, 2]\n{"d": 2}\n')
    records = _read(path)
    assert [(r.number, r.value) for r in records if not r.reason] == [
        (2, {"c": 1}),
        (3, [1, 2]),
        (4, {"d": 2}),
    ]
    assert [r.reason for r in records if r.reason] == [Reason.NOT_JSON]


@pytest.mark.parametrize("form", ["ndjson", "array with an element a line"])
def test_a_truncated_gzip_keeps_earlier_records(tmp_path: Path, form: str) -> None:
    """Records before the break are kept; the break is one record, rejected as unreadable."""
    seed = random.Random(1)
    values = [{"n": number, "noise": seed.random()} for number in range(2000)]
    path = tmp_path / "a.gz"
    packed = gzip.compress(FORMS[form](values))
    path.write_bytes(packed[: len(packed) // 2])
    records = _read(path)
    assert _good(records) == values[: len(records) - 1]
    assert len(records) > 500
    assert [r.reason for r in records if r.reason] == [Reason.UNREADABLE]


@pytest.mark.parametrize(
    "content", [b'{"a":1}\n{"b":2}\n{"c": "x', b'[{"a":1},\n{"b":2},\n{"c": "x', b'[{"a":1},{"b":2}']
)
def test_a_truncated_tail_is_one_unreadable_record(tmp_path: Path, content: bytes) -> None:
    """A file that ends within a record gives the records before, and one that reports the end."""
    path = tmp_path / "a"
    path.write_bytes(content)
    records = _read(path)
    assert _good(records) == [{"a": 1}, {"b": 2}]
    assert [(r.number, r.reason) for r in records if r.reason] == [(3, Reason.UNREADABLE)]


def test_a_file_of_random_bytes_is_one_unreadable_record(tmp_path: Path) -> None:
    """A file that is not text is reported in one sentence, not line by line."""
    path = tmp_path / "a"
    path.write_bytes(random.Random(3).randbytes(100_000))
    assert [(r.number, r.reason) for r in _read(path)] == [(1, Reason.UNREADABLE)]


def test_an_empty_file_has_no_record(tmp_path: Path) -> None:
    """An empty file gives nothing."""
    for content in (b"", b"\n \n", b"[]", b"\xef\xbb\xbf"):
        path = tmp_path / "a"
        path.write_bytes(content)
        assert _read(path) == []


@pytest.mark.parametrize("number", [2**63, 2**64 + 1, -(2**70), 12345678901234567890123])
def test_big_integers_keep_their_digits(number: int) -> None:
    """No integer becomes a float."""
    assert parse(json.dumps({"id": number}).encode()) == {"id": number}


@given(number=st.from_regex(r"-?(0|[1-9][0-9]{0,22})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True))
@example(number="0.1234567890123456789")
@example(number="1e-400")
@example(number="9007199254740993.0")
def test_no_number_changes_its_value(number: str) -> None:
    """A number keeps its value when it is read and written; it is a double if one can hold it."""
    raw = f'{{"id":[{number},1.5]}}'.encode()
    try:
        value = parse(raw)
    except ValueError:
        assert abs(float(number)) == math.inf
        return
    written = json.loads(canonical(value), parse_float=Decimal, parse_int=Decimal)
    assert written == {"id": [Decimal(number), Decimal("1.5")]}
    if Decimal(repr(float(number))) == Decimal(number):
        assert value == json.loads(raw)


def test_a_number_beyond_a_double_is_reported_at_any_depth() -> None:
    """Next to such a number, nesting has a limit: the record is refused, not altered."""
    deep = f'{{"a": {"[" * 400}0.1234567890123456789{"]" * 400}}}'
    with pytest.raises(ValueError, match="nested too deeply"):
        parse(deep.encode())


class _CountingDecoder(json.JSONDecoder):
    """Records how much text it was shown on each request for a value."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[int] = []

    def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
        self.shown.append(len(s) - idx)
        return super().raw_decode(s, idx)


def test_a_long_element_is_decoded_few_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An element that spans many blocks is decoded each time its text has doubled, not at every block."""
    decoder = _CountingDecoder()
    monkeypatch.setattr(values, "_DECODER", decoder)
    element = {"n": "x" * 12_000_000}
    path = tmp_path / "a"
    path.write_text(f'[{json.dumps(element)}, {{"n": "y"}}]')
    assert _good(_read(path)) == [element, {"n": "y"}]
    assert len(decoder.shown) <= 8


def test_the_search_for_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """After damage, objects are searched as far as needed, however long they are."""
    decoder = _CountingDecoder()
    monkeypatch.setattr(values, "_DECODER", decoder)
    nested = "".join(f'[{{}},{{"k{number}":' for number in range(16))
    assert values.first_keys(f"x,{nested}[{'1,' * PEEK}1]{'}]' * 16}") == {'"k0"'}
    assert len(decoder.shown) == 16
    assert max(decoder.shown) <= PEEK


def test_lines_in_a_damaged_object_hide_no_objects_behind_it(tmp_path: Path) -> None:
    """Consecutive objects are found although lines within the first one start like objects."""
    path = tmp_path / "a"
    path.write_bytes(b'{"n": {' + b"{\n" * 300 + b'"x": 1}}{"n": {"x": 2}}{"n": {"x": 3}}\n')
    assert _good(_read(path)) == [{"n": {"x": 2}}, {"n": {"x": 3}}]


def test_lines_of_junk_hide_no_table(tmp_path: Path) -> None:
    """Invalid rows do not affect the detection of a table, however many there are; the others are read."""
    path = tmp_path / "a"
    row = b'2024-03-11T08:59:43Z,"{""n"": 1}"\n'
    path.write_bytes(b"receivedAt,payload\n" + b"x\n" * 300 + row)
    records = _read(path)
    assert _good(records) == [{"receivedAt": "2024-03-11T08:59:43Z", "payload": {"n": 1}}]
    assert {record.reason for record in records[:-1]} == {Reason.UNREADABLE}
    assert [record.number for record in records] == list(range(2, 303))


@given(content=st.binary(max_size=300), packed=st.booleans())
def test_any_bytes_are_read_without_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, packed: bool
) -> None:
    """Reading any file gives records, each with a value or a reason, in ascending order."""
    path = tmp_path_factory.mktemp("any") / "a"
    path.write_bytes(gzip.compress(content) if packed else content)
    records = _read(path)
    numbers = [record.number for record in records]
    assert numbers == sorted(set(numbers))
    assert all(record.reason is None or record.detail for record in records)
