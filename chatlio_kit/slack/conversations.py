"""Split a channel's lines into conversations and compute their ids.

Archiving a channel ends a conversation; the next line starts another. Silence alone does not end one unless
the settings say so, because an answer after a weekend belongs to its question. A conversation is anchored at
the first line of its stretch, of whatever kind, so that no setting about authors changes its id.

Ids are computed from UTF-8 text:

- a conversation: the first 32 digits of SHA-256 of ``slack-conversation|<channel id>|<anchor>``, as a UUID of
  version 8 and variant 8 to b (RFC 9562), which Chatlio never uses.
- its event: SHA-256 of ``slack_transcript|<channel id>|<anchor>|<end, RFC 3339 UTC with microseconds>|`` and
  the SHA-256 of ts, author and text of its messages. The text is the export's own, because names in mentions
  may change. A more complete or edited transcript is a new event of the same conversation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import chain

from chatlio_kit.chatlio.event_ids import digest
from chatlio_kit.slack.messages import UNKNOWN, Line

ENDED_BY = ("channel_archive", "gap", "next_conversation", "last_message")
ARCHIVED, GAP, NEXT, LAST_MESSAGE = ENDED_BY
_SECOND = 1_000_000
_HEAD_SECONDS = 5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Stretch:
    """Consecutive lines of a channel that belong to one conversation.

    Attributes:
        number: Its number in the channel, from 1.
        anchor: The ts of its first line.
        lines: Its lines, of any kind.
        ended_by: The sign of its end, one of ``ENDED_BY``.
        start_is_whole: True if its first line is known to be the conversation's first.
    """

    number: int
    anchor: str
    lines: list[Line]
    ended_by: str
    start_is_whole: bool

    @property
    def messages(self) -> list[Line]:
        """The lines that are chat messages."""
        return [line for line in self.lines if not line.left_out]

    @property
    def ended_at(self) -> int:
        """Its end in microseconds since 1970: the archiving, or else the last message."""
        if self.ended_by == ARCHIVED:
            return self.lines[-1].at
        return max(line.at for line in self.messages)


@dataclass(frozen=True)
class Conversation:
    """A conversation as it becomes an event. Times are microseconds since 1970.

    Attributes:
        channel_id: Its channel.
        channel_name: The channel's current name.
        number: The number of its stretch in the channel.
        anchor: The ts of the stretch's first line.
        conversation_id: Its id from webhooks, if they have it, or else its own.
        started_at: The first message of a visitor or agent, or else of anyone.
        ended_at: Its end.
        ended_by: The sign of its end.
        start_is_whole: True if it is known to be complete at its start.
        team_id: The workspace.
        agent_name: The first agent in time.
        agent_email: The agent's e-mail address, which most exports lack.
        visitor_name: The name shown next to the visitor's messages.
        archive_url: Its URL in Slack.
        messages: Its messages, except those that a webhook has.
    """

    channel_id: str
    channel_name: str
    number: int
    anchor: str
    conversation_id: str
    started_at: int
    ended_at: int
    ended_by: str
    start_is_whole: bool
    team_id: str | None
    agent_name: str | None
    agent_email: str | None
    visitor_name: str | None
    archive_url: str | None
    messages: tuple[Line, ...]

    @property
    def content_digest(self) -> str:
        """The SHA-256 of its messages' ts, author and raw text, which is the same in every export."""
        content = sha256()
        for line in self.messages:
            for text in (line.ts, line.author, line.raw_text):
                encoded = text.encode("utf-8", errors="surrogatepass")
                content.update(f"{len(encoded)}:".encode() + encoded)
        return content.hexdigest()

    @property
    def event_id(self) -> str:
        """The id of its event."""
        ended = (_EPOCH + timedelta(microseconds=self.ended_at)).isoformat(timespec="microseconds")
        words = (self.channel_id, self.anchor, ended.replace("+00:00", "Z"), self.content_digest)
        return digest("|".join(("slack_transcript", *words)).encode())


def conversation_id(channel_id: str, anchor: str) -> str:
    """Return the id of a conversation that no webhook names."""
    digits = digest(f"slack-conversation|{channel_id}|{anchor}".encode())
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def cut(lines: Sequence[Line], created: int | None, gap: int | None) -> Iterator[Stretch]:
    """Split a channel's lines, in their order, into stretches.

    Args:
        lines: All lines of the channel.
        created: Creation time of the channel in seconds since 1970, if known.
        gap: The silence that ends a stretch, in microseconds; None for none.
    """
    start_is_whole = bool(lines) and _is_head(lines[0], created)
    number, current = 0, list[Line]()
    for line in lines:
        ended_by = ""
        if current and current[-1].is_archive:
            ended_by = ARCHIVED
        elif current and gap is not None and line.at - current[-1].at > gap:
            ended_by = GAP
        if ended_by:
            number += 1
            yield Stretch(number, current[0].ts, current, ended_by, start_is_whole)
            current, start_is_whole = [], True
        current.append(line)
    if current:
        ended_by = ARCHIVED if current[-1].is_archive else LAST_MESSAGE
        yield Stretch(number + 1, current[0].ts, current, ended_by, start_is_whole)


def _is_head(line: Line, created: int | None) -> bool:
    """Return whether a line is the first of its channel: its creator joins when the channel is created."""
    if created is None or not line.is_join:
        return False
    return abs(line.at - created * _SECOND) <= (_HEAD_SECONDS + 1) * _SECOND


def divide(stretch: Stretch, owners: dict[str, str]) -> list[Stretch]:
    """Divide a stretch that holds messages of several Chatlio conversations.

    Each part starts at the first message that its conversation owns.

    Args:
        stretch: The stretch.
        owners: The conversation that owns a message, by ts.
    """
    starts, seen = [0], set[str]()
    for index, line in enumerate(stretch.lines):
        owner = owners.get(line.ts) if not line.left_out else None
        if owner is not None and owner not in seen:
            if seen:
                starts.append(index)
            seen.add(owner)
    if len(starts) == 1:
        return [stretch]
    parts = []
    for start, end in zip(starts, chain(starts[1:], [len(stretch.lines)]), strict=True):
        lines = stretch.lines[start:end]
        is_last = end == len(stretch.lines)
        ended_by = stretch.ended_by if is_last else NEXT
        anchor = stretch.anchor if start == 0 else lines[0].ts
        parts.append(Stretch(stretch.number, anchor, lines, ended_by, stretch.start_is_whole or start > 0))
    return parts


def started_at(messages: Sequence[Line]) -> int:
    """Return the start of a conversation: the first message of a visitor or agent, or else of anyone."""
    known = [line.at for line in messages if line.author != UNKNOWN]
    return min(known or [line.at for line in messages])


def first_by(author: str, messages: Sequence[Line]) -> Line | None:
    """Return the first message of an author: ``visitor`` or ``agent``."""
    return next((line for line in messages if line.author == author), None)
