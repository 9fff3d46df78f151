"""Serve a store folder: in the foreground, or on a thread in a test."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..ims.account import LocalAccount, Options
from ..ims.credentials import make_secret
from .app import Server
from .process import CannotServe, RunningPlatform, owned, private, write_address


def serve(
    store: Path,
    port: int = 0,
    *,
    idle: float | None = None,
    options: Options | None = None,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve a store folder in the foreground until a signal, or until idle for that many seconds.

    Raises:
        CannotServe: when another server has the folder.
    """
    store = private(store)
    with owned(store):
        account = LocalAccount(make_secret(store))
        asyncio.run(_serve(store, account, port, idle, options or Options(), announce))


@contextmanager
def running(store: Path, **options: Any) -> Iterator[RunningPlatform]:
    """Serve a store folder on a thread of this process while the block runs.

    The keyword arguments are those of `Options`.
    """
    store = private(store)
    with owned(store):
        account = LocalAccount(make_secret(store))
        started: list[str] = []
        failed: list[BaseException] = []
        ready, ending = threading.Event(), threading.Event()
        chosen = Options(**options)

        def work() -> None:
            try:
                asyncio.run(_serve_until(store, account, chosen, started, ready, ending))
            except BaseException as error:
                failed.append(error)
            finally:
                ready.set()

        thread = threading.Thread(target=work, name="local platform")
        thread.start()
        try:
            ready.wait()
            if started:
                yield RunningPlatform(started[0], account)
        finally:
            ending.set()
            thread.join()
        if failed:
            raise CannotServe("the local platform failed") from failed[0]


async def _serve(
    store: Path,
    account: LocalAccount,
    port: int,
    idle: float | None,
    options: Options,
    announce: Callable[[str], None],
) -> None:
    instance = secrets.token_hex(16)
    server = Server(store, account, options, instance)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    try:
        url = f"http://127.0.0.1:{await server.start(port)}"
        write_address(store, {"pid": os.getpid(), "url": url, "instance": instance, "thread": False})
        announce(url)
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(ended.wait())]
        if idle is not None:
            waits.append(asyncio.ensure_future(server.idle(idle)))
        done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in pending:
            wait.cancel()
        for wait in done:
            wait.result()
    finally:
        (store / "server.json").unlink(missing_ok=True)
        await server.stop()


async def _serve_until(
    store: Path,
    account: LocalAccount,
    options: Options,
    started: list[str],
    ready: threading.Event,
    ending: threading.Event,
) -> None:
    instance = secrets.token_hex(16)
    server = Server(store, account, options, instance)
    try:
        url = f"http://127.0.0.1:{await server.start(0)}"
        write_address(store, {"pid": os.getpid(), "url": url, "instance": instance, "thread": True})
        started.append(url)
        ready.set()
        await asyncio.to_thread(ending.wait)
    finally:
        (store / "server.json").unlink(missing_ok=True)
        await server.stop()
