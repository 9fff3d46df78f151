"""Posting to an inlet: URL, headers, and secrets that never show."""

from __future__ import annotations

import logging
import pickle
import traceback
from typing import Any

import pytest

from chatlio_kit.aep import Inlet, Platform, webhook_url
from chatlio_kit.errors import PlatformError, SettingsError, Unreachable
from chatlio_kit.settings import Secret

INLET_ID = "9f" * 32
TOKEN = "eyJhbGciOi.eyJhcyI6Imlt.c2lnbmF0dXJl"


def test_batches_go_below_batch_and_singles_do_not(stand: Any) -> None:
    """The batch path is the inlet's path with ``batch`` inserted; the dataflow is sent as a header."""
    stand.will_answer({"responses": []}, 207, {"x-thing": "1"})
    stand.will_answer({"xactionId": "x"})
    with Inlet(Secret(f"{stand.url}/collection/{INLET_ID}"), "flow-1") as inlet:
        batch = inlet.post_batch(b'{"messages":[]}')
        single = inlet.post_single(b"{}")
    assert (batch.status_code, batch.json(), batch.headers["X-Thing"]) == (207, {"responses": []}, "1")
    assert single.status_code == 200
    first, second = stand.asked
    assert first.path == f"/collection/batch/{INLET_ID}"
    assert second.path == f"/collection/{INLET_ID}"
    assert first.headers["x-adobe-flow-id"] == "flow-1"
    assert first.headers["Content-Type"] == "application/json"
    assert "Authorization" not in first.headers
    assert first.body == b'{"messages":[]}'


@pytest.mark.parametrize("status", [400, 401, 413, 429, 500, 503])
def test_answers_are_returned_unchanged(stand: Any, status: int) -> None:
    """The caller interprets a refusal; the request is sent once."""
    stand.will_answer(b"words", status)
    with Inlet(Secret(f"{stand.url}/collection/{INLET_ID}"), "flow-1") as inlet:
        reply = inlet.post_batch(b"{}")
    assert (reply.status_code, reply.content) == (status, b"words")
    assert len(stand.asked) == 1


def test_a_missing_answer_is_unreachable_and_shows_no_inlet(
    stand: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the error, its traceback, the debug log of HTTP nor a repr shows the inlet."""
    caplog.set_level(logging.DEBUG)
    inlet = Inlet(Secret(f"{stand.url}/collection/{INLET_ID}"), "flow-1")
    stand.will_answer({"inletId": INLET_ID})
    reply = inlet.post_single(b"{}")
    stand.will_answer(None)
    with pytest.raises(Unreachable) as caught:
        inlet.post_batch(b"{}")
    inlet.close()
    shown = "".join(traceback.format_exception(caught.value))
    for text in (shown, caplog.text, repr(inlet), repr(reply), str(vars(inlet))):
        assert INLET_ID not in text
    assert str(caught.value).endswith("Check the network, any proxy, and the platform's URL.")
    assert "/collection/***" in caplog.text
    assert "/collection/***" in repr(inlet)


def test_an_inlet_that_does_not_listen() -> None:
    """An inlet that does not listen is unreachable, and its URL does not show."""
    with (
        Inlet(Secret(f"http://127.0.0.1:1/collection/{INLET_ID}"), "flow-1") as inlet,
        pytest.raises(Unreachable) as caught,
    ):
        inlet.post_single(b"{}")
    assert INLET_ID not in str(caught.value)


@pytest.mark.parametrize("url", [f"http://dcs.example/collection/{INLET_ID}", "ftp://x/collection/y", ""])
def test_inlets_are_not_posted_to_in_the_clear(url: str) -> None:
    """An inlet without TLS is refused unless it is on this machine; the URL does not show."""
    with pytest.raises(SettingsError) as caught:
        Inlet(Secret(url), "flow-1")
    assert INLET_ID not in str(caught.value)


def test_another_url_is_not_an_inlet() -> None:
    """A URL without the collection path is refused."""
    with pytest.raises(PlatformError, match="/collection/"):
        Inlet(Secret("https://dcs.example/other/path"), "flow-1")


def test_the_webhook_url_names_the_dataflow_and_stays_secret() -> None:
    """Senders that set no headers get the dataflow in the query; the URL neither prints nor pickles."""
    url = webhook_url(Secret(f"https://dcs.example/collection/{INLET_ID}"), "flow-1")
    assert url.reveal() == f"https://dcs.example/collection/{INLET_ID}?x-adobe-flow-id=flow-1"
    assert f"{url} {url!r}" == "*** ***"
    with pytest.raises(TypeError):
        pickle.dumps(url)


def test_an_inlet_that_asks_for_a_token_gets_one(stand: Any, platform: Platform) -> None:
    """After a 401, the token is sent with the sandbox; once expired, it is renewed once."""
    refusal = {"status": "401", "title": "Authorization", "report": {"message": "[id] token is empty"}}
    for body, status in [(refusal, 401), ({}, 207), ({}, 207), (refusal, 403), ({}, 207)]:
        stand.will_answer(body, status)
    with platform.inlet(Secret(f"{stand.url}/collection/{INLET_ID}"), "flow-1") as inlet:
        assert [inlet.post_batch(b"{}").status_code for _ in range(3)] == [207, 207, 207]
        assert TOKEN not in str(vars(inlet))
    sent = [asked.headers.get("Authorization") for asked in stand.asked]
    assert sent == [None, *[f"Bearer {TOKEN}1"] * 3, f"Bearer {TOKEN}2"]
    assert stand.asked[1].headers["x-sandbox-name"] == stand.asked[1].headers["sandbox-name"]
    without, token = stand.asked[0].headers, {"Authorization", "x-sandbox-name", "sandbox-name"}
    assert stand.asked[1].headers.keys() == without.keys() | token


def test_a_refusal_of_the_token_is_returned(stand: Any, platform: Platform) -> None:
    """A second refusal is returned, as is the first if there is no token."""
    stand.will_answer({}, 401)
    stand.will_answer({}, 403)
    with platform.inlet(Secret(f"{stand.url}/collection/{INLET_ID}"), "flow-1") as inlet:
        assert inlet.post_batch(b"{}").status_code == 403
        stand.will_answer({}, 401)
        stand.token_answers.append((400, {"error": "invalid_client"}, {}))
        assert inlet.post_batch(b"{}").status_code == 401
