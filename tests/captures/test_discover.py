"""Paths to files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chatlio_kit.captures import Captures, find_files
from chatlio_kit.errors import CaptureError, MissingPath
from chatlio_kit.events.kinds import Kind


def _touch(path: Path, content: str = '{"a":1}\n') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_names_start_at_the_named_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is called the same from whatever working directory its folder is named."""
    _touch(tmp_path / "x.d" / "feedback" / "b.ndjson")
    _touch(tmp_path / "x.d" / "a.json")
    from_outside = [file.name for file in find_files([tmp_path / "x.d"])]
    monkeypatch.chdir(tmp_path / "x.d")
    assert (
        from_outside == [file.name for file in find_files(["."])] == ["x.d/a.json", "x.d/feedback/b.ndjson"]
    )


def test_folders_of_one_name_stay_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two folders whose last names are equal are called by their whole paths."""
    monkeypatch.chdir(tmp_path)
    _touch(Path("one/x/a"))
    _touch(Path("two/x/a"))
    assert [file.name for file in find_files(["two/x", "one/x"])] == ["one/x/a", "two/x/a"]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    """A file inside a named folder is not read again when it is named itself."""
    inside = _touch(tmp_path / "x" / "feedback" / "a.json")
    os.symlink(inside, tmp_path / "x" / "again.json")
    assert len(find_files([tmp_path / "x", inside])) == 1


def test_hidden_files_are_left_alone(tmp_path: Path) -> None:
    """Files and folders whose names start with a dot are not captures; every other file is read."""
    for name in (".DS_Store", ".git/config", "a.log", "b"):
        _touch(tmp_path / "x" / name)
    assert [file.name for file in find_files([tmp_path / "x"])] == ["x/a.log", "x/b"]


def test_a_named_file_takes_its_kind_from_its_own_folder(tmp_path: Path) -> None:
    """A file that is named alone keeps the kind that its folder says."""
    path = _touch(tmp_path / "unanswered" / "2024.ndjson")
    assert find_files([path])[0].kind is Kind.UNANSWERED


def test_a_missing_path_is_told(tmp_path: Path) -> None:
    """A path that does not exist is a usage error that names it."""
    with pytest.raises(MissingPath, match="nowhere"):
        find_files([tmp_path / "nowhere"])


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    """A folder without files cannot be converted, and the sentence says which."""
    with pytest.raises(CaptureError, match=tmp_path.name):
        find_files([tmp_path])


def test_an_empty_file_is_noted_and_costs_nothing(tmp_path: Path) -> None:
    """A file of 0 bytes gives a sentence; the file beside it is read."""
    _touch(tmp_path / "x" / "empty.ndjson", "")
    _touch(tmp_path / "x" / "full.ndjson")
    captures = Captures([tmp_path / "x"])
    assert sum(piece.read for piece in captures.pieces()) == 1
    assert captures.notes == ["x/empty.ndjson is empty: no record was read from it."]
