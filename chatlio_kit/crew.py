"""Work done by several processes at once, its results in the order in which it was handed out.

A first process loads what the work needs, and the others are its copies. It imports nothing of the program
that starts it, so this works from notebooks and from scripts without a main guard. Each worker reads tasks
from a pipe of its own and ends by itself when that does, so none is left behind when the program is killed.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib import import_module
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Any, NamedTuple, TypeVar

from chatlio_kit.errors import CaptureError

# Where hypothesis is installed pandera brings it along, and it brings more: time and memory for nothing.
# Rows have no cycles, and what is loaded is no garbage: looking for some costs a tenth of the time.
_START = (
    "import gc, sys; gc.disable(); sys.modules['hypothesis'] = None; "
    "from chatlio_kit.crew import serve; serve(*sys.argv[1:])"
)
Item = TypeVar("Item")
Result = TypeVar("Result")
# Freed memory goes back at once, and no pool of threads is made that nobody needs.
_LEAN = {
    "OMP_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
}
_WORTH_STARTING = 20_000_000
_AHEAD = 1
"""How many items wait for the worker that comes free first, while results are still being looked at."""
_MOST_WORKERS = 4  # the one that sifts and writes keeps no more than these busy


def worthwhile(size: int) -> int:
    """Say how many workers pay for so many bytes: none where starting them takes longer than the work."""
    if size < _WORTH_STARTING:
        return 0
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _MOST_WORKERS)


class _Line(NamedTuple):
    """The pipes to one worker."""

    tasks: IO[bytes]
    results: IO[bytes]


class Crew:
    """Workers and the threads that talk to them. Use it as a context manager.

    Args:
        count: how many processes work; with 0 this one does.
        rooms: the modules that their work needs; they load them as soon as they are started.
    """

    def __init__(self, count: int, *rooms: str) -> None:
        self._count, self._rooms = count, rooms
        self._first: subprocess.Popen[bytes] | None = None
        self._lines: list[_Line] = []
        self._free: SimpleQueue[_Line] = SimpleQueue()
        self._threads = ThreadPoolExecutor(max(1, count), thread_name_prefix="chatlio-kit-worker")

    def __enter__(self) -> Crew:
        theirs: list[int] = []
        for _ in range(self._count):
            (tasks, to_worker), (from_worker, results) = os.pipe(), os.pipe()
            line = _Line(os.fdopen(to_worker, "wb"), os.fdopen(from_worker, "rb"))
            self._lines.append(line)
            self._free.put(line)
            theirs += [tasks, results]
        if theirs:
            path = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)
            self._first = subprocess.Popen(
                [sys.executable, "-c", _START, ",".join(self._rooms), *map(str, theirs)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=theirs,
                start_new_session=True,  # an interrupt is for the program, which ends its workers
                env={**os.environ, "PYTHONPATH": path, **_LEAN},
            )
        for end in theirs:
            os.close(end)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        if error is not None and self._first is not None:  # nobody waits for work that is not wanted
            with suppress(ProcessLookupError):
                os.killpg(self._first.pid, signal.SIGKILL)
        self._threads.shutdown(wait=True)
        for pipe in chain.from_iterable(self._lines):
            with suppress(BrokenPipeError):
                pipe.close()
        if self._first is not None:
            self._first.wait()

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
                with without_collection():
                    result = work(item)
                yield item, result
            return
        waiting: deque[tuple[Item, Future[Result]]] = deque()
        for item in items:
            waiting.append((item, self._threads.submit(self._ask, work, item)))
            if len(waiting) > self._count + _AHEAD:
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()

    def _ask(self, work: Callable[[Item], Result], item: Item) -> Result:
        line = self._free.get()
        try:
            _send(line.tasks, (work, item))
            wrong, result = _receive(line.results)
        except (OSError, EOFError, pickle.UnpicklingError) as broken:
            raise CaptureError(
                "A process that converts captures ended before it was done, as happens when memory runs out. "
                "Free some memory and start again; nothing half-written is left."
            ) from broken
        finally:
            self._free.put(line)
        if wrong is not None:
            raise wrong
        done: Result = result
        return done


def serve(rooms: str, *ends: str) -> None:
    """Be all workers: load their rooms once, and leave the others' pipes to copies of this process.

    Args:
        rooms: the modules that their work needs, with commas between them.
        ends: for each worker the pipe its tasks come from, and the one its results go to.
    """
    for room in rooms.split(","):
        import_module(room)
    gc.freeze()
    pipes = list(map(int, ends))
    lines = list(zip(pipes[::2], pipes[1::2], strict=True))
    copies: list[int] = []
    mine = lines[0]
    for line in lines[1:]:
        copy = os.fork()
        if not copy:
            mine, copies = line, []
            break
        copies.append(copy)
    for end in set(pipes) - set(mine):
        os.close(end)
    with suppress(BrokenPipeError), os.fdopen(mine[0], "rb") as tasks, os.fdopen(mine[1], "wb") as results:
        _work(tasks, results)
    for copy in copies:
        os.waitpid(copy, 0)
    os._exit(0)  # the system takes everything back faster than Python tidies it up


def _work(tasks: IO[bytes], results: IO[bytes]) -> None:
    """Do the tasks that come in until there are no more."""
    while True:
        try:
            work, item = _receive(tasks)
        except EOFError:
            return
        answer: tuple[Exception | None, Any]
        try:
            answer = None, work(item)
        except (OSError, MemoryError) as wrong:
            answer = wrong, None
        del item
        _send(results, answer)
        del answer
        gc.collect()  # what pandera leaves behind; all that was there before stays out of it
        gc.freeze()


def _send(pipe: IO[bytes], value: Any) -> None:
    pickle.dump(value, pipe, protocol=5)  # written as it is made, so it stands in memory once
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    return pickle.load(pipe)  # noqa: S301  from our own process, over its own pipe


@contextmanager
def without_collection() -> Iterator[None]:
    """Let no garbage be looked for while many objects are made, none of them in a cycle."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
