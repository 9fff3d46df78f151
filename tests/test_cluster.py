"""A Dask cluster of two worker processes: the tables of one machine, whatever happens to the workers."""

from __future__ import annotations

import codecs
import gzip
import json
import os
import pickle
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import boto3
import cloudpickle
import distributed
import fsspec
import hypothesis
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from botocore.config import Config
from click.testing import CliRunner
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from chatlio_kit import pool
from chatlio_kit.aep import Platform
from chatlio_kit.captures import Captures, RawBatch
from chatlio_kit.captures import batches as captures_batches
from chatlio_kit.cli import main
from chatlio_kit.connection import open_connection
from chatlio_kit.errors import ChatlioKitError, ClusterError, ConnectionIncomplete, OutputError, UsageError
from chatlio_kit.jobs.backfill import backfill
from chatlio_kit.jobs.turns import backfill_turns
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import Export, convert, read_export
from chatlio_kit.tables.convert import FILES

CLOSED = "tcp://127.0.0.1:9"
VISITOR = {"UUID": "5b0c7d1e-9a34-4e2f-6c18-b2f09d41a7e3", "createdAt": "2024-03-09T18:20:11.402118-08:00"}
CHANNEL = "C06ABCDEF12"

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file


@pytest.fixture(scope="module")
def cluster() -> Iterator[distributed.LocalCluster]:
    """A scheduler and two worker processes on the loopback interface."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=50
    ) as started:
        yield started


@pytest.fixture
def client(cluster: distributed.LocalCluster) -> Iterator[distributed.Client]:
    """A client of the cluster."""
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as connected:
        yield connected


def _set(name: str, value: object) -> object:
    """Set an attribute in the process that runs this, and return its former value."""
    name, _, attribute = name.rpartition(".")
    module = import_module(name)
    before = getattr(module, attribute)
    setattr(module, attribute, value)
    return before


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captures in every form that a worker reads differently from this process."""
    folder = write_sample(tmp_path_factory.mktemp("x") / "captures", events=400, seed=5, bad_share=0.1).path
    lines = b"".join(path.read_bytes() for path in sorted(folder.rglob("*.ndjson")))
    with ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("z/again.ndjson", lines[:40_000])
        archive.writestr("notes.txt", "nothing that was captured")
    (folder / "large.ndjson").write_bytes(
        b"\xef\xbb\xbf"
        + lines.replace(b'"UUID":"', b'"UUID":"x')
        + b"\0" * 900
        + b"\n"
        + _line(1, "caf\xe9".encode("cp1252"))
        + b"\n\n"
        + _line(2, b"y" * 250_000)  # longer than a span
        + b"\nno JSON\n" * 40
        + _line(3, b"cut off")[:-9]
    )
    (folder / "page.json").write_text(json.dumps({"data": [json.loads(_line(4, b"page"))]}), encoding="utf-8")
    (folder / "empty.ndjson").touch()
    (folder / "README").write_text("Not a capture at all.\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def here(captures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The captures as converted on this machine."""
    out = tmp_path_factory.mktemp("here")
    convert(_read(captures), out, quiet=True)
    return _contents(out)


def _line(number: int, message: bytes) -> bytes:
    payload = {
        "visitor": VISITOR,
        "message": "MESSAGE",
        "conversationUUID": f"7c1e9a52-3b6d-4f08-5a91-{number:012}",
        "channelId": "C06ABCDEF12",
    }
    record = {"receivedAt": "2024-03-11T09:03:10Z", "kind": "conversation_started", "payload": payload}
    return json.dumps(record).encode().replace(b"MESSAGE", message)


def _contents(folder: Path) -> dict[str, Any]:
    """Return tables with their rows in order, and other files' bytes."""
    return {
        path.name: pq.read_table(path) if path.suffix == ".parquet" else path.read_bytes()
        for path in sorted(folder.iterdir())
    }


def _read(folder: Path | str, **options: Any) -> Export:
    return read_export([folder], encoding="cp1252", exclude=["*.log"], **options)


def test_its_tables_are_those_of_one_machine(
    cluster: distributed.LocalCluster,
    captures: Path,
    here: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tables, order of rows, rejects, report and page are the same, to the byte except for Parquet."""
    monkeypatch.setattr(captures_batches, "PART_BYTES", 60_000)
    export = _read(captures, cluster=cluster.scheduler_address)
    parts = list(export.captures.parts())
    assert sum(part.span is not None for part in parts) > 5
    convert(export, tmp_path / "there", quiet=True)
    assert _contents(tmp_path / "there") == here
    assert json.loads(here["report.json"])["rejected"] > 50
    assert len(here["events.parquet"]) > 300


_ODD_LINES = (
    b"",
    b"  ",
    b"no JSON",
    b"\0" * 20,
    b"\0",
    b'{"a": "caf\xe9"}',
    b'{"b":\0\0 1}',
    b'{"c": 1}\r',
    b"\xff\xfe",
)
_ODD_LINE = st.sampled_from(_ODD_LINES) | st.integers(1, 300).map(lambda size: b'{"n": "%s"}' % (b"x" * size))


@hypothesis.settings(max_examples=40)
@hypothesis.given(
    lines=st.lists(_ODD_LINE, min_size=1, max_size=30),
    ends=st.booleans(),
    has_mark=st.booleans(),
    size=st.integers(20, 600),
)
def test_any_split_gives_the_same_records(
    lines: list[bytes], ends: bool, has_mark: bool, size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """However a file of lines is cut into spans, its records, numbers, faults and notes are the same."""
    path = tmp_path_factory.mktemp("x") / "a.ndjson"
    text = b"\n".join([_line(1, b"Hello"), _line(2, b"World"), *lines])
    path.write_bytes(codecs.BOM_UTF8 * has_mark + text + b"\n" * ends)
    captures = Captures([path], encoding="cp1252")
    found = _records(captures.batches(), 0)
    notes, read = captures.notes, dict(captures.read)
    cut = list[Any]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(captures_batches, "PART_BYTES", size)
        parts = [pickle.loads(pickle.dumps(part)) for part in captures.parts()]  # noqa: S301  our own
    hypothesis.event(f"{min(len(parts), 5)} parts")
    for part in parts:
        batches, before = list(part.batches()), captures.lines_before(part)
        assert before is not None
        cut += _records(batches, before)
        captures.add_part(part)
    cut += _records(captures.last_batches(), 0)
    assert sorted(cut) == sorted(found)
    assert (captures.notes, captures.read) == (notes, read)


def _records(batches: Iterable[RawBatch], before: int) -> list[tuple[int, bytes, bool, str]]:
    """Return number, text, whether it is cut off, and fault of each record."""
    found = []
    for batch in batches:
        for records in (file_slice.records for file_slice in batch.slices):
            pairs = zip(records.numbers, records.raws, strict=True)
            found += [
                (number + before, raw, records.cut and number == records.numbers[-1], "")
                for number, raw in pairs
            ]
        found += [(fault.record + before, b"", False, fault.detail) for fault in batch.rejected]
    return found


def test_large_parts_are_read_by_the_main_process(client: distributed.Client, tmp_path: Path) -> None:
    """A worker returns a limited part of a packed file, and archives are read where names are redacted."""
    captures = tmp_path / "captures"
    captures.mkdir()
    many = b"".join(_line(number, b"%d" % number) + b"\n" for number in range(20_100))
    (captures / "many.ndjson.gz").write_bytes(gzip.compress(many, 1))
    with ZipFile(captures / "a.zip", "w") as archive:
        archive.writestr("ana@example.org.ndjson", _line(30_000, b"Hello") + b"\nno JSON\n")
    options: dict[str, Any] = {"redact": "personal=mask"}
    convert(_read(captures, **options), tmp_path / "here", quiet=True)
    client.run(_set, "chatlio_kit.tables.pipeline._MOST_BATCHES", 1)
    try:
        convert(_read(captures, cluster=client, **options), tmp_path / "there", quiet=True)
    finally:
        client.run(_set, "chatlio_kit.tables.pipeline._MOST_BATCHES", 16)
    assert _contents(tmp_path / "here") == _contents(tmp_path / "there")
    assert b"a.zip!***" in (tmp_path / "there" / "rejected.jsonl").read_bytes()


def test_workers_get_no_key(captures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sent to a worker contains neither the key of --redact nor the redaction."""
    monkeypatch.setenv("CHATLIO_KIT_REDACTION_KEY", "a-key-that-only-we-know-about-0123456789")
    export = _read(captures, redact="hash:keyed")
    sent = b"".join(pickle.dumps((part, export.options)) for part in export.captures.parts())
    assert b"large.ndjson" in sent
    assert b"a-key-that-only-we-know" not in sent


def test_a_backfill_and_commands_accept_a_cluster(
    cluster: distributed.LocalCluster, local: Platform, tmp_path: Path
) -> None:
    """Events converted on a cluster are sent and land; --cluster equals cluster=."""
    sample = write_sample(tmp_path / "x.d", events=60, seed=3).path
    page = backfill(sample, local, cluster=cluster.scheduler_address, quiet=True)
    assert page.counts.accepted == 60
    assert page.exit_code == 0
    command = ["convert", str(sample), "--out", str(tmp_path / "out"), "--cluster", cluster.scheduler_address]
    done = CliRunner().invoke(main, [*command, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["accepted"] == 60


def _sentence_of(error: type[ChatlioKitError], act: Callable[[], object]) -> str:
    with pytest.raises(error) as raised:
        act()
    sentence = str(raised.value)
    assert "\n" not in sentence
    assert sentence.endswith((".", '"', "8786")) or "dask worker" in sentence
    return sentence


@pytest.mark.parametrize(
    ("address", "shown"),
    [(CLOSED, CLOSED), ("nonsense", "nonsense"), ("tcp://user:hunter22@127.0.0.1:9", CLOSED)],
)
def test_a_wrong_address_is_reported_in_one_sentence(
    address: str, shown: str, tmp_path: Path, local: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read, made or sent, and credentials in the address are not shown."""
    monkeypatch.setattr(pool, "_ANSWER_SECONDS", 0.3)
    sample = write_sample(tmp_path / "x.d", events=5, seed=3).path
    sentence = _sentence_of(ClusterError, lambda: backfill(sample, local, cluster=address, quiet=True))
    assert sentence.startswith(f"No Dask scheduler answers at {shown!r}.")
    turns = read_export(sample, cluster=address)
    assert _sentence_of(ClusterError, lambda: backfill_turns(turns, local, quiet=True)) == sentence
    with pytest.raises(ConnectionIncomplete):
        open_connection(local, "chatlio/turns", quiet=True)
    assert not (local.settings.state / "ledger.db").exists()
    done = CliRunner().invoke(main, ["convert", str(sample), "--out", str(tmp_path), "--cluster", address])
    assert done.exit_code == 1
    assert done.stderr.strip() == sentence


def test_no_client_is_created_for_an_invalid_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask's client would end the program with a traceback."""
    made: list[object] = []
    monkeypatch.setattr(distributed, "Client", lambda *arguments, **_: made.append(arguments))
    export = read_export(write_sample(tmp_path / "x.d", events=5, seed=3).path, cluster="nonsense")
    _sentence_of(ClusterError, lambda: export.to_tables(quiet=True))
    assert made == []


def test_without_dask_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask is an extra; without it everything else works."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    sample = write_sample(tmp_path / "x.d", events=5, seed=3).path
    sentence = _sentence_of(UsageError, lambda: read_export(sample, cluster=CLOSED).to_tables(quiet=True))
    assert sentence.endswith('Install it with: pip install "chatlio-kit[cluster]"')
    assert len(read_export(sample).to_tables(quiet=True).events) == 5


@pytest.mark.parametrize("wrong", [7, "", object()])
def test_a_cluster_is_an_address_or_a_client(wrong: Any, tmp_path: Path) -> None:
    """Anything else is refused by name."""
    assert "cluster= is the address" in _sentence_of(UsageError, lambda: read_export(tmp_path, cluster=wrong))


def test_a_cluster_without_workers_is_reported_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run does not wait forever for workers."""
    monkeypatch.setattr(pool, "_ANSWER_SECONDS", 0.5)
    sample = write_sample(tmp_path / "x.d", events=5, seed=3).path
    with distributed.LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as empty:
        export = read_export(sample, cluster=empty.scheduler_address)
        sentence = _sentence_of(ClusterError, lambda: export.to_tables(quiet=True))
    assert "has no workers. Start some with: dask worker" in sentence


def test_other_versions_are_reported_before_the_start(client: distributed.Client, captures: Path) -> None:
    """The sentence names the worker and each package with both versions."""
    worker = min(client.nthreads())
    client.run(_pretend, {"pandas": "2.2.3", "chatlio-kit": None}, workers=[worker])
    try:
        sentence = _sentence_of(ClusterError, lambda: read_export(captures, cluster=client).to_tables())
    finally:
        client.run(_pretend, {}, workers=[worker])
    assert sentence.startswith(
        f"The worker {worker} has chatlio-kit (not installed) instead of 0.1.0 and pandas"
    )
    assert "pandas 2.2.3 instead of" in sentence


def _pretend(others: dict[str, str | None]) -> None:
    """Report these versions of packages, in the process that runs this."""
    versions = import_module("distributed.versions")
    found = vars(versions).setdefault("_found", versions._version_cached)
    versions._version_cached = lambda package: others[package] if package in others else found(package)


def test_storage_that_workers_do_not_share_is_reported_in_one_sentence(client: distributed.Client) -> None:
    """A file that can be read here but not there is not a reject: the error names the worker and the file."""
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/only-here/a.ndjson", _line(1, b"Hello"))
    try:
        export = read_export("memory://only-here/", cluster=client)
        sentence = _sentence_of(ClusterError, lambda: export.to_tables(quiet=True))
    finally:
        memory.rm("/only-here", recursive=True)
    assert any(sentence.startswith(f"The worker {worker} could not read") for worker in client.nthreads())
    assert "only-here/a.ndjson, which can be read here" in sentence


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_workers_full_disk_is_reported_in_one_sentence(client: distributed.Client, tmp_path: Path) -> None:
    """It does not reject valid rows: the error names step, worker and file."""
    records = [json.loads(_line(number, b"Hello")) for number in range(50)]
    rows = [{**record, "payload": json.dumps(record["payload"])} for record in records]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "plain.parquet")
    packed = tmp_path / "a.parquet.gz"
    packed.write_bytes(gzip.compress((tmp_path / "plain.parquet").read_bytes()))
    client.run(_fill_disk, True)
    try:
        export = read_export(packed, cluster=client)
        sentence = _sentence_of(ClusterError, lambda: export.to_tables(quiet=True))
    finally:
        client.run(_fill_disk, False)
    assert any(
        sentence.startswith(f"The worker {worker} could not read a.parquet.gz: ")
        for worker in client.nthreads()
    )
    assert "No space left on device" in sentence
    assert len(read_export(packed, cluster=client).to_tables(quiet=True).events) == 50


def _fill_disk(is_full: bool) -> None:
    """Let temporary files of this process be on a device that is always full, or again where they were."""
    files, tables = tempfile, import_module("chatlio_kit.captures.formats.parquet_tables")
    found = vars(files).setdefault("_found", files.TemporaryFile)
    full = Path("/dev/full")
    vars(files)["TemporaryFile"] = (lambda *_, **__: full.open("r+b", 0)) if is_full else found
    tables._IN_MEMORY = 10 if is_full else 1 << 24


def test_a_fault_of_a_worker_names_step_worker_and_file(client: distributed.Client, captures: Path) -> None:
    """The message names the location of any failure."""
    before = next(iter(client.run(_set, "chatlio_kit.tables.pipeline.validate_batch", None).values()))
    try:
        sentence = _sentence_of(
            ClusterError, lambda: read_export(captures, cluster=client).to_tables(quiet=True)
        )
    finally:
        client.run(_set, "chatlio_kit.tables.pipeline.validate_batch", before)
    assert "could not decode and validate captures/" in sentence
    assert "The worker tcp://127.0.0.1:" in sentence


@pytest.fixture
def bucket(client: distributed.Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty bucket that this process and the workers reach."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "a-secret-access-key-of-nobody",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "*",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    client.run(_put_into_environment, settings)
    boto3.client("s3", config=Config(proxies={})).create_bucket(Bucket="team")
    yield "s3://team"
    requests.post(f"http://{host}:{port}/moto-api/reset", timeout=60).raise_for_status()
    server.stop()


def _put_into_environment(settings: dict[str, str]) -> None:
    os.environ.update(settings)


def test_from_a_bucket_into_a_bucket(
    client: distributed.Client, captures: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers read ranges of objects; the tables in the bucket are those of the folder."""
    s3 = fsspec.filesystem("s3", skip_instance_cache=True)
    for path in (captures / "large.ndjson", captures / "a.zip", captures / "page.json"):
        s3.put_file(str(path), f"{bucket}/captures/{path.name}")
    convert(_read(f"{bucket}/captures"), tmp_path / "here", quiet=True)
    monkeypatch.setattr(captures_batches, "PART_BYTES", 200_000)
    export = _read(f"{bucket}/captures", cluster=client)
    assert any(part.span is not None for part in export.captures.parts())
    converted = convert(export, f"{bucket}/tables", quiet=True)
    assert f"report: {bucket}/tables/report.html" in str(converted)
    s3.invalidate_cache()
    s3.get(f"{bucket}/tables/", f"{tmp_path}/there/", recursive=True)
    assert _contents(tmp_path / "here") == _contents(tmp_path / "there")
    assert {path.rpartition("/")[2] for path in s3.find(f"{bucket}/tables")} == set(FILES)
    assert "is among the captures" in _sentence_of(
        UsageError, lambda: convert(read_export(f"{bucket}/tables"), f"{bucket}/tables", quiet=True)
    )


def test_an_unreachable_bucket_is_reported_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried before anything is converted."""
    for name in ("ENDPOINT_URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    sample = write_sample(tmp_path / "x.d", events=5, seed=3).path
    export = read_export(sample, cluster=CLOSED)  # which would be reported later
    sentence = _sentence_of(OutputError, lambda: convert(export, "s3://team/tables", quiet=True))
    assert sentence.startswith("'s3://team/tables' cannot be written: ")
    assert "Check the address, the network and the credentials" in sentence


def test_a_bucket_keeps_its_tables_until_all_new_ones_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversion whose files cannot all be sent leaves the folder as it was."""
    memory = fsspec.filesystem("memory")
    sample = write_sample(tmp_path / "x.d", events=30, seed=3).path
    convert(read_export(sample), "memory://team/tables", quiet=True)
    before = {path: memory.cat_file(path) for path in memory.find("/team")}
    assert len(before) == len(FILES)
    put, sent = type(memory).put_file, list[str]()

    def put_some(self: Any, path: str, *args: Any, **named: Any) -> Any:
        sent.append(path)
        if len(sent) > 3:
            raise OSError("the connection was lost")
        return put(self, path, *args, **named)

    monkeypatch.setattr(type(memory), "put_file", put_some)
    more = write_sample(tmp_path / "y.d", events=40, seed=4).path
    sentence = _sentence_of(
        OutputError, lambda: convert(read_export(more), "memory://team/tables", quiet=True)
    )
    assert "the connection was lost" in sentence
    assert {path: memory.cat_file(path) for path in memory.find("/team")} == before
    memory.rm("/team", recursive=True)


def test_a_lost_cluster_is_reported_in_one_sentence(captures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler that ends while it works ends the conversion."""
    monkeypatch.setattr(captures_batches, "PART_BYTES", 60_000)
    started = distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    )
    export = _read(captures, cluster=started.scheduler_address)
    batches = export.batches()
    next(batches)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        started.close()
        sentence = _sentence_of(ClusterError, lambda: list(batches))
    assert "was lost while" in sentence


def test_a_killed_worker_loses_no_records(
    client: distributed.Client,
    captures: Path,
    here: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker process that is killed while it works: the same tables, nothing lost and nothing twice.

    It is the last test, because a busy machine may not start another worker in time.
    """
    monkeypatch.setattr(captures_batches, "PART_BYTES", 60_000)
    export = _read(captures, cluster=client)
    batches, killed = export.batches, []

    def batches_with_a_kill(**options: Any) -> Iterator[Any]:
        for number, batch in enumerate(batches(**options)):
            if number == 3:
                address, pid = next(iter(client.run(os.getpid).items()))
                psutil.Process(pid).kill()
                psutil.Process(pid).wait(30)
                killed.append(address)
            yield batch

    monkeypatch.setattr(export, "batches", batches_with_a_kill)
    convert(export, tmp_path / "there", quiet=True)
    assert killed
    assert killed[0] not in client.nthreads()
    assert _contents(tmp_path / "there") == here
