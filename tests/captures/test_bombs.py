"""Small files that expand to gigabytes are reported, and neither memory nor disk fills up."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chatlio_kit.captures import Captures
from chatlio_kit.chatlio.rejections import Reason, Rejection
from chatlio_kit.tables import RejectedFile, output


def _parquet(table: Any, **options: Any) -> bytes:
    packed = io.BytesIO()
    pq.write_table(table, packed, compression="zstd", write_statistics=False, **options)
    return packed.getvalue()


def _repeated(kind: Any) -> Any:
    """A thousand times the same million bytes."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array(["x" * 1_000_000], kind))
    return pa.table({"payload": text})


NULLS = pa.nulls(50_000_000, pa.int8())


def _listed() -> Any:
    """One row that lists the same hundred thousand bytes a hundred thousand times."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array(["x" * 100_000]))
    return pa.table({"payload": pa.ListArray.from_arrays(pa.array([0, 100_000], pa.int32()), text)})


PARQUET: dict[str, Callable[[], tuple[bytes, list[str]]]] = {
    "a text in a dictionary": lambda: (_parquet(_repeated(pa.string())), []),
    "a list of a text in a dictionary": lambda: (_parquet(_listed()), ["too_large"]),
    "a text of 200 MB": lambda: (
        _parquet(pa.table({"payload": ["x" * 200_000_000]}), use_dictionary=False), ["too_large"]
    ),
    "texts that begin alike": lambda: (
        _parquet(
            pa.table({"payload": ["x" * 1_000_000] * 400}), use_dictionary=False,
            column_encoding={"payload": "DELTA_BYTE_ARRAY"},
        ),
        [],
    ),
    "a list of 50 million nulls": lambda: (
        _parquet(
            pa.table(
                {"payload": pa.ListArray.from_arrays(pa.array([0, 50_000_000], pa.int32()), NULLS)}
            )
        ),
        ["too_large"],
    ),
    "20 million rows of nothing": lambda: (
        _parquet(pa.table({"payload": pa.nulls(20_000_000, pa.int8())}), row_group_size=20_000_000),
        ["too_large"],
    ),
    "missing bytes of one length": lambda: (
        _parquet(pa.table({"payload": pa.nulls(1000, pa.binary(1_000_000))})), []
    ),
}  # fmt: skip

_READ = """
import json, resource, sys
import pyarrow.parquet
from chatlio_kit.captures import Captures
from chatlio_kit.captures.formats import parquet_tables
captures = Captures([sys.argv[1]])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read, rejected = 0, []
for piece in captures.batches():
    read += piece.read
    rejected += [rejection.reason for rejection in piece.rejected]
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"read": read, "rejected": rejected, "kilobytes": after - before}))
"""


@pytest.mark.parametrize("bomb", PARQUET)
def test_a_parquet_bomb_takes_little_memory(tmp_path: Path, bomb: str) -> None:
    """A few bytes that expand far beyond the memory limit are read in parts, or reported."""
    content, rejected = PARQUET[bomb]()
    assert len(content) < 100_000
    (tmp_path / "a").write_bytes(content)
    done = subprocess.run([sys.executable, "-c", _READ, tmp_path / "a"], capture_output=True, check=True)
    reported = json.loads(done.stdout)
    assert reported["rejected"] == rejected
    assert reported["kilobytes"] < 400_000
    if not rejected:
        assert reported["read"] in (400, 1000)


def test_a_large_valid_parquet_file_is_read_entirely(tmp_path: Path) -> None:
    """Long strings, lists, nulls and repeated values in an honest table are all read, in every row."""
    rows = [
        {"payload": json.dumps({"n": number, "text": "word " * 300}), "kind": "feedback", "none": None,
         "tags": ["a", "b" * (number % 7)] * 20, "inside": {"texts": [{"text": "same " * 40}] * 3}}
        for number in range(5000)
    ]  # fmt: skip
    (tmp_path / "a").write_bytes(_parquet(pa.Table.from_pylist(rows), row_group_size=1500))
    found = [orjson.loads(raw) for piece in Captures([tmp_path / "a"]).batches() for raw in piece.raws]
    assert [entry["payload"]["n"] for entry in found] == list(range(5000))
    assert [entry["tags"] for entry in found] == [row["tags"] for row in rows]
    assert all(entry["inside"] == rows[0]["inside"] for entry in found)


@pytest.mark.parametrize(
    "pack", [bz2.compress, lzma.compress, lambda content: pa.compress(content, codec="zstd", asbytes=True)]
)
def test_reading_of_a_decompression_bomb_stops_partway(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    """A file of a few kB that expands to 25 MB of lines is given up partway; the records before are kept."""
    line = b'{"n": 1, "text": "' + b"x" * 980 + b'"}\n'
    (tmp_path / "a").write_bytes(pack(line * 25_000))
    captures = Captures([tmp_path / "a"])
    rejected = [rejection.detail for piece in captures.batches() for rejection in piece.rejected]
    assert len(rejected) == 1
    assert "expands to over 1,100 times its size" in rejected[0]
    assert 0 < captures.read["a"] < 20_000


def test_rejects_are_listed_up_to_a_limit_and_all_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long records are shown in part; of very many rejections, a last line counts the unlisted ones."""
    for name, value in {
        "MOST_LISTED": 10,
        "MOST_SHOWN": 5000,
        "LONGEST_SHOWN": 2000,
        "BEGINNING": 20,
    }.items():
        monkeypatch.setattr(output, name, value)

    def reject(number: int, reason: Reason, raw: str | None, file: str = "a") -> Rejection:
        return Rejection(file, number, reason, None, "Wrong.", raw)

    with RejectedFile(tmp_path / "rejected.jsonl") as rejected:
        rejected.add(reject(number, Reason.NOT_JSON, "x" * 1000) for number in range(1, 40))
        rejected.add([reject(1, Reason.MISSING, "y" * 2001), reject(1, Reason.MISSING, None, "b")])
    reported = [orjson.loads(line) for line in (tmp_path / "rejected.jsonl").read_bytes().splitlines()]
    assert [line["record"] for line in reported] == [*range(1, 11), 1, 1, 39]
    assert [len(line.get("raw", "")) for line in reported] == [1000] * 6 + [20] * 4 + [20, 0, 20]
    assert reported[7]["detail"] == "Wrong. Only the beginning of its 1,000 characters is shown."
    assert reported[-1]["detail"].endswith(
        "29 more records of the file that were rejected for this reason and are not listed."
    )
