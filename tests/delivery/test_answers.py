"""What an answer of the platform means for each record."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chatlio_kit.delivery.requests.responses import NextStep, Response, verdicts, what_next


def _multi(*responses: Any, **around: Any) -> Response:
    return Response(207, json.dumps({"inletId": "i", "responses": list(responses), **around}).encode())


OK = [{"xactionId": f"1760000000500:88:7:{place}"} for place in range(5)]
DOCS_REFUSAL = {"statusCode": 400, "message": "Message has unknown xdm format"}


def test_all_taken() -> None:
    """An element with a transaction id and no status is a delivered record."""
    found = verdicts(_multi(*OK[:3]), 3)
    assert found.delivered == {place: OK[place]["xactionId"] for place in range(3)}
    assert not found.refused
    assert not found.unknown


def test_refusals_as_adobes_documents_show_them() -> None:
    """An element with statusCode and no transaction id is a refusal, by its position."""
    found = verdicts(_multi(OK[0], DOCS_REFUSAL, OK[2]), 3)
    assert list(found.delivered) == [0, 2]
    assert found.refused[1].reason == "refused_400"
    assert json.loads(found.refused[1].answer) == DOCS_REFUSAL


def test_refusals_as_production_answers_show_them() -> None:
    """An element with status and a transaction id that ends in its place is a refusal of that record."""
    refused = {"xactionId": "1b0e5c1a-0000-4000-8000-000000000000-1", "status": 400, "message": "header"}
    accepted = {"xactionId": "1b0e5c1a-0000-4000-8000-000000000000-0"}
    found = verdicts(_multi(accepted, refused), 2)
    assert list(found.delivered) == [0]
    assert list(found.refused) == [1]


def test_a_short_answer_is_matched_by_its_transaction_ids() -> None:
    """Five records and three elements: who is named has a verdict, the others are unknown."""
    found = verdicts(_multi(OK[0], OK[3], OK[1]), 5)
    assert sorted(found.delivered) == [0, 1, 3]
    assert found.unknown == [2, 4]


def test_a_short_answer_without_places_tells_nothing() -> None:
    """Elements that cannot be matched to records acknowledge none of them."""
    found = verdicts(_multi({"xactionId": "a"}, DOCS_REFUSAL), 5)
    assert found.unknown == [0, 1, 2, 3, 4]


def test_an_over_long_answer_names_nobody_twice() -> None:
    """Elements beyond the request are no reason to trust the others' positions."""
    found = verdicts(_multi(*OK), 3)
    assert found.unknown == [0, 1, 2]


@pytest.mark.parametrize("status", [429, 500, 503, "503"])
def test_passing_refusals_are_sent_again(status: int | str) -> None:
    """A record that was refused for a passing reason is unknown, not dead."""
    found = verdicts(_multi(OK[0], {"status": status, "xactionId": "x:y:z:1"}), 2)
    assert found.unknown == [1]
    assert not found.refused


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b'{"responses": 5}', b'{"responses": [1, 2]}']
)
def test_what_is_no_answer_acknowledges_nothing(body: bytes) -> None:
    """A 207 whose body does not say so has delivered nothing."""
    assert verdicts(Response(207, body), 2).unknown == [0, 1]


def test_a_single_post_is_acknowledged_by_its_transaction_id() -> None:
    """A 200 delivers one record if it carries a transaction id."""
    assert verdicts(Response(200, b'{"inletId":"i","xactionId":"a:b:0"}'), 1).delivered == {0: "a:b:0"}
    assert verdicts(Response(200, b'{"inletId":"i"}'), 1).unknown == [0]


@pytest.mark.parametrize(
    ("status", "body", "step"),
    [
        (0, b"", NextStep.AGAIN), (408, b"", NextStep.AGAIN), (429, b"", NextStep.AGAIN), (500, b"", NextStep.AGAIN),
        (503, b"", NextStep.AGAIN), (400, b"{}", NextStep.SPLIT), (413, b"", NextStep.SPLIT), (401, b"", NextStep.STOP),
        (403, b"", NextStep.STOP), (404, b"", NextStep.NOT_YET), (207, b"{}", NextStep.READ), (200, b"{}", NextStep.READ),
        (400, b'{"title":"Inlet does not exist (Reference id: 1)"}', NextStep.NOT_YET), (415, b"", NextStep.SPLIT),
        (204, b"", NextStep.AGAIN),
    ],
)  # fmt: skip
def test_a_request_as_a_whole(status: int, body: bytes, step: NextStep) -> None:
    """Each status has its consequence; a body decides only where the status is not enough."""
    assert what_next(Response(status, body)) is step
