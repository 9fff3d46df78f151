"""Fetch and cache access tokens from Adobe's identity service (IMS).

Source: Adobe Developer Console, server-to-server authentication, IMS API.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import orjson

from chatlio_kit.aep.errors import error_of
from chatlio_kit.aep.http import Reply, new_session, send
from chatlio_kit.errors import PlatformError
from chatlio_kit.settings import Secret, Settings, sealed

_SERVICE = "IMS"
_OPERATION = "give an access token"
_LONGEST_MARGIN = 300.0


class Tokens:
    """The credential's access token, cached until shortly before it expires; thread-safe.

    ``POST /ims/token/v3`` accepts a form with comma-separated scopes and returns a lifetime in seconds. The
    form is sent in the body, so that access logs do not show it.
    """

    def __init__(self, settings: Settings, sleep: Callable[[float], None] = time.sleep) -> None:
        self._settings = settings
        self._sleep = sleep
        self._session = new_session(settings.ims_url)
        self._lock = threading.Lock()
        self._token: Secret | None = None
        self._valid_until = 0.0

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    @sealed
    def current(self) -> Secret:
        """Return a token that does not expire soon.

        Raises:
            AuthenticationFailed: The identity service refused the credential or its scopes.
            Unreachable: The identity service did not respond.
        """
        with self._lock:
            if self._token is None or time.monotonic() >= self._valid_until:
                requested_at = time.monotonic()
                self._token, lifetime = self._fetch()
                self._valid_until = requested_at + lifetime - min(_LONGEST_MARGIN, lifetime / 10)
            return self._token

    def discard(self, token: Secret) -> None:
        """Drop a token that the platform refused, unless another one has replaced it."""
        with self._lock:
            if self._token == token:
                self._token = None

    def _fetch(self) -> tuple[Secret, float]:
        secret = self._settings.client_secret.reveal()
        form = {
            "grant_type": "client_credentials",
            "client_id": self._settings.client_id,
            "client_secret": secret,
            "scope": ",".join(scope.strip() for scope in self._settings.scopes.split(",") if scope.strip()),
        }
        reply = send(
            self._session,
            "POST",
            f"{self._settings.ims_url}/ims/token/v3",
            service=_SERVICE,
            operation=_OPERATION,
            sleep=self._sleep,
            is_local=self._settings.is_local,
            secrets=(secret,),
            data=form,
        )
        if reply.status_code == 200:
            return _token_in(reply)
        raise error_of(_SERVICE, _OPERATION, reply, secrets=(secret,))


def _token_in(reply: Reply) -> tuple[Secret, float]:
    try:
        answer = orjson.loads(reply.content)
        return Secret(str(answer["access_token"])), float(answer["expires_in"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        pass
    raise PlatformError(
        _SERVICE,
        _OPERATION,
        "its response contains no token",
        advice="Check AEP_IMS_URL, and any proxy in between.",
    )
