"""Adobe's identity service: an access token for the credential, fetched when needed and reused.

Source: Adobe Developer Console, server-to-server authentication, IMS API.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import orjson

from chatlio_kit.aep.http import (
    MAX_TRIES,
    PASSING,
    Reply,
    Silence,
    new_session,
    no_answer,
    pause_before,
    retry_after,
    send_once,
)
from chatlio_kit.aep.refusals import refusal
from chatlio_kit.errors import PlatformError
from chatlio_kit.settings import Secret, Settings, sealed

_SERVICE = "IMS"
_OPERATION = "give an access token"
_LONGEST_MARGIN = 300.0


class Tokens:
    """The credential's access token, reused until shortly before it expires; safe for threads.

    ``POST /ims/token/v3`` takes a form with comma-separated scopes and answers with a lifetime in seconds.
    The form travels in the body, where access logs do not see it.
    """

    def __init__(self, settings: Settings, sleep: Callable[[float], None] = time.sleep) -> None:
        self._settings = settings
        self._sleep = sleep
        self._session = new_session(settings.ims_url)
        self._lock = threading.Lock()
        self._token: Secret | None = None
        self._good_until = 0.0

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    @sealed
    def current(self) -> Secret:
        """Give a token that is good for a while.

        Raises:
            AuthenticationFailed: the identity service refused the credential or its scopes.
            Unreachable: the identity service did not answer.
        """
        with self._lock:
            if self._token is None or time.monotonic() >= self._good_until:
                asked_at = time.monotonic()
                self._token, lifetime = self._fetch()
                self._good_until = asked_at + lifetime - min(_LONGEST_MARGIN, lifetime / 10)
            return self._token

    def discard(self, token: Secret) -> None:
        """Drop a token that the platform refused, unless another one has taken its place."""
        with self._lock:
            if self._token == token:
                self._token = None

    def _fetch(self) -> tuple[Secret, float]:
        secret = self._settings.client_secret.reveal()
        form = {
            "grant_type": "client_credentials",
            "client_id": self._settings.client_id,
            "client_secret": secret,
            "scope": ",".join(each.strip() for each in self._settings.scopes.split(",") if each.strip()),
        }
        url = f"{self._settings.ims_url}/ims/token/v3"
        tries = 0
        while True:
            tries += 1
            outcome = send_once(self._session, "POST", url, secrets=(secret,), data=form)
            if isinstance(outcome, Silence):
                if tries < MAX_TRIES and not outcome.is_final:
                    self._sleep(pause_before(tries))
                    continue
                raise no_answer(_SERVICE, _OPERATION, outcome, is_local=self._settings.is_local)
            if outcome.status_code == 200:
                return _token_in(outcome)
            if outcome.status_code in PASSING and tries < MAX_TRIES:
                self._sleep(pause_before(tries, retry_after(outcome.headers)))
                continue
            raise refusal(
                _SERVICE, _OPERATION, outcome.status_code, outcome.content, outcome.headers, secrets=(secret,)
            )


def _token_in(reply: Reply) -> tuple[Secret, float]:
    try:
        answer = orjson.loads(reply.content)
        return Secret(str(answer["access_token"])), float(answer["expires_in"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        pass
    raise PlatformError(
        _SERVICE,
        _OPERATION,
        "its answer holds no token",
        advice="Check AEP_IMS_URL, and any proxy on the way.",
    )
