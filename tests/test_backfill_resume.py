"""Before and after: a forecast sends nothing, known files are not read again, a ledger in trouble is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chatlio_kit.backfill import backfill, forecast
from chatlio_kit.captures import captures
from chatlio_kit.delivery import Ledger
from chatlio_kit.errors import LedgerError
from chatlio_kit.platform import Platform
from chatlio_kit.samples import write_sample


def test_a_forecast_counts_and_sends_nothing(local: Platform, tmp_path: Path) -> None:
    """Records, bytes, requests and the least time are told; what was delivered is left out afterwards."""
    sample = write_sample(tmp_path / "x.d", events=300)
    before = forecast([sample.path], local).as_dict()
    assert (before["accepted"], before["duplicates"]) == (300, 0)
    assert sum(kind["records"] for kind in before["kinds"].values()) == 300
    assert before["least_seconds"] == pytest.approx(300 / 9000, abs=0.001)
    assert not (local.settings.state / "ledger.db").exists()
    page = backfill([sample.path], local, quiet=True)
    assert page.requests == sum(kind["requests"] for kind in before["kinds"].values())
    after = forecast([sample.path], local).as_dict()
    assert (after["accepted"], after["duplicates"], after["kinds"]) == (0, 300, {})


def test_unchanged_files_are_recognised_and_not_parsed(
    local: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run parses nothing, and its counts add up all the same; a touched file is read again."""
    sample = write_sample(tmp_path / "x.d", events=200)
    first = backfill([sample.path], local, quiet=True)
    read: list[Path] = []
    parse = captures.read_records
    monkeypatch.setattr(captures, "read_records", lambda path: (read.append(path), parse(path))[1])
    second = backfill([sample.path], local, quiet=True).as_dict()
    assert read == []
    assert (second["read"], second["duplicates"], second["accepted"]) == (first.counts.read, 200, 0)
    touched = next(path for path in sample.path.rglob("*") if path.is_file() and path.stat().st_size)
    os.utime(touched, (1, 1))
    third = backfill([sample.path], local, quiet=True).as_dict()
    assert read == [touched]
    assert third["duplicates"] == 200


def test_the_ledger_is_a_frame_too(local: Platform, documented: Path) -> None:
    """``Ledger.as_frame`` has a row for each event, with its fate, its place and its transaction id."""
    backfill([documented], local, quiet=True)
    with Ledger(local.settings.state) as ledger:
        frame = ledger.as_frame()
    assert len(frame) == 5
    assert set(frame["fate"]) == {"delivered"}
    assert frame["landed"].all()
    assert frame["transaction_id"].notna().all()


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """A ledger that cannot grow says so in a sentence, and what was written before stands."""
    with Ledger(tmp_path) as ledger:
        with ledger.change() as db:
            db.execute("CREATE TABLE filler (content BLOB)")
        pages = ledger.read("PRAGMA page_count")[0][0]
        ledger.read(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(LedgerError, match="Free some space"), ledger.change() as db:
            db.execute("INSERT INTO filler VALUES (zeroblob(1000000))")
        assert ledger.read("SELECT count(*) FROM filler") == [(0,)]
