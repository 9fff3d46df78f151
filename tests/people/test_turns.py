"""Conversation turns: every row fits Adobe's field groups, counts add up, and nothing is sent twice."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema_rs
import pandas as pd
import pytest
import requests
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import chatlio_kit as ck
from chatlio_kit.aep import Platform
from chatlio_kit.aep.schema_registry import SchemaRegistry
from chatlio_kit.chatlio.identities import parse_identities
from chatlio_kit.cli import main
from chatlio_kit.connection.rows import stored_rows
from chatlio_kit.delivery.turns import TurnBuilder, TurnRow
from chatlio_kit.errors import ConnectionIncomplete, UsageError
from chatlio_kit.jobs.turns import TurnsPage, backfill_turns
from chatlio_kit.tables import Export

OpenPlatform = Callable[..., Any]
Json = dict[str, Any]
TALK, VISITOR = "b81f0e55-41c9-4a7d-6f13-90d2ce7a4410", "2f6d1c3a-8e47-4b90-7d25-c1e8f60a93b4"
GROUP = "https://ns.adobe.com/xdm/fieldgroups/agentic/conversationevent"
GROUPS = "conversation-field-groups"


def closed(**properties: Any) -> Json:
    """An object with these fields and no others."""
    return {"type": "object", "additionalProperties": False, "properties": properties}


def listed(items: Any) -> Json:
    """An array."""
    return {"type": "array", "items": items}


# XDM: Conversation Event and Agentic Information, as Adobe publishes them; nothing comes from the code here.
TEXT: Json = {"type": "string"}
SEGMENTS = listed(closed(text=TEXT, purpose=TEXT))
KEY_VALUE = closed(key=TEXT, value=TEXT)
SIGNAL = closed(
    scope=TEXT,
    name=TEXT,
    type={"enum": ["string", "number", "boolean"]},
    values=listed(
        closed(
            stringValue=TEXT, numberValue={"type": "number"}, booleanValue={"type": "boolean"},
            confidence={"type": "number", "minimum": 0, "maximum": 1}, qualifiers=listed(TEXT),
            metadata=listed(KEY_VALUE),
        )
    ),
)  # fmt: skip
PUBLISHED = closed(
    _id={"type": "string", "pattern": "^[0-9a-f]{64}$"},
    timestamp={"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)$"},
    eventType={"enum": ["conversation.turn", "conversation.recommendation", "conversation.feedback"]},
    conversation=closed(
        conversationID=TEXT, conversationName=TEXT, turnID=TEXT,
        prompt=closed(source=TEXT, raw=SEGMENTS),
        response=closed(source=TEXT, raw=SEGMENTS),
        feedback=closed(
            source=TEXT, raw=SEGMENTS,
            rating=closed(score={"type": "number"}, classification=TEXT, reasons=listed(TEXT)),
        ),
        signals=listed(SIGNAL),
    ),
    agenticExperience=closed(
        conciergeID=TEXT, name=TEXT, version=TEXT, environment=TEXT, mode=TEXT,
        agents=listed(closed(agentID=TEXT, name=TEXT, version=TEXT, score={"type": "number"})),
    ),
    identityMap={
        "type": "object",
        "additionalProperties": listed(
            closed(id=TEXT, authenticatedState=TEXT, primary={"type": "boolean"})
        ),
    },
    _acmechat=closed(
        chatlio=closed(
            conversation_id=TEXT, visitor_id=TEXT, started_at=TEXT, ended_at=TEXT, ts=TEXT,
            author={"enum": ["visitor", "agent"]},
        )
    ),
)  # fmt: skip
PUBLISHED["required"] = ["_id", "timestamp", "eventType", "conversation"]


def plain(value: Any) -> Any:
    """A stored value as JSON: no missing members, maps as objects, times as text."""
    if isinstance(value, dict):
        return {name: plain(inside) for name, inside in value.items() if inside is not None}
    if isinstance(value, list):
        return [plain(inside) for inside in value]
    return value.isoformat() if isinstance(value, datetime) else value


def landed(platform: Platform, name: str) -> list[Json]:
    """All rows of a dataset."""
    connection = ck.open_connection(platform, name, quiet=True)
    columns = list(PUBLISHED["properties"])
    rows = stored_rows(platform, connection.dataset_id, columns, [])
    return [plain({**row, "identityMap": dict(row["identityMap"] or ()) or None}) for row in rows]


def send(platform: Platform, captures: Any, **options: Any) -> TurnsPage:
    """Send the turns of captures, without the waits of a new dataflow."""
    terms = {"connect": True, "skip_guard": True, "canary": False, "wait": 30, "quiet": True}
    return backfill_turns(captures, platform, **{**terms, **options})


def send_dated(platform: Platform, captures: Path, redact: str | None = None) -> TurnsPage:
    """The same for captures whose events are dated by their visitor."""
    return send(platform, ck.read_export(captures, undated_as="visitor-created", redact=redact))


def message(second: int, author: str, text: str = "Hello") -> Json:
    """A message as Chatlio writes it."""
    ts = f"{1_707_121_803 + second}.000500"
    about = {"text": text, "ts": ts, "username": "Kim A." if author == "agent" else "mia"}
    return about if author == "unknown" else {**about, "isVisitorMsg": author == "visitor", "userId": ""}


def transcript(messages: list[Json], ended: int = 900) -> Json:
    """A transcript of the conversation."""
    end = datetime.fromtimestamp(1_707_121_803 + ended, UTC)
    return {
        "conversationUUID": TALK, "channelId": "C1", "startedAt": "2024-02-05T08:29:58Z",
        "endedAt": end.isoformat(), "visitorName": "mia", "messages": messages,
    }  # fmt: skip


def write(folder: Path, **records: list[Json]) -> Path:
    """Captures, one file for each kind."""
    for kind, bodies in records.items():
        path = folder / kind / "captured.ndjson"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(body) + "\n" for body in bodies), encoding="utf-8")
    return folder


def started(text: str = "Hello") -> Json:
    """An event that names the conversation's visitor; feedback has the same shape."""
    visitor = {"UUID": VISITOR, "createdAt": "2024-02-05T07:45:09Z"}
    return {"conversationUUID": TALK, "visitor": visitor, "message": text, "channelId": "C1"}


def built(export: Export) -> tuple[TurnBuilder, list[TurnRow]]:
    """The rows of messages of an export, without sending."""
    builder = TurnBuilder(parse_identities(["visitor_id=ChatlioVisitor"]))
    batches = list(export.batches())
    for batch in batches:
        builder.learn(batch.events)
    return builder, [row for batch in batches for row in builder.turns(batch, batch)]


def test_every_row_of_the_sample_fits_adobes_field_groups(open_settings: OpenPlatform, sample: Path) -> None:
    """Landed rows validate; sides, turns and identities are as recommended; a second run adds nothing."""
    validator = jsonschema_rs.Draft7Validator(PUBLISHED)
    tables = ck.read_export(sample).to_tables(quiet=True)
    with open_settings() as platform:
        page = send(platform, sample)
        assert page.exit_code == 0, page
        turns, feedback = landed(platform, "chatlio/turns"), landed(platform, "chatlio/feedback")
        assert [row for row in turns + feedback if not validator.is_valid(row)] == []
        assert {row["eventType"] for row in turns} == {"conversation.turn"}
        assert {row["eventType"] for row in feedback} == {"conversation.feedback"}
        counts = page.messages
        messages = counts.read
        assert messages == counts.rows + counts.repeated + counts.left_out.total()
        assert (len(turns), len(feedback)) == (counts.rows, page.feedbacks.rows)
        assert len({row["_id"] for row in turns}) == len(turns) == len(tables.messages)
        given = tables.events[tables.events["kind"] == "feedback"]
        assert page.feedbacks.left_out == {"no conversation known": given["conversation_id"].isna().sum()}
        assert page.feedbacks.read == len(given) == len(feedback) + page.feedbacks.left_out.total()
        talks = [row["conversation"] for row in turns]
        own = [row["_acmechat"]["chatlio"] for row in turns]
        assert {(one["author"], *sorted(talk)) for one, talk in zip(own, talks, strict=True)} == {
            ("visitor", "conversationID", "prompt", "turnID"),
            ("agent", "conversationID", "response", "turnID"),
        }
        assert {talk["prompt"]["source"] for talk in talks if "prompt" in talk} == {"end-user"}
        assert {talk["response"]["source"] for talk in talks if "response" in talk} == {"concierge"}
        texts = Counter((talk.get("prompt") or talk["response"])["raw"][0]["text"] for talk in talks)
        assert texts == Counter(tables.messages["text"])
        once = Counter((talk["conversationID"], talk["turnID"], "prompt" in talk) for talk in talks)
        assert set(once.values()) == {1}
        named = [row["identityMap"]["ChatlioVisitor"] for row in turns if "identityMap" in row]
        assert len(turns) - len(named) == counts.without_identity
        visitors = tables.conversations.set_index("conversation_id")["visitor_id"]
        for row in turns:
            visitor = visitors[row["conversation"]["conversationID"]]
            primary = [{"id": visitor, "authenticatedState": "ambiguous", "primary": True}]
            assert row.get("identityMap") == (None if pd.isna(visitor) else {"ChatlioVisitor": primary})
        again = send(platform, sample)
        assert (again.messages.rows, again.feedbacks.rows, again.turns.run.delivered) == (0, 0, 0)
        assert (again.messages.read, again.messages.repeated) == (messages, messages)
        assert landed(platform, "chatlio/turns") == turns
        assert again.exit_code == 0


def test_a_grown_transcript_adds_only_its_new_turns(open_settings: OpenPlatform, tmp_path: Path) -> None:
    """Ids and turns of what was there stay; what has no side or no text is left out and counted."""
    first = [message(0, "visitor", "Hi"), message(9, "agent", "Hello"), message(20, "unknown", "?")]
    further = [
        message(30, "agent", "Still there?"),
        message(40, "visitor", " "),
        message(50, "visitor", "Yes"),
    ]
    opened = {"conversation_started": [started("Hi")], "feedback": [started("Great"), started("Hi")]}
    with open_settings() as platform:
        page = send_dated(platform, write(tmp_path / "a", transcript=[transcript(first)], **opened))
        assert page.messages.as_dict() == {
            "read": 3, "rows": 2, "repeated": 0, "left_out": {"neither side known": 1}, "without_identity": 0,
        }  # fmt: skip
        before = {row["_id"]: row for row in landed(platform, "chatlio/turns")}
        given = [row["conversation"]["feedback"] for row in landed(platform, "chatlio/feedback")]
        comment = {"source": "end-user", "raw": [{"text": "Great", "purpose": "free-form-text"}]}
        assert sorted(given, key=len) == [{"source": "end-user"}, comment]
        grown = transcript(first + further, ended=1200)
        page = send_dated(platform, write(tmp_path / "a", transcript=[transcript(first), grown], **opened))
        assert page.messages.as_dict() == {
            "read": 9, "rows": 2, "repeated": 4, "left_out": {"neither side known": 2, "no text": 1},
            "without_identity": 0,
        }  # fmt: skip
        after = {row["_id"]: row for row in landed(platform, "chatlio/turns")}
        assert {key: after[key] for key in before} == before
        added = [row["conversation"] for key, row in after.items() if key not in before]
        assert sorted(str(*({"prompt", "response"} & set(talk))) for talk in added) == ["prompt", "response"]
        assert page.as_dict()["turns"]["total"]["landed"] == 4


authors = st.lists(st.sampled_from(["visitor", "agent", "unknown"]), min_size=1, max_size=9)


@settings(max_examples=15, deadline=None)
@given(authors, authors)
def test_a_turn_has_at_most_one_side_each_and_growing_changes_no_row(
    before: list[str], further: list[str]
) -> None:
    """An agent's message takes the turn of the visitor's message directly before it, and no other."""
    said = [message(second, author) for second, author in enumerate(before + further)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        _, short = built(ck.read_export(write(path / "a", transcript=[transcript(said[: len(before)])])))
        builder, rows = built(ck.read_export(write(path / "b", transcript=[transcript(said)])))
    assert builder.messages.read == len(said) == len(rows) + builder.messages.left_out.total()
    bodies = [json.loads(row.body) for row in rows]
    talks = [body["conversation"] for body in bodies]
    sides = Counter((talk["turnID"], "prompt" in talk) for talk in talks)
    assert max(sides.values(), default=1) == 1
    all_authors = before + further
    kept = [place for place, author in enumerate(all_authors) if author != "unknown"]
    for place, talk in zip(kept, talks, strict=True):
        is_answer = all_authors[place] == "agent" and all_authors[place - 1 : place] == ["visitor"]
        assert talk["turnID"] == said[place - is_answer]["ts"]
    reported = {body["event_id"]: body["conversation"] for body in bodies}
    for row in short:
        assert reported[row.id] == json.loads(row.body)["conversation"]


def test_without_adobes_field_groups_nothing_is_made(
    open_settings: OpenPlatform,
    sample: Path,
    sent: list[requests.PreparedRequest],
    use_settings: Callable[[Platform], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The plan, the doctor and the backfill name the missing group and the contact."""
    with open_settings(withheld=frozenset({GROUPS})) as platform:
        plan = ck.plan_connection(platform, turns=True, quiet=True)
        assert [item.name for item in plan.conflicts] == ["Conversation Event", "Agentic Information"]
        with pytest.raises(ConnectionIncomplete, match="ask Adobe to enable Conversation Insights"):
            send(platform, sample)
        assert {request.method for request in sent if "/schemaregistry/" in str(request.url)} == {"GET"}
        use_settings(platform)
        doctor = CliRunner().invoke(main, ["doctor", "--platform", "aep", "--json"])
        checks = [check for check in json.loads(doctor.stdout)["checks"] if check["check"] == "turns"]
        assert [check["verdict"] for check in checks] == ["warn", "warn"]
        assert "ask Adobe" in checks[0]["next_step"]
        refused = platform.schemas  # a schema that names the group is refused too
        with pytest.raises(ck.ChatlioKitError):
            refused.create(
                "schemas",
                {
                    "type": "object", "title": "by hand", "description": "",
                    "allOf": [
                        {"$ref": "https://ns.adobe.com/xdm/context/experienceevent"},
                        {"$ref": "https://ns.adobe.com/xdm/fieldgroups/agenticevent"},
                    ],
                },
            )  # fmt: skip
    with open_settings("enabled") as platform:
        group = platform.schemas.adobe_field_group
        lean = {**group(GROUP), "properties": {"conversation": {"properties": {"turnID": {}}}}}
        with monkeypatch.context() as patched:
            patched.setattr(SchemaRegistry, "adobe_field_group", lambda _, group_id: lean)
            conflicts = ck.plan_connection(platform, turns=True, quiet=True).conflicts
        assert "lacks conversation.conversationID" in conflicts[0].reason
        use_settings(platform)
        doctor = CliRunner().invoke(main, ["doctor", "--platform", "aep", "--json"])
        checks = [check for check in json.loads(doctor.stdout)["checks"] if check["check"] == "turns"]
        assert [check["verdict"] for check in checks] == ["pass"]


def test_commands_make_send_and_show_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps for Adobe's screens are printed; options that are not for turns are refused."""
    monkeypatch.chdir(tmp_path)
    said = transcript([message(0, "visitor")])
    captures = str(write(tmp_path / "captures", transcript=[said], conversation_started=[started()]))

    def run(*words: str) -> Any:
        return CliRunner().invoke(main, [*words])

    made = run("connect", "--turns", "--json")
    content = json.loads(made.stdout)
    assert content["connection"]["feedback"]["dataset_id"] != content["connection"]["dataset_id"]
    assert "Configure before you backfill" in content["ui_steps"][0]
    assert all(
        item["id"] for item in content["objects"] if item["object"] in ("schema", "dataset", "dataflow")
    )
    dated = ("--undated-as", "visitor-created")
    page = run("backfill", captures, "--turns", *dated)
    assert "messages 1 = rows 1 + repeated 0 + left out 0" in page.stdout
    assert "Configure before you backfill" in page.stdout
    shown = run("reconcile", "--name", "chatlio/turns", "--json")
    assert json.loads(shown.stdout)["total"]["landed"] == 1
    for words, sentence in (
        (
            ("connect", "--turns", "--profile", "--identity", "visitor_id=ChatlioVisitor"),
            "never feed Profile",
        ),
        (("connect", "--turns", "--webhook", "feedback"), "only from files"),
        (("connect", "--turns", "--labels"), "no webhooks, labels or audit"),
        (("connect", "--name", "chatlio/turns"), "is a part of a connection"),
        (("backfill", captures, "--turns", "--dry-run"), "Leave out --turns"),
        (("backfill", captures, "--name", "chatlio/turns"), "is a part of a connection"),
        (("backfill", captures, "--name", "chatlio/turns", "--dry-run"), "takes no events"),
        (("backfill", captures, "--turns", "--redact", "content=drop"), "nothing to analyse"),
    ):
        refused = run(*words)
        assert refused.exit_code == 2, refused.output
        assert sentence in refused.output
    forgetting = run("forget", captures, *dated, "--visitor-id", VISITOR, "--yes", "--json")
    forgotten = json.loads(forgetting.stdout)
    assert (forgotten["lake_rows"], forgotten["events"]) == (1, 1)
    removed = json.loads(run("disconnect", "--yes", "--name", "chatlio/turns", "--json").stdout)["removed"]
    assert {item["name"].partition(" history ")[0] for item in removed} == {"chatlio turns"}


def test_events_never_enter_a_dataset_of_turns(open_settings: OpenPlatform, sample: Path) -> None:
    """Neither frames nor captures; and no step by hand is invented for turns."""
    tables = ck.read_export(sample).to_tables(quiet=True)
    with open_settings() as platform:
        connection = ck.plan_connection(platform, turns=True, quiet=True).apply(quiet=True)
        with pytest.raises(UsageError, match="takes no events"):
            ck.stream(tables, connection, skip_guard=True, quiet=True)
        with pytest.raises(UsageError, match="takes no events"):
            ck.backfill(sample, platform, name="chatlio/turns", quiet=True)
        with pytest.raises(UsageError, match="by hand"):
            connection.by_hand()
        assert landed(platform, "chatlio/turns") == []


def test_without_turns_no_turns_are_read_or_sent(
    open_settings: OpenPlatform, sample: Path, sent: list[requests.PreparedRequest]
) -> None:
    """A connection and a backfill of events ask for no field group of Adobe's, and send no word of turns."""
    with open_settings() as platform:
        page = ck.backfill(sample, platform, connect=True, skip_guard=True, canary=False, wait=30, quiet=True)
        assert page.exit_code == 0
    for request in sent:
        body = request.body if isinstance(request.body, bytes) else str(request.body or "").encode()
        assert b"agentic" not in body
        assert b"conversation.turn" not in body
        assert b"chatlio turns" not in body
        assert "/global/" not in str(request.url)


def test_ids_are_those_of_unredacted_captures(open_settings: OpenPlatform, tmp_path: Path) -> None:
    """A redacted run after an unredacted one sends nothing twice, and a redacted row names no one."""
    said = [message(0, "visitor", "Hi"), message(9, "agent", "Hello")]
    captures = write(tmp_path / "a", transcript=[transcript(said)], conversation_started=[started()])
    redact = "pseudonym=hash:aep,personal=drop,staff=drop"
    with open_settings() as platform:
        first = send_dated(platform, captures, redact)
        assert first.messages.rows == 2
        rows = json.dumps(landed(platform, "chatlio/turns"))
        assert TALK not in rows
        assert VISITOR not in rows
        assert "Kim" not in rows
        assert send_dated(platform, captures).messages.repeated == 2


def test_forgetting_reaches_turns(open_settings: OpenPlatform, tmp_path: Path) -> None:
    """A record delete finds the rows by what they carry, and reads back that they are gone."""
    said = [message(0, "visitor", "Hi"), message(9, "agent", "Hello")]
    captures = write(tmp_path / "a", transcript=[transcript(said)], conversation_started=[started()])
    with open_settings() as platform:
        send_dated(platform, captures)
        result = ck.forget(state=platform.settings.state, visitor_id=VISITOR, platform=platform, wait=30)
        turns = next(one for one in result.deletions if one.destination.name == "chatlio/turns")
        assert (turns.rows, turns.nameless, turns.left) == (2, 0, 0), result
        assert landed(platform, "chatlio/turns") == []
        assert result.events == 2


def test_forgetting_without_the_platform_counts_the_turns_that_are_left_there(
    open_settings: OpenPlatform, tmp_path: Path
) -> None:
    """The captures lead to the turns: the ledger's rows are erased, and what is left is named."""
    said = [message(0, "visitor", "Hi"), message(9, "agent", "Hello")]
    captures = write(tmp_path / "a", transcript=[transcript(said)], conversation_started=[started()])
    with open_settings() as platform:
        send_dated(platform, captures)
        state = platform.settings.state
        result = ck.forget(captures, undated_as="visitor-created", state=state, visitor_id=VISITOR)
    left = {store.name: store.left for store in result.stores if "chatlio/turns" in store.name}
    assert list(left.values()) == [2], result
    assert result.events == 2
