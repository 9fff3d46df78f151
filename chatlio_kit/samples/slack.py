# ruff: noqa: S311 - a sample has to be repeatable, nothing here is a secret
"""A workspace export of the same chats, in Slack's format.

No public export shows how Chatlio's app writes, so the sample uses all three forms of bot messages that Slack
documents: with a bot's id, without one, and as a user that is a bot. The app's notices have no visitor name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import orjson

from .clock import HOUR, SECOND, day_of, pacific_offset, slack_ts
from .people import WIDGETS, Agent, Visitor

APP_ID, BOT_ID, BOT_USER = "A0CHATLIO1", "B0CHATLIO1", "U0CHATLIO1"
_ADMIN, _MUSIC_BOT = "U0ADMIN001", "B0MUSIC001"
_GENERAL = "C0GENERAL1"
_CLASSIC, _NAMELESS, _TODAY = range(3)
_BEGINNING = 1_672_531_200  # 2023-01-01

Json = dict[str, Any]


class Said(NamedTuple):
    """One message of a chat: its ts, its text, and the agent who wrote it; the visitor if there is none."""

    ts: str
    text: str
    agent: Agent | None


class SlackWorkspace:
    """The channels of a workspace while chats happen in them.

    Args:
        seed: The same seed gives the same bytes.
    """

    def __init__(self, seed: int) -> None:
        self._rng = Random(f"chatlio sample {seed}: slack")
        self._lines: defaultdict[str, list[tuple[str, bytes]]] = defaultdict(list)
        self._channels: dict[str, Json] = {}
        self._names: set[str] = {"general"}

    def add_chat(self, visitor: Visitor, said: Sequence[Said], started: int, ended: int) -> None:
        """Add a chat to its visitor's channel, which is created or reopened before it and archived after it.

        Args:
            visitor: The visitor.
            said: The messages, in order.
            started: Time of the first message, in microseconds.
            ended: Time at which the channel is archived.
        """
        rng, channel_id = self._rng, visitor.channel_id
        form = rng.randrange(3)
        opened = started - 2 * SECOND
        if channel_id not in self._channels:
            self._make(visitor, opened)
            self._event(channel_id, opened, "channel_join", BOT_USER, f"<@{BOT_USER}> has joined the channel")
        else:
            text = f"<@{BOT_USER}> un-archived the channel"
            self._event(channel_id, opened, "channel_unarchive", BOT_USER, text)
        card = {"type": "section", "text": {"type": "mrkdwn", "text": f"*{visitor.location}*"}}
        self._bot(channel_id, slack_ts(opened + SECOND // 2), "", form, blocks=[card])
        agents: list[str] = []
        for message in said:
            if message.agent is None:
                self._bot(channel_id, message.ts, _escaped(message.text), form, username=visitor.nickname)
                continue
            agent = message.agent.user_id
            if agent not in agents:
                agents.append(agent)
                at = _micros(message.ts) - 400_000
                self._event(channel_id, at, "channel_join", agent, f"<@{agent}> has joined the channel")
            self._agent(channel_id, message, visitor.widget.team_id)
        if agents and rng.random() < 0.1:
            self._thread_note(channel_id, said[-1].ts, agents[0])
        if rng.random() < 0.05:
            line = {
                "subtype": "bot_message",
                "bot_id": _MUSIC_BOT,
                "username": "radio",
                "text": "Now playing",
            }
            self._add(channel_id, slack_ts(ended - 300_000), line)
        self._bot(channel_id, slack_ts(ended - 200_000), "The chat has ended.", form)
        text = f"<@{BOT_USER}> archived the channel (w/ {len(agents) + 1} members)"
        self._event(channel_id, ended, "channel_archive", BOT_USER, text)

    def write(self, path: Path) -> None:
        """Write the export as a zip, uncompressed, so that its bytes are the same everywhere."""
        for widget in WIDGETS:
            self._channels.setdefault(widget.lobby_id, _channel(widget.lobby_id, widget.lobby_name))
        self._channels[_GENERAL] = {**_channel(_GENERAL, "general"), "is_general": True}
        hello = {"user": _ADMIN, "text": "Lunch is at noon :pizza:", "team": WIDGETS[0].team_id}
        self._add(_GENERAL, slack_ts((_BEGINNING + 90_000) * SECOND), hello)
        with ZipFile(path, "w", ZIP_STORED) as archive:
            _write(archive, "channels.json", list(self._channels.values()))
            _write(archive, "users.json", _users())
            log = {"user_id": _ADMIN, "user_name": "robin", "date": str(_BEGINNING), "change_type": "added"}
            _write(archive, "integration_logs.json", [{**log, "app_type": "Chatlio", "app_id": APP_ID}])
            for channel_id in sorted(self._lines):
                days: defaultdict[str, list[bytes]] = defaultdict(list)
                for ts, line in sorted(self._lines[channel_id]):
                    at = _micros(ts)
                    days[day_of(at + pacific_offset(at) * HOUR)].append(line)
                for day, lines in sorted(days.items()):
                    name = f"{self._channels[channel_id]['name']}/{day}.json"
                    _store(archive, name, b"[\n    " + b",\n    ".join(lines) + b"\n]")

    def _make(self, visitor: Visitor, at: int) -> None:
        name = base = f"z-{visitor.screen_name}"
        number = 1
        while name in self._names:
            number += 1
            name = f"{base}-{number}"
        self._names.add(name)
        channel = _channel(visitor.channel_id, name) | {"created": at // SECOND, "creator": BOT_USER}
        self._channels[visitor.channel_id] = {**channel, "is_archived": True, "members": []}
        widget = visitor.widget
        lobby = self._channels.setdefault(widget.lobby_id, _channel(widget.lobby_id, widget.lobby_name))
        if BOT_USER not in lobby["members"]:
            lobby["members"].append(BOT_USER)
        text = f"{visitor.screen_name} wants to chat: <#{visitor.channel_id}|{name}>"
        self._bot(widget.lobby_id, slack_ts(at), text, _CLASSIC)

    def _bot(
        self,
        channel_id: str,
        ts: str,
        text: str,
        form: int,
        *,
        username: str = "",
        blocks: list[Json] | None = None,
    ) -> None:
        """Add a message of the app in one of a bot's forms."""
        line: Json = {"text": text}
        if form == _TODAY:
            profile = {"id": BOT_ID, "app_id": APP_ID, "name": "Chatlio", "deleted": False}
            line |= {"user": BOT_USER, "bot_id": BOT_ID, "app_id": APP_ID, "bot_profile": profile}
        else:
            line["subtype"] = "bot_message"
            if form == _CLASSIC:
                line["bot_id"] = BOT_ID
        if username:
            line["username"] = username
        if blocks is not None:
            line["blocks"] = blocks
        self._add(channel_id, ts, line)

    def _agent(self, channel_id: str, message: Said, team: str) -> None:
        user = message.agent.user_id if message.agent else ""
        line: Json = {"user": user, "text": _escaped_beside_links(message.text), "team": team}
        if self._rng.random() < 0.02:
            line["edited"] = {"user": line["user"], "ts": f"{_micros(message.ts) // SECOND + 9}.000000"}
        self._add(channel_id, message.ts, line)

    def _thread_note(self, channel_id: str, head: str, agent: str) -> None:
        line = {"user": agent, "text": "Note to self: refund is on its way", "thread_ts": head}
        self._add(channel_id, slack_ts(_micros(head) + 150_000), line)

    def _event(self, channel_id: str, at: int, subtype: str, user: str, text: str) -> None:
        self._add(channel_id, slack_ts(at), {"subtype": subtype, "user": user, "text": text})

    def _add(self, channel_id: str, ts: str, line: Json) -> None:
        written = orjson.dumps({"type": "message", **line, "ts": ts})
        self._lines[channel_id].append((ts, written.replace(b"/", b"\\/")))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _escaped_beside_links(text: str) -> str:
    """Escape an agent's text, except links, which Slack creates from URLs."""
    return text.replace("&", "&amp;")


def _micros(ts: str) -> int:
    seconds, _, part = ts.partition(".")
    return int(seconds) * SECOND + int(part)


def _channel(channel_id: str, name: str) -> Json:
    return {
        "id": channel_id,
        "name": name,
        "created": _BEGINNING,
        "creator": _ADMIN,
        "is_archived": False,
        "is_general": False,
        "members": [_ADMIN],
        "topic": {"value": "", "creator": "", "last_set": 0},
        "purpose": {"value": "", "creator": "", "last_set": 0},
    }


def _users() -> list[Json]:
    agents = {agent.user_id: agent for widget in WIDGETS for agent in widget.agents}
    people = [(agent.user_id, agent.name) for agent in agents.values()] + [(_ADMIN, "Robin Park")]
    users: list[Json] = [
        {
            "id": id_,
            "name": name.lower().split(" ")[0],
            "deleted": False,
            "is_bot": False,
            "profile": {"real_name": name, "display_name": name.split(" ")[0]},
        }
        for id_, name in people
    ]
    bot = {"real_name": "Chatlio", "display_name": "", "bot_id": BOT_ID, "api_app_id": APP_ID}
    return [*users, {"id": BOT_USER, "name": "chatlio", "deleted": False, "is_bot": True, "profile": bot}]


def _write(archive: ZipFile, name: str, entries: list[Json]) -> None:
    _store(archive, name, orjson.dumps(entries, option=orjson.OPT_INDENT_2))


def _store(archive: ZipFile, name: str, content: bytes) -> None:
    archive.writestr(ZipInfo(name), content)
