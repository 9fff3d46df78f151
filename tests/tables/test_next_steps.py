"""The end of a conversion: where things are, and which options settle rejections, tried on them."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable
from copy import deepcopy
from datetime import datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

import chatlio_kit as ck
from chatlio_kit.cli import main
from chatlio_kit.tables import Tables

Payload = dict[str, Any]
Make = Callable[[int], Payload]
AT = "2024-10-01T08:00:00Z"


@pytest.fixture
def make(conversation: Payload) -> Make:
    """Write distinct conversations of visitors over half a year."""

    def one(number: int) -> Payload:
        payload = deepcopy(conversation)
        payload["conversationUUID"] = f"7c1e9a52-3b6d-4f08-5a91-{number:012d}"
        payload["visitor"]["createdAt"] = f"2024-0{1 + number % 7}-09T18:20:11Z"
        return payload

    return one


def _write(path: Path, records: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return path


def _tables(path: Path, **options: Any) -> Tables:
    return ck.read_export(path, **options).to_tables(quiet=True)


def _run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


LOGGERS: list[tuple[str, Callable[[Payload], Any], str]] = [
    ("an object", lambda body: {"req": {"data": body}, "when": AT}, "payload=req.data,received=when"),
    (
        "JSON text",
        lambda body: {"hit": json.dumps(body), "ts": 1727769600},
        "payload=hit,received-seconds=ts",
    ),
    (
        "base64",
        lambda body: {"raw": base64.b64encode(json.dumps(body).encode()).decode(), "loggedAt": 1727769600123},
        "payload-base64=raw,received-milliseconds=loggedAt",
    ),
    ("keys with dots", lambda body: {"http.in": {"b": body}, "at": AT}, "payload=/http.in/b,received=at"),
    ("keys with blanks", lambda body: {"the body": body, "at": AT}, "payload=the body,received=at"),
    ("a path", lambda body: {"x": body, "at": AT, "route": "/feedback"}, "payload=x,received=at,kind=route"),
    ("a wrapped payload", lambda body: {"payload": {"in": body}, "receivedAt": AT}, "payload=payload.in,"),
    (
        "times in numbers",
        lambda body: {"payload": body, "receivedAt": 1727769600},
        "payload=payload,received-sec",
    ),
]


@pytest.mark.parametrize(("wrap", "fields"), [row[1:] for row in LOGGERS], ids=[row[0] for row in LOGGERS])
def test_the_place_of_a_payload_is_found(
    tmp_path: Path, make: Make, wrap: Callable[[Payload], Any], fields: str
) -> None:
    """Payload, time and kind are searched for; a proposed option accepts the records once it is used."""
    path = _write(tmp_path / "feedback.ndjson", [wrap(make(number)) for number in range(40)])
    tables = _tables(path)
    (step,) = tables.next_steps
    assert (step.records, step.tried, step.accepted) == (40, 30, 30)
    ((name, value),) = step.choices[0].items()
    assert name == "fields"
    assert value.startswith(fields)
    assert len(_tables(path, fields=value).events) == 40


def test_records_that_name_their_kind_get_no_other(tmp_path: Path, make: Make) -> None:
    """In a log of several kinds the path names most; one kind is not proposed for all, but for the rest."""
    routes = ["/chat/feedback", "/chat/unanswered", "/chat/new-conversation", "/chat"]
    path = _write(tmp_path / "a", [{"ts": AT, "path": routes[n % 4], "body": make(n)} for n in range(28)])
    (step,) = _tables(path).next_steps
    assert step.choices == ({"fields": "payload=body,received=ts,kind=path"},)
    assert (step.tried, step.accepted) == (28, 21)
    (rest,) = _tables(path, **step.choices[0]).next_steps
    assert (rest.reason, rest.records, len(rest.choices)) == ("kind_unknown", 7, 3)


def test_kinds_are_named_by_who_knows_them(tmp_path: Path, make: Make) -> None:
    """All three kinds with this shape are offered, each tried, and none is chosen."""
    path = _write(tmp_path / "a", [{"receivedAt": AT, "payload": make(number)} for number in range(35)])
    (step,) = _tables(path).next_steps
    said = "35 kind_unknown: try `--kind conversation_started`, `--kind unanswered` or `--kind feedback`"
    assert step.sentence().startswith(f"{said} (each accepts 30 of 30 tried)")
    assert '`kind="feedback"`' in step.sentence(is_python=True)
    assert len(_tables(path, **step.choices[2]).events) == 35


def test_two_options_are_proposed_where_one_is_not_enough(tmp_path: Path, make: Make) -> None:
    """Bare captures without kind and time need both; each choice accepts them all."""
    path = _write(tmp_path / "a", [make(number) for number in range(5)])
    (step,) = _tables(path).next_steps
    assert {frozenset(choice) for choice in step.choices} == {frozenset({"kind", "undated_as"})}
    assert len(_tables(path, **step.choices[0]).events) == 5


def test_frozen_fields_are_let_in_by_the_table_that_froze_them(tmp_path: Path, make: Make) -> None:
    """The proposed contract is the given one, except for what it freezes."""
    records = [{"receivedAt": AT, "payload": make(number) | {"mood": 1}} for number in range(3)]
    path = _write(tmp_path / "feedback", records)
    (step,) = _tables(path, contract="events=freeze,messages=discard_value").next_steps
    assert step.choices == ({"contract": "events=evolve"},)
    assert len(_tables(path, **step.choices[0]).events) == 3


HOPELESS: list[tuple[str, Callable[[Payload], Any]]] = [
    ("an unknown kind", lambda body: {"receivedAt": AT, "kind": "agent_joined", "payload": body}),
    ("an invalid time", lambda body: {"receivedAt": "yesterday", "payload": body}),
    ("a future time", lambda body: {"receivedAt": "2124-02-01T00:00:00Z", "payload": body}),
    ("another shape", lambda body: {"receivedAt": AT, "kind": "transcript", "payload": body}),
    ("no visitor", lambda body: {"receivedAt": AT, "payload": body | {"visitor": {"name": "x"}}}),
    ("somebody else's chat", lambda body: {"at": AT, "chat": {"messages": [], "email": "a@example.org"}}),
    ("not an object", lambda body: ["x"]),
    ("keys for a shell", lambda body: {"$(rm -rf x)": body, "`id`": AT}),
    ("one of several", lambda body: {"hits": [{"body": body}, {"body": body}], "at": AT}),
]


@pytest.mark.parametrize("wrap", [row[1] for row in HOPELESS], ids=[row[0] for row in HOPELESS])
def test_nothing_is_proposed_that_hides_an_error(
    tmp_path: Path, make: Make, wrap: Callable[[Payload], Any]
) -> None:
    """A wrong value has to be corrected, not skipped; a record that is not a webhook does not become one."""
    tables = _tables(_write(tmp_path / "feedback", [wrap(make(number)) for number in range(3)]))
    assert (len(tables.rejections), list(tables.next_steps)) == (3, [])


def test_a_record_that_is_not_utf_8_is_not_tried_as_if_it_were(tmp_path: Path, make: Make) -> None:
    """Its displayed text differs from its bytes, so no option is tried on it."""
    text = json.dumps({"receivedAt": AT, "payload": make(1) | {"message": "déjà"}}, ensure_ascii=False)
    (tmp_path / "feedback").write_bytes(f"{text}\n".encode("latin-1"))
    tables = _tables(tmp_path / "feedback")
    assert (len(tables.rejections), list(tables.next_steps)) == (1, [])


def test_options_that_change_other_records_have_a_warning(tmp_path: Path, make: Make) -> None:
    """``--fields`` overrides known dialects, so files that it would spoil are read separately."""
    known = [
        {"receivedAt": AT, "kind": "feedback", "payload": make(number) | {"in": make(20 + number)}}
        for number in range(3)
    ]
    _write(tmp_path / "x" / "a", known)
    _write(tmp_path / "x" / "b", [{"receivedAt": AT, "kind": "feedback", "payload": {"in": make(9)}}])
    (step,) = _tables(tmp_path / "x").next_steps
    assert "changes how others are read" in step.caution


def test_names_of_fields_are_hidden_where_content_is_redacted(tmp_path: Path, make: Make) -> None:
    """They are untrusted; and no record stays in memory after redaction."""
    path = _write(tmp_path / "feedback", [{"secret-7": make(1), "at": AT}])
    assert list(_tables(path).next_steps)
    assert not list(_tables(path, redact="drop").next_steps)


def test_convert_ends_with_places_and_next_steps(tmp_path: Path, make: Make) -> None:
    """Summary, report and page agree; they give the number of records tried."""
    folder, out = tmp_path / "x", tmp_path / "out"
    _write(folder / "a", [{"receivedAt": AT, "payload": make(number)} for number in range(4)])
    _write(folder / "feedback", [{"receivedAt": AT, "payload": make(number)} for number in range(10, 12)])
    _write(folder / "unanswered", [make(20)])
    result = _run("convert", folder, "--out", out)
    lines = result.stdout.splitlines()
    assert lines[-1].startswith(f"Next: chatlio-kit explore {out} or chatlio-kit metrics {out}.")
    assert lines[-4:-1] == [
        f"tables: {out}",
        f"report: {out / 'report.html'}",
        f"rejected records: {out / 'rejected.jsonl'}",
    ]
    report = orjson.loads((out / "report.json").read_bytes())
    assert {step["reason"]: step["records"] for step in report["next_steps"]} == report["rejected_by_reason"]
    assert "4 kind_unknown: try `--kind conversation_started`" in result.stdout
    page = unescape((out / "report.html").read_text(encoding="utf-8"))
    for step in report["next_steps"]:
        assert f"--{next(iter(step['choices'][0])).replace('_', '-')} " in page
    assert 'kind="feedback"' in page
    for reason, count in report["rejected_by_reason"].items():
        assert re.search(rf"{reason} +{count}\n", result.stdout)
        assert f"{reason}, 1 of {count}" in page
        assert re.search(rf"<td>{reason}</td><td[^>]*>{count}</td>", page)


def test_python_speaks_python(tmp_path: Path, make: Make) -> None:
    """The steps are shown as Python arguments in a notebook."""
    tables = _tables(_write(tmp_path / "feedback", [make(1)]))
    assert 'undated_as="visitor-created"' in repr(tables.next_steps)
    assert "--" not in repr(tables.next_steps)
    assert "undated_as" in tables.next_steps._repr_html_()


def _dated(folder: Path, times: list[datetime], make: Make) -> Path:
    for number, time in enumerate(times):
        path = _write(folder / f"feedback-{number}", [make(number)])
        os.utime(path, (time.timestamp(), time.timestamp()))
    return folder


COPIED = datetime.fromisoformat("2024-12-01T00:00:00+00:00")


def test_times_of_copies_are_suspected(tmp_path: Path, make: Make) -> None:
    """Files from one minute that mention half a year were copied; the option is proposed with a warning."""
    folder = _dated(tmp_path / "x", [COPIED + timedelta(seconds=number) for number in range(12)], make)
    (step,) = _tables(folder).next_steps
    assert "all 12 files were written within 11 s" in step.caution
    notes = " ".join(_tables(folder, undated_as="file-time").notes)
    assert "dated 12 events, but these times look like a copy's: all 12 files were written" in notes


def test_one_file_cannot_date_many_events(tmp_path: Path, make: Make) -> None:
    """Many events in one file cannot all have its time."""
    path = _write(tmp_path / "feedback", [make(number) for number in range(12)])
    assert "one file has all 12 of these events" in " ".join(_tables(path, undated_as="file-time").notes)


def test_files_older_than_their_events_are_suspected(tmp_path: Path, make: Make) -> None:
    """A visitor who came after the file was written did not write it."""
    folder = _dated(tmp_path / "x", [datetime.fromisoformat("2023-05-01T00:00:00+00:00")], make)
    assert "after their file's" in " ".join(_tables(folder, undated_as="file-time").notes)


def test_files_written_one_by_one_are_believed(tmp_path: Path, make: Make) -> None:
    """The option is meant for one file per webhook, written when it arrived."""
    times = [datetime.fromisoformat(f"2024-0{1 + number}-10T09:00:00+00:00") for number in range(7)]
    folder = _dated(tmp_path / "x", times, make)
    assert not any("copy" in note for note in _tables(folder, undated_as="file-time").notes)
    (step,) = _tables(folder).next_steps
    assert step.caution == ""


def test_a_reason_without_an_option_is_explained_by_its_first_record(tmp_path: Path, make: Make) -> None:
    """A wrong unit of time, and a value whose detail would quote it, each get a sentence on the terminal."""
    captures = tmp_path / "feedback.ndjson"
    odd = make(9) | {"conversationUUID": "ana@example.org"}
    rows = [{"at": 1_788_253_500_000, "body": make(1)}, {"at": 1_788_253_500, "body": odd}]
    captures.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    done = _run(
        "convert", captures, "--out", tmp_path / "out", "--fields", "payload=body,received-seconds=at"
    )
    lines = [line for line in done.stdout.splitlines() if ", such as " in line]
    assert lines[0].startswith("1 invalid_time, such as feedback.ndjson record 1: at is 1788253500000")
    assert "use --fields received-milliseconds=at" in lines[0]
    assert lines[1].startswith("1 invalid_value, such as feedback.ndjson record 2: ")
    assert "ana@example.org" not in done.stdout


def test_a_path_that_leads_to_nothing_is_named_before_a_stand_in(tmp_path: Path, make: Make) -> None:
    """A stand-in for time or kind would hide a wrong path of ``--fields``, so a caution names the path."""
    path = _write(
        tmp_path / "x.ndjson", [{"at": AT, "hook": "/in/new", "body": make(number)} for number in range(3)]
    )
    (kind,) = _tables(path, fields="payload=body,received=at,kind=hook").next_steps
    assert 'their hook is "/in/new", which names no kind' in kind.caution
    (time,) = _tables(path, fields="payload=body,received=when", kind="feedback").next_steps
    assert "none of them has when, which --fields (in Python fields=) names" in time.caution
