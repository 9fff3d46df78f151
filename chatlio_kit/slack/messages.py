"""A channel's lines: selection of chat messages, and their authors.

A message's author is determined by ids alone: the app in the settings writes for the visitor, and members are
agents. Names decide nothing, except that the app's own name never belongs to a visitor.

Source: Slack's documentation, message events and the conversation object.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chatlio_kit.chatlio.rejections import Reason
from chatlio_kit.slack.json_files import Damaged
from chatlio_kit.slack.settings import SlackSettings
from chatlio_kit.slack.text import Renderer
from chatlio_kit.slack.workspace import SLACKBOT, Channel, Workspace

VISITOR, AGENT, UNKNOWN = "visitor", "agent", "unknown"
_TS = re.compile(r"\d{1,11}\.\d{6}", re.ASCII)
_CONTENT = frozenset({"", "file_share", "me_message", "thread_broadcast", "bot_message"})
_ARCHIVED = frozenset({"channel_archive", "group_archive"})
_EVENTS = frozenset(
    f"{room}_{what}"
    for room in ("channel", "group")
    for what in ("join", "leave", "topic", "purpose", "name", "archive", "unarchive")
) | frozenset(
    {
        "channel_convert_to_private", "bot_add", "bot_remove", "bot_enable", "bot_disable", "pinned_item",
        "unpinned_item", "reminder_add", "joiner_notification", "channel_posting_permissions",
        "channel_canvas_updated", "tabbed_canvas_updated", "app_conversation_leave", "sh_room_created",
        "huddle_thread",
    }
)  # fmt: skip
_CHANGES = frozenset({"message_changed", "message_deleted", "message_replied"})
_JOINED = frozenset({"channel_join", "group_join"})
_SUBTYPE = re.compile(r"[a-z_]{1,40}")


@dataclass(slots=True)
class Line:
    """One line of a channel, of any kind.

    Attributes:
        ts: The line's id in Slack.
        at: The same, in microseconds since 1970.
        left_out: Reason why it is not a chat message; empty if it is one.
        is_archive: True if it ends the channel's conversation.
        is_join: True if someone joined.
        author: ``visitor``, ``agent`` or ``unknown``.
        username: The name shown next to it.
        user_id: The member who wrote it, if any.
        text: Its text as displayed in Slack.
        raw_text: Its text as in the export.
        is_edited: True if it was edited after it was sent.
    """

    ts: str
    at: int
    left_out: str = ""
    is_archive: bool = False
    is_join: bool = False
    author: str = ""
    username: str | None = None
    user_id: str | None = None
    text: str = ""
    raw_text: str = ""
    is_edited: bool = False


class InvalidLine(Exception):
    """An unreadable line; the detail quotes nothing, because the text may be a file's URL."""

    def __init__(self, reason: Reason, place: str | None, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.place, self.detail = reason, place, detail


class Authors:
    """Determines the authors of lines.

    Args:
        workspace: Users and channels.
        settings: The app that writes for visitors, and the treatment of unclear messages.
    """

    def __init__(self, workspace: Workspace, settings: SlackSettings) -> None:
        self._settings, self._users = settings, workspace.users
        names = {user.id: user.full_name for user in workspace.users.values()}
        self.renderer = Renderer(names, workspace.channel_names)
        self.apps = frozenset(settings.app_ids)
        self.bots, self.bot_users = set(settings.bot_ids), set(settings.bot_users)
        for user in workspace.users.values():
            if user.app_id in self.apps or user.bot_id in self.bots or user.id in self.bot_users:
                self.bot_users.add(user.id)
                self.bots |= {user.bot_id} if user.bot_id else set()
        own = [user.names for user in workspace.users.values() if user.id in self.bot_users]
        self._own_names = frozenset().union(*own)

    def made(self, channel: Channel) -> bool:
        """Return whether the named app created a channel."""
        return channel.creator in self.bot_users

    def read(self, raw: object, *, in_own_channel: bool) -> tuple[Line, bool]:
        """Return a line, and whether the named app wrote it.

        Args:
            raw: The line, parsed from JSON.
            in_own_channel: True if the named app created the channel.

        Raises:
            InvalidLine: It is not an object, is damaged, or has no valid ts.
        """
        if isinstance(raw, Damaged):
            detail = (
                "The message holds half a character (a lone surrogate) or bytes that are not UTF-8, so it "
                "cannot be stored as text."
            )
            raise InvalidLine(Reason.NOT_JSON, None, detail)
        if not isinstance(raw, dict):
            detail = "The message is not an object."
            raise InvalidLine(Reason.NOT_AN_OBJECT, None, detail)
        ts = raw.get("ts")
        if ts is None or ts == "":
            raise InvalidLine(Reason.MISSING, "ts", "ts is missing or empty; it names the message.")
        if not isinstance(ts, str) or not _TS.fullmatch(ts):
            detail = "ts is not a string such as 1710144005.000200."
            raise InvalidLine(Reason.INVALID_VALUE, "ts", detail)
        seconds, _, part = ts.partition(".")
        subtype = _string(raw.get("subtype"))
        line = Line(
            ts,
            int(seconds) * 1_000_000 + int(part),
            is_archive=subtype in _ARCHIVED,
            is_join=subtype in _JOINED,
            is_edited=isinstance(raw.get("edited"), dict),
        )
        is_own = self._is_own(raw) or (_is_nameless_bot(raw) and in_own_channel)
        line.left_out = self._reason_of_kind(raw, subtype)
        if not line.left_out:
            self._set_author(line, raw, is_own=is_own)
        if not line.left_out:
            line.text, line.raw_text = self.renderer.text_of(raw)
        return line, is_own

    def _reason_of_kind(self, raw: Mapping[str, Any], subtype: str) -> str:
        """Return the reason why a line is not a message, by its type."""
        if subtype in _CHANGES:
            return "change_record"
        if subtype in _EVENTS:
            return "event"
        if subtype == "tombstone":
            return "tombstone"
        if raw.get("type", "message") != "message":
            return "no_message"
        if subtype not in _CONTENT:
            return f"subtype_{subtype}" if _SUBTYPE.fullmatch(subtype) else "subtype_other"
        thread = raw.get("thread_ts")
        is_reply = isinstance(thread, str) and bool(thread) and thread != raw.get("ts")
        if is_reply and subtype != "thread_broadcast" and self._settings.thread_replies != "keep":
            return "thread_reply"
        return ""

    def _is_own(self, raw: Mapping[str, Any]) -> bool:
        profile = raw.get("bot_profile")
        ids = [raw.get("app_id"), raw.get("bot_id"), raw.get("user")]
        if isinstance(profile, dict):
            ids += [profile.get("app_id"), profile.get("id")]
        app, bot, user, *more = [id_ if isinstance(id_, str) else "" for id_ in ids]
        return (
            app in self.apps
            or bot in self.bots
            or user in self.bot_users
            or (bool(more) and (more[0] in self.apps or more[1] in self.bots))
        )

    def _set_author(self, line: Line, raw: Mapping[str, Any], *, is_own: bool) -> None:
        user = _string(raw.get("user"))
        if is_own:
            name = _string(raw.get("username")).strip()
            if name and name.lower() not in self._own_names | _bot_name(raw):
                line.author, line.username = VISITOR, name
            elif self._settings.bot_without_username == "notice":
                line.left_out = "notice"
            else:
                line.author = self._settings.bot_without_username
        elif _is_bot(raw) or user == SLACKBOT or (user in self._users and self._users[user].is_bot):
            line.left_out = "other_bot"
        elif user:
            line.author, line.user_id, line.username = AGENT, user, self.name_of(user, raw)
        else:
            line.author, line.username = UNKNOWN, _string(raw.get("username")) or None

    def name_of(self, user_id: str, raw: Mapping[str, Any]) -> str:
        """Return a member's name: from the list of users, or else from the message, or else the id."""
        if user_id in self._users:
            return self._users[user_id].full_name
        profile = raw.get("user_profile")
        profile = profile if isinstance(profile, dict) else {}
        names = (_string(profile.get(key)).strip() for key in ("real_name", "display_name", "name"))
        return next(filter(None, names), user_id)

    def email_of(self, user_id: str) -> str | None:
        """Return a member's e-mail address, which most exports lack."""
        return self._users[user_id].email if user_id in self._users else None


def files_in(raw: object) -> int:
    """Return the number of files attached to a message; nothing else about them is kept."""
    files = raw.get("files") if isinstance(raw, dict) else None
    return len(files) if isinstance(files, list) else 0


def team_of(raw: object) -> str:
    """Return the workspace that a message names."""
    return _string(raw.get("team")) if isinstance(raw, dict) else ""


def in_order(lines: Iterable[Line]) -> Iterator[Line]:
    """Yield lines by their ts; if one occurs twice, the second is left out."""
    earlier = ""
    for line in sorted(lines, key=lambda line: (line.at, line.left_out != "")):
        if line.ts == earlier:
            line.left_out = "repeated"
        earlier = line.ts
        yield line


def _is_bot(raw: Mapping[str, Any]) -> bool:
    return bool(raw.get("bot_id") or raw.get("bot_profile")) or raw.get("subtype") == "bot_message"


def _is_nameless_bot(raw: Mapping[str, Any]) -> bool:
    """Return whether a bot wrote a message that names neither app nor bot."""
    return raw.get("subtype") == "bot_message" and not any(map(raw.get, ("bot_id", "app_id", "user")))


def _bot_name(raw: Mapping[str, Any]) -> frozenset[str]:
    profile = raw.get("bot_profile")
    name = _string(profile.get("name")).strip().lower() if isinstance(profile, dict) else ""
    return frozenset({name} if name else ())


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
