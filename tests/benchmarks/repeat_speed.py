"""Read files that repeat one item, in two sizes, to check that time grows linearly with size.

    python tests/benchmarks/repeat_speed.py [--size 400000]

Each item occurs alone, in arrays, among valid records and in a table, in files of the given size and in files
of a quarter of it. For every item, the slowest file is printed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from chatlio_kit.captures.formats.splitting import read_records

THINGS: tuple[bytes, ...] = (
    b"x,", b"x", b"{", b"[", b'"', b"\\", b",", b"\n", b"}", b"]", b" ", b"9", b"\0", b"},{", b"}{", b"][",
    b"[],", b"{},", b"[{", b'{"a":', b'{"a":[', b'{"a":1', b'{"a":1},', b'{"a":1},{', b'{"a":x},', b'"a":',
    b'{"', b'""', b'"\\', b"\\u0041", b"} ", b"x,\n", b"{\n", b'{"a":1\n', b"1e,", b"tru,", b"\xed\xa0\x80,",
    b"\xf0",
)  # fmt: skip
SHARE = 4
ROUNDS = 3
FAST = 0.05
"""Durations below this many seconds are not compared."""
_GOOD = (
    b'{"receivedAt":"2024-03-11T08:59:43.250Z","kind":"conversation_started","payload":{"visitor":{},'
    b'"message":"Hi","conversationUUID":"%08x-3b6d-4f08-5a91-0d4e6b2f8c13"}}'
)


def files(thing: bytes, size: int) -> Iterator[tuple[str, bytes]]:
    """Return files of about a given size that repeat one item."""
    many = thing * (size // len(thing))
    first, last = _GOOD % 1, _GOOD % 2
    yield "alone", many
    yield "an array", b"[" + many + b"]"
    yield "an array without its end", b"[" + many
    yield "between lines", b"\n".join([first, many, last])
    yield "between elements", b"[" + b",".join([first, many, last]) + b"]"
    yield "between objects", first + many + last
    yield "in a text", b"[" + first + b',{"a":"' + many + b'"},' + last + b"]"
    yield "in a list", b"[" + first + b',{"a":[' + many + b"]}," + last + b"]"
    row = b'a,"' + first.replace(b'"', b'""') + b'"\n'
    yield "below a header", b"kind,payload\n" + row + many + b"\n" + row
    yield "in an open cell", b"kind,payload\n" + row + b'a,"' + many + b"\n" + row
    few = thing * 20
    yield "good and bad by turns", b"[" + b",".join([first + b"," + few] * (size // len(first + few))) + b"]"


def least(content: bytes) -> float:
    """Return the best of a few rounds."""
    return min(seconds(content) for _ in range(ROUNDS))


def seconds(content: bytes) -> float:
    """Read a file's records; return the processor time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        path.write_bytes(content)
        started = time.process_time()
        with path.open("rb") as file:
            for _ in read_records(file):
                pass
        return time.process_time() - started


def main() -> None:
    """Measure, and print the slowest file of each thing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=400_000)
    size = parser.parse_args().size
    print(f"{'over and over':18} {'slowest':26} {'seconds':>8} {f'times 1/{SHARE}':>10}")
    worst = 0.0
    for thing in THINGS:
        taken, name = max((seconds(content), name) for name, content in files(thing, size))
        growth = least(dict(files(thing, size))[name]) / least(dict(files(thing, size // SHARE))[name])
        worst = max(worst, growth if taken > FAST else 0.0)
        print(f"{ascii(thing)[1:]:18} {name:26} {taken:8.2f} {growth:10.1f}", flush=True)
    print(f"A file {SHARE} times as long took at most {worst:.1f} times as long.")


if __name__ == "__main__":
    main()
