"""Tables as analysts use them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlio_kit.captures import Captures
from chatlio_kit.chatlio.catalogue import KEYS, TABLES
from chatlio_kit.errors import FrameError
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import Export, ReadOptions, Tables, empty, failures, revalidate, schema
from chatlio_kit.tables.deduplicate.deduplicate import Deduplicator
from chatlio_kit.tables.validate.event_batch import validate_batch

Payload = dict[str, Any]
Write = Callable[[Path, Iterable[Any]], Path]
Wrap = Callable[..., Payload]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A realistic export with broken records."""
    return write_sample(tmp_path_factory.mktemp("sample") / "x.d", events=3000, bad_share=0.02).path


@pytest.fixture(scope="module")
def tables(export: Path) -> Tables:
    """The export, converted."""
    return Export([export], ReadOptions()).to_tables(quiet=True)


def test_the_manifest_and_the_rejects_agree(export: Path, tables: Tables) -> None:
    """Every broken record in the manifest is rejected with position, reason and field, and no other is."""
    lines = export.with_name("x.d.manifest.jsonl").read_bytes().splitlines()
    keys = ("file", "record", "reason", "field")
    listed = [tuple(orjson.loads(line)[key] for key in keys) for line in lines]
    rejected = [
        (rejection.file, rejection.record, rejection.reason, rejection.field)
        for rejection in tables.rejections
    ]
    assert len(listed) == 60
    assert rejected == listed


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        ('{"a":{"b":["é",1.5]}}', '{\n  "a": {\n    "b": [\n      "é",\n      1.5\n    ]\n  }\n}'),
        ('{"n":1.00000000000000000001}', '{\n  "n": 1.00000000000000000001\n}'),
        ('{"n":123456789012345678901234567890}', '{\n  "n": 123456789012345678901234567890\n}'),
        ('{"a":1,"a":2}', '{"a":1,"a":2}'),
        ('{"a":"\\ud800"}', '{"a":"\\ud800"}'),
        ('{"a":', '{"a":'),
    ],
)
def test_the_first_record_is_shown_as_it_was_captured(tmp_path: Path, record: str, shown: str) -> None:
    """It is indented with every digit kept; what cannot be read exactly is shown unchanged."""
    (tmp_path / "a.ndjson").write_text(f"{record}\n{{}}\n")
    assert Export([tmp_path / "a.ndjson"], ReadOptions()).peek() == shown


@pytest.mark.parametrize("table", TABLES)
def test_each_table_keeps_its_schema_and_its_key(tables: Tables, table: str) -> None:
    """Every table validates against its schema, has rows, and its key is unique."""
    frame = tables.frames()[table]
    assert len(frame)
    assert failures(table, frame) == []
    assert not frame.duplicated(list(KEYS[table])).any()


@pytest.mark.parametrize("table", TABLES)
def test_an_empty_table_has_the_same_columns_and_dtypes(tables: Tables, table: str) -> None:
    """Columns and dtypes do not depend on the rows."""
    assert empty(table).dtypes.to_dict() == tables.frames()[table].dtypes.to_dict()
    assert len(schema(table).validate(empty(table))) == 0


def test_foreign_keys_hold(tables: Tables) -> None:
    """Every conversation and visitor named in a row has its own row."""
    conversations = set(tables.conversations["conversation_id"])
    assert set(tables.messages["conversation_id"].dropna()) <= conversations
    assert set(tables.events["conversation_id"].dropna()) == conversations
    assert set(tables.events["visitor_id"].dropna()) == set(tables.visitors["visitor_id"])
    assert set(tables.messages["event_id"]) <= set(tables.events["event_id"])


def test_repeated_transcripts_are_events_and_the_fullest_is_shown(
    tmp_path: Path, ndjson: Write, envelope: Wrap, transcript: Payload
) -> None:
    """Three transcripts of a conversation are three events; each message occurs once, from the fullest."""
    short, full, other = deepcopy(transcript), deepcopy(transcript), deepcopy(transcript)
    short["messages"] = short["messages"][:1]
    short["endedAt"], other["endedAt"] = "2024-03-11T08:01:00Z", "2024-03-11T08:02:00Z"
    other["messages"][1] = {**other["messages"][1], "ts": "1710144099.000001", "text": "Later."}
    full["messages"].append({**full["messages"][1], "ts": "1710144070.000001", "text": "More."})
    captures = [envelope(entry) for entry in (short, full, other)]
    found = Export([ndjson(tmp_path / "a", captures)], ReadOptions()).to_tables(quiet=True)
    assert len(found.events) == 3
    (conversation,) = found.conversations.to_dict("records")
    assert conversation["transcripts"] == 3
    assert conversation["ended_at"] == pd.Timestamp("2024-03-11T08:03:10.000900Z")
    assert found.messages["ts"].tolist() == [
        "1710144005.000200", "1710144061.448129", "1710144070.000001", "1710144099.000001",
    ]  # fmt: skip
    unfolded = revalidate(found.events, found.messages).messages
    sent = [group["text"].tolist() for _, group in unfolded.groupby("event_id", sort=False)]
    expected = [[message["text"] for message in entry["messages"]] for entry in (short, full, other)]
    assert sent == expected


def test_a_transcript_without_a_conversation_belongs_to_none(
    tmp_path: Path, ndjson: Write, envelope: Wrap, transcript: Payload, conversation: Payload
) -> None:
    """Its messages are unchanged, even if no other transcript has any; conversations are reported."""
    del transcript["conversationUUID"]
    captures = [envelope(transcript), envelope(conversation, kind="feedback")]
    found = Export([ndjson(tmp_path / "a", captures)], ReadOptions()).to_tables(quiet=True)
    assert found.messages["conversation_id"].isna().all()
    assert found.messages["text"].tolist() == [message["text"] for message in transcript["messages"]]
    assert found.conversations["conversation_id"].tolist() == [conversation["conversationUUID"]]


@given(size=st.integers(1, 400))
@settings(max_examples=10)
def test_the_split_into_batches_changes_nothing(export: Path, tables: Tables, size: int) -> None:
    """For any number of records in memory, the same events come out in the same order."""
    whole = tables.events.head(600)
    found: list[str] = []
    with Deduplicator() as deduplicator:
        for piece in Captures([export]).batches(records=size):
            found += deduplicator.apply(validate_batch(piece, ReadOptions())).events["event_id"].tolist()
            if len(found) >= len(whole):
                break
    assert found[: len(whole)] == whole["event_id"].tolist()


def test_unknown_fields_are_kept(tmp_path: Path, ndjson: Write, envelope: Wrap, transcript: Payload) -> None:
    """An undocumented field is not an error; it is in extra_fields with its path."""
    transcript["rating"] = {"stars": 4}
    transcript["visitor"] = {"UUID": "5b0c7d1e-9a34-4e2f-6c18-b2f09d41a7e3", "mood": "good"}
    transcript["messages"][1]["files"] = ["a.png"]
    found = Export([ndjson(tmp_path / "a", [envelope(transcript)])], ReadOptions()).to_tables(quiet=True)
    assert orjson.loads(found.events["extra_fields"].iat[0]) == {
        "rating": {"stars": 4}, "visitor.mood": "good", "messages[1].files": ["a.png"],
    }  # fmt: skip


@pytest.mark.parametrize("value", [204, 9007199254740993, 2**70, "00123", "+4930123", "1.10", 1.5, True])
def test_a_user_id_is_always_text(
    tmp_path: Path, ndjson: Write, envelope: Wrap, conversation: Payload, value: Any
) -> None:
    """The site's own id keeps every digit, leading zero and sign."""
    conversation["visitor"]["identUserId"] = value
    path = ndjson(tmp_path / "a", [envelope(conversation, "feedback")])
    found = Export([path], ReadOptions()).to_tables(quiet=True).events["user_id"].iat[0]
    assert found == ("true" if value is True else str(value))


@pytest.mark.parametrize(
    ("traits", "expected"),
    [
        ("", None),
        (None, None),
        ({}, None),
        ('{"a":"1.10"}', '{"a":"1.10"}'),
        ({"b": 2**70, "a": 1}, '{"a":1,"b":1180591620717411303424}'),
    ],
)
def test_traits_come_in_every_dialect(
    tmp_path: Path, ndjson: Write, envelope: Wrap, conversation: Payload, traits: Any, expected: str | None
) -> None:
    """Traits are accepted as a string, object, empty or null, and become lossless JSON."""
    conversation["visitor"]["identTraits"] = traits
    path = ndjson(tmp_path / "a", [envelope(conversation, "feedback")])
    found = Export([path], ReadOptions()).to_tables(quiet=True).events["visitor_traits"].iat[0]
    assert (found if isinstance(found, str) else None) == expected


def test_authors_of_older_transcripts(
    tmp_path: Path, ndjson: Write, envelope: Wrap, transcript: Payload
) -> None:
    """Without isVisitorMsg, a Slack user means an agent, an empty one a visitor, and none is unknown."""
    messages = transcript["messages"]
    for message in messages:
        del message["isVisitorMsg"]
    messages.append({"text": "?", "ts": "1710144099.000001"})
    found = Export([ndjson(tmp_path / "a", [envelope(transcript)])], ReadOptions()).to_tables(quiet=True)
    assert found.messages["author"].tolist() == ["visitor", "agent", "unknown"]


def test_conversations_name_who_answered_and_count_every_author(
    tmp_path: Path, ndjson: Write, envelope: Wrap, transcript: Payload
) -> None:
    """Message counts by author add up to the messages; the agent with the first message answered."""
    for message in transcript["messages"]:
        del message["isVisitorMsg"]
    transcript["messages"] += [
        {"text": "?", "ts": "1710144099.000001"},
        {"text": "Sure.", "ts": "1710144059.000001", "userId": "U0OTHER", "username": "Kim"},
    ]
    found = Export([ndjson(tmp_path / "a", [envelope(transcript)])], ReadOptions()).to_tables(quiet=True)
    (row,) = found.conversations.to_dict("records")
    counts = [row[f"{author}_messages"] for author in ("visitor", "agent", "unknown")]
    assert (counts, len(found.messages)) == ([1, 2, 1], 4)
    assert (row["answered_by"], row["agent_name"]) == ("Kim", "Sam Lee")
    assert (row["first_response_seconds"], row["duration_seconds"]) == (53.999801, 208.440794)


@pytest.mark.parametrize("table", TABLES)
def test_the_dictionary_explains_every_column(tables: Tables, table: str) -> None:
    """Each column of a table has its line in the dictionary, in the table's order, with a meaning."""
    reported = tables.dictionary(table)
    assert reported.index.tolist() == tables.frames()[table].columns.tolist()
    assert (reported["meaning"].str.len() > 10).all()
    assert reported["about a person"].notna().all()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda frame: frame.drop(columns="visitor_id"), "the column visitor_id is missing"),
        (lambda frame: frame.assign(mood="good"), "the column mood is not one of its columns"),
        (lambda frame: frame.assign(message=1), "the column message is int64, not str"),
        (lambda frame: pd.concat([frame, frame.head(1)]), "repeats"),
    ],
)
def test_a_frame_that_no_longer_fits_is_reported(
    tables: Tables, spoil: Callable[[pd.DataFrame], pd.DataFrame], said: str
) -> None:
    """An edited frame with invalid columns, dtypes or ids is refused with a message."""
    with pytest.raises(FrameError, match=said):
        revalidate(spoil(tables.events), tables.messages)


def test_an_edited_value_that_breaks_a_rule_rejects_its_row(tables: Tables) -> None:
    """An invalid value in an edited frame rejects its event; an invalid message rejects its transcript."""
    events, messages = tables.events.copy(), tables.messages.copy()
    events.loc[3, "ip_address"] = "nowhere"
    messages.loc[0, "author"] = "robot"
    built = revalidate(events, messages)
    fields = {(rejection.reason, rejection.field) for rejection in built.rejected}
    assert fields == {("invalid_value", "ip_address"), ("invalid_value", "author")}
    assert len(built.events) == len(events) - len(built.rejected)


def test_summaries_are_escaped(tables: Tables) -> None:
    """A summary has a text and an HTML form with the same counts, without untrusted markup."""
    tables.notes.append("<script>alert(1)</script> is empty")
    assert "3,000" in repr(tables)
    html = tables._repr_html_()
    assert "3,000" in html
    assert "<script>" not in html
    tables.notes.clear()
