"""Settings for reading a workspace export, as confirmed by the user in Python or in a TOML file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from chatlio_kit.errors import MissingPath, UsageError, in_words

ARCHIVE = "channel_archive"
WITHOUT_USERNAME = ("unknown", "visitor", "notice")
THREAD_REPLIES = ("leave-out", "keep")
_GAP = re.compile(r"gap=([1-9]\d{0,3})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_LISTS = ("channels", "app_ids", "bot_ids", "bot_users", "lobby", "split_on")
_DOMAIN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True)
class SlackSettings:
    """Settings for reading a workspace export.

    Attributes:
        channels: The channels that are chats: globs such as ``z-*`` or ``/regular expressions/`` for their
            names, or ids.
        app_ids: Ids of the app that writes visitors' messages (``A...``).
        bot_ids: Ids of its bot (``B...``).
        bot_users: Ids of its user (``U...``); the channels that it created are chats.
        lobby: Names or ids of channels where chats are announced; never read.
        bot_without_username: Author of the app's messages without a name: ``unknown``, ``visitor``, or no one
            (``notice``, left out).
        thread_replies: Treatment of replies in threads: ``leave-out`` or ``keep``.
        split_on: The end of a conversation: ``channel_archive``, and optionally a silence such as ``gap=6h``.
        closed_only: True if conversations without an end are left out.
        workspace_domain: The part of Slack's URL before ``.slack.com``, for links to the archive.
    """

    channels: tuple[str, ...]
    app_ids: tuple[str, ...] = ()
    bot_ids: tuple[str, ...] = ()
    bot_users: tuple[str, ...] = ()
    lobby: tuple[str, ...] = ()
    bot_without_username: str = "unknown"
    thread_replies: str = "leave-out"
    split_on: tuple[str, ...] = (ARCHIVE,)
    closed_only: bool = False
    workspace_domain: str = ""

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str = "") -> SlackSettings:
        """Check settings by name.

        Args:
            values: The settings.
            where: The file that holds them, if any.

        Raises:
            UsageError: A setting is unknown, missing, or has an invalid value.
        """
        place = f"{where}: " if where else ""
        names = [field.name for field in fields(cls)]
        if unknown := [key for key in values if key not in names]:
            listed = ", ".join(map(repr, unknown))
            raise UsageError(
                f"{place}{listed} is not a setting for Slack exports. The settings are {', '.join(names)}."
            )
        checked: dict[str, Any] = {}
        for name, value in values.items():
            checked[name] = _texts(name, value, place) if name in _LISTS else value
        _check(checked, place)
        return cls(**checked)

    @classmethod
    def from_file(cls, path: Path) -> SlackSettings:
        """Read settings from a TOML file.

        Raises:
            MissingPath: There is no such file.
            UsageError: It is not TOML, or a setting is invalid.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise MissingPath(
                f"There is no settings file {str(path)!r}. "
                + in_words(
                    f"`chatlio-kit slack inspect EXPORT --write {path.name}` proposes one.",
                    "inspect_slack(path, write=...) proposes one.",
                )
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            words = {UnicodeDecodeError: "it is not UTF-8", IsADirectoryError: "it is a folder"}
            reason = words.get(type(error), str(error))
            raise UsageError(f"{str(path)!r} cannot be read as TOML: {reason}. Correct it.") from None
        return cls.of(values, path.name)

    @property
    def gap(self) -> int | None:
        """The silence that ends a conversation, in microseconds."""
        for word in self.split_on:
            if parts := _GAP.fullmatch(word):
                length = timedelta(**{_UNITS[parts[2]]: int(parts[1])})
                return length // timedelta(microseconds=1)
        return None

    def matches(self, channel_id: str, name: str) -> bool:
        """Return whether a channel may be a chat, by its name."""
        if channel_id in self.lobby or name in self.lobby:
            return False
        return any(_matches(pattern, channel_id, name) for pattern in self.channels)


def _matches(pattern: str, channel_id: str, name: str) -> bool:
    if len(pattern) > 1 and pattern.startswith("/") and pattern.endswith("/"):
        return re.search(pattern[1:-1], name) is not None
    return pattern == channel_id or fnmatchcase(name, pattern.removeprefix("#"))


def _texts(name: str, value: object, place: str) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value
    if (
        not isinstance(listed, Sequence)
        or isinstance(listed, bytes)
        or not all(isinstance(text, str) and text for text in listed)
    ):
        raise UsageError(f"{place}{name} is a list of strings.")
    return tuple(listed)


def _check(values: Mapping[str, Any], place: str) -> None:
    if not values.get("channels"):
        raise UsageError(f"{place}channels is empty. Name channels with a pattern such as z-*.")
    if not any(values.get(name) for name in ("app_ids", "bot_ids", "bot_users")):
        raise UsageError(
            f"{place}the app that writes visitors' messages is not named: set app_ids, bot_ids or bot_users. "
            + in_words("`chatlio-kit slack inspect` proposes them.", "inspect_slack() proposes them.")
        )
    for pattern in values["channels"]:
        if len(pattern) > 1 and pattern.startswith("/") and pattern.endswith("/"):
            try:
                re.compile(pattern[1:-1])
            except re.error as error:
                raise UsageError(
                    f"{place}channels: {pattern} is not a regular expression: {error}."
                ) from None
    for name, choices in (
        ("bot_without_username", WITHOUT_USERNAME),
        ("thread_replies", THREAD_REPLIES),
    ):
        if values.get(name, choices[0]) not in choices:
            raise UsageError(f"{place}{name} is one of {', '.join(choices)}.")
    words = values.get("split_on", (ARCHIVE,))
    gaps = sum(_GAP.fullmatch(word) is not None for word in words)
    if ARCHIVE not in words or gaps > 1 or gaps + 1 != len(set(words)):
        raise UsageError(f'{place}split_on is ["{ARCHIVE}"], optionally with a silence such as "gap=6h".')
    if not isinstance(values.get("closed_only", False), bool):
        raise UsageError(f"{place}closed_only is true or false.")
    domain = values.get("workspace_domain", "")
    if not isinstance(domain, str) or (domain and not _DOMAIN.fullmatch(domain)):
        raise UsageError(f"{place}workspace_domain is the part before .slack.com, such as acme.")
