"""Event ids, against the formulas written out by hand."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chatlio_kit.chatlio.event_ids import canonical, event_id
from chatlio_kit.chatlio.kinds import Kind

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=4), inside, max_size=3),
    max_leaves=8,
)


def _sha(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _id(kind: Kind, payload: dict[str, Any], widget: str | None = "w", received: str | None = "t") -> str:
    return event_id(kind, payload, canonical(payload), widget=widget, received=received)


def test_a_number_beyond_64_bits_changes_no_other_byte_of_the_canonical_form() -> None:
    """Letters stay UTF-8 whichever writer the number needs."""
    assert canonical({"t": "é", "n": 2**70}) == '{"n":1180591620717411303424,"t":"é"}'.encode()
    assert canonical({"t": "é", "n": 1}) == '{"n":1,"t":"é"}'.encode()


def test_a_transcript_is_its_conversation_and_end(transcript: dict[str, Any]) -> None:
    """The id of a transcript is computed from the conversation and endedAt as Chatlio wrote it."""
    expected = _sha("transcript|7c1e9a52-3b6d-4f08-5a91-0d4e6b2f8c13|2024-03-11T09:03:10.000900030+01:00")
    assert _id(Kind.TRANSCRIPT, transcript) == expected
    assert _id(Kind.TRANSCRIPT, {**transcript, "textBody": "other"}, widget=None) == expected


def test_a_conversation_starts_once(conversation: dict[str, Any]) -> None:
    """The id of a conversation's start is computed from the conversation alone."""
    assert _id(Kind.CONVERSATION_STARTED, conversation) == _sha(
        "conversation_started|7c1e9a52-3b6d-4f08-5a91-0d4e6b2f8c13"
    )


def test_every_other_event_is_its_capture(conversation: dict[str, Any]) -> None:
    """Other events, and these if a part is missing, use kind, widget, received time and body."""
    body = canonical(conversation).decode()
    for kind in (Kind.UNANSWERED, Kind.FEEDBACK):
        assert _id(kind, conversation) == _sha(f"{kind}|w|t|{body}")
    without = {key: value for key, value in conversation.items() if key != "conversationUUID"}
    expected = _sha(f"conversation_started|w|t|{canonical(without).decode()}")
    assert _id(Kind.CONVERSATION_STARTED, without) == expected


def test_an_unset_end_does_not_name_a_transcript(transcript: dict[str, Any]) -> None:
    """A transcript whose end is year 0001 falls back to its capture, so two such are not merged."""
    one = {**transcript, "endedAt": "0001-01-01T00:00:00Z"}
    assert _id(Kind.TRANSCRIPT, one, received="a") != _id(Kind.TRANSCRIPT, one, received="b")


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=5))
def test_canonical_form_does_not_depend_on_key_order(payload: dict[str, Any]) -> None:
    """Equal payloads give equal bytes in any order of their keys, and lose nothing."""
    turned = dict(reversed(payload.items()))
    assert canonical(payload) == canonical(turned)
    assert json.loads(canonical(payload)) == payload
