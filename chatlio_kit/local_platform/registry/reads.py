"""How the Schema Registry is read: Accept headers, property filters and value-cursor pages.

Source: Schema Registry API guide, "Getting started" and "Appendix".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from ..server import errors as problems
from ..server.filters import ordered, parse_filter
from ..server.reading import whole_number
from ..store import Json

BASE = "/data/foundation/schemaregistry"
DEFAULT_LIMIT = 300
LARGEST_LIMIT = 500
SHORT_KEYS = ("$id", "meta:altId", "version", "title")

_LIST = re.compile(r"application/vnd\.adobe\.xed(-id)?\+json")
_LOOKUP = re.compile(
    r"application/vnd\.adobe\.(xed|xed-full|xed-notext|xed-full-notext|xed-full-desc|xed-deprecatefield)\+json"
    r"\s*;\s*version=1(\.\d+)?"
)
_DESCRIPTOR_LIST = re.compile(r"application/vnd\.adobe\.xdm(-v2)?(-id|-link)?\+json")
_DESCRIPTOR_LOOKUP = re.compile(r"application/vnd\.adobe\.xdm(-v2)?\+json")

_ACCEPT_CODES = {_LIST: "1006", _LOOKUP: "1007", _DESCRIPTOR_LIST: "1008", _DESCRIPTOR_LOOKUP: "1009"}


def _accepted(request: web.Request, form: re.Pattern[str]) -> re.Match[str]:
    accept = request.headers.get("Accept", "").strip()
    match = form.fullmatch(accept)
    if match is None:
        raise problems.schema_registry(
            f"XDM-{_ACCEPT_CODES[form]}-400",
            "Accept header invalid",
            f"The Accept header {accept!r} is not supported for this request.",
        )
    return match


def wants_short_list(request: web.Request) -> bool:
    """Whether a list is asked for in its short form; other Accept headers than a list's are refused."""
    return _accepted(request, _LIST)[1] is not None


def lookup_form(request: web.Request) -> str:
    """The form a lookup asks for, e.g. ``xed-full``; a lookup without a version is refused."""
    return _accepted(request, _LOOKUP)[1]


def descriptor_list_form(request: web.Request) -> str:
    """``-id``, ``-link`` or the empty string for full descriptors."""
    return _accepted(request, _DESCRIPTOR_LIST)[2] or ""


def check_descriptor_lookup(request: web.Request) -> None:
    """Refuse an Accept header of another call; the guide's sample sends none, so ``*/*`` passes."""
    if request.headers.get("Accept", "*/*") != "*/*":
        _accepted(request, _DESCRIPTOR_LOOKUP)


def page(
    request: web.Request, documents: list[Json], shorten: bool, container: str, plural: str, largest: int
) -> Json:
    """One page of a list, filtered by ``property`` and sorted by ``orderby``.

    ``start`` is the last value of the sort key that was seen. A page ends only where that value changes,
    since documents with equal values would be lost between two pages otherwise. ``limit`` is a hint: a page
    holds at most ``largest``.
    """
    for text in request.query.getall("property", []):
        wanted = parse_filter(text)
        if wanted is None or wanted.operator == "~":
            raise problems.schema_registry(
                "XDM-1530-400", "Invalid query parameter", f"Invalid property filter {text}"
            )
        documents = [each for each in documents if wanted.matches(each, any_of=False)]
    order = request.query.get("orderby")
    cursor: str | None = None
    if order:
        documents, cursor = _sorted_page(request, documents, order, largest)
    else:
        documents = documents[:DEFAULT_LIMIT]
    return {
        "results": [_short(each) for each in documents] if shorten else documents,
        "_page": {"orderby": order or "updated", "next": cursor, "count": len(documents)},
        "_links": {
            "next": _next_link(request, cursor),
            "global_schemas": {"href": f"{request.scheme}://{request.host}{BASE}/global/schemas"},
        }
        if (container, plural) == ("tenant", "schemas")
        else {"next": _next_link(request, cursor)},
    }


def _sorted_page(
    request: web.Request, documents: list[Json], order: str, largest: int
) -> tuple[list[Json], str | None]:
    key = order.strip().lstrip("+-")
    documents = ordered(documents, (key, order.strip().startswith("-")))
    start = request.query.get("start")
    if start is not None:
        documents = _after(documents, lambda each: _cursor(each, key) == start)
    limit = min(_limit(request), largest)
    end = limit
    while 0 < end < len(documents) and _cursor(documents[end], key) == _cursor(documents[end - 1], key):
        end += 1
    more = 0 < end < len(documents)
    return documents[:end], _cursor(documents[end - 1], key) if more else None


def _after(documents: list[Json], is_cursor: Callable[[Json], bool]) -> list[Json]:
    places = [place for place, each in enumerate(documents) if is_cursor(each)]
    return documents[places[-1] + 1 :] if places else []


def _cursor(document: Json, key: str) -> str:
    return str(document.get(key, ""))


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(DEFAULT_LIMIT))
    limit = whole_number(text)
    if limit is None or limit > LARGEST_LIMIT:
        raise problems.schema_registry("XDM-1530-400", "Invalid query parameter", f"Invalid limit {text}")
    return limit


def _next_link(request: web.Request, cursor: str | None) -> Json | None:
    if cursor is None:
        return None
    query = [(key, value) for key, value in request.query.items() if key != "start"]
    return {
        "href": f"{request.scheme}://{request.host}{request.path}?{urlencode([*query, ('start', cursor)])}"
    }


def _short(document: Json) -> Json:
    return {key: document[key] for key in SHORT_KEYS if key in document}


def without_text(node: Any) -> Any:
    """A schema without the titles and descriptions of its fields."""
    if isinstance(node, list):
        return [without_text(each) for each in node]
    if not isinstance(node, dict):
        return node
    dropped = ("title", "description") if isinstance(node.get("title", ""), str) else ()
    return {key: without_text(value) for key, value in node.items() if key not in dropped}
