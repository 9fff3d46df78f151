"""Delivery with identities: the page's counts equal the platform's, and canaries cover every key."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import chatlio_kit as ck
from chatlio_kit.aep import Platform
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.cli import main
from chatlio_kit.connection import Connection
from chatlio_kit.connection.rows import stored_rows
from chatlio_kit.delivery import run
from chatlio_kit.delivery.canary import RECORDS, Canary
from chatlio_kit.delivery.requests.pacing import MESSAGES_PER_SECOND_TO_PROFILE
from chatlio_kit.delivery.requests.wire import WireRecord, WireRecords, wire_records
from chatlio_kit.jobs.backfill import backfill, forecast
from chatlio_kit.local_platform.lake import lake
from chatlio_kit.tables import Tables

OpenPlatform = Callable[..., Any]
PEOPLE = ["visitor_id=ChatlioVisitor", "visitor_email=Email"]
LINKED = "timeseries.identity.dataset.recordsuccess.count"
SKIPPED = "timeseries.identity.dataset.recordskipped.count"


def connect(platform: Platform, tables: Tables, *, profile: bool = True, slim: bool = False) -> Connection:
    """A connection with identities, for Profile or for the lake."""
    plan = ck.plan_connection(platform, "people", [], identities=PEOPLE, profile=profile, slim=slim)
    return plan.apply(audit=ck.audit_identities(tables, PEOPLE), confirm="people", quiet=True)


def edited(tables: Tables) -> Tables:
    """Frames with events that Profile leaves out: transcripts around its limit, events without a visitor."""
    events, messages = tables.events.copy(), tables.messages.copy()
    transcripts = events.index[events["kind"] == Kind.TRANSCRIPT]
    long = events.loc[transcripts[:3], "event_id"]
    messages.loc[messages["event_id"].isin(long), "text"] = "x" * 9_000
    around = events.loc[transcripts[9:]]
    around = around[around["event_id"].isin(messages["event_id"])]
    for number, record in enumerate(wire_records(around, messages)):
        first = messages.index[messages["event_id"] == record.event_id][0]
        room = 9_600 + 12 * number - len(record.body)
        messages.loc[first, "text"] += "y" * room
    lonely = events["conversation_id"].isin(events.loc[transcripts[5:9], "conversation_id"])
    keep = ~(lonely & (events["kind"] != Kind.TRANSCRIPT))
    return Tables(
        events[keep].reset_index(drop=True), tables.conversations, messages, tables.visitors,
        tables.offline_messages, [], tables.counts, [],
    )  # fmt: skip


def test_the_pages_counts_are_the_platforms_counters(
    open_settings: OpenPlatform, sample_tables: Tables
) -> None:
    """Lake, Profile and Identity apart; nothing is lost in the lake, and a second run sends nothing."""
    tables = edited(sample_tables)
    with open_settings() as platform:
        connection = connect(platform, tables)
        assert run.pace_for(connection) == MESSAGES_PER_SECOND_TO_PROFILE
        page = ck.stream(tables, connection, skip_guard=True, pace=5_000, quiet=True).reconcile(wait=30)
        total = len(tables.events)
        assert page.run.landed == total == connection.counters()["lake"]
        assert page.people["for Profile"] == connection.counters()["profile"]
        assert sum(page.people.values()) == total
        assert page.people["no identity"] >= 4
        assert page.people["too large for Profile"] >= 3
        audit = ck.audit_identities(tables, PEOPLE)
        assert page.people["no identity"] == total - sum(audit.identified.values())
        linked, skipped = (
            platform.observability.total(metric, connection.dataset_id) for metric in (LINKED, SKIPPED)
        )
        people = _identities(connection)
        assert page.people["no identity"] == total - len(people)
        assert linked == sum(len(identities) > 1 for identities in people.values()) > 0
        assert skipped == total - linked == sum(page.people.values()) - linked
        assert "In the lake but not in Profile: " in repr(page)
        assert page.as_dict()["people"] == page.people
        again = ck.stream(tables, connection, skip_guard=True, quiet=True).reconcile(wait=5)
        assert (again.run.delivered, again.counts.duplicates) == (0, total)
        rows = connection.read_rows(quiet=True)
        assert len(rows) == total


def test_profiles_are_the_audits_graphs(open_settings: OpenPlatform, sample_tables: Tables) -> None:
    """The platform builds the graphs that the audit predicted."""
    with open_settings() as platform:
        connection = connect(platform, sample_tables)
        ck.stream(sample_tables, connection, skip_guard=True, pace=5_000, quiet=True).reconcile(wait=30)
        status = platform.work_orders._transport.call(
            "Profile", "count profiles", "GET", "/data/core/ups/previewsamplestatus"
        ).json()
    audit = ck.audit_identities(sample_tables, PEOPLE)
    assert int(status["docCount"]) == audit.graphs.count


def test_events_past_the_expiry_are_counted_separately(
    open_settings: OpenPlatform, sample_tables: Tables
) -> None:
    """With an expiry, history is only in the lake, and the page agrees with the platform."""
    tables = edited(sample_tables)
    recent = pd.Timestamp(datetime.now(UTC) - timedelta(days=2))
    started = tables.events["kind"] == Kind.CONVERSATION_STARTED
    moved = tables.events.index[started][:7]
    tables.events.loc[moved, ["occurred_at", "received_at"]] = recent
    with open_settings(profile_days=30) as platform:
        connection = connect(platform, tables)
        page = ck.stream(tables, connection, skip_guard=True, pace=5_000, quiet=True).reconcile(wait=30)
        assert page.people["for Profile"] == connection.counters()["profile"] == len(moved)
        assert page.people["older than Profile keeps"] > 100
        assert page.run.landed == len(tables.events)


def test_slim_drops_messages_so_that_profile_accepts_long_transcripts(
    open_settings: OpenPlatform, sample_tables: Tables
) -> None:
    """Nothing is too large any more, and the rows have no messages."""
    tables = edited(sample_tables)
    with open_settings() as platform:
        connection = connect(platform, tables, slim=True)
        page = ck.stream(tables, connection, skip_guard=True, pace=5_000, quiet=True).reconcile(wait=30)
        assert "too large for Profile" not in page.people
        assert page.people["for Profile"] == connection.counters()["profile"]
        sample = ck.write_sample(platform.settings.state / "sample", events=20)
        assert "the dataset feeds Profile" in str(forecast(sample.path, platform, name="people"))
        assert "the dataset feeds Profile" not in str(forecast(sample.path, platform, name="another"))
        assert connection.read_rows(quiet=True)["chat_messages"].isna().all()


def test_captures_read_in_any_order_give_transcripts_their_visitor(
    open_settings: OpenPlatform, sample: Path, sample_tables: Tables
) -> None:
    """The event that names the visitor may be in another file; redacted values are not addresses."""
    with open_settings() as platform:
        connect(platform, sample_tables, profile=False)
        export = ck.read_export(sample, redact="personal=mask")
        page = backfill(export, platform, name="people", skip_guard=True, wait=30, quiet=True)
        connection = ck.open_connection(platform, "people")
        people = _identities(connection)
    identified = sum(ck.audit_identities(sample_tables, PEOPLE).identified.values())
    assert page.people["with an identity"] == identified == len(people)
    assert {code for each in people.values() for code in each} == {"ChatlioVisitor"}


def _identities(connection: Connection) -> dict[str, dict[str, list[dict[str, Any]]]]:
    rows = connection.read_rows(quiet=True)
    columns = ["_id", "identityMap"]
    found = stored_rows(connection.platform, connection.dataset_id, columns, [])
    people = {row["_id"]: dict(row["identityMap"]) for row in found if row["identityMap"]}
    assert set(people) <= set(rows["event_id"])
    return people


def test_the_canary_stops_where_identities_do_not_come_back(
    open_settings: OpenPlatform, sample_tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mapper that drops the map loses no row, so only reading it back shows the loss; volume waits."""
    with open_settings() as platform:
        connection = connect(platform, sample_tables)
        for kind in Kind:
            connection.history_flow(kind)
        land = lake.Pipeline.land

        def forgetful(self: Any, messages: Any) -> Any:
            landing = land(self, messages)
            if landing.table is not None:
                column = landing.table.schema.get_field_index("identityMap")
                nulls = pa.nulls(landing.table.num_rows, landing.table.schema.field(column).type)
                landing.table = landing.table.set_column(column, "identityMap", nulls)
            return landing

        with monkeypatch.context() as patch:
            patch.setattr(lake.Pipeline, "land", forgetful)
            page = ck.stream(sample_tables, connection, skip_guard=True, quiet=True).reconcile(wait=0)
        assert page.stopped_by is not None
        assert "without the identities" in page.stopped_by
        assert page.exit_code == 1
        assert page.run.delivered <= 2 * RECORDS
        again = ck.stream(sample_tables, connection, skip_guard=True, quiet=True).reconcile(wait=30)
        assert again.exit_code == 0


_RECORD = st.fixed_dictionaries(
    {"event_id": st.just("0")}, optional={name: st.just(1) for name in "abcdefghij"}
)


@given(st.lists(st.lists(_RECORD, min_size=1, max_size=60), min_size=1, max_size=3))
def test_the_canary_covers_every_key_and_the_smallest_record(batches: list[list[dict[str, Any]]]) -> None:
    """The first batch also shows the barest record; a later one only the keys that are new."""
    canary = Canary()
    seen: set[str] = set()
    for number, batch in enumerate(batches):
        records = WireRecords.of(WireRecord("0", json.dumps(record).encode()) for record in batch)
        chosen = [batch[index] for index in canary.choose(records)]
        covered = {key for record in chosen for key in record}
        every = {key for record in batch for key in record}
        assert covered >= every - seen
        if number == 0:
            assert min(map(len, batch)) in map(len, chosen)
            assert len(chosen) >= min(RECORDS, len(batch))
        else:
            assert not chosen or not every <= seen
        seen |= every


def test_the_canary_covers_keys_inside_messages_and_identities() -> None:
    """A namespace or a message's field that one record alone has brings that record."""
    plain = {"event_id": "0", "chat_messages": [{"ts": "1"}], "identityMap": {"V": [{"id": "1"}]}}
    rare = {**plain, "chat_messages": [{"ts": "1"}, {"ts": "2", "slack_user_id": "U1"}]}
    named = {**plain, "identityMap": {"V": [{"id": "1"}], "Email": [{"id": "a@x.org"}]}}
    batch = [plain] * 60 + [rare] + [plain] * 60 + [named]
    records = WireRecords.of(WireRecord("0", json.dumps(record).encode()) for record in batch)
    assert {60, 121} <= set(Canary().choose(records).tolist())


def test_the_command_confirms_and_shows_the_audit(
    open_settings: OpenPlatform, use_settings: Callable[[Platform], None], sample: Path, tmp_path: Path
) -> None:
    """At the prompt: captures are audited, the name is asked for, and the expiry is shown."""
    identities = [part for identity in PEOPLE for part in ("--identity", identity)]
    with open_settings(profile_days=30) as platform:
        use_settings(platform)
        common = ["connect", str(sample), "--name", "people", *identities, "--profile"]
        common += ["--webhook", "feedback", "--platform", "aep", "--state", str(tmp_path / "state")]
        for typed in ("chatlio\n", ""):
            refused = CliRunner().invoke(main, common, input=typed)
            assert refused.exit_code in (1, 2)
            assert not list(platform.schemas.titles("schemas"))
        assert "never be undone" in refused.stderr
        assert "Identity graphs" in refused.stderr
        assert CliRunner().invoke(main, [*common, "--json"]).exit_code == 2
        made = CliRunner().invoke(main, common, input="people\n")
        assert made.exit_code == 0, made.stderr
        assert "older than 30 days: 100% of this history would be dropped there" in made.stdout
        answer = json.loads(CliRunner().invoke(main, [*common, "--json"]).stdout)
        assert (answer["changes"], answer["profile_expiry"]) == (0, "P30D")
        assert answer["connection"]["identities"] == PEOPLE
