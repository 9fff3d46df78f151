"""A pool of worker processes with the interface of :class:`concurrent.futures.Executor`.

Workers are spawned on every system. They import nothing of the program that starts them, so that the pool
works from notebooks and from scripts without a main guard. They import nothing from the current folder,
because it may hold captures that anybody sent. Their environment has only what a Python process needs, and
no credential.
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
_MOST_WORKERS = 4  # the process that deduplicates and writes keeps no more of them busy
_AHEAD = 1
"""How many items wait for the first free worker."""
_PASSED_ON = frozenset(
    {
        "PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "LD_LIBRARY_PATH",
        "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "SYSTEMROOT", "WINDIR", "COMSPEC", "PATHEXT",
        "USERPROFILE", "APPDATA", "LOCALAPPDATA", "PYTHONHOME", "PYTHONUTF8", "PYTHONIOENCODING",
        "PYTHONHASHSEED", "PYTHONWARNINGS", "PYTHONDONTWRITEBYTECODE", "PYTHONNOUSERSITE", "PYTHONUSERBASE",
    }
)  # fmt: skip
"""The environment variables that workers inherit, besides ``LC_*``."""
_SET = {
    "PYTHONSAFEPATH": "1",  # nothing is imported from the current folder
    "OMP_NUM_THREADS": "1",  # no unneeded threads
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # freed memory is returned at once
    "MALLOC_ARENA_MAX": "1",
}
_STARTING = RLock()


def default_workers(size: int) -> int:
    """Return how many workers pay for so many bytes: none if starting them takes longer than the work."""
    if size < _WORTH_STARTING:
        return 0
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _MOST_WORKERS)


def create_pool(workers: int, preload: Sequence[str] = ()) -> Pool:
    """Start a pool of worker processes. Use it as a context manager.

    Args:
        workers: how many processes work, from 1.
        preload: the modules that their work needs, imported as soon as they start.
    """
    pool = Pool(workers, preload)
    for _ in range(workers):  # each task that finds no idle worker starts one
        pool.submit(os.getpid)
    return pool


class Pool(ProcessPoolExecutor):
    """Worker processes; an error in the ``with`` block ends them at once.

    Attributes:
        workers: how many there are.
    """

    def __init__(self, workers: int, preload: Sequence[str] = ()) -> None:
        self.workers = workers
        self._context = _Context()
        with _isolated():  # the queues start the resource tracker, a process
            super().__init__(workers, self._context, _prepare_worker, (tuple(preload),))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:  # nobody waits for unwanted work
            for process in self._context.started:
                process.kill()
        super().__exit__(kind, error, trace)


def map_in_order(
    executor: Executor | None, work: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[tuple[Item, Result]]:
    """Apply a function to each item; yield items and results in the items' order.

    Args:
        executor: where the work is done; None for this process.
        work: a function of this package, or a partial one.
        items: read as workers become free, a few ahead.

    Raises:
        CaptureError: when a worker ended before its work was done.
    """
    if executor is None:
        for item in items:
            with paused_collection():
                result = work(item)
            yield item, result
        return
    most_pending = getattr(executor, "workers", _MOST_WORKERS) + _AHEAD
    pending: deque[tuple[Item, Future[bytes]]] = deque()
    try:
        for item in items:
            pending.append((item, executor.submit(_work, work, item)))
            if len(pending) > most_pending:
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
    """Pause garbage collection while many objects are made, none of them in a cycle."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _work(work: Callable[[Item], Result], item: Item) -> bytes:
    """Return a pickled result; protocol 5 writes Arrow's buffers without a copy."""
    gc.collect()  # the cycles of pandera; everything older is frozen
    gc.freeze()
    return pickle.dumps(work(item), protocol=5)


def _result(future: Future[bytes]) -> Any:
    return pickle.loads(future.result())  # noqa: S301  from our own process


class _Worker(SpawnProcess):
    def start(self) -> None:
        with _isolated():
            super().start()


class _Context(SpawnContext):
    """Starts workers, and keeps a list of them."""

    def __init__(self) -> None:
        self.started: list[_Worker] = []

    def Process(self, *args: Any, **named: Any) -> _Worker:  # type: ignore[override]  # noqa: N802
        self.started.append(_Worker(*args, **named))
        return self.started[-1]


@contextmanager
def _isolated() -> Iterator[None]:
    """Hide from new processes what they must not inherit.

    ``multiprocessing`` passes on the program's main module, import path and environment. The only way to
    prevent that is to change them while a process starts. Interrupts are for the program alone.
    """
    with _STARTING:
        environment = dict(os.environ)
        path, program = sys.path, sys.modules["__main__"]
        is_main = current_thread() is main_thread() and signal.getsignal(signal.SIGINT) is not None
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if is_main else None
        try:
            for name in environment:
                if name not in _PASSED_ON and not name.startswith("LC_"):
                    del os.environ[name]
            os.environ.update(_SET)
            sys.path = _import_path(path)
            sys.modules["__main__"] = ModuleType("__main__")
            yield
        finally:
            sys.path, sys.modules["__main__"] = path, program
            for name in _SET.keys() - environment.keys():
                del os.environ[name]
            os.environ.update(environment)
            if is_main:
                signal.signal(signal.SIGINT, handler)


def _import_path(path: Sequence[str]) -> list[str]:
    """Return an import path without the current folder.

    If this package itself is in the current folder, that comes last, so that it replaces no module.
    """
    current, package = Path.cwd(), str(Path(__file__).resolve().parent.parent)
    kept = [entry for entry in path if entry and Path(entry).resolve() != current]
    return kept if package in kept else [*kept, package]


def _prepare_worker(preload: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    # pandera imports hypothesis if it is installed, which takes time and memory for nothing.
    sys.modules["hypothesis"] = None  # type: ignore[assignment]
    gc.disable()  # rows have no cycles: looking for them takes a tenth of the time
    for name in preload:
        import_module(name)
    gc.freeze()


def _end_with_parent() -> None:
    """End this process with the program: a killed program cannot end its workers."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
