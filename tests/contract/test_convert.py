"""Frozen output of ``convert``: digests of the tables, the rejects and the report of realistic exports.

To accept an intended change of content, write the digests again::

    python tests/contract/test_convert.py
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from chatlio_kit.captures import Captures
from chatlio_kit.chatlio.catalogue import TABLES
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import Export, FieldPolicy, ReadOptions, convert

DIGESTS = Path(__file__).with_name("convert_digests.json")
EVENTS = 3000
WRITTEN_AT = 1_761_955_200  # reports speak of the times of files
Content = dict[str, list[Any]]


def _sample(folder: Path, bad_share: float = 0.0) -> Path:
    return write_sample(folder / "sample", events=EVENTS, bad_share=bad_share).path


def _lines(sample: Path) -> Iterator[bytes]:
    for path in sorted(sample.rglob("*.ndjson*")):
        content = path.read_bytes()
        yield from (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines()


def _clean(folder: Path) -> Path:
    return _sample(folder)


def _shuffled(folder: Path) -> Path:
    """All kinds in one file, in any order."""
    lines = list(_lines(_sample(folder)))
    Random(7).shuffle(lines)
    return _written(folder / "shuffled.ndjson", lines)


def _damaged(folder: Path) -> Path:
    return _sample(folder, bad_share=0.3)


def _with_unknown_fields(folder: Path, every: int = 1) -> Path:
    """Unknown fields in the payload, its visitor and its messages, in every record or every nth one."""
    records = list(map(orjson.loads, _lines(_sample(folder))))
    for number, record in enumerate(records):
        if number % every == 0:
            payload = record["payload"]
            payload["rating"] = number
            payload.setdefault("visitor", {})["mood"] = "curious"
            for message in payload.get("messages", ()):
                message["files"] = ["a.png"]
    return _written(folder / "unknown.ndjson", list(map(orjson.dumps, records)))


def _with_some_unknown_fields(folder: Path) -> Path:
    return _with_unknown_fields(folder, 50)


def _gzipped(folder: Path) -> Path:
    packed = folder / "packed"
    packed.mkdir()
    for path in _sample(folder).rglob("*.ndjson"):
        (packed / f"{path.parent.name}-{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    return packed


def _zipped(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "captures.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        sample = _sample(folder, bad_share=0.02)
        for path in sorted(sample.rglob("*.ndjson*")):
            archive.write(path, path.relative_to(sample).as_posix())
    return folder / "captures.zip"


def _written(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


CORPORA: dict[str, tuple[Callable[[Path], Path], FieldPolicy]] = {
    "clean": (_clean, FieldPolicy()),
    "shuffled kinds": (_shuffled, FieldPolicy()),
    "30 % damaged": (_damaged, FieldPolicy()),
    "unknown fields": (_with_unknown_fields, FieldPolicy()),
    "masked": (_damaged, FieldPolicy.from_options(redact="mask")),
    "contract frozen": (_with_some_unknown_fields, FieldPolicy.from_options(contract="freeze")),
    "gzip": (_gzipped, FieldPolicy()),
    "zip": (_zipped, FieldPolicy()),
}


def content_of(out: Path) -> Content:
    """Return the rows and the digest of everything that a conversion wrote, except its page."""
    content: Content = {}
    for name in TABLES:
        rows = pq.read_table(out / f"{name}.parquet")
        digest = sha256(rows.schema.remove_metadata().to_string().encode())
        for batch in rows.to_batches(1000):
            digest.update(orjson.dumps(batch.to_pylist()))
        content[name] = [len(rows), digest.hexdigest()]
    for name in ("rejected.jsonl", "report.json"):
        written = (out / name).read_bytes()
        content[name] = [written.count(b"\n"), sha256(written).hexdigest()]
    return content


def converted(captures: Path, out: Path, policy: FieldPolicy | None = None, *, workers: int = 0) -> Content:
    """Convert captures, all of them written at one time, and return the content."""
    for path in (captures, *captures.rglob("*")):
        os.utime(path, (WRITTEN_AT, WRITTEN_AT))
    convert(Export([captures], ReadOptions(), policy, workers=workers), out, quiet=True)
    return content_of(out)


@pytest.fixture(scope="module")
def expected() -> dict[str, Content]:
    """The frozen content of every corpus."""
    found: dict[str, Content] = json.loads(DIGESTS.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", CORPORA)
def test_the_content_is_as_frozen(name: str, expected: dict[str, Content], tmp_path: Path) -> None:
    """Tables, rejects and report equal the frozen ones."""
    corpus, policy = CORPORA[name]
    assert converted(corpus(tmp_path), tmp_path / "out", policy) == expected[name]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", ["shuffled kinds", "30 % damaged"])
def test_workers_change_nothing(
    name: str, workers: int, expected: dict[str, Content], tmp_path: Path
) -> None:
    """The content is the same for any number of processes."""
    corpus, policy = CORPORA[name]
    found = converted(corpus(tmp_path), tmp_path / "out", policy, workers=workers)
    assert found == expected[name]


@pytest.mark.parametrize(("records", "size"), [(97, 5_000_000), (20_000, 60_000)])
def test_batch_sizes_change_nothing(
    records: int, size: int, expected: dict[str, Content], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content is the same for any batch size."""
    batches = Captures.batches
    monkeypatch.setattr(Captures, "batches", lambda self: batches(self, records, size))
    corpus, policy = CORPORA["30 % damaged"]
    assert converted(corpus(tmp_path), tmp_path / "out", policy) == expected["30 % damaged"]


def test_the_order_of_files_changes_no_derived_table(expected: dict[str, Content], tmp_path: Path) -> None:
    """Read in another order, the same events give the same conversations, messages and visitors."""
    lines = list(_lines(_sample(tmp_path)))
    folder = tmp_path / "turned"
    folder.mkdir()
    for number, start in enumerate(range(0, len(lines), 400)):
        _written(folder / f"{99 - number}.ndjson", lines[start : start + 400])
    found = converted(folder, tmp_path / "out")
    for name in ("conversations", "messages", "visitors", "offline_messages"):
        assert found[name] == expected["clean"][name]


def main() -> None:
    """Freeze the content as it is today."""
    found = {}
    for name, (corpus, policy) in CORPORA.items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = converted(corpus(Path(folder)), Path(folder) / "out", policy)
    DIGESTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
