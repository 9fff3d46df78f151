"""Calls: headers, tokens, retries, missing answers."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chatlio_kit.aep import Platform
from chatlio_kit.aep.http import LONGEST_RETRY_AFTER, PlatformClock, asked_pause, pause_before, retry_after
from chatlio_kit.errors import (
    AuthenticationFailed,
    NotFound,
    PlatformError,
    RateLimited,
    Unavailable,
    Unreachable,
)
from chatlio_kit.settings import Secret, Settings

STATS = {"tenantId": "acmechat"}
TOKEN = "eyJhbGciOi.eyJhcyI6Imlt.c2lnbmF0dXJl"  # as the stand answers it
CLIENT_SECRET = "p8e-very-secret"


def test_every_call_carries_the_four_headers(stand: Any, platform: Platform) -> None:
    """Token, client id, organisation and sandbox are sent with every call."""
    stand.will_answer(STATS)
    platform.schemas.tenant_id()
    headers = stand.asked[0].headers
    assert headers["Authorization"] == f"Bearer {TOKEN}1"
    assert headers["x-api-key"] == "client-1"
    assert headers["x-gw-ims-org-id"] == "1A2B3C4D5E6F70819203A4B5@AdobeOrg"
    assert headers["x-sandbox-name"] == "prod"
    assert "Content-Type" not in headers


def test_a_netrc_entry_does_not_replace_the_token(
    stand: Any, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other credentials on the machine are not sent."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    stand.will_answer(STATS)
    platform.schemas.tenant_id()
    assert stand.asked[0].headers["Authorization"].startswith("Bearer ")


def test_a_proxy_does_not_come_between_loopback_addresses(
    stand: Any, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy in the environment is not used for loopback addresses."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    stand.will_answer(STATS)
    assert platform.schemas.tenant_id() == "acmechat"


def test_the_token_form_and_its_reuse(stand: Any, platform: Platform) -> None:
    """The token is requested with a form with comma-separated scopes, once for many calls."""
    for _ in range(3):
        stand.will_answer(STATS)
        platform.schemas.tenant_id()
    assert len(stand.tokens_asked) == 1
    asked = stand.tokens_asked[0]
    assert asked.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert asked.query == {}
    assert asked.body == (
        b"grant_type=client_credentials&client_id=client-1&client_secret=p8e-very-secret&scope=openid%2Csession"
    )


def test_a_token_about_to_expire_is_not_used(stand: Any, platform: Platform) -> None:
    """A token whose lifetime in seconds is over is requested again."""
    stand.token_answers.append((200, {"access_token": "short", "expires_in": 0}, {}))
    for _ in range(2):
        stand.will_answer(STATS)
        platform.schemas.tenant_id()
    assert [asked.headers["Authorization"] for asked in stand.asked] == ["Bearer short", f"Bearer {TOKEN}2"]


def test_a_token_is_renewed_before_it_expires(
    stand: Any, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token of 1,000 seconds is used for 900 of them, and its successor after 950."""
    now = time.monotonic()
    stand.token_answers.append((200, {"access_token": "short", "expires_in": 1000}, {}))
    for seconds in (0, 800, 950):
        monkeypatch.setattr(time, "monotonic", lambda seconds=seconds: now + seconds)
        stand.will_answer(STATS)
        platform.schemas.tenant_id()
    sent = [asked.headers["Authorization"] for asked in stand.asked]
    assert sent == ["Bearer short", "Bearer short", f"Bearer {TOKEN}2"]


def test_a_refused_token_is_renewed_once(stand: Any, platform: Platform) -> None:
    """A 401 renews the token; a second 401 is final."""
    refused = {"error_code": "401013", "message": "Oauth token is not valid"}
    stand.will_answer(refused, 401)
    stand.will_answer(STATS)
    platform.schemas.tenant_id()
    assert len(stand.tokens_asked) == 2
    stand.will_answer(refused, 401)
    stand.will_answer(refused, 401)
    with pytest.raises(AuthenticationFailed) as caught:
        platform.schemas.tenant_id()
    assert caught.value.code == "401013"
    assert len(stand.tokens_asked) == 3


def test_threads_share_one_token(stand: Any, platform: Platform) -> None:
    """Simultaneous calls from several threads request one token."""
    for _ in range(8):
        stand.will_answer(STATS)
    threads = [threading.Thread(target=platform.schemas.tenant_id) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stand.asked) == 8
    assert len(stand.tokens_asked) == 1


def test_a_wrong_secret_is_reported_with_advice(stand: Any, platform: Platform) -> None:
    """IMS's refusal of the secret is reported with advice and without the secret."""
    body = {"error": "invalid_client", "error_description": "invalid client_secret parameter"}
    stand.token_answers.append((400, body, {}))
    with pytest.raises(AuthenticationFailed) as caught:
        platform.schemas.tenant_id()
    assert "AEP_CLIENT_SECRET" in str(caught.value)
    assert CLIENT_SECRET not in str(caught.value)
    assert stand.asked == []


@pytest.mark.parametrize(
    "answer", [{}, [], {"access_token": "x"}, b"<html>", {"access_token": "x", "expires_in": "soon"}]
)
def test_an_answer_without_a_token_is_an_error(stand: Any, platform: Platform, answer: object) -> None:
    """Any answer from IMS other than a token becomes an error message."""
    stand.token_answers.append((200, answer, {}))
    with pytest.raises(PlatformError, match="its response contains no token"):
        platform.schemas.tenant_id()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_reads_are_tried_again(stand: Any, platform: Platform, naps: list[float], status: int) -> None:
    """A read that fails temporarily is retried after a pause."""
    stand.will_answer({}, status)
    stand.will_answer(STATS)
    assert platform.schemas.tenant_id() == "acmechat"
    assert len(naps) == 1


def test_reads_are_not_tried_for_ever(stand: Any, platform: Platform, naps: list[float]) -> None:
    """After five attempts, the platform's failure is reported."""
    for _ in range(5):
        stand.will_answer({"detail": "down"}, 503)
    with pytest.raises(Unavailable, match="down"):
        platform.schemas.tenant_id()
    assert len(stand.asked) == 5
    assert len(naps) == 4


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_creates_are_not_repeated(stand: Any, platform: Platform, status: int) -> None:
    """A create that may have been carried out is not sent twice."""
    stand.will_answer({}, status)
    with pytest.raises(Unavailable):
        platform.flows.create_flow({"name": "x"})
    assert len(stand.asked) == 1


def test_a_create_refused_with_429_is_repeated(stand: Any, platform: Platform, naps: list[float]) -> None:
    """A 429 means that nothing was done, so even a create is retried, not earlier than requested."""
    stand.will_answer({"error_code": "429050", "message": "Too many requests"}, 429, {"Retry-After": "7"})
    stand.will_answer({"id": "f1", "etag": "e"}, 201)
    assert platform.flows.create_flow({"name": "x"}) == "f1"
    assert naps[0] >= 7


def test_rate_limits_end_in_their_own_error(stand: Any, platform: Platform) -> None:
    """A permanent limit is reported as such."""
    for _ in range(5):
        stand.will_answer({"error_code": "429050", "message": "Too many requests"}, 429)
    with pytest.raises(RateLimited):
        platform.schemas.tenant_id()


def test_silence_after_a_create_is_reported_with_advice_to_check(stand: Any, platform: Platform) -> None:
    """A create without an answer is not repeated, and the error says that it may have been carried out."""
    stand.will_answer(None)
    with pytest.raises(Unreachable, match="check before trying again"):
        platform.flows.create_flow({"name": "x"})
    assert len(stand.asked) == 1


def test_silence_after_a_read_is_tried_again(stand: Any, platform: Platform) -> None:
    """A read without an answer is repeated."""
    stand.will_answer(None)
    stand.will_answer(STATS)
    assert platform.schemas.tenant_id() == "acmechat"


def test_calls_that_only_ask_are_repeated_though_they_post(stand: Any, platform: Platform) -> None:
    """Asking for permissions changes nothing, so it is retried."""
    stand.will_answer({}, 503)
    stand.will_answer({"policies": {"/permissions/view-schemas": ["*"]}})
    assert platform.access.effective_policies(["/permissions/view-schemas"]) == {
        "/permissions/view-schemas": ["*"]
    }


def test_a_platform_that_does_not_listen(settings: Settings, naps: list[float]) -> None:
    """A platform that does not listen is unreachable, in a sentence, and nothing was sent."""
    nowhere = Settings(
        client_id="c",
        client_secret=Secret(CLIENT_SECRET),
        org_id="o",
        sandbox="dev",
        platform_url="http://127.0.0.1:1",
        ims_url=settings.ims_url,
    )
    with Platform(nowhere, sleep=naps.append) as platform, pytest.raises(Unreachable) as caught:
        platform.flows.create_flow({"name": "x"})
    assert "no connection could be made" in str(caught.value)
    assert "check before" not in str(caught.value)
    assert len(naps) == 4


def test_a_missing_file_of_certificates_sends_nothing(
    settings: Settings, naps: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A create that was not sent is reported without the advice to check for its result."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "gone.pem"))
    secure = replace(settings, platform_url="https://127.0.0.1:1")
    with Platform(secure, sleep=naps.append) as platform, pytest.raises(Unreachable) as caught:
        platform.flows.create_flow({"name": "x"})
    assert "there is no such file. Correct the variable, or unset it." in str(caught.value)
    assert "check before" not in str(caught.value)
    assert naps == []


def test_redirects_are_not_followed(stand: Any, platform: Platform) -> None:
    """The credential's headers do not follow a redirect."""
    stand.will_answer(b"", 302, {"Location": f"{stand.url}/elsewhere"})
    with pytest.raises(PlatformError, match="HTTP 302"):
        platform.schemas.tenant_id()
    assert len(stand.asked) == 1


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"", [], "text", {"tenantId": ""}])
def test_an_answer_in_another_form_is_reported(stand: Any, platform: Platform, body: object) -> None:
    """A successful answer that is not as documented becomes an error message, not a traceback."""
    stand.will_answer(body)
    with pytest.raises(PlatformError, match="could not read the tenant id: its response"):
        platform.schemas.tenant_id()


def test_a_missing_object_is_not_found(stand: Any, platform: Platform) -> None:
    """An empty list of items means not found."""
    stand.will_answer({"items": []})
    with pytest.raises(NotFound):
        platform.flows.flow("f1")


def test_nothing_secret_in_tracebacks_and_logs(
    stand: Any, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a traceback, its causes, nor the debug log of HTTP shows token or secret."""
    caplog.set_level(logging.DEBUG)
    stand.will_answer({"detail": f"bad token {TOKEN}1 of {CLIENT_SECRET}"}, 400)
    with pytest.raises(PlatformError) as caught:
        platform.schemas.tenant_id()
    stand.will_answer(None)
    with pytest.raises(Unreachable) as silent:
        platform.flows.create_flow({"name": "x"})
    texts = ["".join(traceback.format_exception(error.value)) for error in (caught, silent)]
    for text in [*texts, caplog.text, repr(platform)]:
        assert TOKEN not in text
        assert CLIENT_SECRET not in text
    assert silent.value.__context__ is None
    assert silent.value.__cause__ is None


def test_pauses_grow_and_vary() -> None:
    """Pauses have full jitter below a growing, bounded limit."""
    assert all(0 <= pause_before(1) < 1 for _ in range(100))
    assert all(0 <= pause_before(30) <= 20 for _ in range(100))
    assert len({pause_before(5) for _ in range(10)}) == 10


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0.0),
        ("", 0.0),
        ("3", 3.0),
        (" 3 ", 3.0),
        ("99999", LONGEST_RETRY_AFTER),
        ("-5", 0.0),
        ("nan", 0.0),
        ("soon", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2815 07:28:00 GMT", LONGEST_RETRY_AFTER),
        ("Wed, 21 Oct 2815 07:28:00", LONGEST_RETRY_AFTER),
    ],
)
def test_retry_after_is_clamped(header: str | None, seconds: float) -> None:
    """``Retry-After`` counts in both of its forms, from zero to a minute."""
    assert asked_pause(header) == seconds


def test_a_date_to_retry_after_counts_from_the_answers_own_date() -> None:
    """The platform's clock and this machine's may differ."""
    date = {"Date": "Wed, 21 Oct 2026 07:28:00 GMT"}
    assert retry_after({**date, "Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT"}) == "30"
    assert retry_after({**date, "Retry-After": "Wed, 21 Oct 2026 07:27:30 GMT"}) == "0"
    assert retry_after({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT"}) == "Wed, 21 Oct 2026 07:28:30 GMT"
    assert retry_after({**date, "Retry-After": "7"}) == "7"


def test_the_clock_is_the_platforms_once_an_answer_is_dated() -> None:
    """Its year too: an answer of another year sets the clock to that year."""
    clock = PlatformClock()
    assert clock.skew is None
    clock.set("Wed, 21 Oct 2015 07:28:00 GMT")
    assert 0 <= (clock.now() - datetime(2015, 10, 21, 7, 28, tzinfo=UTC)).total_seconds() < 60
    assert clock.skew is not None
    assert clock.skew < 0
