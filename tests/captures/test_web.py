"""Captures behind web servers: proxies, certificates, redirects, and interrupted responses."""

from __future__ import annotations

import gzip
import random
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from chatlio_kit.captures import Captures, find_files
from chatlio_kit.cli import main
from chatlio_kit.errors import CaptureError, ChatlioKitError, MissingPath, UsageError

LINE = b'{"n": 1}\n'
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


Answer = Callable[["_Handler"], None]


class _Handler(BaseHTTPRequestHandler):
    answer: Answer
    asked: list[tuple[str, str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.command, self.path, self.headers["Authorization"]))
        type(self).answer(self)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass

    def give(self, content: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        """Send the given content, whatever length is declared."""
        self.send_response(status)
        for name, value in {"Content-Length": str(length or len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)
        self.close_connection = True


@contextmanager
def _serving(answer: Answer, context: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[Any]]]:
    handler = type("Handler", (_Handler,), {"answer": staticmethod(answer), "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}", handler.asked
    server.shutdown()
    thread.join()
    server.server_close()


def _read(address: str) -> tuple[int, list[str]]:
    captures = Captures([address])
    rejected = [
        f"{rejection.reason}: {rejection.detail}"
        for piece in captures.batches()
        for rejection in piece.rejected
    ]
    return sum(captures.read.values()) - len(rejected), rejected


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that only the proxy knows is read through it; NO_PROXY and an unreachable proxy are reported."""
    with _serving(lambda handler: handler.give(LINE * 3)) as (proxy, asked):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        assert _read("http://captures.invalid/a.ndjson") == (3, [])
        assert {path for _, path, _ in asked} == {"http://captures.invalid/a.ndjson"}
        monkeypatch.setenv("NO_PROXY", "captures.invalid")
        with pytest.raises(CaptureError, match="no connection could be made"):
            find_files(["http://captures.invalid/a.ndjson"])
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTP_PROXY", proxy.replace("//", "//me:password@"))
    with pytest.raises(CaptureError, match=rf"the proxy {proxy}.*HTTP_PROXY.*NO_PROXY") as error:
        find_files(["http://captures.invalid/a.ndjson"])
    assert "password" not in str(error.value)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_an_authority_of_the_environment_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """An unknown certificate is refused, and the message names the variable that settles it."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with _serving(lambda handler: handler.give(LINE * 3), context) as (address, _):
        with pytest.raises(CaptureError, match=r"certificate cannot be verified.*REQUESTS_CA_BUNDLE"):
            find_files([address])
        monkeypatch.setenv(variable, str(tmp_path / "nowhere.pem"))
        with pytest.raises(CaptureError, match=r"nowhere\.pem.*CURL_CA_BUNDLE"):
            find_files([address])
        monkeypatch.setenv(variable, str(certificate))
        assert _read(f"{address}/a.ndjson") == (3, [])


def test_a_password_goes_to_its_own_host_only() -> None:
    """A redirect to another host is followed without the user and password in the URL."""
    with _serving(lambda handler: handler.give(LINE)) as (other, asked_there):
        there = other.replace("127.0.0.1", "localhost")
        redirect = {"Location": f"{there}/b"}
        with _serving(lambda handler: handler.give(b"", 302, **redirect)) as (address, asked_here):
            assert _read(address.replace("//", "//me:password@") + "/a") == (1, [])
    assert {secret is None for _, _, secret in asked_here} == {False}
    assert {secret for _, _, secret in asked_there} == {None}


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_an_answer_that_ends_early_gives_what_came(pack: Callable[[bytes], bytes]) -> None:
    """The records before the end of the response are read, and the break is one unreadable record."""
    noise = random.Random(1)
    content = pack(b"".join(b'{"n": "%s"}\n' % noise.randbytes(200).hex().encode() for _ in range(90)))
    half = len(content) // 2
    with _serving(lambda handler: handler.give(content[:half], length=len(content))) as (address, _):
        count, rejected = _read(f"{address}/a.ndjson")
    assert 20 <= count < 60
    assert len(rejected) == 1
    assert rejected[0].startswith("unreadable: The file breaks off here")


def test_compression_in_transit_is_removed() -> None:
    """A file that its server sends as gzip is read, whether compressed itself or not."""
    for content in (gzip.compress(LINE * 5), gzip.compress(gzip.compress(LINE * 5))):
        with _serving(lambda handler, content=content: handler.give(content, Content_Encoding="gzip")) as (
            address,
            _,
        ):
            assert _read(f"{address}/a.ndjson.gz") == (5, [])


@pytest.mark.parametrize(
    ("status", "expected"),
    [(403, "403 .*signature may have expired"), (407, "407 .*HTTPS_PROXY"), (500, "500 .*Try again later")],
)
def test_a_refusal_is_reported_in_one_sentence(status: int, expected: str) -> None:
    """A server's refusal is reported with the next step; 404 and 410 mean a missing path."""
    with _serving(lambda handler: handler.give(b"", status)) as (address, _):
        with pytest.raises(CaptureError, match=expected) as error:
            find_files([f"{address}/a?sig=SECRET"])
        assert "SECRET" not in str(error.value)
    for gone in (404, 410):
        with (
            _serving(lambda handler, gone=gone: handler.give(b"", gone)) as (address, _),
            pytest.raises(MissingPath, match="nothing at"),
        ):
            find_files([f"{address}/a?sig=SECRET"])


def test_a_server_without_head_is_read() -> None:
    """If HEAD is refused, as signatures for GET do, GET provides the same information."""

    def answer(handler: _Handler) -> None:
        handler.give(LINE * 2, 200 if handler.command == "GET" else 403)

    with _serving(answer) as (address, _):
        (file,) = find_files([f"{address}/a.ndjson"]).files
        assert file.size == len(LINE) * 2
        assert _read(f"{address}/a.ndjson") == (2, [])


@pytest.mark.parametrize(
    "address",
    ["https://[bad", "https://", "https://host:99999999/x", "https://me:pass[word@/x", "s3://", "http://a b/",
     "zip://a::https://me:password@host/b.zip", "simplecache::https://me:password@host/b", "memory://"],
)  # fmt: skip
def test_a_wrong_address_is_reported_in_one_sentence(tmp_path: Path, address: str) -> None:
    """Any faulty URL is reported without a traceback and without its password."""
    with pytest.raises(ChatlioKitError) as error:
        find_files([address])
    assert "pass" not in str(error.value)
    done = CliRunner().invoke(main, ["convert", address, "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, SystemExit)
    assert "Traceback" not in done.output
    assert "pass" not in done.output


def test_a_chain_of_addresses_is_wrong_usage() -> None:
    """Nested file system URLs are refused with the next step."""
    with pytest.raises(UsageError, match="Name the file itself"):
        find_files(["zip://a::https://host/b.zip"])
