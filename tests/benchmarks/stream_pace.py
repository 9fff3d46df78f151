"""The pace of sending from frames with a ledger: without a limit, limited, and with a million events.

The sink answers immediately or after a latency, in a separate process; each measurement also has its own
process, so that its CPU seconds and peak memory are the sender's alone. Everything goes through ``Run``
and ``stream``; the connection is a real one of the local platform, whose dataflows' inlets are the sink.
It is compared with the plain loop that a user would write: ``to_dict``, ``json.dumps``, ``requests.post``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import pickle
import resource
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection as Pipe
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import requests

import chatlio_kit as ck
from chatlio_kit.aep import Platform
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection import Connection
from chatlio_kit.delivery import Run
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import ensure_running, stop
from chatlio_kit.samples import write_sample
from chatlio_kit.settings import Secret
from chatlio_kit.tables import Export, ReadOptions, Tables, revalidate

Frames = list[tuple[pd.DataFrame, pd.DataFrame]]
Facts = dict[str, float]

SPAWN = multiprocessing.get_context("spawn")


class Sink(asyncio.Protocol):
    """A sink that accepts everything with a success element per message, and records times and counts."""

    def __init__(self, latency: float, seen: list[tuple[float, int]]) -> None:
        self._latency = latency
        self._seen = seen
        self._parts: list[bytes] = []
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport for answers."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Collect a request; requests follow one another on a connection."""
        if not self._missing:
            head, _, data = data.partition(b"\r\n\r\n")
            lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            self._parts, self._missing = [], int(lines[b"content-length"])
        self._parts.append(data)
        self._missing -= len(data)
        if not self._missing:
            count = b"".join(self._parts).count(b'"event_id":"')
            self._seen.append((time.time(), count))
            loop = asyncio.get_running_loop()
            loop.call_later(self._latency, self._transport.write, _answer(count))  # type: ignore[attr-defined]


def _answer(count: int) -> bytes:
    elements = ",".join(f'{{"xactionId":"1760000000500:88:7:{place}"}}' for place in range(count))
    body = f'{{"inletId":"i","responses":[{elements}]}}'
    return f"HTTP/1.1 207 Multi-Status\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def serve_sink(latency: float, pipe: Pipe) -> None:
    """Serve until the other end requests the record."""

    async def work() -> None:
        loop, seen = asyncio.get_running_loop(), list[tuple[float, int]]()
        server = await loop.create_server(lambda: Sink(latency, seen), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await loop.run_in_executor(None, pipe.recv)
        pipe.send(seen)

    asyncio.run(work())


@contextmanager
def sink(latency: float) -> Iterator[tuple[str, list[tuple[float, int]]]]:
    """Run a sink; yield its URL, and fill in its record at the end of the block."""
    here, there = SPAWN.Pipe()
    process = SPAWN.Process(target=serve_sink, args=(latency, there))
    process.start()
    seen: list[tuple[float, int]] = []
    try:
        yield f"http://127.0.0.1:{here.recv()}/collection/inlet", seen
    finally:
        here.send("enough")
        seen += here.recv()
        process.join()


@contextmanager
def connected(state: Path, url: str) -> Iterator[Connection]:
    """Connect to a local platform, and redirect the dataflows' data to the sink."""
    server = ensure_running(state / "local")
    try:
        with Platform(settings_of(server, state)) as platform:
            connection = ck.plan_connection(platform).apply(quiet=True)
            for kind in Kind:
                flow = connection.history_flow(kind)
                connection.history[kind] = replace(flow, inlet_url=Secret(url))
            yield connection
    finally:
        stop(state / "local")


def pieces(frames: Frames, count: int) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Yield this many events by repeating the frames, with new ids in each round.

    New ids are drawn in one go, so that they cost next to nothing beside what is measured.
    """
    places = [pd.Index(events["event_id"]).get_indexer(messages["event_id"]) for events, messages in frames]
    given = 0
    while given < count:
        for (events, messages), theirs in zip(frames, places, strict=True):
            if given >= count:
                return
            given += len(events)
            ids = _new_ids(len(events))
            yield (
                events.assign(event_id=pd.array(ids, dtype=events["event_id"].dtype)),
                messages.assign(event_id=pd.array(ids.take(theirs), dtype=events["event_id"].dtype)),
            )


def _new_ids(count: int) -> pa.Array:
    text, ends = os.urandom(32 * count).hex().encode(), np.arange(0, 64 * count + 1, 64, dtype=np.int64)
    return pa.LargeStringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(text))


def from_pieces(folder: Path, count: int, pace: float | None, latency: float) -> Facts:
    """Send this many events piece by piece, as a backfill does; timed until the last answer is recorded."""
    frames: Frames = pickle.loads((folder / "frames.pickle").read_bytes())  # noqa: S301 - written above
    with (
        sink(latency) as (url, seen),
        tempfile.TemporaryDirectory() as scratch,
        connected(Path(scratch), url) as connection,
    ):
        in_ledger = [0.0]
        with Run(connection, Path(scratch), skip_guard=True, pace=pace, quiet=True) as run:
            run.destination_ledger.insert_pending = _timed(run.destination_ledger.insert_pending, in_ledger)  # type: ignore[method-assign]
            run.destination_ledger.record_answers = _timed(run.destination_ledger.record_answers, in_ledger)  # type: ignore[method-assign]
            started, used = time.perf_counter(), time.process_time()
            for events, messages in pieces(frames, count):
                run.send(events, messages)
        seconds, busy = time.perf_counter() - started, time.process_time() - used
        page = run.page
        size = (Path(scratch) / "ledger.db").stat().st_size
    assert page.run.delivered == sum(came for _, came in seen), page
    return {
        "rate": page.run.delivered / seconds,
        "core": busy / seconds,
        "us": busy * 1e6 / page.run.delivered,
        "ledger": in_ledger[0] / busy,
        "bytes": size / page.run.delivered,
        **_seen(seen),
        "throttled": page.throttled,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def from_tables(folder: Path, pace: float) -> Facts:
    """Send tables with ``stream``, which validates them again and looks for repeated events.

    A process with tables has already validated some, so the validator is loaded beforehand.
    """
    tables: Tables = pickle.loads((folder / "tables.pickle").read_bytes())  # noqa: S301 - written above
    revalidate(tables.events[:1], tables.messages[:0])
    with (
        sink(0.0) as (url, _),
        tempfile.TemporaryDirectory() as scratch,
        connected(Path(scratch), url) as connection,
    ):
        started, used = time.perf_counter(), time.process_time()
        run = ck.stream(tables, connection, skip_guard=True, pace=pace, quiet=True)
        seconds, busy = time.perf_counter() - started, time.process_time() - used
    return {"rate": run.page.run.delivered / seconds, "us": busy * 1e6 / run.page.run.delivered}


def plain_loop(folder: Path) -> Facts:
    """Send frames as a user would."""
    frames: Frames = pickle.loads((folder / "frames.pickle").read_bytes())  # noqa: S301 - written above
    with sink(0.0) as (url, seen):
        started = time.perf_counter()
        for events, _ in frames[:3]:
            rows = events.to_dict(orient="records")
            for at in range(0, len(rows), 500):
                body = json.dumps({"messages": rows[at : at + 500]}, default=str, separators=(",", ":"))
                requests.post(url.replace("/collection/", "/collection/batch/"), data=body, timeout=60)
        seconds = time.perf_counter() - started
    return {"rate": sum(came for _, came in seen) / seconds}


def _timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    lock = threading.Lock()

    def timed(*values: Any) -> Any:
        started = time.thread_time()
        try:
            return function(*values)
        finally:
            with lock:
                spent[0] += time.thread_time() - started

    return timed


def _seen(seen: list[tuple[float, int]]) -> Facts:
    """Return the mean from first to last request, and the maximum in any second."""
    window: deque[tuple[float, int]] = deque()
    within = worst = 0
    for moment, count in sorted(seen):
        window.append((moment, count))
        within += count
        while window[0][0] <= moment - 1:
            within -= window.popleft()[1]
        worst = max(worst, within)
    span = max(1e-9, max(moment for moment, _ in seen) - min(moment for moment, _ in seen))
    return {"mean": sum(count for _, count in sorted(seen)[1:]) / span, "worst": worst}


def _work(pipe: Pipe, done: Event, function: Callable[..., Facts], *values: Any) -> None:
    pipe.send(function(*values))
    done.wait()


def measured(function: Callable[..., Facts], *values: Any) -> Facts:
    """Measure in a separate process."""
    here, there = SPAWN.Pipe()
    done = SPAWN.Event()
    process = SPAWN.Process(target=_work, args=(there, done, function, *values))
    process.start()
    there.close()
    try:
        facts: Facts = here.recv()
    finally:
        done.set()
        process.join()
    return facts


def prepare(folder: Path, events: int) -> None:
    """Convert a sample once, for all measurements."""
    sample = write_sample(folder / "captures", events=events, seed=7)
    frames = [(each.events, each.messages) for each in Export([sample.path], ReadOptions()).batches()]
    (folder / "frames.pickle").write_bytes(pickle.dumps(frames))
    (folder / "tables.pickle").write_bytes(pickle.dumps(ck.read_export(sample.path).to_tables(quiet=True)))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--events", type=int, default=100_000, help="events of the sample, sent over and over"
    )
    parser.add_argument("--unpaced", type=int, default=300_000, help="events sent without a pace")
    parser.add_argument(
        "--many", type=int, default=1_000_000, help="events of the run that shows flat memory"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each paced run lasts")
    parser.add_argument("--pace", type=float, default=9_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = SPAWN.Process(target=prepare, args=(folder, given.events))
        process.start()
        process.join()
        print("messages a second; the sink, the platform and each measurement are processes of their own")
        _print("plain loop, no ledger", measured(plain_loop, folder)["rate"])
        unpaced = measured(from_pieces, folder, given.unpaced, 1e9, 0.0)
        _print("ours, frames to sink, ledger on", unpaced["rate"])
        _print("  CPU microseconds an event", unpaced["us"], 1)
        _print("  the ledger's share of the CPU time", unpaced["ledger"], 2)
        tables = measured(from_tables, folder, 1e9)
        _print("ours, stream(tables), validated again", tables["rate"])
        _print("  CPU microseconds an event", tables["us"], 1)
        for latency in (0.0, 0.1):
            paced = measured(from_pieces, folder, int(given.pace * given.seconds), given.pace, latency)
            _print(f"ours, paced at {given.pace:,.0f}, latency {latency * 1000:.0f} ms", paced["rate"])
            _print("  fullest second", paced["worst"])
            _print("  share of a core", paced["core"], 2)
        few = measured(from_pieces, folder, given.many // 10, 1e9, 0.0)
        many = measured(from_pieces, folder, given.many, 1e9, 0.0)
        _print(f"ours, {given.many:,} events", many["rate"])
        _print(f"  peak memory, MB, of {given.many // 10:,} events", few["peak"])
        _print(f"  peak memory, MB, of {given.many:,} events", many["peak"])
        _print("  ledger, bytes an event", many["bytes"])
        _print("  the ledger's share of the CPU time", many["ledger"], 2)


def _print(what: str, value: float, digits: int = 0) -> None:
    print(f"{what:44} {value:>12,.{digits}f}", flush=True)


if __name__ == "__main__":
    main()
