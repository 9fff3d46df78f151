"""Captures behind https:// and http:// URLs, using the proxies and CA files of the environment."""

from __future__ import annotations

import io

import requests
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import HTTPError

from chatlio_kit.captures.formats.compression import ByteStream, unpacked
from chatlio_kit.captures.sources.files import Entry
from chatlio_kit.captures.sources.remote import mask_driver_logs, masked, shown
from chatlio_kit.captures.sources.stores import RemoteSource, described, missing, unreadable

_SILENCE = 60.0
"""Seconds without data after which a web server counts as gone; the whole download may take longer."""
_GONE = (404, 410)
_IDENTITY = "identity"
_DECODED = frozenset({"gzip", "x-gzip", "zstd"})
_BLOCK = 1 << 18
_END = 32_000_000
"""Enough bytes for a zip's list of about 300,000 members."""


def look_up(address: str) -> Entry:
    """Return the file behind a URL, with its server's data about it.

    Raises:
        MissingPath: There is nothing at the URL.
        CaptureError: The server refuses or does not respond.
    """
    try:
        with requests.Session() as session:
            answer = _ask(session, "HEAD", address)
            if not answer.ok:  # some servers, and signatures for GET, do not allow HEAD
                answer = _ask(session, "GET", address)
            answer.close()
    except (OSError, ValueError, HTTPError) as wrong:
        raise unreadable(address, _message(wrong, address), _advice(wrong, address)) from None
    if answer.status_code in _GONE:
        raise missing(address)
    if not answer.ok:
        raise unreadable(address, _refusal(answer), _advice_on(answer.status_code))
    length = answer.headers.get("Content-Length", "")
    is_packed = answer.headers.get("Content-Encoding", _IDENTITY) != _IDENTITY
    size = int(length) if length.isdecimal() and not is_packed else None
    return described(WebSource(address, address), (), {**answer.headers, "size": size})


class WebSource(RemoteSource):
    """A file behind a web server's URL."""

    def open(self) -> io.BufferedReader:
        """Open the file as a stream from its start.

        Raises:
            OSError: The file cannot be opened; the message has none of the URL's secrets.
        """
        return self._open()

    def open_end(self) -> io.BufferedReader:
        """Open the last megabytes of the file, or all of it if the server does not send ranges.

        Raises:
            OSError: The file cannot be opened; the message has none of the URL's secrets.
        """
        return self._open(Range=f"bytes=-{_END}")

    def _open(self, **headers: str) -> io.BufferedReader:
        session = requests.Session()
        try:
            answer = _ask(session, "GET", self.address, **headers)
            if not answer.ok:
                raise requests.HTTPError(_refusal(answer))
        except (OSError, ValueError, HTTPError) as wrong:
            session.close()
            raise OSError(_message(wrong, self.address)) from None
        encoding = answer.headers.get("Content-Encoding", _IDENTITY).lower()
        body: io.BufferedReader = io.BufferedReader(_body(session, answer, self.address), _BLOCK)
        if encoding in _DECODED:  # compressed only for transfer; the file itself may be compressed too
            return io.BufferedReader(ByteStream(unpacked(body).read1, body.close))
        if encoding != _IDENTITY:
            body.close()
            raise OSError(f"The server sends it compressed as {encoding!r}, which is not supported")
        return body


def _ask(session: requests.Session, method: str, address: str, **headers: str) -> requests.Response:
    """Send a request; credentials of the URL or of .netrc go only to their own host."""
    mask_driver_logs()
    return session.request(
        method,
        address,
        headers={"Accept-Encoding": _IDENTITY, **headers},
        timeout=(_SILENCE, _SILENCE),
        allow_redirects=True,
        stream=True,
    )


def _body(session: requests.Session, answer: requests.Response, address: str) -> ByteStream:
    """Return a response's bytes as they arrive."""

    def read(size: int) -> bytes:
        try:
            block: bytes = answer.raw.read1(size, decode_content=False) or b""
        except (OSError, ValueError, HTTPError) as wrong:
            raise OSError(_message(wrong, address)) from None
        return block

    def close() -> None:
        answer.close()
        session.close()

    return ByteStream(read, close)


def _message(wrong: BaseException, address: str) -> str:
    """Return the reason why there is no response, without the URL and its secrets."""
    if isinstance(wrong, requests.exceptions.InvalidProxyURL):
        return "the proxy's URL is wrong"
    if isinstance(wrong, requests.exceptions.ProxyError):
        return f"the proxy {_proxy_of(address)} refused the request"
    if isinstance(wrong, requests.exceptions.SSLError):
        return "the server's certificate cannot be verified"
    if isinstance(wrong, requests.ConnectTimeout):
        return f"no connection within {_SILENCE:.0f} seconds"
    if isinstance(wrong, requests.Timeout):
        return f"no answer within {_SILENCE:.0f} seconds"
    if isinstance(wrong, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema | ValueError):
        return "it is not the URL of a web server"
    if isinstance(wrong, requests.TooManyRedirects):
        return "its server redirects endlessly"
    if isinstance(wrong, requests.HTTPError):
        return str(wrong)
    if isinstance(wrong, requests.ConnectionError):
        return "no connection could be made"
    if isinstance(wrong, HTTPError | ConnectionError | TimeoutError):
        return "the server's response was interrupted"
    return masked(str(wrong).rstrip(".") or type(wrong).__name__, address)


def _advice(wrong: BaseException, address: str) -> str:
    if isinstance(wrong, requests.exceptions.ProxyError | requests.exceptions.InvalidProxyURL):
        return "Check HTTPS_PROXY or HTTP_PROXY, or name the host in NO_PROXY if it needs no proxy."
    if isinstance(wrong, requests.exceptions.SSLError):
        return "If your company's own authority signs certificates, name its file in REQUESTS_CA_BUNDLE."
    if isinstance(wrong, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema | ValueError):
        return "Correct it and try again."
    if isinstance(wrong, requests.ConnectionError):
        proxy = _proxy_of(address)
        if proxy:
            return f"Check the URL, the network and the proxy {proxy}."
        return "Check the URL and the network; behind a proxy, name the proxy in HTTPS_PROXY."
    if isinstance(wrong, requests.RequestException):
        return ""
    return "Check REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE, which name the file of trusted authorities."


def _proxy_of(address: str) -> str:
    """Return the proxy that the environment names for a URL, without its password; empty if none."""
    proxy = select_proxy(address, get_environ_proxies(address))
    return shown(proxy if "://" in proxy else f"http://{proxy}") if proxy else ""


def _refusal(answer: requests.Response) -> str:
    reason = f" {answer.reason}" if answer.reason else ""
    return f"its server responds {answer.status_code}{reason}"


def _advice_on(status: int) -> str:
    if status in (401, 403):
        return "Check the user and password in it; if it is signed, its signature may have expired."
    if status == 407:
        return "Add the proxy's user and password to HTTPS_PROXY or HTTP_PROXY."
    return "Try again later, or download the file yourself and name it."
