"""Lessons start where the previous one ended, report missing parts, and leave nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import chatlio_kit as ck
from chatlio_kit import local_platform
from chatlio_kit.errors import NothingAccepted, TooEarly
from chatlio_kit.jobs import notebooks as lessons
from chatlio_kit.jobs.platforms import STORE

OPEN_AND_DIE = """
import os, signal, sys
import chatlio_kit as ck
lesson = ck.open_lesson("start")
lesson.captures, lesson.platform.catalog
print(lesson.folder, flush=True)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_last_lesson_has_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts with all rows landed, and its three sides agree."""
    monkeypatch.setattr(lessons, "SAMPLE_EVENTS", 300)
    try:
        lesson = ck.open_lesson("verify", state=tmp_path)
        accepted = lesson.tables.counts.by_kind
        assert accepted.total() == len(lesson.tables.events) > 0
        assert lesson.run.ledger()["landed"].to_dict() == dict(accepted)
        assert lesson.connection.dataflow_runs()["ingested"].to_dict() == dict(accepted)
        rows = lesson.connection.read_rows(quiet=True)
        assert rows["kind"].value_counts().to_dict() == dict(accepted)
        assert set(rows["event_id"]) == set(lesson.tables.events["event_id"])
        assert lesson.run.reconcile(wait=0).run.landed == accepted.total()
        assert str(tmp_path) not in repr(lesson) + lesson._repr_html_()
        assert "run" in repr(lesson)
    finally:
        local_platform.stop(tmp_path / STORE)


def test_captures_without_kind_or_time_need_parameters(tmp_path: Path, conversation: dict[str, Any]) -> None:
    """If nothing was accepted, there is nothing to stream; a parameter is enough to change that."""
    captures = tmp_path / "hooks.json"
    captures.write_text(json.dumps(conversation))
    asked = "No record in .* was accepted \\(1 kind_unknown\\).* KIND and UNDATED_AS"
    try:
        with pytest.raises(NothingAccepted, match=asked):
            ck.open_lesson("stream", state=tmp_path, captures=captures)
        reported = {"kind": "feedback", "undated_as": "file-time"}
        assert len(ck.open_lesson("stream", state=tmp_path, captures=captures, **reported).tables.events) == 1
    finally:
        local_platform.stop(tmp_path / STORE)


@pytest.mark.parametrize(
    ("step", "name"),
    [("connect", "captures"), ("convert", "connection"), ("convert", "tables"), ("stream", "run")],
)
def test_a_step_taken_too_early_is_reported_in_one_sentence(step: str, name: str, tmp_path: Path) -> None:
    """If asked for a later result, a lesson names its source without opening a platform."""
    lesson = ck.open_lesson(step, platform="aep", state=tmp_path)
    with pytest.raises(TooEarly, match=f"The lesson '{step}' starts without {name}: "):
        getattr(lesson, name)


def test_experience_platform_gets_no_sample_captures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, a lesson reads the user's own captures, and asks for them."""
    monkeypatch.chdir(tmp_path)
    lesson = ck.open_lesson("convert", platform="aep")
    assert lesson.folder == Path(".chatlio-kit")
    with pytest.raises(TooEarly, match="CAPTURES"):
        _ = lesson.captures
    assert ck.open_lesson("convert", platform="aep", captures="mine").captures == ["mine"]
    assert not list(tmp_path.iterdir())


def test_an_unknown_lesson_or_platform_is_refused() -> None:
    """The sentence lists what there is."""
    with pytest.raises(ck.ChatlioKitError, match="stream, verify, slack, people, answers"):
        ck.open_lesson("dance")
    with pytest.raises(ck.ChatlioKitError, match="neither local nor aep"):
        ck.open_lesson("start", platform="moon")


@pytest.mark.parametrize("ending", ["returned", "killed"])
def test_a_temporary_folder_is_removed_with_its_process(ending: str) -> None:
    """However the process ends, the folder and its server are soon gone."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN_AND_DIE, ending], capture_output=True, text=True, check=False, timeout=60
    )
    folder = Path(done.stdout.strip())
    assert folder.name.startswith("chatlio-kit-lesson-")
    deadline = time.monotonic() + 20
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()
    assert done.stderr == ""
    assert done.returncode == (0 if ending == "returned" else -9)
