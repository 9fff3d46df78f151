"""A production sandbox is changed only with the explicit option; its type decides, not its name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import chatlio_kit as ck
from chatlio_kit import local_platform
from chatlio_kit.aep import Platform, ingestion
from chatlio_kit.aep import http as wire
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.cli import main
from chatlio_kit.connection import Connection
from chatlio_kit.delivery import Run
from chatlio_kit.errors import PermissionMissing, PlatformError, ProductionSandbox, Unreachable, UsageError
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import RunningPlatform, running
from chatlio_kit.samples import write_sample

READING = {"GET", "POST effective-policies", "POST preview"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningPlatform]:
    """A local platform with a production sandbox."""
    with running(
        tmp_path / "state" / "local",
        enabling_delay=0.05,
        processing_delay=0.02,
        sandbox_type="production",
    ) as started:
        yield started


@pytest.fixture
def production(server: RunningPlatform, tmp_path: Path) -> Iterator[Platform]:
    """The access to it."""
    with Platform(settings_of(server, tmp_path / "state")) as opened:
        yield opened


@pytest.fixture
def captures(tmp_path: Path) -> Path:
    """A small export."""
    return write_sample(tmp_path / "captures", events=30, seed=5).path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The requests to the platform: the verb, and the end of the path for everything but GET."""
    seen: set[str] = set()
    for room in (wire, ingestion):
        send = room.send_once

        def note(session: Any, method: str, url: str, send: Any = send, **parts: Any) -> Any:
            if "/ims/" not in url:
                seen.add(method if method == "GET" else f"{method} {url.rpartition('/')[2]}")
            return send(session, method, url, **parts)

        monkeypatch.setattr(room, "send_once", note)
    return seen


@pytest.fixture
def connected(production: Platform) -> Connection:
    """A connection in the production sandbox, created with permission."""
    return ck.plan_connection(production).apply(production=True, quiet=True)


WRITES: dict[str, Callable[[Connection, Path], object]] = {
    "plan.apply": lambda connection, _: ck.plan_connection(connection.platform, "shop").apply(),
    "disconnect": lambda connection, _: ck.disconnect(connection.platform),
    "stream": lambda connection, captures: ck.stream(ck.read_export(captures).to_tables(), connection),
    "replay": lambda connection, _: ck.replay(connection),
    "backfill": lambda connection, captures: ck.backfill(captures, connection.platform),
    "history_flow": lambda connection, _: connection.history_flow(Kind.FEEDBACK),
    "Run.prepare": lambda connection, _: _prepare(connection),
}


def _prepare(connection: Connection) -> None:
    with Run(connection, connection.platform.settings.state, quiet=True) as run:
        run.prepare([Kind.FEEDBACK])


@pytest.mark.parametrize("name", WRITES)
def test_in_python_nothing_is_written_without_permission(
    name: str, connected: Connection, captures: Path, asked: set[str]
) -> None:
    """The message names the sandbox, its type and the argument, and only reads were sent."""
    with pytest.raises(ProductionSandbox) as error:
        WRITES[name](connected, captures)
    assert str(error.value).startswith("The sandbox 'prod' is of the type production")
    assert "production=True" in str(error.value)
    assert "--" not in str(error.value)
    assert asked <= READING


def test_in_python_permission_is_given_by_name(connected: Connection, captures: Path) -> None:
    """With ``production=True`` everything succeeds."""
    tables = ck.read_export(captures).to_tables()
    run = ck.stream(tables, connected, production=True, quiet=True)
    assert run.reconcile(wait=60).run.landed == len(tables.events)
    assert ck.replay(connected, production=True, quiet=True).run.delivered == 0
    assert ck.backfill(captures, connected.platform, production=True, quiet=True).total.pending == 0
    assert ck.disconnect(connected.platform, production=True, quiet=True).done


@pytest.mark.parametrize("wrong", ["yes", 1, None])
def test_permission_is_true_or_false(connected: Connection, wrong: Any) -> None:
    """A value that merely looks like a yes is not one."""
    with pytest.raises(UsageError, match="production="):
        ck.replay(connected, production=wrong)


def test_on_the_command_line(
    server: RunningPlatform, chatlio_kit: Any, production: Platform, captures: Path, asked: set[str]
) -> None:
    """Every command that changes something needs the option; every command that reads does not."""
    reads = [["doctor"], ["connect", "--dry-run"], ["backfill", str(captures), "--dry-run"]]
    writes = [["connect"], ["backfill", str(captures), "--connect"], ["disconnect", "--yes"]]
    for command in reads:
        assert chatlio_kit(server, *command).exit_code == 0
    for command in writes:
        done = chatlio_kit(server, *command)
        assert (done.exit_code, done.stdout) == (2, "")
        assert "'prod' is of the type production" in done.stderr
        assert "--production" in done.stderr
        assert "production=True" not in done.stderr
    assert asked <= READING
    assert chatlio_kit(server, "connect", "--production").exit_code == 0
    for command in (["replay"], ["reconcile"]):
        assert chatlio_kit(server, *command).exit_code == (2 if command == ["replay"] else 0)
    for command in (["replay"], ["disconnect", "--yes"]):
        assert chatlio_kit(server, *command, "--production").exit_code == 0


def test_disconnect_refuses_before_it_asks(server: RunningPlatform, chatlio_kit: Any) -> None:
    """No one is asked to confirm what is refused afterwards."""
    done = chatlio_kit(server, "disconnect")
    assert done.exit_code == 2
    assert "Remove these" not in done.stderr


def test_the_doctor_shows_the_type(server: RunningPlatform, chatlio_kit: Any, platform: Platform) -> None:
    """A production sandbox gives a warning; a development sandbox passes."""
    done = chatlio_kit(server, "doctor", "--json")
    (check,) = [entry for entry in json.loads(done.stdout)["checks"] if entry["check"] == "sandbox"]
    assert (check["verdict"], check["finding"]) == ("warn", "prod, a production sandbox")
    assert "--production" in check["next_step"]
    (check,) = [
        entry for entry in ck.check_platform(platform).as_dict()["checks"] if entry["check"] == "sandbox"
    ]
    assert (check["verdict"], check["finding"]) == ("pass", "prod, a development sandbox")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([], "not among the sandboxes"),
        ([{"name": "other", "type": "development"}], "not among the sandboxes"),
        ([{"name": "prod", "type": "staging"}], "not among the sandboxes"),
        ([{"name": "prod"}], "not among the sandboxes"),
        (PermissionMissing("Sandbox Management", "list", "access denied", status=403), "access denied"),
        (PlatformError("Sandbox Management", "list", "its answer holds no sandboxes"), "holds no sandboxes"),
    ],
)
def test_an_unknown_type_counts_as_production(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, answer: Any, reason: str, census: Callable[[], Any]
) -> None:
    """An empty list, another name, an unknown type, a refusal: nothing is written, with the reason."""

    def listed() -> Iterator[Any]:
        if isinstance(answer, Exception):
            raise answer
        yield from answer

    monkeypatch.setattr(platform.sandboxes, "_active", listed)
    before = census()
    with pytest.raises(ProductionSandbox, match=r"counts as production") as error:
        ck.plan_connection(platform).apply()
    assert reason in str(error.value)
    assert census() == before
    assert ck.plan_connection(platform, webhooks=[]).apply(production=True).dataset_id


def test_an_unreachable_platform_is_not_a_production_sandbox(production: Platform) -> None:
    """An unreachable platform is reported as such: another option would not help."""
    with running(production.settings.state / "other") as gone:
        settings = settings_of(gone)
    with Platform(settings, sleep=lambda _: None) as platform, pytest.raises(Unreachable):
        ck.disconnect(platform)


def test_the_type_is_found_behind_the_first_page(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """An organisation may have more sandboxes than a page holds."""
    every = [{"name": f"s-{number}", "type": "production"} for number in range(70)]
    every.append({"name": "prod", "type": "development"})

    def page(_: str, __: str, ___: str, *, query: Any) -> Any:
        limit, offset = (value for _, value in query)
        return {"sandboxes": every[offset : offset + limit]}

    monkeypatch.setattr(platform.sandboxes, "_ask_object", page)
    assert platform.sandboxes.type_of("prod") == "development"


def test_a_local_platform_is_of_either_type(tmp_path: Path) -> None:
    """Its process is reported, and commands that find it keep the guard."""
    options = local_platform.Options(sandbox_type="production")
    local_platform.ensure_running(tmp_path / "local", idle=30, options=options)
    try:
        done = CliRunner().invoke(main, ["connect", "--state", str(tmp_path)])
    finally:
        local_platform.stop(tmp_path / "local")
    assert done.exit_code == 2
    assert "--production" in done.stderr
    assert CliRunner().invoke(main, ["local-platform", "serve", "--sandbox-type", "none"]).exit_code == 2


def test_connect_lists_the_ids_of_created_resources(
    tmp_path: Path, chatlio_kit: Any, census: Callable[[], Any], account_settings: Any
) -> None:
    """Schema, field group, dataset, and four objects for each kind; the plan lists them too."""
    url = account_settings.platform_url
    secret = account_settings.client_secret.reveal()
    here = RunningPlatform(url, local_platform.LocalAccount(secret))
    done = chatlio_kit(here, "connect", "--json")
    said, there = json.loads(done.stdout), census()
    made = said["connection"]
    assert [made["field_group_id"], made["schema_id"], made["dataset_id"]] == [
        *there["field group"],
        *there["schema"],
        *there["dataset"],
    ]
    assert (list(made["live"]), made["history"]) == ([str(kind) for kind in Kind], {})
    for name, thing in (
        ("dataflow_id", "dataflow"),
        ("mapping_set_id", "mapping set"),
        ("source_connection_id", "source"),
        ("target_connection_id", "target"),
    ):
        assert sorted(flow[name] for flow in made["live"].values()) == there[thing]
    ids = {entry["id"] for entry in said["objects"]}
    assert ids == {entry for listed in there.values() for entry in listed}
    assert {entry["action"] for entry in said["objects"]} == {"create"}
    assert "collection" not in done.stdout
    again = json.loads(chatlio_kit(here, "connect", "--json").stdout)
    assert again["connection"] == made
