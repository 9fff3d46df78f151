"""One server: the gateway, every service, and the lake behind them."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from ..catalog.batches import Batches
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
from ..registry.descriptors import Descriptors
from ..registry.routes import SchemaRegistry
from ..store import Store
from .context import BODY_SECONDS, Context, answer
from .gateway import Gateway, Handler
from .process import IDENTITY_PATH
from .reading import LARGEST_BODY, WithoutRequests

log = logging.getLogger(f"{__package__}.http")
log.addFilter(WithoutRequests())
LINGERING = 1.0
"""Seconds in which the rest of a refused body is read, so that its sender sees the answer."""
KEPT_OPEN = 75.0
"""Seconds that a connection may be idle, or slow, between two requests."""
STOP_WITHIN = 5.0
"""Seconds that requests under way are given when the server ends; those that hang on demand would stay."""


class Server:
    """The local platform on one store folder, from start to stop, inside a running event loop."""

    def __init__(self, folder: Path, account: LocalAccount, options: Options, instance: str) -> None:
        self._instance = instance
        self._store = Store(folder)
        plan = FaultPlan() if options.faults is None else FaultPlan.read(options.faults)
        self._ground = Context(account, options, self._store, Faults(plan))
        self._lake = Lake(folder, self._ground.account, options)
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
        self._silent: set[RequestHandler] = set()
        self._listening: asyncio.Server | None = None
        self._last_request = time.monotonic()
        self._in_progress = 0
        self._ending = False

    async def start(self, port: int) -> int:
        """Listen on the loopback interface; says on which port."""
        self._lake.start()
        await self._runner.setup()
        self._listening = await asyncio.get_running_loop().create_server(self._accept, "127.0.0.1", port)
        return int(self._listening.sockets[0].getsockname()[1])

    def _accept(self) -> asyncio.Protocol:
        """Make the protocol of a new connection; it is cut when no request comes in time."""
        if self._runner.server is None:
            raise RuntimeError("the server is not set up")
        connection = self._runner.server()
        self._silent.add(connection)
        asyncio.get_running_loop().call_later(self._header_seconds, self._cut_if_silent, connection)
        return connection

    def _cut_if_silent(self, connection: RequestHandler) -> None:
        if connection in self._silent:
            self._silent.discard(connection)
            connection.force_close()

    async def stop(self) -> None:
        """Stop listening, then finish the chunk at hand."""
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()
        await asyncio.to_thread(self._lake.stop)
        self._inbox.close()
        self._store.close()

    async def idle(self, seconds: float) -> None:
        """Return when no request came for that long and no message waits; later requests are turned away."""
        while True:
            quiet = time.monotonic() - self._last_request
            if quiet >= seconds and not self._in_progress and not self._store.inbox_size():
                self._ending = True
                return
            await asyncio.sleep(max(0.05, min(seconds - quiet, 1.0)))

    def _application(self) -> web.Application:
        ground = self._ground
        application = web.Application(
            middlewares=[self._count_requests, Gateway(ground).guard],
            client_max_size=LARGEST_BODY,
        )
        application[BODY_SECONDS] = ground.options.body_seconds
        application.router.add_get(IDENTITY_PATH, self._identity)
        for service in (
            Ims(ground),
            AccessControl(ground),
            Sandboxes(ground),
            SchemaRegistry(ground),
            Descriptors(ground),
            Catalog(ground),
            DataPrep(ground),
            FlowService(ground),
            Ingestion(ground, self._inbox),
            DataAccess(ground),
            Batches(ground),
            Observability(ground),
        ):
            application.router.add_routes(service.routes())
        return application

    @web.middleware
    async def _count_requests(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._ending:
            return answer({"title": "The server is ending"}, 503)
        self._silent.discard(request.protocol)
        self._in_progress += 1
        try:
            return await handler(request)
        finally:
            self._in_progress -= 1
            self._last_request = time.monotonic()

    async def _identity(self, _request: web.Request) -> web.Response:
        """Which server this is; for those who share its store folder, not a call of the platform."""
        return answer({"instance": self._instance, "pid": os.getpid(), "waiting": self._store.inbox_size()})
