"""The report on an export's records, as JSON and as sections of a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chatlio_kit.chatlio.catalogue import TABLES
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.chatlio.rejections import HINTS, Reason
from chatlio_kit.counting import counted
from chatlio_kit.display import Chart, Document, Example, Part, Sheet, Tile
from chatlio_kit.slack import SlackCounts
from chatlio_kit.tables.findings import FieldFindings, RecordCounts, by_frequency
from chatlio_kit.tables.next_steps import NextStep, NextSteps, at_prompt, in_python

REJECTED = "rejected.jsonl"
REPORT = "report.json"
PAGE = "report.html"
EXPLORER = "explorer.html"
_MOST_PERIODS = 60


@dataclass
class Converted:
    """Tables on disk, and the outcomes of the records.

    Attributes:
        out: The folder that holds them; the address of one in a bucket as text.
        counts: Numbers of records read, by outcome.
        rows: Number of rows in each table.
        notes: Sentences about files without records, and about findings besides events.
        findings: Findings besides events.
        next_steps: Options that settle rejected records, by reason, tried on such records.
        slack: Outcomes of a Slack export's messages and conversations, if one was read.
    """

    out: Path | str
    counts: RecordCounts
    rows: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    findings: FieldFindings = field(default_factory=FieldFindings)
    next_steps: NextSteps = field(default_factory=NextSteps)
    slack: SlackCounts | None = None

    def report(self) -> dict[str, Any]:
        """Return the report, as in ``report.json``."""
        return {
            **self.counts.as_dict(),
            "tables": dict(self.rows),
            "by_month": self.counts.timeline(),
            **self.findings.as_dict(),
            "next_steps": self.next_steps.as_list(),
            **({"slack": self.slack.as_dict()} if self.slack is not None else {}),
        }

    def document(self) -> Document:
        """Return the report as a page."""
        rows = [(name, self.rows[name], _ROWS[name]) for name in TABLES]
        return Document(
            "Converted captures",
            f"{counted(self.counts.read, 'record was', 'records were')} read; every record ends in exactly "
            "one place.",
            record_tiles(self.counts),
            [
                *record_parts(self.counts, self.findings),
                Part("Tables", sheet=Sheet("", ("table", "rows", "a row for"), rows)),
                *further_parts(self.counts, self.notes, self.next_steps),
            ],
        )

    def summary(self) -> Sheet:
        """Return the counts of records, and the paths of the files."""
        rows = ", ".join(f"{name} {number:,}" for name, number in self.rows.items())
        locations = [f"tables: {self.out}", f"report: {self._place(PAGE)}"]
        if self.counts.rejected:
            locations.append(f"rejected records: {self._place(REJECTED)}")
        examples = self.counts.examples_except({step.reason for step in self.next_steps})
        notes = [f"rows: {rows}", *self.notes, *self.next_steps.sentences(), *examples, *locations]
        return self.counts.sheet("Converted", notes)

    def _place(self, name: str) -> str:
        return f"{self.out}/{name}" if isinstance(self.out, str) else str(self.out / name)

    def __repr__(self) -> str:
        return str(self.summary())

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


def record_tiles(counts: RecordCounts) -> list[Tile]:
    """Return the numbers that add up to all records."""
    return [
        Tile("records read", counts.read),
        Tile("accepted", counts.accepted),
        Tile("rejected", counts.rejected, is_trouble=counts.rejected > 0),
        Tile("duplicates", counts.duplicates),
    ]


def record_parts(counts: RecordCounts, findings: FieldFindings) -> Iterator[Part]:
    """Yield the sections on the times of events, on rejections and on redaction."""
    if counts.by_month:
        yield _timeline(counts)
    if counts.rejected:
        yield _reasons(counts)
    if fields := findings.unknown_fields:
        yield Part(
            "Undocumented fields",
            "Chatlio sent them, but the catalogue does not know them. Names end in [] if they are fields of "
            "messages.",
            sheet=Sheet("", ("field", "records"), list(fields.items())),
        )
    if findings.redaction.is_on:
        rows = [tuple(column.values()) for column in findings.redacted_columns]
        yield Part(
            "Redacted",
            "Before anything was written or sent. Event ids are the same with and without redaction.",
            sheet=Sheet("", ("column", "class", "way", "values"), rows),
        )


def further_parts(
    counts: RecordCounts, notes: Sequence[str], next_steps: Sequence[NextStep] = ()
) -> Iterator[Part]:
    """Yield the final sections: next steps, further notes, and examples of rejections."""
    if next_steps:
        yield _next_steps(next_steps)
    if notes:
        yield Part("Notes", sheet=Sheet("", (), [], list(notes)))
    if counts.rejected:
        yield _examples(counts)


def _timeline(counts: RecordCounts) -> Part:
    kinds = [str(kind) for kind in Kind if counts.by_kind[kind]]
    periods, unit = _periods(counts.timeline())
    series = {kind.replace("_", " "): [period[kind] for period in periods.values()] for kind in kinds}
    rows: list[tuple[str | int, ...]] = [
        (name, *(period[kind] for kind in kinds), sum(period.values())) for name, period in periods.items()
    ]
    return Part(
        f"Events by {unit}",
        "By the time at which they happened, UTC.",
        Chart(list(periods), series, "events"),
        Sheet("", (unit, *series, "all"), rows),
        is_folded=True,
    )


def _periods(months: Mapping[str, Mapping[str, int]]) -> tuple[dict[str, dict[str, int]], str]:
    """Return months without gaps and the word "month"; years if there are too many months to show."""
    kinds = list(next(iter(months.values())))
    first, last = (_month_number(month) for month in (min(months), max(months)))
    if last - first < _MOST_PERIODS:
        names = [f"{number // 12:04}-{number % 12 + 1:02}" for number in range(first, last + 1)]
        return {name: dict(months.get(name, dict.fromkeys(kinds, 0))) for name in names}, "month"
    years: dict[str, dict[str, int]] = {}
    if last // 12 - first // 12 < _MOST_PERIODS:
        years = {f"{year:04}": dict.fromkeys(kinds, 0) for year in range(first // 12, last // 12 + 1)}
    for month, counts in months.items():
        year = years.setdefault(month[:-3], dict.fromkeys(kinds, 0))
        for kind, count in counts.items():
            year[kind] += count
    return years, "year"


def _month_number(month: str) -> int:
    year, _, month_of_year = month.rpartition("-")
    return int(year) * 12 + int(month_of_year) - 1


def _reasons(counts: RecordCounts) -> Part:
    reasons = by_frequency(counts.rejected_by_reason)
    return Part(
        "Rejected records",
        "rejected.jsonl lists each one with file, number, field and reason. Correct them, or settle them "
        "with an option: the next backfill reads them again, and only them.",
        sheet=Sheet(
            "",
            ("reason", "records", "what settles it"),
            [(reason, count, HINTS[Reason(reason)]) for reason, count in reasons.items()],
        ),
    )


def _next_steps(steps: Sequence[NextStep]) -> Part:
    return Part(
        "Next steps",
        "Options that settle rejected records. Each was tried on a sample of them.",
        sheet=Sheet(
            "",
            ("reason", "records", "on the command line", "in Python", "accepts", "of tried"),
            [
                (step.reason, step.records, at_prompt(choice), in_python(choice), step.accepted, step.tried)
                for step in steps
                for choice in step.choices
            ],
            [f"{step.reason}: {step.caution}." for step in steps if step.caution],
        ),
    )


def _examples(counts: RecordCounts) -> Part:
    return Part(
        "Examples",
        "The first of each reason, with the beginning of the record.",
        examples=[
            Example(
                f"{reason}, {number:,} of {count:,}",
                f"{example.file}, record {example.record:,}{f', {example.field}' if example.field else ''}",
                example.detail,
                example.raw,
            )
            for reason, count in by_frequency(counts.rejected_by_reason).items()
            for number, example in enumerate(counts.examples.get(Reason(reason), []), start=1)
        ],
    )


_ROWS = {
    "events": "each event, whatever its kind",
    "conversations": "each conversation, from its events and its most complete transcript",
    "messages": "each message of each conversation, once",
    "visitors": "each visitor, with the latest known facts",
    "offline_messages": "each message left while no agent was available",
}
