"""Sample exports: exact counts, reproducible bytes, and broken only where their manifest says so."""

import gzip
import hashlib
import ipaddress
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlio_kit.errors import OutputError, UsageError
from chatlio_kit.samples import SampleExport, write_sample
from chatlio_kit.samples.damage import CATALOGUE

CONVERSATION = {"conversation_started", "unanswered", "feedback"}
KINDS = CONVERSATION | {"offline_message", "transcript"}
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
ANY_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
SLACK_TS = re.compile(r"\d{10}\.\d{6}")
FUTURE = datetime(2026, 1, 1, tzinfo=UTC)

Problem = tuple[str, str | None]


class Row(NamedTuple):
    """A line of an export and its place."""

    file: str
    record: int
    line: bytes


def rows(export: SampleExport) -> Iterator[Row]:
    """Read every line of an export, files in sorted order."""
    for path in sorted(export.path.rglob("*.ndjson*")):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert data.endswith(b"\n")
        name = f"{export.path.name}/{path.relative_to(export.path).as_posix()}"
        for number, line in enumerate(data[:-1].split(b"\n"), start=1):
            yield Row(name, number, line)


def manifest(export: SampleExport) -> list[dict[str, Any]]:
    """Read the manifest of broken records."""
    return [json.loads(line) for line in export.manifest.read_text("utf-8").splitlines()]


def digest(export: SampleExport) -> str:
    """Return a digest of an export and its manifest."""
    total = hashlib.sha256()
    for path in [*sorted(export.path.rglob("*.ndjson*")), export.manifest]:
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def moment(text: str) -> datetime:
    """Read a time."""
    return datetime.fromisoformat(text)


def refuse_constant(name: str) -> None:
    """Refuse `NaN` and the like, which are not JSON."""
    raise ValueError(name)


# ----------------------------------------------------- a second opinion on what is wrong with a single record


def shape_of(payload: dict[str, Any]) -> str | None:
    """Return the shape of a payload from its keys."""
    if isinstance(payload.get("messages"), list) or {"textBody", "htmlBody", "endedAt", "archiveUrl"} & set(
        payload
    ):
        return "transcript"
    if "emailPretty" in payload and "conversationUUID" not in payload:
        return "offline_message"
    if {"conversationUUID", "slackChannelId", "channelId"} & set(payload) and {"visitor", "message"} <= set(
        payload
    ):
        return "conversation"
    return None


def time_problems(field: str, value: object) -> Iterator[Problem]:
    """List the problems of a time."""
    if value in (None, ""):
        return
    try:
        read = moment(value) if isinstance(value, str) and RFC_3339.fullmatch(value) else None
    except ValueError:
        read = None
    if read is None:
        yield "invalid_time", field
    elif read >= FUTURE:
        yield "future_time", field


def id_problems(field: str, value: object, *, required: bool) -> Iterator[Problem]:
    """List the problems of an id."""
    if value in (None, ""):
        if required:
            yield "missing", field
    elif not isinstance(value, str):
        yield "wrong_type", field
    elif not ANY_UUID.fullmatch(value):
        yield "invalid_value", field


def visitor_problems(visitor: object) -> Iterator[Problem]:
    """List the problems of a visitor."""
    if not isinstance(visitor, dict):
        yield "wrong_type", "visitor"
        return
    yield from id_problems("visitor.UUID", visitor.get("UUID"), required=True)
    yield from time_problems("visitor.createdAt", visitor.get("createdAt"))
    try:
        ipaddress.ip_address(visitor.get("IPAddress", "192.0.2.1"))
    except ValueError:
        yield "invalid_value", "visitor.IPAddress"


def message_problems(messages: object) -> Iterator[Problem]:
    """List the problems of a transcript's messages."""
    if not isinstance(messages, list):
        yield "wrong_type", "messages"
        return
    seen: set[str] = set()
    for place, message in enumerate(messages):
        field = f"messages[{place}]"
        if not isinstance(message, dict):
            yield "wrong_type", field
            continue
        if not isinstance(message["text"], str):
            yield "wrong_type", f"{field}.text"
        ts = message.get("ts", "")
        if not ts:
            yield "missing", f"{field}.ts"
        elif not SLACK_TS.fullmatch(ts):
            yield "invalid_value", f"{field}.ts"
        elif ts in seen:
            yield "repeated", f"{field}.ts"
        seen.add(ts)


def problems(line: bytes) -> Iterator[Problem]:
    """List all problems of a line, on its own."""
    try:
        record = json.loads(line, parse_constant=refuse_constant)
    except ValueError:
        yield "not_json", None
        return
    if not isinstance(record, dict):
        yield "not_an_object", None
        return
    payload = record["payload"]
    if not isinstance(payload, dict):
        yield "not_an_object", "payload"
        return
    shape = shape_of(payload)
    if shape is None:
        yield "shape_unknown", None
        return
    if record["kind"] not in KINDS:
        yield "kind_unknown", "kind"
    elif shape != ("conversation" if record["kind"] in CONVERSATION else record["kind"]):
        yield "kind_mismatch", "kind"
    yield from time_problems("receivedAt", record.get("receivedAt"))
    yield from id_problems("conversationUUID", payload.get("conversationUUID"), required=False)
    if shape == "transcript":
        yield from time_problems("endedAt", payload.get("endedAt"))
        if not payload.get("endedAt") and not record.get("receivedAt"):
            yield "undated", "endedAt"
        yield from message_problems(payload["messages"])
    else:
        if not record.get("receivedAt"):
            yield "undated", "receivedAt"
        if not isinstance(payload["message"], str):
            yield "wrong_type", "message"
        yield from visitor_problems(payload["visitor"])


# ------------------------------------------------------------------------------------- repeatable and counted


@settings(max_examples=25)
@given(st.integers(1, 250), st.integers(-5, 2**70), st.floats(0, 0.5))
def test_any_arguments_give_exact_counts_and_the_same_bytes_again(
    events: int, seed: int, share: float
) -> None:
    """Any sample has the records asked for, lists each bad one, and comes out the same twice."""
    with tempfile.TemporaryDirectory() as folder:
        first = write_sample(Path(folder) / "a" / "s", events=events, seed=seed, bad_share=share)
        second = write_sample(Path(folder) / "b" / "s", events=events, seed=seed, bad_share=share)
        lines, notes = list(rows(first)), manifest(first)
        assert digest(first) == digest(second)
        assert len(lines) == first.events == events == first.good + first.bad
        assert len(notes) == first.bad == round(events * share)
        assert sum(first.by_kind.values()) == first.good
        assert first.files == len({row.file for row in lines})
        reported = {(note["file"], note["record"]): (note["reason"], note["field"]) for note in notes}
        for row in lines:
            expected = reported.get(row[:2])
            found = list(problems(row.line))
            assert found == ([expected] if expected and expected[0] != "conflicting_duplicate" else [])


def test_a_sample_is_the_same_on_every_machine(tmp_path: Path) -> None:
    """The bytes are those of the machine on which this digest was taken."""
    export = write_sample(tmp_path / "s", events=2000, seed=7, bad_share=0.05)
    assert digest(export) == "1108b6a3075460dfe2d0a40ee22e88a80b8e116dc05ce60bc0a718afb8aea231"


def test_seeds_differ(tmp_path: Path) -> None:
    """Another seed, a negative one too, gives another sample."""
    digests = {digest(write_sample(tmp_path / "s", events=50, seed=seed)) for seed in (7, -7, 8, 0)}
    assert len(digests) == 4


@pytest.mark.parametrize(
    "arguments",
    [{"events": 0}, {"events": -1}, {"bad_share": -0.1}, {"bad_share": 0.51}, {"bad_share": float("nan")}],
)
def test_impossible_arguments_are_refused(tmp_path: Path, arguments: dict[str, Any]) -> None:
    """No events, or an impossible share, is refused with a message, and nothing is written."""
    with pytest.raises(UsageError, match=r"^(events|bad_share)= is a .*\.$"):
        write_sample(tmp_path / "s", **arguments)
    assert not list(tmp_path.iterdir())


def test_an_earlier_sample_is_replaced_entirely(tmp_path: Path) -> None:
    """A new sample replaces the earlier one completely."""
    write_sample(tmp_path / "s", events=500, seed=1, bad_share=0.1)
    again = write_sample(str(tmp_path / "s"), events=3, seed=2)
    assert again.path == tmp_path / "s"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s", "s.manifest.jsonl"]
    assert again.manifest.read_bytes() == b""
    assert len(list(rows(again))) == 3
    assert {path.name for path in again.path.iterdir()} == {row.file.split("/")[1] for row in rows(again)}


def test_other_files_are_not_changed(tmp_path: Path) -> None:
    """A file, a folder without a manifest, and a sample with a strange file in it are refused and stay."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        write_sample(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty"):
        write_sample(tmp_path / "folder")
    export = write_sample(tmp_path / "s", events=20)
    (export.path / "transcript" / "mine.txt").write_text("mine")
    before = digest(export)
    with pytest.raises(OutputError, match="not part of an earlier sample"):
        write_sample(tmp_path / "s", events=10)
    assert digest(export) == before


# ------------------------------------------------------------------------------------------- broken records


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleExport:
    """Give an export in which every sort of damage occurs."""
    folder = tmp_path_factory.mktemp("samples") / "x.d"
    return write_sample(folder, events=20_000, seed=7, bad_share=0.01)


def test_every_type_of_damage_is_where_the_manifest_says(sample: SampleExport) -> None:
    """All sorts occur, spread over kinds; each place holds that one flaw and no other line holds any."""
    notes = manifest(sample)
    reported = {(note["file"], note["record"]): (note["reason"], note["field"]) for note in notes}
    assert {note["sort"] for note in notes} == {damage.sort for damage in CATALOGUE}
    assert {note["file"].split("/")[1] for note in notes} == KINDS
    assert [(note["file"], note["record"]) for note in notes] == sorted(reported)
    assert len(reported) == sample.bad == 200
    bodies: dict[tuple[str, str], bytes] = {}
    for row in rows(sample):
        found = list(problems(row.line))
        if not found and (payload := json.loads(row.line)["payload"]).get("endedAt"):
            key = payload["conversationUUID"], payload["endedAt"]
            body = json.dumps(payload, sort_keys=True).encode()
            if bodies.setdefault(key, body) != body:
                found = [("conflicting_duplicate", None)]
        assert found == ([reported[row[:2]]] if row[:2] in reported else []), row


def test_a_line_that_is_not_an_object_is_between_others(sample: SampleExport) -> None:
    """Lines that are not JSON objects are neither the first nor the last of their file."""
    last = Counter(row.file for row in rows(sample))
    places = [
        (note["file"], note["record"])
        for note in manifest(sample)
        if note["reason"] in ("not_json", "not_an_object") and note["field"] is None
    ]
    assert places
    assert all(1 < record < last[file] for file, record in places)
