"""One person is deleted on a remote platform, and only results that were read back are reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner, Result

import chatlio_kit as ck
from chatlio_kit.aep import Platform
from chatlio_kit.cli import main
from chatlio_kit.counting import counted
from chatlio_kit.jobs.backfill import backfill
from chatlio_kit.local_platform.profile import work_orders
from chatlio_kit.local_platform.server.errors import not_found
from chatlio_kit.local_platform.server.service import answer, route
from chatlio_kit.tables import Tables

OpenPlatform = Callable[..., Any]
PEOPLE = ["visitor_id=ChatlioVisitor", "visitor_email=Email"]


@pytest.fixture
def command(tmp_path: Path, use_settings: Callable[[Platform], None]) -> Callable[..., Result]:
    """Run a command against a platform that is reached by settings."""

    def run(platform: Platform, *arguments: object, **options: Any) -> Result:
        use_settings(platform)
        common = ["--platform", "aep", "--state", str(tmp_path / "state")]
        return CliRunner().invoke(main, [*map(str, arguments), *common], **options)

    return run


@pytest.fixture(scope="module")
def somebody(sample_tables: Tables) -> tuple[str, int]:
    """A visitor with a transcript, and the number of their events, transcripts included."""
    events = sample_tables.events
    chats = events.loc[events["kind"] == "transcript", "conversation_id"]
    visitor = str(events.loc[events["conversation_id"].isin(chats), "visitor_id"].dropna().iloc[0])
    own = events["visitor_id"] == visitor
    conversations = events.loc[own, "conversation_id"].dropna()
    return visitor, int((own | events["conversation_id"].isin(conversations)).sum())


def send(platform: Platform, sample: Path, tables: Tables, *, identities: bool = True) -> None:
    """Backfill the sample into a connection for Profile, or one without identities."""
    chosen = PEOPLE if identities else []
    plan = ck.plan_connection(platform, "people", [], identities=chosen, profile=identities)
    plan.apply(audit=ck.audit_identities(tables, PEOPLE), confirm="people", quiet=True)
    page = backfill(sample, platform, name="people", skip_guard=True, pace=5_000, wait=30, quiet=True)
    assert page.run.landed == len(tables.events)


def _orders(request: requests.PreparedRequest) -> bool:
    return request.method == "POST" and str(request.url).endswith("/data/core/hygiene/workorder")


def test_a_person_is_deleted_and_reconcile_reports_erased(
    open_settings: OpenPlatform,
    command: Any,
    sample: Path,
    sample_tables: Tables,
    somebody: tuple[str, int],
    sent: list[requests.PreparedRequest],
) -> None:
    """A work order by namespace and value; the rows are gone from lake and Profile, and stay gone."""
    visitor, events = somebody
    assert events > 2
    with open_settings() as platform:
        send(platform, sample, sample_tables)
        connection = ck.open_connection(platform, "people")
        profile = connection.counters()["profile"]
        forget = ["forget", sample, "--visitor-id", visitor, "--json"]
        done = command(platform, *forget, "--yes", "--wait", 30)
        assert done.exit_code == 0, done.stdout
        answer = json.loads(done.stdout)
        (deletion,) = answer["deletions"]
        assert (deletion["rows"], deletion["left"], deletion["status"]) == (events, 0, "completed")
        assert deletion["work_order"].startswith("DI-")
        assert "removed" in " ".join(answer["notes"])
        assert len(connection.read_rows(quiet=True)) == len(sample_tables.events) - events
        assert connection.counters()["profile"] == profile - events
        reconciled = json.loads(command(platform, "reconcile", "--name", "people", "--json").stdout)
        assert reconciled["gone_by_reason"] == {"erased": events}
        again = command(platform, "backfill", sample, "--name", "people", "--skip-guard", "--json")
        assert json.loads(again.stdout)["delivered"] == 0
        order = platform.work_orders.get(deletion["work_order"])
        assert visitor not in json.dumps(order)
        (ordered,) = [json.loads(request.body or b"") for request in sent if _orders(request)]
        assert ordered.pop("displayName")
        assert ordered == {
            "action": "delete_identity",
            "datasetId": connection.dataset_id,
            "description": "",
            "namespacesIdentities": [{"namespace": {"code": "ChatlioVisitor"}, "IDs": [visitor]}],
        }


def test_rows_are_deleted_from_the_dataset_that_holds_them(
    open_settings: OpenPlatform, command: Any, sample: Path, sample_tables: Tables, somebody: tuple[str, int]
) -> None:
    """An earlier dataset of the same connection was deleted, with its rows: nothing is ordered for it."""
    visitor, events = somebody
    with open_settings() as platform:
        datasets = []
        for _ in range(2):
            send(platform, sample, sample_tables)
            datasets.append(ck.open_connection(platform, "people").dataset_id)
            if len(datasets) == 1:
                ck.disconnect(platform, "people", quiet=True)
                platform.catalog.delete_dataset(datasets[0])
        done = command(platform, "forget", sample, "--visitor-id", visitor, "--json", "--yes", "--wait", 30)
    answer = json.loads(done.stdout)
    found = [(deletion["dataset"], deletion["rows"]) for deletion in answer["deletions"]]
    assert (done.exit_code, found) == (0, [(datasets[0], 0), (datasets[1], events)])


def test_a_channel_is_not_deleted_at_the_cost_of_other_chats(
    open_settings: OpenPlatform, command: Any, sample: Path, sample_tables: Tables
) -> None:
    """A record delete by visitor would remove the visitor's other conversations too, so none is sent."""
    events = sample_tables.events
    outside = events.loc[events["channel_id"].isna() & events["conversation_id"].isna(), "visitor_id"]
    channel = events.loc[events["visitor_id"].isin(outside), "channel_id"].dropna().iloc[0]
    chosen = events.loc[events["channel_id"] == channel, "conversation_id"].dropna().unique()
    theirs = events["conversation_id"].isin(chosen) | (events["channel_id"] == channel)
    with open_settings() as platform:
        send(platform, sample, sample_tables)
        asked = ["forget", sample, "--channel", channel, "--json", "--yes"]
        answer = json.loads(command(platform, *asked).stdout)
        (deletion,) = answer["deletions"]
        assert (deletion["rows"], deletion["left"]) == (int(theirs.sum()), int(theirs.sum()))
        assert deletion["work_order"] is None
        assert f"including {counted(deletion['others'], 'row')} outside the channel" in deletion["problem"]
        assert f"lower(_tenant.chatlio.channel_id) IN ('{channel.lower()}')" in answer["sql"]
        connection = ck.open_connection(platform, "people")
        assert len(connection.read_rows(quiet=True)) == len(events)


def test_without_confirmation_nothing_is_ordered(
    open_settings: OpenPlatform, command: Any, sample: Path, sample_tables: Tables, somebody: tuple[str, int]
) -> None:
    """The question names rows and identities; after a no, the rows stay, and the exit code is 1."""
    visitor, events = somebody
    with open_settings() as platform:
        send(platform, sample, sample_tables)
        asked = command(platform, "forget", sample, "--visitor-id", visitor, input="y\nn\n")
        assert asked.exit_code == 1
        assert f"{events} rows" in asked.stderr
        assert "not confirmed" in asked.stdout
        rows = ck.open_connection(platform, "people").read_rows(quiet=True)
        assert len(rows) == len(sample_tables.events)


def test_without_identities_the_answer_is_honest(
    open_settings: OpenPlatform,
    command: Any,
    sample: Path,
    sample_tables: Tables,
    somebody: tuple[str, int],
    sent: list[requests.PreparedRequest],
) -> None:
    """Nothing finds single rows: exit code 1, what removes them, and the query that finds them."""
    visitor, _ = somebody
    with open_settings() as platform:
        send(platform, sample, sample_tables, identities=False)
        done = command(platform, "forget", sample, "--visitor-id", visitor, "--yes")
        assert done.exit_code == 1
        assert "nothing removes single rows" in done.stdout
        assert "record delete finds them" in done.stdout
        assert "SELECT _id" in done.stdout
        assert visitor in done.stdout
        assert not any("workorder" in str(request.url) for request in sent)
        connection = ck.open_connection(platform, "people")
        assert len(connection.read_rows(quiet=True)) == len(sample_tables.events)


def test_a_work_order_that_is_not_carried_out_yet_claims_nothing(
    open_settings: OpenPlatform,
    command: Any,
    sample: Path,
    sample_tables: Tables,
    somebody: tuple[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 4 while it is under way; the next forget finds nothing left."""
    visitor, events = somebody
    with open_settings() as platform:
        send(platform, sample, sample_tables)
        forget = ["forget", sample, "--visitor-id", visitor, "--json", "--yes"]
        with monkeypatch.context() as patch:
            patch.setattr("chatlio_kit.local_platform.lake.lake.carry_out", lambda context: None)
            waiting = command(platform, *forget, "--wait", 1)
        assert waiting.exit_code == 4, waiting.stdout
        (deletion,) = json.loads(waiting.stdout)["deletions"]
        assert (deletion["rows"], deletion["left"], deletion["status"]) == (events, events, "received")
        later = command(platform, *forget, "--wait", 30)
        (deletion,) = json.loads(later.stdout)["deletions"]
        assert deletion["left"] == 0


@pytest.mark.parametrize(
    ("reading", "is_carried_out"),
    [
        ("no such call", True),
        ("another shape", True),
        ("an unknown word", True),
        ("no such call", False),
    ],
)
def test_the_rows_decide_about_a_work_order(
    open_settings: OpenPlatform,
    command: Any,
    sample: Path,
    sample_tables: Tables,
    somebody: tuple[str, int],
    monkeypatch: pytest.MonkeyPatch,
    reading: str,
    is_carried_out: bool,
) -> None:
    """The form of a work order is not documented: success depends only on whether rows are left."""
    visitor, events = somebody
    lookup, carry_out, asked = work_orders.WorkOrders.lookup, work_orders.carry_out, list[str]()

    @route("GET", f"{work_orders.BASE}/workorder/{{id}}")
    async def other(self: work_orders.WorkOrders, request: Any) -> Any:
        order = json.loads((await lookup(self, request)).body)
        asked.append(order["workorderId"])
        self._notify()
        if reading == "no such call":
            raise not_found("the path")
        return answer({"results": [order]} if reading == "another shape" else {**order, "status": "ingested"})

    monkeypatch.setattr(work_orders.WorkOrders, "lookup", other)

    def later(context: Any) -> None:
        if is_carried_out and len(asked) > 1:
            carry_out(context)

    monkeypatch.setattr("chatlio_kit.local_platform.lake.lake.carry_out", later)
    with open_settings() as platform:
        send(platform, sample, sample_tables)
        forget = ["forget", sample, "--visitor-id", visitor, "--json", "--yes"]
        done = command(platform, *forget, "--wait", 30 if is_carried_out else 0.5)
        (deletion,) = json.loads(done.stdout)["deletions"]
        left = 0 if is_carried_out else events
        assert (done.exit_code, deletion["left"]) == (0 if is_carried_out else 4, left)
        assert deletion["problem"] == ""
        rows = ck.open_connection(platform, "people").read_rows(quiet=True)
        assert len(rows) == len(sample_tables.events) - events + left


@pytest.mark.parametrize("withheld", [work_orders.ENTITLEMENT, work_orders.HYGIENE_RIGHT])
def test_a_missing_entitlement_is_reported(
    open_settings: OpenPlatform,
    command: Any,
    sample: Path,
    sample_tables: Tables,
    somebody: tuple[str, int],
    withheld: str,
) -> None:
    """A record delete refused with 403 or 401 is neither a traceback nor a success."""
    with open_settings(withheld=frozenset({withheld})) as platform:
        send(platform, sample, sample_tables)
        done = command(platform, "forget", sample, "--visitor-id", somebody[0], "--yes")
        assert done.exit_code == 1
        assert "entitlement" in done.stdout
