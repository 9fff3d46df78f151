"""Neither its beginning nor its size costs a whole file: text, NULs, blank lines, long pages."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatlio_kit.captures import Captures
from chatlio_kit.captures.formats import text_blocks
from chatlio_kit.captures.formats.records import MOST_BYTES
from chatlio_kit.tables import Export, ReadOptions, Tables

LINES = [b'{"n": %d, "text": "a, b; c"}' % number for number in range(50)]
NDJSON = b"\n".join(LINES) + b"\n"


def _read(tmp_path: Path, content: bytes) -> tuple[list[tuple[int, bytes]], list[tuple[int, str]], list[str]]:
    """Return the records and the rejections of a file with their numbers, and the notes."""
    (tmp_path / "a").write_bytes(content)
    captures = Captures([tmp_path / "a"])
    records, rejected = [], []
    for piece in captures.batches():
        for part in piece.slices:
            records += zip(part.records.numbers, part.records.raws, strict=True)
        rejected += [(rejection.record, str(rejection.reason)) for rejection in piece.rejected]
    return records, rejected, captures.notes


def _tables(tmp_path: Path, content: bytes) -> Tables:
    (tmp_path / "a").write_bytes(content)
    return Export([tmp_path / "a"], ReadOptions(), workers=0).to_tables(quiet=True)


WORDS = {
    "two lines": [b"Worker booted", b"Ready on :9000"],
    "blank lines and a comment": [b"", b"", b"# written by hooks.py", b"; second edition"],
    "words with commas": [b"boot, ready, steady", b"GET, POST", b"x, y, z"],
    "a name that a table could have": [b"payload", b"receivedAt"],
    "thousands of lines": [b"%d: still starting, please wait" % number for number in range(4000)],
}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_words_before_captures_cost_only_themselves(
    tmp_path: Path, documented: Path, words: list[bytes]
) -> None:
    """Each line of text is one rejection with its number, and every capture after them is accepted."""
    (file,) = documented.iterdir()
    tables = _tables(tmp_path, b"\n".join([*words, file.read_bytes()]))
    assert tables.counts.accepted == 5
    expected = [number for number, line in enumerate(words, 1) if line]
    assert [rejection.record for rejection in tables.rejections] == expected
    assert {rejection.reason for rejection in tables.rejections} == {"not_json"}
    assert min(tables.events["source_record"]) == len(words) + 1


def test_words_of_any_length_hide_no_captures(tmp_path: Path) -> None:
    """Records after more text than memory holds are read; the text is one rejection."""
    word = b"x" * 99 + b"\n"
    count = MOST_BYTES // 100 + 20_000
    records, rejected, _ = _read(tmp_path, word * count + NDJSON)
    assert [raw for _, raw in records] == LINES
    assert records[0][0] == count + 1
    assert rejected == [(count, "unreadable")]
    assert _read(tmp_path, word * count)[:2] == ([], [(1, "unreadable")])


def test_a_table_stays_a_table(tmp_path: Path) -> None:
    """Cells with JSON are not lines of JSON, and a line of JSON among rows is an invalid row."""
    rows = ["receivedAt,payload"] + ['2024-03-11T08:59:43Z,"{""n"": 1}"'] * 5 + ['{"n": 1}']
    records, rejected, _ = _read(tmp_path, "\n".join(rows).encode())
    assert len(records) == 5
    assert rejected == [(7, "unreadable")]


@pytest.mark.parametrize("count", [1, 7, 65_000, 1 << 16, (1 << 20) + 1, MOST_BYTES + 5])
def test_nuls_before_captures_are_skipped(tmp_path: Path, count: int) -> None:
    """A log that was truncated while being written starts with NULs: its captures are read, with a note."""
    for content in (NDJSON, b"[" + b",\n".join(LINES) + b"]", b"payload,k\n" + b'"{""n"": 1}",2\n' * 50):
        records, rejected, notes = _read(tmp_path, bytes(count) + content)
        assert (len(records), rejected) == (50, [])
        assert [note.split(",")[0] for note in notes] == ["a holds runs of NUL bytes"]
    assert _read(tmp_path, bytes(count) + NDJSON)[0][0] == (1, LINES[0])


@pytest.mark.parametrize("count", [16, 65_000, MOST_BYTES + 5])
def test_nuls_between_captures_cost_at_most_one_line(tmp_path: Path, count: int) -> None:
    """NULs at the edge of a line cost nothing; NULs within a line end it, and the next capture is read."""
    nuls = bytes(count)
    records, rejected, notes = _read(tmp_path, NDJSON + nuls + NDJSON + nuls)
    assert ([raw for _, raw in records], rejected, len(notes)) == (LINES * 2, [], 1)
    records, _, _ = _read(tmp_path, NDJSON + LINES[0][:8] + nuls + NDJSON)
    assert [raw for _, raw in records] == [*LINES, LINES[0][:8], *LINES]
    numbers = [number for number, _ in records]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("size", [3, 50, 1000])
def test_block_ends_do_not_affect_nuls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Runs that span blocks are read as one."""
    content = (
        bytes(33) + NDJSON + b"x" + bytes(40) + b"\n" + bytes(5) + b"\n" + bytes(2) + LINES[1] + bytes(20)
    )
    content += LINES[2] + b"\n" + bytes(50)
    expected = _read(tmp_path, content)
    for name in ("BLOCK", "PEEK"):
        monkeypatch.setattr(text_blocks, name, size)
    assert _read(tmp_path, content) == expected
    assert [raw for _, raw in expected[0]] == [*LINES, b"x", b"\0", LINES[1], LINES[2]]


def test_an_array_is_read_after_blank_lines(tmp_path: Path) -> None:
    """Any number of blank lines is skipped."""
    records, rejected, _ = _read(tmp_path, b"\n" * 2_000_000 + b"[" + b",\n".join(LINES) + b"]")
    assert ([raw for _, raw in records], rejected) == (LINES, [])


def _entry(number: int) -> dict[str, Any]:
    payload = {
        "visitor": {"UUID": f"{number:08}-9a34-4e2f-6c18-b2f09d41a7e3", "email": ""},
        "message": "x" * 900,
    }
    payload["conversationUUID"] = f"{number:08}-3b6d-4f08-5a91-0d4e6b2f8c13"
    return {
        "startedDateTime": "2024-03-11T08:59:43.250Z",
        "request": {"url": "https://x.example/hooks/unanswered", "postData": {"text": json.dumps(payload)}},
    }


ENTRIES = [_entry(number) for number in range(16_000)]
PAGES: dict[str, Callable[[list[Any]], str]] = {
    "on one line": lambda entries: json.dumps({"log": {"version": "1.2", "entries": entries, "pages": []}}),
    "on many lines": lambda entries: json.dumps(
        {"log": {"creator": {}, "entries": entries}, "x": 1}, indent=1
    ),
    "behind words": lambda entries: "Exported by a proxy\n" + json.dumps({"log": {"entries": entries}}),
    "two pages": lambda entries: (
        json.dumps({"log": {"entries": entries[:10]}}) + "\n" + json.dumps({"log": {"entries": entries[10:]}})
    ),
    "two pages over lines": lambda entries: (
        json.dumps({"log": {"entries": entries[:10]}}, indent=1)
        + json.dumps({"log": {"entries": entries[10:]}}, indent=1)
    ),
}


@pytest.mark.parametrize("form", PAGES)
def test_a_page_of_any_size_is_read(tmp_path: Path, form: str) -> None:
    """A page larger than the maximum record gives all its captures, numbered across the file."""
    text = PAGES[form](ENTRIES).encode()
    assert len(text) > MOST_BYTES
    records, rejected, _ = _read(tmp_path, text)
    words = int(form == "behind words")
    assert rejected == []
    assert [number for number, _ in records] == list(range(1, 16_001 + words))
    assert [json.loads(raw) for _, raw in records[words:]] == ENTRIES


def test_a_truncated_page_keeps_its_captures(tmp_path: Path) -> None:
    """The captures before the end are read, on long and short pages; one rejection reports the end."""
    for count, indent in ((16_000, None), (16_000, 1), (30, 1)):
        text = json.dumps({"log": {"entries": ENTRIES[:count]}}, indent=indent)
        records, rejected, _ = _read(tmp_path, text[:-700].encode())
        assert [json.loads(raw) for _, raw in records] == ENTRIES[: count - 1]
        assert rejected == [(count, "unreadable")]


def test_only_the_damaged_capture_of_a_long_page_is_rejected(tmp_path: Path) -> None:
    """The captures next to it are read, and those of the page after it too."""
    parts = [json.dumps(entry) for entry in ENTRIES]
    parts[9_000] = parts[9_000][:200] + "}"
    text = f'{{"log": {{"entries": [{", ".join(parts)}]}}}}\n' + json.dumps({"log": {"entries": ENTRIES[:3]}})
    tables = _tables(tmp_path, text.encode())
    assert tables.counts.accepted == 15_999
    assert tables.counts.duplicates == 3
    assert [rejection.reason for rejection in tables.rejections] == ["not_json"]


def test_a_key_that_is_not_a_string_is_damage(tmp_path: Path) -> None:
    """An object or a list in place of a key costs its record, wherever pages are detected."""
    for key in (b'{"b": 1}', b"[1]"):
        bad = b"{" + key + b': [{"c": 2}]}'
        for content in (b'[{"a": 1},\n' + bad + b',\n{"a": 2}]', b'{"a": 1}\n' + bad + b'\n{"a": 2}\n'):
            records, rejected, _ = _read(tmp_path, content)
            assert (records, rejected) == ([(1, b'{"a": 1}'), (2, bad), (3, b'{"a": 2}')], [])


def test_a_long_object_that_is_not_a_page_is_too_large(tmp_path: Path) -> None:
    """An object that lists nothing where pages do, or has a payload, stays one oversized record."""
    elements = ", ".join([f'{{"x": "{"y" * 100_000}"}}'] * 200)
    for head in ('{"payload": 1, "data": [', '{"messages": [', '{"data": [1, '):
        records, rejected, _ = _read(tmp_path, f"{head}{elements}]}}\n".encode() + LINES[0])
        assert (records, rejected) == ([(2, LINES[0])], [(1, "too_large")])


_MEASURE = """
import resource, sys
from chatlio_kit.captures import Captures
def peak(path):
    captures = Captures([path])
    count = sum(piece.read for piece in captures.batches())
    return count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
first = peak(sys.argv[1])
second = peak(sys.argv[2])
print(first[0], second[0], second[1] - first[1])
"""


def test_the_memory_of_a_page_does_not_grow_with_it(tmp_path: Path) -> None:
    """A page of 80 MB takes hardly more memory than one of 20 MB."""
    for name, times in (("short", 1), ("long", 4)):
        with open(tmp_path / name, "w", encoding="utf-8") as file:
            file.write('{"log": {"entries": [')
            file.write(", ".join(json.dumps(entry) for entry in ENTRIES * times))
            file.write("]}}")
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, tmp_path / "short", tmp_path / "long"],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    first, second, grown = map(int, done.stdout.split())
    assert (first, second) == (16_000, 64_000)
    assert grown < 40_000
