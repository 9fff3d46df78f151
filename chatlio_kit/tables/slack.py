"""Conversations of a Slack export as validated events, merged with captured webhooks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chatlio_kit.captures import CaptureFile, RawBatch
from chatlio_kit.captures.sources.archives import zip_listing
from chatlio_kit.captures.sources.stores import RemoteSource
from chatlio_kit.chatlio.catalogue import EVENTS, Privacy
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.chatlio.redaction import Redaction, Way
from chatlio_kit.chatlio.rejections import Rejection
from chatlio_kit.chatlio.timestamps import ARROW_TIME, read_slack_ts
from chatlio_kit.slack import Conversation, SlackHistory, Start, Webhooks, is_export, unpacked_among
from chatlio_kit.tables.arrow import ARROW_DTYPES, arrow_table, nest
from chatlio_kit.tables.decode.columns import TEXT, string_array
from chatlio_kit.tables.validate.event_batch import EventBatch
from chatlio_kit.tables.validate.schemas import failures_of

SLACK_EXPORT = "slack_export"
"""The origin of events that were read from a Slack export."""
_BATCH_MESSAGES = 20_000
_STARTED = str(Kind.CONVERSATION_STARTED)


def remote_export(files: Iterable[CaptureFile]) -> str | None:
    """Return the name of a Slack export among files in buckets and behind URLs, if there is one."""
    remote = [file for file in files if isinstance(file.source, RemoteSource)]
    for file in remote:
        may_be_zip = file.is_named or file.name.lower().endswith(".zip")
        if may_be_zip and is_export(zip_listing(file.source)):
            return file.name
    return unpacked_among(file.name for file in remote)


def add_webhooks(webhooks: Webhooks, rows: pa.Table) -> None:
    """Add validated events of captured webhooks to the data about Slack's channels."""
    channels = rows["channel_id"]
    transcripts = rows.filter(pc.and_(pc.is_valid(channels), pc.is_valid(rows["message_ts"])))
    owners = pc.coalesce(
        transcripts["conversation_id"],
        pc.binary_join_element_wise(pa.scalar("event", TEXT), transcripts["event_id"], pa.scalar(":", TEXT)),
    )
    for channel, owner, message_ts in zip(
        transcripts["channel_id"].to_pylist(), owners.to_pylist(), transcripts["message_ts"].to_pylist(),
        strict=True,
    ):  # fmt: skip
        webhooks.add_transcript(channel, owner, message_ts)
    starts = rows.filter(
        pc.and_(
            pc.equal(rows["kind"], _STARTED),
            pc.and_(pc.is_valid(channels), pc.is_valid(rows["conversation_id"])),
        )
    )
    names = ("channel_id", "conversation_id", "message", "occurred_at")
    times = starts["occurred_at"].cast(pa.int64())
    columns = [starts[name].to_pylist() for name in names[:-1]] + [times.to_pylist()]
    for channel, conversation, message, at in zip(*columns, strict=True):
        webhooks.add_start(channel, Start(conversation, message or "", at))


def slack_batches(history: SlackHistory, webhooks: Webhooks, redaction: Redaction) -> Iterator[EventBatch]:
    """Read an export, and yield its conversations as validated events.

    Args:
        history: The export.
        webhooks: The captured webhooks of its channels.
        redaction: The redaction of personal values; a file's name may identify a person.
    """
    conversations: list[Conversation] = []
    rejected: list[Rejection] = []
    messages = 0
    for channel in history.channels(webhooks):
        conversations += channel.conversations
        rejected += channel.rejected
        messages += sum(len(conversation.messages) for conversation in channel.conversations)
        if messages + len(rejected) >= _BATCH_MESSAGES:
            yield _validated(history, conversations, rejected, redaction)
            conversations, rejected, messages = [], [], 0
    if conversations or rejected:
        yield _validated(history, conversations, rejected, redaction)


def _validated(
    history: SlackHistory,
    conversations: Sequence[Conversation],
    rejected: Sequence[Rejection],
    redaction: Redaction,
) -> EventBatch:
    """Return conversations as events; reject those that break a rule."""
    events = _events(history, conversations, redaction)
    messages, counts = _messages(conversations)
    faults: dict[int, Rejection] = {}
    owners = np.repeat(np.arange(len(conversations)), counts)
    found = [(failure.row, failure) for failure in failures_of("events", events, frozenset())]
    computed = frozenset({"event_id", "conversation_id", "origin", "position", "author"})
    found += [(int(owners[fault.row]), fault) for fault in failures_of("messages", messages, computed)]
    for row, failure in found:
        faults.setdefault(
            row,
            Rejection(
                events["source_file"][row].as_py(),
                conversations[row].number,
                failure.reason,
                failure.column,
                failure.sentence(failure.column),
                None,
            ),
        )
    for row in faults:
        history.counts.rejected_conversations += 1
        history.counts.kept -= len(conversations[row].messages)
        history.counts.rejected += len(conversations[row].messages)
    rows = nest(events, messages, np.array(counts, dtype=np.int64))
    refused = [replace(refusal, file=_file_name(refusal.file, redaction)) for refusal in rejected]
    batch = EventBatch(rows, refused, RawBatch(), np.arange(len(conversations)))
    batch.dialects[SLACK_EXPORT] += len(conversations)
    kept = [row for row in range(len(conversations)) if row not in faults]
    return batch.keep(kept, faults.values()) if faults else batch


def _events(history: SlackHistory, conversations: Sequence[Conversation], redaction: Redaction) -> pa.Table:
    count = len(conversations)
    started, ended = (
        pa.array(times, pa.int64()).cast(ARROW_TIME)
        for times in (
            [conversation.started_at for conversation in conversations],
            [conversation.ended_at for conversation in conversations],
        )
    )
    texts: dict[str, Sequence[str | None]] = {
        "event_id": [conversation.event_id for conversation in conversations],
        "kind": [Kind.TRANSCRIPT] * count,
        "occurred_at_source": ["slack_ts"] * count,
        "conversation_id": [conversation.conversation_id for conversation in conversations],
        "visitor_name": [conversation.visitor_name for conversation in conversations],
        "channel_id": [conversation.channel_id for conversation in conversations],
        "channel_name": [conversation.channel_name for conversation in conversations],
        "slack_team_id": [conversation.team_id for conversation in conversations],
        "agent_email": [conversation.agent_email for conversation in conversations],
        "agent_name": [conversation.agent_name for conversation in conversations],
        "archive_url": [conversation.archive_url for conversation in conversations],
        "message_ts": [" ".join(line.ts for line in conversation.messages) for conversation in conversations],
        "origin": [SLACK_EXPORT] * count,
        "ended_by": [conversation.ended_by for conversation in conversations],
        "payload_digest": [conversation.content_digest for conversation in conversations],
        "source_file": [
            _file_name(f"{history.name}!{conversation.channel_id}", redaction)
            for conversation in conversations
        ],
    }
    columns = {field.name: pa.nulls(count, ARROW_DTYPES[field.dtype]) for field in EVENTS}
    columns |= {name: string_array(values) for name, values in texts.items()}
    columns |= {
        "occurred_at": ended,
        "started_at": started,
        "ended_at": ended,
        "start_is_whole": pa.array([conversation.start_is_whole for conversation in conversations]),
        "message_count": pa.array([len(conversation.messages) for conversation in conversations], pa.int64()),
        "source_record": pa.array([conversation.number for conversation in conversations], pa.int64()),
    }
    return arrow_table("events", columns)


def _file_name(name: str, redaction: Redaction) -> str:
    """Return a file's name, without the channel's id if such ids are redacted."""
    if redaction.way_of(Privacy.PSEUDONYM) is not Way.KEEP:
        name = name.partition("!")[0]
    return redaction.file_name(name)


def _messages(conversations: Sequence[Conversation]) -> tuple[pa.Table, list[int]]:
    lines = [line for conversation in conversations for line in conversation.messages]
    ts = string_array([line.ts for line in lines])
    counts = [len(conversation.messages) for conversation in conversations]
    columns = {
        "ts": ts,
        "sent_at": read_slack_ts(ts),
        "author": string_array([line.author for line in lines]),
        "username": string_array([line.username for line in lines]),
        "slack_user_id": string_array([line.user_id for line in lines]),
        "text": string_array([_clean(line.text) for line in lines]),
        "slack_text": string_array(
            [_clean(line.raw_text) if line.raw_text != line.text else None for line in lines]
        ),
        "position": pa.array([position for count in counts for position in range(1, count + 1)], pa.int64()),
    }
    return pa.table(columns), counts


def _clean(text: str) -> str | None:
    """Return a string as a column holds it: None if it is empty, and without lone surrogates."""
    return text.encode("utf-8", errors="replace").decode() or None if text else None
