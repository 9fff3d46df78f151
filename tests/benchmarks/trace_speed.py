"""Trace single events among a million: duration of a look-up and of the whole command.

    python tests/benchmarks/trace_speed.py [--events 1000000] [--work FOLDER]

A sample export is converted, and a ledger is filled with its events as a run fills it: accepted, and landed.
Every tenth of a thousand is a dead letter with its record kept. Then everything that can be traced is traced,
in this process and as a command. A folder named with ``--work`` is used again by the next call.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

import chatlio_kit as ck
from chatlio_kit.connection import Destination
from chatlio_kit.delivery import DestinationLedger, Ledger
from chatlio_kit.delivery.ledger.models import DeadLetter, Delivered, Refused
from chatlio_kit.tables import Export, ReadOptions, convert
from chatlio_kit.tables.arrow import frame_of

CHUNK = 50_000
REQUEST = 450
REFUSED = 10_000
"""One in this many events is refused."""


def fill(tables: Path, state: Path) -> None:
    """Fill a ledger with the events of tables."""
    destination = Destination("local", "BENCH@AdobeOrg", "prod", "0" * 24, "chatlio")
    with Ledger(state) as ledger:
        book = DestinationLedger(ledger, destination)
        run = book.begin_run(datetime.now(UTC))
        for batch in pq.ParquetFile(tables / "events.parquet").iter_batches(CHUNK):
            events = frame_of(batch)
            rows = book.insert_pending(run, events).tolist()
            ids = events["event_id"].tolist()
            requests = [
                Delivered(start // REQUEST, {row: f"{row}:1" for row in rows[start : start + REQUEST]})
                for start in range(0, len(rows), REQUEST)
            ]
            book.record_answers(requests)
            letters = [
                Refused(
                    row,
                    1,
                    DeadLetter(event_id, "refused_400", "no", b'{"event_id":"%s"}' % event_id.encode()),
                )
                for row, event_id in zip(rows[::REFUSED], ids[::REFUSED], strict=True)
            ]
            book.record_answers([], letters)
        read = book.landings.begin_read(datetime.now(UTC))
        for number, batch in enumerate(
            pq.ParquetFile(tables / "events.parquet").iter_batches(CHUNK, columns=["event_id"])
        ):
            ids = batch["event_id"].to_pylist()
            landed = [event_id for index, event_id in enumerate(ids) if index % REFUSED]
            book.landings.mark_landed(read, f"batch-{number:04d}", [landed])
        book.landings.finish_read(read, datetime.now(UTC))


def examples(tables: Path) -> dict[str, str]:
    """Return an example of each type from the middle of the tables."""
    columns = [
        "event_id",
        "kind",
        "conversation_id",
        "visitor_id",
        "visitor_email",
        "source_file",
        "source_record",
    ]
    file = pq.ParquetFile(tables / "events.parquet")
    events = frame_of(file.read(columns=columns))
    events = events.iloc[len(events) // 10 :]
    full = events[events["kind"] == "conversation_started"].dropna().iloc[0]
    return {
        "an event id": str(full["event_id"]),
        "a conversation id": str(full["conversation_id"]),
        "a visitor id": str(full["visitor_id"]),
        "an address": str(full["visitor_email"]),
        "a file and record": f"{full['source_file']}:{full['source_record']}",
        "an unknown id": "0" * 64,
    }


def main() -> None:
    """Prepare, trace, and print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        tables, state = work / "tables", work / "state"
        if not state.exists():
            captures = ck.write_sample(work / "captures", events=options.events).path
            convert(Export([captures], ReadOptions()), tables, quiet=True)
            fill(tables, state)
        size = (state / "ledger.db").stat().st_size
        rows = pq.read_metadata(tables / "events.parquet").num_rows
        print(f"{rows:,} events, ledger of {size / 1e6:,.0f} MB\n")
        print("| what | ledger | ledger and tables | command, all |\n| --- | ---: | ---: | ---: |")
        for name, what in examples(tables).items():
            seconds = []
            for folders in ([], [tables]):
                started = time.perf_counter()
                trace = ck.trace(what, tables=folders, state=state)
                seconds.append(time.perf_counter() - started)
            started = time.perf_counter()
            command = [sys.executable, "-m", "chatlio_kit", "trace", what, "--state", str(state)]
            command += ["--tables", str(tables), "--json"]
            subprocess.run(command, check=False, capture_output=True)
            seconds.append(time.perf_counter() - started)
            print(
                f"| {name}: {len(trace.events)} events | "
                + " | ".join(f"{each:.2f} s" for each in seconds)
                + " |"
            )


if __name__ == "__main__":
    main()
