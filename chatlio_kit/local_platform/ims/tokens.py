"""Access tokens: ``POST /ims/token/v3`` with the client credentials grant.

Source: Adobe Developer Console guides, "Server to server authentication: IMS API".
"""

from __future__ import annotations

import base64
import secrets
import time
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from ..server import errors as problems
from ..server.service import Service, answer, read_body

_LARGEST_FORM, _MOST_FIELDS = 64_000, 100


class Ims(Service):
    """Issues access tokens."""

    def routes(self) -> list[web.RouteDef]:
        """Return the calls of this service."""
        return [web.post("/ims/token/v3", self.token)]

    async def token(self, request: web.Request) -> web.Response:
        """Exchange client id and secret for a token; parameters are in the form or the query."""
        asked = {**request.query}
        if request.content_type == "application/x-www-form-urlencoded":
            body = await read_body(request, self._context.options.body_seconds, _LARGEST_FORM)
            try:
                form = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
            except ValueError as error:
                raise problems.ims("invalid_request", "the form cannot be read") from error
            asked.update(form)
        account = self._context.account
        if not asked.get("grant_type"):
            raise problems.ims("invalid_request", "grant_type is missing")
        if asked["grant_type"] != "client_credentials":
            raise problems.ims("unsupported_grant_type", "grant_type must be client_credentials")
        if asked.get("client_id") != account.client_id:
            raise problems.ims("invalid_client", "invalid client_id parameter")
        given = asked.get("client_secret", "").encode()
        if not secrets.compare_digest(given, account.client_secret.encode()):
            raise problems.ims("invalid_client", "invalid client_secret parameter")
        scopes = [scope.strip() for scope in asked.get("scope", "").split(",")]
        unknown = [scope for scope in scopes if scope not in account.scopes]
        if unknown:
            raise problems.ims("invalid_scope", f"scope not granted to this credential: {','.join(unknown)}")
        lifetime = self._context.options.token_lifetime
        token = _signed_looking({"client_id": account.client_id, "as": "ims-na1", "scope": ",".join(scopes)})
        self._context.store.keep_token(token, time.time() + lifetime)
        return answer({"access_token": token, "token_type": "bearer", "expires_in": lifetime})


def _signed_looking(claims: dict[str, str]) -> str:
    """Return three dotted parts, as in a JWT; only the last, random part is ever checked."""
    header = {"alg": "RS256", "typ": "at+jwt"}
    parts = [base64.urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=").decode() for part in (header, claims)]
    return ".".join([*parts, secrets.token_urlsafe(48)])
