"""How every control-plane call travels: headers, second tries, and errors that say what to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import quote

import orjson

from chatlio_kit.aep.http import (
    MAX_TRIES,
    PASSING,
    PlatformClock,
    Reply,
    Silence,
    new_session,
    no_answer,
    pause_before,
    retry_after,
    send_once,
    skew_of,
)
from chatlio_kit.aep.ims import Tokens
from chatlio_kit.aep.refusals import refusal
from chatlio_kit.errors import PlatformError
from chatlio_kit.settings import Secret, Settings, sealed

Json = dict[str, Any]
Parameters = Sequence[tuple[str, str | int]]

_INLETS = frozenset({"inletUrl", "inletId"})
_REPEATABLE = frozenset({"GET", "PUT", "DELETE"})


class Transport:
    """Calls the control plane of one platform with one credential.

    Every call carries ``Authorization``, ``x-api-key``, ``x-gw-ims-org-id`` and ``x-sandbox-name``
    (Experience Platform: getting started). Calls that may be repeated are tried again with exponential
    back-off and full jitter when the platform fails for a moment; others only when it is certain that the
    platform did not act on them. A refused token is renewed once.

    Args:
        settings: where the platform is and who we are.
        sleep: waits some seconds.

    Attributes:
        tokens: the credential's token.
        clock_skew: seconds by which the platform's clock was ahead of ours at its last answer; None if
            untold.
    """

    def __init__(self, settings: Settings, sleep: Callable[[float], None] = time.sleep) -> None:
        self.settings = settings
        self.sleep = sleep
        self.clock_skew: float | None = None
        self._clock = PlatformClock()
        self._session = new_session(settings.platform_url)
        self.tokens = Tokens(settings, sleep)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()
        self.tokens.close()

    def now(self) -> datetime:
        """Return the platform's time."""
        return self._clock.now()

    @property
    def tells_time(self) -> bool:
        """Whether an answer has told the platform's time."""
        return self._clock.is_set

    def sign_in(self) -> None:
        """Fetch an access token, unless a good one is at hand."""
        self.tokens.current()

    @sealed
    def call(
        self,
        service: str,
        operation: str,
        method: str,
        path: str,
        *,
        query: Parameters = (),
        body: object = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
    ) -> Reply:
        """Make a call and give its successful answer.

        Args:
            service: the API, for errors.
            operation: what is asked of it, in words that follow "could not", for errors.
            method: HTTP verb.
            path: path below the platform's URL.
            query: query parameters, in order, repeated where needed.
            body: sent as JSON unless None.
            headers: further headers.
            repeatable: whether a second try can do no harm; by default what the verb promises.

        Raises:
            Unreachable: no answer came. A call that creates may have been carried out: look before
                trying again.
            PlatformError: the platform said no; the subclass tells why.
        """
        may_repeat = method in _REPEATABLE if repeatable is None else repeatable
        data = None if body is None else orjson.dumps(body)
        renewed = False
        tries = 0
        while True:
            tries += 1
            token = self.tokens.current()
            secrets = (token.reveal(), self.settings.client_secret.reveal())
            outcome = send_once(
                self._session,
                method,
                self.settings.platform_url + path,
                secrets=secrets,
                params=list(query),
                data=data,
                headers=self._headers(token.reveal(), headers, with_body=data is not None),
            )
            if isinstance(outcome, Silence):
                if tries < MAX_TRIES and not outcome.is_final and (may_repeat or not outcome.was_sent):
                    self.sleep(pause_before(tries))
                    continue
                raise no_answer(
                    service,
                    operation,
                    outcome,
                    may_repeat=may_repeat,
                    is_local=self.settings.is_local,
                )
            self.clock_skew = skew_of(outcome.headers.get("Date"))
            self._clock.hear(outcome.headers.get("Date"))
            if 200 <= outcome.status_code < 300:
                return outcome
            if outcome.status_code == 401 and not renewed:
                renewed = True
                self.tokens.discard(token)
                continue
            passing = outcome.status_code == 429 or (may_repeat and outcome.status_code in PASSING)
            if passing and tries < MAX_TRIES:
                self.sleep(pause_before(tries, retry_after(outcome.headers)))
                continue
            raise refusal(
                service, operation, outcome.status_code, outcome.content, outcome.headers, secrets=secrets
            )

    def _headers(self, token: str, extra: Mapping[str, str] | None, *, with_body: bool) -> dict[str, str]:
        headers = {
            "Authorization": f"Bearer {token}",
            "x-api-key": self.settings.client_id,
            "x-gw-ims-org-id": self.settings.org_id,
            "x-sandbox-name": self.settings.sandbox,
        }
        if with_body:
            headers["Content-Type"] = "application/json"
        return headers | dict(extra or {})


class Api:
    """One of the platform's APIs: its name, its base path and the transport beneath."""

    service: ClassVar[str]
    base: ClassVar[str]

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _call(self, operation: str, method: str, path: str, **parts: Any) -> Reply:
        return self._transport.call(self.service, operation, method, self.base + path, **parts)

    @sealed
    def _ask(self, operation: str, method: str, path: str, **parts: Any) -> Any:
        """Make a call and return the JSON of its answer, its inlets as secrets."""
        content = self._call(operation, method, path, **parts).content
        try:
            return _with_secrets(orjson.loads(content))
        except orjson.JSONDecodeError:
            raise self.unexpected(operation, "its answer is not JSON") from None

    def _ask_object(self, operation: str, method: str, path: str, **parts: Any) -> Json:
        """Make a call and give the JSON object of its answer."""
        answer = self._ask(operation, method, path, **parts)
        if not isinstance(answer, dict):
            raise self.unexpected(operation, "its answer is not a JSON object")
        return answer

    def _text(self, operation: str, answer: Mapping[str, Any], key: str) -> str:
        """Give a text that an answer must hold."""
        value = answer.get(key)
        if not isinstance(value, str) or not value:
            raise self.unexpected(operation, f"its answer has no {key!r}")
        return value

    def unexpected(self, operation: str, reason: str) -> PlatformError:
        """Make the error of an answer that is not what the API documents."""
        return PlatformError(
            self.service, operation, reason, advice="Check AEP_PLATFORM_URL, and any proxy on the way."
        )


def _with_secrets(node: Any) -> Any:
    """Wrap what opens an inlet, at any depth, before it reaches a variable that a traceback may show."""
    if isinstance(node, dict):
        return {key: _hidden(key, value) for key, value in node.items()}
    return [_with_secrets(each) for each in node] if isinstance(node, list) else node


def _hidden(key: str, value: Any) -> Any:
    is_inlet = key in _INLETS and isinstance(value, str) and value
    return Secret(value) if is_inlet else _with_secrets(value)


def in_path(part: str) -> str:
    """Escape an id for use as one step of a path."""
    return quote(part, safe="")
