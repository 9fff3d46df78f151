"""The pace of sending from frames, ledger on, to a sink that answers at once: unpaced, and held to a pace.

Beside it stands the plain loop that a user would write: ``to_dict``, ``json.dumps``, ``requests.post``.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import orjson
import pandas as pd
import requests

from chatlio_kit.connection import Destination
from chatlio_kit.delivery import Ledger
from chatlio_kit.delivery.pacing import Pace
from chatlio_kit.delivery.packing import pack
from chatlio_kit.delivery.run import _accepted
from chatlio_kit.delivery.sending import Sender
from chatlio_kit.delivery.wire import wire_records
from chatlio_kit.platform import Inlet
from chatlio_kit.samples import write_sample
from chatlio_kit.settings import Secret
from chatlio_kit.tables import Export, Settling

_ID = re.compile(rb'"event_id":')


class Sink(BaseHTTPRequestHandler):
    """Takes everything at once; counts messages a second."""

    protocol_version = "HTTP/1.1"
    latency = 0.0
    seen: ClassVar[Counter[int]] = Counter()

    def do_POST(self) -> None:
        """Answer 207 with a success element for each message."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        count = len(_ID.findall(body))
        Sink.seen[int(time.monotonic())] += count
        time.sleep(self.latency)
        said = orjson.dumps({"responses": [{"xactionId": f"1:2:3:{place}"} for place in range(count)]})
        self.send_response(207)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


Frames = list[tuple[pd.DataFrame, pd.DataFrame]]


def ours(url: str, frames: Frames, pace: Pace, state: Path) -> int:
    """Send frames with ours, the ledger on; give the ledger's bytes."""
    with Ledger(state) as ledger, Inlet(Secret(url), "flow", connections=32) as inlet:
        book = ledger.book(Destination("local", "org", "prod", "dataset", "bench"))
        number = book.begin_run(datetime.now(UTC))
        sender = Sender(inlet.post_batch, pace)
        for events, messages in frames:
            book.expect(number, _accepted(events))
            for _, theirs in events.groupby("kind", sort=False):
                mine = messages[messages["event_id"].isin(theirs["event_id"])]
                for outcome in sender.send(pack(wire_records(theirs, mine))):
                    book.settle(outcome.delivered, outcome.dead, outcome.pending)
        assert book.tally().delivered == sum(len(events) for events, _ in frames)
    return (state / "ledger.db").stat().st_size


def plain_loop(url: str, frames: Frames) -> None:
    """Send frames as a user would."""
    session = requests.Session()
    for events, _ in frames:
        rows = json.loads(events.to_json(orient="records", date_format="iso"))
        for at in range(0, len(rows), 500):
            body = json.dumps({"messages": rows[at : at + 500]})
            session.post(url.replace("/collection/", "/collection/batch/"), data=body, timeout=60)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the paced run lasts")
    parser.add_argument("--pace", type=float, default=9_000)
    parser.add_argument("--latency", type=float, default=0.1, help="of the paced run's answers")
    given = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/collection/inlet"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sample = write_sample(root / "captures", events=given.events, seed=7)
        frames = [
            (each.built.events, each.built.messages) for each in Export([sample.path], Settling()).sifted()
        ]
        count = sum(len(events) for events, _ in frames)
        print(f"{count:,} events; rates in messages a second, the sink in the same process")
        started = time.perf_counter()
        plain_loop(url, frames)
        print(f"{'plain loop, no ledger':36} {count / (time.perf_counter() - started):>10,.0f}")
        started, busy = time.perf_counter(), time.process_time()
        size = ours(url, frames, Pace(1e9, 1e9), root / "unpaced")
        seconds = time.perf_counter() - started
        print(f"{'ours, unpaced, ledger on':36} {count / seconds:>10,.0f}")
        print(f"{'  CPU seconds':36} {time.process_time() - busy:>10.1f}")
        print(f"{'  ledger, bytes an event':36} {size / count:>10,.0f}")
        Sink.latency, Sink.seen = given.latency, Counter()
        wanted, kept = int(given.pace * given.seconds), 0
        few = []
        for events, messages in frames:
            if kept >= wanted:
                break
            few.append((events, messages))
            kept += len(events)
        started, busy = time.perf_counter(), time.process_time()
        ours(url, few, Pace(given.pace), root / "paced")
        seconds = time.perf_counter() - started
        print(f"{f'ours, paced at {given.pace:,.0f}, {given.latency} s latency':36} {kept / seconds:>10,.0f}")
        print(f"{'  share of a core':36} {(time.process_time() - busy) / seconds:>10.2f}")
        print(f"{'  highest second':36} {max(Sink.seen.values()):>10,}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'peak memory, MB':36} {peak:>10,.0f}")
    server.shutdown()


if __name__ == "__main__":
    main()
