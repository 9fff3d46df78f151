"""CSV and Parquet: each row is a record with unchanged cells and the right number."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlio_kit.captures.formats.csv_tables import layout_of
from chatlio_kit.captures.formats.records import MOST_BYTES, ReadFault
from chatlio_kit.captures.formats.splitting import read_records
from chatlio_kit.tables import Export, ReadOptions, Tables

Payload = dict[str, Any]


def _tables(path: Path, **options: Any) -> Tables:
    return Export([path], ReadOptions.from_options(**options)).to_tables(quiet=True)


def _csv(rows: list[list[str]], delimiter: str = ",", end: str = "\r\n") -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=end).writerows(rows)
    return text.getvalue().encode()


def _rows(content: bytes) -> list[tuple[int, Any]]:
    """Read a file's records: number, and value or reason."""
    found: list[tuple[int, Any]] = []
    for record in read_records(io.BufferedReader(io.BytesIO(content))):  # type: ignore[arg-type]  a raw file in memory
        if isinstance(record, ReadFault):
            found.append((record.number, record.reason))
        else:
            found += zip(record.numbers, map(json.loads, record.raws), strict=True)
    return found


@pytest.fixture
def captures(conversation: Payload, offline: Payload, transcript: Payload) -> list[Payload]:
    """Captures in our envelope, with payloads that test every kind of quoting."""
    nasty = {**conversation, "message": 'a "b", c;\td\r\ne\u2028 00123 \U0001f642'}
    payloads = {
        "feedback": nasty,
        "transcript": transcript,
        "offline_message": offline,
        "unanswered": conversation,
    }
    return [
        {"receivedAt": f"2024-03-11T09:0{number}:00Z", "kind": kind, "widget": "w-1", "payload": payload}
        for number, (kind, payload) in enumerate(payloads.items())
    ]


@pytest.fixture
def expected(tmp_path: Path, captures: list[Payload]) -> Tables:
    """The same captures as JSON."""
    path = tmp_path / "expected.ndjson"
    path.write_text("".join(json.dumps(capture) + "\n" for capture in captures))
    return _tables(path)


def _assert_same(found: Tables, expected: Tables) -> None:
    assert found.rejected.empty
    place = ["source_file", "source_record"]
    pd.testing.assert_frame_equal(found.events.drop(columns=place), expected.events.drop(columns=place))
    pd.testing.assert_frame_equal(found.messages, expected.messages)


def _table(captures: list[Payload], indent: int | None = None) -> list[list[str]]:
    return [
        ["receivedAt", "kind", "widget", "payload"],
        *(
            [capture["receivedAt"], capture["kind"], "w-1", json.dumps(capture["payload"], indent=indent)]
            for capture in captures
        ),
    ]


FORMS: dict[str, Callable[[list[Payload]], bytes]] = {
    "commas": lambda captures: _csv(_table(captures)),
    "semicolons": lambda captures: _csv(_table(captures), ";"),
    "tabs": lambda captures: _csv(_table(captures), "\t"),
    "line feeds": lambda captures: _csv(_table(captures), end="\n"),
    "JSON over many lines": lambda captures: _csv(_table(captures, indent=1)),
    "everything quoted": lambda captures: (
        pd.DataFrame(_table(captures)[1:], columns=_table(captures)[0])
        .to_csv(index=False, quoting=csv.QUOTE_ALL)
        .encode()
    ),
    "an index without a name": lambda captures: (
        pd.DataFrame(_table(captures)[1:], columns=_table(captures)[0]).to_csv().encode()
    ),
    "a byte order mark": lambda captures: b"\xef\xbb\xbf" + _csv(_table(captures)),
    "UTF-16": lambda captures: _csv(_table(captures)).decode().encode("utf-16"),
    "gzip": lambda captures: gzip.compress(_csv(_table(captures))),
    "the payload first, between tabs": lambda captures: "".join(
        "\t".join(row[::-1]) + "\n"
        for row in [_table(captures)[0], *([*row[:3], row[3]] for row in _table(captures)[1:])]
    ).encode(),
}


def _copied(captures: list[Payload]) -> bytes:
    """As PostgreSQL's COPY TO writes strings with a header, and as psql ends them."""

    def cell(text: str | None) -> str:
        if text is None:
            return "\\N"
        for mark, letter in (("\\", "\\"), ("\n", "n"), ("\t", "t"), ("\r", "r")):
            text = text.replace(mark, f"\\{letter}")
        return text

    rows: list[list[str | None]] = [[*row[:3], None, row[3]] for row in _table(captures)]
    rows[0][3] = "note"
    return "".join("\t".join(map(cell, row)) + "\n" for row in rows).encode()


FORMS |= {
    "Excel's first line": lambda captures: b"sep=;\r\n" + _csv(_table(captures), ";"),
    "Excel's first line and another mark": lambda captures: b'"sep=|"\r\n' + _csv(_table(captures), "|"),
    "times as pandas writes them": lambda captures: (
        pd.DataFrame(_table(captures)[1:], columns=_table(captures)[0])
        .assign(receivedAt=[pd.Timestamp(entry["receivedAt"]) for entry in captures])
        .to_csv(index=False)
        .encode()
    ),
    "COPY TO": _copied,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_csv_gives_the_same_tables(
    tmp_path: Path, captures: list[Payload], expected: Tables, form: str
) -> None:
    """With any quoting, line ends and compression, a table's rows are the captures, to the last character."""
    path = tmp_path / "captures"
    path.write_bytes(FORMS[form](captures))
    found = _tables(path)
    _assert_same(found, expected)
    assert found.findings.dialects == {"envelope": len(captures)}


def test_a_csv_in_a_zip_gives_the_same_tables(
    tmp_path: Path, captures: list[Payload], expected: Tables
) -> None:
    """A zip's member may be a table."""
    with zipfile.ZipFile(tmp_path / "captures.zip", "w") as archive:
        archive.writestr("a.csv", _csv(_table(captures)))
    _assert_same(_tables(tmp_path / "captures.zip"), expected)


def test_rows_are_numbered_by_the_line_they_start_on(captures: list[Payload]) -> None:
    """The header is line 1; a cell that spans lines shifts the rows after it."""
    rows = _table(captures)
    lines = [json.dumps(capture["payload"], indent=1).count("\n") + 1 for capture in captures]
    spread = _rows(_csv(_table(captures, indent=1)))
    assert [number for number, _ in _rows(_csv(rows))] == [2, 3, 4, 5]
    assert [number for number, _ in spread] == [2 + sum(lines[:place]) for place in range(4)]


names = st.text(st.characters(codec="utf-8", exclude_characters='"\r\n{}[\x00,;\t'), min_size=1, max_size=8)
cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)


@given(data=st.data(), delimiter=st.sampled_from(",;\t"))
@settings(max_examples=30)
def test_cells_are_kept_unchanged(data: st.DataObject, delimiter: str) -> None:
    """With any text in the cells next to a JSON column, each row is read unchanged."""
    header = data.draw(st.lists(names.filter(str.strip), min_size=1, max_size=4, unique=True))
    width = len(header)
    drawn = data.draw(st.lists(st.lists(cells, min_size=width, max_size=width), max_size=6))
    rows = [["body", *header], *(['{"a": 1}', *row] for row in ([""] * width, *drawn))]
    read = [value for _, value in _rows(_csv(rows, delimiter))]
    assert read == [
        {"body": '{"a": 1}', **dict(zip(header, row, strict=True))} for row in ([""] * width, *drawn)
    ]


DAMAGE = {
    "a cell too many": b'2024-03-11T09:00:00Z,feedback,"{}",extra',
    "a cell too few": b"2024-03-11T09:00:00Z,feedback",
    "an unescaped quote": b'2024-03-11T09:00:00Z,feedback,"{"a": 1}"',
    "a quote that is never closed": b'2024-03-11T09:00:00Z,feedback,"{""a"": 1}',
    "bytes that are not UTF-8": b'2024-03-11T09:00:00Z,feedback,"{""a"": ""\xff""}"',
    "half a cell over three lines": b'2024-03-11T09:00:00Z,feedback,"{\n ""a"": 1,\n ""b',
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_only_the_damaged_row_is_rejected(damage: str) -> None:
    """A row whose quotes or cells do not match is one rejection, named by its line; all others are kept."""
    good = b"".join(
        f'2024-03-11T09:00:00Z,feedback,"{{""n"": {number}}}"\n'.encode() for number in range(300)
    ).splitlines(keepends=True)
    content = b"receivedAt,kind,payload\n" + b"".join([*good[:150], DAMAGE[damage] + b"\n", *good[150:]])
    rows = _rows(content)
    assert [row["payload"] for _, row in rows if isinstance(row, dict)] == [
        {"n": number} for number in range(300)
    ]
    assert [(number, row) for number, row in rows if not isinstance(row, dict)] == [(152, "unreadable")]


def test_only_the_oversized_row_is_rejected() -> None:
    """A row beyond a record's size limit is reported as too large; the rows around it keep their numbers."""
    monster = b'a,"' + b"x" * (MOST_BYTES + 5_000_000) + b'"\n'
    rows = _rows(b'n,body\n1,"{""a"": 1}"\n' + monster + b'3,"{""a"": 3}"\n')
    assert [(number, row["n"] if isinstance(row, dict) else row) for number, row in rows] == [
        (2, "1"), (3, "too_large"), (4, "3"),
    ]  # fmt: skip


def test_a_truncated_csv_keeps_earlier_rows() -> None:
    """Rows before the end are kept; the truncated row is one unreadable record."""
    content = b'kind,payload\nfeedback,"{""n"": 1}"\nfeedback,"{""n"": 2'
    assert _rows(content) == [(2, {"kind": "feedback", "payload": {"n": 1}}), (3, "unreadable")]


@pytest.mark.parametrize(
    "content",
    [
        b'nonsense, more\n{"a": 1, "b": 2}\n{"a": 1, "b": 2}\n',
        b'nonsense\n{"a": 1}\n',
        b'{"a": 1}\n{"b": 2}\n',
        b"name,age\nAna,4\n",
        b"\xff\xfe\x00\x01,a\n,b",
        b"",
    ],
)
def test_other_tables_are_not_read_as_captures(content: bytes) -> None:
    """Lines of JSON with a broken first one, and tables of something else, are not read as captures."""
    assert layout_of(content) is None


def test_columns_of_the_payload_are_put_together(tmp_path: Path, captures: list[Payload]) -> None:
    """A table of flattened captures, as json_normalize and to_csv write it, restores the captures."""
    reported = [{key: value for key, value in capture.items() if key != "payload"} for capture in captures]
    flat = [
        pd.json_normalize(capture["payload"]).assign(**about)
        for capture, about in zip(captures, reported, strict=True)
        if capture["kind"] != "transcript"
    ]
    path = tmp_path / "flat.csv"
    pd.concat(flat).to_csv(path, index=False)
    tables = _tables(path)
    assert tables.findings.dialects == {"dotted-columns": 3}
    assert tables.events["kind"].tolist() == ["feedback", "offline_message", "unanswered"]
    assert tables.events["visitor_id"].tolist() == [captures[0]["payload"]["visitor"]["UUID"]] * 3
    assert tables.events["message"].tolist()[1:] == ["Please call me", "Is the beta open?"]
    assert tables.events["extra_fields"].isna().all()


def test_text_stays_text(tmp_path: Path, conversation: Payload) -> None:
    """Strings that look like numbers stay strings."""
    conversation["visitor"]["identUserId"] = "00123"
    conversation["message"] = "1.10"
    flat = {"receivedAt": "2024-03-11T09:00:00Z", "kind": "feedback"}
    flat |= {f"visitor__{key}": value for key, value in conversation.pop("visitor").items()} | conversation
    (tmp_path / "zap.csv").write_bytes(_csv([list(flat), list(flat.values())]))
    event = _tables(tmp_path / "zap.csv").events.iloc[0]
    assert (event["user_id"], event["message"]) == ("00123", "1.10")


PARQUET: dict[str, Callable[[list[Payload]], Any]] = {
    "JSON as text": lambda captures: pa.Table.from_pylist(
        [{**entry, "payload": json.dumps(entry["payload"])} for entry in captures]
    ),
    "JSON as bytes": lambda captures: pa.Table.from_pylist(
        [{**entry, "payload": json.dumps(entry["payload"]).encode()} for entry in captures]
    ),
    "times as times": lambda captures: pa.Table.from_pylist(
        [
            {
                **entry,
                "payload": json.dumps(entry["payload"]),
                "receivedAt": pd.Timestamp(entry["receivedAt"]),
            }
            for entry in captures
        ]
    ),
}
PARQUET["in groups of one row"] = PARQUET["JSON as text"]


@pytest.mark.parametrize("packed", ["plain", "gzip", "zip"])
@pytest.mark.parametrize("form", PARQUET)
def test_parquet_gives_the_same_tables(
    tmp_path: Path, captures: list[Payload], expected: Tables, form: str, packed: str
) -> None:
    """A Parquet file's rows are the captures, numbered from 1, compressed or not."""
    sink = io.BytesIO()
    pq.write_table(PARQUET[form](captures), sink, row_group_size=1 if "groups" in form else None)
    path = tmp_path / "captures"
    if packed == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.parquet", sink.getvalue())
    else:
        path.write_bytes(gzip.compress(sink.getvalue()) if packed == "gzip" else sink.getvalue())
    found = _tables(path)
    _assert_same(found, expected)
    assert found.events["source_record"].tolist() == [1, 2, 3, 4]


def test_nested_columns_of_parquet_are_payloads(tmp_path: Path, captures: list[Payload]) -> None:
    """Payloads as structs are read unchanged; nulls in another kind's fields are absent."""
    payloads = [capture["payload"] for capture in captures if capture["kind"] != "transcript"]
    table = pa.Table.from_struct_array(pa.array(payloads))
    pq.write_table(table, tmp_path / "unanswered.parquet")
    found = _tables(tmp_path / "unanswered.parquet", undated_as="2024-03-20T00:00:00Z")
    assert found.events["kind"].tolist() == ["unanswered", "unanswered"]
    (rejected,) = found.rejections
    assert (rejected.record, rejected.reason) == (2, "kind_mismatch")


def test_a_broken_parquet_is_one_unreadable_record(tmp_path: Path, captures: list[Payload]) -> None:
    """A file that only starts like Parquet is reported in one sentence."""
    pq.write_table(PARQUET["JSON as text"](captures), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    for broken in (content[: len(content) // 2], b"PAR1", b"PAR1" + bytes(100)):
        (tmp_path / "a.parquet").write_bytes(broken)
        (rejected,) = _tables(tmp_path / "a.parquet").rejections
        assert (rejected.record, rejected.reason) == (1, "unreadable")


def test_backslashes_doubled_by_copy_are_reported_once(tmp_path: Path, captures: list[Payload]) -> None:
    """Quotes, line feeds, tabs and backslashes in messages survive COPY TO."""
    for capture in captures:
        capture["payload"]["z"] = 'say "hi"\n\tC:\\new 5" \\N \\'
    for name, nulls in (("a.tsv", b"\\N"), ("b.tsv", b"")):
        (tmp_path / name).write_bytes(_copied(captures).replace(b"\\N\t", nulls + b"\t"))
        tables = _tables(tmp_path / name)
        assert tables.rejected.empty
        assert [json.loads(value) for value in tables.events["extra_fields"]] == [
            {"z": capture["payload"]["z"]} for capture in captures
        ]
        assert not any("backslash" in note for note in tables.notes)


DOUBTFUL = [
    ("hi\nthere", "COPY doubled a backslash, or nobody did: either is JSON"),
    ("C:\\temp", "the same"),
]


@pytest.mark.parametrize(("message", "why"), DOUBTFUL)
def test_backslashes_that_may_be_doubled_are_reported(
    tmp_path: Path, conversation: Payload, message: str, why: str
) -> None:
    """If it is unclear whether backslashes were doubled, they are kept, and a note says so."""
    row = _copied([{"receivedAt": "2024-03-11T09:00:00Z", "kind": "feedback", "payload": conversation}])
    escaped = json.dumps(message)[1:-1].encode().replace(b"\\", b"\\\\")
    doubled = row.replace(b"\\N", b"").replace(b"Is the beta open?", escaped)
    (tmp_path / "a.tsv").write_bytes(doubled)
    tables = _tables(tmp_path)
    assert tables.rejected.empty, why
    assert any("doubled backslashes (1)" in note for note in tables.notes)
    assert tables.events["message"].tolist() == [json.dumps(message)[1:-1]]


def test_a_table_of_json_between_tabs_is_not_a_copy(tmp_path: Path, conversation: Payload) -> None:
    """If unescaping backslashes would break the JSON, they were not doubled, whatever else is in the file."""
    messages = ["C:\\dir", "hi\nthere", 'say "hi"']
    lines = ["receivedAt\tkind\tpayload"]
    lines += [
        f"2024-03-11T09:0{place}:00Z\tfeedback\t{json.dumps({**conversation, 'message': message})}"
        for place, message in enumerate(messages)
    ]
    (tmp_path / "a.tsv").write_text("\n".join(lines) + "\n")
    assert _tables(tmp_path).events["message"].tolist() == messages


def test_blanks_around_the_names_of_columns(tmp_path: Path, conversation: Payload) -> None:
    """A header with spaces after its commas names the same columns."""
    flat = {"receivedAt": "2024-03-11T09:00:00Z", "kind": "feedback"}
    flat |= {f"visitor.{key}": value for key, value in conversation.pop("visitor").items()} | conversation
    rows = [[f" {name} " for name in flat], list(flat.values())]
    (tmp_path / "a.csv").write_bytes(_csv(rows))
    tables = _tables(tmp_path)
    assert tables.events[["kind", "message"]].to_numpy().tolist() == [["feedback", "Is the beta open?"]]
    assert tables.events["extra_fields"].isna().all()
