"""Paths to files."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from chatlio_kit.captures import Captures, find_files
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.cli import main
from chatlio_kit.errors import CaptureError, MissingPath
from chatlio_kit.tables import Export, ReadOptions, convert


def _touch(path: Path, content: str = '{"a":1}\n') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_names_start_at_the_named_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file has the same name in every working directory."""
    _touch(tmp_path / "x.d" / "feedback" / "b.ndjson")
    _touch(tmp_path / "x.d" / "a.json")
    from_outside = [file.name for file in find_files([tmp_path / "x.d"]).files]
    monkeypatch.chdir(tmp_path / "x.d")
    assert (
        from_outside
        == [file.name for file in find_files(["."]).files]
        == ["x.d/a.json", "x.d/feedback/b.ndjson"]
    )


def test_folders_with_one_name_stay_separate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two folders with the same last name are identified by their whole paths."""
    monkeypatch.chdir(tmp_path)
    _touch(Path("one/x/a"))
    _touch(Path("two/x/a"))
    assert [file.name for file in find_files(["two/x", "one/x"]).files] == ["one/x/a", "two/x/a"]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    """A file within a named folder is not read twice if it is named itself."""
    inside = _touch(tmp_path / "x" / "feedback" / "a.json")
    os.symlink(inside, tmp_path / "x" / "again.json")
    assert len(find_files([tmp_path / "x", inside]).files) == 1


def test_hidden_files_are_left_out_and_reported(tmp_path: Path) -> None:
    """Hidden files and those that systems leave behind are left out and noted; every other file is read."""
    for name in (".DS_Store", ".git/config", "__MACOSX/._a", "a.log", "b", "in/Thumbs.db"):
        _touch(tmp_path / "x" / name)
    found = find_files([tmp_path / "x"])
    assert [file.name for file in found.files] == ["x/a.log", "x/b"]
    assert found.notes == [
        "left out (hidden, or left behind by a system): x/.DS_Store, x/.git, x/__MACOSX and 1 more"
    ]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("x/*.ndjson", ["x/a.ndjson"]),
        ("x/**/*.ndjson", ["x/2024/03/c.ndjson", "x/2024/b.ndjson", "x/a.ndjson"]),
        ("x/**", ["x/2024/03/c.ndjson", "x/2024/b.ndjson", "x/[1].json", "x/a.ndjson", "x/d.gz"]),
        ("x/20*", ["x/2024/03/c.ndjson", "x/2024/b.ndjson"]),
        ("x/*/[bc].ndjson", ["x/2024/b.ndjson"]),
        ("x/[1].json", ["[1].json"]),
        ("*/?.gz", ["/x/d.gz"]),
        ("**/c.*", ["/x/2024/03/c.ndjson"]),
    ],
)
def test_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, expected: list[str]) -> None:
    """A pattern that the shell did not expand matches the same files; a file of that name comes first."""
    for name in ("a.ndjson", "2024/b.ndjson", "2024/03/c.ndjson", "d.gz", "[1].json", ".hidden/e.ndjson"):
        _touch(tmp_path / "x" / name)
    monkeypatch.chdir(tmp_path)
    names = [file.name for file in find_files([pattern]).files]
    assert names == [name if name[0] != "/" else tmp_path.name + name for name in expected]
    assert [file.name for file in find_files([tmp_path / pattern]).files] == names


def test_links_and_special_files_never_hang(tmp_path: Path) -> None:
    """Loops of links, broken links, pipes and sockets in a folder are skipped, and reported."""
    folder = tmp_path / "x"
    _touch(folder / "in" / "a")
    os.symlink(folder, folder / "loop")
    os.symlink("../loop", folder / "in" / "again")
    os.symlink("self", folder / "self")
    os.symlink("nowhere", folder / "gone")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        for named in (folder, tmp_path / "*", tmp_path / "**" / "a"):
            assert [file.name[-6:] for file in find_files([named]).files] == ["x/in/a"]
        assert find_files([folder]).notes == [
            "left out (link to nothing): x/gone, x/self",
            "left out (neither file nor folder): x/pipe, x/socket",
        ]


def test_odd_names_can_be_printed_and_stay_distinct(tmp_path: Path) -> None:
    """Line ends, colours, invalid bytes and bidirectional controls are escaped; no two names collide."""
    folder = os.fsencode(tmp_path / "x")
    os.mkdir(folder)
    for name in (
        b"a\nb",
        b"a\\nb",
        b"a\\x0ab",
        b"\x1b[31m",
        b"bad\xff",
        "\u202egpj".encode(),
        "ö🙂".encode(),
    ):
        with open(folder + b"/" + name, "wb") as file:
            file.write(b"{}\n")
    assert [file.name for file in find_files([tmp_path / "x"]).files] == [
        "x/\\u202egpj", "x/\\x1b[31m", "x/a\\\\nb", "x/a\\\\x0ab", "x/a\\x0ab", "x/bad\\xff", "x/ö🙂",
    ]  # fmt: skip
    report = convert(Export([tmp_path / "x"], ReadOptions()), tmp_path / "out", quiet=True).report()
    assert report["rejected_by_reason"] == {"shape_unknown": 7}


def test_a_folder_that_may_not_be_read_is_reported() -> None:
    """A folder that may not be listed is one unreadable record, and its neighbours are read."""
    with tempfile.TemporaryDirectory(prefix="chatlio-kit-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        _touch(folder / "x" / "open").chmod(0o644)
        _touch(folder / "x" / "shut" / "a")
        (folder / "x" / "shut").chmod(0)
        (folder / "x").chmod(0o755)
        was = os.geteuid()
        try:
            if was == 0:
                os.seteuid(65534)  # root can read everything
            captures = Captures([folder / "x"])
            pieces = list(captures.batches())
        finally:
            os.seteuid(was)
            (folder / "x" / "shut").chmod(0o755)
    assert [(rejection.file, rejection.detail) for piece in pieces for rejection in piece.rejected] == [
        ("x/shut", "The file cannot be read: Permission denied.")
    ]
    assert captures.read == {"x/open": 1, "x/shut": 1}


def test_a_named_file_takes_its_kind_from_its_own_folder(tmp_path: Path) -> None:
    """A file that is named alone keeps the kind that its folder indicates."""
    path = _touch(tmp_path / "unanswered" / "2024.ndjson")
    assert find_files([path]).files[0].kind is Kind.UNANSWERED


@pytest.mark.parametrize("name", ["nowhere", "*.nowhere", "**/nowhere", "nowhere" * 100, "nowhere\0"])
def test_a_missing_path_is_reported(tmp_path: Path, name: str) -> None:
    """A path that does not exist, or a pattern that matches nothing, is a usage error that names it."""
    with pytest.raises(MissingPath, match="nowhere"):
        find_files([tmp_path / name])


def test_an_empty_folder_is_reported(tmp_path: Path) -> None:
    """A folder without files cannot be converted, and the message names it."""
    with pytest.raises(CaptureError, match=tmp_path.name):
        find_files([tmp_path])


def test_an_empty_file_is_noted_and_skipped(tmp_path: Path) -> None:
    """A file of 0 bytes gives a note; the file next to it is read."""
    _touch(tmp_path / "x" / "empty.ndjson", "")
    _touch(tmp_path / "x" / "full.ndjson")
    captures = Captures([tmp_path / "x"])
    assert sum(piece.read for piece in captures.batches()) == 1
    assert captures.notes == ["x/empty.ndjson is empty: no record was read from it."]


def test_the_command_accepts_patterns_and_reports_missing_files(tmp_path: Path) -> None:
    """A quoted pattern is expanded; one that matches nothing, and a missing driver, are usage errors."""
    _touch(tmp_path / "x" / "a.ndjson")
    out = str(tmp_path / "out")
    done = CliRunner().invoke(main, ["convert", str(tmp_path / "*" / "*.ndjson"), "--out", out, "--json"])
    assert json.loads(done.stdout)["read"] == 1
    for named, reported in (
        (str(tmp_path / "*.gz"), "No file matches"),
        ("gopher://x", "not a supported type"),
    ):
        done = CliRunner().invoke(main, ["convert", named, "--out", out])
        assert done.exit_code == 2
        assert reported in done.stderr
