"""Any argument to a public function works, or raises one error of the error tree with a reason."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import chatlio_kit as ck
from chatlio_kit.aep import Platform
from chatlio_kit.connection import Connection
from chatlio_kit.errors import FrameError, Unreachable, UsageError
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import running
from chatlio_kit.tables import Tables

WRONG: dict[str, Any] = {
    "none": None,
    "number": 7,
    "negative": -1,
    "nan": float("nan"),
    "yes": True,
    "empty text": "",
    "words": "no such \u2500 thing",
    "nul": "a\0b",
    "bytes": b"transcript",
    "path": Path("nowhere/at/all"),
    "moment": datetime(2024, 3, 11, tzinfo=UTC),
    "empty list": [],
    "nested list": [["transcript"], None],
    "mapping": {"a": 1},
    "frame": pd.DataFrame({"event_id": [1]}),
    "array": np.arange(3),
    "object": object(),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all files."""
    return tmp_path_factory.mktemp("wrong")


@pytest.fixture(scope="module")
def captures(folder: Path) -> Path:
    """A small export, with a Slack export of the same chats next to it."""
    return ck.write_sample(folder / "captures", events=20, seed=7, slack=True).path


@pytest.fixture(scope="module")
def tables(captures: Path) -> Tables:
    """Its tables."""
    return ck.read_export(captures).to_tables(quiet=True)


@pytest.fixture(scope="module")
def platform(folder: Path) -> Iterator[Platform]:
    """A local platform."""
    state = folder / "state"
    with (
        running(state / "local", enabling_delay=0.02, processing_delay=0.02) as server,
        Platform(settings_of(server, state)) as opened,
    ):
        yield opened


@pytest.fixture(scope="module")
def connection(platform: Platform) -> Connection:
    """A connection to it."""
    return ck.plan_connection(platform).apply(quiet=True)


@pytest.fixture(scope="module")
def calls(
    captures: Path, tables: Tables, platform: Platform, connection: Connection, folder: Path
) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Every public callable with arguments that are right."""
    export = ck.read_export(captures)
    slack = captures.with_name("captures.slack.zip")
    plan = ck.plan_connection(platform, quiet=True)
    run = ck.stream(tables, connection, quiet=True)
    measured = ck.measure(tables)
    return {
        "open_platform": (ck.open_platform, {"platform": "moon", "state": folder / "none"}),
        "audit_identities": (ck.audit_identities, {"tables": tables}),
        "check_platform": (ck.check_platform, {"platform": platform}),
        "plan_connection": (ck.plan_connection, {"platform": platform}),
        "open_connection": (ck.open_connection, {"platform": platform}),
        "read_export": (ck.read_export, {"paths": captures}),
        "read_slack": (ck.read_slack, {"path": slack, "channels": "z-*", "app_ids": "A0CHATLIO1"}),
        "inspect_slack": (ck.inspect_slack, {"path": slack}),
        "read_tables": (ck.read_tables, {"folder": folder / "none"}),
        "measure": (ck.measure, {"tables": tables}),
        "frames": (tables.frames, {}),
        "to_excel": (tables.to_excel, {"path": folder / "chats.xlsx"}),
        "measured.frame": (measured.frame, {"metric": "missed"}),
        "figure": (measured.figure, {"metric": "missed"}),
        "overview": (measured.overview, {}),
        "measured.to_excel": (measured.to_excel, {"path": folder / "metrics.xlsx"}),
        "stream": (ck.stream, {"tables": tables, "connection": connection}),
        "replay": (ck.replay, {"connection": connection}),
        "revert": (ck.revert, {"connection": connection, "run": 1}),
        "backfill": (ck.backfill, {"captures": captures, "platform": platform}),
        "backfill_turns": (ck.backfill_turns, {"captures": captures, "platform": platform}),
        "disconnect": (ck.disconnect, {"platform": platform, "name": "other"}),
        "forget": (ck.forget, {"state": folder / "none", "email": "nobody@example.org"}),
        "write_sample": (ck.write_sample, {"out": folder / "sample", "events": 3}),
        "open_lesson": (ck.open_lesson, {"step": "moon"}),
        "explore": (ck.explore, {"tables": tables, "state": folder / "state"}),
        "trace": (ck.trace, {"what": "a/b:1", "state": folder / "state"}),
        "to_tables": (export.to_tables, {}),
        "tables.explore": (tables.explore, {}),
        "search": (tables.search, {"query": "order"}),
        "read_conversation": (tables.read_conversation, {}),
        "dictionary": (tables.dictionary, {"table": "events"}),
        "apply": (plan.apply, {}),
        "plan.sheet": (plan.sheet, {}),
        "write_webhook_urls": (connection.write_webhook_urls, {"path": folder / "urls.json"}),
        "history_flow": (connection.history_flow, {"kind": "feedback"}),
        "read_rows": (connection.read_rows, {}),
        "sheet": (connection.sheet, {}),
        "write_samples": (plan.by_hand().write_samples, {"folder": folder / "by-hand"}),
        "reconcile": (run.reconcile, {"wait": 0}),
    }


CALLABLES = [
    *(name for name in ck.__all__ if inspect.isfunction(getattr(ck, name))),
    *("to_tables", "read_conversation", "dictionary", "apply", "plan.sheet", "write_webhook_urls"),
    *("frames", "to_excel", "measured.frame", "figure", "overview", "measured.to_excel"),
    *("history_flow", "read_rows", "sheet", "write_samples", "reconcile", "tables.explore", "search"),
]


@pytest.mark.parametrize("name", CALLABLES)
def test_no_argument_breaks_it(
    name: str, calls: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seventeen wrong values for each argument: no error but of the tree, in Python's words."""
    monkeypatch.chdir(tmp_path)  # some of them are paths that could be written
    function, right = calls[name]
    for parameter in inspect.signature(function).parameters:
        for what, value in WRONG.items():
            try:
                function(**{**right, parameter: value})
            except ck.ChatlioKitError as error:
                said = str(error)
                assert said.endswith("."), (parameter, what, said)
                assert "--" not in said.replace("---", ""), (parameter, what, said)
                assert "object at 0x" not in said, (parameter, what, said)


def test_a_string_is_not_a_list(platform: Platform) -> None:
    """The message shows the correct form."""
    with pytest.raises(UsageError, match=r"webhooks=\['transcript'\]"):
        ck.plan_connection(platform, webhooks="transcript")


def test_a_missing_argument_is_named_by_python() -> None:
    """As with any other function."""
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        ck.stream(None)  # type: ignore[call-arg,arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        ck.read_export(".", colour="red")  # type: ignore[call-arg]


@pytest.mark.parametrize("value", [5, None, [], {"event_id": []}, pd.Series([1])])
def test_a_table_accepts_only_a_frame(tables: Tables, value: Any) -> None:
    """An assigned value is checked immediately, not when it is sent."""
    before = tables.events
    with pytest.raises(FrameError, match=r"tables\.events is a pandas frame, not"):
        tables.events = value
    assert tables.events is before


EDITS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "texts for times": lambda frame: frame.assign(occurred_at="yesterday"),
    "numbers for texts": lambda frame: frame.assign(event_id=range(len(frame))),
    "objects": lambda frame: frame.astype(object),
    "lists in cells": lambda frame: frame.assign(message=[["a", "b"]] * len(frame)),
    "naive times": lambda frame: frame.assign(occurred_at=frame["occurred_at"].dt.tz_localize(None)),
    "categories": lambda frame: frame.assign(kind=frame["kind"].astype("category")),
    "floats for whole numbers": lambda frame: frame.assign(message_count=0.5),
    "no columns": lambda frame: frame[[]],
    "a column twice": lambda frame: pd.concat([frame, frame[["kind"]]], axis=1),
    "columns of numbers": lambda frame: frame.set_axis(range(frame.shape[1]), axis=1),
    "two levels of columns": lambda frame: pd.concat({"a": frame}, axis=1),
    "another order": lambda frame: frame[list(reversed(frame.columns))],
    "rows twice": lambda frame: pd.concat([frame, frame]),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("table", ["events", "messages"])
def test_an_edited_frame_that_no_longer_fits(
    tables: Tables, connection: Connection, edit: str, table: str
) -> None:
    """A wrong type is reported as such; only errors of the tree are raised, and frames stay unchanged."""
    frame = getattr(tables, table)
    try:
        changed = EDITS[edit](frame)
    except KeyError:  # messages have no such column
        return
    setattr(tables, table, changed)
    said = f"frame {table}"
    try:
        ck.stream(tables, connection, quiet=True)
    except ck.ChatlioKitError as error:
        said = str(error)
    finally:
        setattr(tables, table, frame)
    assert f"frame {table}" in said


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("table", ["events", "messages"])
def test_an_edited_frame_is_searched_or_refused(tables: Tables, edit: str, table: str) -> None:
    """A search works, or names the frame that it cannot read."""
    frame = getattr(tables, table)
    try:
        changed = EDITS[edit](frame)
    except KeyError:  # messages have no such column
        return
    setattr(tables, table, changed)
    said = f"The frame {table} "
    try:
        assert len(tables.search("order")) <= len(tables.search(""))
    except FrameError as error:
        said = str(error)
    finally:
        setattr(tables, table, frame)
    assert f"The frame {table} " in said


def test_a_local_platform_that_has_ended(folder: Path, tables: Tables) -> None:
    """Calls through the old object advise opening it again."""
    state = folder / "ended"
    with running(state / "local", enabling_delay=0.02, processing_delay=0.02) as server:
        platform = Platform(settings_of(server, state), sleep=lambda _: None)
        connection = ck.plan_connection(platform).apply(quiet=True)
    for call in (
        lambda: ck.check_platform(platform, quiet=True).checks,
        lambda: ck.plan_connection(platform),
        lambda: ck.stream(tables, connection, quiet=True),
        lambda: ck.disconnect(platform),
    ):
        try:
            said = repr(call())
        except Unreachable as error:
            said = str(error)
        assert "open it again: ck.open_platform()" in said
    platform.close()
