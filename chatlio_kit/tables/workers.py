"""Pieces built by several processes at once, handed out in the order in which they were read.

Each worker is a Python process of its own that reads pieces on stdin and writes frames to stdout. It imports
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
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from chatlio_kit.captures import Captures, Piece
from chatlio_kit.errors import CaptureError
from chatlio_kit.tables.building import Built, Settling, build

_START = "from chatlio_kit.tables.workers import serve; serve()"
_LENGTH = 8
# Freed memory goes back at once, and no pool of threads is made that nobody needs.
_LEAN = {
    "OMP_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
}
_WORTH_STARTING = 20_000_000
_MOST_WORKERS = 4  # the one that sifts and writes keeps no more than these busy


def worthwhile_workers(captures: Captures) -> int:
    """Say how many workers pay: none where starting them takes longer than the work."""
    size = sum(file.path.stat().st_size for file in captures.files if file.path.exists())
    if size < _WORTH_STARTING:
        return 0
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _MOST_WORKERS)


def build_all(pieces: Iterable[Piece], settling: Settling, workers: int) -> Iterator[Built]:
    """Build pieces in their order.

    Args:
        pieces: the pieces.
        settling: what the user decided where captures say nothing.
        workers: how many processes build; with 0 this one does.
    """
    if not workers:
        for piece in pieces:
            with _without_collection():
                built = build(piece, settling)
            yield built
        return
    with _Crew(settling, workers) as crew:
        yield from crew.build(pieces)


class _Crew:
    """Workers and the threads that talk to them."""

    def __init__(self, settling: Settling, workers: int) -> None:
        self._settling = settling
        self._count = workers
        self._free: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="chatlio-kit-worker")

    def __enter__(self) -> _Crew:
        path = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)
        for _ in range(self._count):
            process = subprocess.Popen(
                [sys.executable, "-c", _START],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # an interrupt is for the program, which ends its workers
                env={**os.environ, "PYTHONPATH": path, **_LEAN},
            )
            self._processes.append(process)
            self._free.put(process)
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()
        self._threads.shutdown(wait=True)
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def build(self, pieces: Iterable[Piece]) -> Iterator[Built]:
        waiting: deque[tuple[Piece, Future[tuple[Built, list[int]]]]] = deque()
        for piece in pieces:
            waiting.append((piece, self._threads.submit(self._ask, piece)))
            if len(waiting) > self._count:
                yield self._finished(*waiting.popleft())
        while waiting:
            yield self._finished(*waiting.popleft())

    def _ask(self, piece: Piece) -> tuple[Built, list[int]]:
        process = self._free.get()
        try:
            _send(_pipe(process.stdin), (piece, self._settling))
            answer: tuple[Built, list[int]] = _receive(_pipe(process.stdout))
        except (OSError, EOFError) as broken:
            raise CaptureError(
                "A process that converts captures ended before it was done, as happens when memory runs out. "
                "Free some memory and start again; nothing half-written is left."
            ) from broken
        finally:
            self._free.put(process)
        return answer

    def _finished(self, piece: Piece, future: Future[tuple[Built, list[int]]]) -> Built:
        built, kept = future.result()
        # Workers say which records they kept; their bytes never left this process.
        raws = _raws(piece)
        return replace(built, raws=[raws[place] for place in kept])


def serve() -> None:
    """Build the pieces that come in on stdin until it ends."""
    source, target = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing but frames goes out
    gc.disable()  # what is built here has no cycles, and looking for them costs a tenth of the time
    while True:
        try:
            piece, settling = _receive(source)
        except EOFError:
            return
        built = build(piece, settling)
        places = {id(raw): place for place, raw in enumerate(_raws(piece))}
        _send(target, (replace(built, raws=[]), [places[id(raw)] for raw in built.raws]))
        del piece, built


def _raws(piece: Piece) -> list[bytes]:
    return [raw for stretch in piece.stretches for raw in stretch.raws]


def _send(pipe: IO[bytes], value: Any) -> None:
    content = pickle.dumps(value, protocol=5)
    pipe.write(len(content).to_bytes(_LENGTH, "little"))
    pipe.write(content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    length = pipe.read(_LENGTH)
    if len(length) < _LENGTH:
        raise EOFError
    content = pipe.read(int.from_bytes(length, "little"))
    return pickle.loads(content)  # noqa: S301  from our own process, over its own pipe


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
