"""A pool of worker processes behind the standard interface of executors.

Workers are started anew on every system (``spawn``). They import nothing of the program that starts them, so
this works from notebooks and from scripts without a main guard. They import nothing from the current folder
either, where captures lie that anybody may have sent, and of the environment they get only what a Python
process needs: no credential.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from threading import RLock, Thread, current_thread, main_thread
from types import ModuleType, TracebackType
from typing import Any, TypeVar

from chatlio_kit.errors import CaptureError

Item = TypeVar("Item")
Result = TypeVar("Result")

_WORTH_STARTING = 20_000_000
_MOST_WORKERS = 4  # the one process that deduplicates and writes keeps no more than these busy
_AHEAD = 1
"""How many items wait for the worker that comes free first, while results are still being looked at."""
_PASSED = frozenset(
    {
        "PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "LD_LIBRARY_PATH",
        "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "SYSTEMROOT", "WINDIR", "COMSPEC", "PATHEXT",
        "USERPROFILE", "APPDATA", "LOCALAPPDATA", "PYTHONHOME", "PYTHONUTF8", "PYTHONIOENCODING",
        "PYTHONHASHSEED", "PYTHONWARNINGS", "PYTHONDONTWRITEBYTECODE", "PYTHONNOUSERSITE", "PYTHONUSERBASE",
    }
)  # fmt: skip
"""The environment variables that workers get, besides ``LC_*``."""
_SET = {
    "PYTHONSAFEPATH": "1",  # nothing is imported from the current folder
    "OMP_NUM_THREADS": "1",  # no threads that nobody needs
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # freed memory goes back at once
    "MALLOC_ARENA_MAX": "1",
}
_STARTING = RLock()


def default_workers(size: int) -> int:
    """Return how many workers pay for so many bytes: none where starting them takes longer than the work."""
    if size < _WORTH_STARTING:
        return 0
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _MOST_WORKERS)


def create_pool(workers: int, preload: Sequence[str] = ()) -> Pool:
    """Start a pool of worker processes. Use it as a context manager.

    Args:
        workers: how many processes work, from 1.
        preload: the modules that their work needs; they import them as soon as they are started.
    """
    pool = Pool(workers, preload)
    for _ in range(workers):  # each task that finds no idle worker starts one
        pool.submit(os.getpid)
    return pool


class Pool(ProcessPoolExecutor):
    """Worker processes; when an error leaves the ``with`` block they are ended at once.

    Attributes:
        workers: how many they are.
    """

    def __init__(self, workers: int, preload: Sequence[str] = ()) -> None:
        self.workers = workers
        self._context = _Context()
        with _isolated():  # making the queues starts the process that keeps track of them
            super().__init__(workers, self._context, _prepare_worker, (tuple(preload),))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:  # nobody waits for work that is not wanted
            for process in self._context.started:
                process.kill()
        super().__exit__(kind, error, trace)


def map_in_order(
    executor: Executor | None, work: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[tuple[Item, Result]]:
    """Apply a function to each item; yield items and results in the items' order.

    Args:
        executor: what the work is submitted to; with None this process does it.
        work: a function of a module of ours, or a partial one.
        items: read as workers come free, a few ahead.

    Raises:
        CaptureError: when a worker ended before its work was done.
    """
    if executor is None:
        for item in items:
            with paused_collection():
                result = work(item)
            yield item, result
        return
    most = getattr(executor, "workers", _MOST_WORKERS) + _AHEAD
    pending: deque[tuple[Item, Future[bytes]]] = deque()
    try:
        for item in items:
            pending.append((item, executor.submit(_work, work, item)))
            if len(pending) > most:
                done, future = pending.popleft()
                yield done, _result(future)
        while pending:
            done, future = pending.popleft()
            yield done, _result(future)
    except BrokenProcessPool as broken:
        raise CaptureError(
            "A process that converts captures ended before it was done, as happens when memory runs out. "
            "Free some memory and start again; nothing half-written is left."
        ) from broken


@contextmanager
def paused_collection() -> Iterator[None]:
    """Look for no garbage while many objects are made, none of them in a cycle."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _work(work: Callable[[Item], Result], item: Item) -> bytes:
    """Return a result as bytes: pickled by protocol 5, which writes Arrow's buffers without a detour."""
    gc.collect()  # what pandera left behind; all that was there before it stays out of this
    gc.freeze()
    return pickle.dumps(work(item), protocol=5)


def _result(future: Future[bytes]) -> Any:
    return pickle.loads(future.result())  # noqa: S301  from our own process, over its own pipe


class _Worker(SpawnProcess):
    def start(self) -> None:
        with _isolated():
            super().start()


class _Context(SpawnContext):
    """Starts workers, and remembers them."""

    def __init__(self) -> None:
        self.started: list[_Worker] = []

    def Process(self, *args: Any, **named: Any) -> _Worker:  # type: ignore[override]  # noqa: N802
        self.started.append(_Worker(*args, **named))
        return self.started[-1]


@contextmanager
def _isolated() -> Iterator[None]:
    """Keep from processes that are started what they must not inherit.

    ``multiprocessing`` hands down the program's own module, import path and environment, and nothing but
    changing them for the moment of a start keeps it from that. An interrupt is for the program alone.
    """
    with _STARTING:
        before = dict(os.environ)
        path, program = sys.path, sys.modules["__main__"]
        is_main = current_thread() is main_thread() and signal.getsignal(signal.SIGINT) is not None
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if is_main else None
        try:
            for name in before:
                if name not in _PASSED and not name.startswith("LC_"):
                    del os.environ[name]
            os.environ.update(_SET)
            sys.path = _import_path(path)
            sys.modules["__main__"] = ModuleType("__main__")
            yield
        finally:
            sys.path, sys.modules["__main__"] = path, program
            for name in _SET.keys() - before.keys():
                del os.environ[name]
            os.environ.update(before)
            if is_main:
                signal.signal(signal.SIGINT, handler)


def _import_path(path: Sequence[str]) -> list[str]:
    """Return an import path without the current folder.

    Where this package itself lies in the current folder, that comes last: nothing there replaces a module.
    """
    here, ours = Path.cwd(), str(Path(__file__).resolve().parent.parent)
    kept = [entry for entry in path if entry and Path(entry).resolve() != here]
    return kept if ours in kept else [*kept, ours]


def _prepare_worker(preload: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    # Where hypothesis is installed pandera brings it along, and it brings more: time and memory for nothing.
    sys.modules["hypothesis"] = None  # type: ignore[assignment]
    gc.disable()  # rows have no cycles: looking for some costs a tenth of the time
    for name in preload:
        import_module(name)
    gc.freeze()


def _end_with_parent() -> None:
    """End this process when the program does: one that is killed cannot end its workers."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
