"""A server: the gateway, all services, and the lake behind them."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from ..batch_ingestion.routes import BatchIngestion
from ..batch_ingestion.uploads import PROCESSED, remove_leftovers
from ..catalog.observability import Observability
from ..catalog.routes import Catalog
from ..data_prep.routes import DataPrep
from ..faults.plan import FaultPlan, Faults
from ..flow_service.routes import FlowService
from ..ims.access_control import AccessControl
from ..ims.account import LocalAccount, Options
from ..ims.sandboxes import Sandboxes
from ..ims.tokens import Ims
from ..ingestion.routes import Inbox, Ingestion
from ..lake.data_access import DataAccess
from ..lake.lake import Lake
from ..profile.namespaces import Namespaces
from ..profile.previews import Previews
from ..profile.work_orders import WorkOrders
from ..registry.descriptors import Descriptors
from ..registry.routes import SchemaRegistry
from ..store import BatchFilter, Store
from .gateway import Gateway
from .process import IDENTITY_PATH
from .service import LARGEST_BODY, Context, Handler, answer

LINGERING = 1.0
"""Seconds spent reading the rest of a refused body, so that the sender sees the answer."""
KEPT_OPEN = 75.0
"""Seconds that a connection may be idle or slow between two requests."""
STOP_WITHIN = 5.0
"""Seconds that pending requests get when the server ends, because deliberately hung requests never end."""


class _WithoutRequests(logging.Filter):
    """A filter that keeps the content of malformed requests, e.g. tokens, out of the server's log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace an exception with its type."""
        if record.exc_info and record.exc_info[0] is not None:
            record.msg = f"{record.getMessage()} ({record.exc_info[0].__name__})"
            record.args, record.exc_info, record.exc_text = (), None, None
        return True


log = logging.getLogger(f"{__package__}.http")
log.addFilter(_WithoutRequests())
_SERVICES = (
    Ims, AccessControl, Sandboxes, SchemaRegistry, Descriptors, Catalog, DataPrep, FlowService, DataAccess,
    Observability, Namespaces, Previews,
)  # fmt: skip


class Server:
    """The local platform of one store folder, inside a running event loop."""

    def __init__(self, folder: Path, account: LocalAccount, options: Options, instance: str) -> None:
        self._instance = instance
        self._store = Store(folder)
        plan = FaultPlan() if options.faults is None else FaultPlan.read(options.faults)
        self._context = Context(account, options, self._store, Faults(plan))
        self._lake = Lake(folder, self._context.account, options)
        self._inbox = Inbox(Store(folder), self._lake.notify, keeps_log=options.faults is not None)
        self._runner = web.AppRunner(
            self._application(),
            access_log=None,
            shutdown_timeout=STOP_WITHIN,
            keepalive_timeout=KEPT_OPEN,
            lingering_time=LINGERING,
            auto_decompress=False,
            logger=log,
        )
        self._header_seconds = options.header_seconds
        self._unused: set[RequestHandler] = set()
        self._listening: asyncio.Server | None = None
        self._last_request = time.monotonic()
        self._in_progress = 0
        self._ending = False

    async def start(self, port: int) -> int:
        """Listen on the loopback interface; return the port."""
        remove_leftovers(self._store)
        self._lake.start()
        await self._runner.setup()
        self._listening = await asyncio.get_running_loop().create_server(self._accept, "127.0.0.1", port)
        return int(self._listening.sockets[0].getsockname()[1])

    def _accept(self) -> asyncio.Protocol:
        """Return the protocol of a new connection, which is closed if no request comes in time."""
        if self._runner.server is None:
            raise RuntimeError("the server is not set up")
        connection = self._runner.server()
        self._unused.add(connection)
        asyncio.get_running_loop().call_later(self._header_seconds, self._close_if_unused, connection)
        return connection

    def _close_if_unused(self, connection: RequestHandler) -> None:
        if connection in self._unused:
            self._unused.discard(connection)
            connection.force_close()

    async def stop(self) -> None:
        """Stop listening, then finish the current chunk."""
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()
        await asyncio.to_thread(self._lake.stop)
        self._inbox.close()
        self._store.close()

    async def idle(self, seconds: float) -> None:
        """Wait until no request has come for this long and no message is waiting; then refuse requests."""
        while True:
            quiet = time.monotonic() - self._last_request
            is_processing = self._store.inbox_size() or any(map(self._has_batches, PROCESSED))
            if quiet >= seconds and not self._in_progress and not is_processing:
                self._ending = True
                return
            await asyncio.sleep(max(0.05, min(seconds - quiet, 1.0)))

    def _has_batches(self, status: str) -> bool:
        return bool(self._store.batches(BatchFilter(status=status), 1, 0))

    def _application(self) -> web.Application:
        context = self._context
        application = web.Application(
            middlewares=[self._count_requests, Gateway(context).guard], client_max_size=LARGEST_BODY
        )
        application.router.add_get(IDENTITY_PATH, self._identity)
        application.router.add_routes(Ingestion(context, self._inbox).routes())
        for waking in (WorkOrders, BatchIngestion):
            application.router.add_routes(waking(context, self._lake.notify).routes())
        for service in _SERVICES:
            application.router.add_routes(service(context).routes())
        return application

    @web.middleware
    async def _count_requests(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._ending:
            return answer({"title": "The server is ending"}, 503)
        self._unused.discard(request.protocol)
        self._in_progress += 1
        try:
            return await handler(request)
        finally:
            self._in_progress -= 1
            self._last_request = time.monotonic()

    async def _identity(self, _request: web.Request) -> web.Response:
        """Identify this server to programs that share its store folder; this call is not Adobe's."""
        return answer({"instance": self._instance, "pid": os.getpid(), "waiting": self._store.inbox_size()})
