"""Send requests over HTTP: sessions that leak nothing, time limits, retries, and the platform's clock."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import MaxRetryError, NewConnectionError

from chatlio_kit.aep.masking import mask_http_logs, masked
from chatlio_kit.errors import Unreachable, in_words

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 60.0
MAX_TRIES = 5
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 20.0
LONGEST_RETRY_AFTER = 60.0
_TRANSIENT = frozenset({500, 502, 503, 504})
_DATE_IS_LATE = 2.0
_BLOCK = 1 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Reply:
    """An HTTP response with any status. Its repr shows only the status.

    Attributes:
        status_code: HTTP status.
        content: The body in bytes.
        headers: The headers; lookups ignore case.
    """

    status_code: int
    content: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)

    def json(self) -> Any:
        """Parse the body as JSON.

        Raises:
            ValueError: It is not JSON.
        """
        return orjson.loads(self.content)


@dataclass(frozen=True)
class Silence:
    """A request without a response.

    Attributes:
        reason: The reason, in words, without the URL.
        was_sent: True if the request may have reached the platform.
        is_final: True if a retry would end the same way.
    """

    reason: str
    was_sent: bool
    is_final: bool = False


class FileBody:
    """A file as the body of a request, read again in each attempt and never held in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        return self.path.stat().st_size

    def __iter__(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block


def new_session(base_url: str, connections: int = 10) -> requests.Session:
    """Open a session that keeps connections alive, stores no cookies and reads no credentials from disk.

    Loopback addresses are reached directly, whatever proxy the environment names.
    """
    mask_http_logs()
    session = requests.Session()
    session.auth = _leave_headers_alone  # else requests prefers a .netrc entry to the bearer token
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.trust_env = urlsplit(base_url).scheme == "https"
    adapter = HTTPAdapter(pool_connections=4, pool_maxsize=connections)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def send_once(
    session: requests.Session, method: str, url: str, *, secrets: tuple[str, ...] = (), **parts: Any
) -> Reply | Silence:
    """Send a request once, within time limits.

    Redirects are not followed, because the credential's headers would follow them.

    Returns:
        The response, or the reason why there is none. The exception from ``requests`` is dropped, because its
        text contains the URL.
    """
    try:
        response = session.request(
            method, url, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT), allow_redirects=False, **parts
        )
    except requests.RequestException as error:
        untrusted = isinstance(error, requests.exceptions.SSLError)
        return Silence(masked(_cause(error), *secrets), _was_sent(error), is_final=untrusted)
    except UnicodeError:
        reason = "an id or a name in the settings contains a character that HTTP cannot carry"
        return Silence(reason, was_sent=False, is_final=True)
    except OSError as error:  # requests checks the certificate file itself and raises a plain OSError
        return Silence(_missing_bundle() or error.strerror or "the system failed", False, is_final=True)
    return Reply(response.status_code, response.content, response.headers)


def send(
    session: requests.Session,
    method: str,
    url: str,
    *,
    service: str,
    operation: str,
    sleep: Callable[[float], None],
    may_repeat: bool = True,
    is_local: bool = False,
    secrets: tuple[str, ...] = (),
    **parts: Any,
) -> Reply:
    """Send a request, and retry it while the platform fails temporarily.

    A request that must not be repeated is retried only if the platform is known not to have acted on it.

    Args:
        session: The session.
        method: HTTP verb.
        url: The URL.
        service: The API, for errors.
        operation: The operation, in words that follow "could not", for errors.
        sleep: Waits for a number of seconds.
        may_repeat: True if repeating the request is harmless.
        is_local: True if this is the local platform, for errors.
        secrets: Strings that must not appear in errors.
        parts: Further arguments for ``requests``.

    Returns:
        The last response, whatever its status.

    Raises:
        Unreachable: There was no response.
    """
    tries = 0
    while True:
        tries += 1
        outcome = send_once(session, method, url, secrets=secrets, **parts)
        if isinstance(outcome, Silence):
            is_safe = may_repeat or not outcome.was_sent
            if tries == MAX_TRIES or outcome.is_final or not is_safe:
                raise no_answer(service, operation, outcome, may_repeat=may_repeat, is_local=is_local)
            sleep(pause_before(tries))
        else:
            is_transient = outcome.status_code == 429 or (may_repeat and outcome.status_code in _TRANSIENT)
            if tries == MAX_TRIES or not is_transient:
                return outcome
            sleep(pause_before(tries, retry_after(outcome.headers)))


def pause_before(tries: int, retry_after: str | None = None) -> float:
    """Return the seconds to wait before a retry: exponential with full jitter, at least ``Retry-After``.

    A ``Retry-After`` beyond a minute counts as a minute.
    """
    pause = random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**tries))  # noqa: S311 - no secret
    return max(pause, asked_pause(retry_after))


def asked_pause(retry_after: str | None) -> float:
    """Read ``Retry-After``, whole seconds or an HTTP date, as seconds between 0 and a minute."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_RETRY_AFTER)
    moment = _http_date(text)
    seconds = 0.0 if moment is None else (moment - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def retry_after(headers: Mapping[str, str]) -> str | None:
    """Return a response's ``Retry-After``; a date as the seconds since the ``Date`` of the same response."""
    text = headers.get("Retry-After")
    until, date = _http_date(text), _http_date(headers.get("Date"))
    if until is None or date is None:
        return text
    return str(max(0, round((until - date).total_seconds())))


class PlatformClock:
    """The platform's time, from the ``Date`` of its responses and the monotonic clock in between.

    A ``Date`` is truncated to the second and arrives late, so the latest of several estimates is the most
    accurate.
    """

    def __init__(self) -> None:
        self._ahead: float | None = None

    @property
    def skew(self) -> float | None:
        """Seconds by which the platform's clock is ahead of this machine's; None before it is set."""
        return None if self._ahead is None else (self.now() - datetime.now(UTC)).total_seconds()

    def set(self, date: str | None) -> None:
        """Set the clock by a response's ``Date``, if there is one."""
        moment = _http_date(date)
        if moment is None:
            return
        ahead = moment.timestamp() - time.monotonic()
        if self._ahead is None or not 0 <= self._ahead - ahead <= _DATE_IS_LATE:
            self._ahead = ahead

    def now(self) -> datetime:
        """Return the platform's time, or this machine's before it is set."""
        if self._ahead is None:
            return datetime.now(UTC)
        return _EPOCH + timedelta(seconds=self._ahead + time.monotonic())


def _http_date(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC)


def no_answer(
    service: str, operation: str, silence: Silence, *, may_repeat: bool = True, is_local: bool = False
) -> Unreachable:
    """Return the error for a call without a response; the arguments are those of :func:`send`."""
    advice = "Check the network, any proxy, and the platform's URL."
    if is_local:
        again = in_words("run the command again, which starts it", "open it again: ck.open_platform()")
        advice = f"The local platform has ended; {again}."
    elif (bundle := _missing_bundle()) and silence.reason == bundle:
        advice = "Correct the variable, or unset it."
    elif silence.is_final:
        advice += " If a proxy uses its own certificate, name the certificate's file in REQUESTS_CA_BUNDLE."
    if silence.was_sent and not may_repeat:
        advice += " The platform may have acted on it nevertheless: check before trying again."
    return Unreachable(service, operation, silence.reason, advice=advice)


def _missing_bundle() -> str | None:
    """Return a clause about a variable that names a missing certificate file; None if there is none."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        path = os.environ.get(name)
        if path:
            return None if Path(path).exists() else f"{name} names {path!r}, but there is no such file"
    return None


def _leave_headers_alone(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _was_sent(error: requests.RequestException) -> bool:
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.SSLError):
        return False
    cause = error.args[0] if error.args else None
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    return not isinstance(cause, NewConnectionError)


def _cause(error: requests.RequestException) -> str:
    words: dict[type[requests.RequestException], str] = {
        requests.ConnectTimeout: f"no connection within {CONNECT_TIMEOUT:.0f} seconds",
        requests.ReadTimeout: f"no answer within {READ_TIMEOUT:.0f} seconds",
        requests.exceptions.SSLError: "the certificate of the server could not be verified",
        requests.exceptions.ProxyError: "the proxy refused it",
        requests.exceptions.ChunkedEncodingError: "the response was interrupted",
        requests.exceptions.ContentDecodingError: "the response could not be decoded",
    }
    for kind, text in words.items():
        if isinstance(error, kind):
            return text
    if isinstance(error, requests.ConnectionError):
        return "the connection was interrupted" if _was_sent(error) else "no connection could be made"
    return f"the request failed ({type(error).__name__})"
