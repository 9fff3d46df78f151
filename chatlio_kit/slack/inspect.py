"""Propose settings for reading a workspace export, using ids and counts but never message text.

Only channels that the app created, that are named like a chat, or that captured webhooks name are opened.
Open questions are left to the person who confirms the proposal.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from chatlio_kit.counting import counted
from chatlio_kit.display import Sheet, SheetDisplay
from chatlio_kit.slack.conversations import ARCHIVED, cut
from chatlio_kit.slack.files import DAY_BYTES, ExportFiles, Unreadable
from chatlio_kit.slack.json_files import read_day
from chatlio_kit.slack.messages import AGENT, UNKNOWN, VISITOR, Authors, InvalidLine, Line, in_order
from chatlio_kit.slack.settings import ARCHIVE, SlackSettings
from chatlio_kit.slack.workspace import Channel, Workspace

_APP_NAME = "chatlio"
_KNOWN_PREFIXES = ("z-", "cl-")
_PREFIX = re.compile(r"[^\W\d_]{1,12}[-_]")
_LEAST_SHARE = 0.02
_ID = re.compile(r"[A-Z][A-Z0-9]{2,20}")
_SECOND = 1_000_000


class WebhookMessage(NamedTuple):
    """A message in a captured transcript."""

    channel_id: str
    ts: str
    author: str
    user_id: str | None


@dataclass
class Calibration:
    """The overlap of captured transcripts and the export.

    Attributes:
        channels: Channels that both have.
        messages: The webhooks' messages in these channels.
        found: Messages of these that the export has too.
        visitors: Visitors' messages among them, by the form in which the app wrote them.
        agents: Agents' messages among them.
        same_user: Agents' messages with the same user in the export.
        without_username: The app's messages without a name in these channels, and the number that webhooks
            have too.
    """

    channels: int = 0
    messages: int = 0
    found: int = 0
    visitors: Counter[str] = field(default_factory=Counter)
    agents: int = 0
    same_user: int = 0
    without_username: int = 0
    without_username_found: int = 0


@dataclass(repr=False)
class Proposal(SheetDisplay):
    """Proposed settings for an export, for a person to confirm.

    Attributes:
        export: The export's name.
        settings: The proposed settings, as :func:`~chatlio_kit.read_slack` takes them.
        apps: Apps named Chatlio, or that wrote visitors' messages, by id.
        bot_users: Their users.
        bot_ids: Their bots.
        patterns: Patterns for channel names, and the number of channels that they match.
        lobbies: Channels that the app is in or that webhooks name as the lobby, but that are not named like a
            chat.
        channels: Number of channels that were opened.
        messages: Number of lines in them.
        with_username: The app's messages with a name.
        without_username: The app's messages without one.
        authors: Messages by author.
        left_out: Other lines, by reason.
        archived: Conversations that end when the channel is archived.
        running: Other conversations.
        whole_heads: Channels whose first line is their beginning.
        first: Time of the oldest line, in microseconds since 1970.
        last: Time of the newest line, in microseconds since 1970.
        unreadable: Daily files that cannot be read.
        calibration: The comparison with captured webhooks, if there are any.
        notes: Sentences about the export.
        unclear: Questions that the export does not answer.
    """

    export: str
    settings: dict[str, Any] = field(default_factory=dict)
    apps: dict[str, str] = field(default_factory=dict)
    bot_users: list[str] = field(default_factory=list)
    bot_ids: list[str] = field(default_factory=list)
    patterns: dict[str, int] = field(default_factory=dict)
    lobbies: list[str] = field(default_factory=list)
    channels: int = 0
    messages: int = 0
    with_username: int = 0
    without_username: int = 0
    authors: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    archived: int = 0
    running: int = 0
    whole_heads: int = 0
    first: int | None = None
    last: int | None = None
    unreadable: int = 0
    calibration: Calibration | None = None
    notes: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)

    @property
    def period(self) -> tuple[str, str] | None:
        """The first and the last day, UTC."""
        if self.first is None or self.last is None:
            return None
        first, last = (datetime.fromtimestamp(at // _SECOND, UTC) for at in (self.first, self.last))
        return f"{first:%Y-%m-%d}", f"{last:%Y-%m-%d}"

    def as_dict(self) -> dict[str, Any]:
        """Return the proposal as it appears in JSON."""
        content = {name: value for name, value in vars(self).items() if name not in ("first", "last")}
        content["period"] = list(self.period) if self.period else None
        content["calibration"] = vars(self.calibration) if self.calibration else None
        return content

    def as_toml(self) -> str:
        """Return the proposed settings as a commented TOML file."""
        return "\n".join(_toml_lines(self)) + "\n"

    def sheet(self) -> Sheet:
        """Return the proposal as a table."""
        rows: list[tuple[str, str | int]] = [
            ("apps", _listed(f"{id_} ({name})" for id_, name in self.apps.items())),
            ("their users", _listed(self.bot_users)),
            ("their bots", _listed(self.bot_ids)),
            ("channels by name", _listed(f"{name}: {count:,}" for name, count in self.patterns.items())),
            ("lobby, never read", _listed(self.lobbies)),
            ("channels opened", self.channels),
            ("lines in them", self.messages),
            ("app's messages with a name", self.with_username),
            ("app's messages without one", self.without_username),
            ("conversations that end archived", self.archived),
            ("conversations that do not", self.running),
            ("channels with their beginning", self.whole_heads),
            ("period, UTC", " to ".join(self.period or ("none",))),
        ]
        if (both := self.calibration) is not None:
            forms = _listed((f"{form}: {count:,}" for form, count in both.visitors.items()), "; ")
            rows += [
                ("channels in captures, too", both.channels),
                ("webhooks' messages in them", both.messages),
                ("  also in the export", both.found),
                ("  visitors' by form", forms),
                ("  agents' with the same user", f"{both.same_user:,} of {both.agents:,}"),
            ]
        notes = [*self.notes, *(f"unclear: {question}" for question in self.unclear)]
        return Sheet(f"Proposal for {self.export}", ("found", "value"), rows, notes)


def inspect(
    files: ExportFiles, webhooks: Iterable[WebhookMessage] = (), lobbies: Iterable[str] = ()
) -> Proposal:
    """Inspect an export.

    Args:
        files: The export.
        webhooks: Messages of captured transcripts.
        lobbies: Ids of lobbies that captured webhooks name.
    """
    workspace = Workspace(files)
    proposal = Proposal(files.name)
    captured: dict[str, dict[str, WebhookMessage]] = {}
    for message in webhooks:
        captured.setdefault(message.channel_id, {})[message.ts] = message
    proposal.apps = {
        id_: name for id_, name in workspace.apps.items() if _APP_NAME in name.lower() and _ID.fullmatch(id_)
    }
    bots = [
        user
        for user in workspace.users.values()
        if user.app_id in proposal.apps or (user.is_bot and any(_APP_NAME in name for name in user.names))
    ]
    proposal.bot_users = sorted(user.id for user in bots if _ID.fullmatch(user.id))
    proposal.bot_ids = sorted({user.bot_id for user in bots if user.bot_id and _ID.fullmatch(user.bot_id)})
    if captured and not (proposal.apps or bots):
        _learn_app(workspace, proposal, captured)
    chats = _chats(workspace, proposal, captured)
    named = set(lobbies)
    _add_lobbies(workspace, proposal, {channel.id for channel in chats}, named)
    if proposal.apps or proposal.bot_ids or bots:
        _read(workspace, proposal, chats, captured)
    proposal.notes = workspace.notes
    _propose(proposal)
    return proposal


def _learn_app(
    workspace: Workspace, proposal: Proposal, captured: Mapping[str, Mapping[str, WebhookMessage]]
) -> None:
    """If no app is named Chatlio, propose the app that wrote the visitors' messages that webhooks have."""
    both = [channel for channel in workspace.channels if channel.id in captured]
    ids: dict[str, set[str]] = {"app_id": set(), "bot_id": set()}
    for channel, folder in workspace.folders_of(both):
        for raw in _raw_lines(workspace.files, folder, Proposal("")) if folder is not None else ():
            message = captured[channel.id].get(str(raw.get("ts"))) if isinstance(raw, dict) else None
            if message is not None and message.author == VISITOR:
                for key, found in ids.items():
                    if isinstance(id_ := raw.get(key), str) and _ID.fullmatch(id_):
                        found.add(id_)
    proposal.apps = dict.fromkeys(sorted(ids["app_id"]), "wrote visitors' messages")
    proposal.bot_ids = sorted(ids["bot_id"])
    if any(ids.values()):
        proposal.unclear.append(
            "no app of this export is named Chatlio; the proposed ids are of the app that wrote the "
            "visitors' messages in captured webhooks"
        )


def _chats(workspace: Workspace, proposal: Proposal, captured: Mapping[str, Any]) -> list[Channel]:
    """Return the channels to open, and propose patterns for their names."""
    own = [
        channel
        for channel in workspace.channels
        if channel.creator in proposal.bot_users or channel.id in captured
    ]
    prefixes = Counter(match[0] for channel in own if (match := _PREFIX.match(channel.name)))
    least = max(1, len(own) * _LEAST_SHARE)
    chosen = [prefix for prefix, count in prefixes.most_common() if count >= least] or list(_KNOWN_PREFIXES)
    for prefix in chosen:
        count = sum(channel.name.startswith(prefix) for channel in workspace.channels)
        if count:
            proposal.patterns[f"{prefix}*"] = count
    chats = [channel for channel in workspace.channels if channel.name.startswith(tuple(chosen))]
    others = [channel for channel in own if not channel.name.startswith(tuple(chosen))]
    if others:
        proposal.unclear.append(
            f"{counted(len(others), 'channel')} with other names, created by the app or named by webhooks; "
            "add patterns or ids"
        )
    return chats


def _add_lobbies(workspace: Workspace, proposal: Proposal, chats: set[str], named: set[str]) -> None:
    """List public channels that the app is in or webhooks name, but that are not named like a chat."""
    proposal.lobbies = sorted(
        channel.id
        for channel in workspace.channels
        if channel.id not in chats
        and _ID.fullmatch(channel.id)
        and (channel.id in named or (channel.is_public and set(channel.members) & set(proposal.bot_users)))
    )


def _read(
    workspace: Workspace,
    proposal: Proposal,
    chats: Iterable[Channel],
    captured: Mapping[str, Mapping[str, WebhookMessage]],
) -> None:
    """Read the channels and count their contents."""
    settings = SlackSettings(("*",), tuple(proposal.apps), tuple(proposal.bot_ids), tuple(proposal.bot_users))
    authors = Authors(workspace, settings)
    bot_ids: Counter[str] = Counter()
    if captured:
        proposal.calibration = Calibration()
    for channel, folder in workspace.folders_of(list(chats)):
        if folder is None:
            continue
        proposal.channels += 1
        lines: list[Line] = []
        forms: dict[str, str] = {}
        for raw in _raw_lines(workspace.files, folder, proposal):
            with suppress(InvalidLine):
                line, is_own = authors.read(raw, in_own_channel=authors.made(channel))
                lines.append(line)
                if is_own and not line.left_out and isinstance(raw, dict):
                    forms[line.ts] = _form(raw)
                    if isinstance(bot_id := raw.get("bot_id"), str) and _ID.fullmatch(bot_id):
                        bot_ids[bot_id] += 1
        _count(proposal, channel, list(in_order(lines)), forms)
        if proposal.calibration is not None and channel.id in captured:
            _calibrate(proposal.calibration, captured[channel.id], lines, forms)
    proposal.bot_ids = sorted({*proposal.bot_ids, *bot_ids})


def _raw_lines(files: ExportFiles, folder: str, proposal: Proposal) -> Iterator[Any]:
    for member in files.days(folder).values():
        try:
            lines = read_day(member.read(DAY_BYTES))
        except (Unreadable, ValueError):
            proposal.unreadable += 1
            continue
        yield from lines if isinstance(lines, list) else ()


def _count(proposal: Proposal, channel: Channel, lines: list[Line], forms: Mapping[str, str]) -> None:
    if not lines:
        return
    proposal.messages += len(lines)
    proposal.first = min(lines[0].at, proposal.first or lines[0].at)
    proposal.last = max(proposal.last or 0, lines[-1].at)
    stretches = [stretch for stretch in cut(lines, channel.created, None) if stretch.messages]
    ended = sum(stretch.ended_by == ARCHIVED for stretch in stretches)
    proposal.archived += ended
    proposal.running += len(stretches) - ended
    proposal.whole_heads += bool(stretches) and next(cut(lines, channel.created, None)).start_is_whole
    for line in lines:
        if line.left_out:
            proposal.left_out[line.left_out] += 1
            continue
        proposal.authors[line.author] += 1
        if line.ts in forms:
            proposal.with_username += line.author == VISITOR
            proposal.without_username += line.author == UNKNOWN


def _form(raw: Mapping[str, Any]) -> str:
    """Return the form in which the app wrote a message, without any of its content."""
    kind = "bot_message" if raw.get("subtype") == "bot_message" else "user and bot_id"
    bot = "" if raw.get("bot_id") else ", no bot_id"
    return f"{kind}{bot}, {'username' if raw.get('username') else 'no username'}"


def _calibrate(
    both: Calibration,
    captured: Mapping[str, WebhookMessage],
    lines: Iterable[Line],
    forms: Mapping[str, str],
) -> None:
    """Compare the messages of a channel that webhooks also have."""
    by_ts = {line.ts: line for line in lines}
    both.channels += 1
    both.messages += len(captured)
    for ts, message in captured.items():
        line = by_ts.get(ts)
        if line is None:
            continue
        both.found += 1
        if message.author == VISITOR:
            both.visitors[forms.get(ts, "not by the app")] += 1
        elif message.author == AGENT:
            both.agents += 1
            both.same_user += line.user_id is not None and line.user_id == message.user_id
    nameless = [ts for ts, form in forms.items() if form.endswith("no username")]
    both.without_username += len(nameless)
    both.without_username_found += sum(ts in captured for ts in nameless)


def _propose(proposal: Proposal) -> None:
    """Set the proposed settings and list what stays unclear."""
    without_username = "unknown"
    both = proposal.calibration
    if both is not None and both.found and both.without_username:
        if not both.without_username_found:
            without_username = "notice"
        elif both.without_username_found == both.without_username:
            without_username = "visitor"
    proposal.settings = {
        "channels": list(proposal.patterns),
        "app_ids": list(proposal.apps),
        "bot_ids": proposal.bot_ids,
        "bot_users": proposal.bot_users,
        "lobby": proposal.lobbies,
        "bot_without_username": without_username,
        "thread_replies": "leave-out",
        "split_on": [ARCHIVE],
        "closed_only": False,
        "workspace_domain": "",
    }
    unclear = proposal.unclear
    if not (proposal.apps or proposal.bot_ids or proposal.bot_users):
        unclear.append(
            "no app or bot of this export is named Chatlio: look up its id in Slack, and set app_ids, "
            "bot_ids or bot_users"
        )
    if not proposal.patterns:
        unclear.append("no channel is named like a chat: set channels")
    if proposal.without_username and without_username == "unknown":
        unclear.append(
            f"{counted(proposal.without_username, 'message')} of the app without a name: from visitors, or "
            "notices (bot_without_username); the author counts as unknown until you decide"
        )
    if replies := proposal.left_out["thread_reply"]:
        unclear.append(f"whether visitors saw {counted(replies, 'reply', 'replies')} in threads")
    if proposal.running:
        unclear.append(
            f"{counted(proposal.running, 'conversation has', 'conversations have')} no end and may still be "
            "running (closed_only leaves these out)"
        )
    if both is not None and both.channels and not both.found:
        unclear.append(
            "captured webhooks and this export share no message in the channels that both have; they cannot "
            "be merged"
        )
    if proposal.unreadable:
        unclear.append(f"{counted(proposal.unreadable, 'daily file')} cannot be read")


_COMMENTS = {
    "channels": "Channels that are chats: ids, or globs or /regular expressions/ for names. Required.",
    "app_ids": "The app that writes visitors' messages, by app, bot or user. At least one is required.",
    "bot_ids": "",
    "bot_users": "",
    "lobby": "Channels in which new chats are announced; never read.",
    "bot_without_username": "Author of the app's messages without a name: unknown, visitor or notice.",
    "thread_replies": "Replies in threads: leave-out or keep.",
    "split_on": 'Signs of an end: ["channel_archive"], optionally with a silence such as "gap=6h".',
    "closed_only": "If true, conversations without an end are left out.",
    "workspace_domain": "The part before .slack.com, for links to the archive.",
}


def _toml_lines(proposal: Proposal) -> Iterator[str]:
    yield f"# Proposed for {_commented(proposal.export)}. Check every line; nothing else is read."
    for question in proposal.unclear:
        yield f"# Unclear: {_commented(question)}"
    for name, value in proposal.settings.items():
        if comment := _COMMENTS[name]:
            yield f"\n# {comment}"
        if name == "channels":
            yield from (
                f"#   {_commented(key)} matches {counted(n, 'channel')}"
                for key, n in proposal.patterns.items()
            )
        yield f"{name} = {_toml(value)}"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return orjson.dumps(value).decode()  # JSON strings are valid TOML strings


def _commented(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _listed(items: Iterable[str], separator: str = ", ", most: int = 8) -> str:
    named = list(items)
    more = f" and {len(named) - most:,} more" if len(named) > most else ""
    return separator.join(named[:most]) + more or "none"
