"""What became of an export's records, as parts of a report page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chatlio_kit.chatlio.catalogue import TABLES
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.chatlio.rejections import HINTS, Reason
from chatlio_kit.display import Chart, Document, Example, Part, Sheet, Tile
from chatlio_kit.tables.counts import RecordCounts
from chatlio_kit.tables.next_steps import NextStep, NextSteps, at_prompt, in_python
from chatlio_kit.tables.options import FieldFindings

PAGE = "report.html"
_MOST_PERIODS = 60


def report_of(
    counts: RecordCounts, findings: FieldFindings, rows: Mapping[str, int], next_steps: NextSteps
) -> dict[str, Any]:
    """Return a conversion's report, as ``report.json`` holds it."""
    return {
        **counts.as_dict(),
        "tables": dict(rows),
        "by_month": counts.timeline(),
        **findings.as_dict(),
        "next_steps": next_steps.as_list(),
    }


def converted_document(
    counts: RecordCounts,
    findings: FieldFindings,
    rows: Mapping[str, int],
    notes: Sequence[str] = (),
    next_steps: Sequence[NextStep] = (),
) -> Document:
    """Tell a conversion.

    Args:
        counts: how many records were read and what became of them.
        findings: what else was found in them.
        rows: how many rows each table has.
        notes: further sentences.
        next_steps: what settles the rejected records.
    """
    tables = Sheet("", ("table", "rows", "a row for"), [(name, rows[name], _ROWS[name]) for name in TABLES])
    return Document(
        "Converted captures",
        f"{counts.read:,} records were read; each of them ends in exactly one place.",
        record_tiles(counts),
        [
            *record_parts(counts, findings),
            Part("Tables", sheet=tables),
            *further_parts(counts, notes, next_steps),
        ],
    )


def record_tiles(counts: RecordCounts) -> list[Tile]:
    """Give the numbers that add up to all records."""
    return [
        Tile("records read", counts.read),
        Tile("accepted", counts.accepted),
        Tile("rejected", counts.rejected, is_trouble=counts.rejected > 0),
        Tile("duplicates", counts.duplicates),
    ]


def record_parts(counts: RecordCounts, findings: FieldFindings) -> Iterator[Part]:
    """Tell records: when their events happened, what was rejected and why, what was redacted."""
    if counts.by_month:
        yield _timeline(counts)
    if counts.rejected:
        yield _reasons(counts)
    if fields := findings.unknown_fields:
        yield Part(
            "Fields that nobody documented",
            "Chatlio sent them and the catalogue does not know them. Names end in [] where each message of a "
            "transcript may have one.",
            sheet=Sheet("", ("field", "records"), list(fields.items())),
        )
    if findings.redaction.is_on:
        rows = [tuple(each.values()) for each in findings.redacted_columns]
        yield Part(
            "Redacted",
            "Before anything was written or sent. Event ids are the same with and without redaction.",
            sheet=Sheet("", ("column", "class", "way", "values"), rows),
        )


def further_parts(
    counts: RecordCounts, notes: Sequence[str], next_steps: Sequence[NextStep] = ()
) -> Iterator[Part]:
    """Return what is read last: what settles rejects, further sentences, and examples of rejects."""
    if next_steps:
        yield _next_steps(next_steps)
    if notes:
        yield Part("Notes", sheet=Sheet("", (), [], list(notes)))
    if counts.rejected:
        yield _examples(counts)


def _timeline(counts: RecordCounts) -> Part:
    kinds = [str(kind) for kind in Kind if counts.by_kind[kind]]
    periods, unit = _periods(counts.timeline())
    series = {kind.replace("_", " "): [each[kind] for each in periods.values()] for kind in kinds}
    rows: list[tuple[str | int, ...]] = [
        (period, *(each[kind] for kind in kinds), sum(each.values())) for period, each in periods.items()
    ]
    return Part(
        f"Events by {unit}",
        "By the time at which they happened, UTC.",
        Chart(list(periods), series, "events"),
        Sheet("", (unit, *series, "all"), rows),
        is_folded=True,
    )


def _periods(months: Mapping[str, Mapping[str, int]]) -> tuple[dict[str, dict[str, int]], str]:
    """Lay months side by side without a gap; years where these are too many to be told apart."""
    kinds = list(next(iter(months.values())))
    first, last = (_number(each) for each in (min(months), max(months)))
    if last - first < _MOST_PERIODS:
        names = [f"{number // 12:04}-{number % 12 + 1:02}" for number in range(first, last + 1)]
        return {name: dict(months.get(name, dict.fromkeys(kinds, 0))) for name in names}, "month"
    years: dict[str, dict[str, int]] = {}
    if last // 12 - first // 12 < _MOST_PERIODS:
        years = {f"{year:04}": dict.fromkeys(kinds, 0) for year in range(first // 12, last // 12 + 1)}
    for month, counted in months.items():
        year = years.setdefault(month[:-3], dict.fromkeys(kinds, 0))
        for kind, count in counted.items():
            year[kind] += count
    return years, "year"


def _number(month: str) -> int:
    year, _, inside = month.rpartition("-")
    return int(year) * 12 + int(inside) - 1


def _reasons(counts: RecordCounts) -> Part:
    rows = [(reason, count, HINTS[Reason(reason)]) for reason, count in _by_count(counts)]
    return Part(
        "Rejected records",
        "Each stands in rejected.jsonl with its file, number, field and reason. Once settled, the next run "
        "takes it in, and only it.",
        sheet=Sheet("", ("reason", "records", "what settles it"), rows),
    )


def _next_steps(steps: Sequence[NextStep]) -> Part:
    return Part(
        "Next steps",
        "Options that settle rejected records. Each was tried on a sample of them.",
        sheet=Sheet(
            "",
            ("reason", "records", "at the prompt", "in Python", "accepts", "of tried"),
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
        "The first of each reason, with the beginning of the record as it was read.",
        examples=[
            Example(
                _which(number, reason, counts),
                f"{each.file}, record {each.record:,}{f', {each.field}' if each.field else ''}",
                each.detail,
                each.raw,
            )
            for reason, _ in _by_count(counts)
            for number, each in enumerate(counts.examples.get(Reason(reason), []), start=1)
        ],
    )


def _which(number: int, reason: str, counts: RecordCounts) -> str:
    return f"{reason}, {number:,} of {counts.rejected_by_reason[reason]:,}"


def _by_count(counts: RecordCounts) -> list[tuple[str, int]]:
    """Return the reasons as they are listed everywhere, the most frequent first."""
    return sorted(counts.rejected_by_reason.items(), key=lambda item: (-item[1], item[0]))


_ROWS = {
    "events": "each event, whatever its kind",
    "conversations": "each conversation, told from its events and its fullest transcript",
    "messages": "each message of each conversation, once",
    "visitors": "each visitor, with the latest known facts",
    "offline_messages": "each message left while nobody was there",
}
