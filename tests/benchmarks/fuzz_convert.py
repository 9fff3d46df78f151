"""Damage captures in every form and container, convert them, and compare with the originals.

Half of the inputs are damaged byte by byte, before or after they are packed; in the other half one record
gets an unexpected value, key or nesting. For every input, three conditions must hold: no exception;
``read = accepted + rejected + duplicates``, each record in one place; and the records that the damage did not
touch are accepted with exactly the payload they had. Data with a checksum is never altered without
a report.
"""

from __future__ import annotations

import argparse
import base64
import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import os
import random
import resource
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from repeat_speed import THINGS

from chatlio_kit.captures import archives_of
from chatlio_kit.chatlio.event_ids import canonical, digest
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import Export, ReadOptions

RECORDS = 6
BATCH = 1000
Spans = list[tuple[int, int]]
"""The start and end of each record in a text."""


@dataclass
class Input:
    """A damaged file.

    Attributes:
        name: its name, which describes its creation.
        content: its bytes.
        whole: the digests of the original payloads.
        untouched: the digests of undamaged payloads.
        is_sealed: True if a checksum protects the contents.
    """

    name: str
    content: bytes
    whole: set[str]
    untouched: set[str]
    is_sealed: bool


@dataclass
class Outcome:
    """The outcomes of some inputs."""

    inputs: int = 0
    read: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    altered: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Add other outcomes."""
        self.inputs += other.inputs
        self.read += other.read
        self.accepted += other.accepted
        self.duplicates += other.duplicates
        self.rejected += other.rejected
        self.altered += other.altered
        self.wrong += other.wrong


def _joined(records: Sequence[bytes], before: bytes, between: bytes, after: bytes) -> tuple[bytes, Spans]:
    text, spans = bytearray(before), []
    for place, record in enumerate(records):
        text += between if place else b""
        spans.append((len(text), len(text) + len(record)))
        text += record
    return bytes(text + after), spans


def _lines(values: list[Any], end: bytes, before: bytes = b"") -> tuple[bytes, Spans]:
    return _joined([orjson.dumps(value) for value in values], before, end, end)


def _array(values: list[Any], between: bytes, indent: int | None = None) -> tuple[bytes, Spans]:
    texts = [json.dumps(value, indent=indent, ensure_ascii=False).encode() for value in values]
    blank = b"\n" if b"\n" in between else b""
    return _joined(texts, b"[" + blank, between, blank + b"]")


def _csv(values: list[Any]) -> tuple[bytes, Spans]:
    rows = []
    for value in values:
        row = io.StringIO()
        columns = (
            value.get("receivedAt", ""),
            value.get("kind", ""),
            orjson.dumps(value["payload"]).decode(),
        )
        csv.writer(row, lineterminator="").writerow(columns)
        rows.append(row.getvalue().encode())
    return _joined(rows, b"receivedAt,kind,payload\n", b"\n", b"\n")


FORMS: dict[str, Callable[[list[Any]], tuple[bytes, Spans]]] = {
    "ndjson": lambda values: _lines(values, b"\n"),
    "crlf": lambda values: _lines(values, b"\r\n"),
    "bom": lambda values: _lines(values, b"\n", codecs.BOM_UTF8),
    "array": lambda values: _array(values, b","),
    "array-lines": lambda values: _array(values, b",\n"),
    "array-pretty": lambda values: _array(values, b",\n", 2),
    "concatenated": lambda values: _lines(values, b""),
    "pretty": lambda values: _joined(
        [json.dumps(each, indent=1).encode() for each in values], b"", b"\n", b"\n"
    ),
    "csv": _csv,
}


def _zipped(text: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/captures", text)
        archive.writestr("empty", b"")
    return packed.getvalue()


def _utf16(text: bytes) -> bytes:
    words = text.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
    return codecs.BOM_UTF16_LE + words.encode("utf-16-le", "surrogatepass")


CONTAINERS: dict[str, tuple[Callable[[bytes], bytes], bool]] = {
    "plain": (bytes, False),
    "gzip": (lambda text: gzip.compress(text, 1), True),
    "bzip2": (lambda text: bz2.compress(text, 1), True),
    "xz": (lambda text: lzma.compress(text, preset=0), True),
    "zstd": (lambda text: pa.compress(text, codec="zstd", asbytes=True), False),  # written without a checksum
    "zip": (_zipped, True),
    "utf16": (_utf16, False),
    "parquet": (bytes, False),
}

_TOKENS = (
    b"\n", b"\r\n", b"\0", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"NaN", b"Infinity", b"1e999999",
    b"-", b"\\ud83d", b"\xed\xa0\x80", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1f\x8b", b"PK\x03\x04", b"null",
    b"9" * 400, b"[" * 3000, b'{"a":' * 3000, b"}" * 50, b'{"receivedAt":', b"/*", b"true", b"\x80", b" ",
    b"\xe2\x80\xa8", *(thing * 300 for thing in THINGS), *(thing * 7 for thing in THINGS),
)  # fmt: skip


def _edits(chance: random.Random, length: int) -> Iterator[tuple[int, int, bytes | None]]:
    """Return edits as spans and replacements, the last first; None repeats the original."""
    count = chance.choice((1, 1, 1, 2, 4))
    for place in sorted((chance.randrange(length) for _ in range(count)), reverse=True):
        match chance.randrange(8):
            case 0 | 1:
                yield place, place + 1, bytes([chance.randrange(256)])
            case 2:
                yield place, place + 1, chance.choice(_TOKENS)
            case 3:
                yield place, place, chance.choice(_TOKENS)
            case 4:
                yield place, min(length, place + chance.choice((1, 1, 2, 5, 40, 400))), b""
            case 5:
                yield place, min(length, place + chance.randrange(1, 300)), None
            case 6:
                yield place, length, b""  # truncated
            case _:
                yield place, place + 1, chance.choice(b'{}[]",:\\\n0').to_bytes()


def _damaged(
    chance: random.Random, text: bytes, spans: Spans, *, needs_head: bool = False
) -> tuple[bytes, set[int]]:
    """Damage a text; return the affected records: both next to a separator, all below a header."""
    changed, touched, later = bytearray(text), set[int](), len(text)
    for start, at_most, new in _edits(chance, len(text)):
        end, later = min(at_most, later), start
        if bytes(changed[start:end]) == new:
            continue
        changed[start:end] = bytes(changed[start:end]) * 2 if new is None else new
        touched |= {
            number
            for number, (first, last) in enumerate(spans)
            if (start <= last + 3 and end >= first - 3) or (needs_head and start < spans[0][0])
        }
    return bytes(changed), touched


_NUMBERS = (
    "NaN", "-Infinity", "1e999999", "9" * 5000, "1e400", "1e-400", "0.1234567890123456789", "-0.0",
    "9007199254740993.0", "12345678901234567890.5", "1E-5",
    "[0.12345678901234567890, 123456789012345678901234567890]",
    f"{'[' * 300}0.1234567890123456789{']' * 300}",
)  # fmt: skip
_ODD: tuple[Any, ...] = (
    None, "", [], {}, 0, -1, 1.5, True, 2**63, -(2**70), 10**30, 1e308, "\0", "\ud83d", "0000-00-00",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:60Z", "2024-02-30T00:00:00Z", "x" * 5000, "00123", "1.10",
    ["a", ["b"]], {"a": {"b": None}}, "{\"a\":1}", "<script>", "1e999999", "1" * 400, [{}], [None], "\u202e",
)  # fmt: skip


def _odd(chance: random.Random, record: dict[str, Any]) -> bytes:
    """Write a record with unexpected content."""
    record = deepcopy(record)
    inside: Any = record
    while isinstance(inside, dict | list) and inside and chance.random() < 0.8:
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        key = chance.choice(keys)
        if not isinstance(inside[key], dict | list) or not inside[key] or chance.random() < 0.3:
            inside[key] = chance.choice(_ODD)
            break
        inside = inside[key]
    text = json.dumps(record)
    match chance.randrange(8):
        case 0:
            return text.replace('"payload":', '"payload": {"a": 1, "a": 2}, "payload":', 1).encode()
        case 1:
            return text.replace('"kind":', f'"deep": {"[" * 2000}{"]" * 2000}, "kind":', 1).encode()
        case 2:
            place = chance.choice(('"kind":', '"visitor":', '"message":', '"probe":'))
            return text.replace(place, f'"n": {chance.choice(_NUMBERS)}, {place}', 1).encode()
        case 3:
            return json.dumps(chance.choice(_ODD)).encode()
        case _:
            return text.encode()


def make(number: int, seed: int, base: list[dict[str, Any]]) -> Input:
    """Create one input; the same for the same number and seed."""
    chance = random.Random(f"{seed}|{number}")
    records = []
    for place in range(RECORDS):
        record = deepcopy(base[(number * RECORDS + place) % len(base)])
        record["widget"] = f"w-{number}"
        record["payload"]["probe"] = f"{number}-{place}"
        if "conversationUUID" in record["payload"]:
            record["payload"]["conversationUUID"] = f"{number:08x}-{place:04x}-4000-8000-{seed:012x}"
        records.append(record)
    digests = [digest(canonical(record["payload"])) for record in records]
    container = chance.choice(list(CONTAINERS))
    pack, is_sealed = CONTAINERS[container]
    form = "rows" if container == "parquet" else chance.choice(list(FORMS))
    touched: set[int] = set()
    if container == "parquet":
        how, text, spans = "packed", _parquet(records), list[tuple[int, int]]()
    elif chance.random() < 0.5 and form not in ("csv", "pretty"):
        how, bad = "odd", chance.randrange(RECORDS)
        texts = [orjson.dumps(record) for record in records]
        texts[bad] = _odd(chance, records[bad])
        before, between, after = {
            "array": (b"[", b",", b"]"),
            "array-lines": (b"[\n", b",\n", b"\n]"),
            "concatenated": (b"", b"", b""),
        }.get(form, (b"", b"\n", b"\n"))  # fmt: skip
        text, spans = _joined(texts, before, between, after)
        touched = {bad}
    else:
        text, spans = FORMS[form](records)
        how = chance.choice(("text", "text", "packed")) if container != "plain" else "text"
        if how == "text":
            text, touched = _damaged(chance, text, spans, needs_head=form == "csv")
    content = pack(text)
    if how == "packed":
        content, _ = _damaged(chance, content, [])
    untouched = {each for place, each in enumerate(digests) if place not in touched}
    name = f"{number:08}-{form}-{container}-{how}"
    return Input(name, content, set(digests), untouched if how != "packed" else set(), is_sealed)


def _parquet(records: list[dict[str, Any]]) -> bytes:
    columns = {
        "receivedAt": [each.get("receivedAt") for each in records],
        "kind": [each.get("kind") for each in records],
        "payload": [orjson.dumps(each["payload"]).decode() for each in records],
    }
    packed = io.BytesIO()
    pq.write_table(pa.table(columns), packed)
    return packed.getvalue()


def check(inputs: list[Input]) -> Outcome:
    """Convert inputs together, and compare output and input."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as parent:
        folder = Path(parent) / "f"
        folder.mkdir()
        for each in inputs:
            (folder / each.name).write_bytes(each.content)
        try:
            return _compare(inputs, folder)
        except Exception:
            if len(inputs) == 1:
                shown = base64.b64encode(inputs[0].content[:3000]).decode()
                reported = traceback.format_exc().splitlines()[-12:]
                return Outcome(1, wrong=["\n".join([f"{inputs[0].name} raised:", *reported, shown])])
    outcome = Outcome()  # one of them raised: which?
    for each in inputs:
        outcome.add(check([each]))
    return outcome


def _compare(inputs: list[Input], folder: Path) -> Outcome:
    export = Export([folder], ReadOptions(), workers=0)
    accepted: dict[str, set[str]] = {each.name: set() for each in inputs}
    unreadable: set[str] = set()
    places: Counter[tuple[str, int]] = Counter()
    outcome = Outcome(len(inputs))
    for batches in export.batches():
        events = batches.events
        outcome.duplicates += batches.duplicates
        outcome.accepted += len(events)
        for file, record, payload in zip(
            events["source_file"], events["source_record"], events["payload_digest"], strict=True
        ):
            places[file, record] += 1
            accepted[_input_of(file)].add(payload)
        for each in batches.rejected:
            places[each.file, each.record] += 1
            outcome.rejected[each.reason] += 1
            if each.reason == "unreadable":
                unreadable.add(_input_of(each.file))
            if not each.detail.strip():
                outcome.wrong.append(f"{each.file} record {each.record} was rejected without a word")
    outcome.read = sum(export.captures.read.values())
    if outcome.read != outcome.accepted + outcome.rejected.total() + outcome.duplicates:
        outcome.wrong.append(
            f"of {outcome.read} records {outcome.accepted} were accepted, and so on: {inputs[0].name}"
        )
    outcome.wrong += [
        f"{file} record {record} ended in {count} places"
        for (file, record), count in places.items()
        if count > 1
    ]
    for each in inputs:
        if lost := each.untouched - accepted[each.name]:
            outcome.wrong.append(
                f"{each.name} lost {len(lost)} of {len(each.untouched)} records that were not touched"
            )
        if other := accepted[each.name] - each.whole:
            outcome.altered += len(other)
            if each.is_sealed and each.name.endswith("-packed") and each.name not in unreadable:
                outcome.wrong.append(f"{each.name} gave {len(other)} altered records behind a good checksum")
    return outcome


def _input_of(file: str) -> str:
    return min(archives_of(file), key=len).partition("/")[2]


def read_base() -> list[dict[str, Any]]:
    """Return valid records of several kinds, in complete envelopes, to be damaged."""
    with tempfile.TemporaryDirectory() as folder:
        sample = write_sample(Path(folder) / "x", events=200, seed=3)
        lines: list[bytes] = []
        for path in sorted(sample.path.rglob("*")):
            if path.is_file():
                content = path.read_bytes()
                lines += (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).splitlines()
    records = [orjson.loads(line) for line in lines if line.strip()]
    found = []
    for record in records:
        envelope = record if "payload" in record else {"payload": record}
        if envelope.get("kind") and envelope.get("receivedAt"):
            found.append(envelope)
    return found


def _run(task: tuple[int, int, int]) -> Outcome:
    first, last, seed = task
    base = _BASE or read_base()
    _BASE[:] = base
    return check([make(number, seed, base) for number in range(first, last)])


_BASE: list[dict[str, Any]] = []


def main() -> None:
    """Fuzz, and print the outcomes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--first", type=int, default=0, help="number of the first input, to repeat one")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    started = time.monotonic()
    end = given.first + given.inputs
    tasks = [(at, min(at + BATCH, end), given.seed) for at in range(given.first, end, BATCH)]
    outcome = Outcome()
    with ProcessPoolExecutor(given.workers, get_context("spawn")) as pool:
        for done, each in enumerate(pool.map(_run, tasks), start=1):
            outcome.add(each)
            if sys.stderr.isatty():
                print(f"\r{done * BATCH:,} inputs", end="", file=sys.stderr)
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    rows: list[tuple[str, str]] = [("inputs", f"{outcome.inputs:,}"), ("records read", f"{outcome.read:,}")]
    rows += [("accepted", f"{outcome.accepted:,}"), ("duplicates", f"{outcome.duplicates:,}")]
    rows += [(f"rejected: {reason}", f"{count:,}") for reason, count in outcome.rejected.most_common()]
    rows += [("damage that is another good record", f"{outcome.altered:,}")]
    rows += [("rules broken", f"{len(outcome.wrong):,}"), ("seconds", f"{seconds:,.0f}")]
    rows += [("peak memory of a process, MB", f"{peak:,.0f}")]
    for what, number in rows:
        print(f"{what:36} {number:>12}")
    for sentence in outcome.wrong[:50]:
        print(sentence)
    if outcome.wrong:
        raise SystemExit("The fuzz run failed.")


if __name__ == "__main__":
    main()
