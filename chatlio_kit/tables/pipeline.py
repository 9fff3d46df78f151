"""The order of steps from captured records to accepted events; ``convert`` and ``backfill`` both run it.

1. decode: parse records into columns (:mod:`~chatlio_kit.tables.decode`)
2. validate: date events, compute their ids, check every rule (:mod:`~chatlio_kit.tables.validate`).
   Conversations of a Slack export join here, after all captures (:mod:`~chatlio_kit.tables.slack`)
3. enforce the contract: keep, discard or reject unknown fields (:mod:`~chatlio_kit.tables.validate.contract`)
4. deduplicate: remove events that were read before, reject conflicts (:mod:`~chatlio_kit.tables.deduplicate`)
5. redact: drop, mask or hash values about people (:mod:`~chatlio_kit.tables.policy`)

Worker processes take the first two steps. The others need the batches in order, and run in one process.
Every record ends in one place: among a batch's events, among its rejections, or in its count of duplicates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial

from chatlio_kit.captures import Captures, RawBatch
from chatlio_kit.chatlio.redaction import Redaction
from chatlio_kit.pool import map_in_order
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
        captures: where records are read from.
        options: how they are read.
        policy: what becomes of unknown fields and of values about people.
        settled: looks up the events that were settled before this run.
        executor: where batches are decoded and validated; None for this process.
        findings: filled with what is found besides events.
        sample: filled with some of the rejected records, as they were read.
        slack: the Slack export that is read after the captures and merged with them.
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
            sample.add(batch)
            batch = policy.redact(batch, findings.redacted)
            batch.rejected.sort(key=lambda rejection: (rejection.file, rejection.record))
            yield batch


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
        captures: where records are read from.
        options: how they are read.
        executor: where the work is done; None for this process.
        slack: the Slack export, if there is one.
        redaction: decides how much the names of the export's files may say.
        enforce: enforces the contract for unknown fields; what it rejects covers nothing of the export.
    """
    webhooks = slack.webhooks() if slack is not None else None
    for validated in validate_batches(captures.batches(), options, executor):
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
        raw_batches: the batches.
        options: how their records are read.
        executor: where the work is done; None for this process.
    """
    for raw_batch, validated in map_in_order(executor, partial(_validate, options), raw_batches):
        yield replace(validated, rows=fill_missing_columns(validated.rows), raw_batch=raw_batch)


def _validate(options: ReadOptions, raw_batch: RawBatch) -> EventBatch:
    """Decode and validate a batch; the texts of its records do not travel back from a worker."""
    validated = validate_batch(raw_batch, options)
    return replace(validated, rows=drop_null_columns(validated.rows), raw_batch=RawBatch())
