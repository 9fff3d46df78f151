"""Events loaded in batches: dataset, ledger and page equal those of a stream, even after faults."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa
import pytest
import soak_bulk
from click.testing import CliRunner

import chatlio_kit as ck
from chatlio_kit.aep import Platform
from chatlio_kit.aep import http as wire
from chatlio_kit.aep.batch_ingestion import BatchIngestion
from chatlio_kit.aep.data_access import DataAccess
from chatlio_kit.cli import main
from chatlio_kit.delivery import DestinationLedger, Ledger, Page, reconcile
from chatlio_kit.delivery.bulk import files, loader
from chatlio_kit.delivery.bulk import run as bulk_run
from chatlio_kit.errors import LedgerBusy, PlatformError, UsageError
from chatlio_kit.jobs.backfill import backfill
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import running
from chatlio_kit.local_platform.batch_ingestion import promotion
from chatlio_kit.samples import write_sample

pytestmark = pytest.mark.usefixtures("short_pauses")
EVENTS = 300
IDENTITIES = ["visitor_id=ChatlioVisitor", "visitor_email=Email"]


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample export."""
    return write_sample(tmp_path_factory.mktemp("x") / "c", events=EVENTS, seed=5).path


@pytest.fixture(scope="module")
def half(captures: Path) -> list[Path]:
    """Every second of its files."""
    return sorted(path for path in captures.rglob("*") if path.is_file())[::2]


@contextmanager
def opened(state: Path, **known: Any) -> Iterator[Platform]:
    """Open a local platform with a state folder of its own."""
    with (
        running(state / "local", enabling_delay=0.02, processing_delay=0.01) as server,
        Platform(replace(settings_of(server, state), **known)) as platform,
    ):
        yield platform


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """A local platform."""
    with opened(tmp_path / "state") as platform:
        yield platform


def load(captures: Path | list[Path], platform: Platform, **options: Any) -> Page:
    """Load captures in batches."""
    return backfill(captures, platform, via="batch", wait=20, quiet=True, **options)


def connect(platform: Platform, name: str) -> ck.connection.Connection:  # type: ignore[name-defined]
    """Make a connection with identities."""
    return ck.plan_connection(platform, name, identities=IDENTITIES, quiet=True).apply(quiet=True)


def test_half_streamed_and_half_loaded_add_up_to_the_rows_of_a_stream(
    platform: Platform, captures: Path, half: list[Path]
) -> None:
    """The same ids, columns, identities and messages are in the dataset; one ledger's counts are right."""
    streamed, mixed = connect(platform, "streamed"), connect(platform, "mixed")
    # the visitors of half the files are not those of all, so both datasets get the halves alike
    first = [
        backfill(half, platform, name=name, skip_guard=True, wait=20, quiet=True)
        for name in ("streamed", "mixed")
    ][1]
    backfill(captures, platform, name="streamed", skip_guard=True, wait=20, quiet=True)
    second = load(captures, platform, name="mixed")
    said = second.as_dict()
    assert (first.as_dict()["via"], said["via"], said["run"], second.exit_code) == ("stream", "batch", 2, 0)
    assert said["duplicates"] == first.run.delivered > 0
    assert said["total"] == {"delivered": EVENTS, "dead_lettered": 0, "pending": 0, "landed": EVENTS}
    assert said["people"].keys() == first.as_dict()["people"].keys()
    assert second.arrived is not None
    assert second.arrived.lake_duplicates == 0
    frames = [connection.read_rows(quiet=True).reset_index(drop=True) for connection in (streamed, mixed)]
    columns = sorted(set(frames[0]) | {"_"})[1:]
    for frame in frames:
        frame["chat_messages"] = frame["chat_messages"].map(str)
    pd.testing.assert_frame_equal(frames[0][columns], frames[1][columns], check_like=True)
    maps = [_identities(connection) for connection in (streamed, mixed)]
    assert maps[0] == maps[1]
    event_id = frames[1]["event_id"][0]
    traced = str(ck.trace(event_id, state=platform.settings.state))
    assert any(batch.id in traced for batch in _batches(platform, "mixed"))
    loaded = set(frames[1]["event_id"]) - set(_ids_of(half))
    assert "run 2, batch 1, 1 attempt" in str(ck.trace(loaded.pop(), state=platform.settings.state))


def _ids_of(captures: list[Path]) -> list[str]:
    return [event_id for batch in ck.read_export(captures).batches() for event_id in batch.events["event_id"]]


def _identities(connection: Any) -> dict[str, str]:
    rows = ck.connection.rows.stored_rows(  # type: ignore[attr-defined]
        connection.platform, connection.dataset_id, ["_id", "identityMap"], []
    )
    return {row["_id"]: str(row["identityMap"]) for row in rows}


def test_a_run_is_reverted_and_replayed(captures: Path, platform: Platform) -> None:
    """Revert asks, reads back that the rows are gone, and refuses what it cannot; replay calls them back."""
    load(captures, platform)
    command = ["revert", "1", "--state", str(platform.settings.state)]
    asked = CliRunner().invoke(main, command, input="n\n")
    assert asked.exit_code == 2
    assert "Nothing was reverted" in asked.output
    connection = ck.open_connection(platform, quiet=True)
    assert len(connection.read_rows(quiet=True)) == EVENTS
    with pytest.raises(UsageError, match=r"There is no run 9 .* These runs can be reverted: 1\."):
        ck.revert(connection, 9)
    done = CliRunner().invoke(main, [*command, "--yes", "--json"])
    found = orjson.loads(done.stdout)
    assert (done.exit_code, found["events"], found["gone"], found["left"]) == (0, EVENTS, EVENTS, 0)
    assert [batch["status"] for batch in found["batches"]] == ["inactive"]
    assert connection.read_rows(quiet=True).empty
    again = ck.revert(connection, 1, quiet=True)
    assert (again.exit_code, again.as_dict()["gone"]) == (0, EVENTS)
    assert load(captures, platform).gone_by_reason == {}
    with pytest.raises(UsageError, match="Run 2 loaded no batches, and only batches can be reverted"):
        ck.revert(connection, 2)
    status = CliRunner().invoke(main, ["status", "--state", str(platform.settings.state), "--json"])
    assert orjson.loads(status.stdout)["destinations"][0]["gone_by_reason"] == {"batch_reverted": EVENTS}
    ck.replay(connection, gone=True, reason="batch_reverted", wait=0, quiet=True)
    page = load(captures / "transcript", platform)  # where the same files have other names
    page = load(captures, platform)
    assert (page.exit_code, page.total.landed, page.total.gone) == (0, EVENTS, 0)


def refuse_first(monkeypatch: pytest.MonkeyPatch, bad: int) -> None:
    """Leave out the time, which is required, of the first rows of a run."""
    make, left = bulk_run.xdm_table, [bad]

    def without_times(*arguments: Any) -> pa.Table:
        table = make(*arguments)
        time_field, rows = table.schema.field(1), table["timestamp"].to_pylist()
        here, left[0] = min(left[0], len(rows)), max(0, left[0] - len(rows))
        times = pa.array([None] * here + rows[here:], time_field.type)
        return table.set_column(1, time_field, times)

    monkeypatch.setattr(bulk_run, "xdm_table", without_times)


@pytest.mark.parametrize("bad", [15, 16])
def test_refused_records_become_dead_letters(
    captures: Path, platform: Platform, monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    """Up to 5 % are left out of a batch; with more, the batch fails, and is created again without them.

    Diagnostics that name no event or no error are passed over.
    """
    refuse_first(monkeypatch, bad)
    useless = [{"_errors": [{"code": "1"}]}, {"_id": "0" * 64, "_errors": []}]
    failed_rows = DataAccess.failed_rows
    monkeypatch.setattr(DataAccess, "failed_rows", lambda *given: chain(useless, failed_rows(*given)))
    page = load(captures, platform, name=connect(platform, "people").name)
    assert sum(page.people.values()) == EVENTS - bad
    assert page.dead_by_reason == {"1555": bad}
    assert (page.run.delivered, page.run.landed, page.run.dead_lettered) == (EVENTS - bad, EVENTS - bad, bad)
    assert (page.exit_code, page.retries) == (3, int(bad > EVENTS * 0.05))
    with Ledger(platform.settings.state) as ledger:
        bodies = [orjson.loads(body) for (body,) in ledger.fetch_all("SELECT body FROM kept_body")]
    assert len(bodies) == bad
    assert all("occurred_at" not in body and body["event_id"] for body in bodies)
    assert list((platform.settings.state / files.FOLDER).iterdir()) == []


def test_refused_records_without_diagnostics_become_dead_letters(
    captures: Path, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the batch only counts them, they are those that it has no rows of."""
    send_once = wire.send_once

    def keep_back(session: Any, method: str, url: str, **parts: Any) -> Any:
        if url.endswith(("/meta", "/failed")):
            return wire.Reply(404, b"{}", {})
        reply = send_once(session, method, url, **parts)
        if "/catalog/batches/" not in url or not isinstance(reply, wire.Reply):
            return reply
        batches = {name: {**batch, "errors": []} for name, batch in reply.json().items()}
        return replace(reply, content=orjson.dumps(batches))

    monkeypatch.setattr(wire, "send_once", keep_back)
    refuse_first(monkeypatch, 6)
    page = load(captures, platform)
    assert (page.run.landed, page.run.dead_lettered, page.retries) == (EVENTS - 6, 6, 0)


def test_a_batch_that_is_refused_entirely_is_reported_in_one_sentence(
    captures: Path, half: list[Path], platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guardrail's own words are shown; its events stay pending, and go out once that is put right."""
    with monkeypatch.context() as patched:
        patched.setattr(promotion, "MOST_FILES", 0)
        page = load(captures, platform)
    assert page.stopped_by is not None
    assert "Batch ingestion guardrails hit: 1 files (over the 0 threshold)" in page.stopped_by
    assert (page.exit_code, page.run.pending, page.run.delivered) == (1, EVENTS, 0)
    page = load(half, platform)
    assert page.total.pending == EVENTS - page.run.landed > 0
    page = load(captures, platform)
    assert (page.exit_code, page.total.landed, page.total.pending) == (0, EVENTS, 0)


def test_a_type_that_cannot_be_converted_fails_the_batch(
    captures: Path, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sheet's exception is named, not shown as a traceback."""
    schema = bulk_run.xdm_schema

    def wrong(*arguments: Any) -> pa.Schema:
        made = schema(*arguments)
        return made.set(2, pa.field("eventType", pa.list_(pa.string())))

    make = bulk_run.xdm_table

    def table(changed: pa.Schema, *frames: Any) -> pa.Table:
        rows = make(changed.set(2, pa.field("eventType", pa.string())), *frames)
        lists = pa.array([[kind] for kind in rows["eventType"].to_pylist()], pa.list_(pa.string()))
        return rows.set_column(2, changed.field(2), lists)

    monkeypatch.setattr(bulk_run, "xdm_schema", wrong)
    monkeypatch.setattr(bulk_run, "xdm_table", table)
    page = load(captures, platform)
    assert page.stopped_by is not None
    assert "TypeCompatibilityException" in page.stopped_by
    assert page.run.pending == EVENTS


@pytest.fixture
def interrupted(captures: Path, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """A platform after a load that was interrupted between upload and completion."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(BatchIngestion, "complete", stop)
        with pytest.raises(KeyboardInterrupt):
            load(captures, platform)
    return platform


def test_a_stream_finishes_an_interrupted_batch_first(captures: Path, interrupted: Platform) -> None:
    """Nothing is sent twice on either route; and forget is refused while files are waiting."""
    state = interrupted.settings.state
    with pytest.raises(LedgerBusy, match=r"Run 1 to the connection 'chatlio' was .* revert\(connection, 1\)"):
        ck.forget(email="ana@example.org", state=state)
    page = backfill(captures, interrupted, skip_guard=True, wait=20, quiet=True)
    assert (page.exit_code, page.run.delivered, page.total.landed) == (0, 0, EVENTS)
    assert any("interrupted batch 1 of run 1 is finished" in note for note in page.notes)
    assert page.arrived is not None
    assert page.arrived.lake_duplicates == 0


def test_revert_aborts_an_interrupted_batch(captures: Path, interrupted: Platform) -> None:
    """It was never completed, so nothing is in the dataset; its events are pending again."""
    connection = ck.open_connection(interrupted, quiet=True)
    with pytest.raises(UsageError, match=r"There is no run 9 .* These runs can be reverted: 1\."):
        ck.revert(connection, 9)
    result = ck.revert(connection, 1, quiet=True)
    assert ([batch.status for batch in result.batches], result.exit_code) == (["aborted"], 0)
    assert "not sent again" not in str(result)
    assert list((interrupted.settings.state / files.FOLDER).iterdir()) == []
    page = load(captures, interrupted)
    assert (page.exit_code, page.total.landed, page.total.pending) == (0, EVENTS, 0)


def test_lost_answers_make_no_second_batch(
    captures: Path, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform acted, and its answer was lost: on creating, uploading, completing and reverting."""
    send_once, lost = wire.send_once, set[str]()

    def lose_first(session: Any, method: str, url: str, **parts: Any) -> Any:
        reply = send_once(session, method, url, **parts)
        step = f"{method} {url.rpartition('/import/')[2].count('/')} {parts.get('params')}"
        if "/import/" in url and step not in lost:
            lost.add(step)
            return wire.Silence("the connection broke off", was_sent=True)
        return reply

    monkeypatch.setattr(wire, "send_once", lose_first)
    page = load(captures, platform)
    connection = ck.open_connection(platform, quiet=True)
    assert (page.exit_code, page.total.landed, len(connection.read_rows(quiet=True))) == (0, EVENTS, EVENTS)
    result = ck.revert(connection, 1, quiet=True)
    assert (result.exit_code, result.as_dict()["gone"]) == (0, EVENTS)
    assert len(lost) == 4


def test_an_upload_that_always_fails_is_reported_in_one_sentence(
    captures: Path, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sending stops; the next run uploads the same files into the same batch."""
    send_once = wire.send_once

    def break_off(session: Any, method: str, url: str, **parts: Any) -> Any:
        if method == "PUT" and "/import/" in url:
            return wire.Silence("the connection broke off", was_sent=True)
        return send_once(session, method, url, **parts)

    with monkeypatch.context() as patched:
        patched.setattr(wire, "send_once", break_off)
        page = load(captures, platform)
    assert page.stopped_by is not None
    assert "Batch ingestion could not upload '00001.parquet': the connection broke off" in page.stopped_by
    page = load(captures, platform)
    assert (page.exit_code, page.total.landed) == (0, EVENTS)
    batches = list(platform.catalog.batches(ck.open_connection(platform, quiet=True).dataset_id))
    assert [batch.status for batch in batches] == ["success"]


def test_a_first_batch_of_100_rows_is_read_back_before_the_rest_is_loaded(
    captures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on local, and once; if it is not read back as sent, nothing more is sent."""
    pauses = lambda seconds: time.sleep(min(seconds, 0.02))  # noqa: E731
    with opened(tmp_path / "state", is_local=False) as platform:
        platform.sleep = pauses
        connect(platform, "people")
        with monkeypatch.context() as patched:
            patched.setattr(bulk_run, "count_lost_identities", lambda *_: 3)
            page = load(captures, platform, name="people")
        assert page.stopped_by is not None
        assert "3 of its rows were read back without the identities" in page.stopped_by
        assert (page.exit_code, page.run.delivered, page.run.pending) == (1, 100, EVENTS - 100)
        page = load(captures, platform, name="people")
        assert (page.exit_code, page.requests, page.total.landed) == (0, 2, EVENTS)
        rows = [batch.metrics["outputRecordCount"] for batch in _batches(platform, "people")]
        assert sorted(rows) == [100, 100, 100]


@pytest.mark.parametrize("bad", [0, EVENTS], ids=["without identities", "refused"])
def test_a_first_batch_of_fewer_rows_is_read_back_too(
    captures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    """The run names the problem with all of its rows, and does not wait for rows that were refused."""
    send = bulk_run.BulkRun.send

    def send_in_two(run: bulk_run.BulkRun, events: pd.DataFrame, messages: pd.DataFrame) -> None:
        send(run, events[:10], messages)
        send(run, events[10:], messages)

    monkeypatch.setattr(bulk_run.BulkRun, "send", send_in_two)
    monkeypatch.setattr(bulk_run, "count_lost_identities", lambda _, records, __: len(records))
    refuse_first(monkeypatch, bad)
    with opened(tmp_path / "state", is_local=False) as platform:
        connect(platform, "people")
        page = load(captures / "feedback", platform, name="people")
    lost = "its rows were not" if bad else f"{page.run.delivered} of its rows were"
    assert f"but {lost} read back" in str(page.stopped_by)


def test_batches_of_a_run_add_up_and_are_uploaded_at_the_pace_of_the_guardrail(
    captures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that was created twice and one that was created once are three requests, and one a retry."""
    refuse_first(monkeypatch, 10)
    monkeypatch.setattr(loader, "BYTES_PER_SECOND", 1)
    pauses: list[float] = []
    with opened(tmp_path / "state", is_local=False) as platform:
        platform.sleep = pauses.append
        connect(platform, "people")
        page = load(captures, platform, name="people")
    assert (page.requests, page.retries, page.run.landed) == (3, 1, EVENTS - 10)
    assert any("Loaded in 2 batches" in note for note in page.notes)
    assert max(pauses) > 10_000  # a byte a second


def _batches(platform: Platform, name: str) -> list[Any]:
    return list(platform.catalog.batches(ck.open_connection(platform, name, quiet=True).dataset_id))


def test_a_refused_revert_is_reported_in_one_sentence(
    captures: Path, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform's words are shown, and the rows are where they were."""
    load(captures, platform)
    send_once = wire.send_once

    def refuse(session: Any, method: str, url: str, **parts: Any) -> Any:
        if ("action", "REVERT") in (parts.get("params") or ()):
            return wire.Reply(403, b'{"title": "Forbidden", "detail": "You may not revert"}', {})
        return send_once(session, method, url, **parts)

    monkeypatch.setattr(wire, "send_once", refuse)
    result = ck.revert(ck.open_connection(platform, quiet=True), 1, quiet=True)
    assert (result.exit_code, result.as_dict()["left"], result.as_dict()["gone"]) == (1, EVENTS, 0)
    assert "Batch ingestion could not revert the batch: You may not revert (HTTP 403)" in str(result)


def test_turns_are_only_streamed_and_options_of_other_routes_are_refused(
    captures: Path, tmp_path: Path, platform: Platform
) -> None:
    """Another route, turns by batch, and options of the other route are refused in one sentence each."""
    with pytest.raises(UsageError, match="pace= is for streams, and has no effect with via=batch"):
        ck.backfill(captures, platform, via="batch", pace=5)
    with pytest.raises(UsageError, match="via= is 'stream' or 'batch', not 'mail'"):
        ck.backfill(captures, platform, via="mail")
    done = CliRunner().invoke(
        main, ["backfill", str(captures), "--turns", "--via", "batch", "--state", str(tmp_path / "s")]
    )
    assert (done.exit_code, "Conversation turns are streamed" in done.output) == (2, True)


def test_a_verdict_that_does_not_come_ends_the_run(
    captures: Path, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page names the batch, and a stream before the verdict is refused."""
    monkeypatch.setattr(promotion.Promotion, "step", lambda *_: None)
    page = load(captures, platform, patience=0.05)
    assert page.stopped_by is not None
    assert "it is still loaded" in page.stopped_by
    assert page.run.pending == EVENTS
    with pytest.raises(PlatformError, match="it is still loaded"):
        backfill(captures, platform, patience=0.05, quiet=True)
    result = ck.revert(ck.open_connection(platform, quiet=True), 1, wait=0.05, quiet=True)  # nor does it wait
    assert (result.exit_code, [batch.status for batch in result.batches]) == (1, ["loaded"])
    assert "it is still loaded" in str(result)


def test_an_interrupted_batch_that_was_reverted_elsewhere_is_sent_again(
    captures: Path, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run reports it and goes on: its events are pending, so they go into a new batch."""
    with monkeypatch.context() as patched:
        patched.setattr(promotion.Promotion, "step", lambda *_: 0.05)  # the seconds until it looks again
        assert load(captures, platform, patience=0.02).run.pending == EVENTS
    connection = ck.open_connection(platform, quiet=True)
    (batch,) = platform.catalog.batches(connection.dataset_id)
    while platform.catalog.batch(batch.id).status != "success":
        time.sleep(0.02)
    platform.batches.revert(batch.id)
    while platform.catalog.batch(batch.id).status != "inactive":
        time.sleep(0.02)
    page = load(captures, platform)
    assert (page.exit_code, page.total.landed, page.total.pending) == (0, EVENTS, 0)
    note = "batch 1 of run 1 is inactive on the platform"
    assert any(note in said for said in page.notes)
    assert not any(note in said for said in load(captures, platform).notes)


def _truncate(state: Path) -> None:
    for path in (state / files.FOLDER).rglob("*.parquet"):
        path.write_bytes(path.read_bytes()[:-100])


def test_truncated_files_are_sent_again_from_the_captures(captures: Path, interrupted: Platform) -> None:
    """A crash can truncate a file that was written; a new batch takes its events."""
    _truncate(interrupted.settings.state)
    page = load(captures, interrupted)
    assert (page.exit_code, page.total.landed, page.total.pending) == (0, EVENTS, 0)


@pytest.mark.parametrize("lose", [lambda state: files.remove_files(state / files.FOLDER), _truncate])
def test_a_failed_batch_without_files_is_reported_in_one_sentence(
    captures: Path, platform: Platform, monkeypatch: pytest.MonkeyPatch, lose: Callable[[Path], None]
) -> None:
    """Removed or truncated files cannot be sent again: their events are pending until a new batch."""
    make = bulk_run.xdm_table

    def without_times(*arguments: Any) -> pa.Table:
        table = make(*arguments)
        return table.set_column(1, table.schema.field(1), pa.nulls(len(table), table.schema.field(1).type))

    with monkeypatch.context() as patched:
        patched.setattr(bulk_run, "xdm_table", without_times)
        patched.setattr(promotion.Promotion, "step", lambda *_: 0.01)  # the seconds until it looks again
        assert load(captures, platform, patience=0.05).run.pending == EVENTS
    lose(platform.settings.state)
    with pytest.raises(PlatformError, match="300 errors"):
        load(captures, platform)
    connection = ck.open_connection(platform, quiet=True)
    with Ledger(platform.settings.state) as ledger:
        found = reconcile(connection, DestinationLedger(ledger, connection.destination), quiet=True)
    assert found.total.pending == EVENTS
    page = load(captures, platform)
    assert (page.exit_code, page.total.landed) == (0, EVENTS)


def test_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """A short soak: killed at calls and at a moment, under faults; then reverted."""
    moments: list[dict[str, Any]] = [{"at": 2}, {"at": 24}]
    found = soak_bulk.soak(tmp_path, events=2_000, seed=3, file_bytes=30_000, moments=moments)
    assert found["kills that hit"] == len(moments)
    assert soak_bulk.is_right(found), found
