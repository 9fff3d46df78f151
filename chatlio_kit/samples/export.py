# ruff: noqa: S311 - a sample has to be repeatable, nothing here is a secret
"""Write captures to one folder per kind and one file per month, and list the broken ones."""

import re
import struct
import tempfile
import zlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import IO, Any

import orjson

from chatlio_kit.arguments import checked, flag, number, whole_number
from chatlio_kit.errors import OutputError

from .clock import month_of
from .conversations import KINDS, TRANSCRIPT, Capture, captures
from .damage import Breaker, Record
from .slack import SlackWorkspace

_PACKED_YEARS = ("2023",)
_FILE_NAME = re.compile(r"\d{4}-\d{2}\.ndjson(\.gz)?")


@dataclass(frozen=True)
class SampleExport:
    """The files of a sample export.

    `events` counts all records, `by_kind` the valid ones of each kind; `manifest` lists the broken ones.
    `slack` is a workspace export of the same chats, if one was written.
    """

    path: Path
    events: int
    good: int
    bad: int
    by_kind: dict[str, int]
    manifest: Path
    files: int
    slack: Path | None = None


@checked(
    events=whole_number(1),
    seed=whole_number(),
    bad_share=number("a share from 0 to 0.5", most=0.5),
    slack=flag,
)
def write_sample(
    out: Path | str, *, events: int = 1000, seed: int = 7, bad_share: float = 0.0, slack: bool = False
) -> SampleExport:
    """Write a realistic export of `events` records; the same arguments give the same bytes.

    The export goes to `OUT/<kind>/<YYYY-MM>.ndjson` (2023 as `.ndjson.gz`), one capture envelope per line.
    `OUT.manifest.jsonl` lists file, record, reason and field of every broken record. An earlier sample in the
    same folder is replaced; a folder with any other contents is left alone.

    Args:
        out: The folder.
        events: Number of records, including broken ones.
        seed: The same seed gives the same bytes.
        bad_share: Share of broken records, 0 to 0.5.
        slack: If true, write `OUT.slack.zip` too: a Slack workspace export of the same chats.

    Raises:
        UsageError: Fewer than one event, or a share of broken records outside 0 to 0.5.
        OutputError: `out` is a file, a folder with other contents than an earlier sample, or cannot be
            written.
    """
    folder = Path(out)
    if folder.name in ("", ".."):
        folder = folder.resolve()
    manifest = folder.with_name(f"{folder.name}.manifest.jsonl")
    bad = round(events * bad_share)
    try:
        _clear(folder, manifest)
        folder.mkdir(parents=True, exist_ok=True)
        manifest.write_bytes(b"")  # marks the folder as a sample
        with closing(_Writer(folder)) as writer:
            workspace = SlackWorkspace(seed) if slack else None
            by_kind = _write(writer, seed, events, bad, workspace)
            writer.finish(manifest)
        slack_export = folder.with_name(f"{folder.name}.slack.zip") if slack else None
        if workspace is not None and slack_export is not None:
            workspace.write(slack_export)
    except OSError as error:
        raise OutputError(
            f"The sample could not be written to {str(folder)!r}: {error.strerror or error}. Choose a folder "
            "that you can write to."
        ) from error
    return SampleExport(folder, events, events - bad, bad, by_kind, manifest, writer.files, slack_export)


def _clear(folder: Path, manifest: Path) -> None:
    """Remove an earlier sample, or refuse."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is a file; a sample needs a folder of its own.")
    inside = set(folder.iterdir())
    if inside and not manifest.is_file():
        raise OutputError(
            f"{folder} is not empty, and there is no {manifest.name} next to it to mark it as an earlier "
            "sample: choose another folder, or empty this one."
        )
    kinds = {folder / kind for kind in KINDS if not (folder / kind).is_symlink()}
    earlier = {path for kind in kinds for path in kind.glob("*") if _FILE_NAME.fullmatch(path.name)}
    strange = sorted(set(folder.rglob("*")) - kinds - earlier)
    if strange:
        raise OutputError(
            f"{strange[0]} is not part of an earlier sample: choose another folder, or move it away."
        )
    for path in earlier:
        path.unlink()
    for path in inside:
        path.rmdir()


def _write(
    writer: "_Writer", seed: int, events: int, bad: int, slack: SlackWorkspace | None
) -> dict[str, int]:
    """Write all captures, breaking exactly `bad` of them at random positions."""
    rng = Random(f"chatlio sample {seed}: damage")
    breaker = Breaker(rng)
    by_kind = dict.fromkeys(sorted(KINDS), 0)
    undecided, due = bad, 0
    for done, capture in enumerate(captures(seed, events, slack)):
        left = events - done
        if undecided and rng.random() * left < undecided:
            undecided, due = undecided - 1, due + 1
        file = writer.file_for(capture)
        if due and (file.lines or due + undecided >= left):
            due -= 1
            _write_broken(breaker, file, capture)
        else:
            file.add(orjson.dumps(capture.envelope))
            by_kind[capture.kind] += 1
            if bad and capture.kind == TRANSCRIPT:
                file.latest = capture.envelope
    return by_kind


def _write_broken(breaker: Breaker, file: "_MonthFile", capture: Capture) -> None:
    damage, line, field = breaker.spoil(capture.envelope, between=file.lines > 1, earlier=file.latest)
    note = {"reason": damage.reason, "field": field, "sort": damage.sort}
    if damage.breaks_line:
        file.slip_in(line, note)
    else:
        file.add(line, note)
    if damage.repeats:
        file.latest = None


class _StoredGzip:
    """A gzip file without compression.

    Compressed bytes differ between versions of zlib; stored ones are the same on every machine.
    """

    _BLOCK = 65_535

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._sum, self._size = 0, 0
        stream.write(b"\x1f\x8b\x08" + bytes(6) + b"\xff")  # no name, no time, no system

    def write(self, data: bytes) -> None:
        self._sum = zlib.crc32(data, self._sum)
        self._size += len(data)
        self._buffer += data
        while len(self._buffer) > self._BLOCK:
            self._store(self._buffer[: self._BLOCK], last=False)
            del self._buffer[: self._BLOCK]

    def close(self) -> None:
        self._store(self._buffer, last=True)
        self._stream.write(struct.pack("<II", self._sum, self._size & 0xFFFFFFFF))
        self._stream.close()

    def _store(self, data: bytearray, *, last: bool) -> None:
        self._stream.write(struct.pack("<BHH", last, len(data), len(data) ^ 0xFFFF) + data)


class _MonthFile:
    """One file of the export; its last line is buffered, so that a broken one can precede it."""

    def __init__(self, path: Path, label: str, notes: IO[bytes]) -> None:
        stream = path.open("wb", buffering=1 << 18)
        self.path = path
        self.lines = 0
        self.latest: Record | None = None
        self._stream: IO[bytes] | _StoredGzip = _StoredGzip(stream) if path.suffix == ".gz" else stream
        self._label = label
        self._notes = notes
        self._written = 0
        self._held: tuple[bytes, dict[str, Any] | None] | None = None

    def add(self, line: bytes, note: dict[str, Any] | None = None) -> None:
        self._release()
        self._held = line, note
        self.lines += 1

    def slip_in(self, line: bytes, note: dict[str, Any]) -> None:
        self._put(line, note)
        self.lines += 1

    def close(self) -> None:
        self._release()
        self._stream.close()

    def _release(self) -> None:
        if self._held is not None:
            self._put(*self._held)
            self._held = None

    def _put(self, line: bytes, note: dict[str, Any] | None) -> None:
        self._stream.write(line + b"\n")
        self._written += 1
        if note is not None:
            self._notes.write(orjson.dumps({"file": self._label, "record": self._written, **note}) + b"\n")


class _Writer:
    """The open files and the lines of the manifest, by kind."""

    def __init__(self, folder: Path) -> None:
        self.files = 0
        self._folder = folder
        self._open: dict[str, _MonthFile] = {}
        self._months: dict[str, str] = {}
        self._notes: dict[str, IO[bytes]] = {}

    def file_for(self, capture: Capture) -> _MonthFile:
        """Return the file for a capture, closing that kind's last month when a new one begins."""
        kind, month = capture.kind, month_of(capture.at)
        if self._months.get(kind) != month:
            self._begin(kind, month)
        return self._open[kind]

    def finish(self, manifest: Path) -> None:
        """Close the files and write the manifest kind by kind, which is the order of paths."""
        for file in self._open.values():
            file.close()
        self._open.clear()
        with manifest.open("wb") as stream:
            for kind in sorted(self._notes):
                notes = self._notes[kind]
                notes.seek(0)
                while block := notes.read(1 << 16):
                    stream.write(block)

    def close(self) -> None:
        """Close all files, even after a failure."""
        for file in self._open.values():
            file.close()
        for notes in self._notes.values():
            notes.close()

    def _begin(self, kind: str, month: str) -> None:
        if kind in self._open:
            self._open[kind].close()
        else:
            (self._folder / kind).mkdir(exist_ok=True)
            self._notes.setdefault(kind, tempfile.TemporaryFile())  # noqa: SIM115 - closed with the writer
        name = f"{month}.ndjson.gz" if month.startswith(_PACKED_YEARS) else f"{month}.ndjson"
        path = self._folder / kind / name
        self._open[kind] = _MonthFile(path, f"{self._folder.name}/{kind}/{name}", self._notes[kind])
        self._months[kind] = month
        self.files += 1
