"""The status of one chat: traced step by step, and shown in the explorer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest
from click.testing import CliRunner, Result

import chatlio_kit as ck
from chatlio_kit import local_platform
from chatlio_kit.aep import Platform
from chatlio_kit.cli import main
from chatlio_kit.delivery import Ledger
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import Options
from chatlio_kit.tables import Export, ReadOptions, Tables, convert

EVENTS = 160
STEPS = ["record", "tables", "destination", "request", "answer", "batch", "dataset row"]


@dataclass(frozen=True)
class Work:
    """A backfill to a platform that refuses some records, its tables, and a person forgotten later."""

    captures: Path
    tables: Path
    state: Path
    frames: Tables
    ledger: pd.DataFrame
    forgotten: str


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    """Captures with rejects and a copy of one file, sent, converted, and one person forgotten."""
    folder = tmp_path_factory.mktemp("work")
    captures, tables, state = folder / "captures", folder / "tables", folder / "state"
    ck.write_sample(captures, events=EVENTS, seed=11, bad_share=0.05)
    original = next((captures / "feedback").glob("*.ndjson*"))
    (original.with_name(f"z-{original.name}")).write_bytes(original.read_bytes())
    picky = {"faults": [{"fault": "partial", "status": 400, "share": 0.2, "lasting": True}]}
    options = Options(enabling_delay=0.02, processing_delay=0.02, faults=picky)
    server = local_platform.ensure_running(state / "local", options=options)
    with Platform(settings_of(server, state)) as platform:
        ck.backfill(captures, platform, quiet=True, wait=60)
    frames = ck.read_export(captures).to_tables(quiet=True)
    convert(Export([captures], ReadOptions()), tables, quiet=True)
    with Ledger(state) as ledger:
        before = ledger.as_frame()
    events = frames.events.merge(before[before["landed"]][["event_id"]], on="event_id")
    person = events[events["kind"] == "offline_message"].iloc[0]
    ck.forget(captures, email=str(person["contact_email"]), state=state)
    yield Work(captures, tables, state, frames, before, str(person["event_id"]))
    local_platform.stop(state / "local")


def _steps(work: Work, what: str, **options: Any) -> dict[str, str]:
    """Trace what leads to one event, and return its steps."""
    trace = ck.trace(what, state=work.state, **options)
    (event,) = trace.as_dict()["events"]
    return {step["step"]: step["text"] for step in event["steps"]}


def _run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_a_landed_event_goes_from_its_line_to_its_row(work: Work) -> None:
    """Every step is named, and each names what ledger and tables hold."""
    transcripts = work.frames.events[work.frames.events["kind"] == "transcript"]
    landed = work.ledger[work.ledger["landed"] & work.ledger["event_id"].isin(transcripts["event_id"])]
    row = landed[landed["event_id"] != work.forgotten].iloc[-1]
    steps = _steps(work, row["event_id"], tables=work.tables)
    assert list(steps) == STEPS
    assert steps["record"] == f"{row['source_file']} record {row['source_record']}"
    messages = work.frames.messages["event_id"].eq(row["event_id"]).sum()
    assert steps["tables"].startswith("events 1, conversations 1")
    assert f"messages {messages:,}" in steps["tables"]
    assert steps["request"] == f"run 1, request {row['request']}, {row['attempts']} attempt"
    assert row["transaction_id"] in steps["answer"]
    assert steps["batch"].endswith(", read")
    assert steps["dataset row"].startswith("landed: the read of ")
    assert row["dataset"] in steps["destination"]


def test_a_step_that_was_not_searched_is_named(work: Work) -> None:
    """Without tables, the step says how to name them, in the terms of the interface."""
    event_id = work.ledger["event_id"][0]
    assert _steps(work, event_id)["tables"].endswith("with tables=")
    assert "with --tables" in _run("trace", event_id, "--state", work.state).stdout


def test_a_dead_letter_has_its_answer_and_no_row(work: Work) -> None:
    """The platform's answer is quoted; batch and row are missing, with the reason."""
    letter = work.ledger[work.ledger["fate"] == "dead_lettered"].iloc[0]
    steps = _steps(work, letter["event_id"])
    assert "refused_400" in steps["answer"]
    assert "refused on demand" in steps["answer"]
    assert steps["batch"] == steps["dataset row"] == "none: it was not accepted"


def test_a_rejected_record_is_found_by_file_and_number(work: Work) -> None:
    """File and record lead to the reason, from the state folder alone, also by the end of the path."""
    rejection = work.frames.rejections[0]
    for place in (
        rejection.file,
        rejection.file.partition("/")[2],
        str(work.captures.parent / rejection.file),
    ):
        result = _run("trace", f"{place}:{rejection.record}", "--state", work.state, "--json")
        (found,) = orjson.loads(result.stdout)["rejected"]
        assert (result.exit_code, found["reason"], found["detail"]) == (0, rejection.reason, rejection.detail)
    text = _run("trace", f"{rejection.file}:{rejection.record}", "--state", work.state).stdout
    assert "a rejected record is not sent" in text


def test_a_duplicate_leads_to_its_event(work: Work) -> None:
    """The copy of a record is a duplicate; with the captures it is known of which event."""
    copies = sorted((work.captures / "feedback").glob("z-*"))
    name = f"captures/feedback/{copies[0].name}"
    known = work.ledger[work.ledger["source_file"] == name.replace("z-", "")].iloc[0]
    duplicate = f"{name}:{known['source_record']}"
    trace = ck.trace(duplicate, work.captures, state=work.state)
    (event,) = trace.events
    assert event.event_id == known["event_id"]
    assert event.accepted_from == (known["source_file"], known["source_record"])
    assert "is a duplicate: its event was accepted from" in repr(trace)
    path = ck.trace(f"{work.captures.parent / name}:{known['source_record']}", state=work.state)
    assert path.events[0].event_id == known["event_id"], "a path that exists is read"
    everywhere = _steps(work, known["event_id"], captures=work.captures)
    assert everywhere["also read from"] == f"{name} record {known['source_record']}, a duplicate"


def test_a_trace_reports_forgotten_events(work: Work) -> None:
    """The digest stays: the trace says that forget removed the person, and names no file."""
    steps = _steps(work, work.forgotten)
    assert steps["record"].startswith("erased: forget erased this person")
    assert "reconcile checks whether it is still there" in steps["dataset row"]
    assert "captures" not in steps["record"]


@pytest.mark.parametrize("what", ["0" * 64, "0" * 8 + "-0000-0000-0000-" + "0" * 12, "nobody@x.org", "a/b:7"])
def test_an_unknown_id_is_reported(work: Work, what: str) -> None:
    """An unknown id, address or record gives exit code 1 and a list of stores not searched."""
    result = _run("trace", what, "--state", work.state)
    assert result.exit_code == 1
    assert f"Nothing is known about {what}" in result.stdout
    assert "Tables were not searched: name the folder that convert wrote with --tables." in result.stdout
    nowhere = ck.trace(what, state=work.state / "nothing-here")
    assert "There is no ledger in" in repr(nowhere)


def test_an_untraceable_argument_is_a_usage_error(work: Work) -> None:
    """Anything else is refused with the forms that are understood."""
    result = _run("trace", "yesterday", "--state", work.state)
    assert (result.exit_code, "file:record" in result.stderr) == (2, True)


def test_tables_find_all_events_of_a_name(work: Work) -> None:
    """A conversation, its visitor and an address lead to all its events, in order of time."""
    events = work.frames.events
    chat = events[events["conversation_id"].notna() & events["visitor_email"].notna()].iloc[0]
    conversations = events.groupby("conversation_id")["event_id"].agg(set)
    for column in ("conversation_id", "visitor_id", "visitor_email"):
        trace = ck.trace(str(chat[column]).upper(), tables=work.tables, state=work.state)
        ids = [event.event_id for event in trace.events]
        assert conversations[chat["conversation_id"]] <= set(ids)
        times = events.set_index("event_id")["occurred_at"][ids]
        assert times.is_monotonic_increasing
        theirs = events[events[column] == chat[column]]
        assert set(theirs["event_id"]) <= set(ids)


def test_captures_find_the_records_of_a_name(work: Work) -> None:
    """Without tables, the records that hold the id are found, rejected ones included."""
    events = work.frames.events
    visitor = events["visitor_id"].value_counts().index[0]
    trace = ck.trace(visitor, work.captures, state=work.state)
    assert {event.event_id for event in trace.events} >= set(
        events[events["visitor_id"] == visitor]["event_id"]
    )


def test_the_ledger_is_enough_to_find_dead_letters_and_starts(work: Work) -> None:
    """A stored dead letter is found by its contents; the rest needs tables, as a note says."""
    events = work.frames.events.merge(work.ledger[["event_id", "fate"]], on="event_id")
    letters = events[(events["fate"] == "dead_lettered") & events["visitor_id"].notna()]
    trace = ck.trace(str(letters.iloc[0]["visitor_id"]), state=work.state)
    assert letters.iloc[0]["event_id"] in {event.event_id for event in trace.events}
    assert "except in dead letters" in repr(trace)
    start = events[(events["kind"] == "conversation_started") & (events["fate"] == "delivered")].iloc[0]
    trace = ck.trace(str(start["conversation_id"]), state=work.state)
    assert start["event_id"] in {event.event_id for event in trace.events}


def test_a_trace_escapes_untrusted_text(work: Work, tmp_path: Path, conversation: dict[str, Any]) -> None:
    """Neither the terminal nor a notebook interprets captured text."""
    planted = deepcopy(conversation)
    planted["message"] = "\x1b[2J<script>alert(1)</script>"
    record = {"receivedAt": "2024-03-01T09:00:00Z", "kind": "feedback", "payload": planted}
    path = tmp_path / "a.ndjson"
    path.write_bytes(orjson.dumps(record))
    trace = ck.trace(f"{path}:1", state=work.state)
    assert trace.found
    assert "\x1b" not in repr(trace)
    assert "<script>" not in trace._repr_html_()


def test_the_explorer_shows_what_became_of_each(work: Work, tmp_path: Path) -> None:
    """The page's events have the fates of the ledger, its rejected records those of the run."""
    page = tmp_path / "x.html"
    result = _run("explore", work.tables, "--out", page, "--state", work.state, "--json")
    content = orjson.loads(result.stdout)
    assert (result.exit_code, content["page"]) == (0, str(page))
    entries = _data(page.read_text(encoding="utf-8"))["entries"]
    shown = Counter(event[6] for entry in entries for event in entry.get("events", []))
    with Ledger(work.state) as ledger:
        frame = ledger.as_frame()
    landed = int(frame["landed"].sum())
    assert shown == {"landed": landed, "dead_lettered": len(frame) - landed}
    assert sum(entry["status"] == "rejected" for entry in entries) == len(work.frames.rejections)
    in_memory = ck.explore(work.frames, state=work.state)
    assert {entry["id"]: entry["status"] for entry in _data(in_memory.to_html())["entries"]} == {
        entry["id"]: entry["status"] for entry in entries
    }


def test_without_a_ledger_the_explorer_shows_accepted_records(work: Work, tmp_path: Path) -> None:
    """The page is in the folder of the tables, and shows accepted and rejected records."""
    result = _run("explore", work.tables, "--state", tmp_path / "none", "--query", "order")
    assert result.exit_code == 0
    entries = _data((work.tables / "explorer.html").read_text(encoding="utf-8"))["entries"]
    assert {entry["status"] for entry in entries} <= {"accepted", "rejected"}
    assert len(entries) == len(work.frames.search("order")) > 0
    refused = _run("explore", work.state, "--state", tmp_path / "none")
    assert (refused.exit_code, "holds no tables" in refused.stderr) == (2, True)


@pytest.mark.parametrize("content", [b"", b"PAR1 but not really PAR1"])
def test_a_damaged_table_is_a_sentence(work: Work, tmp_path: Path, content: bytes) -> None:
    """Neither command shows a traceback for a file that is not Parquet."""
    tables = tmp_path / "tables"
    tables.mkdir()
    for name in ("events", "messages"):
        (tables / f"{name}.parquet").write_bytes(content)
    for arguments in (("explore", tables), ("trace", "0" * 64, "--tables", tables)):
        result = _run(*arguments, "--state", work.state)
        assert result.exit_code == 1
        assert result.stderr.startswith("The tables could not be searched: ")


def _data(page: str) -> dict[str, Any]:
    text = page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    content: dict[str, Any] = orjson.loads(text)
    return content


def test_redacted_captures_are_never_quoted(work: Work) -> None:
    """With --redact, no step and no JSON contains a captured record."""
    row = work.frames.events[work.frames.events["visitor_id"].notna()].iloc[0]
    arguments = ["trace", row["visitor_id"], str(work.captures), "--state", str(work.state)]
    assert "as captured" in CliRunner().invoke(main, arguments).stdout
    for face in ((), ("--json",)):
        result = CliRunner().invoke(main, [*arguments, "--redact", "mask", *face])
        assert result.exit_code == 0
        assert "receivedAt" not in result.stdout
        assert "as captured" not in result.stdout
