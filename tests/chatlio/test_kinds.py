"""Kinds and shapes."""

from __future__ import annotations

from typing import Any

import pytest

from chatlio_kit.chatlio.kinds import Kind, Shape, kind_in_path, kind_of_shape, shape_of


def test_documented_samples_have_their_shapes(
    conversation: dict[str, Any], offline: dict[str, Any], transcript: dict[str, Any]
) -> None:
    """Each documented sample is recognised by its keys."""
    assert shape_of(conversation) is Shape.CONVERSATION
    assert shape_of(offline) is Shape.OFFLINE
    assert shape_of(transcript) is Shape.TRANSCRIPT


def test_adobes_sample_is_a_conversation() -> None:
    """A payload without conversationUUID still has the conversation shape."""
    visitor = {"email": "a@example.org", "UUID": "x"}
    assert shape_of({"visitor": visitor, "message": "hi", "channelId": "C1"}) is Shape.CONVERSATION


@pytest.mark.parametrize("payload", [{}, {"ping": True}, {"message": "hi"}, {"messages": {"a": 1}}])
def test_other_objects_have_no_shape(payload: dict[str, Any]) -> None:
    """A payload of none of the three shapes stays unknown."""
    assert shape_of(payload) is None


def test_only_two_shapes_name_their_kind() -> None:
    """Three kinds share the conversation shape, which identifies none of them."""
    assert kind_of_shape(Shape.TRANSCRIPT) is Kind.TRANSCRIPT
    assert kind_of_shape(Shape.OFFLINE) is Kind.OFFLINE_MESSAGE
    assert kind_of_shape(Shape.CONVERSATION) is None


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        (["x.d", "feedback", "2024-01.ndjson"], Kind.FEEDBACK),
        (["x.d", "New Conversations", "a.json"], Kind.CONVERSATION_STARTED),
        (["chat_transcripts-2023.json.gz"], Kind.TRANSCRIPT),
        (["feedback", "unanswered.ndjson"], Kind.UNANSWERED),
        (["offline-messages", "a.json"], Kind.OFFLINE_MESSAGE),
        (["x.d", "a.ndjson"], None),
        (["feedback_and_unanswered.ndjson"], None),
        (["transcriptions", "a.json"], None),
    ],
)
def test_names_indicate_kinds(parts: list[str], kind: Kind | None) -> None:
    """A file's name takes precedence over its folders; two kinds or a longer word give none."""
    assert kind_in_path(parts) is kind
