"""Experience Platform's APIs, with one credential."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any

from chatlio_kit.aep.access_control import AccessControl, Sandboxes
from chatlio_kit.aep.batch_ingestion import BatchIngestion
from chatlio_kit.aep.catalog import Catalog
from chatlio_kit.aep.data_access import DataAccess
from chatlio_kit.aep.data_prep import MappingSets
from chatlio_kit.aep.flow_service import FlowService
from chatlio_kit.aep.http import Reply
from chatlio_kit.aep.identity import Namespaces, WorkOrders
from chatlio_kit.aep.ingestion import Inlet
from chatlio_kit.aep.observability import Observability
from chatlio_kit.aep.schema_registry import SchemaRegistry
from chatlio_kit.aep.transport import Transport
from chatlio_kit.display import Sheet, SheetDisplay
from chatlio_kit.settings import Secret, Settings


class Platform(SheetDisplay):
    """One sandbox of Experience Platform, seen with one credential.

    Nothing is sent before the first call.

    Attributes:
        settings: Endpoints and credential.
        schemas: Schema Registry.
        catalog: Datasets and batches.
        mapping_sets: Data Prep.
        flows: Flow Service.
        access: The credential's permissions.
        data_access: Files of batches.
        batches: Batch ingestion.
        sandboxes: The sandboxes that the credential may use.
        namespaces: Identity Service.
        work_orders: Data Hygiene.
        observability: The platform's own counters.
        sleep: Waits for a number of seconds.
    """

    def __init__(self, settings: Settings, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.settings = settings
        self.sleep = sleep
        self._transport = Transport(settings, sleep)
        self.schemas = SchemaRegistry(self._transport)
        self.catalog = Catalog(self._transport)
        self.mapping_sets = MappingSets(self._transport)
        self.flows = FlowService(self._transport)
        self.access = AccessControl(self._transport)
        self.data_access = DataAccess(self._transport)
        self.batches = BatchIngestion(self._transport)
        self.sandboxes = Sandboxes(self._transport)
        self.namespaces = Namespaces(self._transport)
        self.work_orders = WorkOrders(self._transport)
        self.observability = Observability(self._transport)

    def sign_in(self) -> None:
        """Fetch an access token, unless a valid one is cached.

        Raises:
            AuthenticationFailed: The identity service refused the credential or its scopes.
            Unreachable: The identity service did not respond.
        """
        self._transport.tokens.current()

    def inlet(self, url: Secret, flow_id: str, *, connections: int = 16) -> Inlet:
        """Open a dataflow's inlet, with a token if it requires one.

        Args:
            url: The inlet's URL.
            flow_id: The dataflow.
            connections: Maximum number of open connections.
        """
        tokens, sandbox = self._transport.tokens, self.settings.sandbox
        return Inlet(url, flow_id, connections=connections, tokens=tokens, sandbox=sandbox)

    def ask(self, method: str, path: str, **parts: Any) -> Reply:
        """Make any call of the REST APIs and return its response with any status.

        Args:
            method: HTTP verb.
            path: Path below the platform's URL.
            parts: ``query``, ``body``, ``headers`` and ``repeatable``, as in
                ``Transport.ask``.

        Raises:
            Unreachable: There was no response.
        """
        return self._transport.ask("Experience Platform", f"answer {method} {path}", method, path, **parts)

    @property
    def clock_skew(self) -> float | None:
        """Seconds by which the platform's clock is ahead of this machine's; None if not yet known."""
        return self._transport.clock.skew

    def now(self) -> datetime:
        """Return the platform's time, taken from its responses, or this machine's if they give none.

        Changing this machine's clock does not affect it, because the monotonic clock counts between
        responses.
        """
        return self._transport.clock.now()

    @property
    def tells_time(self) -> bool:
        """True if a response of the platform has included its time."""
        return self._transport.clock.skew is not None

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Platform:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def sheet(self) -> Sheet:
        """List the platform and the credential as a table; the secret stays hidden."""
        settings = self.settings
        rows = [
            ("organisation", settings.org_id),
            ("sandbox", settings.sandbox),
            ("client id", settings.client_id),
            ("client secret", str(settings.client_secret)),
        ]
        return Sheet(f"Platform {settings.platform_name}", ("", ""), rows)
