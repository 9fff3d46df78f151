"""The public names: they display themselves, explain wrong usage, and are documented."""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell

import chatlio_kit as ck
from chatlio_kit.aep import Platform
from chatlio_kit.chatlio.catalogue import sent_fields
from chatlio_kit.connection import Connection
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import running
from chatlio_kit.tables import Tables

EVENTS = 300
FATES = ["delivered", "dead_lettered", "pending", "landed", "gone"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The tables of a small sample."""
    folder = tmp_path_factory.mktemp("export")
    return ck.read_export(ck.write_sample(folder / "captures", events=EVENTS, seed=7).path).to_tables(
        quiet=True
    )


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A local platform that never takes a tenth of all records."""
    state = tmp_path_factory.mktemp("state")
    picky = {"fault": "partial", "status": 400, "share": 0.1, "lasting": True}
    options = {"enabling_delay": 0.05, "processing_delay": 0.02, "faults": {"faults": [picky]}}
    with (
        running(state / "local", **options) as server,
        Platform(settings_of(server, state)) as opened,
    ):
        yield opened


@pytest.fixture(scope="module")
def connection(platform: Platform) -> Connection:
    """A connection to it."""
    return ck.plan_connection(platform).apply(quiet=True)


def test_a_run_stopped_on_purpose_resumes_later(
    tables: Tables, connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    """After this many requests, the rest is pending; the next call sends it, and no event twice."""
    assert connection.read_rows(quiet=True).columns.tolist() == [field.name for field in sent_fields()]
    assert connection.dataflow_runs().empty
    trial = ck.stream(tables, connection, stop_after=2, quiet=True)
    ledger = trial.ledger()
    assert ledger.columns.tolist() == FATES
    assert trial.page.requests == 2
    assert trial.page.exit_code == 1
    assert "the limit of 2 requests was reached. Run it again to continue." in repr(trial)
    assert 0 < ledger["pending"].sum() < EVENTS
    assert ledger[FATES[:3]].sum().sum() == len(tables.events)
    run = ck.stream(tables, connection, quiet=True)
    assert run.counts.duplicates == EVENTS - ledger["pending"].sum()
    assert run.reconcile(wait=60).run.pending == 0
    whole = run.ledger()
    counts = tables.events["kind"].value_counts()
    assert (whole["delivered"] + whole["dead_lettered"]).to_dict() == counts.to_dict()
    assert whole["landed"].equals(whole["delivered"])
    letters = run.dead_letters()
    assert letters.groupby("kind").size().to_dict() == whole["dead_lettered"].to_dict()
    assert letters["answer"].str.contains("refused on demand").all()
    runs, rows = connection.dataflow_runs(), connection.read_rows(quiet=True)
    assert runs["ingested"].to_dict() == whole["landed"].to_dict() == rows["kind"].value_counts().to_dict()
    assert rows["event_id"].is_unique
    assert not set(rows["event_id"]) & set(letters["event_id"])
    assert capsys.readouterr() == ("", "")


WRONG: dict[str, Callable[[Tables, Connection], object]] = {
    "no folder": lambda tables, connection: ck.read_export("nope"),
    "No such kind|none of the five": lambda tables, connection: ck.read_export(".", kind="chat"),
    "connection, as .* not a Platform": lambda tables, connection: ck.stream(tables, connection.platform),  # type: ignore[arg-type]
    "not None": lambda tables, connection: ck.stream(tables, None),  # type: ignore[arg-type]
    "tables, as .* not a Connection": lambda tables, connection: ck.stream(connection, tables),  # type: ignore[arg-type]
    "frame events": lambda tables, connection: ck.stream(pd.DataFrame({"a": [1]}), connection),
    "whole number from 1": lambda tables, connection: ck.stream(tables, connection, stop_after=0),
    "open_platform": lambda tables, connection: ck.plan_connection("local"),  # type: ignore[arg-type]
    "There is no webhook": lambda tables, connection: ck.plan_connection(
        connection.platform, webhooks=["chat"]
    ),
    "There is no conversation": lambda tables, connection: tables.read_conversation("nobody"),
    "neither local nor aep": lambda tables, connection: ck.open_platform("moon"),
    "Faults need the local platform": lambda tables, connection: ck.open_platform("aep", faults={}),
}


@pytest.mark.parametrize("said", WRONG)
def test_wrong_usage_gets_a_sentence(
    said: str, tables: Tables, connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the value and the expected form; a notebook shows the message and no traceback."""
    with pytest.raises(ck.ChatlioKitError) as caught:
        WRONG[said](tables, connection)
    shell = InteractiveShell()
    shell.user_ns["error"] = caught.value
    shell.run_cell("raise error")
    shown = capsys.readouterr().out.strip()
    assert shown == f"{type(caught.value).__name__}: {caught.value}"
    assert shown.endswith(".")


def test_every_object_shows_itself(tables: Tables, connection: Connection, tmp_path: Path) -> None:
    """As text and as HTML, and neither holds an inlet or a secret."""
    platform = connection.platform
    plan = ck.plan_connection(platform)
    export = ck.read_export(ck.write_sample(tmp_path / "captures", events=1, seed=1).path)
    run = ck.stream(tables, connection, quiet=True)
    shown = [
        platform, plan, connection, connection.live[next(iter(connection.live))], ck.check_platform(platform),
        export, tables, run, run.page, plan.by_hand(), plan.picture(), connection.picture(),
        tables.read_conversation(),
    ]  # fmt: skip
    secrets = [flow.inlet_url.reveal() for flow in connection.live.values()]
    secrets += [platform.settings.client_secret.reveal(), *(url.rpartition("/")[2] for url in secrets)]
    for each in shown:
        html = each._repr_html_() if hasattr(each, "_repr_html_") else ""
        assert html or type(each).__name__ == "Dataflow"
        assert not [secret for secret in secrets if secret in repr(each) + html]
        assert " object at 0x" not in repr(each)


def test_a_picture_is_the_same_each_time(platform: Platform, connection: Connection) -> None:
    """It holds no id, and missing parts are also described in words."""
    plan = ck.plan_connection(platform, "shop", ["feedback"])
    assert plan.picture()._repr_html_() == plan.picture()._repr_html_()
    assert "Not created yet: 7 objects" in repr(plan.picture())
    assert "Not created yet" not in repr(connection.picture())
    for sheet in (ck.plan_connection(platform).sheet(ids=False), connection.sheet(ids=False)):
        assert connection.dataset_id not in str(sheet)


def test_help_reads_well() -> None:
    """Every name documents its purpose, arguments and errors; the overview lists them all."""
    overview = pydoc.render_doc(ck, renderer=pydoc.plaintext)
    for name in ck.__all__:
        public = getattr(ck, name)
        assert f"    {name} " in str(ck.__doc__) or inspect.isclass(public), name
        assert name in overview
        if inspect.isfunction(public):
            assert "Raises:" in str(public.__doc__), name
            described = str(public.__doc__)
            assert all(f"{each}:" in described for each in inspect.signature(public).parameters), name


@pytest.mark.parametrize(("former", "name"), [("settling", "options"), ("terms", "policy")])
def test_a_former_name_works_with_a_warning(tmp_path: Path, former: str, name: str) -> None:
    """Renamed attributes of public classes work for one more release."""
    found = ck.read_export(ck.write_sample(tmp_path / "captures", events=10).path)
    with pytest.warns(DeprecationWarning, match=f"Export.{former} is now Export.{name}"):
        assert getattr(found, former) is getattr(found, name)
    with pytest.raises(AttributeError, match="has no attribute 'never'"):
        found.never  # noqa: B018
