"""A record that is not accepted is rejected with file, record, reason and field, and costs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from chatlio_kit.errors import UsageError
from chatlio_kit.tables import Export, ReadOptions, Tables

Payload = dict[str, Any]
Write = Callable[[Path, Iterable[Any]], Path]
Wrap = Callable[..., Payload]


def _tables(path: Path, **options: str) -> Tables:
    return Export([path], ReadOptions.from_options(**options)).to_tables(quiet=True)


def _changed(payload: Payload, place: str, value: Any) -> Payload:
    """Change one value of a payload, or remove it if the value is ``...``."""
    changed = deepcopy(payload)
    *way, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    inside: Any = changed
    for part in way:
        inside = inside[part]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    return changed


CONVERSATION_FAULTS = [
    ("visitor.UUID", 7, "wrong_type", "visitor.UUID"),
    ("visitor.UUID", ..., "missing", "visitor.UUID"),
    ("visitor.UUID", "", "missing", "visitor.UUID"),
    ("visitor.UUID", "not-a-uuid", "invalid_value", "visitor.UUID"),
    ("visitor", ["x"], "wrong_type", "visitor"),
    ("message", {"text": "x"}, "wrong_type", "message"),
    ("visitor.createdAt", "12/03/2024", "invalid_time", "visitor.createdAt"),
    ("visitor.createdAt", "2190-01-01T00:00:00Z", "future_time", "visitor.createdAt"),
    ("visitor.IPAddress", "999.1.1.1", "invalid_value", "visitor.IPAddress"),
    ("conversationUUID", "7c1e9a52", "invalid_value", "conversationUUID"),
    ("visitor.identTraits", 5, "wrong_type", "visitor.identTraits"),
]

TRANSCRIPT_FAULTS = [
    ("endedAt", "2024-02-30T10:00:00Z", "invalid_time", "endedAt"),
    ("endedAt", "2190-02-20T10:00:00Z", "future_time", "endedAt"),
    ("messages", {"a": 1}, "wrong_type", "messages"),
    ("messages.1", "hello", "wrong_type", "messages[1]"),
    ("messages.1.text", 5, "wrong_type", "messages[1].text"),
    ("messages.1.ts", ..., "missing", "messages[1].ts"),
    ("messages.1.ts", "", "missing", "messages[1].ts"),
    ("messages.1.ts", "1710144061", "invalid_value", "messages[1].ts"),
    ("messages.1.ts", "1710144005.000200", "repeated", "messages[1].ts"),
    ("messages.1.ts", "7710144005.000200", "future_time", "messages[1].ts"),
    ("messages.0.isVisitorMsg", "yes", "wrong_type", "messages[0].isVisitorMsg"),
    ("extraData", 7, "wrong_type", "extraData"),
]


def _one_fault(path: Path, ndjson: Write, good: Payload, bad: Any) -> Tables:
    """Convert an invalid record between two valid ones, and check that these are kept."""
    before, after = deepcopy(good), deepcopy(good)
    before["receivedAt"], after["receivedAt"] = "2024-05-01T10:00:00Z", "2024-05-02T10:00:00Z"
    for number, record in enumerate((before, after)):
        if "endedAt" in record["payload"]:
            record["payload"]["endedAt"] = f"2024-05-0{number + 1}T10:00:00Z"
    tables = _tables(ndjson(path, [before, bad, after]))
    assert tables.events["source_record"].tolist() == [1, 3]
    assert len(tables.rejected) == 1
    return tables


@pytest.mark.parametrize(("place", "value", "reason", "field"), CONVERSATION_FAULTS)
def test_a_faulty_conversation_event(
    tmp_path: Path,
    ndjson: Write,
    envelope: Wrap,
    conversation: Payload,
    place: str,
    value: Any,
    reason: str,
    field: str,
) -> None:
    """Each type of error in a conversation event rejects only that event, with reason and field."""
    good = envelope(conversation, "feedback")
    bad = envelope(_changed(conversation, place, value), "feedback")
    (rejected,) = _one_fault(tmp_path / "a", ndjson, good, bad).rejections
    assert (rejected.file, rejected.record, rejected.reason, rejected.field) == ("a", 2, reason, field)


@pytest.mark.parametrize(("place", "value", "reason", "field"), TRANSCRIPT_FAULTS)
def test_a_faulty_transcript(
    tmp_path: Path,
    ndjson: Write,
    envelope: Wrap,
    transcript: Payload,
    place: str,
    value: Any,
    reason: str,
    field: str,
) -> None:
    """One invalid message rejects its transcript and names the message; other transcripts are unaffected."""
    good, bad = envelope(transcript), envelope(_changed(transcript, place, value))
    tables = _one_fault(tmp_path / "a", ndjson, good, bad)
    (rejected,) = tables.rejections
    assert (rejected.record, rejected.reason, rejected.field) == (2, reason, field)
    assert len(tables.messages) == 2


ENVELOPE_FAULTS = [
    ("receivedAt", ..., "undated", "receivedAt"),
    ("receivedAt", "", "undated", "receivedAt"),
    ("receivedAt", "0001-01-01T00:00:00Z", "undated", "receivedAt"),
    ("receivedAt", "yesterday", "invalid_time", "receivedAt"),
    ("receivedAt", "2190-01-01T00:00:00Z", "future_time", "receivedAt"),
    ("receivedAt", 1710144005, "wrong_type", "receivedAt"),
    ("kind", "chat_rated", "kind_unknown", "kind"),
    ("kind", ["feedback"], "kind_unknown", "kind"),
    ("kind", "transcript", "kind_mismatch", "kind"),
    ("kind", ..., "kind_unknown", "kind"),
    ("payload", [1], "not_an_object", "payload"),
    ("payload", {"ping": True}, "shape_unknown", None),
]


@pytest.mark.parametrize(("place", "value", "reason", "field"), ENVELOPE_FAULTS)
def test_a_faulty_envelope(
    tmp_path: Path,
    ndjson: Write,
    envelope: Wrap,
    conversation: Payload,
    place: str,
    value: Any,
    reason: str,
    field: str | None,
) -> None:
    """Each type of error around the payload rejects only that record."""
    good = envelope(conversation, "feedback")
    (rejected,) = _one_fault(tmp_path / "a", ndjson, good, _changed(good, place, value)).rejections
    assert (rejected.reason, rejected.field) == (reason, field)
    assert rejected.raw


@pytest.mark.parametrize("value", [[1, 2], 5, "text", None, True])
def test_a_line_that_is_not_an_object(
    tmp_path: Path, ndjson: Write, envelope: Wrap, conversation: Payload, value: Any
) -> None:
    """JSON that is not an object is rejected as such."""
    (rejected,) = _one_fault(tmp_path / "a", ndjson, envelope(conversation, "feedback"), value).rejections
    assert (rejected.reason, rejected.field) == ("not_an_object", None)


def test_a_bare_conversation_needs_a_kind_and_a_time(
    tmp_path: Path, ndjson: Write, conversation: Payload
) -> None:
    """Nothing is guessed: the kind is requested first, then the time; each has its option."""
    path = ndjson(tmp_path / "bare.ndjson", [conversation])
    (rejected,) = _tables(path).rejections
    assert (rejected.reason, "--kind" in rejected.detail) == ("kind_unknown", True)
    (rejected,) = _tables(path, kind="unanswered").rejections
    assert (rejected.reason, "--undated-as" in rejected.detail) == ("undated", True)
    for choice, source, time in [
        ("visitor-created", "visitor_created", "2024-03-10T02:20:11.402118+00:00"),
        ("2024-03-11T09:00:00+01:00", "given", "2024-03-11T08:00:00+00:00"),
    ]:
        event = _tables(path, kind="unanswered", undated_as=choice).events.iloc[0]
        assert (event["kind"], event["occurred_at_source"]) == ("unanswered", source)
        assert event["occurred_at"].isoformat() == time
    event = _tables(path, kind="unanswered", undated_as="file-time").events.iloc[0]
    assert event["occurred_at"].timestamp() == pytest.approx(path.stat().st_mtime, abs=1e-5)


def test_an_option_overrides_nothing(
    tmp_path: Path, ndjson: Write, envelope: Wrap, conversation: Payload, transcript: Payload
) -> None:
    """--kind only fills gaps: labels and shapes that indicate a kind keep it."""
    values = [envelope(conversation, "feedback"), envelope(transcript)]
    tables = _tables(ndjson(tmp_path / "a", values), kind="unanswered")
    assert tables.events["kind"].tolist() == ["feedback", "transcript"]


@pytest.mark.parametrize("options", [{"kind": "chat"}, {"undated_as": "now"}, {"undated_as": ""}])
def test_an_invalid_option_is_refused(tmp_path: Path, options: dict[str, str]) -> None:
    """An invalid kind or time is a usage error that names the option and the valid values."""
    ((name, value),) = options.items()
    with pytest.raises(UsageError, match=f"^{name}={value!r} is n.*(feedback|file-time)"):
        ReadOptions.from_options(**options)


def test_one_event_read_twice_is_a_duplicate(
    tmp_path: Path, ndjson: Write, envelope: Wrap, transcript: Payload
) -> None:
    """The same transcript captured twice is one event, whatever captured it."""
    again = envelope(transcript, received_at="2024-03-11T10:00:00Z")
    tables = _tables(ndjson(tmp_path / "a", [envelope(transcript), transcript, again]))
    assert tables.counts.as_dict() | {"by_kind": 0, "rejected_by_reason": 0} == {
        "read": 3, "accepted": 1, "rejected": 0, "duplicates": 2, "by_kind": 0, "rejected_by_reason": 0,
    }  # fmt: skip
    assert len(tables.messages) == 2


def test_one_id_with_two_bodies_is_a_conflict(
    tmp_path: Path, ndjson: Write, envelope: Wrap, transcript: Payload
) -> None:
    """An event whose id was seen with another payload is rejected; the message names the earlier record."""
    other = _changed(transcript, "messages.0.text", "Something else")
    ndjson(tmp_path / "x" / "a.ndjson", [envelope(transcript)])
    ndjson(tmp_path / "x" / "b.ndjson", [envelope(other)])
    tables = _tables(tmp_path / "x")
    (rejected,) = tables.rejections
    assert (rejected.file, rejected.reason) == ("x/b.ndjson", "conflicting_duplicate")
    assert "x/a.ndjson record 1" in rejected.detail
    assert tables.messages["text"].tolist()[0] == "Is the beta open?"
