"""Captures in S3, read from a server that answers as S3 does."""

from __future__ import annotations

import io
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import boto3
import pytest
import requests
from botocore.config import Config
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

from chatlio_kit.captures import Captures, find_files
from chatlio_kit.captures.sources.stores import NAMESAKE, UNOPENABLE
from chatlio_kit.errors import CaptureError, MissingPath, UsageError
from chatlio_kit.tables import Export, ReadOptions, convert, read_export

LINE = b'{"n": 1}\n'
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET = "a-secret-access-key-of-nobody"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server on this machine."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture(scope="module")
def client(server: str) -> Iterator[Any]:
    """A client for the server that needs nothing from the environment."""
    client = boto3.client(
        "s3",
        endpoint_url=server,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        config=Config(proxies={}),
    )
    yield client
    client.close()


@pytest.fixture
def s3(server: str, client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The client for an empty bucket named hooks; only the environment gives its location."""
    for name in (*PROXIES, "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "NO_PROXY": "*",
    }.items():
        monkeypatch.setenv(name, value)
    client.create_bucket(Bucket="hooks")
    yield client
    requests.post(f"{server}/moto-api/reset", timeout=60).raise_for_status()


@pytest.fixture
def put(s3: Any) -> Callable[..., None]:
    """Put objects into the bucket."""

    def put(*keys: str, content: bytes = LINE) -> None:
        for key in keys:
            s3.put_object(Bucket="hooks", Key=key, Body=content)

    return put


def _read(*addresses: str) -> tuple[dict[str, int], list[str]]:
    """Return the records of each file, and the notes."""
    captures = Captures(addresses)
    rejected = [rejection for piece in captures.batches() for rejection in piece.rejected]
    assert not rejected
    return captures.read, captures.notes


def test_a_folder_next_to_an_object_with_its_name_is_read(put: Callable[..., None]) -> None:
    """A final slash means the folder; without one the object is read, and the folder is noted."""
    put("both/a.ndjson", "both/in/b.ndjson", "neighbour/c.ndjson")
    put("both", content=LINE * 2)
    assert _read("s3://hooks/both/") == ({"both/a.ndjson": 1, "both/in/b.ndjson": 1}, [])
    assert _read("s3://hooks/both") == ({"both": 2}, [f"left out ({NAMESAKE}): both/"])
    both = {"hooks/both": 2, "hooks/both/a.ndjson": 1, "hooks/both/in/b.ndjson": 1}
    assert _read("s3://hooks/bo*") == (both, [])
    assert _read("s3://hooks") == ({**both, "hooks/neighbour/c.ndjson": 1}, [])


def test_an_object_whose_key_ends_with_a_slash_is_noted(put: Callable[..., None]) -> None:
    """Its driver cannot open it, so it is named; an empty one is just how a store represents a folder."""
    put("m/full/", "m/a.ndjson")
    put("m/", "m/empty/", content=b"")
    for address in ("s3://hooks/m/", "s3://hooks/**/m"):
        read, notes = _read(address)
        assert sum(read.values()) == 1
        assert [note.partition(":")[0] for note in notes] == [f"left out ({UNOPENABLE})"]
        assert notes[0].endswith("m/full/")


@pytest.mark.parametrize("key", ["a [1].ndjson", "b[x]/c?.ndjson", "d*.ndjson", "e[1]/f.ndjson"])
def test_wildcards_in_a_key_are_read_as_they_are(put: Callable[..., None], key: str) -> None:
    """An existing key is read literally; its name is the whole last part."""
    put(key, "a 1.ndjson", "bx/c1.ndjson", "d1.ndjson", "e1/f.ndjson")
    assert list(_read(f"s3://hooks/{key}")[0]) == [key.rpartition("/")[2]]
    folder, _, name = key.rpartition("/")
    if folder:
        assert list(_read(f"s3://hooks/{folder}/")[0]) == [f"{folder}/{name}"]


def test_patterns_match_names_and_folders(put: Callable[..., None]) -> None:
    """Wildcards match parts of one name, ``**`` matches any folders; a matching folder is read whole."""
    put("x/a.ndjson", "x/b.csv", "x/2024/c.ndjson", "x/2024/03/d.ndjson", "x/.hidden")
    expected = {
        "x/*.ndjson": ["x/a.ndjson"],
        "x/20*/": ["x/2024/03/d.ndjson", "x/2024/c.ndjson"],
        "x/*/[cd].ndjson": ["x/2024/c.ndjson"],
        "x/**/*.ndjson": ["x/2024/03/d.ndjson", "x/2024/c.ndjson", "x/a.ndjson"],
        "**/03": ["hooks/x/2024/03/d.ndjson"],
    }
    for pattern, names in expected.items():
        assert [file.name for file in find_files([f"s3://hooks/{pattern}"]).files] == names
    for pattern in ("y/*", "x/*.ndjson/"):
        with pytest.raises(MissingPath, match="nothing at"):
            find_files([f"s3://hooks/{pattern}"])


def test_more_keys_than_a_page_of_a_listing_are_read(s3: Any) -> None:
    """2,500 objects give 2,500 files, although a store lists a thousand at a time."""
    store = s3_backends[DEFAULT_ACCOUNT_ID]["global"]  # one by one through its API they take a minute
    for number in range(2500):
        store.put_object("hooks", f"many/{number:04}", LINE)
    assert len(find_files(["s3://hooks/many/"]).files) == 2500
    assert len(find_files(["s3://hooks/many/1*"]).files) == 1000


def test_the_latest_version_is_read(s3: Any, put: Callable[..., None]) -> None:
    """In a bucket with versions, the latest is read; deleted objects are absent."""
    s3.put_bucket_versioning(Bucket="hooks", VersioningConfiguration={"Status": "Enabled"})
    put("a", "gone")
    first = find_files(["s3://hooks/a"]).files[0].source.mark()
    put("a", content=LINE * 3)
    s3.delete_object(Bucket="hooks", Key="gone")
    assert _read("s3://hooks/")[0] == {"hooks/a": 3}
    assert find_files(["s3://hooks/a"]).files[0].source.mark() != first


def test_wrong_credentials_are_reported_in_one_sentence(
    put: Callable[..., None], monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    """A store that refuses, a missing bucket and missing credentials are reported, without secrets."""
    put("a")
    with pytest.raises(MissingPath):
        find_files(["s3://no-such-bucket/a"])
    with _proxy(server, lambda _: b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as (address, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        for named in ("s3://hooks/a", "s3://hooks/", "s3://hooks/*.ndjson"):
            with pytest.raises(CaptureError, match=r"Forbidden.*credentials") as error:
                find_files([named])
            assert SECRET not in str(error.value)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(CaptureError, match="credentials"):
        find_files(["s3://hooks/a"])


def test_a_truncated_answer_is_requested_again(
    put: Callable[..., None], monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    """A truncated response is fetched again: all records are read, once each."""
    put("a", content=LINE * 100_000)
    cuts = iter([300_000])

    def cut(answer: bytes) -> bytes:
        return answer[: next(cuts, len(answer))] if len(answer) > 500_000 else answer

    with _proxy(server, cut) as (address, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        assert _read("s3://hooks/a")[0] == {"a": 100_000}
    assert sum(line.startswith("GET /hooks/a") for line in asked) > 1


def test_slow_answers_lose_nothing(
    put: Callable[..., None], monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    """A slow store is waited for: all records are read, once each."""
    put("slow/a", content=LINE * 10_000)
    put("slow/b")

    def late(answer: bytes) -> bytes:
        time.sleep(0.3)
        return answer

    with _proxy(server, late) as (address, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        assert _read("s3://hooks/slow/")[0] == {"slow/a": 10_000, "slow/b": 1}
    assert asked


def test_responses_that_always_break_off_are_reported(
    put: Callable[..., None], monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    """A store that always fails midway costs one unreadable record, and the object next to it is read."""
    put("x/a", content=LINE * 100_000)
    put("x/b")

    def cut(answer: bytes) -> bytes:
        return answer[:300_000]

    with _proxy(server, cut) as (address, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        captures = Captures(["s3://hooks/x/"])
        rejected = [rejection for piece in captures.batches() for rejection in piece.rejected]
    assert [(rejection.file, rejection.reason) for rejection in rejected] == [("x/a", "unreadable")]
    assert captures.read["x/b"] == 1


def test_objects_that_change_between_listing_and_reading_are_reported(
    s3: Any, put: Callable[..., None]
) -> None:
    """An object that has disappeared is one unreadable record; a changed one is read again."""
    put("x/a", "x/b")
    captures = Captures(["s3://hooks/x/"])
    s3.delete_object(Bucket="hooks", Key="x/a")
    put("x/b", content=LINE * 5)
    rejected = [rejection for piece in captures.batches() for rejection in piece.rejected]
    assert [(rejection.file, rejection.reason) for rejection in rejected] == [("x/a", "unreadable")]
    assert captures.read["x/b"] == 5


def test_drivers_log_no_secret(put: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    """At every level of the drivers' loggers, no key, signature or signed query is in their records."""
    put("a")
    with caplog.at_level(logging.DEBUG):
        _read("s3://hooks/a")
        logging.getLogger("fsspec.http").info("GET https://u:pw@host/x?X-Amz-Signature=abcdef&x=1")
    text = caplog.text
    assert "botocore" in text
    assert "GET https://host/x" in text
    for secret in (SECRET, KEY, "Signature=", "abcdef", "pw@"):
        assert secret not in text


def test_a_bucket_is_converted_like_a_folder(
    put: Callable[..., None], documented: Path, tmp_path: Path
) -> None:
    """A bucket gives the same report as a folder."""
    (file,) = documented.iterdir()
    put("documented/captures.ndjson", content=file.read_bytes())
    remote = convert(Export(["s3://hooks/documented/"], ReadOptions()), tmp_path / "remote", quiet=True)
    local = convert(Export([documented], ReadOptions()), tmp_path / "local", quiet=True)
    assert remote.report() == local.report()
    assert remote.counts.accepted == 5


@contextmanager
def _proxy(server: str, change: Callable[[bytes], bytes]) -> Iterator[tuple[str, list[str]]]:
    """A proxy in front of the server that may change its responses, and the requests it received."""
    host, _, port = server.removeprefix("http://").partition(":")
    asked: list[str] = []

    def serve(client: socket.socket) -> None:
        with client, socket.create_connection((host, int(port))) as behind:
            request = b""
            while b"\r\n\r\n" not in request:
                request += client.recv(65536)
            head, _, body = request.partition(b"\r\n\r\n")
            asked.append(head.split(b"\r\n")[0].decode())
            behind.sendall(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + b"\r\n\r\n" + body)
            answer = b""
            while block := behind.recv(65536):
                answer += block
            client.sendall(change(answer))

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(client,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        listener.shutdown(socket.SHUT_RDWR)


def test_a_slack_export_is_recognised_by_its_list_of_members(put: Callable[..., None]) -> None:
    """A Slack export is recognised by its list of members."""
    content = io.BytesIO()
    with ZipFile(content, "w") as archive:
        archive.writestr("channels.json", "[]")
        archive.writestr("z-ana/2024-03-11.json", "[]")
    put("slack/export.zip", content=content.getvalue())
    with pytest.raises(UsageError, match=r"'slack/export.zip' is a Slack export, .* Download it first"):
        read_export("s3://hooks/slack/")
