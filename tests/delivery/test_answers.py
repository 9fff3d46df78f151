"""The verdict on each record from a platform's answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chatlio_kit.delivery.requests.responses import (
    NextAction,
    Response,
    next_action,
    read_verdicts,
    refusal_of,
    requires_envelopes,
)


def _multi(*responses: Any, **around: Any) -> Response:
    return Response(207, json.dumps({"inletId": "i", "responses": list(responses), **around}).encode())


OK = [{"xactionId": f"1760000000500:88:7:{place}"} for place in range(5)]
DOCS_REFUSAL = {"statusCode": 400, "message": "Message has unknown xdm format"}


def test_all_records_are_accepted() -> None:
    """An element with a transaction id and no status is a delivered record."""
    found = read_verdicts(_multi(*OK[:3]), 3)
    assert found.delivered == {place: OK[place]["xactionId"] for place in range(3)}
    assert not found.refused
    assert not found.unknown


def test_refusals_as_adobes_documents_show_them() -> None:
    """An element with statusCode and no transaction id is a refusal, by its position."""
    found = read_verdicts(_multi(OK[0], DOCS_REFUSAL, OK[2]), 3)
    assert list(found.delivered) == [0, 2]
    assert found.refused[1].reason == "refused_400"
    assert json.loads(found.refused[1].answer) == DOCS_REFUSAL


def test_refusals_as_production_answers_show_them() -> None:
    """An element with status and a transaction id that ends in its index is a refusal of that record."""
    refused = {"xactionId": "1b0e5c1a-0000-4000-8000-000000000000-1", "status": 400, "message": "header"}
    accepted = {"xactionId": "1b0e5c1a-0000-4000-8000-000000000000-0"}
    for elements in [(accepted, refused), (refused, accepted)]:
        found = read_verdicts(_multi(*elements), 2)
        assert list(found.delivered) == [0]
        assert list(found.refused) == [1]


def test_a_short_answer_is_matched_by_its_transaction_ids() -> None:
    """Five records and three elements: named records have a verdict, the others are unknown."""
    found = read_verdicts(_multi(OK[0], OK[3], OK[1]), 5)
    assert sorted(found.delivered) == [0, 1, 3]
    assert found.unknown == [2, 4]


def test_a_short_answer_without_positions_acknowledges_nothing() -> None:
    """Elements that cannot be matched to records acknowledge none of them."""
    found = read_verdicts(_multi({"xactionId": "a"}, DOCS_REFUSAL), 5)
    assert found.unknown == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("elements", [4, 5])
def test_an_answer_with_too_many_elements_matches_no_positions(elements: int) -> None:
    """If there are too many elements, the positions of the others are not trusted."""
    found = read_verdicts(_multi(*OK[:elements]), 3)
    assert found.unknown == [0, 1, 2]


@pytest.mark.parametrize("status", [429, 500, 503, "503"])
def test_temporary_refusals_are_retried(status: int | str) -> None:
    """A record that was refused for a temporary reason is unknown, not dead."""
    found = read_verdicts(_multi(OK[0], {"status": status, "xactionId": "x:y:z:1"}), 2)
    assert found.unknown == [1]
    assert not found.refused


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>", b"[]", b"null", b'{"responses": 5}', b'{"responses": [1, 2]}'),
        b'{"responses": [{"xactionId": ""}, {"xactionId": 7}]}',
    ],
)
def test_an_invalid_answer_acknowledges_nothing(body: bytes) -> None:
    """A 207 delivers only records that its body acknowledges."""
    assert read_verdicts(Response(207, body), 2).unknown == [0, 1]


def test_a_single_post_is_acknowledged_by_its_transaction_id() -> None:
    """A 200 delivers one record if it carries a transaction id."""
    assert read_verdicts(Response(200, b'{"inletId":"i","xactionId":"a:b:0"}'), 1).delivered == {0: "a:b:0"}
    assert read_verdicts(Response(200, b'{"inletId":"i"}'), 1).unknown == [0]


def test_records_go_one_by_one_only_if_all_lack_the_header() -> None:
    """Another element, or the same words in a refusal of the request, means something else."""
    message = "The 'header' field is mandatory. Provide a valid 'header' value and try again."
    lacking = {"status": 400, "xactionId": "1:2:3-0", "message": message}
    assert requires_envelopes(_multi(lacking, lacking))
    assert not requires_envelopes(_multi(lacking, OK[1]))
    assert not requires_envelopes(_multi())
    assert not requires_envelopes(Response(400, _multi(lacking).body))
    assert not requires_envelopes(Response(207, message.encode()))


@pytest.mark.parametrize(
    ("status", "body", "step"),
    [
        *((status, b"", NextAction.RETRY) for status in (0, 204, 408, 425, 429, 500, 503)),
        *((status, b"{}", NextAction.SPLIT) for status in (400, 413, 415)),
        *((status, b"", NextAction.STOP) for status in (401, 403)),
        *((status, b"{}", NextAction.READ) for status in (200, 207)),
        (404, b"", NextAction.WAIT),
        (400, b'{"title":"Inlet does not exist (Reference id: 1)"}', NextAction.WAIT),
    ],
)
def test_a_request_as_a_whole(status: int, body: bytes, step: NextAction) -> None:
    """Each status has its consequence; a body decides only where the status is not enough."""
    assert next_action(Response(status, body)) is step


def test_a_refused_request_with_one_record_names_its_reason() -> None:
    """Too large is a reason of its own; every other one is the status."""
    assert refusal_of(Response(413, b"large")).reason == "too_large"
    assert refusal_of(Response(400, b"wrong")).reason == "refused_400"
    assert refusal_of(Response(400, b"wrong")).answer == "wrong"
