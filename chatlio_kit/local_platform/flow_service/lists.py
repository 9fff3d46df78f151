"""Lists of Flow Service: property filters, order, pages with a continuation token, and counts.

Source: Dataflows API guide, "Sort and filter responses".
"""

from __future__ import annotations

import base64
import binascii
from urllib.parse import urlencode

import orjson
from aiohttp import web
from multidict import MultiDict

from ..server import errors as problems
from ..server.filters import ordered, parse_filter
from ..server.reading import whole_number
from ..store import Json

DEFAULT_LIMIT = 100


def listed(request: web.Request, plural: str, documents: list[Json], largest: int) -> Json:
    """The documents a list call asks for: ``items``, at most ``largest``, with ``_links``; or a ``count``."""
    query, offset = _query(request)
    counting = query.get("count", "").lower() == "true"
    if counting and "limit" in query:
        raise _bad("1401-400", "limit cannot be used together with count")
    for text in query.getall("property", []):
        documents = _filtered(documents, text)
    if counting:
        return {"count": len(documents)}
    documents = _ordered(documents, query.get("orderby"))
    text = query.get("limit", str(DEFAULT_LIMIT))
    limit = whole_number(text)
    if not limit:
        raise _bad("1448-400", f"limit must be a positive number, not {text}")
    end = offset + min(limit, largest)
    links: Json = {}
    if end < len(documents):
        token = base64.urlsafe_b64encode(orjson.dumps({"offset": end, "query": list(query.items())})).decode()
        links = {"next": {"href": f"/{plural}?{urlencode({'continuationToken': token})}"}}
    return {"items": documents[offset:end], "_links": links}


def _query(request: web.Request) -> tuple[MultiDict[str], int]:
    """The query and where the page starts; a continuation token stands for the query it came from."""
    token = request.query.get("continuationToken")
    if token is None:
        return MultiDict(request.query), 0
    try:
        content = orjson.loads(base64.urlsafe_b64decode(token.encode()))
        query = MultiDict([(str(key), str(value)) for key, value in content["query"]])
        offset = whole_number(str(content["offset"]))
    except (binascii.Error, orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise _bad("1449-400", "The continuationToken is not valid") from error
    if offset is None:
        raise _bad("1449-400", "The continuationToken is not valid")
    return query, offset


def _filtered(documents: list[Json], text: str) -> list[Json]:
    wanted = parse_filter(text)
    if wanted is None or wanted.operator in (None, "!="):
        raise _bad("1448-400", f"Invalid filter expression {text}")
    if wanted.operator == "~":
        raise _bad("1440-400", "The operator ~ is not implemented")
    if wanted.operator != "==" and "," in wanted.value:
        raise _bad("1443-400", f"The operator {wanted.operator} takes a single value")
    return [each for each in documents if wanted.matches(each, any_of=True)]


def _ordered(documents: list[Json], order: str | None) -> list[Json]:
    if order is None:
        return documents
    orders: list[tuple[str, bool]] = []
    for text in order.split(","):
        sign, name = text[:1], text.lstrip("+- ")
        if not name or " " in name or len(text) - len(name) > 1:
            raise _bad("1432-400", f"Invalid orderby {order}")
        orders.append((name, sign == "-"))
    return ordered(documents, *orders)


def _bad(code: str, message: str) -> problems.ApiError:
    return problems.flow_service(code, "Invalid request", message)
