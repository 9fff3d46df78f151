"""A run's findings in its records: counts of outcomes, unknown fields, dialects, file times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chatlio_kit.captures import BARE, ENVELOPE
from chatlio_kit.chatlio.catalogue import TABLES, Privacy
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.chatlio.redaction import Redaction, Way
from chatlio_kit.chatlio.rejections import HINTS, Reason, Rejection, on_one_line
from chatlio_kit.counting import counted
from chatlio_kit.display import Sheet
from chatlio_kit.tables.arrow import combine_chunks
from chatlio_kit.tables.validate.contract import count_names
from chatlio_kit.tables.validate.event_batch import EventBatch

_EXAMPLES = 3
"""Number of rejections of each reason that are kept as examples."""
_EXAMPLE_LENGTH = 600
_LISTED_NAMES = 5
_OWN_DIALECTS = frozenset({BARE.name, ENVELOPE.name})
_QUOTES_VALUES = frozenset(
    {
        Reason.CONFLICTING_DUPLICATE, Reason.INVALID_VALUE, Reason.REPEATED, Reason.UNKNOWN_FIELD,
        Reason.WRONG_TYPE,
    }
)  # fmt: skip
_DAY = timedelta(days=1)
_LONG_GAP, _LONG_GAP_OF_FEW = timedelta(days=7), timedelta(days=30)
_FEW = 3
_SHARE = 10
"""Files look copied if they were written within a tenth of the time that their records span."""


@dataclass
class RecordCounts:
    """``read = accepted + rejected + duplicates``, always.

    Attributes:
        duplicates: Records whose event was read before.
        by_kind: Accepted events by kind.
        by_month: Accepted events by kind and the month in which they happened, in months since 1970.
        rejected_by_reason: Records that were not accepted.
        examples: The first of them for each reason, with the beginning of the record.
    """

    duplicates: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    by_month: Counter[tuple[int, str]] = field(default_factory=Counter)
    rejected_by_reason: Counter[str] = field(default_factory=Counter)
    examples: dict[Reason, list[Rejection]] = field(default_factory=dict)

    @property
    def accepted(self) -> int:
        """Records that became events."""
        return self.by_kind.total()

    @property
    def rejected(self) -> int:
        """Records that were not accepted."""
        return self.rejected_by_reason.total()

    @property
    def read(self) -> int:
        """All records."""
        return self.accepted + self.rejected + self.duplicates

    def add(self, kinds: Iterable[str], reasons: Iterable[str], duplicates: int = 0) -> None:
        """Count the kinds of accepted events, the reasons of rejected records, and duplicates."""
        self.by_kind.update(kinds)
        self.rejected_by_reason.update(reasons)
        self.duplicates += duplicates

    def add_batch(self, batch: EventBatch) -> None:
        """Count a batch: its accepted events, its rejected records, and its duplicates."""
        rows = batch.rows
        encoded = combine_chunks(rows["kind"]).dictionary_encode()
        kinds = encoded.dictionary.to_pylist()
        instants = combine_chunks(rows["occurred_at"]).cast(pa.int64()).to_numpy()
        months = instants.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)
        keys, counts = np.unique(months * len(kinds) + encoded.indices.to_numpy(), return_counts=True)
        for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
            month, index = divmod(key, len(kinds))
            self.by_kind[kinds[index]] += count
            self.by_month[month, kinds[index]] += count
        self.duplicates += batch.duplicates
        for rejection in batch.rejected:
            self.rejected_by_reason[rejection.reason] += 1
            self.add_example(rejection)

    def add_example(self, rejection: Rejection) -> None:
        """Keep a rejection as an example if its reason has few."""
        examples = self.examples.setdefault(rejection.reason, [])
        if len(examples) < _EXAMPLES:
            examples.append(replace(rejection, raw=rejection.raw and rejection.raw[:_EXAMPLE_LENGTH]))

    def examples_except(self, reasons: Container[str]) -> list[str]:
        """Return a sentence about each reason, without some, with the first record rejected for it.

        What went wrong is quoted, unless it may quote a value that says something about a person.
        """
        firsts = [
            (count, self.examples[Reason(reason)][0])
            for reason, count in by_frequency(self.rejected_by_reason).items()
            if reason not in reasons and self.examples.get(Reason(reason))
        ]
        return [
            f"{count:,} {first.reason}, such as {first.file} record {first.record:,}: "
            + (HINTS[first.reason] if first.reason in _QUOTES_VALUES else first.detail)
            for count, first in firsts
        ]

    def timeline(self) -> dict[str, dict[str, int]]:
        """Return the accepted events by kind, for each month that has any."""
        kinds = [str(kind) for kind in Kind if self.by_kind[kind]]
        return {
            str(np.datetime64(month, "M")): {kind: self.by_month[month, kind] for kind in kinds}
            for month in sorted({month for month, _ in self.by_month})
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as they appear in JSON: the kinds and reasons that occur, in catalogue order."""
        return {
            "read": self.read,
            "accepted": self.accepted,
            "rejected": self.rejected,
            "duplicates": self.duplicates,
            "by_kind": {str(kind): self.by_kind[kind] for kind in Kind if self.by_kind[kind]},
            "rejected_by_reason": {
                str(reason): self.rejected_by_reason[reason]
                for reason in Reason
                if self.rejected_by_reason[reason]
            },
        }

    def sheet(self, title: str, notes: Iterable[str] = ()) -> Sheet:
        """Return a table of the counts."""
        counts = self.as_dict()
        rows: list[tuple[str, int]] = [("read", self.read), ("accepted", self.accepted)]
        rows += [(f"  {kind}", count) for kind, count in counts["by_kind"].items()]
        rows += [("rejected", self.rejected)]
        rows += [(f"  {reason}", count) for reason, count in counts["rejected_by_reason"].items()]
        rows += [("duplicates", self.duplicates)]
        return Sheet(title, ("records", "count"), rows, list(notes))


@dataclass
class FileTimes:
    """The times of files and of their records, for events that are dated by their file.

    Attributes:
        records: Number of events dated by their file.
        files: Number of their files.
        early: Events whose file is older than a time in their record.
    """

    records: int = 0
    files: int = 0
    early: int = 0
    _last_file: str = ""
    _written: tuple[datetime, datetime] | None = None
    _recorded: tuple[datetime, datetime] | None = None

    def add(self, rows: Any) -> None:
        """Add accepted events, an Arrow table sorted by file."""
        dated_by_file = pc.equal(rows["occurred_at_source"], "file_time")
        if not pc.any(dated_by_file).as_py():
            return
        rows = rows.filter(dated_by_file)
        files = rows["source_file"].to_pylist()
        self.records += len(files)
        self.files += sum(
            file != before for before, file in zip([self._last_file, *files], files, strict=False)
        )
        self._last_file = files[-1]
        recorded = pc.coalesce(rows["started_at"], rows["visitor_created_at"])
        self.early += pc.sum(pc.less(rows["occurred_at"], recorded)).as_py() or 0
        self._written = _wider(self._written, rows["occurred_at"])
        self._recorded = _wider(self._recorded, recorded)

    def suspicion(self) -> str | None:
        """Return the reason why the files' times look like a copy's; None if they do not."""
        if self._written is None or self._recorded is None:
            return None
        written, recorded = (last - first for first, last in (self._written, self._recorded))
        gap = self._written[0] - self._recorded[1]
        if self.early:
            return f"{self.early:,} of these events mention times after their file's"
        if self.records > 1 and recorded > _DAY and written * _SHARE < recorded:
            if self.files == 1:
                return (
                    f"one file has all {self.records:,} of these events, which mention times over "
                    f"{_duration(recorded)}"
                )
            return (
                f"all {self.files:,} files were written within {_duration(written)}, but their events "
                f"mention times over {_duration(recorded)}"
            )
        if gap > (_LONG_GAP if self.records >= _FEW else _LONG_GAP_OF_FEW):
            return f"the files were written {_duration(gap)} after the last time that their events mention"
        return None


def _wider(range_: tuple[datetime, datetime] | None, times: Any) -> tuple[datetime, datetime] | None:
    """Return a range extended to some times."""
    first, last = pc.min_max(times).as_py().values()
    if first is None:
        return range_
    return (first, last) if range_ is None else (min(first, range_[0]), max(last, range_[1]))


def _duration(span: timedelta) -> str:
    for size, word in ((_DAY, "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute")):
        if span >= size:
            count = span // size
            return f"{count:,} {word}{'s' if count > 1 else ''}"
    return f"{max(1, round(span.total_seconds()))} s"


@dataclass
class FieldFindings:
    """Findings besides events.

    Attributes:
        redaction: The redaction of values.
        dialects: Number of records with a payload, by dialect.
        fields: Number of records with each field that the catalogue does not know, by path.
        unread: Number of records with each key next to the payload that was not read.
        siblings: Number of list elements next to the one that ``--fields`` names, by path.
        loose: Accepted events from tables that do not keep the captured text.
        missed_twins: True if some of these were not compared with the records read before them.
        redacted: Number of redacted values, by ``table.column``.
        file_times: The times of files that date events.
    """

    redaction: Redaction = field(default_factory=Redaction)
    dialects: Counter[str] = field(default_factory=Counter)
    fields: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    siblings: Counter[str] = field(default_factory=Counter)
    loose: int = 0
    missed_twins: bool = False
    redacted: Counter[str] = field(default_factory=Counter)
    file_times: FileTimes = field(default_factory=FileTimes)

    def add_read(self, batch: EventBatch) -> None:
        """Add the findings from reading a batch."""
        self.dialects.update(batch.dialects)
        self.siblings.update(batch.remarks.siblings)
        count_names(batch.remarks.unread, self.unread)

    def add_accepted(self, batch: EventBatch) -> None:
        """Add a batch's accepted events, before they are redacted."""
        self.loose += int(np.isin(batch.raw_rows, list(batch.remarks.loose)).sum())
        self.file_times.add(batch.rows)

    @property
    def unknown_fields(self) -> dict[str, int]:
        """The unknown fields, the most frequent first; only their number if content is redacted."""
        return self._names(self.fields)

    @property
    def unread_keys(self) -> dict[str, int]:
        """The keys next to payloads that were not read, the most frequent first."""
        return self._names(self.unread)

    def _names(self, counts: Counter[str]) -> dict[str, int]:
        if counts and self.redaction.way_of(Privacy.CONTENT) is not Way.KEEP:
            return {f"({len(counts)} names, redacted)": counts.total()}
        return by_frequency(counts)

    @property
    def redacted_columns(self) -> list[dict[str, Any]]:
        """Each redacted column: its privacy class, its redaction, and the number of values."""
        return [
            {
                "column": f"{table}.{column.name}",
                "class": str(column.privacy),
                "way": self.redaction.way_in_words(column),
                "values": count,
            }
            for table, columns in TABLES.items()
            for column in columns
            if (count := self.redacted[f"{table}.{column.name}"])
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the findings as in ``report.json``."""
        return {
            "dialects": by_frequency(self.dialects),
            "unknown_fields": self.unknown_fields,
            "unread_keys": self.unread_keys,
            "redacted": self.redacted_columns,
        }

    def notes(self) -> list[str]:
        """Return the findings as sentences."""
        notes = []
        if self.dialects.keys() - _OWN_DIALECTS or len(self.dialects) > 1:
            dialects = ", ".join(f"{name} {count:,}" for name, count in by_frequency(self.dialects).items())
            notes.append(f"records by dialect: {dialects}")
        if names := self.unknown_fields:
            notes.append(f"fields that the catalogue does not know, in how many records: {_listed(names)}")
        if names := self.unread_keys:
            notes.append(
                f"keys next to the payload that were not read, by number of records: {_listed(names)}; if "
                "one is the time of arrival, the kind or the widget, name it with --fields, as in "
                f"widget={next(iter(names))}"
            )
        for path, count in by_frequency(self.siblings).items():
            notes.append(
                f"not read: {counted(count, 'element')} next to the one that --fields names; payload={path} "
                "reads them all"
            )
        if self.loose:
            compared = (
                "they were not compared with records read before them, because no file's name indicates a "
                "table"
                if self.missed_twins
                else "they were compared with all other records of this run, so nothing is counted twice"
            )
            notes.append(
                f"{counted(self.loose, 'event')} came from tables that do not keep the captured text, so "
                f"the ids may differ from those of the same captures as JSON; {compared}. If you have the "
                "same captures as JSON too, read both in one run"
            )
        if self.redaction.is_on:
            notes.append(f"redacted {counted(self.redacted.total(), 'value')}: {self.redaction}")
        if self.redaction.way_of(Privacy.PSEUDONYM) is Way.DROP:
            notes.append(
                "Without ids, conversations and visitors cannot be distinguished, so these tables are empty; "
                "--redact drop,pseudonym=mask (in Python redact=) keeps them."
            )
        if why := self.file_times.suspicion():
            notes.append(
                f"--undated-as file-time dated {counted(self.file_times.records, 'event')}, but these times "
                f"look like a copy's: {why}. If the files were copied, choose visitor-created or a time "
                "that you know (in Python undated_as=)."
            )
        return notes


def _listed(names: dict[str, int]) -> str:
    """Return the first names with their counts, and the number of others."""
    first = ", ".join(f"{on_one_line(name)} {count:,}" for name, count in list(names.items())[:_LISTED_NAMES])
    others = len(names) - _LISTED_NAMES
    return f"{first} and {others:,} more" if others > 0 else first


def by_frequency(counts: Counter[str]) -> dict[str, int]:
    """Return counts, the most frequent first, and equal ones by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
