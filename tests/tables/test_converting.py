"""Tables on disk equal the frames of a notebook, whatever path they took."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlio_kit.captures import Captures
from chatlio_kit.chatlio.catalogue import TABLES
from chatlio_kit.errors import CaptureError, OutputError
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import Export, ReadOptions, Tables, convert
from chatlio_kit.tables.derive import EventFiles, database, files

FILES = {"rejected.jsonl", "report.html", "report.json", *(f"{name}.parquet" for name in TABLES)}


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A realistic export with broken records."""
    return write_sample(tmp_path_factory.mktemp("sample") / "x.d", events=1500, bad_share=0.03).path


@pytest.fixture(scope="module")
def tables(export: Path) -> Tables:
    """The export, converted in memory."""
    return Export([export], ReadOptions()).to_tables(quiet=True)


def _assert_equal(out: Path, tables: Tables) -> None:
    for name, frame in tables.frames().items():
        pd.testing.assert_frame_equal(pd.read_parquet(out / f"{name}.parquet"), frame)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_tables_on_disk_are_the_frames(
    export: Path, tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Files and frames are equal for any number of processes, including rejections and report."""
    monkeypatch.setattr(files, "RANGE_ROWS", 200)
    converted = convert(Export([export], ReadOptions(), workers=workers), tmp_path, quiet=True)
    _assert_equal(tmp_path, tables)
    assert converted.counts == tables.counts
    assert (converted.findings, converted.notes) == (tables.findings, tables.notes)
    assert list(converted.next_steps) == list(tables.next_steps)
    assert orjson.loads((tmp_path / "report.json").read_bytes()) == converted.report()
    listed = [orjson.loads(line) for line in (tmp_path / "rejected.jsonl").read_bytes().splitlines()]
    assert listed == [asdict(rejection) for rejection in tables.rejections]
    assert {path.name for path in tmp_path.iterdir()} == FILES


@given(records=st.integers(150, 900), size=st.integers(200_000, 2_000_000), part=st.integers(64, 5000))
@settings(max_examples=4)
def test_the_split_into_pieces_changes_no_table(
    export: Path, tables: Tables, tmp_path_factory: pytest.TempPathFactory, records: int, size: int, part: int
) -> None:
    """The tables are the same for every size of batches in memory and of parts on disk."""
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        batches = Captures.batches
        patch.setattr(Captures, "batches", lambda self: batches(self, records, size))
        patch.setattr(files, "RANGE_ROWS", part)
        convert(Export([export], ReadOptions(), workers=0), out, quiet=True)
    _assert_equal(out, tables)


def test_an_interrupted_conversion_keeps_the_existing_tables(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it is interrupted, a conversion leaves the earlier tables whole, and no partial output."""
    convert(Export([export], ReadOptions(), workers=0), tmp_path, quiet=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(EventFiles, "derive", interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert(Export([export], ReadOptions(), workers=0), tmp_path, quiet=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_leftovers_of_a_killed_conversion_are_removed(export: Path, tmp_path: Path) -> None:
    """The next conversion removes the unfinished folder of a dead process, and no other's."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for pid in (gone.pid, os.getppid()):
        (tmp_path / f".unfinished-{pid}").mkdir()
        (tmp_path / f".unfinished-{pid}" / "events.parquet").write_bytes(b"half")
    convert(Export([export / "feedback"], ReadOptions(), workers=0), tmp_path, quiet=True)
    assert {path.name for path in tmp_path.iterdir()} == FILES | {f".unfinished-{os.getppid()}"}


def test_a_path_that_cannot_be_written_is_reported_first(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in place of the folder, or a folder in place of a table, is reported before anything is read."""

    def read(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Captures, "batches", read)
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "out" / "events.parquet").mkdir(parents=True)
    for out in ("file", "out"):
        with pytest.raises(OutputError, match="cannot be written"):
            convert(Export([export], ReadOptions(), workers=0), tmp_path / out, quiet=True)


def test_an_export_read_twice_is_all_duplicates(export: Path, tables: Tables, tmp_path: Path) -> None:
    """The same records in files with other names are duplicates, and the tables stay the same."""
    again = tmp_path / "y.d"
    again.mkdir()
    for path in export.rglob("*.ndjson*"):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        (again / f"{path.parent.name}-{path.name.removesuffix('.gz')}").write_bytes(content)
    converted = convert(Export([export, again], ReadOptions(), workers=0), tmp_path / "out", quiet=True)
    assert converted.counts.duplicates == tables.counts.accepted + tables.counts.duplicates
    assert converted.counts.accepted == tables.counts.accepted
    _assert_equal(tmp_path / "out", tables)


def test_an_export_without_a_good_record_gives_empty_tables(tmp_path: Path) -> None:
    """Tables without rows keep their columns and dtypes on disk."""
    (tmp_path / "a.ndjson").write_text("{}\n7\n")
    report = convert(Export([tmp_path / "a.ndjson"], ReadOptions()), tmp_path / "out", quiet=True).report()
    assert report["rejected_by_reason"] == {"not_an_object": 1, "shape_unknown": 1}
    _assert_equal(tmp_path / "out", Export([tmp_path / "a.ndjson"], ReadOptions()).to_tables(quiet=True))


def test_a_lack_of_memory_is_reported(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If tables cannot be derived, one message says so and nothing is left behind."""
    monkeypatch.setattr(database, "_MEMORY", "1MB")
    with pytest.raises(CaptureError, match=r"could not be derived: .*Free memory"):
        convert(Export([export], ReadOptions(), workers=0), tmp_path / "out", quiet=True)
    assert not any((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (b'{"id": 1, "id": 2}', "id"),
        (b'{"payload": {"a": 1, "a": 1}}', "a"),
        (b'{"a": {"b": [{"c": 1, "\\u0063": 2}]}}', "c"),
    ],
)
def test_a_repeated_key_is_reported(tmp_path: Path, line: bytes, key: str) -> None:
    """No value is chosen if an object has a key twice: the record is rejected and the key named."""
    (tmp_path / "a").write_bytes(line + b"\n")
    (rejected,) = Export([tmp_path / "a"], ReadOptions()).to_tables(quiet=True).rejections
    assert (rejected.record, rejected.reason, rejected.field) == (1, "duplicate_key", key)
    assert rejected.raw == line.decode()
