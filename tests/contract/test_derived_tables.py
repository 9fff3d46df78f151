"""Edge cases of derived tables: the transcript shown, the start of a chat, answers and their times."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import chatlio_kit as ck
from chatlio_kit.tables import convert

Payload = dict[str, Any]
Frames = dict[str, pd.DataFrame]
Convert = Callable[..., Frames]
QUESTION, ANSWER = "1710144005.000200", "1710144061.448129"


@pytest.fixture(params=["frames", "files"])
def derived(
    request: pytest.FixtureRequest, tmp_path: Path, ndjson: Callable[[Path, Iterable[Any]], Path]
) -> Convert:
    """Return the tables of captures, as a notebook's frames and as files."""

    def derive(*captures: Payload) -> Frames:
        export = ck.read_export(ndjson(tmp_path / "captures.ndjson", captures))
        if request.param == "frames":
            return export.to_tables(quiet=True).frames()
        convert(export, tmp_path / "out", quiet=True)
        return {path.stem: pd.read_parquet(path) for path in (tmp_path / "out").glob("*.parquet")}

    return derive


@pytest.fixture
def transcripts(transcript: Payload, envelope: Callable[..., Payload]) -> Callable[..., list[Payload]]:
    """Return transcripts of one conversation from the texts of their messages and their ends."""

    def write(*reported: tuple[str, list[str]]) -> list[Payload]:
        found = []
        for ended_at, texts in reported:
            messages = [
                {**transcript["messages"][0], "ts": f"171014400{place}.000000", "text": text}
                for place, text in enumerate(texts)
            ]
            agent = {"agentName": texts[0], "endedAt": ended_at}
            found.append(envelope({**deepcopy(transcript), **agent, "messages": messages}))
        return found

    return write


@pytest.mark.parametrize(
    ("reported", "shown"),
    [
        ([("2024-03-11T09:00:00Z", ["full", "full"]), ("2024-03-11T10:00:00Z", ["late"])], "full"),
        ([("2024-03-11T10:00:00Z", ["late"]), ("2024-03-11T09:00:00Z", ["full", "full"])], "full"),
        ([("2024-03-11T09:00:00Z", ["early"]), ("2024-03-11T10:00:00Z", ["late"])], "late"),
        ([("2024-03-11T10:00:00Z", ["first"]), ("2024-03-11T10:00:00.0000001Z", ["second"])], "first"),
    ],
)
def test_the_fullest_transcript_is_shown(
    derived: Convert, transcripts: Callable[..., list[Payload]], reported: list[Any], shown: str
) -> None:
    """It has the most messages; among equals, the latest end; then the one that was read first."""
    tables = derived(*transcripts(*reported))
    assert len(tables["events"]) == 2
    assert tables["conversations"]["agent_name"].tolist() == [shown]
    assert set(tables["messages"]["text"]) == {shown}


@pytest.mark.parametrize(
    ("answers", "seconds"),
    [
        ([QUESTION.zfill(18)], 0.0),  # Slack's ids are texts: two of them can name one instant
        (["1710144004.999999"], None),
        (["1710144004.999999", ANSWER], 56.447929),
        ([ANSWER, "1710144070.000000"], 56.447929),
    ],
)
def test_an_answer_counts_from_the_instant_of_its_question(
    derived: Convert,
    transcript: Payload,
    envelope: Callable[..., Payload],
    answers: list[str],
    seconds: float | None,
) -> None:
    """An agent's message at the same instant is an answer after zero seconds; an earlier one is not."""
    question, answer = transcript["messages"]
    transcript["messages"] = [question, *({**answer, "ts": ts} for ts in answers)]
    (found,) = derived(envelope(transcript))["conversations"].to_dict("records")
    assert found["agent_messages"] == len(answers)
    assert found["answered_by"] == answer["username"]
    if seconds is None:
        assert pd.isna(found["first_response_seconds"])
    else:
        assert found["first_response_seconds"] == seconds


@pytest.mark.parametrize(
    ("events", "started_at", "page"),
    [
        ([("unanswered", 1), ("conversation_started", 2), ("feedback", 3)], 2, 2),
        ([("feedback", 3), ("conversation_started", 4)], 4, 4),
        ([("feedback", 3), ("unanswered", 1)], 1, 1),
    ],
)
def test_a_conversation_begins_with_its_start_or_its_first_event(
    derived: Convert,
    conversation: Payload,
    envelope: Callable[..., Payload],
    events: list[tuple[str, int]],
    started_at: int,
    page: int,
) -> None:
    """Without a transcript: when ``conversation_started`` came, else when its first event did."""
    captures = []
    for kind, minute in events:
        payload = deepcopy(conversation)
        payload["visitor"]["currentPage"] = f"https://shop.example/{minute}"
        captures.append(envelope(payload, kind, f"2024-03-11T08:{minute:02}:00Z"))
    (found,) = derived(*captures)["conversations"].to_dict("records")
    assert found["started_at"] == pd.Timestamp(f"2024-03-11T08:{started_at:02}:00Z")
    assert found["page_url"] == f"https://shop.example/{page}"
    assert pd.isna(found["ended_at"])
    assert pd.isna(found["duration_seconds"])


def test_a_transcript_determines_the_start_of_its_conversation(
    derived: Convert, transcript: Payload, conversation: Payload, envelope: Callable[..., Payload]
) -> None:
    """A transcript's own start comes before any event's time; without one, the event's time is taken."""
    started = envelope(conversation, "conversation_started", "2024-03-11T07:00:00Z")
    reported = derived(started, envelope(transcript))["conversations"]["started_at"].tolist()
    assert reported == [pd.Timestamp("2024-03-11T07:59:41.560106Z")]
    transcript["startedAt"] = ""
    reported = derived(started, envelope(transcript))["conversations"]["started_at"].tolist()
    assert reported == [pd.Timestamp("2024-03-11T07:00:00Z")]


def test_a_visitor_has_the_latest_known_facts(
    derived: Convert, conversation: Payload, envelope: Callable[..., Payload]
) -> None:
    """Each fact is the latest that is known; of two at one instant, the one that was read last."""
    captures = []
    for minute, email, place in ((5, "new@x.example", ""), (1, "old@x.example", "Madrid"), (5, "", "Rome")):
        payload = deepcopy(conversation)
        payload["visitor"] |= {"email": email, "location": place, "handle": f"h{len(captures)}"}
        captures.append(envelope(payload, "feedback", f"2024-03-11T08:{minute:02}:00Z"))
    (found,) = derived(*captures)["visitors"].to_dict("records")
    assert (found["visitor_email"], found["location"]) == ("new@x.example", "Rome")
    assert found["visitor_handle"] == "h2"
    assert (found["conversations"], found["events"]) == (1, 3)
    assert found["first_seen_at"] == pd.Timestamp("2024-03-11T08:01:00Z")
    assert found["last_seen_at"] == pd.Timestamp("2024-03-11T08:05:00Z")
