"""Captures behind https:// and http:// addresses; proxies and CA files of the environment count."""

from __future__ import annotations

import io
from typing import Any

import requests
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import HTTPError

from chatlio_kit.captures.formats.compression import MAGIC_BYTES, unpacked
from chatlio_kit.captures.sources.driver_logs import mask_driver_logs
from chatlio_kit.captures.sources.remote import masked, shown
from chatlio_kit.captures.sources.stores import Listed, described, missing, unreadable

_SILENCE = 60.0
"""Seconds without a byte after which a web server counts as gone; the whole may take as long as it takes."""
_GONE = (404, 410)
_AS_IT_IS = "identity"
_UNDONE = frozenset({"gzip", "x-gzip", "zstd"})
_BLOCK = 1 << 18


def look_up(address: str) -> Listed:
    """Describe a file behind a URL by what its server says before it sends it.

    Raises:
        MissingPath: when there is nothing there.
        CaptureError: when the server refuses or does not answer.
    """
    try:
        with requests.Session() as session:
            answer = _ask(session, "HEAD", address)
            if not answer.ok:  # not every server, and no signature for GET, allows HEAD
                answer = _ask(session, "GET", address)
            answer.close()
    except (OSError, ValueError, HTTPError) as wrong:
        raise unreadable(address, _words(wrong, address), _advice(wrong, address)) from None
    if answer.status_code in _GONE:
        raise missing(address)
    if not answer.ok:
        raise unreadable(address, _refusal(answer), _advice_on(answer.status_code))
    length = answer.headers.get("Content-Length", "")
    is_packed = answer.headers.get("Content-Encoding", _AS_IT_IS) != _AS_IT_IS
    size = int(length) if length.isdecimal() and not is_packed else None
    return described(address, (), {**answer.headers, "size": size})


def open_page(address: str) -> io.BufferedReader:
    """Open a file behind a URL for reading; it comes as a stream from its start.

    Raises:
        OSError: when it cannot be opened, without what is secret in the URL.
    """
    session = requests.Session()
    try:
        answer = _ask(session, "GET", address)
        if not answer.ok:
            raise requests.HTTPError(_refusal(answer))
    except (OSError, ValueError, HTTPError) as wrong:
        session.close()
        raise OSError(_words(wrong, address)) from None
    encoding = answer.headers.get("Content-Encoding", _AS_IT_IS).lower()
    body: io.BufferedReader = io.BufferedReader(_Body(session, answer, address), _BLOCK)
    if encoding in _UNDONE:
        return io.BufferedReader(_Decoded(unpacked(body)))
    if encoding != _AS_IT_IS:
        body.close()
        raise OSError(f"The server sends it packed as {encoding!r}, which is not read")
    return body


def _ask(session: requests.Session, method: str, address: str) -> requests.Response:
    """Send a request; a user and password of the URL, and a .netrc entry, go to their own host only."""
    mask_driver_logs()
    return session.request(
        method,
        address,
        headers={"Accept-Encoding": _AS_IT_IS},
        timeout=(_SILENCE, _SILENCE),
        allow_redirects=True,
        stream=True,
    )


class _Body(io.RawIOBase):
    """An answer's bytes as they come, up to where it breaks off."""

    def __init__(self, session: requests.Session, answer: requests.Response, address: str) -> None:
        self._session, self._answer, self._address = session, answer, address
        self._is_started = False
        self._broken: str | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._next(len(buffer))
        # What a file holds is known by its first bytes, and they may come one by one.
        while not self._is_started and len(block) < MAGIC_BYTES:
            more = self._next(len(buffer) - len(block)) if self._broken is None else b""
            if not more:
                break
            block += more
        self._is_started = True
        if not block and self._broken is not None:
            raise OSError(self._broken)
        buffer[: len(block)] = block
        return len(block)

    def _next(self, size: int) -> bytes:
        if self._broken is not None:
            return b""
        try:
            block: bytes = self._answer.raw.read1(size, decode_content=False) or b""
        except (OSError, ValueError, HTTPError) as wrong:
            self._broken = _words(wrong, self._address)
            return b""
        return block

    def close(self) -> None:
        if not self.closed:
            self._answer.close()
            self._session.close()
        super().close()


class _Decoded(io.RawIOBase):
    """A body that was packed for its way only: what is in it may be packed by itself."""

    def __init__(self, body: io.BufferedReader) -> None:
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._body.read1(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._body.close()
        super().close()


def _words(wrong: BaseException, address: str) -> str:
    """Say why there is no answer, without the URL and what is secret in it."""
    if isinstance(wrong, requests.exceptions.InvalidProxyURL):
        return "the proxy's address is wrong"
    if isinstance(wrong, requests.exceptions.ProxyError):
        return f"the proxy {_proxy_of(address)} did not let the request through"
    if isinstance(wrong, requests.exceptions.SSLError):
        return "the server's certificate cannot be verified"
    if isinstance(wrong, requests.ConnectTimeout):
        return f"no connection within {_SILENCE:.0f} seconds"
    if isinstance(wrong, requests.Timeout):
        return f"no answer within {_SILENCE:.0f} seconds"
    if isinstance(wrong, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema | ValueError):
        return "it is no address of a web server"
    if isinstance(wrong, requests.TooManyRedirects):
        return "its server redirects without end"
    if isinstance(wrong, requests.HTTPError):
        return str(wrong)
    if isinstance(wrong, requests.ConnectionError):
        return "no connection could be made"
    if isinstance(wrong, HTTPError | ConnectionError | TimeoutError):
        return "the server's answer broke off"
    return masked(str(wrong).rstrip(".") or type(wrong).__name__, address)


def _advice(wrong: BaseException, address: str) -> str:
    if isinstance(wrong, requests.exceptions.ProxyError | requests.exceptions.InvalidProxyURL):
        return "Check HTTPS_PROXY or HTTP_PROXY, or name the host in NO_PROXY if it needs no proxy."
    if isinstance(wrong, requests.exceptions.SSLError):
        return "Where a company's own authority signs certificates, name its file in REQUESTS_CA_BUNDLE."
    if isinstance(wrong, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema | ValueError):
        return "Correct it and try again."
    if isinstance(wrong, requests.ConnectionError):
        proxy = _proxy_of(address)
        if proxy:
            return f"Check the address, the network and the proxy {proxy}."
        return "Check the address and the network; where the web is behind a proxy, name it in HTTPS_PROXY."
    if isinstance(wrong, requests.RequestException):
        return ""
    return "Check REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE, which name the file of trusted authorities."


def _proxy_of(address: str) -> str:
    """Return the proxy that the environment names for a URL, without its password; empty for none."""
    proxy = select_proxy(address, get_environ_proxies(address))
    return shown(proxy if "://" in proxy else f"http://{proxy}") if proxy else ""


def _refusal(answer: requests.Response) -> str:
    reason = f" {answer.reason}" if answer.reason else ""
    return f"its server answers {answer.status_code}{reason}"


def _advice_on(status: int) -> str:
    if status in (401, 403):
        return "Check the user and password in it; if it is signed, its signature may have expired."
    if status == 407:
        return "Write the proxy's user and password into HTTPS_PROXY or HTTP_PROXY."
    return "Try again later, or fetch the file by hand and name it."
