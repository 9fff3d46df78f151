"""An export as five validated frames, and what was rejected on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from chatlio_kit.arguments import checked, named, places, text
from chatlio_kit.captures import Captures, parse
from chatlio_kit.chatlio.catalogue import TABLES
from chatlio_kit.chatlio.numbers import indented
from chatlio_kit.chatlio.rejections import Rejection
from chatlio_kit.display import Progress, Sheet
from chatlio_kit.errors import FrameError, UsageError
from chatlio_kit.pool import Pool, create_pool, default_workers
from chatlio_kit.tables.arrow import frame_of
from chatlio_kit.tables.counts import RecordCounts
from chatlio_kit.tables.deduplicate.deduplicate import DeduplicatedBatch, Deduplicator, Settled
from chatlio_kit.tables.deduplicate.twins import may_hold_tables
from chatlio_kit.tables.derive import derive_rows
from chatlio_kit.tables.dictionary import dictionary
from chatlio_kit.tables.file_times import FileTimes
from chatlio_kit.tables.nesting import NESTED_SCHEMA, events_of
from chatlio_kit.tables.next_steps import NextSteps, RejectSample
from chatlio_kit.tables.options import FieldFindings, FieldPolicy
from chatlio_kit.tables.redact import redact
from chatlio_kit.tables.transcripts import Transcript
from chatlio_kit.tables.validate.contract import count_names
from chatlio_kit.tables.validate.event_batch import ReadOptions
from chatlio_kit.tables.validate.event_time import Undated
from chatlio_kit.tables.workers import PRELOAD, validate_batches

_FEW_FILES = 12
REJECTED_COLUMNS = tuple(each.name for each in fields(Rejection))


@dataclass(repr=False)
class Tables:
    """An export as frames. What these frames say is what is sent.

    Attributes:
        events: one row for each event, whatever its kind.
        conversations: one row for each conversation, told from its events and its fullest transcript.
        messages: one row for each message of each conversation.
        visitors: one row for each visitor, with the latest known facts.
        offline_messages: one row for each message left while nobody was there.
        rejections: the records that were not accepted.
        counts: how many records were read and what became of them.
        notes: sentences about files that gave nothing, and about what else was found.
        findings: what else was found in the records: fields that nobody documented, redacted values.
        next_steps: for each reason of rejection the options that settle it, tried on rejected records.
    """

    events: pd.DataFrame
    conversations: pd.DataFrame
    messages: pd.DataFrame
    visitors: pd.DataFrame
    offline_messages: pd.DataFrame
    rejections: list[Rejection]
    counts: RecordCounts
    notes: list[str]
    findings: FieldFindings = field(default_factory=FieldFindings)
    next_steps: NextSteps = field(default_factory=NextSteps)

    def __setattr__(self, name: str, value: object) -> None:
        if name in TABLES and not isinstance(value, pd.DataFrame):
            raise FrameError(
                f"tables.{name} is a pandas frame, not {named(value)}. Assign a frame with the columns that "
                "to_tables() gives it."
            )
        super().__setattr__(name, value)

    @property
    def rejected(self) -> pd.DataFrame:
        """One row for each record that was not accepted: file, record, reason, field, detail, raw."""
        frame = pd.DataFrame([asdict(each) for each in self.rejections], columns=list(REJECTED_COLUMNS))
        texts = {name: "str" for name in REJECTED_COLUMNS if name != "record"}
        return frame.astype({**texts, "record": "Int64"})

    def frames(self) -> dict[str, pd.DataFrame]:
        """Give the five frames by name."""
        return {name: getattr(self, name) for name in TABLES}

    @checked()
    def read_conversation(self, conversation_id: str | None = None) -> Transcript:
        """Show one conversation as people read it.

        Args:
            conversation_id: which; by default the one with the most messages.

        Raises:
            UsageError: when there is no such conversation.
        """
        if conversation_id is None:
            if self.conversations.empty:
                return Transcript("", "These tables hold no conversation.", (), ())
            sizes = self.conversations["visitor_messages"] + self.conversations["agent_messages"]
            conversation_id = str(self.conversations["conversation_id"].iat[int(sizes.argmax())])
        found = self.conversations[self.conversations["conversation_id"] == conversation_id]
        if found.empty:
            raise UsageError(
                f"There is no conversation {conversation_id!r}. The table conversations lists all of them."
            )
        said = self.messages[self.messages["conversation_id"] == conversation_id]
        return Transcript.of(found.iloc[0], said)

    @checked(table=text)
    def dictionary(self, table: str) -> pd.DataFrame:
        """Say what each column of a table means: the data dictionary.

        Raises:
            UsageError: when there is no such table.
        """
        return dictionary(table)

    def summary(self) -> Sheet:
        """Show how many records became what."""
        rows = ", ".join(f"{name} {len(rows):,}" for name, rows in self.frames().items())
        return self.counts.sheet("Converted", [f"rows: {rows}", *self.notes])

    def __repr__(self) -> str:
        return str(self.summary())

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


class Export:
    """Captured webhooks in files and folders, ready to be converted.

    Args:
        captures: what was found, or files, folders, patterns such as ``captures/**/*.ndjson``, and URLs such
            as ``s3://bucket/path/``.
        settling: what the user decided where captures say nothing.
        terms: what becomes of values that speak of people and of unknown fields.
        workers: how many processes build frames; by default as many as pay. They change nothing else.
        exclude: patterns for files and members of archives that are not to be read.
        encoding: what lines are in that are not UTF-8.

    Attributes:
        findings: what else was found in the records, filled while reading.
        next_steps: what settles the rejected records; the options are tried when it is first looked at.
    """

    def __init__(
        self,
        captures: Captures | Sequence[Path | str],
        settling: ReadOptions,
        terms: FieldPolicy | None = None,
        *,
        workers: int | None = None,
        exclude: Iterable[str] = (),
        encoding: str | None = None,
    ) -> None:
        self.settling = settling
        self.terms = terms or FieldPolicy()
        found = (
            captures
            if isinstance(captures, Captures)
            else Captures(places("paths", captures), exclude, encoding)
        )
        self.captures = found.called(self.terms.redaction.file_name).reading(settling.fields)
        self.findings = FieldFindings(self.terms.redaction.without_key())
        self.next_steps = NextSteps()
        self._file_times = FileTimes()
        self._workers = workers

    def create_pool(self) -> AbstractContextManager[Pool | None]:
        """Start the processes that decode and validate: as many as pay, or as were asked for."""
        count = self._workers if self._workers is not None else default_workers(self.captures.size)
        return create_pool(count, PRELOAD) if count else nullcontext()

    def batches(
        self, settled: Settled | None = None, *, executor: Executor | None = None
    ) -> Iterator[DeduplicatedBatch]:
        """Convert piece by piece: validated frames without duplicates, in memory one at a time.

        Args:
            settled: looks up what was settled before this run.
            executor: where batches are decoded and validated; by default a pool of this run's own.
        """
        self.findings = found = FieldFindings(self.terms.redaction.without_key())
        sample = RejectSample()
        self.next_steps = NextSteps(sample, self.settling, self.terms)
        self._file_times = times = FileTimes()
        is_dated_by_file = self.settling.undated_as.choice is Undated.FILE_TIME
        with_twins = may_hold_tables(file.name for file in self.captures.files)
        with (
            Deduplicator(settled, with_twins=with_twins) as deduplicator,
            nullcontext(executor) if executor else self.create_pool() as pool,
        ):
            for built in validate_batches(self.captures.pieces(), self.settling, pool):
                found.dialects.update(built.dialects)
                found.siblings.update(built.remarks.siblings)
                count_names(built.remarks.unread, found.unread)
                batches = deduplicator.apply(self.terms.contract.hold(built, found.fields))
                found.loose += int(np.isin(batches.built.places, list(batches.built.remarks.loose)).sum())
                found.missed_twins = deduplicator.missed_twins
                sample.add(batches.built)
                if is_dated_by_file:
                    times.add(batches.built.rows)
                # Values leave here redacted: what was needed of them, ids and digests, is told by now.
                batches.built = redact(batches.built, self.terms.redaction, found.redacted)
                batches.built.rejected.sort(key=lambda each: (each.file, each.record))
                yield batches

    def notes(self) -> list[str]:
        """Return sentences about what was left out and what else was found."""
        said = [*self.captures.notes, *self.findings.notes()]
        if why := self._file_times.suspicion():
            said.append(
                f"--undated-as file-time dated {self._file_times.records:,} events, but these times look "
                f"like a copy's: {why}. If they were copied, choose visitor-created or a time that you know "
                "(in Python undated_as=)."
            )
        return said

    def peek(self) -> str:
        """Show the first record as it was captured, indented where it is JSON."""
        for piece in self.captures.pieces(1):
            raw = b"".join(piece.raws)
            with suppress(ValueError):
                return indented(parse(raw))
            if raw:
                return raw.decode("utf-8", errors="replace")
        return "There is no record that can be shown."

    @checked()
    def to_tables(self, *, quiet: bool = False) -> Tables:
        """Convert everything into frames, which have to fit in memory."""
        counts = RecordCounts()
        pieces: list[DeduplicatedBatch] = []
        with Progress("converting", None, "records", quiet=quiet) as progress:
            for batches in self.batches():
                count(counts, batches)
                progress.advance(len(batches.built) + len(batches.built.rejected) + batches.duplicates)
                pieces.append(batches)
        if self.terms.redaction.is_on:
            self.next_steps.drop_records()
        rows = pa.concat_tables([NESTED_SCHEMA.empty_table(), *(batches.built.rows for batches in pieces)])
        events = frame_of(events_of(rows))
        derived = {name: frame_of(table) for name, table in derive_rows(rows).items()}
        rejected = [rejection for batches in pieces for rejection in batches.built.rejected]
        return Tables(
            events,
            rejections=rejected,
            counts=counts,
            notes=self.notes(),
            findings=self.findings,
            next_steps=self.next_steps,
            **derived,
        )

    def __repr__(self) -> str:
        return str(self._sheet())

    def _repr_html_(self) -> str:
        return self._sheet()._repr_html_()

    def _sheet(self) -> Sheet:
        groups: dict[tuple[str, str], list[int]] = {}
        for file in self.captures.files:
            place = file.name.rpartition("/")[0] if len(self.captures.files) > _FEW_FILES else file.name
            sizes = groups.setdefault((place, file.kind or "by shape"), [])
            sizes.append(file.size or 0)
        rows = [(place, len(sizes), sum(sizes), kind) for (place, kind), sizes in groups.items()]
        notes = self.findings.notes() if self.findings.dialects else []
        return Sheet("Captures", ("place", "files", "bytes", "kind by name"), rows, notes)


@checked()
def read_export(
    paths: Path | str | Sequence[Path | str],
    *,
    kind: str | None = None,
    undated_as: str | None = None,
    fields: str | Mapping[str, str] | None = None,
    redact: str | None = None,
    contract: str | None = None,
    exclude: str | Sequence[str] = (),
    encoding: str | None = None,
) -> Export:
    """Find captured webhooks in files and folders.

    Args:
        paths: a file, a folder, a pattern such as ``captures/**/*.ndjson`` or a URL such as ``s3://bucket/path/``,
            or several.
        kind: the kind of records that neither capture nor file nor shape names; it overrides nothing.
        undated_as: what stands in for the time of events that have none: ``file-time``,
            ``visitor-created`` or an RFC 3339 time. Without it they are rejected as undated.
        fields: where payload, time and kind stand in the records of a logger that is not known, as in
            ``payload=request.body,received=request.time,kind=request.path`` or a mapping of the same;
            ``docs/captures.md`` lists the names.
        redact: what becomes of values that speak of people: ``drop``, ``mask``, ``hash:aep`` or
            ``hash:keyed`` for all of them, or for single classes, as in ``personal=hash:keyed,content=drop``.
        contract: what becomes of fields that nobody documented: ``evolve`` keeps them in ``extra_fields``,
            ``freeze`` rejects their records, ``discard_value`` leaves them out; for single tables as in
            ``events=freeze``.
        exclude: patterns for files and members of archives that are not to be read, as in ``*.log`` or
            ``captures/old/**``. One without a slash matches names anywhere, one with a slash paths.
        encoding: what lines are in that are not UTF-8, such as ``cp1252``; lines in UTF-8 stay what they are.

    Raises:
        MissingPath: when a path does not exist, or a pattern matches nothing.
        CaptureError: when there are no files, or a store does not answer.
        UsageError: when an option is none of its values.
        SettingsError: when values are to be hashed with a key and there is none.
    """
    settling, terms = (
        ReadOptions.from_options(kind, undated_as, fields),
        FieldPolicy.from_options(redact, contract),
    )
    patterns = [exclude] if isinstance(exclude, str) else exclude
    return Export(places("paths", paths), settling, terms, exclude=patterns, encoding=encoding)


def count(counts: RecordCounts, batches: DeduplicatedBatch) -> None:
    """Add a piece to the counts."""
    counts.add_piece(batches.built.rows, batches.built.rejected, batches.duplicates)
