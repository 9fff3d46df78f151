"""Requests to the platform derive from the catalogue, completely and without restrictions."""

from __future__ import annotations

import re
from typing import Any

import pytest

from chatlio_kit.chatlio.catalogue import EVENTS, MESSAGES, Dtype, sent_fields
from chatlio_kit.chatlio.kinds import SHAPE_OF, Kind, Shape, event_type, shape_of
from chatlio_kit.connection.mapping_check import PAYLOADS, wire_sample
from chatlio_kit.connection.resources.blueprint import Blueprint, transformation
from chatlio_kit.connection.resources.mappings import mappings
from chatlio_kit.connection.resources.names import ResourceNames, Role
from chatlio_kit.errors import UsageError

DESIGN = Blueprint(ResourceNames("chatlio"), "acmechat")
LANES = [(role, kind) for role in Role for kind in Kind]
TRANSCRIPT_TIME = (
    'date(concat(substr(endedAt,0,19), iif(matches_regex(endedAt,".*Z"),"Z",right(endedAt,6))), '
    "\"yyyy-MM-dd'T'HH:mm:ssXXX\")"
)


def properties() -> dict[str, Any]:
    """The properties of the chatlio object."""
    group = DESIGN.field_group()
    tenant = group["definitions"]["customFields"]["properties"]["_acmechat"]
    return tenant["properties"]["chatlio"]["properties"]


def by_destination(role: Role, kind: Kind) -> dict[str, tuple[str, str]]:
    """The mappings of a dataflow by destination."""
    return {line.destination: (line.source_type, line.source) for line in mappings(role, kind, DESIGN.tenant)}


def test_the_field_group_has_every_sent_field_with_its_type() -> None:
    """Each sent column is an XDM field of its type, with title and description."""
    expected = {
        Dtype.TEXT: {"type": "string"},
        Dtype.JSON: {"type": "string"},
        Dtype.TIME: {"type": "string", "format": "date-time"},
        Dtype.INTEGER: {"type": "integer"},
        Dtype.NUMBER: {"type": "number"},
        Dtype.FLAG: {"type": "boolean"},
    }
    there = properties()
    wanted = [field for field in sent_fields() if field.xdm and field.xdm.startswith("chatlio.")]
    assert set(there) == {entry.name for entry in wanted} | {"chat_messages"}
    for entry in wanted:
        body = dict(there[entry.name])
        assert body.pop("description") == entry.meaning
        assert body.pop("title")
        assert body == expected[entry.dtype]


def test_messages_travel_as_an_array_of_objects() -> None:
    """The messages of a transcript are an array whose objects hold the sent fields."""
    messages = properties()["chat_messages"]
    assert messages["type"] == "array"
    assert set(messages["items"]["properties"]) == {message.name for message in MESSAGES if message.xdm}


def test_no_field_restricts_its_values() -> None:
    """No pattern, length, range or list of values can lose a row."""
    text = str(DESIGN.field_group())
    assert not re.search(r"'(pattern|enum|minLength|maxLength|minimum|maximum|required)'", text)


def test_the_field_group_is_shaped_as_documented() -> None:
    """Type, title, class, definitions and the reference into them are complete."""
    group = DESIGN.field_group()
    assert set(group) == {
        "type",
        "title",
        "description",
        "meta:intendedToExtend",
        "definitions",
        "allOf",
    }
    assert group["meta:intendedToExtend"] == ["https://ns.adobe.com/xdm/context/experienceevent"]
    assert group["allOf"] == [{"$ref": "#/definitions/customFields"}]


def test_schema_and_dataset_bodies() -> None:
    """The schema extends the event class with our field group; the dataset names the schema."""
    assert DESIGN.schema("fg")["allOf"] == [
        {"$ref": "https://ns.adobe.com/xdm/context/experienceevent"},
        {"$ref": "fg"},
    ]
    dataset = DESIGN.dataset("s")
    assert dataset["schemaRef"] == {"id": "s", "contentType": "application/vnd.adobe.xed+json;version=1"}
    assert "tags" not in dataset


def test_flow_service_bodies_follow_the_documented_sample() -> None:
    """Keys, fixed ids and versions are those of the Chatlio source's guide."""
    role, kind = Role.LIVE, Kind.TRANSCRIPT
    source = DESIGN.source(role, kind)
    assert source["providerId"] == "521eee4d-8cbe-4906-bb48-fb6bd4450033"
    assert source["connectionSpec"] == {"id": "073127a3-26e3-496c-9d94-9f48fb93fba8", "version": "1.0"}
    assert source["data"] == {"format": "json"}
    target = DESIGN.target(role, kind, "schema", "dataset")
    assert target["connectionSpec"] == {"id": "c604ff05-7f1a-43c0-8e18-33bf874cb11c", "version": "1.0"}
    assert target["data"]["schema"] == {
        "id": "schema",
        "version": "application/vnd.adobe.xed-full+json;version=1",
    }
    assert target["params"] == {"dataSetId": "dataset"}
    flow = DESIGN.flow(role, kind, "s", "t", transformation("m", 0))
    assert flow["flowSpec"] == {"id": "e77fde5a-22a8-11ed-861d-0242ac120002", "version": "1.0"}
    assert flow["transformations"] == [{"name": "Mapping", "params": {"mappingId": "m", "mappingVersion": 0}}]
    assert (flow["sourceConnectionIds"], flow["targetConnectionIds"]) == (["s"], ["t"])
    assert "state" not in flow
    assert "scheduleParams" not in flow


@pytest.mark.parametrize(("role", "kind"), LANES)
def test_every_mapping_lands_in_a_field_that_exists(role: Role, kind: Kind) -> None:
    """No mapping misses: its destination is a field of the class or of our field group, once each."""
    lines = mappings(role, kind, DESIGN.tenant)
    destinations = [line.destination for line in lines]
    assert len(set(destinations)) == len(destinations)
    there = {f"_acmechat.chatlio.{name}" for name in properties()}
    assert set(destinations) <= there | {"_id", "timestamp", "eventType"}
    assert {"_id", "timestamp", "eventType"} <= set(destinations)
    assert all(len(line.source) <= 4096 and "contains_key" not in line.source for line in lines)


@pytest.mark.parametrize("kind", list(Kind))
def test_live_mappings_read_only_what_every_sample_has(kind: Kind) -> None:
    """A live dataflow maps the catalogue's live fields from their paths, and nothing else."""
    shape = SHAPE_OF[kind]
    lines = by_destination(Role.LIVE, kind)
    extra = {"conversation_id"} if kind is Kind.CONVERSATION_STARTED else set()
    wanted = {event.name for event in EVENTS if event.xdm and shape in event.live} | extra
    messages = {"chat_messages"} if shape is Shape.TRANSCRIPT else set()
    landed = {path.removeprefix("_acmechat.chatlio.") for path in lines} - {"_id", "timestamp", "eventType"}
    assert landed == wanted | messages
    assert lines["eventType"] == ("STATIC", event_type(kind))
    for event in EVENTS:
        if event.name in wanted:
            source_type, source = lines[f"_acmechat.chatlio.{event.name}"]
            place = event.paths[shape]
            assert (source == place) if event.dtype is not Dtype.TIME else (place in source)
            assert source_type == ("EXPRESSION" if event.dtype is Dtype.TIME else "ATTRIBUTE")


def test_live_ids_and_times_are_the_agreed_expressions() -> None:
    """A transcript and the start of a conversation have ids that Python can compute, the rest random ones."""
    ids = {kind: by_destination(Role.LIVE, kind)["_id"] for kind in Kind}
    assert ids[Kind.TRANSCRIPT] == (
        "EXPRESSION",
        'sha256(concat("transcript|", conversationUUID, "|", endedAt), "UTF-8")',
    )
    assert ids[Kind.CONVERSATION_STARTED] == (
        "EXPRESSION",
        'sha256(concat("conversation_started|", conversationUUID), "UTF-8")',
    )
    others = (Kind.OFFLINE_MESSAGE, Kind.UNANSWERED, Kind.FEEDBACK)
    assert {ids[kind] for kind in others} == {("EXPRESSION", "uuid()")}
    assert by_destination(Role.LIVE, Kind.TRANSCRIPT)["timestamp"] == ("EXPRESSION", TRANSCRIPT_TIME)
    for kind in (*others, Kind.CONVERSATION_STARTED):
        assert by_destination(Role.LIVE, kind)["timestamp"] == ("EXPRESSION", "now()")


@pytest.mark.parametrize("kind", list(Kind))
def test_history_mappings_take_every_key_of_a_wire_record(kind: Kind) -> None:
    """A history dataflow maps plain attributes: what its shape can carry and what belongs to every event."""
    shape = SHAPE_OF[kind]
    lines = by_destination(Role.HISTORY, kind)
    assert lines.pop("_id") == ("ATTRIBUTE", "event_id")
    assert lines.pop("timestamp") == ("ATTRIBUTE", "occurred_at")
    assert lines.pop("eventType") == ("STATIC", event_type(kind))
    assert {source_type for source_type, _ in lines.values()} == {"ATTRIBUTE"}
    wanted = {
        event.name
        for event in EVENTS
        if event.xdm and event.xdm.startswith("chatlio.") and (shape in event.paths or not event.paths)
    }
    messages = {"chat_messages"} if shape is Shape.TRANSCRIPT else set()
    assert {source for _, source in lines.values()} == wanted | messages
    assert all(path == f"_acmechat.chatlio.{source}" for path, (_, source) in lines.items())
    assert set(wire_sample(kind)) == wanted | messages | {"event_id", "occurred_at"}


def test_names_and_titles_do_not_collide() -> None:
    """No two objects share a name, and everything carries the mark."""
    bodies = [DESIGN.field_group(), DESIGN.schema("f"), DESIGN.dataset("s")]
    for role, kind in LANES:
        bodies += [
            DESIGN.mapping_set(role, kind, "s"),
            DESIGN.source(role, kind),
            DESIGN.target(role, kind, "s", "d"),
            DESIGN.flow(role, kind, "s", "t", {}),
        ]
    names = [body.get("title") or body["name"] for body in bodies]
    assert len(set(names)) == len(names)
    assert all(DESIGN.naming.owns(body["description"]) for body in bodies)
    assert all("," not in name for name in names)  # a comma would split a filter


def test_names_contain_chatlio_once() -> None:
    """Another connection's objects are named after it and chatlio."""
    assert ResourceNames("chatlio").shared("schema") == "chatlio schema"
    assert ResourceNames("shop").shared("schema") == "shop chatlio schema"


@pytest.mark.parametrize(
    ("description", "ours"),
    [
        ("Events. chatlio-kit:shop", True),
        ("chatlio-kit:shop and more words", True),
        ("(chatlio-kit:shop)", True),
        ("chatlio-kit:shop-2", False),
        ("chatlio-kit:shop2", False),
        ("chatlio-kit:shop_eu", False),
        ("my-chatlio-kit:shop", False),
        ("chatlio-kit:Shop", False),
        ("shop", False),
        ("", False),
        (None, False),
    ],
)
def test_the_mark_differs_from_longer_ones(description: object, ours: bool) -> None:
    """Only the whole mark makes an object ours."""
    assert ResourceNames("shop").owns(description) is ours


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a==b", "-x", "ä", "x" * 41, "a\n"])
def test_names_that_cannot_be_searched_for_are_refused(name: str) -> None:
    """A name that would break filters is refused with the rule."""
    with pytest.raises(UsageError, match="letters, digits"):
        ResourceNames(name)


def test_the_samples_have_the_documented_shapes() -> None:
    """Each sample is of its shape and holds every field that a live dataflow maps."""
    for shape, payload in PAYLOADS.items():
        assert shape_of(payload) is shape
        for event in EVENTS:
            if shape in event.live:
                value: Any = payload
                for step in event.paths[shape].split("."):
                    value = value[step]
                assert value is not None
