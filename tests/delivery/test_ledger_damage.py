"""A ledger damaged by a disk, a person or another program causes a message, never a traceback."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import chatlio_kit as ck
from chatlio_kit import local_platform
from chatlio_kit.cli import main
from chatlio_kit.jobs.backfill import backfill
from chatlio_kit.local_platform import Options
from chatlio_kit.samples import write_sample

Damage = Callable[[Path], None]
COMMANDS = (("status",), ("backfill",), ("reconcile",), ("replay",), ("replay", "--gone"))


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, bytes]]:
    """Captures that were sent, the state folder, and its ledger's bytes."""
    folder = tmp_path_factory.mktemp("sent")
    captures, state = write_sample(folder / "captures", events=60, seed=4).path, folder / "state"
    local_platform.ensure_running(
        state / "local", options=Options(enabling_delay=0.02, processing_delay=0.02)
    )
    with ck.open_platform("local", state=state) as platform:
        backfill([captures], platform, quiet=True)
    with closing(sqlite3.connect(state / "ledger.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    yield captures, state, (state / "ledger.db").read_bytes()
    local_platform.stop(state / "local")


def _sql(*statements: str) -> Damage:
    def damage(path: Path) -> None:
        with closing(sqlite3.connect(path)) as db, db:
            for statement in statements:
                db.execute(statement)

    return damage


def _replaced(*statements: str) -> Damage:
    def damage(path: Path) -> None:
        path.unlink()
        _sql(*statements)(path)

    return damage


def _flipped(seed: int, count: int, first: int) -> Damage:
    def damage(path: Path) -> None:
        content, noise = bytearray(path.read_bytes()), random.Random(seed)
        for _ in range(count):
            content[noise.randrange(first, len(content))] = noise.randrange(256)
        path.write_bytes(content)

    return damage


def _unreadable_names(path: Path) -> None:
    """Overwrite a table's name in the schema with bytes that are not UTF-8."""
    content = path.read_bytes()
    assert b"tableeventevent" in content
    path.write_bytes(content.replace(b"tableeventevent", b"table\xff\xfe\xff\xfe\xffevent"))


UNUSABLE: dict[str, Damage] = {
    "a text": lambda path: path.write_text("hello " * 500, encoding="utf-8") and None,
    "noise": lambda path: path.write_bytes(random.Random(1).randbytes(20_000)) and None,
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]) and None,
    "only its first bytes": lambda path: path.write_bytes(path.read_bytes()[:100]) and None,
    "another database": _replaced("CREATE TABLE event (a)"),
    "another database of this version": _replaced("CREATE TABLE event (a)", "PRAGMA user_version = 3"),
    "another database of the previous version": _replaced("CREATE TABLE a (a)", "PRAGMA user_version = 2"),
    "a missing table": _sql("DROP TABLE event"),
    "a missing column": _sql("ALTER TABLE event RENAME COLUMN fate TO destiny"),
    "table names that are not text": _unreadable_names,
}
ODD: dict[str, Damage] = {
    "an unknown fate": _sql("UPDATE event SET fate = 'weird' WHERE rowid = 2"),
    "no bytes": lambda path: path.write_bytes(b"") and None,
    "an invalid time": _sql("UPDATE destination SET first_sent_at = 'soon', sent_since = 'soon'"),
    "a time out of range": _sql("UPDATE readback SET at = 9000000000000000000"),
    "an invalid time of acceptance": _sql("UPDATE event SET settled_at = 'soon', landed = 0 WHERE rowid < 5"),
    "an invalid digest": _sql("UPDATE event SET payload_digest = 'abc' WHERE rowid = 4"),
    "an invalid id": _sql("UPDATE event SET event_id = x'00' WHERE rowid = 1"),
    "an invalid record number": _sql(
        "UPDATE event SET source_record = 'first', landed = 0, fate = 'delivered'"
    ),
    "a file name that is not text": _sql(
        "UPDATE event SET source_file = CAST(x'ff' AS TEXT) WHERE rowid = 4"
    ),
    "an invalid count": _sql("UPDATE file_read SET records = 'many'"),
    "an unknown kind": _sql(
        "UPDATE event SET kind = 'weird', fate = 'dead_lettered', landed = 0 WHERE rowid = 2",
        "INSERT INTO kept_body SELECT destination, event_id, x'7b7d' FROM event WHERE rowid = 2",
    ),
    **{f"flipped bytes, {seed}": _flipped(seed, 30, 100) for seed in range(5)},
    **{f"flipped rows, {seed}": _flipped(seed, 400, 8192) for seed in range(4)},
}


def _run(command: tuple[str, ...], captures: Path, state: Path) -> Result:
    paths = [str(captures)] if command[0] == "backfill" else []
    result = CliRunner().invoke(main, [*command, *paths, "--state", str(state)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def _damage(state: Path, content: bytes, damage: Damage) -> None:
    for path in state.glob("ledger.db*"):
        path.unlink()
    (state / "ledger.db").write_bytes(content)
    damage(state / "ledger.db")


@pytest.mark.parametrize("damage", UNUSABLE)
def test_an_unusable_ledger_is_reported_in_one_sentence(sent: tuple[Path, Path, bytes], damage: str) -> None:
    """Each command names the ledger's folder and the next step, and ends with 1."""
    captures, state, content = sent
    _damage(state, content, UNUSABLE[damage])
    for command in COMMANDS:
        result = _run(command, captures, state)
        assert result.exit_code == 1, command
        said = result.stderr.strip().splitlines()[-1]
        assert said.startswith(f"The ledger in {str(state)!r} cannot be used: ")
        assert "Restore a copy, or move it away" in said


@pytest.mark.parametrize("damage", ODD)
def test_odd_values_in_a_ledger_show_no_traceback(sent: tuple[Path, Path, bytes], damage: str) -> None:
    """Odd but harmless values are ignored; values that matter are reported in the same message."""
    captures, state, content = sent
    _damage(state, content, ODD[damage])
    for command in COMMANDS:
        result = _run(command, captures, state)
        if result.exit_code == 1 and "no verdict yet" not in result.output:
            assert "Restore a copy, or move it away" in result.stderr


def test_a_disk_that_is_full_while_landing_is_noted(
    sent: tuple[Path, Path, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk while copying a batch's file is a message that names the folder."""
    captures, state, content = sent
    _damage(state, content, lambda path: None)

    def full(*asked: object) -> None:
        raise OSError(28, "No space left on device")

    with ck.open_platform("local", state=state) as platform:
        monkeypatch.setattr(platform.data_access, "save", full)
        with pytest.raises(ck.ChatlioKitError, match=r"No space left on device. Free some space there"):
            backfill([captures], platform, quiet=True)
