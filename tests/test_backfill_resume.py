"""Around a backfill: forecasts send nothing, known files are not read again, ledger problems show."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from chatlio_kit.aep import Platform
from chatlio_kit.captures import LocalSource, batches
from chatlio_kit.delivery import Ledger, run
from chatlio_kit.delivery.requests import sending
from chatlio_kit.delivery.requests.packing import pack
from chatlio_kit.errors import LedgerError
from chatlio_kit.jobs.backfill import backfill, forecast
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import read_log, running
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import read_export


def test_a_forecast_counts_and_sends_nothing(local: Platform, tmp_path: Path) -> None:
    """It gives records, bytes, requests and the minimum time; delivered events are left out afterwards."""
    sample = write_sample(tmp_path / "x.d", events=300)
    before = forecast([sample.path], local).as_dict()
    assert (before["accepted"], before["duplicates"]) == (300, 0)
    assert sum(kind["records"] for kind in before["kinds"].values()) == 300
    assert before["least_seconds"] == round(300 / 9000, 3)
    stream, batch = before["routes"]["stream"], before["routes"]["batch"]
    for measure in ("bytes", "requests"):
        assert stream[measure] == sum(kind[measure] for kind in before["kinds"].values()) > 0
    assert (stream["least_seconds"], batch["batches"]) == (before["least_seconds"], 1)
    assert batch["bytes"] == sum(kind["parquet_bytes"] for kind in before["kinds"].values()) > 0
    assert not (local.settings.state / "ledger.db").exists()
    page = backfill([sample.path], local, quiet=True)
    assert page.requests == sum(kind["requests"] for kind in before["kinds"].values())
    after = forecast([sample.path], local).as_dict()
    assert (after["accepted"], after["duplicates"], after["kinds"]) == (0, 300, {})


def test_a_forecast_notes_what_a_run_would_note(local: Platform, tmp_path: Path, documented: Path) -> None:
    """A forecast has the same notes as the later page, e.g. on unknown fields."""
    (written,) = documented.iterdir()
    reported = [orjson.loads(line) for line in written.read_bytes().splitlines()]
    for each in reported:
        each["payload"]["somethingNew"] = 1
    captures = tmp_path / "captures.ndjson"
    captures.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in reported))
    export = read_export([captures])
    said = str(forecast(export, local))
    page = backfill(export, local, quiet=True)
    assert any("somethingNew" in note for note in page.notes)
    assert [note for note in page.notes if note not in said and not note.startswith("report, with")] == []


def test_unchanged_files_are_recognised_and_not_parsed(
    local: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run parses nothing, and its counts still add up; a touched file is read again."""
    sample = write_sample(tmp_path / "x.d", events=200)
    first = backfill([sample.path], local, quiet=True)
    read: list[Path] = []
    opened = LocalSource.open
    monkeypatch.setattr(LocalSource, "open", lambda place: (read.append(place.path), opened(place))[1])
    second = backfill([sample.path], local, quiet=True).as_dict()
    assert read == []
    assert (second["read"], second["duplicates"], second["accepted"]) == (first.counts.read, 200, 0)
    touched = next(path for path in sample.path.rglob("*") if path.is_file() and path.stat().st_size)
    os.utime(touched, (1, 1))
    third = backfill([sample.path], local, quiet=True).as_dict()
    assert read == [touched]
    assert third["duplicates"] == 200


def test_an_edit_that_keeps_size_and_time_is_seen(local: Platform, tmp_path: Path, documented: Path) -> None:
    """A file with a change in its middle is read again, even with the same size, time and ends."""
    (written,) = documented.iterdir()
    blank = b" " * 99 + b"\n"
    content = blank * 2000 + written.read_bytes() + blank * 2000
    path = tmp_path / "a.ndjson"
    path.write_bytes(content)
    was = path.stat()
    assert backfill([path], local, quiet=True).counts.accepted == 5
    path.write_bytes(content.replace(b"Anyone there?", b"Is one there?"))
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    second = backfill([path], local, quiet=True)
    assert not any("recognised" in note for note in second.notes)
    assert second.counts.rejected + second.counts.accepted == 1


def test_an_export_is_listed_once_and_stays_complete(
    local: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export that was found is not looked for again, and a backfill leaves its list of files as it was."""
    export = read_export(write_sample(tmp_path / "x.d", events=100).path)
    files = list(export.captures.files)
    monkeypatch.setattr(batches, "find_files", None)
    assert forecast(export, local).counts.accepted == 100
    first, second = (backfill(export, local, quiet=True).counts for _ in range(2))
    assert export.captures.files == files
    assert (first.accepted, first.read) == (100, 100)
    assert (second.duplicates, second.read) == (100, 100)


def test_the_ledger_is_a_frame_too(local: Platform, documented: Path) -> None:
    """``Ledger.as_frame`` has a row for each event, with its fate, its place and its transaction id."""
    backfill([documented], local, quiet=True)
    with Ledger(local.settings.state) as ledger:
        frame = ledger.as_frame()
    assert len(frame) == 5
    assert set(frame["fate"]) == {"delivered"}
    assert frame["landed"].all()
    assert frame["transaction_id"].notna().all()


def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    """A ledger that cannot grow causes a message, and earlier entries remain."""
    with Ledger(tmp_path) as ledger:
        with ledger.transaction() as db:
            db.execute("CREATE TABLE filler (content BLOB)")
        pages = ledger.fetch_all("PRAGMA page_count")[0][0]
        ledger.fetch_all(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(LedgerError, match="Free some space"), ledger.transaction() as db:
            db.execute("INSERT INTO filler VALUES (zeroblob(1000000))")
        assert ledger.fetch_all("SELECT count(*) FROM filler") == [(0,)]


def test_reading_a_zip_continues_inside_its_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events left pending from a member of a zip are sent by the next run; a third run recognises the zip."""
    monkeypatch.setattr(run, "pack", partial(pack, limit=12_000))
    sample = write_sample(tmp_path / "x.d", events=200)
    packed = tmp_path / "captures.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in sample.path.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(sample.path))
    state = tmp_path / "state"
    outage = {"faults": [{"fault": "partial", "status": 503, "share": 0.3, "lasting": True}]}
    with _platform(state, outage) as platform:
        monkeypatch.setattr(sending, "pause_before", lambda tries, retry_after: 0.0)
        first = backfill([packed], platform, quiet=True)
        assert first.exit_code == 1
        assert first.run.pending
    with _platform(state, {}) as platform:
        second = backfill([packed], platform, quiet=True)
        third = backfill([packed], platform, quiet=True)
        log = read_log(state / "local")
    with Ledger(state) as ledger:
        assert set(ledger.as_frame()["source_file"].str.split("!").str[0]) == {"captures.zip"}
    assert (second.counts.accepted, second.exit_code) == (first.run.pending, 0)
    assert second.total.landed == 200
    assert {name for each in log for name in each.accepted}
    assert set(Counter(name for each in log for name in each.accepted).values()) == {1}
    assert (third.counts.duplicates, third.counts.read) == (200, 200)
    assert any("recognised" in note for note in third.notes)


def test_a_second_reader_of_the_ledger_keeps_its_journal(tmp_path: Path) -> None:
    """Another process that opens and closes the ledger while it is open here does not damage it."""
    look = (
        "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('SELECT 1 FROM event'); d.close()"
    )
    with Ledger(tmp_path) as ledger, Ledger(tmp_path):
        with ledger.transaction() as db:
            db.execute("INSERT INTO canary VALUES (1, 'flow')")
        subprocess.run([sys.executable, "-c", look, str(tmp_path / "ledger.db")], check=True)
        assert (tmp_path / "ledger.db-wal").exists()


@contextmanager
def _platform(state: Path, faults: dict[str, Any]) -> Iterator[Platform]:
    with (
        running(state / "local", enabling_delay=0.02, processing_delay=0.02, faults=faults) as server,
        Platform(settings_of(server, state)) as platform,
    ):
        yield platform
