"""Damaged captures: a thousand valid records are accepted, the invalid one is named, no value is altered.

``damage_table()`` gives the lines below as a table for readers.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fuzz_convert
import orjson
import pyarrow as pa
import pytest

from chatlio_kit.chatlio.event_ids import canonical, digest
from chatlio_kit.chatlio.rejections import Rejection
from chatlio_kit.tables import Export, ReadOptions

GOOD = 1000
PLACE = 501
"""The line of the damaged record."""


def _record(number: int, around: dict[str, Any] | None = None, **payload: Any) -> dict[str, Any]:
    """One capture of the conversation shape, with invented values."""
    envelope = {"receivedAt": "2024-03-11T08:59:43.250Z", "kind": "conversation_started", **(around or {})}
    body = {
        "visitor": {"UUID": "5b0c7d1e-9a34-4e2f-6c18-b2f09d41a7e3", "email": "", "identUserId": "00123"},
        "message": "Is the beta open? 🙂",
        "conversationUUID": f"{number:08x}-3b6d-4f08-5a91-0d4e6b2f8c13",
        "slackChannelId": "C06LOBBY345",
        **payload,
    }
    return {**{key: value for key, value in envelope.items() if value}, "payload": body}


def _line(around: dict[str, Any] | None = None, **payload: Any) -> bytes:
    return json.dumps(_record(0xBAD, around, **payload), ensure_ascii=False).encode()


def _spliced(old: str, new: str) -> bytes:
    line = _line().decode()
    assert old in line
    return line.replace(old, new, 1).encode()


def _transcript(**message: Any) -> bytes:
    said = {"text": "Hi", "ts": "1710144005.000200", "username": "ana", "isVisitorMsg": True}
    later = {**said, "ts": "1710144061.448129", **message}
    payload = {
        "conversationUUID": "0bad0bad-3b6d-4f08-5a91-0d4e6b2f8c13",
        "startedAt": "2024-03-11T08:59:41Z",
        "endedAt": "2024-03-11T09:03:10Z",
        "messages": [said, {key: value for key, value in later.items() if value is not ...}],
        "textBody": "",
    }
    return orjson.dumps({"receivedAt": "2024-03-11T09:03:11Z", "payload": payload})


@dataclass(frozen=True)
class Damage:
    """One type of damage to one line among a thousand valid ones.

    Attributes:
        what: in words.
        line: the damaged line.
        reason: the reason for rejection; None if it is accepted.
        field: the field that is named, if one is.
    """

    what: str
    line: bytes | Callable[[], bytes]
    reason: str | None
    field: str | None = None

    @property
    def text(self) -> bytes:
        """The damaged line; large ones are made only when they are needed."""
        return self.line if isinstance(self.line, bytes) else self.line()


def _nested() -> bytes:
    return _spliced('"message"', f'"x": {"[" * 50_000}{"]" * 50_000}, "message"')


DAMAGES = [
    Damage("a line cut off in the middle", _line()[:200], "not_json"),
    Damage("a field that should be text is a number", _line(message=7), "wrong_type", "message"),
    Damage("a number became text", _transcript(isVisitorMsg="1"), "wrong_type", "messages[1].isVisitorMsg"),
    Damage("an object became text", _line(visitor="Ana"), "wrong_type", "visitor"),
    Damage("an integer beyond 64 bits", _line(order=2**64 + 1), None),
    Damage("a lone surrogate, escaped", _spliced("🙂", "\\ud83d"), "not_json"),
    Damage("bytes that are not UTF-8", _line().replace("🙂".encode(), b"\xff\xfe"), "not_json"),
    Damage("the word NaN for a value", _spliced('"C06LOBBY345"', "NaN"), "not_json"),
    Damage("the word Infinity for a value", _spliced('"C06LOBBY345"', "-Infinity"), "not_json"),
    Damage(
        "a key twice in one object",
        _spliced('"message"', '"message": "a", "message"'),
        "duplicate_key",
        "message",
    ),
    Damage("a byte order mark in the middle of the file", b"\xef\xbb\xbf" + _line(), "not_json"),
    Damage("an array", b'[{"visits": 1}]', "not_an_object"),
    Damage("a lone value", b"null", "not_an_object"),
    Damage("words that are not JSON", b"-- rotated 2024-03-11 --", "not_json"),
    Damage("two records on one line", _line() + _line(), "not_json"),
    Damage("a comma behind the record", _line() + b",", "not_json"),
    Damage("single quotes", _line().replace(b'"', b"'"), "not_json"),
    Damage("a NUL byte", _line().replace(b"beta", b"be\0ta"), "not_json"),
    Damage("a NUL, escaped as JSON allows", _spliced("beta", "be\\u0000ta"), None),
    Damage("100,000 brackets", b"[" * 100_000, "not_json"),
    Damage("100,000 brackets inside a record", _nested, "not_json"),
    Damage("the number 1e999999", _spliced('"C06LOBBY345"', "1e999999"), "not_json"),
    Damage("a number beyond a double's range", _spliced('"message"', '"x": 1e400, "message"'), "not_json"),
    Damage("a number of 5,000 digits", _spliced('"C06LOBBY345"', "9" * 5000), "not_json"),
    Damage("a line of 50 MB", lambda: _line(message="x" * 50_000_000), "too_large"),
    Damage("an object that is not a capture", b'{"level": "info", "msg": "started"}', "shape_unknown"),
    Damage("the kind of another shape", _line({"kind": "transcript"}), "kind_mismatch", "kind"),
    Damage("a conversation without a kind", _line({"kind": None}), "kind_unknown", "kind"),
    Damage("no time anywhere", _line({"receivedAt": None}), "undated", "receivedAt"),
    Damage("an invalid time", _line({"receivedAt": "11.3.2024 9:03"}), "invalid_time", "receivedAt"),
    Damage(
        "a time in the future", _line({"receivedAt": "2924-03-11T08:59:43Z"}), "future_time", "receivedAt"
    ),
    Damage("a message without its ts", _transcript(ts=...), "missing", "messages[1].ts"),
    Damage("two messages with one ts", _transcript(ts="1710144005.000200"), "repeated", "messages[1].ts"),
    Damage(
        "the same event with another payload",
        orjson.dumps(_record(1, message="Other")),
        "conflicting_duplicate",
    ),
    Damage("an unknown field", _line(loyalty={"tier": "gold"}), None),
    Damage("a blank line", b"   ", None),
]


@dataclass(frozen=True)
class BrokenFile:
    """One type of damage to a whole file next to a valid one.

    Attributes:
        what: in words.
        make: makes the file's bytes from good lines.
        name: what the reject's file is called, below the folder.
        kept: the number of lines still accepted; None for an unknown number.
    """

    what: str
    make: Callable[[list[bytes]], bytes]
    name: str = "broken"
    kept: int | None = 0


def _zip(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def _tar(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _bent_tar(lines: list[bytes]) -> bytes:
    """A tar whose second member's header has a wrong checksum."""
    packed = bytearray(_tar({"a": b"\n".join(lines), "b": b"\n".join(lines)}))
    packed[packed.rindex(b"ustar") - 100] ^= 1
    return bytes(packed)


def _locked(lines: list[bytes]) -> bytes:
    """A zip whose first member is marked as encrypted."""
    packed = bytearray(_zip({"a": b"\n".join(lines), "b": b"\n".join(lines)}))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        packed[packed.index(mark) + place] |= 1
    return bytes(packed)


def _bent(lines: list[bytes]) -> bytes:
    """A zip with a changed letter in its first member and the old checksum."""
    packed = _zip({"a": b"\n".join(lines), "b": b"\n".join(lines)}, zipfile.ZIP_STORED)
    return packed.replace(b"Is the beta open?", b"Is the beta 0pen?", 1)


def _broken_gzip(lines: list[bytes]) -> bytes:
    """A gzip with complete lines, followed by a block of an invalid type."""
    stream = zlib.compressobj(wbits=31)
    text = b"".join(line + b"\n" for line in lines)
    return stream.compress(text) + stream.flush(zlib.Z_SYNC_FLUSH) + b"\x07" * 200


def _resealed(lines: list[bytes]) -> bytes:
    """A gzip with another checksum than its own."""
    packed = bytearray(gzip.compress(b"".join(line + b"\n" for line in lines)))
    packed[-8] ^= 1
    return bytes(packed)


def _lz(lines: list[bytes]) -> bytes:
    return _zip({"a": b"\n".join(lines)}, zipfile.ZIP_LZMA)


FILES = [
    BrokenFile("a gzip that is cut off", lambda lines: gzip.compress(b"\n".join(lines))[:-30], kept=None),
    BrokenFile("a gzip that breaks behind its lines", _broken_gzip, kept=10),
    BrokenFile("a gzip with a wrong checksum", _resealed, kept=10),
    BrokenFile("a text that is cut off in its last line", lambda lines: b"\n".join(lines)[:-30], kept=9),
    BrokenFile("an array that is cut off", lambda lines: b"[" + b",".join(lines)[:-30], kept=9),
    BrokenFile("a file of no text", lambda lines: bytes(range(256)) * 40),
    BrokenFile("words that are not JSON at all", lambda lines: b"visitorEmail: none\nThen the rest.\n"),
    BrokenFile("a zip that is cut off", lambda lines: _zip({"a": b"\n".join(lines)})[:-30]),
    BrokenFile("a zip's member that is encrypted", _locked, "broken!a", 10),
    BrokenFile("a zip's member with a wrong checksum", _bent, "broken!a", 10),
    BrokenFile("a zip's member that is packed in a rare way", _lz, "broken!a"),
    BrokenFile(
        "a tar that is cut off", lambda lines: _tar({"a": b"\n".join(lines)})[:2000], "broken!a", None
    ),
    BrokenFile("a tar with a damaged header", _bent_tar, kept=10),
    BrokenFile(
        "a tar in a tar",
        lambda lines: _tar({"in": gzip.compress(_tar({"a": b"\n".join(lines)}))}),
        "broken!in",
    ),
    BrokenFile("a zip in a zip", lambda lines: _zip({"in": _zip({"a": b"\n".join(lines)})}), "broken!in"),
]


@dataclass
class Reported:
    """The outcomes of a folder's records.

    Attributes:
        accepted: the digest of each accepted payload, by file and record.
        rejected: the others.
        extra: the unknown fields of each accepted one.
        read: how many there were.
    """

    accepted: dict[tuple[str, int], str]
    rejected: list[Rejection]
    extra: dict[tuple[str, int], str | None]
    read: int


def _convert(folder: Path) -> Reported:
    export = Export([folder], ReadOptions(), workers=0)
    reported = Reported({}, [], {}, 0)
    for batches in export.batches():
        events = batches.events
        places = list(zip(events["source_file"], map(int, events["source_record"]), strict=True))
        reported.accepted |= dict(zip(places, events["payload_digest"], strict=True))
        reported.extra |= dict(zip(places, events["extra_fields"], strict=True))
        reported.rejected += batches.rejected
        reported.read += len(events) + len(batches.rejected) + batches.duplicates
    assert reported.read == sum(export.captures.read.values())
    return reported


GOOD_LINES = [orjson.dumps(_record(number)) for number in range(GOOD)]
DIGESTS = [digest(canonical(_record(number)["payload"])) for number in range(GOOD)]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.what)
def test_only_the_damaged_line_is_rejected(tmp_path: Path, damage: Damage) -> None:
    """A thousand valid records are accepted unchanged; the invalid one is named by file, number and field."""
    lines = [*GOOD_LINES[: PLACE - 1], damage.text, *GOOD_LINES[PLACE - 1 :]]
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "captures.ndjson").write_bytes(b"\n".join(lines) + b"\n")
    reported = _convert(tmp_path / "x")
    bad = reported.accepted.pop(("x/captures.ndjson", PLACE), None)
    assert list(reported.accepted.values()) == DIGESTS
    if damage.reason is None:
        assert not reported.rejected
        assert (bad is None) == (not damage.text.strip())
    else:
        assert [(each.file, each.record, each.reason, each.field) for each in reported.rejected] == [
            ("x/captures.ndjson", PLACE, damage.reason, damage.field)
        ]
        assert reported.rejected[0].detail.endswith((".", '"'))


@pytest.mark.parametrize("broken", FILES, ids=lambda broken: broken.what)
def test_only_the_broken_file_is_rejected(tmp_path: Path, broken: BrokenFile) -> None:
    """A valid file is unaffected; the readable part of the broken one is kept, the rest reported."""
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "captures.ndjson").write_bytes(b"\n".join(GOOD_LINES) + b"\n")
    first = [_line(conversationUUID=f"0bad{number:04}-3b6d-4f08-5a91-0d4e6b2f8c13") for number in range(10)]
    (folder / "broken").write_bytes(broken.make(first))
    reported = _convert(folder)
    good = [digest for (file, _), digest in reported.accepted.items() if file == "x/captures.ndjson"]
    assert good == DIGESTS
    assert [(each.file, each.reason) for each in reported.rejected] == [(f"x/{broken.name}", "unreadable")]
    others = sum(file != "x/captures.ndjson" for file, _ in reported.accepted)
    assert 0 < others < 10 if broken.kept is None else others == broken.kept


KEPT = {
    "text that looks like a number": '"00123"',
    "a telephone number": '"+4930123"',
    "a price with its zero": '"1.10"',
    "an integer that no float holds": "9007199254740993",
    "an integer beyond 64 bits": "123456789012345678901234567890",
    "a negative one": "-170141183460469231731687303715884105728",
    "a decimal of more digits than a double has": "0.1234567890123456789",
    "a large one": "12345678901234567890.5",
    "one that no double holds": "9007199254740993.0",
    "one too near to nothing for a double": "1e-400",
    "decimals beside a large integer": "[0.12345678901234567890,1.5,123456789012345678901234567890]",
    "text with a NUL": '"a\\u0000b"',
    "a date in a text": '"2024-03-11"',
    "an empty text": '""',
    "the text null": '"null"',
    "the text NaN": '"NaN"',
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_no_value_is_altered(tmp_path: Path, text: str) -> None:
    """A value keeps its exact text from the file to the table, even if a spreadsheet would change it."""
    line = _spliced('"message"', f'"order": {text}, "message"')
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a").write_bytes(line + b"\n" + GOOD_LINES[0] + b"\n")
    reported = _convert(tmp_path / "x")
    assert reported.extra["x/a", 1] == f'{{"order":{text}}}'


def test_an_id_keeps_its_digits(tmp_path: Path) -> None:
    """An id that came as a number is the text of that number, however many digits it has."""
    line = _spliced('"identUserId": "00123"', '"identUserId": 0.1234567890123456789')
    (tmp_path / "a").write_bytes(line + b"\n")
    tables = Export([tmp_path / "a"], ReadOptions(), workers=0).to_tables(quiet=True)
    assert tables.events["user_id"].tolist() == ["0.1234567890123456789"]


def damage_table() -> str:
    """Print the outcome of each type of damage as a Markdown table."""
    rows = ["| damaged: one record among 1,000 good ones | outcome |", "| --- | --- |"]
    for damage in DAMAGES:
        named = f", naming `{damage.field}`" if damage.field else ""
        if not damage.text.strip():
            result = "counts as a line, not as a record"
        elif damage.reason is None:
            result = "accepted, to the last digit"
        else:
            result = f"rejected as `{damage.reason}`{named}"
        rows.append(f"| {damage.what} | {result} |")
    rows += ["", "| damaged: one file beside a good one | outcome |", "| --- | --- |"]
    rows += [f"| {broken.what} | one record, rejected as `unreadable`{_kept(broken)} |" for broken in FILES]
    rows += ["", "| a value | in the table |", "| --- | --- |"]
    rows += [f"| {what} | `{text}`, as it was |" for what, text in KEPT.items()]
    return "\n".join(rows)


def _kept(broken: BrokenFile) -> str:
    if broken.kept is None:
        return "; the records before the break are kept"
    return f"; {broken.kept} of its records are kept" if broken.kept else ""


MB = 1_000_000
_READ = """
import json, resource, sys
from chatlio_kit.captures import Captures
from chatlio_kit.captures.formats import compression, text_blocks
text_blocks.MOST_SKIPPED, compression.MOST_UNPACKED = 10_000_000, 30_000_000
captures = Captures([sys.argv[1]])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rejected = [(each.file, each.record, each.reason) for piece in captures.batches() for each in piece.rejected]
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"rejected": rejected, "read": captures.read, "kilobytes": after - before}))
"""


def test_huge_inputs_are_reported_in_little_memory(tmp_path: Path) -> None:
    """Bombs of every type, endless lines, very many brackets: each ends with a reason, in little memory."""
    folder = tmp_path / "x"
    folder.mkdir()
    good = b'{"n": 1}\n'
    line = b"".join([good, bytes(35 * MB), b"\n", good])
    deep = [b"[", b"[{" * 50_000, b"]" * 70_000, b"}" * 50_000, b"]" * 50_000, b', {"n": 1}]']
    for name, content in {
        "gzip": gzip.compress(line, 1),
        "bzip2": bz2.compress(line, 1),
        "xz": lzma.compress(line, preset=0),
        "zstd": pa.compress(line, codec="zstd", asbytes=True),
        "zip": _zip({"a": line}),
        "line": b"".join([good, b'{"x": "', b"x" * 50 * MB, b'"}\n', good]),
        "deep": b"".join(deep),
        "large": gzip.compress(b"".join([b"[", *[b'"' + b"x" * MB + b'",\n'] * 300, b'{"n": 1}]']), 1),
        "blank": gzip.compress(b"\n" * 20 * MB + good, 1),
    }.items():
        (folder / name).write_bytes(content)
    done = subprocess.run([sys.executable, "-c", _READ, str(folder)], capture_output=True, check=True)
    reported = json.loads(done.stdout)
    assert reported["kilobytes"] < 250_000
    assert reported["read"] == {
        "x/blank": 1, "x/bzip2": 2, "x/deep": 3, "x/gzip": 3, "x/large": 301, "x/line": 3, "x/xz": 2,
        "x/zip": 3, "x/zstd": 2,
    }  # fmt: skip
    assert ["x/line", 2, "too_large"] in reported["rejected"]


def test_a_short_fuzz_run() -> None:
    """Hundreds of damaged inputs, in every form and container: no exception, no loss; soaking has more."""
    base = fuzz_convert.read_base()
    outcome = fuzz_convert.check([fuzz_convert.make(number, 11, base) for number in range(300)])
    assert not outcome.wrong
    assert outcome.inputs == 300
    assert outcome.accepted > outcome.read // 2 > outcome.rejected.total() // 2 > 0
