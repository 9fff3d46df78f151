"""Every request of a connect, call by call, as Adobe's guides print them.

The expected requests are written out here from the guides named next to them, independently of the tested
code. Ids from the platform are replaced with ``<schema>`` and the like.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import requests
from requests.adapters import HTTPAdapter

from chatlio_kit.aep import Platform
from chatlio_kit.connection import disconnect, plan_connection

FOUNDATION = "/data/foundation"
REGISTRY = f"{FOUNDATION}/schemaregistry"
CATALOG = f"{FOUNDATION}/catalog"
DATA_PREP = f"{FOUNDATION}/conversion"
FLOWS = f"{FOUNDATION}/flowservice"
EVENT = "https://ns.adobe.com/xdm/context/experienceevent"
MARKED = "Chatlio events of the kind feedback, as Chatlio sends them. chatlio-kit:chatlio"
BY_TITLE = [("orderby", "title"), ("limit", "300")]
DATASETS = [("name", "chatlio dataset"), ("limit", "100"), ("start", "0")]
SETS = [("name", "chatlio live feedback mapping set"), ("limit", "100"), ("start", "0")]
SHORT_LIST = "application/vnd.adobe.xed-id+json"
LOOKUP = "application/vnd.adobe.xed+json; version=1"


def named(thing: str) -> list[tuple[str, str]]:
    """The filter that finds all of our objects of one type; a comma means any of them."""
    kinds = ("transcript", "offline message", "conversation started", "unanswered", "feedback")
    names = [f"chatlio {role} {kind} {thing}" for role in ("live", "history") for kind in kinds]
    return [("property", f"name=={','.join(names)}")]


# Schema Registry: create a field group. A type alone is text, a number or true-false; a format makes a time.
TIMES = ("received_at", "visitor_created_at", "started_at", "ended_at")
NUMBERS = ("message_count",)
TEXTS = """occurred_at_source widget_id conversation_id visitor_id visitor_email visitor_name user_id
    visitor_traits visitor_handle user_agent page_url referrer_url ip_address location message contact_name
    contact_email contact_mailbox subject channel_id channel_name slack_channel_id slack_channel_name
    slack_team_id agent_email agent_name reply_to_email archive_url command_words extra_fields origin
    ended_by"""
FIELDS = (
    {name: {"type": "string"} for name in TEXTS.split()}
    | {name: {"type": "string", "format": "date-time"} for name in TIMES}
    | {name: {"type": "integer"} for name in NUMBERS}
    | {"start_is_whole": {"type": "boolean"}}
)
MESSAGE_FIELDS = {
    name: {"type": "string"} for name in ("ts", "author", "username", "slack_user_id", "text")
} | {"sent_at": {"type": "string", "format": "date-time"}}
FIELD_GROUP = {
    "type": "object",
    "title": "chatlio field group",
    "description": "Fields of Chatlio live-chat events. chatlio-kit:chatlio",
    "meta:intendedToExtend": [EVENT],
    "definitions": {
        "customFields": {
            "type": "object",
            "properties": {
                "_acmechat": {
                    "type": "object",
                    "properties": {
                        "chatlio": {
                            "type": "object",
                            "properties": {
                                **FIELDS,
                                "chat_messages": {
                                    "type": "array",
                                    "items": {"type": "object", "properties": MESSAGE_FIELDS},
                                },
                            },
                        }
                    },
                }
            },
        }
    },
    "allOf": [{"$ref": "#/definitions/customFields"}],
}
# Schema Registry: create a schema.
SCHEMA = {
    "type": "object",
    "title": "chatlio schema",
    "description": "Chatlio live-chat events. chatlio-kit:chatlio",
    "allOf": [{"$ref": EVENT}, {"$ref": "<field group>"}],
}
# Catalog: create a dataset.
DATASET = {
    "name": "chatlio dataset",
    "description": "Chatlio live-chat events, live and from files. chatlio-kit:chatlio",
    "schemaRef": {"id": "<schema>", "contentType": "application/vnd.adobe.xed+json;version=1"},
    "fileDescription": {"persisted": True, "containerFormat": "parquet", "format": "parquet"},
}
# Data Prep: create a mapping set; the source types in their current form.
MAPPING_SET = {
    "name": "chatlio live feedback mapping set",
    "description": MARKED,
    "outputSchema": {
        "schemaRef": {"id": "<schema>", "contentType": "application/vnd.adobe.xed-full+json;version=1"}
    },
    "mappings": [
        {"sourceType": source_type, "source": source, "destination": destination}
        for source_type, source, destination in [
            ("EXPRESSION", "uuid()", "_id"),
            ("EXPRESSION", "now()", "timestamp"),
            ("STATIC", "chatlio.feedback", "eventType"),
            ("ATTRIBUTE", "visitor.UUID", "_acmechat.chatlio.visitor_id"),
            ("ATTRIBUTE", "visitor.email", "_acmechat.chatlio.visitor_email"),
            ("ATTRIBUTE", "message", "_acmechat.chatlio.message"),
            ("ATTRIBUTE", "channelId", "_acmechat.chatlio.channel_id"),
            ("ATTRIBUTE", "slackChannelId", "_acmechat.chatlio.slack_channel_id"),
            ("ATTRIBUTE", "slackChannelName", "_acmechat.chatlio.slack_channel_name"),
        ]
    ],
}
# Create a Chatlio source connection and dataflow.
SOURCE = {
    "name": "chatlio live feedback source",
    "description": MARKED,
    "providerId": "521eee4d-8cbe-4906-bb48-fb6bd4450033",
    "connectionSpec": {"id": "073127a3-26e3-496c-9d94-9f48fb93fba8", "version": "1.0"},
    "data": {"format": "json"},
}
TARGET = {
    "name": "chatlio live feedback target",
    "description": MARKED,
    "connectionSpec": {"id": "c604ff05-7f1a-43c0-8e18-33bf874cb11c", "version": "1.0"},
    "data": {
        "format": "json",
        "schema": {"id": "<schema>", "version": "application/vnd.adobe.xed-full+json;version=1"},
    },
    "params": {"dataSetId": "<dataset>"},
}
MAPPING_STEP = {"name": "Mapping", "params": {"mappingId": "<mapping set>", "mappingVersion": 0}}
FLOW = {
    "name": "chatlio live feedback dataflow",
    "description": MARKED,
    "flowSpec": {"id": "e77fde5a-22a8-11ed-861d-0242ac120002", "version": "1.0"},
    "sourceConnectionIds": ["<source>"],
    "targetConnectionIds": ["<target>"],
    "transformations": [MAPPING_STEP],
}
SURVEY = [
    ("GET", f"{REGISTRY}/stats", [], None),
    ("GET", f"{REGISTRY}/tenant/fieldgroups", BY_TITLE, None),
    ("GET", f"{REGISTRY}/tenant/schemas", BY_TITLE, None),
    ("GET", f"{REGISTRY}/tenant/classes", BY_TITLE, None),
    ("GET", f"{REGISTRY}/tenant/datatypes", BY_TITLE, None),
]
CONNECT = [
    # the plan
    *SURVEY,
    ("GET", f"{CATALOG}/dataSets", DATASETS, None),
    ("GET", f"{DATA_PREP}/mappingSets", SETS, None),
    ("GET", f"{FLOWS}/sourceConnections", named("source"), None),
    ("GET", f"{FLOWS}/flows", named("dataflow"), None),
    ("GET", f"{FLOWS}/targetConnections", named("target"), None),
    # whether the sandbox may be changed: Sandbox API guide, available sandboxes
    ("GET", f"{FOUNDATION}/sandbox-management/", [("limit", "50"), ("offset", "0")], None),
    # then object by object, each looked for first, and listed again where a name may repeat
    *SURVEY,
    ("POST", f"{REGISTRY}/tenant/fieldgroups", [], FIELD_GROUP),
    ("GET", f"{REGISTRY}/tenant/schemas", BY_TITLE, None),
    ("GET", f"{REGISTRY}/tenant/fieldgroups", BY_TITLE, None),
    ("GET", f"{REGISTRY}/tenant/classes", BY_TITLE, None),
    ("GET", f"{REGISTRY}/tenant/datatypes", BY_TITLE, None),
    ("POST", f"{REGISTRY}/tenant/schemas", [], SCHEMA),
    ("GET", f"{CATALOG}/dataSets", DATASETS, None),
    ("POST", f"{CATALOG}/dataSets", [("requestDataSource", "true")], DATASET),
    ("GET", f"{CATALOG}/dataSets", DATASETS, None),
    ("GET", f"{DATA_PREP}/mappingSets", SETS, None),
    ("POST", f"{DATA_PREP}/mappingSets/preview", [], {"data": "<samples>", "mappingSet": MAPPING_SET}),
    ("GET", f"{DATA_PREP}/mappingSets", SETS, None),
    ("POST", f"{DATA_PREP}/mappingSets", [], MAPPING_SET),
    ("GET", f"{DATA_PREP}/mappingSets", SETS, None),
    ("GET", f"{DATA_PREP}/mappingSets/<mapping set>", [], None),
    ("GET", f"{FLOWS}/sourceConnections", named("source"), None),
    ("GET", f"{FLOWS}/flows", named("dataflow"), None),
    ("POST", f"{FLOWS}/sourceConnections", [], SOURCE),
    ("GET", f"{FLOWS}/sourceConnections", named("source"), None),
    ("GET", f"{FLOWS}/flows", named("dataflow"), None),
    ("GET", f"{FLOWS}/targetConnections", named("target"), None),
    ("POST", f"{FLOWS}/targetConnections", [], TARGET),
    ("GET", f"{FLOWS}/targetConnections", named("target"), None),
    ("GET", f"{FLOWS}/flows", named("dataflow"), None),
    ("POST", f"{FLOWS}/flows", [], FLOW),
    ("GET", f"{FLOWS}/flows/<dataflow>", [], None),
    ("GET", f"{FLOWS}/flows", named("dataflow"), None),
    ("GET", f"{FLOWS}/flows/<dataflow>", [], None),  # until it is enabled
]


@dataclass
class Call:
    """A request as it was sent, and the body of its response."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: Any
    answer: Any

    @property
    def outline(self) -> tuple[str, str, list[tuple[str, str]], Any]:
        """The part that is compared with a line of the lists above."""
        return self.method, self.path, self.query, self.body


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Every request that leaves, in order, with the platform's ids replaced by names."""
    calls: list[Call] = []
    ids: dict[str, str] = {}
    send = HTTPAdapter.send

    def as_named(text: str) -> str:
        for given, name in ids.items():
            text = text.replace(given, name)
        return text

    def record(self: HTTPAdapter, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        response = send(self, request, **options)
        answer = response.json() if response.content else None
        parts = urlsplit(str(request.url))
        if request.method == "POST" and isinstance(answer, dict | list):
            made = {
                f"{REGISTRY}/tenant/fieldgroups": "<field group>",
                f"{REGISTRY}/tenant/schemas": "<schema>",
                f"{CATALOG}/dataSets": "<dataset>",
                f"{DATA_PREP}/mappingSets": "<mapping set>",
                f"{FLOWS}/sourceConnections": "<source>",
                f"{FLOWS}/targetConnections": "<target>",
                f"{FLOWS}/flows": "<dataflow>",
            }.get(parts.path)
            if made:
                given = answer[0].rpartition("/")[2] if isinstance(answer, list) else None
                ids[given or answer.get("$id") or answer["id"]] = made
        text = (request.body or b"").decode() if isinstance(request.body, bytes) else request.body or ""
        is_form = parts.path.startswith("/ims/")
        body = (parse_qs(text) if is_form else json.loads(as_named(text))) if text else None
        headers = {name.lower(): value for name, value in request.headers.items()}
        calls.append(
            Call(
                str(request.method),
                as_named(parts.path.replace("%3A", ":").replace("%2F", "/")),
                parse_qsl(parts.query, keep_blank_values=True),
                headers,
                body,
                answer,
            )
        )
        return response

    monkeypatch.setattr(HTTPAdapter, "send", record)
    return calls


def plain(call: Call) -> tuple[str, str, list[tuple[str, str]], Any]:
    """A call's outline without descriptions for people, and without samples."""
    method, path, query, body = call.outline
    if path.endswith("/fieldgroups") and body:
        place = body["definitions"]["customFields"]["properties"]["_acmechat"]["properties"]["chatlio"]
        without_words(place)
    if path.endswith("/preview"):
        assert body["data"]
        assert all(isinstance(entry, dict) for entry in body["data"])
        body = {**body, "data": "<samples>"}
    return method, path, query, body


def without_words(node: dict[str, Any]) -> None:
    """Remove title and description, which every field must have, from a node and everything below it."""
    for word in ("title", "description"):
        assert node.pop(word), node
    inner = node.get("items", node)
    for value in inner.get("properties", {}).values():
        without_words(value)


def test_a_connect_sends_the_documented_calls_in_order(platform: Platform, wire: list[Call]) -> None:
    """Methods, paths, queries and bodies of a whole connect are those of the guides, in this order."""
    plan_connection(platform, webhooks=["feedback"]).apply()
    token, *calls = wire
    assert token.outline == (
        "POST",
        "/ims/token/v3",
        [],
        {
            "grant_type": ["client_credentials"],
            "client_id": ["local-client"],
            "client_secret": [platform.settings.client_secret.reveal()],
            "scope": ["openid,session,AdobeID,read_organizations,additional_info.projectedProductContext"],
        },
    )
    while calls[-1].outline == calls[-2].outline:  # asking again until the dataflow is enabled
        calls.pop()
    assert [plain(call) for call in calls] == CONNECT


def test_every_call_carries_the_documented_headers(platform: Platform, wire: list[Call]) -> None:
    """Four headers on every call, a content type with each body, vendor types in the registry alone."""
    plan_connection(platform, webhooks=["feedback"]).apply()
    plan_connection(platform, webhooks=["feedback"]).apply()
    token, *calls = wire
    assert token.headers["content-type"] == "application/x-www-form-urlencoded"
    assert not {"authorization", "x-api-key", "cookie"} & set(token.headers)
    given = token.answer["access_token"]
    for call in calls:
        expected = {
            "authorization": f"Bearer {given}",
            "x-api-key": "local-client",
            "x-gw-ims-org-id": "1A2B3C4D5E6F70819203A4B5@AdobeOrg",
            "x-sandbox-name": "prod",
        }
        assert {name: call.headers.get(name) for name in expected} == expected
        assert call.headers.get("content-type") == ("application/json" if call.body is not None else None)
        assert not {"x-sandbox-id", "cookie", "if-match"} & set(call.headers)
        kind = "*/*"
        if call.method == "GET" and call.path.startswith(f"{REGISTRY}/tenant/"):
            is_list = call.path.rpartition("/")[2] in ("fieldgroups", "schemas", "classes", "datatypes")
            kind = SHORT_LIST if is_list else LOOKUP
        assert call.headers["accept"] == kind
    assert any(call.headers["accept"] == LOOKUP for call in calls)


def test_a_second_connect_reads_only(platform: Platform, wire: list[Call]) -> None:
    """If everything exists, only GETs are sent, each object looked up by its own path."""
    plan_connection(platform, webhooks=["feedback"]).apply()
    wire.clear()
    plan_connection(platform, webhooks=["feedback"]).apply()
    assert {call.method for call in wire} == {"GET"}
    paths = {call.path for call in wire}
    assert f"{REGISTRY}/tenant/fieldgroups/<field group>" in paths
    assert f"{REGISTRY}/tenant/schemas/<schema>" in paths
    assert f"{DATA_PREP}/mappingSets/<mapping set>" in paths


def test_updates_are_patches_and_puts_as_documented(platform: Platform, wire: list[Call]) -> None:
    """A missing field is a patch of the field group; other mappings are a PUT and a patch under If-Match."""
    connection = plan_connection(platform, webhooks=["feedback"]).apply()
    base = "/definitions/customFields/properties/_acmechat/properties/chatlio/properties"
    platform.schemas.patch(
        "fieldgroups", connection.field_group_id, [{"op": "remove", "path": f"{base}/agent_name"}]
    )
    (flow,) = connection.live.values()
    (made,) = [
        entry.body for entry in wire if (entry.method, entry.path) == ("POST", f"{DATA_PREP}/mappingSets")
    ]
    shorter = json.loads(json.dumps(made).replace("<schema>", connection.schema_id))
    shorter["mappings"].pop()
    platform.mapping_sets.replace(flow.mapping_set_id, shorter)
    platform.flows.disable_flow(flow.flow_id)
    etag = platform.flows.flow(flow.flow_id).etag
    wire.clear()
    plan_connection(platform, webhooks=["feedback"]).apply()
    changes = [call for call in wire if call.method != "GET" and not call.path.endswith("/preview")]
    added = {"type": "string", "title": "Agent name", "description": "Full name of that agent"}
    step = {"name": "Mapping", "params": {"mappingId": "<mapping set>", "mappingVersion": 2}}
    assert [call.outline for call in changes] == [
        (
            "PATCH",
            f"{REGISTRY}/tenant/fieldgroups/<field group>",
            [],
            [{"op": "add", "path": f"{base}/agent_name", "value": added}],
        ),
        ("PUT", f"{DATA_PREP}/mappingSets/<mapping set>", [], MAPPING_SET),
        (
            "PATCH",
            f"{FLOWS}/flows/<dataflow>",
            [],
            [{"op": "replace", "path": "/transformations/0", "value": step}],
        ),
        ("POST", f"{FLOWS}/flows/<dataflow>/action", [("op", "enable")], None),
    ]
    assert [call.headers["content-type"] for call in changes[:3]] == ["application/json"] * 3
    assert [call.headers.get("if-match") for call in changes] == [None, None, etag, None]
    assert etag.startswith('"')
    assert etag.endswith('"')


def test_taking_down_goes_from_the_dataflow_down(platform: Platform, wire: list[Call]) -> None:
    """Dataflow, source connection, target connection, mapping set: deleted by id, without a body."""
    plan_connection(platform, webhooks=["feedback"]).apply()
    wire.clear()
    disconnect(platform)
    assert [call.outline for call in wire if call.method != "GET"] == [
        ("DELETE", f"{FLOWS}/flows/<dataflow>", [], None),
        ("DELETE", f"{FLOWS}/sourceConnections/<source>", [], None),
        ("DELETE", f"{FLOWS}/targetConnections/<target>", [], None),
        ("DELETE", f"{DATA_PREP}/mappingSets/<mapping set>", [], None),
    ]
