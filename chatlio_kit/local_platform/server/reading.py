"""What every request must pass before a service sees it, and how much of a request is read.

Web pages reach the loopback interface through the browser of the user, with another site's name in ``Host``
when that name was bound to 127.0.0.1 (DNS rebinding), or with an ``Origin`` (CSRF). Programs send neither.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import orjson
from aiohttp import web

from ..store import Json
from . import errors as problems

LARGEST_BODY = 16_000_000
DEEPEST_BODY = 100
_LARGEST_NUMBER = 2**53
_LOOPBACK = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE | re.ASCII)
_BY_HAND = ("none", "same-origin")


def check_caller(request: web.Request) -> None:
    """Reject what no client of this machine sends: other hosts' names, a browser's pages, packed bodies.

    Raises:
        Refused: with 403, or with 415 for a packed body.
    """
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 or not _LOOPBACK.fullmatch(hosts[0]):
        raise problems.generic(403, "Forbidden", "The Host header must name the loopback interface")
    if "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") not in _BY_HAND:
        raise problems.generic(403, "Forbidden", "Web pages may not call this server")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise problems.generic(415, "Unsupported Media Type", "A compressed body is not accepted")


async def read_body(request: web.Request, seconds: float, most: int = LARGEST_BODY) -> bytes:
    """Return the body of a request.

    Raises:
        Refused: the body is larger than ``most`` bytes, or takes longer than ``seconds`` to arrive.
    """
    try:
        if (request.content_length or 0) <= most:
            async with asyncio.timeout(seconds):
                body = await request.read()
            if len(body) <= most:
                return body
    except TimeoutError as error:
        slow = problems.generic(408, "Request Timeout", f"The body did not arrive within {seconds:g} seconds")
        slow.headers["Connection"] = "close"
        raise slow from error
    large = problems.generic(413, "Request entity too large", f"The body is larger than {most} bytes")
    large.headers["Connection"] = "close"
    raise large


def parsed(text: bytes) -> Any:
    """Return the JSON of a body.

    Raises:
        Refused: the body is no JSON, or nests deeper than any schema does.
    """
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise problems.generic(400, "BadRequestError", f"The body is not valid JSON: {error}") from error
    if is_deep(body):
        raise problems.generic(400, "BadRequestError", f"The body nests more than {DEEPEST_BODY} levels deep")
    return body


def is_deep(value: Any) -> bool:
    """Whether a JSON value nests deeper than is accepted; it is walked level by level, without recursion."""
    level = [value]
    for _ in range(DEEPEST_BODY + 1):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        level = [each for each in inner if isinstance(each, dict | list)]
        if not level:
            return False
    return True


def object_of(body: Any) -> Json:
    """Return a body that must be a JSON object.

    Raises:
        Refused: it is something else.
    """
    if not isinstance(body, dict):
        raise problems.generic(400, "BadRequestError", "The body must be a JSON object")
    return body


def whole_number(text: str) -> int | None:
    """Return the number that a query parameter holds; None unless it is one, in digits that JSON knows."""
    if not text.isascii() or not text.isdecimal() or len(text) > 20 or int(text) > _LARGEST_NUMBER:
        return None
    return int(text)


class WithoutRequests(logging.Filter):
    """Keeps what a malformed request held, a token perhaps, out of the server's log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave the error's type and drop its words."""
        if record.exc_info and record.exc_info[0] is not None:
            record.msg = f"{record.getMessage()} ({record.exc_info[0].__name__})"
            record.args, record.exc_info, record.exc_text = (), None, None
        return True
