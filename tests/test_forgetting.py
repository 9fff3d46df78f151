"""One person is removed from all stored data, and all others stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from chatlio_kit import local_platform
from chatlio_kit.cli import main
from chatlio_kit.delivery import Ledger

Payload = dict[str, Any]
Write = Callable[[Path, Iterable[Any]], Path]
Wrap = Callable[..., Payload]

ANA = "5b0c7d1e-9a34-4e2f-6c18-b2f09d41a7e3"
BEA = "6c1d8e2f-0b45-4f30-7d29-c3f1ae52b8f4"
CHAT, OTHER = "7c1e9a52-3b6d-4f08-5a91-0d4e6b2f8c13", "8d2f0b63-4c7e-4a19-6ba2-1e5f7c3a9d24"


def _run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state folder whose local platform refuses some records, so that dead letters are kept."""
    state = tmp_path / "state"
    faults = {"faults": [{"fault": "partial", "status": 400, "share": 0.5, "dialect": "status", "rate": 1.0}]}
    options = local_platform.Options(enabling_delay=0.02, processing_delay=0.02, faults=faults)
    local_platform.ensure_running(state / "local", options=options)
    yield state
    local_platform.stop(state / "local")


@pytest.fixture
def captures(
    tmp_path: Path,
    envelope: Wrap,
    ndjson: Write,
    conversation: Payload,
    offline: Payload,
    transcript: Payload,
) -> Path:
    """Chats of two people, with transcripts that name no one, offline messages, and rejects of both."""
    lines: list[Payload] = []
    for number, (person, chat, address) in enumerate(
        [(ANA, CHAT, "ana@x.org"), (BEA, OTHER, "bea.ana@x.org")]
    ):
        for hour in range(6):
            started, left = deepcopy(conversation), deepcopy(offline)
            started["visitor"] |= {"UUID": person, "email": address if hour % 2 else ""}
            started |= {"conversationUUID": chat, "message": f"question {hour}"}
            left |= {"email": address.upper(), "emailPretty": f"<{address}>", "message": f"call {hour}"}
            left["visitor"] = {"UUID": person, "email": address}
            reported = {
                **deepcopy(transcript),
                "conversationUUID": chat,
                "endedAt": f"2024-03-1{hour}T09:00:00Z",
            }
            received = f"2024-03-1{number}T0{hour}:00:00Z"
            lines += [
                envelope(started, "feedback", received),
                envelope(left, "offline_message", received),
                envelope(reported, "transcript", received),
            ]
        broken = deepcopy(conversation)
        broken["visitor"] |= {"UUID": person, "IPAddress": "nowhere"}
        lines.append(envelope({**broken, "conversationUUID": chat}, "feedback"))
    return ndjson(tmp_path / "captures" / "all.ndjson", lines)


def _everything(state: Path) -> str:
    """Return all bytes of a state folder, including decompressed lake files."""
    said = [path.read_bytes().decode("latin-1") for path in state.rglob("*") if path.is_file()]
    said += [str(pq.read_table(path).to_pylist()) for path in state.rglob("*.parquet")]
    return "\n".join(said).lower()


@pytest.mark.parametrize("who", [("--visitor-id", ANA), ("--email", "Ana@X.org")])
def test_one_person_is_gone_and_the_other_stays(state: Path, captures: Path, who: tuple[str, str]) -> None:
    """No byte of the state folder holds the person afterwards; the other's rows, rejects and letters stay."""
    sent = orjson.loads(_run("backfill", captures, "--state", state, "--json").stdout)
    assert (sent["read"], sent["rejected"]) == (38, 2)
    assert sent["dead_lettered"] > 0
    before = _everything(state)
    assert all(name in before for name in (ANA, BEA, CHAT, OTHER, "<ana@x.org>", "bea.ana@x.org"))
    result = _run("forget", captures, *who, "--yes", "--state", state, "--json")
    reported = orjson.loads(result.stdout)
    assert (result.exit_code, reported["events"], reported["rejects"], reported["pages"]) == (0, 18, 1, 1)
    assert reported["lake_rows"] > 0
    assert [each["record"] for each in reported["in_captures"]] == list(range(1, 20))
    after = _everything(state)
    assert [name for name in (ANA, CHAT, "<ana@x.org>") if name in after] == []
    assert all(name in after for name in (BEA, OTHER, "bea.ana@x.org"))
    with Ledger(state) as ledger:
        frame = ledger.as_frame()
    emptied = frame[frame["source_file"] == "(forgotten)"]
    assert (len(frame), len(emptied)) == (36, 18)
    assert emptied[["transaction_id", "answer"]].isna().all(axis=None)


def test_without_captures_stored_data_is_still_found(state: Path, captures: Path) -> None:
    """Dead letters, lake and rejects lead to the person on their own; a backfill sends nothing again."""
    _run("backfill", captures, "--state", state)
    assert _run("forget", "--visitor-id", ANA.upper(), "--yes", "--state", state).exit_code == 0
    after = _everything(state)
    assert [name for name in (ANA, CHAT) if name in after] == []
    assert BEA in after
    again = orjson.loads(_run("backfill", captures, "--state", state, "--json").stdout)
    assert (again["duplicates"], again["accepted"]) == (36, 0)
    assert not any(name in _everything(state / "local") for name in (ANA, CHAT))


def test_forgetting_asks_first(tmp_path: Path) -> None:
    """Without a person, a confirmation or a state folder: a usage error, and nothing is touched."""
    for arguments in (["--yes"], ["--visitor-id", ANA, "--json"], ["--email", "a@x.org", "--yes"]):
        assert _run("forget", *arguments, "--state", tmp_path / "none").exit_code == 2
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("who", [("--visitor-id", "x"), ("--email", "a@b"), ("--visitor-id", " 12 ")])
def test_a_fragment_of_a_name_is_refused(who: tuple[str, str], tmp_path: Path) -> None:
    """It would match other people's data: no page is deleted because of it."""
    page = tmp_path / "reports" / "run" / "report.html"
    page.parent.mkdir(parents=True)
    page.write_text("x a@b 12", encoding="utf-8")
    result = _run("forget", *who, "--yes", "--state", tmp_path)
    assert (result.exit_code, page.exists()) == (2, True)
    assert "too short" in result.stderr


def test_a_damaged_table_stops_forgetting_with_a_sentence(
    state: Path, captures: Path, tmp_path: Path
) -> None:
    """It is named before anything is erased."""
    _run("convert", captures, "--out", tmp_path / "tables")
    table = tmp_path / "tables" / "messages.parquet"
    table.write_bytes(table.read_bytes()[:500])
    events = (tmp_path / "tables" / "events.parquet").read_bytes()
    result = _run(
        "forget", captures, "--visitor-id", ANA, "--yes", "--tables", table.parent, "--state", state
    )
    assert result.exit_code == 1
    assert "messages.parquet' cannot be read" in result.stderr
    assert (tmp_path / "tables" / "events.parquet").read_bytes() == events
