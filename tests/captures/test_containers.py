"""Containers: captures give the same tables in any packaging; and what a zip may contain."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import struct
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlio_kit.captures import Captures
from chatlio_kit.captures.formats import splitting
from chatlio_kit.captures.formats import text_blocks as blocks
from chatlio_kit.captures.formats.text_blocks import FileText
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import Export, ReadOptions, Tables

CAPTURES = 1000


def _zip(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def _zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def _halves(content: bytes) -> dict[str, bytes]:
    """Split lines into two files whose names sort in the same order."""
    lines = content.splitlines(keepends=True)
    return {"b/2": gzip.compress(b"".join(lines[500:])), "a/1.ndjson": b"".join(lines[:500])}


def _array(content: bytes) -> bytes:
    return b"[" + b",\n".join(content.splitlines()) + b"]"


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "two gzips in a row": lambda content: gzip.compress(content[:9000]) + gzip.compress(content[9000:]),
    "bzip2": bz2.compress,
    "two bzip2 in a row": lambda content: bz2.compress(content[:9000]) + bz2.compress(content[9000:]),
    "xz": lzma.compress,
    "zstd": _zstd,
    "two zstd frames in a row": lambda content: _zstd(content[:9000]) + _zstd(content[9000:]),
    "a zip": lambda content: _zip({"captures.ndjson": content}),
    "a zip of several files, one of them a gzip": lambda content: _zip(_halves(content)),
    "UTF-16 in xz": lambda content: lzma.compress(codecs.BOM_UTF16_LE + content.decode().encode("utf-16-le")),
    "an array in zstd": lambda content: _zstd(_array(content)),
}


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A thousand captures, a line each."""
    sample = write_sample(tmp_path_factory.mktemp("sample") / "x", events=CAPTURES)
    contents = [path.read_bytes() for path in sorted(sample.path.rglob("*")) if path.is_file()]
    return b"".join(
        gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content for content in contents
    )


def _tables(content: bytes, folder: Path) -> Tables:
    folder = folder / "x"
    folder.mkdir()
    (folder / "captures").write_bytes(content)
    return Export([folder], ReadOptions(kind=Kind.UNANSWERED), workers=0).to_tables(quiet=True)


@pytest.fixture(scope="module")
def plain(captures: bytes, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The same captures from a plain file."""
    return _tables(captures, tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("container", PACKED)
def test_every_container_gives_the_same_tables(
    captures: bytes, plain: Tables, tmp_path: Path, container: str
) -> None:
    """All five tables are equal except for the records' positions, and so are the counts."""
    packed = _tables(PACKED[container](captures), tmp_path)
    assert packed.counts.as_dict() == plain.counts.as_dict()
    assert plain.counts.accepted == CAPTURES
    places = ["source_file", "source_record"]
    for name, frame in packed.frames().items():
        expected = plain.frames()[name]
        pd.testing.assert_frame_equal(
            frame.drop(columns=places, errors="ignore"), expected.drop(columns=places, errors="ignore")
        )


def _read(path: Path) -> tuple[list[tuple[str, int]], Captures]:
    """Return the records of each file or member, and the notes."""
    found = Captures([path])
    files = [(part.file.name, len(part)) for piece in found.batches() for part in piece.slices]
    return files, found


def test_members_are_read_in_order_under_their_own_names(tmp_path: Path) -> None:
    """A member is named after the zip and itself, and indicates its kind; no name escapes the archive."""
    line = b'{"a": 1}\n'
    names = [
        "b.ndjson",
        "../../etc/x",
        "/abs",
        "https://user:pw@host/x",
        "feedback/1",
        ".hidden",
        "__MACOSX/._b",
    ]
    path = tmp_path / "a.zip"
    path.write_bytes(_zip({**dict.fromkeys(names, line), "empty": b"", "folder/": b""}))
    files, found = _read(path)
    assert [name for name, _ in files] == [
        "a.zip!../../etc/x", "a.zip!/abs", "a.zip!b.ndjson", "a.zip!feedback/1", "a.zip!https://user:pw@host/x",
    ]  # fmt: skip
    kinds = {part.file.name: part.file.kind for piece in found.batches() for part in piece.slices}
    assert kinds["a.zip!feedback/1"] is Kind.FEEDBACK
    assert found.read == {"a.zip": 5}
    assert found.notes == [
        "left out (hidden, or left behind by a system): a.zip!.hidden, a.zip!__MACOSX/._b",
        "a.zip!empty is empty: no record was read from it.",
    ]
    assert not (tmp_path.parent / "etc").exists()


def test_members_with_one_name_stay_separate(tmp_path: Path) -> None:
    """A zip may hold two members with one name: both are read, and the second is numbered."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a", b'{"a": 1}\n')
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a", b'{"a": 2}\n{"a": 3}\n')
    (tmp_path / "z").write_bytes(packed.getvalue())
    assert _read(tmp_path / "z")[0] == [("z!a", 1), ("z!a (2)", 2)]


def test_an_overlapping_zip_is_reported(tmp_path: Path) -> None:
    """A member that shares its bytes with another is reported, not unpacked; the other is read."""
    packed = bytearray(_zip({"a": b'{"a": 1}\n' * 50, "b": b'{"a": 1}\n' * 50}))
    second = packed.rindex(b"PK\x01\x02")
    packed[second + 42 : second + 46] = struct.pack("<I", 5)  # the declared offset of the second member
    (tmp_path / "z").write_bytes(packed)
    files, found = _read(tmp_path / "z")
    assert files == [("z!a", 50)]
    assert [
        (rejection.file, rejection.reason) for piece in found.batches() for rejection in piece.rejected
    ] == [("z!b", "unreadable")]


def test_a_member_has_a_time_only_with_its_zone(tmp_path: Path, conversation: dict[str, Any]) -> None:
    """A zip's plain time is local to an unknown place, so only the UTC fields are used."""
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        unix, windows = zipfile.ZipInfo("unix"), zipfile.ZipInfo("windows")
        unix.extra = struct.pack("<HHBi", 0x5455, 5, 1, 1_710_147_790)
        ticks = (1_710_147_790 + 11_644_473_600) * 10_000_000
        windows.extra = struct.pack("<HHIHHQQQ", 0x000A, 32, 0, 1, 24, ticks, 0, 0)
        for member in (unix, windows, zipfile.ZipInfo("dos", (2024, 3, 11, 9, 3, 10))):
            archive.writestr(member, b"{}\n")
    times = {
        part.file.name: part.file.modified_at
        for piece in Captures([tmp_path / "z"]).batches()
        for part in piece.slices
    }
    expected = pd.Timestamp("2024-03-11T09:03:10Z").to_pydatetime()
    assert times == {"z!unix": expected, "z!windows": expected, "z!dos": None}
    line = orjson.dumps({"kind": "feedback", "payload": conversation})
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr(zipfile.ZipInfo("dos", (2024, 3, 11, 9, 3, 10)), line)
        archive.writestr(unix, line)
    options = ReadOptions.from_options(undated_as="file-time")
    tables = Export([tmp_path / "z"], options, workers=0).to_tables(quiet=True)
    assert tables.events["occurred_at"].tolist() == [expected]
    (rejected,) = tables.rejections
    assert (rejected.file, rejected.reason) == ("z!dos", "undated")
    assert "its file no time with a zone" in rejected.detail


def test_a_pipe_that_is_named_is_read(tmp_path: Path) -> None:
    """The pipe in ``<(zcat ...)`` is read to its end, compressed or not."""
    os.mkfifo(tmp_path / "pipe")
    content = gzip.compress(b"".join(orjson.dumps({"a": number}) + b"\n" for number in range(1000)))
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content,))
    writer.start()
    files, _ = _read(tmp_path / "pipe")
    writer.join()
    assert sum(count for _, count in files) == 1000


def test_a_file_that_disappears_before_it_is_read_is_reported(tmp_path: Path) -> None:
    """A file that cannot be opened is one unreadable record, not an error."""
    (tmp_path / "a").write_bytes(b"{}\n")
    found = Captures([tmp_path / "a"])
    (tmp_path / "a").unlink()
    (rejected,) = [rejection for piece in found.batches() for rejection in piece.rejected]
    assert (rejected.file, rejected.record, rejected.reason) == ("a", 1, "unreadable")
    assert rejected.detail == "The file cannot be read: No such file or directory."


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("between", [b"\n", b",", b",\n"])
@pytest.mark.parametrize("size", [700, 1500, 9000])
def test_block_ends_change_nothing(
    captures: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, between: bytes, size: int, damaged: bool
) -> None:
    """Lines and elements that span blocks are read whole, also next to a damaged one."""
    lines = captures.splitlines()[:300]
    lines[0] = max(lines, key=len)  # a transcript, with objects inside
    bad = [lines[0][:-40]] if damaged else []
    text = between.join([*lines[:100], *bad, *lines[100:]])
    (tmp_path / "a").write_bytes(b"[" + text + b"]" if b"," in between else text)
    for name in ("BLOCK", "PEEK"):
        monkeypatch.setattr(blocks, name, size)
    raws = [raw for piece in Captures([tmp_path / "a"]).batches() for raw in piece.raws]
    assert set(lines) <= set(raws)
    if not damaged:
        assert raws == lines


@given(
    lines=st.lists(
        st.sampled_from([b'{"a":1}', b"", b"  ", b"\t{}", b'{"b":[2]} ', b"{}\r", b"\r", b"x"]), max_size=40
    ),
    size=st.integers(1, 60),
    ends=st.booleans(),
    step=st.integers(1, 5),
)
@settings(max_examples=200)
def test_lines_have_their_physical_numbers(lines: list[bytes], size: int, ends: bool, step: int) -> None:
    """Each non-blank line is a record with its own number, wherever blocks and parts end."""
    text = b'{"first":0}\n' + b"\n".join(lines) + (b"\n" if ends else b"")
    with patch.multiple(blocks, BLOCK=size, PEEK=size):
        found = list(splitting.split(FileText(io.BufferedReader(io.BytesIO(text)))))
    reported = [
        (number, raw) for entry in found for number, raw in zip(entry.numbers, entry.raws, strict=True)
    ]
    expected = [(number, line.strip()) for number, line in enumerate(text.split(b"\n"), 1) if line.strip()]
    assert reported == expected
    assert [len(entry) for entry in found] == [len(entry.raws) for entry in found]
    for entry in found:
        parts = [entry.part(start, start + step) for start in range(0, len(entry), step)]
        assert [raw for part in parts for raw in part] == entry.raws
