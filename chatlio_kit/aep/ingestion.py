"""Streaming ingestion: post request bodies to a dataflow's inlet.

An inlet may require a token (``authenticationRequired``): it then responds 401 or 403 to requests without a
token or with an expired one. The caller interprets every other response. Source: Streaming ingestion API
reference; HTTP API source.
"""

from __future__ import annotations

from types import TracebackType
from urllib.parse import urlsplit

from chatlio_kit.aep.flow_service import FLOW_ID_HEADER
from chatlio_kit.aep.http import Reply, Silence, new_session, no_answer, send_once
from chatlio_kit.aep.ims import Tokens
from chatlio_kit.aep.masking import masked_url
from chatlio_kit.errors import PlatformError
from chatlio_kit.settings import Secret, require_safe_url, sealed

_SERVICE = "Streaming ingestion"
_REFUSED = frozenset({401, 403})
_SINGLE, _BATCH = "/collection/", "/collection/batch/"


class Inlet:
    """The streaming endpoint of one dataflow; thread-safe.

    Args:
        url: The inlet's URL, ``https://.../collection/{inlet id}``.
        flow_id: The dataflow, sent as the header ``x-adobe-flow-id``.
        connections: Maximum number of open connections.
        tokens: The credential's token, for an inlet that requires one.
        sandbox: The sandbox, sent with the token.
    """

    @sealed
    def __init__(
        self,
        url: Secret,
        flow_id: str,
        *,
        connections: int = 16,
        tokens: Tokens | None = None,
        sandbox: str = "",
    ) -> None:
        address = url.reveal()
        require_safe_url(address, "The inlet's URL")
        if _SINGLE not in urlsplit(address).path:
            raise PlatformError(
                _SERVICE,
                "open the inlet",
                "its URL has no /collection/ part",
                advice="Read the dataflow again; its inletUrl must point to the streaming endpoint.",
            )
        self.flow_id = flow_id
        self._single = Secret(address)
        self._batch = Secret(address if _BATCH in address else address.replace(_SINGLE, _BATCH, 1))
        self._headers = {"Content-Type": "application/json", FLOW_ID_HEADER: flow_id}
        self._session = new_session(address, connections)
        self._tokens = tokens
        self._sandbox = sandbox
        self._token: Secret | None = None

    def post_batch(self, body: bytes) -> Reply:
        """Post ``{"messages": [...]}`` to the batch path and return the response, whatever its status.

        Raises:
            Unreachable: There was no response; the records may have arrived nevertheless.
        """
        return self._post("take the batch", self._batch, body)

    def post_single(self, body: bytes) -> Reply:
        """Post one record and return the response, whatever its status.

        Raises:
            Unreachable: There was no response; the record may have arrived nevertheless.
        """
        return self._post("take the record", self._single, body)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def __enter__(self) -> Inlet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Inlet({masked_url(self._single)}, flow {self.flow_id})"

    @sealed
    def _post(self, operation: str, url: Secret, body: bytes) -> Reply:
        token = self._token
        reply = self._post_once(operation, url, body, token)
        if reply.status_code in _REFUSED and self._tokens is not None:
            if token is not None:
                self._tokens.discard(token)
            try:
                self._token = self._tokens.current()
            except PlatformError:  # the inlet's own response says more
                return reply
            reply = self._post_once(operation, url, body, self._token)
        return reply

    def _post_once(self, operation: str, url: Secret, body: bytes, token: Secret | None) -> Reply:
        headers = dict(self._headers)
        if token is not None:
            # The reference names x-sandbox-name, but Journey Optimizer's recipe names sandbox-name.
            headers |= {"Authorization": f"Bearer {token.reveal()}"}
            headers |= dict.fromkeys(("x-sandbox-name", "sandbox-name"), self._sandbox)
        secrets = (token.reveal(),) if token is not None else ()
        outcome = send_once(self._session, "POST", url.reveal(), secrets=secrets, data=body, headers=headers)
        if isinstance(outcome, Silence):
            raise no_answer(_SERVICE, operation, outcome)
        return outcome
