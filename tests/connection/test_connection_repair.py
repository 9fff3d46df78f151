"""Half-built, changed, foreign and lost: a connection is completed without duplicates and without harm."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from chatlio_kit.aep import Platform
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection import disconnect, open_connection, plan_connection
from chatlio_kit.connection.mapping_check import check_mappings
from chatlio_kit.connection.resources.blueprint import Blueprint
from chatlio_kit.connection.resources.names import ResourceNames, Role
from chatlio_kit.errors import ConnectionIncomplete, PermissionMissing, Unavailable, Unreachable
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import running

Census = Callable[[], dict[str, list[str]]]
ONE_KIND = {
    "field group": 1,
    "schema": 1,
    "dataset": 1,
    "mapping set": 1,
    "source": 1,
    "target": 1,
    "dataflow": 1,
}
CREATES = (
    "/tenant/fieldgroups",
    "/tenant/schemas",
    "/dataSets",
    "/mappingSets",
    "/sourceConnections",
    "/targetConnections",
    "/flows",
)


def sizes(census: Census) -> dict[str, int]:
    """The number of objects of each type."""
    return {thing: len(ids) for thing, ids in census().items()}


def around_create(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, path: str, act: Callable[[Callable[[], Any]], Any]
) -> None:
    """Replace the first create at a path with ``act``, which receives the real call."""
    transport = platform._transport
    call = transport.call
    left = [1]

    def wrapped(service: str, operation: str, method: str, where: str, **parts: Any) -> Any:
        def real() -> Any:
            return call(service, operation, method, where, **parts)

        if method == "POST" and where.endswith(path) and left:
            left.pop()
            return act(real)
        return real()

    monkeypatch.setattr(transport, "call", wrapped)


@pytest.mark.parametrize("path", CREATES)
def test_a_crash_before_or_after_a_create_leaves_no_double(
    platform: Platform, census: Census, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A run that dies around any create is completed by the next one, and nothing exists twice."""

    def die_after(real: Callable[[], Any]) -> Any:
        real()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        around_create(platform, patch, path, die_after)
        with pytest.raises(KeyboardInterrupt):
            plan_connection(platform, webhooks=["transcript"]).apply()
    plan_connection(platform, webhooks=["transcript"]).apply()
    assert sizes(census) == ONE_KIND
    assert plan_connection(platform, webhooks=["transcript"]).changes == 0
    assert list(open_connection(platform).live) == [Kind.TRANSCRIPT]


@pytest.mark.parametrize("path", CREATES)
def test_an_unanswered_create_is_looked_up(
    platform: Platform, census: Census, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A create that was carried out but not acknowledged is found, not repeated."""

    def lose_answer(real: Callable[[], Any]) -> Any:
        real()
        raise Unreachable("Service", "create", "the connection broke off")

    monkeypatch.setattr(platform, "sleep", lambda _seconds: None)
    around_create(platform, monkeypatch, path, lose_answer)
    plan_connection(platform, webhooks=["transcript"]).apply()
    assert sizes(census) == ONE_KIND


@pytest.mark.parametrize("path", CREATES)
def test_a_create_that_failed_temporarily_is_retried(
    platform: Platform, census: Census, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A create that the platform failed at is retried after a check."""

    def fail(real: Callable[[], Any]) -> Any:
        raise Unavailable("Service", "create", "down", status=503)

    monkeypatch.setattr(platform, "sleep", lambda _seconds: None)
    around_create(platform, monkeypatch, path, fail)
    plan_connection(platform, webhooks=["transcript"]).apply()
    assert sizes(census) == ONE_KIND


def test_a_platform_that_stays_down_is_reported(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """After three tries the platform's own error is raised."""
    naps: list[float] = []
    monkeypatch.setattr(platform, "sleep", naps.append)
    transport = platform._transport
    call = transport.call

    def wrapped(service: str, operation: str, method: str, where: str, **parts: Any) -> Any:
        if method == "POST" and where.endswith("/dataSets"):
            raise Unavailable(service, operation, "down", status=503)
        return call(service, operation, method, where, **parts)

    monkeypatch.setattr(transport, "call", wrapped)
    with pytest.raises(Unavailable, match="Catalog could not create the dataset 'chatlio dataset': down"):
        plan_connection(platform).apply()
    assert len(naps) == 2


def test_foreign_objects_stay_untouched(platform: Platform, census: Census) -> None:
    """Objects of our names without our mark, and another connection, survive connect and disconnect."""
    other = plan_connection(platform, name="chatlio-2", webhooks=["feedback"]).apply()
    design = Blueprint(ResourceNames("chatlio"), other.tenant_id)
    role, kind = Role.LIVE, Kind.FEEDBACK
    bare = {"description": "Somebody's. chatlio-kit:chatlio-3"}
    source = platform.flows.create_endpoint("source", design.source(role, kind) | bare)
    target = platform.flows.create_endpoint(
        "target", design.target(role, kind, other.schema_id, other.dataset_id) | bare
    )
    mapping_set, version = platform.mapping_sets.create(
        design.mapping_set(role, kind, other.schema_id) | bare
    )
    step = {"name": "Mapping", "params": {"mappingId": mapping_set, "mappingVersion": version}}
    flow = platform.flows.create_flow(design.flow(role, kind, source, target, step) | bare)
    dataset = platform.catalog.create_dataset(design.dataset(other.schema_id) | bare)
    plan = plan_connection(platform, webhooks=["feedback"])
    assert {entry.action.value for entry in plan.objects} == {"create"}
    assert "is not ours and stays" in plan.objects[2].reason
    mine = plan.apply()
    assert mine.live[kind].flow_id != flow
    removal = disconnect(platform)
    gone = {entry.id for entry in removal.removed}
    assert gone.isdisjoint({source, target, mapping_set, flow})
    left = census()
    assert left["source"] == sorted([source, other.live[kind].source_connection_id])
    assert left["target"] == sorted([target, other.live[kind].target_connection_id])
    assert left["mapping set"] == sorted([mapping_set, other.live[kind].mapping_set_id])
    assert left["dataflow"] == sorted([flow, other.live[kind].flow_id])
    assert dataset in left["dataset"]
    assert open_connection(platform, "chatlio-2") == other


def test_a_title_used_by_another_object_is_a_conflict(platform: Platform, census: Census) -> None:
    """A foreign schema with our title stops the connect before anything is created."""
    platform.schemas.create(
        "schemas",
        {
            "type": "object",
            "title": "chatlio schema",
            "description": "not ours",
            "allOf": [{"$ref": "https://ns.adobe.com/xdm/context/experienceevent"}],
        },
    )
    plan = plan_connection(platform)
    assert [conflict.object for conflict in plan.conflicts] == ["schema"]
    before = census()
    with pytest.raises(ConnectionIncomplete, match=r"the schema 'chatlio schema'.*choose another name"):
        plan.apply()
    assert census() == before
    assert plan_connection(platform, name="shop", webhooks=["feedback"]).apply().name == "shop"


def test_a_dataset_that_moved_to_another_schema_is_a_conflict(platform: Platform) -> None:
    """A dataset of ours with another schema is not used."""
    design = Blueprint(ResourceNames("chatlio"), platform.schemas.tenant_id())
    group = platform.schemas.create("fieldgroups", design.field_group())
    odd = platform.schemas.create("schemas", design.schema(str(group["$id"])) | {"title": "odd"})
    platform.catalog.create_dataset(design.dataset(str(odd["$id"])))
    with pytest.raises(ConnectionIncomplete, match=r"'chatlio dataset'.*it has another schema"):
        plan_connection(platform).apply()


def test_missing_fields_are_added_and_the_guard_grows(platform: Platform) -> None:
    """A field group of an older version gains missing fields, including nested ones, and keeps its others."""
    design = Blueprint(ResourceNames("chatlio"), platform.schemas.tenant_id())
    body = design.field_group()
    chatlio = body["definitions"]["customFields"]["properties"][design.tenant]["properties"]["chatlio"]
    del chatlio["properties"]["agent_name"]
    del chatlio["properties"]["chat_messages"]["items"]["properties"]["author"]
    chatlio["properties"]["own_field"] = {"type": "string", "title": "Own"}
    made = platform.schemas.create("fieldgroups", body)
    plan = plan_connection(platform, webhooks=["transcript"])
    assert (plan.objects[0].action, plan.objects[0].reason) == ("update", "to be added: agent_name, author")
    connection = plan.apply()
    assert connection.field_group_id == made["$id"]
    assert connection.schema_changed_at > 0
    kept = platform.schemas.get("fieldgroups", str(made["$id"]))
    tenant = kept["definitions"]["customFields"]["properties"][design.tenant]["properties"]
    assert "agent_name" in tenant["chatlio"]["properties"]
    assert "author" in tenant["chatlio"]["properties"]["chat_messages"]["items"]["properties"]
    assert "own_field" in tenant["chatlio"]["properties"]
    assert plan_connection(platform, webhooks=["transcript"]).changes == 0
    assert open_connection(platform).schema_changed_at > 0


def test_a_field_of_another_type_is_a_conflict(platform: Platform) -> None:
    """A field group whose field has another type is not overwritten."""
    design = Blueprint(ResourceNames("chatlio"), platform.schemas.tenant_id())
    body = design.field_group()
    chatlio = body["definitions"]["customFields"]["properties"][design.tenant]["properties"]["chatlio"]
    chatlio["properties"]["agent_name"] = {"type": "integer"}
    platform.schemas.create("fieldgroups", body)
    plan = plan_connection(platform)
    reason = (
        "agent_name is integer there and string here; a field never changes its type: choose another name"
    )
    assert plan.objects[0].reason == reason
    with pytest.raises(ConnectionIncomplete, match="agent_name"):
        plan.apply()


def test_a_schema_without_our_field_group_gets_it(platform: Platform) -> None:
    """A schema of ours that lacks the field group is completed."""
    design = Blueprint(ResourceNames("chatlio"), platform.schemas.tenant_id())
    body = design.schema("none")
    body["allOf"].pop()
    platform.schemas.create("schemas", body)
    plan = plan_connection(platform, webhooks=["feedback"])
    assert plan.objects[1].action == "update"
    plan.apply()
    assert plan_connection(platform, webhooks=["feedback"]).changes == 0


def test_changed_mappings_are_corrected_and_applied(platform: Platform, census: Census) -> None:
    """A mapping set that someone changed is replaced, and the dataflow gets its new version."""
    connection = plan_connection(platform, webhooks=["feedback"]).apply()
    design = Blueprint(ResourceNames("chatlio"), connection.tenant_id)
    mapping_set = connection.live[Kind.FEEDBACK].mapping_set_id
    body = design.mapping_set(Role.LIVE, Kind.FEEDBACK, connection.schema_id)
    body["mappings"].pop()
    platform.mapping_sets.replace(mapping_set, body)
    before = census()
    plan = plan_connection(platform, webhooks=["feedback"])
    assert {(entry.object, entry.action.value) for entry in plan.objects if entry.action != "reuse"} == {
        ("mapping set", "update"),
        ("dataflow", "update"),
    }
    mended = plan.apply()
    assert census() == before
    flow = platform.flows.flow(mended.live[Kind.FEEDBACK].flow_id)
    assert (flow.mapping_set_id, flow.mapping_version) == (mapping_set, 2)
    assert mended.live[Kind.FEEDBACK].changed_at >= connection.live[Kind.FEEDBACK].changed_at
    assert plan_connection(platform, webhooks=["feedback"]).changes == 0


def test_a_disabled_dataflow_is_enabled(platform: Platform) -> None:
    """A dataflow that was disabled makes the connection incomplete, and connecting enables it."""
    connection = plan_connection(platform, webhooks=["feedback"]).apply()
    platform.flows.disable_flow(connection.live[Kind.FEEDBACK].flow_id)
    with pytest.raises(ConnectionIncomplete, match="dataflow"):
        open_connection(platform)
    plan = plan_connection(platform, webhooks=["feedback"])
    assert plan.objects[-1].action == "update"
    again = plan.apply()
    assert again.live[Kind.FEEDBACK].flow_id == connection.live[Kind.FEEDBACK].flow_id


def test_an_outdated_history_flow_is_brought_up_to_date_when_needed(platform: Platform) -> None:
    """A history dataflow with other mappings is not used unchanged: it is repaired at the next call."""
    connection = plan_connection(platform, webhooks=[]).apply()
    flow = connection.history_flow(Kind.FEEDBACK)
    design = Blueprint(ResourceNames("chatlio"), connection.tenant_id)
    body = design.mapping_set(Role.HISTORY, Kind.FEEDBACK, connection.schema_id)
    body["mappings"].pop()
    platform.mapping_sets.replace(flow.mapping_set_id, body)
    reopened = open_connection(platform)
    assert reopened.history == {}
    assert reopened.history_flow(Kind.FEEDBACK).flow_id == flow.flow_id
    assert open_connection(platform).history.keys() == {Kind.FEEDBACK}


def test_a_missing_permission_is_reported_with_its_name(tmp_path: Any) -> None:
    """A credential without permission to create datasets learns which permission it lacks."""
    with (
        running(tmp_path / "store", withheld=frozenset({"manage-datasets"})) as local,
        Platform(settings_of(local)) as platform,
        pytest.raises(PermissionMissing, match="Manage Datasets"),
    ):
        plan_connection(platform).apply()


@pytest.mark.parametrize(
    ("role", "kind", "path", "wrong"),
    [
        (Role.LIVE, Kind.TRANSCRIPT, "_id", "0" * 64),
        (Role.LIVE, Kind.TRANSCRIPT, "timestamp", "2024-02-05T09:34:10Z"),
        (Role.LIVE, Kind.TRANSCRIPT, "_acmechat.chatlio.started_at", None),
        (Role.LIVE, Kind.TRANSCRIPT, "_acmechat.chatlio.chat_messages", []),
        (Role.LIVE, Kind.FEEDBACK, "_id", "not a uuid"),
        (Role.LIVE, Kind.FEEDBACK, "timestamp", "2001-01-01T00:00:00Z"),
        (Role.LIVE, Kind.FEEDBACK, "eventType", "chatlio.transcript"),
        (Role.HISTORY, Kind.OFFLINE_MESSAGE, "_acmechat.chatlio.user_id", 718),
        (Role.HISTORY, Kind.TRANSCRIPT, "_acmechat.chatlio.message_count", "2"),
    ],
)
def test_a_mapper_with_other_results_stops_the_connect(
    platform: Platform, census: Census, role: Role, kind: Kind, path: str, wrong: object
) -> None:
    """Any field that the trial maps differently is named with the expected and the actual value."""
    connection = plan_connection(platform, webhooks=[]).apply()
    design = Blueprint(ResourceNames("chatlio"), connection.tenant_id)

    def preview(records: list[Any], body: Any) -> list[Any]:
        made = platform.mapping_sets.preview(records, body)
        *steps, last = path.split(".")
        place = made[0]["data"]
        for step in steps:
            place = place[step]
        place[last] = wrong
        return made

    odd: Any = SimpleNamespace(mapping_sets=SimpleNamespace(preview=preview), now=platform.now)
    with pytest.raises(ConnectionIncomplete, match=f"in {path}, where .* was expected"):
        check_mappings(odd, design, role, kind, connection.schema_id)
    check_mappings(platform, design, role, kind, connection.schema_id)


def test_nothing_is_built_on_a_mapping_that_failed_its_trial(
    platform: Platform, census: Census, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If one kind's trial fails, no mapping set, connection or dataflow is created for any."""
    real = platform.mapping_sets.preview

    def preview(records: Any, body: Any) -> Any:
        made = real(records, body)
        if "feedback" in body["name"]:
            made[0]["data"]["eventType"] = "other"
        return made

    monkeypatch.setattr(platform.mapping_sets, "preview", preview)
    with pytest.raises(ConnectionIncomplete, match=r'gave "other" in eventType, where "chatlio\.feedback"'):
        plan_connection(platform).apply()
    found = sizes(census)
    assert (found["mapping set"], found["source"], found["dataflow"]) == (0, 0, 0)
