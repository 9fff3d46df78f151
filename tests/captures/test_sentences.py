"""Messages about unreadable files and records: what they are, where, and what helps."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

import chatlio_kit as ck
from chatlio_kit.errors import UsageError
from chatlio_kit.tables import Tables

Payload = dict[str, Any]
AT = "2024-10-01T08:00:00Z"


def _tables(path: Path, content: bytes, **options: Any) -> Tables:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return ck.read_export(path, **options).to_tables(quiet=True)


@pytest.fixture
def line(conversation: Payload) -> Callable[..., str]:
    """Write captures as distinct lines, without line ends."""

    def write(number: int, message: str = "Hi") -> str:
        payload = deepcopy(conversation)
        payload |= {"message": message, "conversationUUID": f"7c1e9a52-3b6d-4f08-5a91-{number:012d}"}
        return json.dumps({"receivedAt": AT, "kind": "feedback", "payload": payload}, ensure_ascii=False)

    return write


Line = Callable[..., str]


@pytest.mark.parametrize("between", ["\\n", "\\r\\n", "\\n\n", "\\n\\n", "\\n \r\n"])
@pytest.mark.parametrize("ends", [True, False])
def test_a_written_line_end_parts_records(tmp_path: Path, line: Line, between: str, ends: bool) -> None:
    """A backslash and an n between two objects can only be a line feed; within a string they stay."""
    records = [line(number, "a\\nb } \\n { c") for number in range(4)]
    content = between.join(records) + (between if ends else "")
    tables = _tables(tmp_path / "a", content.encode())
    assert (len(tables.events), tables.rejections) == (4, [])
    assert set(tables.events["message"]) == {"a\\nb } \\n { c"}


def test_written_line_ends_are_found_at_the_border_of_blocks(tmp_path: Path, line: Line) -> None:
    """A long file gives the same records, wherever its blocks end."""
    records = [line(number, "x" * 4000) for number in range(700)]
    for shift in range(3):
        tables = _tables(tmp_path / "a", b" " * shift + "\\n".join(records).encode())
        assert (len(tables.events), tables.rejections) == (700, [])


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "iso8859-15"])
@pytest.mark.parametrize("form", ["lines", "last line", "array", "csv"])
def test_a_record_in_another_encoding_is_reported_with_its_position(
    tmp_path: Path, line: Line, encoding: str, form: str
) -> None:
    """The first byte that is not UTF-8 is named; the file is neither truncated nor guessed."""
    bad, good = line(1, "déjà"), line(2)
    content = {"lines": f"{good}\n{bad}\n", "last line": f"{good}\n{bad}", "array": f"[{good},\n{bad}]"}
    cells = [
        json.dumps(json.loads(entry)["payload"], ensure_ascii=False).replace('"', '""')
        for entry in (good, bad)
    ]
    content["csv"] = "receivedAt,kind,payload\n" + "".join(f'{AT},feedback,"{cell}"\n' for cell in cells)
    raw = content[form].encode(encoding)
    tables = _tables(tmp_path / "a", raw)
    (rejected,) = tables.rejections
    start = raw.rfind(b"\n", 0, raw.index(0xE9)) + 1
    assert f"not UTF-8: its byte {raw.index(0xE9) - start + 1:,} is 0xE9" in rejected.detail
    assert "--encoding" in rejected.detail
    assert len(tables.events) == 1
    read = _tables(tmp_path / "a", raw, encoding=encoding)
    assert set(read.events["message"]) == {"déjà", "Hi"}
    assert any(note.endswith("not as UTF-8: 1 line") for note in read.notes)


def test_an_encoding_does_not_affect_utf_8(tmp_path: Path, line: Line) -> None:
    """A file may mix both, like concatenated logs; a line in neither costs its record."""
    lines = [
        line(1, "déjà €").encode("cp1252"),
        line(2, "déjà €").encode(),
        line(3, "\x81").encode("latin-1"),
    ]
    tables = _tables(tmp_path / "a", b"\n".join(lines), encoding="windows-1252")
    assert tables.events["message"].tolist() == ["déjà €"] * 2
    assert [rejection.record for rejection in tables.rejections] == [3]


def test_a_long_array_in_another_encoding_is_read(tmp_path: Path, line: Line) -> None:
    """Lines longer than a block are assembled first."""
    records = ",".join(line(number, "é" * 300) for number in range(2000))
    tables = _tables(tmp_path / "a", f"[{records}]".encode("latin-1"), encoding="latin-1")
    assert len(tables.events) == 2000


@pytest.mark.parametrize("name", ["utf-16", "cp500", "rot13", "no-such", ""])
def test_an_invalid_encoding_is_refused(tmp_path: Path, line: Line, name: str) -> None:
    """An unknown name, and an encoding with other bytes for JSON's own letters."""
    with pytest.raises(UsageError, match=r"^encoding="):
        _tables(tmp_path / "a", line(1).encode(), encoding=name)


def _workbook() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("[Content_Types].xml", "<x/>")
        archive.writestr("xl/workbook.xml", "<x/>")
    return packed.getvalue()


FILES: list[tuple[bytes, str]] = [
    (b"7z\xbc\xaf\x27\x1c" + bytes(90), "a 7z archive"),
    (b"SQLite format 3\x00" + bytes(90), "an SQLite database"),
    (b"Obj\x01" + bytes(90), "an Avro file"),
    (_workbook(), "an Office document"),
    (b"\n<!DOCTYPE HTML>\n<html><body>403 Forbidden</body></html>\n", "a web page"),
    (b"PK\x03\x04" + bytes(90), "no list of members"),
    ('{"payload": {}}\n'.encode("utf-16-le") * 9, "UTF-16 (little-endian)"),
    ('{"payload": {}}\n'.encode("utf-16-be") * 9, "UTF-16 (big-endian)"),
    ('{"payload": {}}\n'.encode("utf-32-le") * 9, "UTF-32 (little-endian)"),
    (b'data: {"payload": {}}\n\ndata: {"payload": {}}\n\n', 'something before their JSON, such as "data: "'),
    (b'callback({"payload": {}});\n', 'something before their JSON, such as "callback("'),
]


@pytest.mark.parametrize(("content", "words"), FILES, ids=[words for _, words in FILES])
def test_a_rejection_names_the_file_format(tmp_path: Path, content: bytes, words: str) -> None:
    """One rejection, which names the format and the next step."""
    (rejected,) = _tables(tmp_path / "a.json", content).rejections
    assert rejected.reason == "unreadable"
    assert words in rejected.detail


def test_only_truncated_lines_are_called_truncated(tmp_path: Path, line: Line) -> None:
    """A last line with an error elsewhere is reported there, with or without a final line feed."""
    good = line(1).encode()
    letter = line(1, "déjà").encode()
    endings = {
        good[:200]: True,
        good[:-1]: True,
        letter[: letter.index(b"\xc3") + 1]: True,
        good[:-1] + b",}": False,
        good.replace(b'"', b"'"): False,
        letter.replace(b"\xc3", b"\xff"): False,
    }
    for last, is_cut in endings.items():
        (rejected,) = _tables(tmp_path / "a", line(2).encode() + b"\n" + last).rejections
        assert ("truncated" in rejected.detail) is is_cut
        assert (rejected.reason == "unreadable") is is_cut


def test_no_advice_to_add_existing_settings(tmp_path: Path, conversation: Payload) -> None:
    """A time or a kind in the payload is read; an invalid one is quoted, and nothing has to be added."""
    bare = conversation | {"receivedAt": AT, "kind": "feedback"}
    tables = _tables(tmp_path / "a.ndjson", json.dumps(bare).encode())
    assert (tables.rejections, tables.events["kind"].tolist()) == ([], ["feedback"])
    for wrong, advice in (
        ({"kind": "feedback form"}, 'kind is "feedback form"; expected one of'),
        ({"receivedAt": 1_727_769_600_000}, "--fields received-milliseconds=receivedAt"),
        ({"receivedAt": "2024-10-01T08:00:00"}, "--fields without-offset=UTC"),
    ):
        (rejected,) = _tables(tmp_path / "a.ndjson", json.dumps(bare | wrong).encode()).rejections
        assert advice in rejected.detail
        assert "add receivedAt" not in rejected.detail


def test_a_wrong_kind_is_reported_with_its_source(tmp_path: Path, conversation: Payload) -> None:
    """The label, the file or the option: whichever has to be corrected is named."""
    record = json.dumps({"receivedAt": AT, "payload": conversation}).encode()
    (by_file,) = _tables(tmp_path / "transcript.ndjson", record).rejections
    (by_option,) = _tables(tmp_path / "a.ndjson", record, kind="transcript").rejections
    assert by_file.detail.startswith("Its file or folder is named transcript")
    assert by_option.detail.startswith("--kind (in Python kind=) is named transcript")


@pytest.mark.parametrize("moment", ["2024-02-30T08:59:43Z", "2024-13-01T08:59:43Z", "2024-02-03T25:59:43Z"])
def test_a_day_that_does_not_exist_is_reported_as_such(
    tmp_path: Path, conversation: Payload, moment: str
) -> None:
    """Its format is right, so no other format is requested."""
    record = {"receivedAt": moment, "kind": "feedback", "payload": conversation}
    (rejected,) = _tables(tmp_path / "a", json.dumps(record).encode()).rejections
    assert "expected a day and a time that exist" in rejected.detail


def test_values_are_shown_as_json_has_them(tmp_path: Path, conversation: Payload) -> None:
    """No Python jargon, and nothing that a terminal would obey."""
    for value, shown in (
        (None, "null"),
        (True, "true"),
        ({"a": None}, '{"a": null}'),
        ("\x1b[2J", '"\\x1b[2J"'),
    ):
        record = {"receivedAt": AT, "kind": value, "payload": conversation} if value else value
        (rejected,) = _tables(tmp_path / "a", json.dumps([record]).encode()).rejections
        assert shown in rejected.detail
        assert rejected.detail.isprintable()


def test_names_of_unknown_fields_do_nothing_to_a_terminal(tmp_path: Path, conversation: Payload) -> None:
    """An untrusted key is printed letter by letter."""
    record = {"receivedAt": AT, "kind": "feedback", "payload": conversation | {"\x1b[2Jx": 1}}
    notes = _tables(tmp_path / "a", json.dumps(record).encode()).notes
    assert all(note.isprintable() for note in notes)
    assert any("\\x1b[2Jx 1" in note for note in notes)
