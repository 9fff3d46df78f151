"""The ledger alone: first and later runs, kills, and an unused folder."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatlio_kit.cli import main
from chatlio_kit.connection import Destination
from chatlio_kit.delivery import DestinationLedger, Ledger
from chatlio_kit.delivery.ledger.models import DeadLetter, Delivered, Refused, RetryableRecord
from chatlio_kit.errors import LedgerError

HERE = Destination("local", "org", "prod", "dataset", "name")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _id(number: int) -> str:
    return sha256(str(number).encode()).hexdigest()


def _events(numbers: list[int]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "event_id": [_id(number) for number in numbers],
            "kind": ["feedback" if number % 3 else "transcript" for number in numbers],
            "payload_digest": [_id(-number) for number in numbers],
            "source_file": [f"file-{number % 2}" for number in numbers],
            "source_record": [number + 1 for number in numbers],
        }
    ).astype(dict.fromkeys(("event_id", "kind", "payload_digest", "source_file"), "str"))


def _refused(number: int, row: int, answer: str) -> Refused:
    return Refused(row, 2, DeadLetter(_id(number), "refused_400", answer, b"{}"))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_event_has_the_fate_that_was_written_last(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Over several runs, each interrupted without a close, the ledger agrees with a dict."""
    state = tmp_path_factory.mktemp("state")
    numbers = st.lists(st.integers(0, 30), unique=True)
    fates: dict[int, str] = {}
    attempts: dict[int, int] = {}
    left_open = []
    for _ in range(data.draw(st.integers(1, 3))):
        ledger = Ledger(state)
        left_open.append(ledger)
        destination = DestinationLedger(ledger, HERE)
        run = destination.begin_run(NOW)
        known = destination.settled([_id(number) for number in range(31)])
        assert set(known) == {_id(number) for number, fate in fates.items() if fate != "pending"}
        assert all(known[_id(number)].record == number + 1 for number in fates if _id(number) in known)
        mine = [number for number in data.draw(numbers) if fates.get(number, "pending") == "pending"]
        rows = dict(zip(mine, destination.insert_pending(run, _events(mine)).tolist(), strict=True))
        fates |= dict.fromkeys(mine, "pending")
        delivered = [number for number in mine if data.draw(st.booleans())]
        dead = [number for number in mine if number not in delivered and data.draw(st.booleans())]
        tried = [number for number in mine if number not in delivered + dead]
        destination.record_answers(
            [Delivered(1, {rows[number]: f"x:{number}" for number in delivered})],
            [_refused(number, rows[number], "no") for number in dead],
            [rows[number] for number in tried],
        )
        fates |= dict.fromkeys(delivered, "delivered") | dict.fromkeys(dead, "dead_lettered")
        for number in mine:
            attempts[number] = attempts.get(number, 0) + 1
        frame = ledger.as_frame().set_index("event_id")
        assert dict(frame["fate"]) == {_id(number): fate for number, fate in fates.items()}
        assert dict(frame["attempts"]) == {_id(number): count for number, count in attempts.items()}
        requests = {number: {"delivered": 1, "dead_lettered": 2}.get(fates[number], 0) for number in fates}
        assert dict(frame["request"].fillna(0)) == {_id(number): each for number, each in requests.items()}
        said = frame.loc[[_id(number) for number in delivered], "transaction_id"].tolist()
        assert said == [f"x:{number}" for number in delivered]
        assert set(frame["source_file"] + frame["source_record"].astype(str)) == {
            f"file-{number % 2}{number + 1}" for number in fates
        }
    for ledger in left_open:
        ledger.close()


def _rename_and_interrupt(ledger: Ledger) -> None:
    with ledger.transaction() as db:
        db.execute("UPDATE destination SET name = 'another'")
        raise KeyboardInterrupt


def test_an_interrupted_transaction_changes_nothing(tmp_path: Path) -> None:
    """It is rolled back, whatever interrupted it, and the next one is stored."""
    with Ledger(tmp_path) as ledger:
        destination = DestinationLedger(ledger, HERE)
        run = destination.begin_run(NOW)
        with pytest.raises(KeyboardInterrupt):
            _rename_and_interrupt(ledger)
        destination.insert_pending(run, _events([1]))
    with Ledger(tmp_path) as ledger:
        assert ledger.destinations() == [HERE]
        assert DestinationLedger(ledger, HERE).counts().pending == 1


def test_a_closed_ledger_is_one_file(tmp_path: Path) -> None:
    """It leaves no journal, so that the file alone can be copied."""
    with Ledger(tmp_path) as ledger:
        DestinationLedger(ledger, HERE).begin_run(NOW)
    assert [path.name for path in tmp_path.glob("ledger.db*")] == ["ledger.db"]


def test_the_first_look_up_after_the_first_run_creates_the_index(tmp_path: Path) -> None:
    """A ledger that a kill left without its index gets it when rows are read back, and then finds them."""
    with Ledger(tmp_path) as ledger:
        destination = DestinationLedger(ledger, HERE)
        first, second, _ = destination.insert_pending(destination.begin_run(NOW), _events([1, 2, 3])).tolist()
        destination.record_answers([Delivered(1, {first: "a", second: "b"})])
        assert not _has_index(tmp_path)
    with Ledger(tmp_path) as ledger:
        landings = DestinationLedger(ledger, HERE).landings
        assert landings.mark_landed(landings.begin_read(NOW), "batch", [[_id(2), _id(3)], [_id(9), "x"]]) == 2
        assert _has_index(tmp_path)
        assert DestinationLedger(ledger, HERE).counts().landed == 2


def _has_index(state: Path) -> bool:
    with closing(sqlite3.connect(state / "ledger.db")) as db:
        return bool(db.execute("SELECT 1 FROM sqlite_master WHERE name = 'event_by_id'").fetchall())


def test_a_full_disk_while_settling(tmp_path: Path) -> None:
    """Unsettled events are still pending, and earlier verdicts remain."""
    with Ledger(tmp_path) as ledger:
        destination = DestinationLedger(ledger, HERE)
        rows = destination.insert_pending(destination.begin_run(NOW), _events(list(range(40)))).tolist()
        destination.record_answers([Delivered(1, {rows[0]: "a"})])
        ledger.fetch_all(f"PRAGMA max_page_count = {ledger.fetch_all('PRAGMA page_count')[0][0]}")
        with pytest.raises(LedgerError, match="Free some space"):
            destination.record_answers(
                [], [_refused(number, rows[number], "x" * 5000) for number in range(1, 30)]
            )
        assert (destination.counts().delivered, destination.counts().pending) == (1, 39)


_FIRST_LAYOUT = """
CREATE TABLE destination (
    id INTEGER PRIMARY KEY, platform TEXT NOT NULL, org TEXT NOT NULL, sandbox TEXT NOT NULL,
    dataset TEXT NOT NULL, name TEXT NOT NULL, first_sent_at INTEGER, runs INTEGER NOT NULL DEFAULT 0,
    UNIQUE (platform, org, sandbox, dataset)
);
CREATE TABLE event (
    destination INTEGER NOT NULL REFERENCES destination, event_id TEXT NOT NULL, kind TEXT NOT NULL,
    fate TEXT NOT NULL, landed INTEGER NOT NULL DEFAULT 0, run INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, payload_digest TEXT NOT NULL, source_file TEXT NOT NULL,
    source_record INTEGER NOT NULL, transaction_id TEXT, reason TEXT, answer TEXT, settled_at TEXT
);
CREATE UNIQUE INDEX event_by_id ON event (destination, event_id);
CREATE TABLE kept_body (
    destination INTEGER NOT NULL REFERENCES destination, event_id TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (destination, event_id)
) WITHOUT ROWID;
INSERT INTO destination VALUES (1, 'local', 'org', 'prod', 'dataset', 'name', 1760000000000, 1);
"""


def test_a_ledger_of_the_first_layout_is_migrated(tmp_path: Path) -> None:
    """Fates, times, dead letters and pending events stay unchanged; the next run continues with them."""
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
        db.executescript(_FIRST_LAYOUT)
        reported = [
            (_id(1), "delivered", 1, "x:1", None, "2026-01-01T00:00:00.125+00:00"),
            (_id(2), "dead_lettered", 0, None, "refused_400", "2026-01-01T00:00:01.000+00:00"),
            (_id(3), "pending", 0, None, None, None),
        ]
        db.executemany(
            "INSERT INTO event SELECT 1, ?, 'feedback', ?, ?, 1, 1, ?, 'file', 7, ?, ?, NULL, ?",
            ((key, fate, landed, _id(9), said, why, at) for key, fate, landed, said, why, at in reported),
        )
        db.execute("INSERT INTO kept_body VALUES (1, ?, ?)", (_id(2), b"{}"))
        db.commit()
    for _ in range(2):
        with Ledger(tmp_path) as ledger:
            frame = ledger.as_frame()
            destination = DestinationLedger(ledger, HERE)
            assert frame["event_id"].tolist() == [_id(1), _id(2), _id(3)]
            assert frame["fate"].tolist() == ["delivered", "dead_lettered", "pending"]
            assert frame["settled_at"][0] == pd.Timestamp("2026-01-01T00:00:00.125Z")
            assert (destination.counts().landed, destination.first_sent_at()) == (1, 1760000000000)
            assert [*destination.retryable_records()] == [[RetryableRecord(2, _id(2), "feedback", b"{}")]]
            known = destination.settled([_id(number) for number in range(5)])
            assert {key: each.digest for key, each in known.items()} == {_id(1): _id(9), _id(2): _id(9)}
    with Ledger(tmp_path) as ledger:
        destination = DestinationLedger(ledger, HERE)
        rows = destination.insert_pending(destination.begin_run(NOW), _events([4, 3]))
        assert rows.tolist() == [4, 3]
        destination.record_answers([Delivered(1, {3: "x:3", 4: "x:4"})])
        assert destination.counts().delivered == 3


def test_a_ledger_of_a_later_version_is_not_changed(tmp_path: Path) -> None:
    """It is reported in a sentence, and no byte of it changes."""
    with Ledger(tmp_path) as ledger:
        ledger.fetch_all("PRAGMA user_version = 99")
    before = (tmp_path / "ledger.db").read_bytes()
    with pytest.raises(LedgerError, match="later version"):
        Ledger(tmp_path)
    assert (tmp_path / "ledger.db").read_bytes() == before


@contextmanager
def _without_privileges() -> Iterator[None]:
    """Act as a user without the superuser's privileges."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(mine)


@pytest.mark.parametrize(("folder", "file"), [(0o555, 0o444), (0o777, 0o444), (0o000, 0o444)])
def test_a_read_only_ledger_is_reported_in_one_sentence(folder: int, file: int) -> None:
    """If the folder, the file or both are read-only, nothing changes, and the message gives the next step."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        state = Path(name) / "state"
        with Ledger(state) as ledger:
            DestinationLedger(ledger, HERE).begin_run(NOW)
        (state / "ledger.db").chmod(file)
        state.chmod(folder)
        with (
            _without_privileges(),
            pytest.raises(LedgerError, match="Make the folder and its files writable"),
            Ledger(state) as ledger,
        ):
            DestinationLedger(ledger, HERE).begin_run(NOW)
        state.chmod(0o755)
        with Ledger(state) as ledger:
            assert DestinationLedger(ledger, HERE).last_run() == 1


def test_a_folder_in_which_no_ledger_can_be_created() -> None:
    """If the state folder cannot be created, the same message says so."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        with (
            _without_privileges(),
            pytest.raises(LedgerError, match="Make the folder and its files writable"),
        ):
            Ledger(Path(name) / "state")


def test_status_of_an_unused_folder_creates_no_ledger(tmp_path: Path) -> None:
    """An unused folder is reported as such, and stays empty."""
    said = CliRunner().invoke(main, ["status", "--state", str(tmp_path / "state")])
    assert said.exit_code == 0
    assert "Nothing was sent" in said.output
    assert not (tmp_path / "state" / "ledger.db").exists()
