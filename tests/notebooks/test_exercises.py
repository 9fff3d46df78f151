"""The exercises: right answers are recognised, wrong ones are explained, and none is given away."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import chatlio_kit as ck
from chatlio_kit.errors import UsageError
from chatlio_kit.jobs.exercises import EXERCISES
from chatlio_kit.jobs.notebooks import Step

ZONE, HOURS = "Europe/Berlin", "Mo-Fr 09:00-17:30"


@pytest.fixture(scope="module")
def about(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What questions are about, of a small export."""
    export = ck.read_export(
        ck.write_sample(tmp_path_factory.mktemp("sample") / "captures", events=400, bad_share=0.05).path
    )
    tables = export.to_tables(quiet=True)
    measured = ck.measure(tables, hours=HOURS, time_zone=ZONE, holidays="DE-BE")
    letters = pd.DataFrame({"source_file": ["a", "a", "b"]})
    rounded = tables.events.assign(occurred_at=tables.events["occurred_at"].dt.floor("ms"))
    both = SimpleNamespace(
        conversations=tables.conversations.assign(
            origin=tables.conversations["started_at"].dt.year.map({2025: "webhook"}).fillna("slack_export")
        ),
        messages=tables.messages.assign(origin=["slack_export", *["webhook"] * (len(tables.messages) - 1)]),
    )
    return {
        "both": both,
        "checks": SimpleNamespace(
            checks=[SimpleNamespace(verdict=each) for each in ("pass", "warn", "pass")]
        ),
        "plan": SimpleNamespace(
            objects=[
                SimpleNamespace(object=each)
                for each in ("schema", *("mapping set", "dataflow") * 3, "dataset")
            ]
        ),
        "tables": tables,
        "export": export,
        "measured": measured,
        "letters": letters,
        "rows": tables.events,
        "both frames": (tables.events, rounded),
        "audit": ck.audit_identities(tables, ["visitor_id=ChatlioVisitor"]),
    }


def _answers(about: dict[str, Any]) -> dict[tuple[str, int], tuple[str, Any]]:
    """Return for each exercise what it is about, and its answer in other words than the package's."""
    tables, rows = about["tables"], about["rows"]
    reasons = [rejection.reason for rejection in tables.rejections]
    offline = rows.query("kind == 'offline_message'")["occurred_at"].dt.strftime("%Y-%m")
    started, transcribed = (
        rows.query(f"kind == '{kind}'")["conversation_id"] for kind in ("conversation_started", "transcript")
    )
    replies = about["measured"].rows("reply_time")
    missed, chats = (about["measured"].rows(name) for name in ("missed", "conversations"))
    quarter = missed["at"].dt.tz_convert(ZONE).dt.tz_localize(None).dt.to_period("Q").dt.strftime("%Y-Q%q")
    first, back = about["both frames"]
    return {
        ("start", 1): ("tables", len(tables.visitors.query("conversations >= 2"))),
        ("start", 2): ("tables", tables.conversations["agent_name"].dropna().mode()[0]),
        ("start", 3): ("tables", len(tables.conversations.query("agent_messages >= 1"))),
        ("connect", 2): ("checks", 2),
        ("connect", 3): ("plan", 2),
        ("convert", 1): ("tables", sum("script" in text.lower() for text in tables.messages["text"])),
        ("convert", 2): (
            "measured",
            tables.conversations["started_at"].dt.tz_convert(ZONE).dt.strftime("%Y-%m").mode()[0],
        ),
        ("convert", 3): ("export", len(reasons) - reasons.count("undated")),
        ("stream", 1): ("tables", len(rows) - tables.counts.by_kind["feedback"]),
        ("stream", 2): ("tables", 2),
        ("stream", 3): ("letters", 2),
        ("verify", 1): ("rows", offline.mode()[0]),
        ("verify", 2): ("both frames", max((first["occurred_at"] - back["occurred_at"]).dt.microseconds)),
        ("verify", 3): ("rows", started.dropna().drop_duplicates().isin(transcribed).sum()),
        ("slack", 1): ("both", 24),
        ("slack", 3): ("both", 1),
        ("slack", 2): ("tables", tables.messages["author"].mode()[0]),
        ("people", 1): ("tables", ck.audit_identities(tables, "user_id=CustomerId").coverage),
        ("people", 2): ("tables", tables.visitors["visitor_email"].count()),
        ("people", 3): (
            "audit",
            (about["audit"].events["transcript"] - about["audit"].identified["transcript"])
            / about["audit"].events["transcript"],
        ),
        ("answers", 1): ("measured", missed["value"].groupby(quarter).mean().idxmax()),
        ("answers", 3): ("measured", chats["value"].sum() - chats["business_value"].sum()),
        ("answers", 2): ("measured", replies.groupby("agent")["value"].median().idxmin()),
    }


def test_right_answers_are_recognised(about: dict[str, Any]) -> None:
    """As a value, in a frame or a series; a slightly different one is not right."""
    for (step, number), (what, answer) in _answers(about).items():
        exercise = EXERCISES[step][number - 1]
        for given in (answer, pd.Series([answer]), pd.DataFrame({"answer": [answer]})):
            assert exercise.check(given, about[what]).word == "Right", (step, number, given)
        wrong = answer + "x" if isinstance(answer, str) else answer + 1
        assert exercise.check(wrong, about[what]).word == "Not yet", (step, number)


def test_every_lesson_has_three() -> None:
    """None is left without exercises."""
    assert set(EXERCISES) == set(Step)
    assert {len(exercises) for exercises in EXERCISES.values()} == {3}


def test_a_wrong_answer_is_explained(about: dict[str, Any]) -> None:
    """What was misread, what is missing, or the direction; never the right answer itself."""
    first, second, third = EXERCISES["start"]
    tables = about["tables"]
    right = str(int((tables.visitors["conversations"] > 1).sum()))
    told = {
        first.check(..., tables): "three dots",
        first.check(len(tables.visitors), tables): "every visitor",
        first.check(-1, tables): "too low",
        first.check(10_000, tables): "too high",
        first.check("many", tables): "asks for a number",
        first.check(tables.visitors["events"], tables): f"{len(tables.visitors)} values",
        first.check(tables.visitors.head, tables): "parentheses",
        first.check(1, "tables"): "not what the question is about",
        second.check(3, tables): "asks for a name",
        third.check(len(tables.conversations), tables): "answered or not",
    }
    for notice, words in told.items():
        assert notice.word == "Not yet"
        assert words in notice.sentence
        assert right not in notice.sentence.replace("10,000", "").replace("10000", "").split()
    assert "Not yet" in first.check(-1, tables)._repr_html_()


def test_an_unknown_exercise_is_a_sentence(tmp_path: Path) -> None:
    """There are three."""
    lesson = ck.open_lesson("start", state=tmp_path)
    assert lesson.check(1, ..., None).word == "Not yet"
    with pytest.raises(UsageError, match="exercises 1 to 3, and no 4"):
        lesson.check(4, ..., None)
