"""Read an export's conversations channel by channel, so that memory holds one channel at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from chatlio_kit.chatlio.rejections import Reason, Rejection
from chatlio_kit.counting import counted
from chatlio_kit.errors import in_words
from chatlio_kit.slack.conversations import (
    LAST_MESSAGE,
    Conversation,
    Stretch,
    conversation_id,
    cut,
    divide,
    first_by,
    started_at,
)
from chatlio_kit.slack.files import DAY_BYTES, ExportFiles, Unreadable
from chatlio_kit.slack.json_files import Damaged, read_day
from chatlio_kit.slack.messages import AGENT, VISITOR, Authors, InvalidLine, Line, files_in, in_order, team_of
from chatlio_kit.slack.settings import SlackSettings
from chatlio_kit.slack.webhooks import Webhooks, overlaps
from chatlio_kit.slack.workspace import Channel, Workspace


@dataclass
class SlackCounts:
    """Outcomes of an export's messages and conversations.

    ``messages = kept + left out + rejected`` and ``conversations = accepted + duplicates + rejected + covered
    + empty + open``, always.

    Attributes:
        channels: Channels whose name matches.
        channels_read: Matching channels that the named app belongs to.
        without_app: Matching channels that it does not belong to; nothing from them is kept.
        without_messages: Matching channels without a folder.
        messages: Lines of the channels that were read, of any kind.
        kept: Messages in the export's conversations.
        left_out: Other messages, by reason.
        rejected: Messages and daily files that cannot be read.
        conversations: Stretches of channels.
        accepted: Conversations that became events.
        duplicates: Conversations whose event was read before.
        rejected_conversations: Conversations that were not accepted.
        covered: Conversations whose messages are all in webhooks.
        empty: Conversations without messages.
        open: Conversations without an end, if only closed ones are read.
        merged: Accepted conversations that add messages to a webhook's conversation.
        joined: Conversations that take their id from a webhook about the conversation's start.
        unclear_starts: Such webhooks that fit no conversation, or several.
        divided: Stretches with several Chatlio conversations.
        cut_heads: Conversations whose beginning may be missing.
        edited: Messages that were edited in Slack and keep the webhook's text.
        files: Files attached to messages; only their number is kept.
        refused_channels: Channels that share no message with the webhooks of the same time.
    """

    channels: int = 0
    channels_read: int = 0
    without_app: int = 0
    without_messages: int = 0
    messages: int = 0
    kept: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    rejected: int = 0
    conversations: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected_conversations: int = 0
    covered: int = 0
    empty: int = 0
    open: int = 0
    merged: int = 0
    joined: int = 0
    unclear_starts: int = 0
    divided: int = 0
    cut_heads: int = 0
    edited: int = 0
    files: int = 0
    refused_channels: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as they appear in JSON."""
        left_out = dict(sorted(self.left_out.items(), key=lambda item: (-item[1], item[0])))
        return {**vars(self), "left_out": left_out}


@dataclass(frozen=True, slots=True)
class Sent:
    """A stretch of a channel under the id in its event.

    Attributes:
        channel_id: The channel.
        anchor: The ts of the stretch's first line.
        last_ts: The ts of its last line.
        conversation_id: Its own id.
        webhook_id: Chatlio's id, if a webhook names it.
        has_event: True if it became an event; False where webhooks cover it.
    """

    channel_id: str
    anchor: str
    last_ts: str
    conversation_id: str
    webhook_id: str | None = None
    has_event: bool = True


Known = Callable[[str], Sequence[Sent]]
"""Looks up the stretches of a channel that earlier runs sent."""


@dataclass
class ChannelRead:
    """The result of reading one channel.

    Attributes:
        conversations: Its conversations.
        rejected: Its unreadable lines and files, and its refused conversations.
    """

    conversations: list[Conversation] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)


class SlackHistory:
    """The conversations of a workspace export.

    Args:
        path: Slack's own export, or one of `slackdump export`: a zip or an unpacked folder.
        settings: The channels that are chats, and the roles of their members.

    Attributes:
        counts: Outcomes of messages and conversations, filled while reading.
        known: Looks up stretches that earlier runs read; None without a ledger.
        sent: The stretches read in this run, for the ledger; filled only if there is one.

    Raises:
        MissingPath: There is no such file or folder.
        CaptureError: It is not a readable export.
    """

    def __init__(self, path: Path, settings: SlackSettings) -> None:
        self.files = ExportFiles(path)
        self.workspace = Workspace(self.files)
        self.name, self.settings = self.files.name, settings
        self.known: Known | None = None
        self._index_notes = self.workspace.notes
        self._start()

    def _start(self) -> None:
        self.counts, self.sent = SlackCounts(), list[Sent]()
        self.workspace.notes = list(self._index_notes)
        self._was_read = False

    def webhooks(self) -> Webhooks:
        """Return an empty collection for captured webhooks about the matching channels."""
        return Webhooks({channel.id for channel in self._matching()})

    def _matching(self) -> list[Channel]:
        matches = self.settings.matches
        return [channel for channel in self.workspace.channels if matches(channel.id, channel.name)]

    def channels(self, webhooks: Webhooks) -> Iterator[ChannelRead]:
        """Read channel by channel.

        Args:
            webhooks: The captured webhooks of the channels.
        """
        self._start()
        authors = Authors(self.workspace, self.settings)
        matching = self._matching()
        self.counts.channels = len(matching)
        for channel, folder in sorted(self.workspace.folders_of(matching), key=lambda pair: pair[0].id):
            if folder is None:
                self.counts.without_messages += 1
            elif (read := _ChannelReader(self, authors, channel).read(folder, webhooks)) is not None:
                yield read
        self._was_read = True

    def notes(self) -> list[str]:
        """Return sentences about channels and messages read, left out and refused."""
        counts, notes = self.counts, list(self.workspace.notes)
        if not self._was_read:
            return notes
        unread = (
            f"; in {counts.without_app:,} the app is not, and {counts.without_messages:,} have no folder of "
            "their own"
        )
        notes.append(
            f"{self.name}: {counts.channels_read:,} of {counts.channels:,} channels whose name matches were "
            f"read{unread if counts.channels_read < counts.channels else ''}"
        )
        if not counts.channels_read:
            notes.append(
                f"No channel of {self.name} was read, so the result has nothing from it. Check channels, "
                "app_ids, bot_ids and bot_users in the settings; "
                + in_words("`chatlio-kit slack inspect`", "inspect_slack()")
                + " proposes them."
            )
        if self.workspace.channels and (strays := self.workspace.folders_without_entry()):
            notes.append(
                f"not read, because they belong to no channel of the index: {counted(strays, 'folder')}"
            )
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts.as_dict()["left_out"].items())
        notes.append(
            f"Slack messages: {counts.messages:,} read, {counts.kept:,} kept, "
            f"{counts.left_out.total():,} left out{f' ({reasons})' if reasons else ''}, "
            f"{counts.rejected:,} rejected"
        )
        notes.append(
            f"Slack conversations: {counts.conversations:,} read, {counts.accepted:,} accepted, "
            f"{counted(counts.duplicates, 'duplicate')}, {counts.rejected_conversations:,} rejected, "
            f"{counts.covered:,} covered by webhooks, {counts.empty:,} empty, {counts.open:,} open"
        )
        if counts.merged or counts.joined:
            notes.append(
                f"{counts.merged:,} Slack conversations add messages to a webhook's, and {counts.joined:,} "
                "take their id from a webhook about their start"
            )
        if counts.unclear_starts:
            notes.append(
                f"not joined: {counted(counts.unclear_starts, 'webhook')} about a conversation's start, "
                "fitting none or several of the channel's conversations"
            )
        if counts.divided:
            notes.append(
                f"split where each conversation starts: {counted(counts.divided, 'stretch', 'stretches')} "
                "with several Chatlio conversations"
            )
        if counts.cut_heads:
            notes.append(
                f"{counted(counts.cut_heads, 'Slack conversation')} may lack the beginning (start_is_whole)"
            )
        if counts.edited:
            notes.append(
                f"{counted(counts.edited, 'message was', 'messages were')} edited in Slack after a webhook "
                "captured them; the webhook's text is kept"
            )
        if counts.refused_channels:
            notes.append(
                f"{counted(counts.refused_channels, 'channel shares', 'channels share')} no message with "
                "the webhooks of the same time. Merging would count messages twice, so the conversations "
                "were rejected. Name the right export, or read it without these captures"
            )
        return notes


class _ChannelReader:
    """One channel while it is read."""

    def __init__(self, history: SlackHistory, authors: Authors, channel: Channel) -> None:
        self._history, self._authors, self._channel = history, authors, channel
        self._settings = history.settings
        self._place = f"{history.name}!{channel.id}"
        self._teams: Counter[str] = Counter()
        self._read = ChannelRead()
        self._files = 0
        self._unread: list[Rejection] = []

    def read(self, folder: str, webhooks: Webhooks) -> ChannelRead | None:
        """Return the channel's conversations; None if the named app is not in the channel.

        Unreadable days and messages are always rejected, because the app may occur in them.
        """
        counts = self._history.counts
        lines, is_in_it = self._lines(folder)
        if not is_in_it:
            counts.without_app += 1
            counts.rejected += len(self._unread)
            counts.messages += len(self._unread)
            return ChannelRead(rejected=self._unread) if self._unread else None
        counts.channels_read += 1
        counts.files += self._files
        counts.rejected += len(self._read.rejected)
        counts.messages += len(lines) + len(self._read.rejected)
        ordered = list(in_order(lines))
        counts.left_out.update(line.left_out for line in ordered if line.left_out)
        stretches = list(cut(ordered, self._channel.created, self._settings.gap))
        owners = webhooks.owners(self._channel.id)
        if overlaps(owners, stretches) is False:
            self._refuse(stretches)
            return self._read
        parts = [part for stretch in stretches for part in self._divided(stretch, owners)]
        counts.conversations += len(parts)
        filled = [part for part in parts if part.messages]
        counts.empty += len(parts) - len(filled)
        free = [part for part in filled if not any(line.ts in owners for line in part.messages)]
        by_start, unclear = webhooks.joined(self._channel.id, free, owners)
        counts.unclear_starts += unclear
        joined = {id(free[index]): conversation for index, conversation in by_start.items()}
        counts.joined += len(joined)
        earlier = self._history.known(self._channel.id) if self._history.known else ()
        for part in filled:
            self._add(part, owners, joined.get(id(part)), earlier)
        return self._read

    def _lines(self, folder: str) -> tuple[list[Line], bool]:
        """Read all lines of the channel, and whether the named app is in it."""
        is_own = is_in_it = self._authors.made(self._channel)
        lines: list[Line] = []
        for day, member in self._history.files.days(folder).items():
            try:
                messages = read_day(member.read(DAY_BYTES))
            except Unreadable as why:
                self._reject_day(day, Reason.UNREADABLE, f"The file cannot be read: {why}.")
                continue
            except ValueError:
                self._reject_day(day, Reason.NOT_JSON, "The file is not JSON. Get a complete copy.")
                continue
            if not isinstance(messages, list):
                detail = "The file is not a list of messages, as a daily file is."
                self._reject_day(day, Reason.NOT_AN_OBJECT, detail)
                continue
            for number, raw in enumerate(messages, 1):
                try:
                    line, by_app = self._authors.read(raw, in_own_channel=is_own)
                except InvalidLine as wrong:
                    self._reject(day, number, wrong.reason, wrong.place, wrong.detail)
                    if isinstance(raw, Damaged):
                        self._unread.append(self._read.rejected[-1])
                    continue
                is_in_it = is_in_it or by_app
                self._files += files_in(raw)
                self._teams[team_of(raw)] += 1
                lines.append(line)
        return lines, is_in_it

    def _reject_day(self, day: str, reason: Reason, detail: str) -> None:
        self._reject(day, 1, reason, None, detail)
        self._unread.append(self._read.rejected[-1])

    def _reject(self, day: str, number: int, reason: Reason, place: str | None, detail: str) -> None:
        """Reject a line or file, without its text, which may contain URLs that open files."""
        self._read.rejected.append(Rejection(f"{self._place}/{day}", number, reason, place, detail, None))

    def _refuse(self, stretches: Sequence[Stretch]) -> None:
        """Reject a channel's conversations, because they cannot be merged with its webhooks."""
        counts = self._history.counts
        counts.refused_channels += 1
        detail = (
            "Webhooks cover this channel at the same time but share no message with it, so they cannot come "
            "from the same workspace. Name the right export, or read it without these captures."
        )
        counts.conversations += len(stretches)
        for stretch in stretches:
            if not stretch.messages:
                counts.empty += 1
                continue
            counts.rejected += len(stretch.messages)
            counts.rejected_conversations += 1
            rejection = Rejection(self._place, stretch.number, Reason.NO_OVERLAP, "ts", detail, None)
            self._read.rejected.append(rejection)

    def _divided(self, stretch: Stretch, owners: dict[str, str]) -> list[Stretch]:
        parts = divide(stretch, owners) if owners else [stretch]
        self._history.counts.divided += len(parts) > 1
        return parts

    def _add(
        self, part: Stretch, owners: Mapping[str, str], joined: str | None, earlier: Sequence[Sent]
    ) -> None:
        """Add a stretch as a conversation, unless webhooks cover it or it is open."""
        counts, channel = self._history.counts, self._channel
        messages = part.messages
        owner = next((owners[line.ts] for line in messages if line.ts in owners), None)
        webhook_id = joined if owner is None or owner.startswith("event:") else owner
        added = tuple(line for line in messages if line.ts not in owners)
        if len(added) < len(messages):
            counts.left_out["in_webhook"] += len(messages) - len(added)
        counts.edited += sum(line.is_edited for line in messages if line.ts in owners)
        before = _same(part, earlier)
        anchor = before.anchor if before is not None else part.anchor
        own_id = before.conversation_id if before is not None else conversation_id(channel.id, anchor)
        sent = Sent(channel.id, anchor, part.lines[-1].ts, own_id, webhook_id)
        if not added:
            counts.covered += 1
            self._note(replace(sent, has_event=False))
            return
        if self._settings.closed_only and part.ended_by == LAST_MESSAGE:
            counts.open += 1
            counts.left_out["open"] += len(added)
            return
        self._note(sent)
        counts.kept += len(added)
        counts.merged += owner is not None
        counts.cut_heads += not part.start_is_whole and before is None
        agent, visitor = first_by(AGENT, messages), first_by(VISITOR, messages)
        domain = self._settings.workspace_domain
        self._read.conversations.append(
            Conversation(
                channel_id=channel.id,
                channel_name=channel.name,
                number=part.number,
                anchor=anchor,
                conversation_id=webhook_id or own_id,
                started_at=started_at(messages),
                ended_at=part.ended_at,
                ended_by=part.ended_by,
                start_is_whole=part.start_is_whole,
                team_id=self._team(),
                agent_name=agent.username if agent else None,
                agent_email=self._authors.email_of(agent.user_id or "") if agent else None,
                visitor_name=visitor.username if visitor else None,
                archive_url=f"https://{domain}.slack.com/archives/{channel.id}" if domain else None,
                messages=added,
            )
        )

    def _note(self, sent: Sent) -> None:
        if self._history.known is not None:
            self._history.sent.append(sent)

    def _team(self) -> str | None:
        named = [(count, team) for team, count in self._teams.items() if team]
        return max(named)[1] if named else None


def _same(part: Stretch, earlier: Sequence[Sent]) -> Sent | None:
    """Return the earlier stretch that this one continues, if its own head is missing."""
    if part.start_is_whole or any(sent.anchor == part.anchor for sent in earlier):
        return None
    return next((sent for sent in earlier if sent.anchor < part.anchor <= sent.last_ts), None)
