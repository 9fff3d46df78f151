"""A person is forgotten everywhere: every byte of the state folder and the tables is checked."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from chatlio_kit import local_platform
from chatlio_kit.cli import main
from chatlio_kit.connection import Destination
from chatlio_kit.delivery import DestinationLedger, Ledger
from chatlio_kit.delivery import run as delivery_run
from chatlio_kit.delivery.ledger.models import DeadLetter
from chatlio_kit.errors import LedgerBusy
from chatlio_kit.jobs import backfill as jobs_backfill
from chatlio_kit.jobs.forget import UNFINISHED, forget

Payload = dict[str, Any]
Write = Callable[[Path, Iterable[Any]], Path]

WORD = "zqplanted"
ADDRESS = "Ana.Ruiz@Bücher.example"
FORMS = (
    "ana.ruiz@bücher.example",
    "ana.ruiz%40b",
    "ana.ruiz%2540b",
    "ana.ruiz@xn--bcher-kva.example",
    r"ana.ruiz\u0040b",
)
ANA, BEA = "5b0c7d1e-9a34-4e2f-6c18-b2f09d41a7e3", "6c1d8e2f-0b45-4f30-7d29-c3f1ae52b8f4"
CHAT, OTHER = "7c1e9a52-3b6d-4f08-5a91-0d4e6b2f8c13", "8d2f0b63-4c7e-4a19-6ba2-1e5f7c3a9d24"


def _run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def _records(visitor: str, chat: str, address: str, word: str) -> list[bytes]:
    """One person's records: an event of each shape, and rejects, with a word in each value and key."""
    person = {
        "UUID": visitor, "email": address, "name": f"{word} Name", "identUserId": f"{word}-user",
        "identTraits": {f"{word}-key": {"deep": [f"{word}-value"]}}, "userAgent": f"{word}/1.0",
        "handle": f"{word}-handle", "currentPage": f"https://shop.example/{word}", "referrerURL": f"https://{word}.example/",
        "createdAt": "2024-03-09T18:20:11Z", "IPAddress": "203.0.113.7", "location": f"{word}, Spain",
    }  # fmt: skip
    started = {
        "visitor": person, "message": f"{word} hello", "conversationUUID": chat, "channelId": f"C0{word}",
        f"{word}-field": {word: word},
    }  # fmt: skip
    left = {
        "visitor": person, "name": word, "email": address, "emailPretty": f"{word} <{address}>",
        "subject": word, "message": f"{word} call",
    }  # fmt: skip
    said = {
        "text": f"{word} said",
        "username": word,
        "userId": "",
        "ts": "1710144005.000200",
        "isVisitorMsg": True,
    }
    ended = {
        "conversationUUID": chat, "channelId": f"C0{word}", "channelName": f"z-{word}",
        "startedAt": "2024-03-11T08:59:41Z", "endedAt": "2024-03-11T09:03:10Z",
        "agentEmail": "sam@example.com", "agentName": "Sam", "visitorName": word, "visitorEmail": "",
        "replyToEmail": "help@example.com",
        "visitorTraits": {word: word}, "archiveUrl": f"https://acme.slack.com/{word}", "extraData": [word],
        "messages": [said], "textBody": word, "htmlBody": word,
    }  # fmt: skip
    lines = []
    for hour in range(4):
        received = f"2024-03-12T0{hour}:00:00Z"
        around = {"receivedAt": received, "widget": "w-1"}
        lines += [
            orjson.dumps({**around, "kind": "feedback", "payload": {**started, "message": f"{word} {hour}"}}),
            orjson.dumps(
                {**around, "kind": "offline_message", "payload": {**left, "message": f"{word} {hour}"}}
            ),
            orjson.dumps({**around, "kind": "transcript", "payload": {**ended, "endedAt": received}}),
        ]
    lines.append(lines[0])  # a duplicate
    broken = {**started, "visitor": {**person, "IPAddress": f"{word} nowhere"}}
    lines.append(orjson.dumps({"kind": "feedback", "receivedAt": "2024-03-12T00:00:00Z", "payload": broken}))
    encoded = address.lower().replace("@", "%40")
    lines.append(f'{{"oops": "{word} https://shop.example/?mail={encoded}&a=1"'.encode())
    escaped = address.replace("@", "\\u0040")
    lines.append(f'{{"twice": 1, "twice": "{word} {escaped}"}}'.encode())
    return lines


@pytest.fixture
def captures(tmp_path: Path) -> Path:
    """Captures of two people, the first person's in a file named after them."""
    folder = tmp_path / "captures"
    folder.mkdir()
    (folder / f"chats-{ADDRESS.lower()}.ndjson").write_bytes(b"\n".join(_records(ANA, CHAT, ADDRESS, WORD)))
    other = _records(BEA, OTHER, "bea-ana.ruiz@example.org", "zqother")
    (folder / "others.ndjson").write_bytes(b"\n".join(other))
    return folder


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state folder whose local platform refuses some records, so that dead letters are kept."""
    state = tmp_path / "state"
    faults = {"faults": [{"fault": "partial", "status": 400, "share": 0.5, "dialect": "status", "rate": 1.0}]}
    options = local_platform.Options(enabling_delay=0.02, processing_delay=0.02, faults=faults)
    local_platform.ensure_running(state / "local", options=options)
    yield state
    local_platform.stop(state / "local")


def _everything(folder: Path) -> str:
    """All names and bytes of a folder, and what is compressed in its tables, in small letters."""
    said = [path.name for path in folder.rglob("*")]
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    said += [content.decode("latin-1") for content in contents]
    said += [content.decode("utf-8", errors="replace") for content in contents]
    said += [str(pq.read_table(path).to_pylist()) for path in folder.rglob("*.parquet")]
    return "\n".join(said).lower()


def _left(folder: Path, *more: str) -> list[str]:
    said = _everything(folder)
    return [each for each in (WORD, *FORMS, ANA, CHAT, *more) if each in said]


def _plant_in_freed_pages(database: Path) -> None:
    """Leave a person's words in pages of a database that no row has any more."""
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete = OFF")
        db.execute("CREATE TABLE planted (words TEXT)")
        db.executemany("INSERT INTO planted VALUES (?)", [(f"{WORD} {ADDRESS} " * 200,)] * 20)
        db.execute("DROP TABLE planted")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert WORD in database.read_bytes().decode("latin-1")


def _plant(state: Path) -> None:
    """Leave remains of killed runs and of a verbose server log, in unusual encodings."""
    (report,) = (state / "reports").iterdir()
    cut = orjson.dumps({"file": "x", "record": 1, "raw": f"{WORD} {ADDRESS}"})[:-9]
    (report / ".rejected.jsonl.partial").write_bytes(cut)
    (report / ".rejected.jsonl.4711.partial").write_bytes(cut)
    (report / ".report.html.4711.partial").write_text(f"<p>{ADDRESS.replace('@', '&#64;')}", encoding="utf-8")
    older = state / "reports" / "older"
    older.mkdir()
    (older / "report.html").write_text(f"<p>{WORD} {ADDRESS.upper()}</p>", encoding="utf-8")
    (older / "report.json").write_bytes(
        orjson.dumps({"unknown_fields": {f"{WORD} ana.ruiz@xn--bcher-kva.example": 3}, "read": 3})
    )
    with (state / "local" / "server.log").open("a", encoding="utf-8") as log:
        log.write(f"ValueError: {WORD} ana.ruiz%2540b%C3%BCcher.example is no address\n")
    (state / "local" / "lake" / "x.parquet.unfinished").write_bytes(WORD.encode())
    _plant_in_freed_pages(state / "ledger.db")
    _plant_in_freed_pages(state / "local" / "platform.sqlite3")


def test_no_byte_of_the_state_folder_holds_the_person(state: Path, captures: Path) -> None:
    """Fields, keys, names of files, rejects, remains of killed runs, pages, logs, freed pages: all clean."""
    sent = orjson.loads(_run("backfill", captures, "--state", state, "--json").stdout)
    assert (sent["accepted"], sent["rejected"], sent["duplicates"]) == (24, 6, 2)
    local_platform.stop(state / "local")
    _plant(state)
    result = _run("forget", captures, "--email", ADDRESS, "--yes", "--state", state, "--json")
    found = orjson.loads(result.stdout)
    assert (result.exit_code, found["found"], found["events"], found["rejects"]) == (0, True, 12, 3)
    assert _left(state) == []
    said = _everything(state)
    assert all(each in said for each in ("zqother", BEA, OTHER, "bea-ana.ruiz@example.org"))
    assert [each["record"] for each in found["in_captures"]] == list(range(1, 17))
    places = {each["place"]: each for each in found["places"]}
    assert places["remains of interrupted runs"]["removed"] == 3
    assert places["file names in the ledger"]["removed"] == 1
    assert places["captures"]["left"] == 17
    assert "rename what is named after the person: 1 file" in places["captures"]["remove_by"]
    assert not any(each["left"] for name, each in places.items() if name != "captures")
    assert WORD in _everything(captures)


def test_files_that_it_cannot_change_are_named(state: Path, captures: Path) -> None:
    """An unknown file in the state folder is left unchanged, and reported."""
    _run("backfill", captures, "--state", state)
    (state / "my notes.txt").write_text(f"ask {ADDRESS.replace('@', '%40')} again", encoding="utf-8")
    found = orjson.loads(_run("forget", "--email", ADDRESS, "--yes", "--state", state, "--json").stdout)
    (left,) = (each for each in found["places"] if each["left"])
    assert (left["place"], left["removed"]) == ("my notes.txt", 0)


def test_no_match_is_reported(state: Path, captures: Path) -> None:
    """Exit code 1 and a message; nothing is changed, and the searched stores are listed."""
    _run("backfill", captures, "--state", state)
    before = _everything(state / "reports")
    said = _run("forget", captures, "--email", "nobody@x.example", "--yes", "--state", state)
    assert said.exit_code == 1
    assert said.stdout.startswith("No match was found")
    assert "ledger" in said.stdout
    assert "captures" in said.stdout
    assert _everything(state / "reports") == before
    found = orjson.loads(
        _run("forget", "--visitor-id", OTHER[::-1], "--yes", "--state", state, "--json").stdout
    )
    assert (found["found"], found["event_ids"]) == (False, [])


def test_captures_are_read_with_the_options_of_the_backfill(tmp_path: Path, state: Path) -> None:
    """A CSV of an unknown logger is found with --fields; without it the sentence says why it was not."""
    records = [orjson.loads(each)["payload"] for each in _records(ANA, CHAT, ADDRESS, WORD)[:12:3]]
    table = pd.DataFrame(
        {"hook": "feedback", "at": "2024-03-11T09:00:00Z", "what": map(orjson.dumps, records)}
    )
    table["what"] = table["what"].str.decode("utf-8")
    table.to_csv(tmp_path / "log.csv", index=False)
    options = ("--fields", "payload=what,received=at,kind=hook")
    _run("backfill", tmp_path / "log.csv", "--state", state, "--json")  # sends nothing, so it is not recalled
    sent = orjson.loads(
        _run(
            "backfill", tmp_path / "log.csv", *options, "--redact", "drop", "--state", state, "--json"
        ).stdout
    )
    assert sent["accepted"] == 4
    who = ("--email", ADDRESS, "--yes", "--state", state, "--json")
    blind = orjson.loads(_run("forget", tmp_path / "log.csv", *who).stdout)
    assert blind["events"] == 0
    assert any("--fields" in note for note in blind["notes"])
    found = orjson.loads(_run("forget", tmp_path / "log.csv", *options, "--redact", "drop", *who).stdout)
    assert (found["events"], found["lake_rows"] > 0) == (4, True)
    assert not any("without options" in note for note in found["notes"])


@pytest.mark.parametrize("way", ["keep", "mask", "hash:aep", "hash:keyed"])
def test_tables_are_erased_too(
    tmp_path: Path, captures: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The person's rows are removed from the tables, rejects and report, redacted or not; others stay."""
    monkeypatch.setenv("CHATLIO_KIT_REDACTION_KEY", "a key that nobody guesses")
    out, state = tmp_path / "out", tmp_path / "state"
    state.mkdir()
    _run("convert", captures, "--out", out, "--redact", way)
    before = {path.stem: len(pd.read_parquet(path)) for path in out.glob("*.parquet")}
    schemas = {path.stem: pq.read_schema(path) for path in out.glob("*.parquet")}
    (out / ".events.parquet.4711.partial").write_bytes(WORD.encode())
    who = ("--email", ADDRESS, "--tables", out, "--redact", way)
    result = _run("forget", captures, *who, "--yes", "--state", state, "--json")
    found = orjson.loads(result.stdout)
    assert found["tables"] == {name: rows // 2 for name, rows in before.items()}
    assert _left(out) == []
    for path in out.glob("*.parquet"):
        assert len(pd.read_parquet(path)) == before[path.stem] // 2
        assert pq.read_schema(path).equals(schemas[path.stem], check_metadata=True)
    assert orjson.loads((out / "report.json").read_bytes())["tables"] == found["tables"]
    assert ("zqother" in _everything(out)) == (way != "hash:keyed")


def test_an_explorer_that_shows_the_person_is_deleted(tmp_path: Path, captures: Path) -> None:
    """The page in the tables' folder is deleted with the person's rows; an unknown person deletes no page."""
    out, state = tmp_path / "out", tmp_path / "state"
    state.mkdir()
    _run("convert", captures, "--out", out)
    _run("explore", out, "--state", state)
    _run("forget", "--email", "nobody@x.org", "--tables", out, "--yes", "--state", state)
    assert (out / "explorer.html").exists()
    _run("forget", "--email", ADDRESS, "--tables", out, "--yes", "--state", state)
    assert not (out / "explorer.html").exists()
    _run("explore", out, "--state", state)
    assert _left(out) == []


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    """A folder that convert did not write is a usage error, and nothing is touched."""
    (tmp_path / "state").mkdir()
    said = _run("forget", "--email", ADDRESS, "--tables", tmp_path, "--yes", "--state", tmp_path / "state")
    assert said.exit_code == 2
    assert "holds no tables" in said.stderr


def test_rows_on_experience_platform_are_named_not_promised(state: Path, captures: Path) -> None:
    """Rows delivered elsewhere are left: no service finds rows without an identity; the query names them."""
    _run("backfill", captures, "--state", state)
    elsewhere = Destination("https://platform.adobe.io", "org", "prod", "65f", "chatlio")
    with Ledger(state) as ledger:
        DestinationLedger(ledger, elsewhere)
        with ledger.transaction() as db:
            db.execute("UPDATE event SET destination = 2, fate = 'delivered'")
    said = _run("forget", captures, "--email", f" {ADDRESS}", "--yes", "--state", state)
    assert "neither a Privacy Service request nor a record delete" in said.stdout
    assert "lower(_tenant.chatlio.visitor_email) IN ('ana.ruiz@bücher.example')" in said.stdout
    assert f"lower(_tenant.chatlio.visitor_id) IN ('{ANA}')" in said.stdout
    found = forget(captures, visitor_id="o'ana", state=state)
    assert found.sql is None
    with Ledger(state) as ledger:
        frame = ledger.as_frame()
    assert (frame["source_file"] == "(forgotten)").sum() == 12


def test_forgetting_is_refused_while_a_run_sends(state: Path, captures: Path) -> None:
    """While a run is sending, nothing is removed, and a message says so; the local platform stays up."""
    _run("backfill", captures, "--state", state)
    with Ledger(state) as ledger, ledger.exclusive_lock():
        said = _run("forget", captures, "--email", ADDRESS, "--yes", "--state", state)
    assert said.exit_code == 1
    assert "is sending" in said.stderr
    assert _left(state) != []


@pytest.mark.parametrize(
    ("module", "step"),
    [(delivery_run, "reconcile"), (jobs_backfill, "write_page"), (jobs_backfill, "write_json")],
    ids=["while it reads back", "while it writes the page", "while it writes the report"],
)
def test_no_page_is_written_after_a_forget(
    state: Path, captures: Path, monkeypatch: pytest.MonkeyPatch, module: Any, step: str
) -> None:
    """A backfill locks the state folder until its page is written, so a forget cannot come in between."""
    original = getattr(module, step)
    refused = []

    def with_a_forget(*arguments: Any, **options: Any) -> Any:
        with pytest.raises(LedgerBusy):
            forget([captures], email=ADDRESS, state=state)
        refused.append(step)
        return original(*arguments, **options)

    monkeypatch.setattr(module, step, with_a_forget)
    _run("backfill", captures, "--state", state)
    assert refused == [step]
    monkeypatch.undo()
    assert forget([captures], email=ADDRESS, state=state).found
    assert _left(state) == []


def test_a_failure_after_a_forget_restores_nothing(state: Path, captures: Path) -> None:
    """A batch that the platform fails later adds neither the record nor the answer to the ledger."""
    _run("backfill", captures, "--state", state)
    forgotten = forget([captures], email=ADDRESS, state=state).event_ids
    with Ledger(state) as ledger:
        others = [key for key in ledger.as_frame()["event_id"] if key not in forgotten]
        with ledger.transaction() as db:
            db.execute("UPDATE event SET landed = 0, fate = 'delivered'")
        letters = [
            DeadLetter(
                key, "MAPPER-1", f"no {WORD} {key}", f'{{"email": "{ADDRESS}", "id": "{key}"}}'.encode()
            )
            for key in (forgotten[0], others[0])
        ]
        DestinationLedger(ledger, ledger.destinations()[0]).mark_failed("batch", letters)
        answers = dict(
            ledger.fetch_all("SELECT lower(hex(event_id)), answer FROM event WHERE fate = 'dead_lettered'")
        )
        assert answers == {forgotten[0]: None, others[0]: f"no {WORD} {others[0]}"}
        kept = ledger.fetch_all("SELECT lower(hex(event_id)) FROM kept_body")
        assert (forgotten[0],) not in kept
        assert (others[0],) in kept


_CHANGES = ("replace", "rename", "unlink", "remove", "fsync")
_KILLED = """
import os, sys
from pathlib import Path
from chatlio_kit.jobs.forget import forget
calls = int(sys.argv[1])
def counted(true):
    def change(*arguments, **named):
        global calls
        calls -= 1
        if calls < 0:
            os._exit(9)
        return true(*arguments, **named)
    return change
for name in sys.argv[2].split():
    setattr(os, name, counted(getattr(os, name)))
forget(sys.argv[6:], email=sys.argv[3], state=Path(sys.argv[4]), tables=[Path(sys.argv[5])])
"""


class _Ended(BaseException):
    """A process that ends here, without any clean-up."""


def _end_after(patch: pytest.MonkeyPatch, calls: int) -> None:
    """Make every change to a file fail once this many have succeeded."""
    left = calls

    def counted(true: Callable[..., Any]) -> Callable[..., Any]:
        def change(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise _Ended
            return true(*arguments, **named)

        return change

    for name in _CHANGES:
        patch.setattr(os, name, counted(getattr(os, name)))


@pytest.fixture
def sent(tmp_path: Path, state: Path, captures: Path) -> tuple[Path, Path]:
    """A state folder that was sent from, with a person in all its places, and tables."""
    _run("backfill", captures, "--state", state)
    _run("convert", captures, "--out", tmp_path / "out")
    local_platform.stop(state / "local")
    return state, tmp_path / "out"


def _copies(sent: tuple[Path, Path], name: str) -> tuple[Path, Path]:
    state, out = (shutil.copytree(each, each.with_name(f"{each.name}-{name}")) for each in sent)
    return state, out


def test_ended_at_any_change_the_next_call_finishes(sent: tuple[Path, Path], captures: Path) -> None:
    """Ended before any change of a file, forget finishes the job when it is called again."""
    for calls in range(0, 400, 8):
        state, out = _copies(sent, str(calls))
        try:
            with pytest.MonkeyPatch.context() as patch:
                _end_after(patch, calls)
                forget(captures, email=ADDRESS, state=state, tables=[out])
        except _Ended:
            forget(email=ADDRESS, state=state, tables=[out])
        else:
            break
        finally:
            assert _left(state) + _left(out) == []
            assert not (state / UNFINISHED).exists()
    assert calls > 20


@pytest.mark.parametrize("calls", [2, 11, 20])
def test_a_kill_is_recovered_from(sent: tuple[Path, Path], captures: Path, calls: int) -> None:
    """After a kill, the remaining data leads to the rest, and the next call needs no captures."""
    state, out = _copies(sent, "killed")
    arguments = (str(calls), " ".join(_CHANGES), ADDRESS, str(state), str(out), str(captures))
    ended = subprocess.run([sys.executable, "-c", _KILLED, *arguments], check=False, capture_output=True)
    assert ended.returncode == 9, ended.stderr
    assert _left(state) != []
    assert forget(email=ADDRESS, state=state, tables=[out]).found
    assert _left(state) + _left(out) == []
    assert not (state / UNFINISHED).exists()
