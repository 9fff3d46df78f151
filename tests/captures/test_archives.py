"""Tars: their members are read as files; no tar escapes its folder, hangs or fills a disk."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatlio_kit.captures import Captures
from chatlio_kit.chatlio.kinds import Kind

LINE = b'{"n": 1}\n'


def _member(name: str, size: int = 0, **fields: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    for field, value in fields.items():
        setattr(member, field, value)
    return member


def _tar(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _files(contents: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    return _tar(*((_member(name, len(value)), value) for name, value in contents.items()), form=form)


def _read(path: Path) -> tuple[dict[str, int], list[tuple[str, str, str]], list[str], Captures]:
    """Return the records of each member, the rejections, and the notes."""
    captures = Captures([path])
    counts: dict[str, int] = {}
    rejected = []
    for piece in captures.batches():
        for part in piece.slices:
            counts[part.file.name] = counts.get(part.file.name, 0) + len(part)
        rejected += [
            (rejection.file, str(rejection.reason), rejection.detail) for rejection in piece.rejected
        ]
    assert captures.read == {path.name: sum(counts.values()) + len(rejected)}
    return counts, rejected, captures.notes, captures


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "a.tar": bytes, "a.tar.gz": gzip.compress, "a.tgz": gzip.compress, "a.tar.bz2": bz2.compress,
    "a.tar.xz": lzma.compress, "a": gzip.compress,
}  # fmt: skip


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_a_tar_are_read(tmp_path: Path, name: str, form: int) -> None:
    """Each member is read as a file, compressed or not; long and repeated names stay separate."""
    long = "/".join(["folder" * 5] * 4) + "/feedback.ndjson"
    contents = {"./x/a.ndjson": LINE * 3, "b.ndjson.gz": gzip.compress(LINE * 2), long: LINE, "empty": b""}
    packed = _tar(
        *((_member(value, len(content)), content) for value, content in contents.items()),
        (_member("b.ndjson.gz", len(LINE), mtime=1_710_147_790), LINE),
        form=form,
    )
    (tmp_path / name).write_bytes(PACKED[name](packed))
    counts, rejected, notes, captures = _read(tmp_path / name)
    expected = {"x/a.ndjson": 3, "b.ndjson.gz": 2, long: 1, "b.ndjson.gz (2)": 1}
    assert counts == {f"{name}!{value}": count for value, count in expected.items()}
    assert rejected == []
    assert notes == [f"{name}!empty is empty: no record was read from it."]
    files = {part.file.name: part.file for piece in captures.batches() for part in piece.slices}
    assert files[f"{name}!{long}"].kind is Kind.FEEDBACK
    assert files[f"{name}!{long}"].modified_at is None
    modified_at = files[f"{name}!b.ndjson.gz (2)"].modified_at
    assert modified_at is not None
    assert modified_at.isoformat() == "2024-03-11T09:03:10+00:00"


def test_nothing_in_a_tar_leads_anywhere(tmp_path: Path) -> None:
    """Links, devices and pipes are noted; absolute paths and paths that lead upwards are only names."""
    outside = tmp_path / "outside"
    outside.write_bytes(LINE)
    path = tmp_path / "a.tar"
    path.write_bytes(
        _tar(
            (_member("/abs", len(LINE)), LINE),
            (_member("../../up", len(LINE)), LINE),
            (_member("soft", type=tarfile.SYMTYPE, linkname=str(outside)), b""),
            (_member("hard", type=tarfile.LNKTYPE, linkname="/abs"), b""),
            (_member("device", type=tarfile.CHRTYPE, devmajor=1, devminor=5), b""),
            (_member("pipe", type=tarfile.FIFOTYPE), b""),
            (_member("folder", type=tarfile.DIRTYPE), b""),
            (_member(".hidden", len(LINE)), LINE),
        )
    )
    counts, rejected, notes, _ = _read(path)
    assert counts == {"a.tar!/abs": 1, "a.tar!../../up": 1}
    assert rejected == []
    assert notes == [
        "left out (hidden, or left behind by a system): a.tar!.hidden",
        "left out (link in a tar): a.tar!hard, a.tar!soft",
        "left out (neither file nor folder): a.tar!device, a.tar!pipe",
    ]
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "outside"]


def test_a_truncated_tar_keeps_earlier_records(tmp_path: Path) -> None:
    """Truncated in a member, between members or in compression: one rejection, and all records before it."""
    lines = b"".join(b'{"n": %d}\n' % number for number in range(3000))
    whole = _files({"a": lines, "b": lines})
    path = tmp_path / "a.tar"
    middle = whole.index(b"ustar", 1000) - 257
    for content, least, reported in (
        (whole[: 512 + len(lines) // 2], 1000, "a.tar!a"),
        (whole[:middle], 3000, "a.tar"),
        (whole[: middle + 300], 3000, "a.tar"),
        (gzip.compress(whole)[:-300], 3000, "a.tar!b"),
    ):
        path.write_bytes(content)
        counts, rejected, _, _ = _read(path)
        assert sum(counts.values()) >= least
        assert [(name, reason) for name, reason, _ in rejected] == [(reported, "unreadable")]


def test_tars_in_a_row_are_read(tmp_path: Path) -> None:
    """Data after the end mark of a tar is read as the next tar."""
    (tmp_path / "a.tar").write_bytes(_files({"a": LINE}) + _files({"b": LINE * 2}))
    assert _read(tmp_path / "a.tar")[:2] == ({"a.tar!a": 1, "a.tar!b": 2}, [])


def test_archives_in_archives_are_reported(tmp_path: Path) -> None:
    """A zip or tar inside another is one unreadable record; its neighbours are read."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("x", LINE)
    (tmp_path / "a.tar").write_bytes(
        _files({"zip": inner.getvalue(), "tar": gzip.compress(_files({"x": LINE})), "good": LINE})
    )
    counts, rejected, _, _ = _read(tmp_path / "a.tar")
    assert counts == {"a.tar!good": 1}
    assert [name for name, _, detail in rejected if "within an archive" in detail] == [
        "a.tar!zip",
        "a.tar!tar",
    ]


def _sparse(size: int) -> bytes:
    """A tar whose member claims a size that is all gap."""
    headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": f"{size},0"}
    member = _member(
        "gap", 0, pax_headers={**headers, "GNU.sparse.size": str(size), "GNU.sparse.name": "gap"}
    )
    return _tar((member, b""), (_member("good", len(LINE)), LINE))


def test_a_tar_that_would_fill_a_disk_or_memory_is_reported(tmp_path: Path) -> None:
    """A gap of a terabyte and an endless list of members are reported immediately."""
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(_sparse(1 << 40)))
    counts, rejected, _, _ = _read(path)
    assert counts == {"a.tar.gz!good": 1}
    assert [name for name, _, _ in rejected] == ["a.tar.gz!gap"]
    comment = _tar((_member("a", len(LINE), pax_headers={"comment": "x" * 30_000_000}), LINE))
    path.write_bytes(gzip.compress(comment))
    counts, rejected, _, _ = _read(path)
    assert counts == {}
    assert "does not end" in rejected[0][2]


def test_thousands_of_notes_are_one(tmp_path: Path) -> None:
    """A remark about many members is made once, with their number and the first of their names."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good", LINE)
        for number in range(3000):
            archive.writestr(f"{number:04}", b"")
            archive.writestr(f".{number:04}", b"")
    counts, _, notes, _ = _read(path)
    assert counts == {"a.zip!good": 1}
    assert notes == [
        "left out (hidden, or left behind by a system): a.zip!.0000, a.zip!.0001, a.zip!.0002 and 2,997 more",
        "3,000 files are empty: no record was read from them: a.zip!0000, a.zip!0001, a.zip!0002 "
        "and 2,997 more.",
    ]


def test_a_file_that_grows_or_shrinks_is_noted(tmp_path: Path) -> None:
    """The records read from a file that is being written are counted, and the note gives the next step."""
    path = tmp_path / "a"
    path.write_bytes(LINE * 2)
    captures = Captures([path])
    path.write_bytes(LINE * 3)
    assert sum(piece.read for piece in captures.batches()) == 3
    assert [note[:12] for note in captures.notes] == ["a grew after"]
    path.write_bytes(LINE)
    assert sum(piece.read for piece in captures.batches()) == 1
    assert [note[:20] for note in captures.notes] == ["a is shorter than wh"]


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_an_archive_without_files_to_read_is_empty(tmp_path: Path, name: str) -> None:
    """It is reported as empty even if a note lists what was left out of it."""
    if name == "a.zip":
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(".hidden", "{}")
    else:
        with tarfile.open(tmp_path / name, "w") as tar:
            tar.addfile(tarfile.TarInfo(".hidden"))
    captures = Captures([tmp_path / name])
    assert list(captures.batches()) == []
    assert captures.notes == [
        f"left out (hidden, or left behind by a system): {name}!.hidden",
        f"{name} is empty: no record was read from it.",
    ]
