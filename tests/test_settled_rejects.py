"""The next run accepts settled rejects, and only those."""

from __future__ import annotations

import zipfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import orjson
import pytest

import chatlio_kit as ck
from chatlio_kit.aep import Platform
from chatlio_kit.jobs.backfill import backfill
from chatlio_kit.tables import convert

Payload = dict[str, Any]


class _Captures:
    """A folder with a file of lines and a zip of the same sort; each has good records and three rejects."""

    def __init__(self, folder: Path, payload: Payload) -> None:
        self._folder = folder
        self._payload = payload
        self._broken = True
        self.write()

    def correct(self) -> None:
        """Correct the broken line in its place."""
        self._broken = False
        self.write()

    def write(self) -> None:
        self._folder.mkdir(exist_ok=True)
        (self._folder / "lines.ndjson").write_bytes(self._lines("1"))
        with zipfile.ZipFile(self._folder / "packed.zip", "w") as packed:
            packed.writestr("member.ndjson", self._lines("2"))

    def _lines(self, mark: str) -> bytes:
        def reported(number: int, **changed: Any) -> Payload:
            payload = deepcopy(self._payload) | {"channelId": f"C{mark}{number}"} | changed
            return {"receivedAt": f"2024-03-0{number + 1}T08:00:00Z", "kind": "feedback", "payload": payload}

        nameless, unknown, broken = reported(2), reported(3, rating=5), reported(4)
        del nameless["kind"]
        if self._broken:
            broken["payload"]["visitor"] = {"UUID": "nobody"}
        return b"\n".join(
            orjson.dumps(each) for each in (reported(0), nameless, unknown, broken, reported(1))
        )


@pytest.fixture
def captures(tmp_path: Path, conversation: Payload) -> _Captures:
    """Five records in each of two containers."""
    del conversation["conversationUUID"]
    return _Captures(tmp_path / "captures", conversation)


STEPS: list[dict[str, Any]] = [
    {"contract": "freeze"},
    {"contract": "freeze", "kind": "unanswered"},
    {"contract": "evolve", "kind": "unanswered"},
    {"contract": "evolve", "kind": "unanswered", "corrected": True},
    {"contract": "evolve", "kind": "unanswered", "corrected": True},
]


def test_a_conversion_includes_corrected_records(captures: _Captures, tmp_path: Path) -> None:
    """An option, a looser contract, a corrected line: each admits its own rejects and no others."""
    accepted = []
    for step in STEPS:
        options = dict(step)
        if options.pop("corrected", False):
            captures.correct()
        converted = convert(ck.read_export(tmp_path / "captures", **options), tmp_path / "out", quiet=True)
        counts = converted.counts
        assert counts.read == counts.accepted + counts.rejected == 10
        accepted.append(counts.accepted)
    assert accepted == [4, 6, 8, 10, 10]
    assert (tmp_path / "out" / "rejected.jsonl").read_bytes() == b""


def test_a_backfill_sends_only_the_corrected_records(
    captures: _Captures, tmp_path: Path, local: Platform
) -> None:
    """The same over five backfills: each sends only records settled after the previous one."""
    reported = []
    for step in STEPS:
        options = dict(step)
        if options.pop("corrected", False):
            captures.correct()
        page = backfill(ck.read_export(tmp_path / "captures", **options), local, quiet=True)
        reported.append(
            (page.counts.accepted, page.counts.duplicates, page.counts.rejected, page.total.landed)
        )
    assert reported == [(4, 0, 6, 4), (2, 4, 4, 6), (2, 6, 2, 8), (2, 8, 0, 10), (0, 10, 0, 10)]
