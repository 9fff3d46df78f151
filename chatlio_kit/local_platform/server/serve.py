"""Serve a store folder: in the foreground, or on a thread in a test."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..ims.account import LocalAccount, Options, make_secret
from .app import Server
from .process import CannotServe, RunningPlatform, owned, private, write_address


def serve(
    store: Path,
    port: int = 0,
    *,
    idle: float | None = None,
    options: Options | None = None,
    announce: Callable[[str], None] = print,
    started: Callable[[RunningPlatform], None] = lambda _: None,
) -> None:
    """Serve a store folder in the foreground until a signal, or until idle for this many seconds.

    Args:
        store: The folder.
        port: The port; 0 picks a free one.
        idle: Seconds without a request after which it ends; None for never.
        options: How it behaves.
        announce: Called with the URL once the server answers.
        started: Called just before, with the URL and the account.

    Raises:
        CannotServe: Another server has the folder.
    """

    async def run() -> None:
        signalled = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in handlers:  # Windows has no loop.add_signal_handler
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(signalled.set))

        async def ended(server: Server) -> None:
            waits: list[asyncio.Task[Any]] = [asyncio.create_task(signalled.wait())]
            if idle is not None:
                waits.append(asyncio.create_task(server.idle(idle)))
            done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            for task in done:
                task.result()

        account = LocalAccount(make_secret(store))

        def announced(url: str) -> None:
            started(RunningPlatform(url, account))
            announce(url)

        await _serve(store, account, options or Options(), port, announced, ended, is_thread=False)

    store = private(store)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with owned(store):
        try:
            asyncio.run(run())
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


@contextmanager
def running(store: Path, **options: Any) -> Iterator[RunningPlatform]:
    """Serve a store folder on a thread of this process, as a context manager.

    The keyword arguments are those of `Options`.
    """
    store = private(store)
    chosen = Options(**options)
    with owned(store):
        account = LocalAccount(make_secret(store))
        urls: list[str] = []
        failures: list[BaseException] = []
        ready, ending = threading.Event(), threading.Event()

        def announce(url: str) -> None:
            urls.append(url)
            ready.set()

        async def ended(_server: Server) -> None:
            await asyncio.to_thread(ending.wait)

        def work() -> None:
            try:
                asyncio.run(_serve(store, account, chosen, 0, announce, ended, is_thread=True))
            except BaseException as error:
                failures.append(error)
            finally:
                ready.set()

        thread = threading.Thread(target=work, name="local platform")
        thread.start()
        try:
            ready.wait()
            if urls:
                yield RunningPlatform(urls[0], account)
        finally:
            ending.set()
            thread.join()
        if failures:
            raise CannotServe("the local platform failed") from failures[0]


async def _serve(
    store: Path,
    account: LocalAccount,
    options: Options,
    port: int,
    announce: Callable[[str], None],
    ended: Callable[[Server], Awaitable[None]],
    *,
    is_thread: bool,
) -> None:
    """Serve from the start of the server until ``ended`` returns."""
    instance = secrets.token_hex(16)
    server = Server(store, account, options, instance)
    try:
        url = f"http://127.0.0.1:{await server.start(port)}"
        write_address(store, {"pid": os.getpid(), "url": url, "instance": instance, "thread": is_thread})
        announce(url)
        await ended(server)
    finally:
        (store / "server.json").unlink(missing_ok=True)
        await server.stop()
