"""The doctor only reads, keeps to the order, and names each obstacle with the next step."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from chatlio_kit.aep import Platform, Reply
from chatlio_kit.aep import http as wire
from chatlio_kit.connection import check_platform, plan_connection
from chatlio_kit.connection.preflight import Preflight, Verdict
from chatlio_kit.errors import PermissionMissing, UsageError
from chatlio_kit.local_platform import running
from chatlio_kit.settings import Secret, Settings

ORDER = [
    "settings",
    "token",
    "org",
    "sandbox",
    "right: Manage Schemas",
    "right: View Schemas",
    "right: Manage Datasets",
    "right: View Datasets",
    "right: Manage Sources",
    "right: View Sources",
    "right: Manage Identity Namespaces",
    "right: View Identity Namespaces",
    "right: Manage Identity Metadata",
    "right: Manage Profiles",
    "right: mapping sets",
    "tenant",
    "Chatlio source",
    "names",
    "turns",
    "record delete quota",
    "clock",
    "live mappings",
    "history mappings",
]
UNSEEN = "right: mapping sets"


def verdicts(found: Preflight) -> dict[str, str]:
    """The verdict of each check."""
    return {check.name: check.verdict.value for check in found.checks}


def line(found: Preflight, name: str) -> Any:
    """One check."""
    return next(check for check in found.checks if check.name == name)


def test_an_empty_sandbox_passes_in_order(platform: Platform) -> None:
    """Everything that reading can show passes; everything else is a warning, and mappings wait."""
    found = check_platform(platform)
    assert [check.name for check in found.checks] == ORDER
    skipped = dict.fromkeys(("live mappings", "history mappings"), "skipped")
    assert verdicts(found) == dict.fromkeys(ORDER, "pass") | skipped | {UNSEEN: "warn"}
    assert (found.verdict, found.exit_code) == (Verdict.WARN, 0)
    assert line(found, "tenant").finding == "acmechat; fields live under _acmechat.chatlio"
    assert line(found, "names").finding == "all are free"
    assert "no schema yet" in line(found, "live mappings").finding


def test_a_connection_has_its_mappings_tried(platform: Platform) -> None:
    """Once the schema exists, every kind's samples are mapped and compared, live and history."""
    plan_connection(platform).apply()
    found = check_platform(platform)
    assert verdicts(found) == dict.fromkeys(ORDER, "pass") | {UNSEEN: "warn"}
    assert line(found, "names").finding == "23 of 23 objects are there and ours"


def test_nothing_is_changed(
    platform: Platform, census: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The doctor only reads, and posts to nothing but the two calls without effects."""
    plan_connection(platform, webhooks=["feedback"]).apply()
    before, asked = census(), set()
    send = wire.send_once

    def note(session: Any, method: str, url: str, **parts: Any) -> Any:
        asked.add(method if method == "GET" else f"{method} {url.rpartition('/')[2]}")
        return send(session, method, url, **parts)

    monkeypatch.setattr(wire, "send_once", note)
    check_platform(platform)
    assert asked == {"GET", "POST effective-policies", "POST preview"}
    assert census() == before


def test_it_shows_itself(platform: Platform) -> None:
    """A preflight is a table in a terminal, an HTML table in a notebook, and plain data for JSON."""
    found = check_platform(platform, "shop")
    assert "right: Manage Sources" in repr(found)
    assert "No check failed" in repr(found)
    assert found._repr_html_().startswith("<table>")
    content = json.loads(json.dumps(found.as_dict()))
    assert (content["name"], content["place"], content["verdict"]) == ("shop", "local, sandbox prod", "warn")
    assert set(content["checks"][0]) == {"check", "verdict", "finding", "next_step"}


def test_an_invalid_name_is_a_usage_error(platform: Platform) -> None:
    """A connection's name is checked before any request."""
    with pytest.raises(UsageError, match="Choose another name"):
        check_platform(platform, "no name")


@pytest.mark.parametrize("area", ["Schemas", "Datasets", "Sources"])
def test_a_right_to_write_that_is_withheld_is_named(tmp_path: Path, chatlio_kit: Any, area: str) -> None:
    """Each missing permission to manage fails by name, with the screen to open, and exit code 1."""
    with running(tmp_path / "store", withheld=frozenset({f"manage-{area.lower()}"})) as local:
        done = chatlio_kit(local, "doctor", "--json")
    assert done.exit_code == 1
    found = {check["check"]: check for check in json.loads(done.stdout)["checks"]}
    failed = [name for name, value in found.items() if value["verdict"] == "fail"]
    assert failed == [f"right: Manage {area}"]
    assert found[failed[0]]["next_step"] == (
        f"Give the credential's role Manage {area} in Adobe's Permissions screen."
    )


@pytest.mark.parametrize("area", ["Schemas", "Datasets", "Sources"])
def test_a_right_to_read_that_is_withheld_is_named(tmp_path: Path, chatlio_kit: Any, area: str) -> None:
    """Each missing permission to view is named; because managing may be enough, it is a warning."""
    with running(tmp_path / "store", withheld=frozenset({f"view-{area.lower()}"})) as local:
        done = chatlio_kit(local, "doctor", "--json")
    assert done.exit_code == 0
    found = {check["check"]: check for check in json.loads(done.stdout)["checks"]}
    assert found[f"right: View {area}"]["verdict"] == "warn"
    assert f"View {area}" in found[f"right: View {area}"]["next_step"]


@pytest.mark.parametrize(
    ("area", "others"),
    [
        ("Schemas", {"tenant": "fail", "names": "skipped", "live mappings": "skipped"}),
        ("Datasets", {"tenant": "pass", "names": "fail", "live mappings": "skipped"}),
        ("Sources", {"Chatlio source": "warn", "names": "fail", "live mappings": "skipped"}),
    ],
)
def test_checks_without_permission_for_their_area_are_reported(
    tmp_path: Path, chatlio_kit: Any, area: str, others: dict[str, str]
) -> None:
    """Without both permissions, both fail, and so does, or waits, what cannot be read without them."""
    withheld = frozenset({f"manage-{area.lower()}", f"view-{area.lower()}"})
    with running(tmp_path / "store", withheld=withheld) as local:
        done = chatlio_kit(local, "doctor", "--json")
    assert done.exit_code == 1
    found = {check["check"]: check["verdict"] for check in json.loads(done.stdout)["checks"]}
    expected = {f"right: Manage {area}": "fail", f"right: View {area}": "fail", "sandbox": "pass"} | others
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("withheld", "check", "flag"),
    [
        ("manage-identity-namespaces", "right: Manage Identity Namespaces", "--identity"),
        ("view-identity-namespaces", "right: View Identity Namespaces", "--identity"),
        ("manage-identity-metadata", "right: Manage Identity Metadata", "--identity"),
        ("manage-profiles", "right: Manage Profiles", "--profile"),
        ("record-delete", "record delete quota", "forget"),
        ("data-hygiene", "record delete quota", "forget"),
    ],
)
def test_a_right_that_only_people_need_is_a_warning(
    tmp_path: Path, chatlio_kit: Any, withheld: str, check: str, flag: str
) -> None:
    """The rest works without it, so the doctor warns, and names its use and the screen that grants it."""
    with running(tmp_path / "store", withheld=frozenset({withheld})) as local:
        done = chatlio_kit(local, "doctor", "--json")
    assert done.exit_code == 0
    found = {entry["check"]: entry for entry in json.loads(done.stdout)["checks"]}
    warned = [name for name, value in found.items() if value["verdict"] == "warn"]
    assert set(warned) == {check, UNSEEN}
    assert found[check]["next_step"].startswith(f"Only {flag} needs it")
    assert "role" in found[check]["next_step"]


def test_a_sandbox_that_cannot_be_read_is_a_warning(
    tmp_path: Path, settings_for: Callable[..., Settings]
) -> None:
    """If no permission allows a look, the sandbox's existence is a warning, never a pass."""
    names = ("manage-sources", "view-sources", "manage-schemas", "view-schemas")
    with (
        running(tmp_path / "store", withheld=frozenset(names)) as local,
        Platform(settings_for(local)) as platform,
    ):
        found = check_platform(platform)
    assert line(found, "sandbox").verdict is Verdict.WARN
    assert "View Sources" in line(found, "sandbox").finding


def test_rights_that_cannot_be_seen_are_warnings(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Access Control returns nothing, no permission passes, and none fails."""

    def refuse(*_: object) -> Any:
        raise PermissionMissing("Access Control", "tell", "only administrators may ask", status=403)

    monkeypatch.setattr(platform.access, "effective_policies", refuse)
    monkeypatch.setattr(platform.access, "known_names", refuse)
    found = verdicts(check_platform(platform))
    assert {verdict for name, verdict in found.items() if name.startswith("right:")} == {"warn"}


def test_a_right_that_the_organisation_does_not_list_is_a_warning(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is neither held nor listed may be spelled differently there: it is unseen, not missing."""
    held = ["manage-schemas", "view-schemas", "manage-datasets", "view-datasets"]

    def policies(names: list[str]) -> dict[str, list[str]]:
        return {name: ["*"] for name in names if name.rpartition("/")[2] in held}

    monkeypatch.setattr(platform.access, "effective_policies", policies)
    monkeypatch.setattr(platform.access, "known_names", lambda: frozenset(held))
    found = check_platform(platform)
    assert line(found, "right: Manage Sources").verdict is Verdict.WARN
    assert "lists no such permission" in line(found, "right: Manage Sources").finding


def test_another_spelling_of_a_right_counts(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """A permission for sources under a longer name, as the organisation lists it, is found and passes."""
    held = ["manage-streaming-sources", "view-streaming-sources"]

    def policies(names: list[str]) -> dict[str, list[str]]:
        return {name: ["*"] for name in names if name.rpartition("/")[2] in held}

    monkeypatch.setattr(platform.access, "effective_policies", policies)
    monkeypatch.setattr(platform.access, "known_names", lambda: frozenset([*held, "manage-schemas"]))
    found = verdicts(check_platform(platform))
    assert found["right: Manage Sources"] == found["right: View Sources"] == "pass"
    assert found["right: Manage Schemas"] == "fail"


@pytest.mark.parametrize(
    ("ahead", "verdict", "words"),
    [(3, "pass", "within"), (40, "warn", "seconds behind"), (-600, "fail", "seconds ahead of")],
)
def test_the_clock_is_compared_with_the_platform(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, ahead: int, verdict: str, words: str
) -> None:
    """The Date of a response against this clock: seconds pass, a minute warns, minutes fail."""
    send = wire.send_once

    def shifted(*arguments: Any, **parts: Any) -> Any:
        reply = send(*arguments, **parts)
        assert isinstance(reply, Reply)
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
        return Reply(reply.status_code, reply.content, {**reply.headers, "Date": date})

    monkeypatch.setattr(wire, "send_once", shifted)
    found = line(check_platform(platform), "clock")
    assert (found.verdict.value, words in found.finding) == (verdict, True)


def test_a_platform_without_a_clock_is_a_warning(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a Date nothing is known about the clock."""
    send = wire.send_once

    def dateless(*arguments: Any, **parts: Any) -> Any:
        reply = send(*arguments, **parts)
        assert isinstance(reply, Reply)
        return Reply(reply.status_code, reply.content, {"Content-Type": "application/json"})

    monkeypatch.setattr(wire, "send_once", dateless)
    assert line(check_platform(platform), "clock").verdict is Verdict.WARN


def test_a_name_in_use_is_reported(platform: Platform) -> None:
    """A title that another resource of any type has fails with the title; the mappings wait."""
    platform.schemas.create(
        "datatypes",
        {"type": "object", "title": "chatlio schema", "description": "", "properties": {}},
    )
    found = check_platform(platform)
    names = line(found, "names")
    assert names.verdict is Verdict.FAIL
    assert "the schema 'chatlio schema': the title is taken among the data types" in names.finding
    assert line(found, "live mappings").finding == "needs names, which failed"
    assert verdicts(check_platform(platform, "shop"))["names"] == "pass"


def test_a_mapper_with_other_results_fails(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """A field that the platform maps differently is named with the expected and the actual value."""
    plan_connection(platform, webhooks=["feedback"]).apply()
    real = platform.mapping_sets.preview

    def preview(records: Any, body: Any) -> Any:
        made = real(records, body)
        if "live feedback" in body["name"]:
            made[0]["data"]["eventType"] = "other. No"
        return made

    monkeypatch.setattr(platform.mapping_sets, "preview", preview)
    found = check_platform(platform)
    live = line(found, "live mappings")
    assert live.verdict is Verdict.FAIL
    assert 'gave "other. No" in eventType, where "chatlio.feedback" was expected' in live.finding
    assert line(found, "history mappings").verdict is Verdict.PASS
    assert found.exit_code == 1


def test_a_schema_that_is_to_be_extended_has_no_mappings_to_try(platform: Platform) -> None:
    """While the schema lacks fields, the mappings wait instead of failing for a reason that connect fixes."""
    plan_connection(platform, webhooks=[]).apply()
    (group,) = platform.schemas.titles("fieldgroups")
    base = "/definitions/customFields/properties/_acmechat/properties/chatlio/properties"
    remove = [{"op": "remove", "path": f"{base}/agent_name"}]
    platform.schemas.patch("fieldgroups", str(group["$id"]), remove)
    found = check_platform(platform)
    assert line(found, "live mappings").verdict is Verdict.SKIPPED
    assert "extended first" in line(found, "live mappings").finding
    assert found.exit_code == 0


def test_a_failed_check_skips_what_needs_it(account_settings: Settings) -> None:
    """Without a token, nothing else is requested, and each line gives the reason."""
    wrong = Settings(
        **{
            **{name: getattr(account_settings, name) for name in account_settings.__dataclass_fields__},
            "client_secret": Secret("no"),
        }
    )
    with Platform(wrong) as platform:
        found = check_platform(platform)
    assert line(found, "token").verdict is Verdict.FAIL
    rest = [check for check in found.checks if check.name not in ("settings", "token")]
    assert {check.verdict for check in rest} == {Verdict.SKIPPED}
    assert {check.finding for check in rest} == {"needs token, which failed"}


@pytest.mark.parametrize(
    ("setting", "value", "verdict"),
    [("client_id", "", "fail"), ("org_id", "acme", "warn"), ("sandbox", "Prod", "warn")],
)
def test_settings_are_checked_first(
    account_settings: Settings, setting: str, value: str, verdict: str
) -> None:
    """A missing setting fails before anything is sent; an oddly formed one is a warning."""
    kept = {name: getattr(account_settings, name) for name in account_settings.__dataclass_fields__}
    with Platform(Settings(**{**kept, setting: value})) as platform:
        found = check_platform(platform).checks[0]
    assert (found.name, found.verdict.value) == ("settings", verdict)
    assert setting.upper() in f"{found.finding} {found.next_step}"
