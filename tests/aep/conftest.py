"""A stand: an HTTP server that gives the answers prepared by a test, and records the requests."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from chatlio_kit.aep import Platform
from chatlio_kit.settings import Secret, Settings

TOKEN = "eyJhbGciOi.eyJhcyI6Imlt.c2lnbmF0dXJl"
CLIENT_SECRET = "p8e-very-secret"


@dataclass(frozen=True)
class Asked:
    """A request that reached the stand."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(repr=False)
class Stand:
    """The stand's next answers, and its requests; token requests are answered separately."""

    url: str = ""
    answers: deque[tuple[int, Any, dict[str, str]]] = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)
    token_answers: deque[tuple[int, Any, dict[str, str]]] = field(default_factory=deque)
    tokens_asked: list[Asked] = field(default_factory=list)

    def will_answer(self, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Prepare the next answer; bytes are sent unchanged, None closes the connection."""
        self.answers.append((status, body, headers or {}))

    def next_answer(self, asked: Asked) -> tuple[int, Any, dict[str, str]]:
        """Return the answer to a request."""
        if asked.path == "/ims/token/v3":
            self.tokens_asked.append(asked)
            if self.token_answers:
                return self.token_answers.popleft()
            count = len(self.tokens_asked)
            return 200, {"access_token": f"{TOKEN}{count}", "token_type": "bearer", "expires_in": 86399}, {}
        self.asked.append(asked)
        return self.answers.popleft()


@pytest.fixture
def stand() -> Iterator[Stand]:
    """A stand that listens while the test runs."""
    state = Stand()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            parts = urlsplit(self.path)
            asked = Asked(
                self.command,
                parts.path,
                parse_qs(parts.query, keep_blank_values=True),
                dict(self.headers.items()),
                self.rfile.read(length),
            )
            status, body, headers = state.next_answer(asked)
            if body is None:
                self.close_connection = True
                return
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def settings(stand: Stand) -> Settings:
    """Settings that lead to the stand."""
    return Settings(
        client_id="client-1",
        client_secret=Secret(CLIENT_SECRET),
        org_id="1A2B3C4D5E6F70819203A4B5@AdobeOrg",
        sandbox="prod",
        scopes="openid, session",
        platform_url=stand.url,
        ims_url=stand.url,
    )


@pytest.fixture
def naps() -> list[float]:
    """The seconds that the platform's client asked to wait, without waiting."""
    return []


@pytest.fixture
def platform(settings: Settings, naps: list[float]) -> Iterator[Platform]:
    """A platform at the stand."""
    with Platform(settings, sleep=naps.append) as platform:
        yield platform
