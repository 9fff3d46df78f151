"""A newer version extends a schema in use, and never changes or removes what holds data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from chatlio_kit.aep import Platform
from chatlio_kit.chatlio import catalogue
from chatlio_kit.chatlio.catalogue import Dtype, Field
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection import Connection, open_connection, plan_connection
from chatlio_kit.connection import mapping_check as rehearsal_module
from chatlio_kit.connection.mapping_check import wire_sample
from chatlio_kit.connection.resources import blueprint as blueprint_module
from chatlio_kit.connection.resources import mappings as mappings_module
from chatlio_kit.errors import ConnectionIncomplete, PlatformError

Landed = Callable[[Connection, int], list[dict[str, Any]]]
Version = Callable[[Callable[[Field], Field | None]], Any]
BASE = "/definitions/customFields/properties/_acmechat/properties/chatlio/properties"


@pytest.fixture
def version(monkeypatch: pytest.MonkeyPatch) -> Version:
    """Use another catalogue for a while: each event field changed, or left out."""

    @contextmanager
    def other(change: Callable[[Field], Field | None]) -> Iterator[None]:
        fields = tuple(new for new in map(change, catalogue.EVENTS) if new is not None)
        with monkeypatch.context() as patch:
            patch.setattr(catalogue, "EVENTS", fields)
            patch.setattr(mappings_module, "EVENTS", fields)
            yield

    return other


def without(*names: str) -> Callable[[Field], Field | None]:
    """Leave fields out."""
    return lambda field: None if field.name in names else field


def as_number(name: str) -> Callable[[Field], Field | None]:
    """Change a field's type to integer."""
    return lambda field: replace(field, dtype=Dtype.INTEGER) if field.name == name else field


def land(connection: Connection, landed: Landed, kind: Kind) -> list[dict[str, Any]]:
    """Send a record of a kind through its history dataflow, and wait for its row."""
    with connection.history_flow(kind).inlet() as inlet:
        inlet.post_batch(json.dumps({"messages": [wire_sample(kind)]}).encode())
    return landed(connection, 1)


def test_a_newer_version_adds_its_fields_to_a_schema_with_data(
    platform: Platform, landed: Landed, version: Version
) -> None:
    """Fields of a newer catalogue are added, mappings and dataflows follow, and what landed stays."""
    with version(without("agent_name", "archive_url")):
        older = plan_connection(platform, webhooks=["transcript"]).apply()
        (row,) = land(older, landed, Kind.TRANSCRIPT)
        assert "agent_name" not in row["_acmechat"]["chatlio"]
    plan = plan_connection(platform, webhooks=["transcript"])
    assert [(entry.object, entry.action.value) for entry in plan.objects if entry.action != "reuse"] == [
        ("field group", "update"),
        ("mapping set", "update"),
        ("dataflow", "update"),
    ]
    assert plan.objects[0].reason == "to be added: agent_name, archive_url"
    newer = plan.apply()
    assert (newer.schema_id, newer.dataset_id) == (older.schema_id, older.dataset_id)
    assert newer.live[Kind.TRANSCRIPT].flow_id == older.live[Kind.TRANSCRIPT].flow_id
    assert newer.guard_until(newer.live[Kind.TRANSCRIPT]) > older.guard_until(older.live[Kind.TRANSCRIPT])
    assert plan_connection(platform, webhooks=["transcript"]).changes == 0
    assert open_connection(platform).history == {}
    newer.history_flow(Kind.TRANSCRIPT)
    assert open_connection(platform).history.keys() == {Kind.TRANSCRIPT}


def test_an_older_version_keeps_unknown_entries(platform: Platform, version: Version) -> None:
    """A field that this version no longer has stays in the schema, and the plan says so."""
    plan_connection(platform, webhooks=["feedback"]).apply()
    with version(without("subject", "location")):
        plan = plan_connection(platform, webhooks=["feedback"])
        group = plan.objects[0]
        assert (group.action, group.reason) == (
            "reuse",
            "has every field, and keeps what this version does not send: location, subject",
        )
        plan.apply()
    assert plan_connection(platform, webhooks=["feedback"]).changes == 0


@pytest.mark.parametrize("has_data", [False, True])
def test_another_type_is_refused_with_or_without_data(
    platform: Platform, landed: Landed, version: Version, census: Callable[[], Any], has_data: bool
) -> None:
    """A different type is a conflict, reported with both types and the next step; nothing is touched."""
    connection = plan_connection(platform, webhooks=["feedback"]).apply()
    if has_data:
        land(connection, landed, Kind.FEEDBACK)
    before = census()
    with version(as_number("subject")):
        plan = plan_connection(platform, webhooks=["feedback"])
        with pytest.raises(
            ConnectionIncomplete,
            match=r"the field group 'chatlio field group': subject is string there and integer here; "
            r"a field never changes its type: choose another name",
        ):
            plan.apply()
        assert plan_connection(platform, name="newer", webhooks=["feedback"]).conflicts == ()
    assert census() == before
    assert open_connection(platform) == connection


def test_a_list_that_holds_something_else_is_refused(platform: Platform) -> None:
    """An array of strings where an array of objects is expected is a conflict, not a place to add fields."""
    connection = plan_connection(platform, webhooks=[]).apply()
    texts = {"type": "array", "title": "Chat messages", "items": {"type": "string"}}
    change = [{"op": "replace", "path": f"{BASE}/chat_messages", "value": texts}]
    platform.schemas.patch("fieldgroups", connection.field_group_id, change)
    (conflict,) = plan_connection(platform, webhooks=[]).conflicts
    assert "chat_messages is array of string there and array of object here" in conflict.reason


@pytest.mark.parametrize(
    "change",
    [
        {"op": "remove", "path": f"{BASE}/message"},
        {"op": "replace", "path": f"{BASE}/message/type", "value": "integer"},
    ],
)
def test_the_platform_itself_refuses_to_remove_fields_with_data(
    platform: Platform, landed: Landed, change: dict[str, Any]
) -> None:
    """Once rows have landed, the registry refuses removals and other types, naming the field."""
    connection = plan_connection(platform, webhooks=[]).apply()
    land(connection, landed, Kind.FEEDBACK)
    with pytest.raises(PlatformError, match=r"Schema Registry could not change the field group: .*message"):
        platform.schemas.patch("fieldgroups", connection.field_group_id, [change])


def test_the_catalogue_is_read_when_it_is_needed(version: Version) -> None:
    """The other tests here would prove nothing if a room kept a copy of the catalogue of its own."""
    with version(without("agent_name")):
        design = blueprint_module.Blueprint(blueprint_module.ResourceNames("chatlio"), "acmechat")
        assert "agent_name" not in design.chatlio_properties()
        assert "agent_name" not in str(rehearsal_module.wire_sample(Kind.TRANSCRIPT))
