"""Results of a walk through the conformance cases."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chatlio_kit.display import Sheet, SheetDisplay
from chatlio_kit.errors import DONE, FAILED, INCOMPLETE
from chatlio_kit.jobs.verify.cases import CASES, Case


@dataclass(frozen=True)
class Difference:
    """An answer that differs from what a case relies on.

    Attributes:
        case: The case.
        found: The difference, as text that follows "but".
    """

    case: Case
    found: str

    def __str__(self) -> str:
        return (
            f"{self.case.name.capitalize()} ({self.case.call}): the client relies on: {self.case.relies} "
            f"({self.case.sources}); but {self.found}."
        )


@dataclass(repr=False)
class Walk(SheetDisplay):
    """The results of the cases.

    Attributes:
        mark: The prefix of the name or description of every object of this walk.
        walked: The names of the cases that got an answer.
        differences: Answers that differ from what the cases rely on.
        not_walked: The cases without a usable answer, with reasons.
        left: Objects that could not be removed, with reasons.
        is_interrupted: True if the walk was interrupted.
        recording: The file with the answers, if one was written.
        expected: The shape of each case's answer, with the ids of this walk.
        ids: The ids of the walk by their words; some are secrets.
    """

    mark: str
    walked: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    not_walked: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    is_interrupted: bool = False
    recording: Path | None = None
    expected: dict[str, Any] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 nothing differs; 3 something differs or was left behind; 1 the cases could not be run."""
        if self.is_interrupted or not self.walked:
            return FAILED
        return INCOMPLETE if self.differences or self.left else DONE

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain data for JSON."""
        differences = [
            {"case": one.case.name, "call": one.case.call, "relies": one.case.relies,
             "sources": one.case.sources, "found": one.found, "sentence": str(one)}
            for one in self.differences
        ]  # fmt: skip
        return {
            "mark": self.mark,
            "cases": len(CASES),
            "walked": len(self.walked),
            "differences": differences,
            "not_walked": self.not_walked,
            "left": self.left,
            "interrupted": self.is_interrupted,
            "recording": str(self.recording) if self.recording else None,
        }

    def sheet(self) -> Sheet:
        """Return the counts of cases by result, and a sentence for each difference."""
        counts = [
            ("walked", len(self.walked)),
            ("different", len(self.differences)),
            ("not walked", len(self.not_walked)),
            ("left behind", len(self.left)),
        ]
        notes = [str(one) for one in self.differences]
        notes += [f"Not walked: {name}: {why}." for name, why in self.not_walked.items()]
        notes += [
            f"Left behind: {what}: {why}. Remove it by hand; its name or description is {self.mark}."
            for what, why in self.left.items()
        ]
        if self.is_interrupted:
            notes.append(f"It was interrupted{'' if self.left else ', and everything was removed'}.")
        elif not self.differences and self.walked:
            notes.append("No answer differs from what the client relies on.")
        if self.recording is not None:
            notes.append(f"The answers are in {str(self.recording)!r}, without ids, URLs and names.")
        return Sheet(f"{len(CASES)} conformance cases", ("cases", ""), counts, notes)
