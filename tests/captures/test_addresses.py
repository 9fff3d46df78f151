"""Captures in buckets and behind URLs."""

from __future__ import annotations

import gzip
import io
import re
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import fsspec
import pandas as pd
import pytest
from fsspec.registry import _registry, known_implementations

from chatlio_kit.aep import Platform
from chatlio_kit.captures import Captures, find_files
from chatlio_kit.captures.sources.remote import masked, shown
from chatlio_kit.errors import CaptureError, MissingPath, UsageError
from chatlio_kit.jobs.backfill import backfill
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import Export, ReadOptions, convert


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[str]:
    """A sample export in a bucket, with the same files on disk."""
    sample = write_sample(tmp_path / "captures", events=120, bad_share=0.05)
    system = fsspec.filesystem("memory")
    for path in sample.path.rglob("*"):
        if path.is_file():
            system.pipe(f"/bucket/{path.relative_to(tmp_path).as_posix()}", path.read_bytes())
    yield "memory://bucket/captures/"
    system.rm("/bucket", recursive=True)


def _names(*addresses: str) -> list[str]:
    return [file.name for file in find_files(addresses).files]


def test_a_bucket_gives_what_a_folder_gives(bucket: str, tmp_path: Path) -> None:
    """A bucket gives the same tables, rejections and names as a folder."""
    remote = convert(Export([bucket], ReadOptions()), tmp_path / "remote", quiet=True)
    local = convert(Export([tmp_path / "captures"], ReadOptions()), tmp_path / "local", quiet=True)
    assert remote.report() == local.report()
    for path in sorted((tmp_path / "local").glob("*.parquet")):
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "remote" / path.name), pd.read_parquet(path))
    rejected = [(tmp_path / entry / "rejected.jsonl").read_bytes() for entry in ("remote", "local")]
    assert rejected[0] == rejected[1]


def test_a_bucket_is_backfilled_and_recognised(bucket: str, local: Platform) -> None:
    """A whole backfill runs from a bucket; the next one reads only files that changed or had rejections."""
    first = backfill([bucket], local, quiet=True)
    assert (first.total.landed, first.total.pending) == (first.counts.accepted, 0)
    second = backfill([bucket], local, quiet=True)
    assert (second.counts.accepted, second.counts.read) == (0, first.counts.read)
    assert any("unchanged" in note for note in second.notes)


def test_patterns_and_single_objects(bucket: str) -> None:
    """Names start at the argument: the folder, the part before a wildcard, or the object itself."""
    system = fsspec.filesystem("memory")
    for name in ("x/a.ndjson", "x/feedback/b.ndjson", "x/.hidden", "x/c.csv"):
        system.pipe(f"/bucket/{name}", b'{"a": 1}\n')
    assert _names("memory://bucket/x") == ["x/a.ndjson", "x/c.csv", "x/feedback/b.ndjson"]
    assert _names("memory://bucket/x/*.ndjson") == ["x/a.ndjson"]
    assert _names("memory://bucket/x/**/*.ndjson", "memory://bucket/x/c.csv") == [
        "c.csv", "x/a.ndjson", "x/feedback/b.ndjson",
    ]  # fmt: skip
    (file,) = find_files(["memory://bucket/x/feedback/b.ndjson"]).files
    assert (file.name, file.kind, file.size) == ("b.ndjson", "feedback", 9)
    assert file.modified_at is not None
    assert file.source.mark() is not None


def test_missing_and_unreadable_objects_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing object is a missing path; an unsupported type of URL and a missing driver name the remedy."""
    for address in ("memory://nowhere/x", "memory://nowhere/*.gz"):
        with pytest.raises(MissingPath, match="nowhere"):
            find_files([address])
    with pytest.raises(UsageError, match="not a supported type of URL"):
        find_files(["gopher://x/y"])
    monkeypatch.delitem(_registry, "s3", raising=False)
    monkeypatch.setitem(known_implementations, "s3", {"class": "no_such_driver.S3FileSystem"})
    with pytest.raises(UsageError, match=r"pip install 'chatlio-kit\[s3\]'"):
        find_files(["s3://bucket/x"])
    with pytest.raises(CaptureError, match="no connection") as error:
        find_files(["https://me:password@127.0.0.1:1/x?sig=SECRET"])
    assert "password" not in str(error.value)
    assert "SECRET" not in str(error.value)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://me:hidden1@host/a/b.gz?X-Amz-Signature=hidden2&x=1#hidden3", "https://host/a/b.gz"),
        ("https://hidden1@host/a?sv=1&sig=hid%2Fden2", "https://host/a"),
        ("s3://key:hidden1@bucket/a*?.gz", "s3://bucket/a*?.gz"),
        (
            "abfs://container@account.dfs.core.windows.net/a",
            "abfs://container@account.dfs.core.windows.net/a",
        ),
        ("sftp://hidden1@host/a", "sftp://host/a"),
    ],
)
def test_secrets_of_an_address_are_never_shown(address: str, expected: str) -> None:
    """Users, passwords and signatures are removed from URLs, and from drivers' messages about them."""
    assert shown(address) == expected
    secrets = [entry for entry in ("hidden1", "hidden2", "hidden3", "hid/den2") if entry in unquote(address)]
    words = masked(f"403 for {address!r} of {secrets}", address)
    assert words.startswith(f"403 for {expected!r} of")
    assert not re.search("hid/?den", words)


class _Quiet(SimpleHTTPRequestHandler):
    """A plain web server that always sends whole files, whatever range is requested."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A folder of captures on the web."""
    folder = tmp_path / "web"
    folder.mkdir()
    lines = b'{"a": 1}\n' * 1000
    (folder / "a.ndjson.gz").write_bytes(gzip.compress(lines))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inside", lines)
    (folder / "b.zip").write_bytes(packed.getvalue())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_web_server_is_read_as_a_stream(web: str) -> None:
    """Files come from a server without ranges, including zips; names contain nothing from the query."""
    captures = Captures([f"{web}/a.ndjson.gz?token=SECRET", f"{web}/b.zip?token=SECRET"])
    counts = {part.file.name: 0 for piece in captures.batches() for part in piece.slices}
    for piece in captures.batches():
        for part in piece.slices:
            counts[part.file.name] += len(part)
            assert "SECRET" not in repr(part)
    assert counts == {"a.ndjson.gz": 1000, "b.zip!inside": 1000}
    assert captures.files[0].modified_at is not None
    with pytest.raises(MissingPath, match="nothing at"):
        find_files([f"{web}/c.gz?token=SECRET"])
