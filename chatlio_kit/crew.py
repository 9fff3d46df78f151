"""Work done by several processes at once, its results in the order in which it was handed out.

Each worker is a Python process of its own that reads tasks on stdin and writes results to stdout. It imports
nothing of the program that starts it, so this works from notebooks and from scripts without a main guard; and
it ends by itself when its stdin does, so none is left behind when the program is killed.
"""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Any, TypeVar

from chatlio_kit.errors import CaptureError

# Where hypothesis is installed pandera brings it along, and it brings more: time and memory for nothing.
# Rows have no cycles, and what is loaded is no garbage: looking for some costs a tenth of the time.
_START = (
    "import gc, sys; gc.disable(); sys.modules['hypothesis'] = None; "
    "from chatlio_kit.crew import serve; serve(sys.argv[1])"
)
Item = TypeVar("Item")
Result = TypeVar("Result")
# Freed memory goes back at once, and no pool of threads is made that nobody needs.
_LEAN = {
    "OMP_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
}
_PIPE_BYTES = 1 << 20
_WORTH_STARTING = 20_000_000
_MOST_WORKERS = 4  # the one that sifts and writes keeps no more than these busy


def worthwhile(size: int) -> int:
    """Say how many workers pay for so many bytes: none where starting them takes longer than the work."""
    if size < _WORTH_STARTING:
        return 0
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _MOST_WORKERS)


class Crew:
    """Workers and the threads that talk to them. Use it as a context manager.

    Args:
        count: how many processes work; with 0 this one does.
        room: the module of their work; they load it as soon as they are started.
    """

    def __init__(self, count: int, room: str) -> None:
        self._count, self._room = count, room
        self._free: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads = ThreadPoolExecutor(max(1, count), thread_name_prefix="chatlio-kit-worker")

    def __enter__(self) -> Crew:
        path = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)
        for _ in range(self._count):
            process = subprocess.Popen(
                [sys.executable, "-c", _START, self._room],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pipesize=_PIPE_BYTES,
                start_new_session=True,  # an interrupt is for the program, which ends its workers
                env={**os.environ, "PYTHONPATH": path, **_LEAN},
            )
            self._processes.append(process)
            self._free.put(process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()
        self._threads.shutdown(wait=True)
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
        """Do the same work on each item; give items and results in the items' order.

        Args:
            work: a function of a module of ours.
            items: read as workers come free, a few ahead.

        Raises:
            CaptureError: when a worker ended before its work was done.
        """
        if not self._count:
            for item in items:
                with _without_collection():
                    result = work(item)
                yield item, result
            return
        waiting: deque[tuple[Item, Future[Result]]] = deque()
        for item in items:
            waiting.append((item, self._threads.submit(self._ask, work, item)))
            if len(waiting) > self._count:
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()

    def _ask(self, work: Callable[[Item], Result], item: Item) -> Result:
        process = self._free.get()
        try:
            _send(_pipe(process.stdin), (work, item))
            wrong, result = _receive(_pipe(process.stdout))
        except (OSError, EOFError, pickle.UnpicklingError) as broken:
            raise CaptureError(
                "A process that converts captures ended before it was done, as happens when memory runs out. "
                "Free some memory and start again; nothing half-written is left."
            ) from broken
        finally:
            self._free.put(process)
        if wrong is not None:
            raise wrong
        done: Result = result
        return done


def serve(room: str) -> None:
    """Do the tasks that come in on stdin until it ends.

    Args:
        room: the module of their work.
    """
    source, target = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing but results goes out
    import_module(room)
    gc.freeze()
    while True:
        try:
            work, item = _receive(source)
        except EOFError:
            return
        answer: tuple[Exception | None, Any]
        try:
            answer = None, work(item)
        except (OSError, MemoryError) as wrong:
            answer = wrong, None
        del item
        _send(target, answer)
        del answer
        gc.collect()  # what pandera leaves behind; all that was there before stays out of it
        gc.freeze()


def _send(pipe: IO[bytes], value: Any) -> None:
    pickle.dump(value, pipe, protocol=5)  # written as it is made, so it stands in memory once
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    return pickle.load(pipe)  # noqa: S301  from our own process, over its own pipe


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise EOFError
    return pipe


@contextmanager
def _without_collection() -> Iterator[None]:
    """Let no garbage be looked for: a piece has no cycles and many objects."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
