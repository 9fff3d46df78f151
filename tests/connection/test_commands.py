"""Plan, create and take down by command: the JSON output, and what happens to other people's objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chatlio_kit.aep import Platform
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection import plan_connection
from chatlio_kit.connection.resources.blueprint import Blueprint
from chatlio_kit.connection.resources.names import ResourceNames, Role
from chatlio_kit.local_platform import RunningPlatform, running

BASE = "/definitions/customFields/properties/_acmechat/properties/chatlio/properties"


@pytest.fixture
def local(tmp_path: Path) -> Iterator[RunningPlatform]:
    """A local platform that commands and the test both see."""
    with running(tmp_path / "store", enabling_delay=0.05, processing_delay=0.02) as started:
        yield started


@pytest.fixture
def platform(local: RunningPlatform, settings_for: Any) -> Iterator[Platform]:
    """The test's own access to it."""
    with Platform(settings_for(local)) as opened:
        yield opened


def actions(done: Any) -> dict[str, str]:
    """Return the action for each object in a command's JSON, by the object's name."""
    return {entry["name"]: entry["action"] for entry in json.loads(done.stdout)["objects"]}


def test_an_empty_sandbox_is_filled_once(
    local: RunningPlatform, chatlio_kit: Any, platform: Platform, census: Callable[[], Any]
) -> None:
    """The first connect creates 23 objects; the second creates none and says so, in text and in JSON."""
    first = chatlio_kit(local, "connect", "--json")
    assert (first.exit_code, json.loads(first.stdout)["changes"]) == (0, 23)
    assert set(actions(first).values()) == {"create"}
    before = census()
    second = chatlio_kit(local, "connect", "--json")
    assert (second.exit_code, json.loads(second.stdout)["changes"]) == (0, 0)
    assert set(actions(second).values()) == {"reuse"}
    assert "Nothing to do: everything is there." in chatlio_kit(local, "connect").stdout
    assert census() == before


def test_a_dry_run_on_a_half_built_connection_names_each_object(
    local: RunningPlatform, chatlio_kit: Any, platform: Platform, census: Callable[[], Any]
) -> None:
    """Existing objects are reused, different ones updated, missing ones created, with reason and id."""
    connection = plan_connection(platform, webhooks=["transcript", "feedback", "unanswered"]).apply()
    remove = [{"op": "remove", "path": f"{BASE}/agent_name"}]
    platform.schemas.patch("fieldgroups", connection.field_group_id, remove)
    design = Blueprint(ResourceNames("chatlio"), connection.tenant_id)
    shorter = design.mapping_set(Role.LIVE, Kind.FEEDBACK, connection.schema_id)
    shorter["mappings"].pop()
    platform.mapping_sets.replace(connection.live[Kind.FEEDBACK].mapping_set_id, shorter)
    platform.flows.disable_flow(connection.live[Kind.UNANSWERED].flow_id)
    lost = connection.live[Kind.TRANSCRIPT]
    platform.flows.delete_flow(lost.flow_id)
    platform.flows.delete_endpoint("target", lost.target_connection_id)
    before = census()
    done = chatlio_kit(local, "connect", "--dry-run", "--json")
    assert done.exit_code == 0
    of_kind = ("mapping set", "source", "target", "dataflow")
    assert actions(done) == {
        "chatlio field group": "update",
        "chatlio schema": "reuse",
        "chatlio dataset": "reuse",
        **dict(
            zip(
                [f"chatlio live transcript {thing}" for thing in of_kind],
                ["reuse", "reuse", "create", "create"],
                strict=True,
            )
        ),
        **{f"chatlio live offline message {thing}": "create" for thing in of_kind},
        **{f"chatlio live conversation started {thing}": "create" for thing in of_kind},
        **{f"chatlio live unanswered {thing}": "reuse" for thing in of_kind[:3]},
        "chatlio live unanswered dataflow": "update",
        **{f"chatlio live feedback {thing}": "reuse" for thing in of_kind[1:3]},
        "chatlio live feedback mapping set": "update",
        "chatlio live feedback dataflow": "update",
    }
    found = {entry["name"]: entry for entry in json.loads(done.stdout)["objects"]}
    assert found["chatlio field group"]["reason"] == "to be added: agent_name"
    assert found["chatlio live unanswered dataflow"]["reason"] == "it is disabled"
    assert found["chatlio live feedback mapping set"]["reason"] == "its mappings differ"
    assert all((value["id"] is None) == (value["action"] == "create") for value in found.values())
    assert census() == before
    assert chatlio_kit(local, "connect", "--json").exit_code == 0
    assert set(actions(chatlio_kit(local, "connect", "--dry-run", "--json")).values()) == {"reuse"}


def test_disconnecting_twice_keeps_data_and_foreign_objects(
    local: RunningPlatform, chatlio_kit: Any, platform: Platform, census: Callable[[], Any]
) -> None:
    """``disconnect --yes`` twice: our flows are gone, data and foreign objects are untouched."""
    foreign_schema = platform.schemas.create(
        "schemas",
        {
            "type": "object",
            "title": "somebody's schema",
            "description": "Not ours.",
            "allOf": [{"$ref": "https://ns.adobe.com/xdm/context/experienceevent"}],
        },
    )
    schema_id = str(foreign_schema["$id"])
    design, role, kind = Blueprint(ResourceNames("chatlio"), "acmechat"), Role.LIVE, Kind.FEEDBACK
    bare = {"description": "Not ours."}
    dataset = platform.catalog.create_dataset(design.dataset(schema_id) | bare | {"name": "foreign"})
    mapping_set, version = platform.mapping_sets.create(
        design.mapping_set(role, kind, schema_id)
        | bare
        | {"mappings": [{"sourceType": "EXPRESSION", "source": "uuid()", "destination": "_id"}]}
    )
    source = platform.flows.create_endpoint("source", design.source(role, kind) | bare)
    target = platform.flows.create_endpoint("target", design.target(role, kind, schema_id, dataset) | bare)
    step = {"name": "Mapping", "params": {"mappingId": mapping_set, "mappingVersion": version}}
    flow = platform.flows.create_flow(design.flow(role, kind, source, target, step) | bare)
    alone = census()
    before = [platform.flows.flow(flow).name, platform.schemas.get("schemas", schema_id)["version"]]

    assert chatlio_kit(local, "connect").exit_code == 0
    full = census()
    listed = chatlio_kit(local, "disconnect", "--json")  # no one confirms
    assert (listed.exit_code, census()) == (2, full)
    once = chatlio_kit(local, "disconnect", "--yes", "--json")
    left = census()
    twice = chatlio_kit(local, "disconnect", "--yes", "--json")

    assert (once.exit_code, twice.exit_code) == (0, 0)
    assert len(json.loads(once.stdout)["removed"]) == 20
    assert (json.loads(once.stdout)["kept"], json.loads(twice.stdout)["removed"]) == ([], [])
    assert census() == left
    for thing in ("mapping set", "source", "target", "dataflow"):
        assert left[thing] == alone[thing], thing
    for thing in ("field group", "schema", "dataset"):
        assert left[thing] == full[thing], thing
    assert before == [platform.flows.flow(flow).name, platform.schemas.get("schemas", schema_id)["version"]]
    assert platform.catalog.dataset(dataset)["description"] == "Not ours."
