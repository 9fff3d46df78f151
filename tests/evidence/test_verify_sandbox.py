"""verify-sandbox reports what differs, leaves nothing behind, and records nothing of the sandbox's owner."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from altering import Exchange, altered
from click.testing import CliRunner

from chatlio_kit.aep import Platform
from chatlio_kit.aep.schema_registry import RESOURCE_TYPES
from chatlio_kit.cli import main
from chatlio_kit.errors import ProductionSandbox
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.jobs.verify import CASES, verify_sandbox
from chatlio_kit.jobs.verify.cases import MARK
from chatlio_kit.local_platform import RunningPlatform, running


def left_behind(platform: Platform) -> list[str]:
    """Return whatever carries the mark of a walk, by listing everything."""
    found = [one["title"] for kind in RESOURCE_TYPES for one in platform.schemas.titles(kind)]
    datasets = platform.ask("GET", "/data/foundation/catalog/dataSets").json()
    found += [body["name"] for body in datasets.values()]
    found += [str(one.get("name")) for one in platform.mapping_sets.find()]
    found += [one.name for one in (*platform.flows.endpoints("source"), *platform.flows.endpoints("target"))]
    found += [flow.name for flow in platform.flows.flows()]
    found += [one["xdm:sourceSchema"] for one in platform.schemas.descriptors("xdm:descriptorIdentity")]
    return found


# Ten ways in which another platform may differ, and a word from the message that reports each.


def another_status(exchange: Exchange) -> None:
    """Namespaces are listed under another status."""
    if exchange.is_call("GET", "/idnamespace/identities"):
        exchange.status = 206


def missing_member(exchange: Exchange) -> None:
    """A batch has no time of creation."""
    if exchange.method == "GET" and "/catalog/batches/" in exchange.path:
        (batch,) = exchange.body.values()
        batch.pop("created", None)


def renamed_member(exchange: Exchange) -> None:
    """A dataset names its schema under another key."""
    if (
        exchange.method == "GET"
        and re.search(r"/dataSets/[0-9a-f]", exchange.path)
        and exchange.status == 200
    ):
        (dataset,) = exchange.body.values()
        dataset["schema"] = dataset.pop("schemaRef")


def other_207(exchange: Exchange) -> None:
    """Elements of a 207 are acknowledged under another key."""
    if (
        exchange.is_call("POST", exchange.path)
        and "/collection/batch/" in exchange.path
        and exchange.status == 207
    ):
        for element in exchange.body["responses"]:
            if "status" not in element:
                element["transactionId"] = element.pop("xactionId")


def other_error(exchange: Exchange) -> None:
    """A stale etag is refused with another type of error."""
    if exchange.status == 412:
        exchange.body["type"] = "https://ns.adobe.com/aep/errors/FLOW-9999-412"


def no_etag(exchange: Exchange) -> None:
    """A dataflow's version has an unknown key; the etag is empty."""
    if exchange.method == "GET" and "/flows/" in exchange.path and exchange.status == 200:
        exchange.body["items"][0]["etag"] = ""


def other_page(exchange: Exchange) -> None:
    """A list of mapping sets has another key."""
    if exchange.is_call("GET", "/mappingSets"):
        exchange.body["mappingSets"] = exchange.body.pop("data")


def other_mapping(exchange: Exchange) -> None:
    """The mapper quotes a literal."""
    if exchange.is_call("POST", "/mappingSets/preview"):
        exchange.body[0]["data"]["eventType"] = '"chatlio.verify"'


def other_state(exchange: Exchange) -> None:
    """A disabled dataflow has another name for its state."""
    if exchange.method == "GET" and "/flows/" in exchange.path and exchange.status == 200:
        item = exchange.body["items"][0]
        item["state"] = {"disabled": None}.get(item["state"], item["state"])


def other_type(exchange: Exchange) -> None:
    """Rights are a list of lists."""
    if exchange.is_call("POST", "/acl/effective-policies"):
        exchange.body["policies"] = list(exchange.body["policies"].values())


ALTERATIONS: dict[Callable[[Exchange], None], str] = {
    another_status: "it answered 206, not 200",
    missing_member: "has no 'created'",
    renamed_member: "has no 'schemaRef'",
    other_207: "has no 'xactionId'",
    other_error: "is 'https://ns.adobe.com/aep/errors/FLOW-9999-412', not of the form",
    no_etag: "the answer.items[0].etag is '', not of the form",
    other_page: "the answer has no 'data'",
    other_mapping: "chatlio.verify",
    other_state: "the answer.items[0].state is null, not 'disabled'",
    other_type: "the answer.policies is a list, not an object",
}


def test_the_local_platform_does_not_differ(
    server: RunningPlatform, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a sandbox that is reached by settings: every case is walked, nothing differs, nothing is left."""
    account = server.account
    for name, value in (
        ("CLIENT_ID", account.client_id), ("CLIENT_SECRET", account.client_secret),
        ("ORG_ID", account.org_id), ("SANDBOX", account.sandbox),
        ("PLATFORM_URL", server.url), ("IMS_URL", server.url),
    ):  # fmt: skip
        monkeypatch.setenv(f"AEP_{name}", value)
    monkeypatch.setattr("chatlio_kit.jobs.verify.walk.GUARD_SECONDS", 0.0)
    words = [
        "verify-sandbox",
        "--platform",
        "aep",
        "--state",
        str(tmp_path / "state"),
        "--wait",
        "60",
        "--json",
    ]
    done = CliRunner().invoke(main, words)
    answer = json.loads(done.stdout)
    assert (done.exit_code, answer["differences"], answer["not_walked"], answer["left"]) == (0, [], {}, {})
    assert answer["walked"] == answer["cases"] == len(CASES)
    assert answer["mark"].startswith(MARK)
    assert left_behind(platform) == []


def test_ten_alterations_are_ten_sentences(server: RunningPlatform, platform: Platform) -> None:
    """Each alteration is reported once, in one sentence with the assumption and its source."""
    with altered(server, list(ALTERATIONS)) as far, Platform(settings_of(far)) as there:
        result = verify_sandbox(there, wait=120, quiet=True)
    sentences = [str(each) for each in result.differences]
    assert len(sentences) == len(ALTERATIONS) == 10, sentences
    for words in ALTERATIONS.values():
        (sentence,) = [each for each in sentences if words in each]
        assert re.fullmatch(r"[A-Z].* \((GET|POST|PATCH) /.*\): the client relies on: .*; but .*\.", sentence)
    assert result.not_walked == {"change a dataflow": "it needs etag, which no case before it gave"}
    assert result.exit_code == 3
    assert (result.left, left_behind(platform)) == ({}, [])


def test_an_answer_without_an_id_skips_dependent_cases_and_is_cleaned_up(
    server: RunningPlatform, platform: Platform
) -> None:
    """An object created without an id is found by its mark; cases that need it are listed as not walked."""

    def no_ids(exchange: Exchange) -> None:
        if exchange.method == "POST" and exchange.path.endswith(("/tenant/schemas", "/sourceConnections")):
            exchange.body = {"title": exchange.body.get("title")}

    with altered(server, [no_ids]) as far, Platform(settings_of(far)) as there:
        result = verify_sandbox(there, wait=120, quiet=True)
    differing = [each.case.name for each in result.differences]
    assert differing == ["create a schema", "create a source connection"]
    assert result.not_walked["create a dataset"] == "it needs schema, which no case before it gave"
    assert (result.left, left_behind(platform)) == ({}, [])


@pytest.mark.parametrize("at", [1, 12, 30, 52])
def test_an_interrupted_walk_is_taken_down(
    server: RunningPlatform, platform: Platform, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Ctrl+C at any call, even after the platform acted on it, leaves nothing."""
    calls = count()
    with Platform(settings_of(server)) as there:
        ask = there.ask

        def interrupted(*words: Any, **parts: Any) -> Any:
            reply = ask(*words, **parts)
            if next(calls) == at:
                raise KeyboardInterrupt
            return reply

        monkeypatch.setattr(there, "ask", interrupted)
        result = verify_sandbox(there, wait=120, quiet=True)
    assert result.is_interrupted
    assert result.exit_code == 1
    assert (result.left, left_behind(platform)) == ({}, [])


def test_an_object_that_cannot_be_removed_is_named(server: RunningPlatform, platform: Platform) -> None:
    """An object whose removal is refused is named, with its id and the mark to find it by."""

    def kept(exchange: Exchange) -> None:
        if exchange.method == "DELETE" and "/mappingSets/" in exchange.path:
            exchange.status = 403

    with altered(server, [kept]) as far, Platform(settings_of(far)) as there:
        result = verify_sandbox(there, wait=120, quiet=True)
    ((what, why),) = result.left.items()
    assert re.fullmatch("mapping [0-9a-f]{32}", what)
    assert "403" in why
    assert f"its name or description is {result.mark}" in str(result)
    assert left_behind(platform) == []


def test_a_production_sandbox_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is created in it; no option allows it, and neither does an unknown type."""
    with (
        running(tmp_path / "store", sandbox_type="production") as server,
        Platform(settings_of(server)) as there,
    ):
        with pytest.raises(ProductionSandbox, match="of the type production, so nothing was changed"):
            verify_sandbox(there)
        assert left_behind(there) == []
        refused = CliRunner().invoke(main, ["verify-sandbox", "--production"])
        assert "No such option" in refused.output
    with monkeypatch.context() as patch:
        patch.setattr(Platform, "ask", None)
        listed = CliRunner().invoke(main, ["verify-sandbox", "--dry-run", "--json"])
    assert [each["case"] for each in json.loads(listed.stdout)["calls"]] == [case.name for case in CASES]


def test_a_missing_recorder_is_named(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is walked when the recording cannot be made."""
    monkeypatch.setitem(sys.modules, "vcr", None)
    with pytest.raises(Exception, match=r"pip install 'chatlio-kit\[verify\]'"):
        verify_sandbox(platform, record=tmp_path / "run.json")
    assert not (tmp_path / "run.json").exists()


def test_a_recording_holds_no_data_about_its_owner(
    server: RunningPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither tokens, credential, organisation, tenant, sandbox, host, inlet, ids nor others' objects."""
    seen: list[str] = []

    def noted(exchange: Exchange) -> None:
        if exchange.is_call("POST", "/ims/token/v3") and exchange.status == 200:
            seen.append(exchange.body["access_token"])
        if exchange.method == "GET" and "/flows/" in exchange.path and exchange.status == 200:
            seen.append(exchange.body["items"][0]["options"]["inletUrl"].rpartition("/")[2])
        if (
            exchange.status in (200, 201)
            and isinstance(exchange.body, dict)
            and isinstance(exchange.body.get("id"), str)
        ):
            seen.append(exchange.body["id"])
        if exchange.is_call("GET", "/idnamespace/identities"):
            exchange.body = [{**each, "description": "Acme Gold Club"} for each in exchange.body]
        if exchange.status >= 400 and isinstance(exchange.body, dict):
            exchange.body["detail"] = (
                "ana@example.org of 1A2B3C4D5E6F70819203A4B5@AdobeOrg at https://acme.example/x"
            )

    path = tmp_path / "run.json"
    with altered(server, [noted]) as far, Platform(settings_of(far)) as there:
        verify_sandbox(there, wait=120, quiet=True, record=path)
    text = path.read_text(encoding="utf-8")
    assert json.loads(text)["interactions"]
    account = server.account
    secrets = [account.client_secret, account.client_id, account.org_id, account.org_id[:24], *seen]
    secrets += [account.tenant_id, account.sandbox, far.url.rpartition(":")[2], "127.0.0.1", "Acme", "ana"]
    assert len(seen) > 8
    words = re.findall(r"\w+", text.lower())
    assert [one for one in secrets if one in text and (len(one) > 8 or one.lower() in words)] == []
    assert not re.search(r"eyJ|[1-9a-f][0-9a-f]{15}|[0-9a-f]{8}-[1-9a-f]", text)


def test_what_follows_a_wait_that_ended_is_not_walked(tmp_path: Path) -> None:
    """A batch that is not loaded yet cannot be reverted; that is a short wait, not a difference."""
    with (
        running(tmp_path / "store", processing_delay=3600.0) as server,
        Platform(settings_of(server)) as slow,
    ):
        result = verify_sandbox(slow, wait=0, quiet=True)
    assert "wait for an uploaded batch" in result.not_walked
    assert result.not_walked["revert a batch"] == (
        "it follows 'wait for an uploaded batch', which was not walked"
    )
    assert [str(difference) for difference in result.differences] == []
