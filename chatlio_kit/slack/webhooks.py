"""The messages that captured webhooks contain, by channel and conversation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from chatlio_kit.slack.conversations import Stretch, first_by
from chatlio_kit.slack.messages import VISITOR

_LAG = 3_600_000_000
"""Maximum distance in microseconds from a start to its conversation: captures and clocks may lag."""


@dataclass(frozen=True, slots=True)
class Start:
    """A webhook that names a conversation by its first message."""

    conversation_id: str
    message: str
    at: int


class Webhooks:
    """The messages and starts in captured webhooks, by channel.

    Args:
        channels: Ids of the relevant channels; others are left out.
    """

    def __init__(self, channels: Container[str]) -> None:
        self._channels = channels
        self._transcripts: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        self._starts: defaultdict[str, list[Start]] = defaultdict(list)

    def add_transcript(self, channel_id: str, conversation: str, message_ts: str) -> None:
        """Add a transcript.

        Args:
            channel_id: Its channel.
            conversation: Its conversation's id, or ``event:`` and its own id if it names none.
            message_ts: The ts of its messages, separated by spaces.
        """
        if channel_id in self._channels:
            self._transcripts[channel_id].append((conversation, message_ts))

    def add_start(self, channel_id: str, start: Start) -> None:
        """Add a webhook that names a conversation by its first message."""
        if channel_id in self._channels:
            self._starts[channel_id].append(start)

    def owners(self, channel_id: str) -> dict[str, str]:
        """Return the conversation that owns each message of a channel, by ts, as far as webhooks show."""
        owners: dict[str, str] = {}
        for conversation, message_ts in self._transcripts.get(channel_id, ()):
            for ts in message_ts.split():
                owners.setdefault(ts, conversation)
        return owners

    def joined(
        self, channel_id: str, stretches: Sequence[Stretch], owners: Mapping[str, str]
    ) -> tuple[dict[int, str], int]:
        """Match starts with stretches by the visitor's first text, if exactly one stretch fits.

        Args:
            channel_id: The channel.
            stretches: Its stretches that no transcript owns.
            owners: The conversation that owns a message; the starts of these need no match.

        Returns:
            The conversation's id by the index of the stretch, and the number of starts that fit none or
            several.
        """
        starts = {start.conversation_id: start for start in self._starts.get(channel_id, ())}
        for owner in set(owners.values()):
            starts.pop(owner, None)
        fits: defaultdict[int, set[str]] = defaultdict(set)
        unclear = 0
        for start in starts.values():
            found = [index for index, stretch in enumerate(stretches) if _fits(start, stretch)]
            if len(found) == 1:
                fits[found[0]].add(start.conversation_id)
            else:
                unclear += 1
        clear = {index: ids.pop() for index, ids in fits.items() if len(ids) == 1}
        return clear, unclear + sum(len(ids) for ids in fits.values() if len(ids) > 1)


def _fits(start: Start, stretch: Stretch) -> bool:
    messages = stretch.messages
    first = first_by(VISITOR, messages)
    if first is None or start.message.strip() not in (first.text.strip(), first.raw_text.strip()):
        return False
    return stretch.lines[0].at - _LAG <= start.at <= stretch.ended_at + _LAG


def overlaps(owners: dict[str, str], stretches: Sequence[Stretch]) -> bool | None:
    """Return whether webhooks and a channel share messages; None if they have no time in common."""
    lines = [line for stretch in stretches for line in stretch.messages]
    if not owners or not lines:
        return None
    if any(line.ts in owners for line in lines):
        return True
    first, last = min(owners), max(owners)
    return False if any(first <= line.ts <= last for line in lines) else None
