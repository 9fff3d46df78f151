"""Calls of the control plane: headers, token renewal, retries, errors, and the base of all its APIs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar
from urllib.parse import quote

import orjson

from chatlio_kit.aep.errors import error_of
from chatlio_kit.aep.http import FileBody, PlatformClock, Reply, new_session, send
from chatlio_kit.aep.ims import Tokens
from chatlio_kit.errors import PlatformError
from chatlio_kit.settings import Secret, Settings, sealed

Json = dict[str, Any]
Parameters = Sequence[tuple[str, str | int]]
T = TypeVar("T")

PAGE = 100
"""Number of entries requested per page of a list."""

_OCTETS = "application/octet-stream"
_INLETS = frozenset({"inletUrl", "inletId"})
_REPEATABLE = frozenset({"GET", "PUT", "DELETE"})


class Transport:
    """Calls the control plane of one platform with one credential.

    Every call has the headers ``Authorization``, ``x-api-key``, ``x-gw-ims-org-id`` and ``x-sandbox-name``
    (Experience Platform: getting started). Failed calls are retried as in :func:`~chatlio_kit.aep.http.send`.
    A refused token is renewed once.

    Args:
        settings: Endpoints and credential.
        sleep: Waits for a number of seconds.

    Attributes:
        tokens: The credential's token.
        clock: The platform's time.
    """

    def __init__(self, settings: Settings, sleep: Callable[[float], None] = time.sleep) -> None:
        self.settings = settings
        self.sleep = sleep
        self.clock = PlatformClock()
        self._session = new_session(settings.platform_url)
        self.tokens = Tokens(settings, sleep)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()
        self.tokens.close()

    @sealed
    def call(self, service: str, operation: str, method: str, path: str, **parts: Any) -> Reply:
        """Make a call and return its successful response; the arguments are those of :meth:`ask`.

        Raises:
            Unreachable: There was no response. A call that creates may have been carried out: check before
                trying again.
            PlatformError: The platform refused the call; the subclass gives the reason.
        """
        reply = self.ask(service, operation, method, path, **parts)
        if 200 <= reply.status_code < 300:
            return reply
        raise error_of(service, operation, reply, secrets=self._secrets(self.tokens.current()))

    @sealed
    def ask(
        self,
        service: str,
        operation: str,
        method: str,
        path: str,
        *,
        query: Parameters = (),
        body: object = None,
        file: FileBody | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
    ) -> Reply:
        """Make a call and return its response, whatever its status.

        Args:
            service: The API, for errors.
            operation: The operation, in words that follow "could not", for errors.
            method: HTTP verb.
            path: Path below the platform's URL.
            query: Query parameters, in order, repeated if needed.
            body: Sent as JSON unless None.
            file: Sent unchanged, instead of a body.
            headers: Further headers.
            repeatable: True if repeating the call is harmless; by default, as HTTP defines it for the verb.

        Raises:
            Unreachable: There was no response. A call that creates may have been carried out: check before
                trying again.
        """
        may_repeat = method in _REPEATABLE if repeatable is None else repeatable
        data: bytes | FileBody | None = file if body is None else orjson.dumps(body)
        content_type = None if data is None else "application/json" if file is None else _OCTETS
        is_renewed = False
        while True:
            token = self.tokens.current()
            reply = send(
                self._session,
                method,
                self.settings.platform_url + path,
                service=service,
                operation=operation,
                sleep=self.sleep,
                may_repeat=may_repeat,
                is_local=self.settings.is_local,
                secrets=self._secrets(token),
                params=list(query),
                data=data,
                headers=self._headers(token.reveal(), headers, content_type),
            )
            self.clock.set(reply.headers.get("Date"))
            if reply.status_code != 401 or is_renewed:
                return reply
            is_renewed = True
            self.tokens.discard(token)

    def _secrets(self, token: Secret) -> tuple[str, ...]:
        return token.reveal(), self.settings.client_secret.reveal()

    def _headers(
        self, token: str, extra: Mapping[str, str] | None, content_type: str | None
    ) -> dict[str, str]:
        headers = {
            "Authorization": f"Bearer {token}",
            "x-api-key": self.settings.client_id,
            "x-gw-ims-org-id": self.settings.org_id,
            "x-sandbox-name": self.settings.sandbox,
        }
        if content_type is not None:
            headers["Content-Type"] = content_type
        return headers | dict(extra or {})


class Api:
    """One of the platform's APIs: its name, its base path and the transport."""

    service: ClassVar[str]
    base: ClassVar[str]

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _call(self, operation: str, method: str, path: str, **parts: Any) -> Reply:
        return self._transport.call(self.service, operation, method, self.base + path, **parts)

    @sealed
    def _ask(self, operation: str, method: str, path: str, **parts: Any) -> Any:
        """Make a call and return the JSON of its response, with inlets as secrets."""
        content = self._call(operation, method, path, **parts).content
        try:
            return _with_secrets(orjson.loads(content))
        except orjson.JSONDecodeError:
            raise self.unexpected(operation, "its response is not JSON") from None

    def _ask_object(self, operation: str, method: str, path: str, **parts: Any) -> Json:
        """Make a call and return the JSON object of its response."""
        answer = self._ask(operation, method, path, **parts)
        if not isinstance(answer, dict):
            raise self.unexpected(operation, "its response is not a JSON object")
        return answer

    def _ask_pages(
        self, operation: str, path: str, entries_in: Callable[[Json], list[T]], query: Parameters = ()
    ) -> Iterator[T]:
        """Read a list page by page, by ``limit`` and ``start``.

        Args:
            operation: The operation, for errors.
            path: Path below the service's base path.
            entries_in: Returns the entries of a response.
            query: Further query parameters.
        """
        start = 0
        while True:
            page: Parameters = [*query, ("limit", PAGE), ("start", start)]
            entries = entries_in(self._ask_object(operation, "GET", path, query=page))
            yield from entries
            if len(entries) < PAGE:
                return
            start += PAGE

    def _text(self, operation: str, answer: Mapping[str, Any], key: str) -> str:
        """Return a string that a response must contain."""
        value = answer.get(key)
        if not isinstance(value, str) or not value:
            raise self.unexpected(operation, f"its response has no {key!r}")
        return value

    def unexpected(self, operation: str, reason: str) -> PlatformError:
        """Return the error for a response that the API does not document."""
        return PlatformError(
            self.service, operation, reason, advice="Check AEP_PLATFORM_URL, and any proxy in between."
        )


def to_int(value: Any) -> int:
    """Parse a number that may be written as a string; 0 if there is none."""
    try:
        return int(float(value))
    except (TypeError, ValueError):
        return 0


def objects_in(answer: Json, key: str) -> list[Json]:
    """Return the objects of a list under a key in a response."""
    return [item for item in answer.get(key) or [] if isinstance(item, dict)]


def in_path(part: str) -> str:
    """Escape an id for use as one segment of a path."""
    return quote(part, safe="")


def _with_secrets(node: Any) -> Any:
    """Wrap inlet URLs and ids, at any depth, before a traceback could show a variable with them."""
    if isinstance(node, dict):
        return {
            key: Secret(value)
            if key in _INLETS and isinstance(value, str) and value
            else _with_secrets(value)
            for key, value in node.items()
        }
    return [_with_secrets(item) for item in node] if isinstance(node, list) else node
