"""Small workspace exports, made for each test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

Json = dict[str, Any]

APP, BOT, BOT_USER = "A0CHAT", "B0CHAT", "U0BOT"
CHANNEL, NAME = "C0ANA", "z-ana-ruiz"
DAY = "2024-03-11"
SETTINGS: Json = {"channels": ["z-*"], "app_ids": [APP]}


def said(ts: str, text: str, user: str = "U1", **more: Any) -> Json:
    """A member's message."""
    return {"type": "message", "user": user, "text": text, "ts": ts, **more}


def by_visitor(ts: str, text: str, username: str = "ana", **more: Any) -> Json:
    """A visitor's message, in the classic form."""
    message = {"type": "message", "subtype": "bot_message", "bot_id": BOT, "username": username}
    return {**message, "text": text, "ts": ts, **more}


def event(ts: str, subtype: str, user: str = BOT_USER, **more: Any) -> Json:
    """A line about the channel."""
    return {
        "type": "message",
        "subtype": subtype,
        "user": user,
        "text": f"<@{user}> {subtype}",
        "ts": ts,
        **more,
    }


def users() -> list[Json]:
    """One agent, and the app's user."""
    bot = {"real_name": "Chatlio", "bot_id": BOT, "api_app_id": APP}
    return [
        {
            "id": "U1",
            "name": "sam",
            "is_bot": False,
            "profile": {"real_name": "Sam Lee", "display_name": "sam"},
        },
        {"id": BOT_USER, "name": "chatlio", "is_bot": True, "profile": bot},
    ]


def channel(id_: str = CHANNEL, name: str = NAME, **more: Any) -> Json:
    """An entry of channels.json, of a channel that the app made."""
    return {"id": id_, "name": name, "created": 1710144000, "creator": BOT_USER, "members": [], **more}


def members_of(
    days: dict[str, Any] | list[Json],
    *,
    channels: Any = None,
    people: Any = None,
    folder: str = NAME,
    **indexes: Any,
) -> dict[str, bytes]:
    """Return the members of an export by path: its indexes, and the days of one channel."""
    by_day = {DAY: days} if isinstance(days, list) else days
    members = {
        "channels.json": [channel()] if channels is None else channels,
        "users.json": users() if people is None else people,
        **{f"{name}.json": value for name, value in indexes.items()},
        **{f"{folder}/{day}.json": lines for day, lines in by_day.items()},
    }
    return {name: _bytes(value) for name, value in members.items()}


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    """Write members into a zip, and return its path."""
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_export(path: Path, days: dict[str, Any] | list[Json], **more: Any) -> Path:
    """Write an export with one channel as a zip, and return its path."""
    return write_zip(path / "export.zip", members_of(days, **more))
