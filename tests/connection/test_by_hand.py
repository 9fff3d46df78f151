"""The manual steps: everything that has to be typed and chosen, and nothing secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chatlio_kit.aep import Platform
from chatlio_kit.chatlio.kinds import SHAPE_OF, Kind, shape_of
from chatlio_kit.connection import plan_connection
from chatlio_kit.connection.manual_steps import ManualSteps
from chatlio_kit.connection.resources.blueprint import Blueprint
from chatlio_kit.connection.resources.names import ResourceNames, Role
from chatlio_kit.errors import OutputError

HAND = ManualSteps("chatlio", "acmechat", tuple(Kind))


def test_every_kind_has_its_field_in_chatlio() -> None:
    """The five fields of the tab Behavior take the URLs of the five kinds."""
    assert {flow.kind.value: flow.webhook_field for flow in HAND.flows} == {
        "transcript": "transcript export",
        "offline_message": "offline message export",
        "conversation_started": "new conversation starts",
        "unanswered": "visitor waited without an answer",
        "feedback": "feedback after a chat",
    }


def test_samples_are_files_of_the_documented_shapes(tmp_path: Path) -> None:
    """Each kind's sample is a JSON object of its shape, ready to be uploaded."""
    written = HAND.write_samples(tmp_path / "samples")
    assert [path.name for path in written] == [f"{kind}.json" for kind in Kind]
    for path in written:
        assert shape_of(json.loads(path.read_text())) is SHAPE_OF[Kind(path.stem)]
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Choose a folder"):
        HAND.write_samples(tmp_path / "file")


def test_manual_entries_equal_the_plan(platform: Platform) -> None:
    """Entered as described, the mappings of each kind are accepted and map its sample as the plan's do."""
    connection = plan_connection(platform).apply()
    design = Blueprint(ResourceNames("chatlio"), connection.tenant_id)
    for flow in connection.by_hand().flows:
        entered = [
            {
                "sourceType": "ATTRIBUTE" if way == "source field" else "EXPRESSION",
                "source": source,
                "destination": target,
            }
            for source, way, target, _ in flow.sheet().rows
        ]
        stored = platform.mapping_sets.get(connection.live[flow.kind].mapping_set_id)
        body = {"outputSchema": stored["outputSchema"], "mappings": entered}
        (by_hand,) = platform.mapping_sets.preview([flow.sample], body)
        (planned,) = platform.mapping_sets.preview(
            [flow.sample], design.mapping_set(Role.LIVE, flow.kind, connection.schema_id)
        )
        for made in (by_hand["data"], planned["data"]):
            made.pop("timestamp")  # the current time for four of the kinds
            if flow.kind not in (Kind.TRANSCRIPT, Kind.CONVERSATION_STARTED):
                made.pop("_id")  # random for three
        assert by_hand == planned


def test_it_reads_as_text_and_in_a_notebook(platform: Platform) -> None:
    """Steps, the URL's form, the fields, the mappings and the samples appear in text and in HTML."""
    plan = plan_connection(platform, name="shop", webhooks=["feedback", "transcript"])
    shown = plan.by_hand()
    for text in (repr(shown), shown._repr_html_()):
        for words in (
            "Streaming endpoint",
            "Dataflow ID",
            "{streaming endpoint}?x-adobe-flow-id={dataflow ID}",
            "tab Behavior",
            "Reports, Chat History",
            "preview of the dataset",
            "Adobe Developer Console",
            "shop chatlio live feedback dataflow",
            "_acmechat.chatlio.visitor_id",
            "conversationUUID",
        ):
            assert words in text
    assert "offline message export" not in repr(shown)
    assert shown._repr_html_().count("<pre>") == 2


def test_it_reveals_no_secret(platform: Platform) -> None:
    """For an existing connection, no inlet is shown: the form of the URL is enough."""
    connection = plan_connection(platform).apply()
    shown = connection.by_hand()
    hidden = [flow.inlet_url.reveal().rpartition("/")[2] for flow in connection.live.values()]
    assert not any(secret in repr(shown) + shown._repr_html_() for secret in hidden)
    assert shown == HAND
