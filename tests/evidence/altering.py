"""A proxy that alters the local platform's answers, as another version of Adobe's platform might."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import requests

from chatlio_kit.local_platform import RunningPlatform

_HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "server", "content-encoding"}


@dataclass
class Exchange:
    """A request, and the answer that an alteration may change.

    Attributes:
        body: the answer's JSON; None when it is none.
    """

    method: str
    path: str
    query: str
    status: int
    headers: dict[str, str]
    content: bytes
    body: Any = field(init=False)

    def __post_init__(self) -> None:
        try:
            self.body = json.loads(self.content)
        except ValueError:
            self.body = None

    def is_call(self, method: str, end: str) -> bool:
        """Return whether the request is this call."""
        return self.method == method and self.path.endswith(end)


Alteration = Any  # a function of an exchange


@contextmanager
def altered(
    server: RunningPlatform, alterations: Sequence[Alteration], struck: set[str] | None = None
) -> Iterator[RunningPlatform]:
    """Serve a running platform under another address, with altered answers.

    Args:
        server: the platform.
        alterations: change answers, one after another.
        struck: takes the names of those that did.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet
        disable_nagle_algorithm = True

        def answer(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            got = session.request(self.command, server.url + self.path, data=sent or None, headers=headers)
            parts = urlsplit(self.path)
            kept = {name: value for name, value in got.headers.items() if name.lower() not in _HOP_BY_HOP}
            exchange = Exchange(self.command, parts.path, parts.query, got.status_code, kept, got.content)
            for alter in alterations:
                before = (exchange.status, json.dumps(exchange.body))
                alter(exchange)
                if struck is not None and before != (exchange.status, json.dumps(exchange.body)):
                    struck.add(alter.__name__)
            content = exchange.content if exchange.body is None else json.dumps(exchange.body).encode()
            self.send_response(exchange.status)
            for name, value in exchange.headers.items():
                self.send_header(name, value)
            content = content.replace(server.url.encode(), url.encode())
            if exchange.status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(b"" if exchange.status == 204 else content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Log nothing."""

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.daemon_threads = True
    url = f"http://127.0.0.1:{proxy.server_address[1]}"
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    with requests.Session() as session:
        try:
            yield replace(server, url=url)
        finally:
            proxy.shutdown()
            thread.join()
            proxy.server_close()
