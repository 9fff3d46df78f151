"""A pool of worker processes, and a Dask cluster, with the interface of :class:`concurrent.futures.Executor`.

The pool's workers are spawned on every system. They do not import the program that starts them, so the pool
works from notebooks and from scripts without a main guard. They import nothing from the current folder, which
may hold untrusted captures. Their environment has only the variables that a Python process needs, and no
credential.
"""

from __future__ import annotations

import gc
import logging
import os
import pickle
import re
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing import parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from threading import RLock, Thread, current_thread, main_thread
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from chatlio_kit.errors import CaptureError, ChatlioKitError, ClusterError, UsageError, option

if TYPE_CHECKING:
    from distributed import Client

Item = TypeVar("Item")
Result = TypeVar("Result")

_WORTH_STARTING = 20_000_000
_MOST_WORKERS = 4  # the process that deduplicates and writes can keep no more busy
_AHEAD = 1
"""Number of items that wait for the first free worker."""
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
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # freed memory is returned immediately
    "MALLOC_ARENA_MAX": "1",
}
_STARTING = RLock()
_SAME_VERSIONS = (
    "chatlio-kit", "dask", "distributed", "duckdb", "msgspec", "numpy", "orjson", "pandas", "pandera",
    "pyarrow",
)  # fmt: skip
"""Packages whose versions must be the same on a cluster's workers, or results could differ."""
_LEAST_IN_FLIGHT, _MOST_IN_FLIGHT = 4, 16
"""Limits on a cluster's tasks in flight: enough to keep it busy, few enough for the program's memory."""
_NOTHING_LEFT = "no partial output is left"
_ANSWER_SECONDS = 15.0
_NO_WORKER_SECONDS = 300.0
_LOOK_SECONDS = 5.0


def default_workers(size: int) -> int:
    """Return the best number of workers for a size in bytes: 0 if starting them takes too long."""
    if size < _WORTH_STARTING:
        return 0
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _MOST_WORKERS)


def create_pool(workers: int, preload: Sequence[str] = ()) -> Pool:
    """Start a pool of worker processes. Use it as a context manager.

    Args:
        workers: Number of processes, from 1.
        preload: Modules for their work, imported as soon as they start.
    """
    pool = Pool(workers, preload)
    for _ in range(workers):  # each task that finds no idle worker starts one
        pool.submit(os.getpid)
    return pool


class Pool(ProcessPoolExecutor):
    """Worker processes; an error in the ``with`` block ends them immediately.

    Attributes:
        workers: Number of processes.
    """

    def __init__(self, workers: int, preload: Sequence[str] = ()) -> None:
        self.workers = workers
        self._context = _Context()
        with _isolated():  # the queues start the resource tracker, a process
            super().__init__(workers, self._context, _prepare_worker, (tuple(preload),))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:  # the work is no longer wanted
            for process in self._context.started:
                process.kill()
        super().__exit__(kind, error, trace)


def map_in_order(
    executor: Executor | None, work: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[tuple[Item, Result]]:
    """Apply a function to each item; yield items and results in the items' order.

    Args:
        executor: The executor for the work; None for this process.
        work: A function of this package, or a partial of one.
        items: The items; they are read as workers become free, a few ahead.

    Raises:
        CaptureError: A worker ended before it finished.
        ClusterError: A cluster could not do the work.
    """
    if executor is None:
        for item in items:
            with paused_collection():
                result = work(item)
            yield item, result
        return
    if isinstance(executor, Cluster):
        do, result_of, most_pending = _work_on_cluster, executor.result, executor.in_flight
    else:
        do, result_of = _work, _result
        most_pending = getattr(executor, "workers", _MOST_WORKERS) + _AHEAD
    pending: deque[tuple[Item, Future[bytes]]] = deque()
    try:
        for item in items:
            pending.append((item, executor.submit(do, work, item)))
            if len(pending) > most_pending:
                done, future = pending.popleft()
                yield done, result_of(future, done)
        while pending:
            done, future = pending.popleft()
            yield done, result_of(future, done)
    except BrokenProcessPool as broken:
        raise CaptureError(
            "A worker process ended unexpectedly, probably because memory ran out. "
            "Free some memory and start again; no partial output is left."
        ) from broken


@contextmanager
def paused_collection() -> Iterator[None]:
    """Pause garbage collection while many objects without cycles are created."""
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


def _result(future: Future[bytes], item: object) -> Any:  # noqa: ARG001  a cluster's errors name it
    return pickle.loads(future.result())  # noqa: S301  from our own process


class Cluster(Executor):
    """A Dask cluster as an executor. Use it as a context manager.

    Dask reassigns a dead worker's tasks, and each result is used once.

    Args:
        cluster: The URL of a scheduler, or a client, which stays open.

    Raises:
        UsageError: Dask is not installed, or the client is asynchronous.
        ClusterError: No scheduler answers, there is no worker, or a worker has other versions.
    """

    def __init__(self, cluster: str | Client) -> None:
        try:
            import distributed  # noqa: PLC0415  an extra
        except ImportError:
            raise UsageError(
                f"{option('cluster')} needs Dask, which is not installed. Install it with: "
                'pip install "chatlio-kit[cluster]"'
            ) from None
        self._is_own = isinstance(cluster, str)
        self._client: Any = _connected(distributed, cluster) if isinstance(cluster, str) else cluster
        if self._client.asynchronous:
            raise UsageError(f"{option('cluster')} needs a synchronous client, such as Client(address).")
        self._name = without_credentials(str(self._client.scheduler_info()["address"]))
        self._killed: type[Exception] = distributed.KilledWorker
        self._executor = self._client.get_executor(pure=False)
        try:
            with self._reported("its workers were being checked"):
                self._require_workers()
                self._require_versions()
        except BaseException:
            self.shutdown(wait=False)
            raise

    @property
    def in_flight(self) -> int:
        """Number of tasks to submit ahead: two for each worker thread, within limits."""
        threads = sum(map(int, self._client.nthreads().values()))
        return max(_LEAST_IN_FLIGHT, min(2 * threads, _MOST_IN_FLIGHT))

    def submit(self, fn: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        """Submit a task to the cluster.

        Raises:
            ClusterError: The connection to the cluster is lost.
        """
        with self._reported(f"{args[-1]} was being converted" if args else "a task was being submitted"):
            future: Future[Any] = self._executor.submit(fn, *args, **named)
        return future

    def result(self, future: Future[bytes], item: object) -> Any:
        """Wait for a result; an error names the item.

        Raises:
            ClusterError: The work failed, its workers died, or the connection is lost.
        """
        from pyarrow import decompress  # noqa: PLC0415  takes a while, and a pool starts without it

        idle_since = time.monotonic()
        with self._reported(f"{item} was being converted"):
            while not wait([future], _LOOK_SECONDS).done:
                if self._client.nthreads():
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since > _NO_WORKER_SECONDS:
                    raise ClusterError(
                        f"The cluster {self._name} has had no worker for {_NO_WORKER_SECONDS:.0f} seconds "
                        f"while {item} was waiting. Start workers, then start again; {_NOTHING_LEFT}."
                    )
            packed = future.result()
        size, content = pickle.loads(packed)  # noqa: S301  every member of the cluster is trusted
        return pickle.loads(decompress(content, size, "lz4"))  # noqa: S301  likewise

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the work, and the connection unless it belongs to the caller."""
        with suppress(Exception):  # the cluster may be gone already
            self._executor.shutdown(wait=wait and not cancel_futures)
        if self._is_own:
            with suppress(Exception):
                self._client.close(timeout=_LOOK_SECONDS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown(wait=error is None)

    @contextmanager
    def _reported(self, when: str) -> Iterator[None]:
        """Convert errors between this process and the workers to our own."""
        try:
            yield
        except ChatlioKitError:
            raise
        except self._killed as killed:
            worker = getattr(getattr(killed, "last_worker", None), "address", "unknown")
            raise ClusterError(
                f"Workers of the cluster {self._name} died repeatedly while {when}, most recently {worker}. "
                "They have probably run out of memory: give them more memory or fewer threads, and start "
                f"again; {_NOTHING_LEFT}."
            ) from None
        except Exception as wrong:
            if self._client.status != "running" or isinstance(wrong, CancelledError | OSError):
                raise ClusterError(
                    f"The connection to the cluster {self._name} was lost while {when}. Check that the "
                    f"cluster is running, and start again; {_NOTHING_LEFT}."
                ) from None
            # a worker that cannot load the task fails before our code runs
            raise ClusterError(
                f"The cluster {self._name} failed while {when}: {_words_of(wrong)}. Check that all its "
                f"workers have the same packages, and start again; {_NOTHING_LEFT}."
            ) from None

    def _require_workers(self) -> None:
        """Wait for a worker; a cluster that grows on demand starts one for its first task."""
        if self._client.nthreads():
            return
        first = self._executor.submit(os.getpid)
        if not wait([first], _ANSWER_SECONDS).done:
            raise ClusterError(
                f"The cluster {self._name} has no workers. Start some with: dask worker {self._name}"
            )

    def _require_versions(self) -> None:
        versions = self._client.get_versions(packages=_SAME_VERSIONS)
        ours = _versions_in(versions["client"])
        for worker, its in sorted(versions["workers"].items()):
            theirs = _versions_in(its)
            different = " and ".join(
                f"{name} {theirs[name] or '(not installed)'} instead of {ours[name]}"
                for name in ours
                if theirs[name] != ours[name]
            )
            if different:
                raise ClusterError(
                    f"The worker {worker} has {different}, so its results could differ. Install the same "
                    "versions there and start again; nothing was read."
                )


def _connected(distributed: Any, address: str) -> Any:
    try:
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # our error replaces its warnings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # likewise
            # with an invalid address, the client would warn at exit and show its secrets
            distributed.comm.get_address_host_port(address)
            return distributed.Client(address, timeout=_ANSWER_SECONDS, set_as_default=False)
    except Exception:  # its message repeats the URL with its secrets
        raise ClusterError(
            f"No Dask scheduler answers at {without_credentials(address)!r}. Check the address, e.g. "
            "tcp://host:8786, and the network."
        ) from None


def _versions_in(report: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the versions that must be the same; Python's without the patch level."""
    found = report["packages"]
    return {
        "python": ".".join(found["python"].split(".")[:2]),
        **{name: found.get(name) for name in _SAME_VERSIONS},
    }


def without_credentials(address: str) -> str:
    """Return a URL without user, password and query."""
    scheme, separator, rest = address.strip().rpartition("://")
    host = re.split(r"[/?#]", rest.rpartition("@")[2], maxsplit=1)[0]
    return f"{scheme}{separator}{host}"


def worker_address() -> str:
    """Return the URL of the cluster's worker that runs this."""
    from distributed import get_worker  # noqa: PLC0415  an extra

    return str(get_worker().address)


@contextmanager
def failing_as(step: str, item: object) -> Iterator[None]:
    """Convert errors on a cluster worker to errors that name worker, step and item."""
    try:
        yield
    except ClusterError:
        raise
    except Exception as wrong:
        raise ClusterError(
            f"The worker {worker_address()} could not {step} {item}: {_words_of(wrong)}. "
            f"Fix the cause on that worker, and start again; {_NOTHING_LEFT}."
        ) from None


def _words_of(wrong: Exception) -> str:
    if isinstance(wrong, OSError) and wrong.strerror:
        return wrong.strerror
    return str(wrong).partition("\n")[0].rstrip(".") or type(wrong).__name__


def _work_on_cluster(work: Callable[[Item], Result], item: Item) -> bytes:
    """Return a pickled result, compressed because it crosses a network and waits in memory."""
    from pyarrow import compress  # noqa: PLC0415  as above

    with paused_collection(), failing_as("convert", item):
        result = pickle.dumps(work(item), protocol=5)
        return pickle.dumps((len(result), compress(result, "lz4", asbytes=True)))


class _Worker(SpawnProcess):
    def start(self) -> None:
        with _isolated():
            super().start()


class _Context(SpawnContext):
    """A context that records the processes it starts."""

    def __init__(self) -> None:
        self.started: list[_Worker] = []

    def Process(self, *args: Any, **named: Any) -> _Worker:  # type: ignore[override]  # noqa: N802
        self.started.append(_Worker(*args, **named))
        return self.started[-1]


@contextmanager
def _isolated() -> Iterator[None]:
    """Hide the parts of this process that new processes must not inherit.

    ``multiprocessing`` passes on the program's main module, import path and environment. The only way to
    prevent that is to change them while a process starts. Only the program itself handles interrupts.
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

    If this package itself is in the current folder, the folder comes last, so that it replaces no module.
    """
    current, package = Path.cwd(), str(Path(__file__).resolve().parent.parent)
    kept = [entry for entry in path if entry and Path(entry).resolve() != current]
    return kept if package in kept else [*kept, package]


def _prepare_worker(preload: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    # pandera imports hypothesis if it is installed, which only costs time and memory.
    sys.modules["hypothesis"] = None  # type: ignore[assignment]
    gc.disable()  # rows have no cycles, and searching for them takes a tenth of the time
    for name in preload:
        import_module(name)
    gc.freeze()


def _end_with_parent() -> None:
    """End this process with the program: a killed program cannot end its workers."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
