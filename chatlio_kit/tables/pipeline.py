"""The order of steps from captured records to accepted events; ``convert`` and ``backfill`` both run it.

1. decode: parse records into columns (:mod:`~chatlio_kit.tables.decode`)
2. validate: date events, compute their ids, check every rule (:mod:`~chatlio_kit.tables.validate`).
   Conversations of a Slack export join here, after all captures (:mod:`~chatlio_kit.tables.slack`)
3. enforce the contract: keep, discard or reject unknown fields (:mod:`~chatlio_kit.tables.validate.contract`)
4. deduplicate: remove events that were read before, reject conflicts (:mod:`~chatlio_kit.tables.deduplicate`)
5. redact: drop, mask or hash values about people (:mod:`~chatlio_kit.tables.policy`)

Worker processes take the first two steps. The others need the batches in order, and run in one process.
Every record becomes an event, a rejection, or a counted duplicate of its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pyarrow.compute as pc

from chatlio_kit.captures import Captures, Part, RawBatch, ReadAtHome
from chatlio_kit.chatlio.redaction import Redaction
from chatlio_kit.errors import ClusterError
from chatlio_kit.pool import Cluster, failing_as, map_in_order, worker_address
from chatlio_kit.slack import SlackHistory
from chatlio_kit.tables.arrow import drop_null_columns, fill_missing_columns
from chatlio_kit.tables.deduplicate.deduplicate import Deduplicator, Settled
from chatlio_kit.tables.deduplicate.twins import may_hold_tables
from chatlio_kit.tables.findings import FieldFindings
from chatlio_kit.tables.next_steps import RejectSample
from chatlio_kit.tables.policy import FieldPolicy
from chatlio_kit.tables.slack import add_webhooks, slack_batches
from chatlio_kit.tables.validate.event_batch import EventBatch, ReadOptions, validate_batch
from chatlio_kit.tables.validate.schemas import PANDERA

PRELOAD = (__name__, PANDERA)
"""The modules that workers import when they start."""


def batches(
    captures: Captures,
    options: ReadOptions,
    policy: FieldPolicy,
    settled: Settled | None,
    executor: Executor | None,
    *,
    findings: FieldFindings,
    sample: RejectSample,
    slack: SlackHistory | None = None,
) -> Iterator[EventBatch]:
    """Run all steps, a batch at a time, in the order of the captures.

    Args:
        captures: The source of records.
        options: The reading options.
        policy: The treatment of unknown fields and of personal values.
        settled: Looks up events that were settled before this run.
        executor: The executor that decodes and validates batches; None for this process.
        findings: Filled with findings other than events.
        sample: Filled with some of the rejected records, unchanged.
        slack: The Slack export to read after the captures and merge with them.
    """
    with_twins = may_hold_tables(file.name for file in captures.files)
    with Deduplicator(settled, with_twins=with_twins) as deduplicator:
        enforce = partial(policy.contract.enforce, seen=findings.fields)
        for enforced in read_batches(captures, options, executor, slack, policy.redaction, enforce):
            findings.add_read(enforced)
            batch = deduplicator.apply(enforced)
            if slack is not None and not enforced.raw_batch.read:
                slack.counts.accepted += len(batch)
                slack.counts.duplicates += batch.duplicates
            findings.add_accepted(batch)
            findings.missed_twins = deduplicator.missed_twins
            batch.rejected.sort(key=lambda rejection: (rejection.file, rejection.record))
            sample.add(batch)
            yield policy.redact(batch, findings.redacted)


def read_batches(
    captures: Captures,
    options: ReadOptions,
    executor: Executor | None,
    slack: SlackHistory | None,
    redaction: Redaction,
    enforce: Callable[[EventBatch], EventBatch] | None = None,
) -> Iterator[EventBatch]:
    """Decode and validate captures, then the conversations of a Slack export, merged with them.

    Args:
        captures: The source of records.
        options: The reading options.
        executor: The executor for the work; None for this process.
        slack: The Slack export, if there is one.
        redaction: The redaction of the export's file names.
        enforce: Enforces the contract for unknown fields; events that it rejects do not replace the export's.
    """
    webhooks = slack.webhooks() if slack is not None else None
    if isinstance(executor, Cluster):
        all_validated = validate_on_cluster(captures, options, executor)
    else:
        all_validated = validate_batches(captures.batches(), options, executor)
    for validated in all_validated:
        enforced = enforce(validated) if enforce is not None else validated
        if webhooks is not None:
            add_webhooks(webhooks, enforced.rows)
        yield enforced
    if slack is not None and webhooks is not None:
        yield from slack_batches(slack, webhooks, redaction)


def validate_batches(
    raw_batches: Iterable[RawBatch], options: ReadOptions, executor: Executor | None
) -> Iterator[EventBatch]:
    """Decode and validate batches, the first two steps, in their order.

    Args:
        raw_batches: The batches.
        options: The reading options.
        executor: The executor for the work; None for this process.
    """
    for raw_batch, validated in map_in_order(executor, partial(_validate, options), raw_batches):
        yield replace(validated, rows=fill_missing_columns(validated.rows), raw_batch=raw_batch)


def validate_on_cluster(captures: Captures, options: ReadOptions, cluster: Cluster) -> Iterator[EventBatch]:
    """Read, decode and validate captures on a cluster; the batches keep the captures' order.

    If a worker's results would fill memory, the rest of its part is read here and validated there.

    Raises:
        ClusterError: A worker failed, or could not open a file that can be opened here.
    """
    work = partial(_validate_part, options)
    for part, (validated, read, is_whole, worker) in map_in_order(cluster, work, captures.parts()):
        lines = captures.lines_before(part)
        if lines is None:
            continue
        _require_opened(part, read, worker)
        yield from (_placed(batch, lines) for batch in validated)
        if not is_whole:
            rest = captures.rest_of(part, len(validated))
            yield from (_placed(batch, lines) for batch in validate_batches(rest, options, cluster))
        captures.add_part(read if is_whole else part)
    yield from validate_batches(captures.last_batches(), options, None)


_MOST_BATCHES = 16
"""Maximum number of batches of one part that a worker returns."""


def _validate_part(options: ReadOptions, part: Part) -> tuple[list[EventBatch], Part, bool, str]:
    """Read, decode and validate a part.

    Returns:
        The batches, the part with its notes, whether it is complete, and the worker.
    """
    worker = worker_address()
    raw_batches, validated = part.batches(), list[EventBatch]()
    while True:
        with failing_as("read", part):
            try:
                raw_batch = next(raw_batches, None)
            except ReadAtHome:
                return validated, part, False, worker
        if raw_batch is None or len(validated) == _MOST_BATCHES:
            return validated, part, raw_batch is None, worker
        with failing_as("decode and validate", raw_batch):
            batch = validate_batch(raw_batch, options)
        validated.append(replace(batch, rows=drop_null_columns(batch.rows)))


def _require_opened(part: Part, read: Part, worker: str) -> None:
    """Check that this process cannot open a file that the worker could not open."""
    for file in part.captures.files:
        if (why := read.captures.unopened.get(file.name)) is not None:
            with suppress(OSError, ValueError), file.source.open():
                raise ClusterError(
                    f"The worker {worker} could not read {file.name}, which can be read here: {why}. "
                    "Captures have to be in a bucket, or on storage that all workers share under one path."
                )


def _placed(batch: EventBatch, lines: int) -> EventBatch:
    """Return a batch whose records are numbered from their file's beginning."""
    rows = fill_missing_columns(batch.rows)
    if not lines:
        return replace(batch, rows=rows)
    index = rows.schema.get_field_index("source_record")
    slices = [file_slice.shifted(lines) for file_slice in batch.raw_batch.slices]
    return replace(
        batch,
        rows=rows.set_column(index, rows.schema.field(index), pc.add(rows["source_record"], lines)),
        rejected=[replace(rejection, record=rejection.record + lines) for rejection in batch.rejected],
        raw_batch=RawBatch(slices, batch.raw_batch.rejected),
    )


def _validate(options: ReadOptions, raw_batch: RawBatch) -> EventBatch:
    """Decode and validate a batch; a worker does not send the raw records back."""
    validated = validate_batch(raw_batch, options)
    return replace(validated, rows=drop_null_columns(validated.rows), raw_batch=RawBatch())
