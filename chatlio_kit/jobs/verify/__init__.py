"""Compare a development sandbox with what the client relies on, and record what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatlio_kit.aep import Platform
from chatlio_kit.display import Sheet, SheetDisplay
from chatlio_kit.errors import DONE, FAILED, INCOMPLETE, option
from chatlio_kit.jobs.verify.cases import CASES, TAKE_DOWN, Case
from chatlio_kit.jobs.verify.recording import Recorder
from chatlio_kit.jobs.verify.walk import Difference, Walk, require_development, walk_cases

__all__ = ["CASES", "TAKE_DOWN", "Case", "Difference", "Verification", "listed_calls", "verify_sandbox"]


@dataclass(frozen=True, repr=False)
class Verification(SheetDisplay):
    """What came of a comparison.

    Attributes:
        walk: the cases' answers.
        recording: the file with the answers, if one was written.
    """

    walk: Walk
    recording: Path | None

    @property
    def exit_code(self) -> int:
        """0: all as relied on; 3: something differs or was left behind; 1: the cases could not be walked."""
        if self.walk.is_interrupted or not self.walk.walked:
            return FAILED
        return INCOMPLETE if self.walk.differences or self.walk.left else DONE

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain data for JSON."""
        return {
            "mark": self.walk.mark,
            "cases": len(CASES),
            "walked": len(self.walk.walked),
            "differences": [
                {"case": each.case.name, "call": each.case.call, "relies": each.case.relies,
                 "sources": each.case.sources, "found": each.found, "sentence": str(each)}
                for each in self.walk.differences
            ],
            "not_walked": self.walk.not_walked,
            "left": self.walk.left,
            "interrupted": self.walk.is_interrupted,
            "recording": str(self.recording) if self.recording else None,
        }  # fmt: skip

    def sheet(self) -> Sheet:
        """List how many cases went which way, and what differs in sentences."""
        walk = self.walk
        counts = [
            ("walked", len(walk.walked)),
            ("different", len({each.case.name for each in walk.differences})),
            ("not walked", len(walk.not_walked)),
            ("left behind", len(walk.left)),
        ]
        notes = [str(each) for each in walk.differences]
        notes += [f"Not walked: {name}: {why}." for name, why in walk.not_walked.items()]
        notes += [
            f"Left behind: {what}: {why}. Remove it by hand; its name or description is {walk.mark}."
            for what, why in walk.left.items()
        ]
        if walk.is_interrupted:
            notes.append(
                "It was interrupted." if walk.left else "It was interrupted, and took everything down."
            )
        if not walk.differences and not walk.is_interrupted:
            notes.append("No answer differs from what the client relies on.")
        if self.recording is not None:
            notes.append(f"The answers are in {str(self.recording)!r}, without ids, addresses and names.")
        return Sheet(f"{len(CASES)} conformance cases", ("cases", ""), counts, notes)


def verify_sandbox(
    platform: Platform, cases: Sequence[Case] = CASES, *, wait: float = 900.0, record: Path | None = None
) -> Verification:
    """Walk the conformance cases on a development sandbox and take down what they made.

    Args:
        platform: the sandbox.
        cases: the cases, in an order in which each finds what it needs.
        wait: seconds to wait until a dataflow is ready and records have landed.
        record: the file for the scrubbed answers; it needs the extra ``verify``.

    Raises:
        ProductionSandbox: the sandbox is not of the type development; no option changes that.
        UsageError: vcrpy, which records, is not installed.
        OutputError: the recording cannot be written.
        PlatformError: the platform cannot be reached, or refuses the credential.
    """
    recorder = Recorder() if record is not None else None
    require_development(platform)
    if record is None or recorder is None:
        return Verification(walk_cases(platform, cases, wait=wait), None)
    # Connections that are already open would not be recorded.
    with recorder.recording(), Platform(platform.settings, sleep=platform.sleep) as recorded:
        walk = walk_cases(recorded, cases, wait=wait, asking=recorder.asking)
    recorder.write(record, walk, platform.settings)
    return Verification(walk, record)


def listed_calls() -> Sheet:
    """Return every call that a walk makes, in order."""
    rows = [(case.name, case.call) for case in CASES]
    notes = [
        "Calls that wait are repeated. Whatever a call could not remove is removed at the end, newest first, "
        f"then whatever else carries the walk's mark. {option('wait')} limits the waiting."
    ]
    return Sheet(f"{len(rows)} calls", ("case", "call"), rows, notes)
