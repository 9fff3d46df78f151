"""Files that are not read: those that the user excludes, and text files without captures."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

import chatlio_kit as ck
from chatlio_kit import local_platform
from chatlio_kit.captures import Captures
from chatlio_kit.cli import main
from chatlio_kit.errors import CaptureError, UsageError
from chatlio_kit.tables import Tables

Payload = dict[str, Any]
Write = Callable[[Path, Iterable[Any]], Path]


@pytest.fixture
def captures(tmp_path: Path, conversation: Payload) -> Path:
    """A folder of captures: two files, an older folder, and a zip with two members."""
    folder = tmp_path / "captures"
    number = iter(range(10))

    def text() -> str:
        conversation["conversationUUID"] = f"7c1e9a52-3b6d-4f08-5a91-{next(number):012d}"
        record = {"receivedAt": "2024-03-11T08:59:43Z", "kind": "feedback", "payload": conversation}
        return json.dumps(record) + "\n"

    (folder / "old" / "deep").mkdir(parents=True)
    for name in ("a.ndjson", "b.ndjson", "old/c.ndjson", "old/deep/d.ndjson"):
        (folder / name).write_text(text(), encoding="utf-8")
    with zipfile.ZipFile(folder / "z.zip", "w") as archive:
        archive.writestr("new/e.ndjson", text())
        archive.writestr("old/f.ndjson", text())
    return folder


def _read(*paths: Path, **options: Any) -> Tables:
    return ck.read_export(list(paths), **options).to_tables(quiet=True)


def _files(tables: Tables) -> str:
    return " ".join(sorted(name.removeprefix("captures/") for name in tables.events["source_file"]))


ALL = "a.ndjson b.ndjson old/c.ndjson old/deep/d.ndjson z.zip!new/e.ndjson z.zip!old/f.ndjson"


@pytest.mark.parametrize(
    ("patterns", "read"),
    [
        (["b.ndjson"], ALL.replace("b.ndjson ", "")),
        (["[bc].*"], "a.ndjson old/deep/d.ndjson z.zip!new/e.ndjson z.zip!old/f.ndjson"),
        (["old"], "a.ndjson b.ndjson z.zip!new/e.ndjson"),
        (["captures/old"], "a.ndjson b.ndjson z.zip!new/e.ndjson z.zip!old/f.ndjson"),
        (["old/*.ndjson"], "a.ndjson b.ndjson old/deep/d.ndjson z.zip!new/e.ndjson"),
        (["captures/**/d.ndjson"], ALL.replace(" old/deep/d.ndjson", "")),
        (["*.zip"], "a.ndjson b.ndjson old/c.ndjson old/deep/d.ndjson"),
        (["captures/z.zip!old/*", "a.*"], "b.ndjson old/c.ndjson old/deep/d.ndjson z.zip!new/e.ndjson"),
        (["*.csv"], ALL),
    ],
)
def test_patterns_exclude_files_folders_and_members(captures: Path, patterns: list[str], read: str) -> None:
    """A pattern without a slash matches a name anywhere, one with a slash matches a path."""
    assert _files(_read(captures, exclude=patterns)) == read


def test_a_path_is_excluded_as_it_was_typed(captures: Path) -> None:
    """A name copied from a listing of files works, even a whole path."""
    assert "old/" not in _files(_read(captures, exclude=f"{captures}/old")).replace("z.zip!old", "")


def test_excluded_files_are_counted_in_a_note(captures: Path) -> None:
    """The note gives their number; a pattern that matches nothing is noted too."""
    notes = "\n".join(_read(captures, exclude=["old", "*.csv"]).notes)
    assert "--exclude, 3 in all" in notes
    assert "captures/old/c.ndjson" in notes
    assert "captures/z.zip!old/f.ndjson" in notes
    assert '--exclude "*.csv" matches nothing' in notes


def test_excluding_everything_or_nothing_is_wrong(captures: Path) -> None:
    """An export with nothing left is not an empty result, and an empty pattern is not a pattern."""
    with pytest.raises(CaptureError, match=r"excludes every file \(5\)"):
        _read(captures, exclude="captures")
    with pytest.raises(UsageError, match="is empty"):
        _read(captures, exclude="")


def test_commands_take_exclude(captures: Path, tmp_path: Path) -> None:
    """``convert``, ``backfill`` and ``forget`` accept it, repeatedly."""
    out = ["--out", str(tmp_path / "out"), "--json"]
    command = ["convert", str(captures), "--exclude", "old", "--exclude", "*.zip", *out]
    result = CliRunner().invoke(main, command)
    assert orjson.loads(result.stdout)["read"] == 2
    for name in ("backfill", "forget"):
        assert "--exclude PATTERN" in CliRunner().invoke(main, [name, "--help"]).stdout


README = "Captures of our widgets\n=======================\n\nWritten by the proxy {see the wiki}; ask Ana.\n"
LOG = (
    "[2024-03-11 08:59:43] INFO started id=5b0c7d1e-9a34-4e2f-6c18-b2f09d41a7e3\n[2024-03-11 09:00:00] 200\n"
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("README.txt", README),
        ("notes.md", "# To do\n\n- [ ] rotate the logs\n- [x] name, kind, time: see below\n"),
        ("proxy.log", LOG),
        ("proxy.log.1", LOG * 40_000),
        ("LICENSE", "Permission is granted\x0c\nto anybody.\n"),
        ("lies-moi", "Écrit à la main, d'après le réglage de l'été.\n"),
    ],
)
def test_text_without_a_capture_is_left_out(captures: Path, name: str, text: str) -> None:
    """It costs no rejection: a note names it, in a folder and in a zip."""
    (captures / name).write_bytes(text.encode("latin-1"))
    with zipfile.ZipFile(captures / "z.zip", "a") as archive:
        archive.writestr(f"new/{name}", text.encode("latin-1"))
    tables = _read(captures)
    assert (_files(tables), tables.rejections) == (ALL, [])
    names = ", ".join(sorted([f"captures/{name}", f"captures/z.zip!new/{name}"]))
    assert f"left out (text without a capture): {names}" in tables.notes


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("error.json", "Bad gateway\n"),
        ("feedback.ndjson.1", "upstream timed out\n"),
        ("cut.txt", '{"receivedAt": "2024-03'),
        ("brace.txt", "{\n"),
        ("empty-object", "{}\n"),
        ("encoded.txt", "eyJyZWNlaXZlZEF0IjogIjIwMjQtMDMtMTFUMDg6NTk6NDNaIiwgInBheWxvYWQiOiB7fX0=\n"),
        ("form.txt", "payload=%7B%22visitor%22%3A1%7D\n"),
        ("table.txt", "who;what\n5b0c7d1e-9a34-4e2f-6c18-b2f09d41a7e3;Hello\n"),
        ("plain.txt", "conversationUUID: 5b0c\nmessage: Hello\n"),
        ("late.txt", README * 3000 + '{"visitor": 1}\n'),
        ("nul.txt", "Written\x00 by hand\n"),
    ],
)
def test_a_possible_capture_is_never_left_out(captures: Path, name: str, text: str) -> None:
    """A damaged, encoded or unknown capture costs a clear rejection, and so does a file named like data."""
    (captures / name).write_text(text, encoding="utf-8")
    tables = _read(captures)
    assert _files(tables) == ALL
    assert {rejection.file for rejection in tables.rejections} == {f"captures/{name}"}


@pytest.mark.parametrize("form", ["lone", "array", "indented", "csv"])
def test_one_capture_is_found_under_any_file_name(
    tmp_path: Path, captures: Path, conversation: Payload, form: str
) -> None:
    """A file called README that holds a single capture is read."""
    conversation["conversationUUID"] = "7c1e9a52-3b6d-4f08-5a91-000000000099"
    record = {"receivedAt": "2024-03-11T08:59:43Z", "kind": "feedback", "payload": conversation}
    cell = json.dumps(conversation).replace('"', '""')
    text = {
        "lone": json.dumps(record),
        "array": json.dumps([record]),
        "indented": json.dumps(record, indent=2),
        "csv": f'receivedAt,kind,payload\n2024-03-11T08:59:43Z,feedback,"{cell}"\n',
    }[form]
    (captures / "README").write_text(text, encoding="utf-8")
    assert "README" in _files(_read(captures))


def test_a_file_that_is_named_is_read(captures: Path) -> None:
    """If the user names it, even a README is reported as what it is."""
    readme = captures / "README.txt"
    readme.write_text(README, encoding="utf-8")
    for tables in (_read(readme), _read(captures, readme)):
        assert [(rejection.reason, rejection.field) for rejection in tables.rejections] == [
            ("unreadable", None)
        ]


def test_only_text_is_not_an_export(tmp_path: Path) -> None:
    """Without any other file, such a file is rejected as before: nothing was read by mistake."""
    (tmp_path / "wrong" / "sub").mkdir(parents=True)
    (tmp_path / "wrong" / "README.txt").write_text(README, encoding="utf-8")
    (tmp_path / "wrong" / "sub" / "notes.md").write_text(README, encoding="utf-8")
    tables = _read(tmp_path / "wrong")
    assert [rejection.reason for rejection in tables.rejections] == ["unreadable"] * 2
    assert not any("left out" in note for note in tables.notes)


def test_only_text_in_an_archive_is_not_an_export(tmp_path: Path) -> None:
    """Such a member is rejected too, and counts as a record of its archive."""
    (tmp_path / "wrong").mkdir()
    with zipfile.ZipFile(tmp_path / "wrong" / "a.zip", "w") as archive:
        archive.writestr("README", README)
        archive.writestr("sub/notes.md", README)
    captures = Captures([tmp_path / "wrong"])
    (batch,) = captures.batches()
    assert [rejection.file for rejection in batch.rejected] == [
        "wrong/a.zip!README",
        "wrong/a.zip!sub/notes.md",
    ]
    assert (captures.read, captures.notes) == ({"wrong/a.zip": 2}, [])


def test_a_backfill_reads_files_that_an_earlier_run_excluded(captures: Path, tmp_path: Path) -> None:
    """A zip that was read without some members counts as unchanged only with the same patterns."""
    state = tmp_path / "state"

    def backfill(*options: str) -> dict[str, Any]:
        command = ["backfill", str(captures), "--state", str(state), "--json", *options]
        content: dict[str, Any] = orjson.loads(CliRunner().invoke(main, command).stdout)
        return content

    try:
        assert backfill("--exclude", "old")["accepted"] == 3
        (captures / "README.txt").write_text(README, encoding="utf-8")
        again = backfill("--exclude", "old")
        assert (again["accepted"], again["rejected"], again["duplicates"]) == (0, 0, 3)
        later = backfill()
        assert (later["accepted"], later["rejected"], later["duplicates"]) == (3, 0, 3)
        (report,) = (state / "reports").glob("*-0003/report.json")
        assert orjson.loads(report.read_bytes())["next_steps"] == []
    finally:
        local_platform.stop(state / "local")
