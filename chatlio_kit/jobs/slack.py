"""Inspect a Slack workspace export, next to captured webhooks if there are any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from chatlio_kit.arguments import checked, optional, place
from chatlio_kit.errors import OutputError
from chatlio_kit.private_files import write_private
from chatlio_kit.slack.files import ExportFiles
from chatlio_kit.slack.inspect import Proposal, WebhookMessage, inspect
from chatlio_kit.tables import Export, read_export


@checked(write=optional(place))
def inspect_slack(
    path: Path | str,
    captures: Export | Path | str | Sequence[Path | str] | None = None,
    *,
    write: Path | str | None = None,
) -> Proposal:
    """Propose settings for a Slack workspace export; nothing is read without your settings.

    The proposal has ids and counts, but never message text. With captured webhooks from the same time, it
    also shows the form of visitors' messages in Slack, if both have the same messages.

    Args:
        path: Slack's own export, or one of ``slackdump export``: a zip or an unpacked folder.
        captures: An export from :func:`read_export`, or files and folders of captured webhooks.
        write: A TOML file for the proposed settings; an existing one is not replaced.

    Raises:
        MissingPath: A path does not exist.
        CaptureError: The path is not a readable Slack export; the message describes it.
        OutputError: The file already exists, or cannot be written.
    """
    target = None if write is None else Path(write)
    if target is not None and target.exists():
        raise OutputError(
            f"{str(target)!r} already exists, and may hold your changes. Choose another name, or delete it."
        )
    files = ExportFiles(Path(path))
    lobbies: set[str] = set()
    messages: Iterator[WebhookMessage] = iter(())
    if captures is not None:
        export = captures if isinstance(captures, Export) else read_export(captures)
        messages = _messages_of(export, lobbies)
    proposal = inspect(files, list(messages), lobbies)
    if target is not None:
        try:
            write_private(target, proposal.as_toml().encode())
        except OSError as error:
            raise OutputError(
                f"{str(target)!r} cannot be written: {error.strerror or error}. Choose another path."
            ) from error
    return proposal


def _messages_of(export: Export, lobbies: set[str]) -> Iterator[WebhookMessage]:
    """Yield the messages of captured transcripts; the ids of lobbies are added to a set."""
    for batch in export.batches():
        events = batch.events
        lobbies |= set(events["slack_channel_id"].dropna())
        channels = events.set_index("event_id")["channel_id"]
        messages = batch.messages
        named = messages.assign(channel_id=messages["event_id"].map(channels)).dropna(subset=["channel_id"])
        columns = ("channel_id", "ts", "author", "slack_user_id")
        for channel_id, ts, author, user_id in zip(*(named[name] for name in columns), strict=True):
            yield WebhookMessage(channel_id, ts, author, None if pd.isna(user_id) else user_id)
