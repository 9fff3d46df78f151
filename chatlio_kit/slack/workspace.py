"""A workspace's channels, users and apps."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from unicodedata import normalize

from chatlio_kit.counting import counted
from chatlio_kit.errors import CaptureError
from chatlio_kit.slack.files import CHANNELS, GROUPS, USERS, ExportFiles
from chatlio_kit.slack.json_files import read_index

SLACKBOT = "USLACKBOT"
_OLDEST = 1_356_998_400  # 2013: earlier creation times are placeholders
_PRIVATE_TALK = re.compile(r"D[A-Z0-9]+|mpdm-.*|FC[:_].*|__uploads|attachments")


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel in the export's index.

    Attributes:
        id: ``C...``, or ``G...`` for older private channels.
        name: Its current name.
        created: Creation time in seconds since 1970; None if unknown.
        creator: The user that created it.
        members: Its users; empty if it is archived.
        is_public: True if everyone in the workspace may see it.
    """

    id: str
    name: str
    created: int | None
    creator: str | None
    members: tuple[str, ...]
    is_public: bool


@dataclass(frozen=True, slots=True)
class User:
    """A person or bot, reduced to what is needed.

    Attributes:
        id: ``U...`` or ``W...``.
        full_name: The name of an agent.
        names: All names, in lower case.
        email: E-mail address, which most exports lack.
        is_bot: True if it is an app.
        bot_id: The bot's id, if it is one.
        app_id: The app's id, if it is one.
    """

    id: str
    full_name: str
    names: frozenset[str]
    email: str | None
    is_bot: bool
    bot_id: str | None
    app_id: str | None


class Workspace:
    """The indexes of an export.

    Args:
        files: The export.

    Attributes:
        channels: Public and private channels, without direct messages.
        users: Users by id.
        notes: Sentences about irregular indexes.
    """

    def __init__(self, files: ExportFiles) -> None:
        self.files = files
        self.notes = list(files.notes)
        self.channels: list[Channel] = []
        for name, is_public in ((CHANNELS, True), (GROUPS, False)):
            if files.has(name):
                self._add_channels(name, is_public=is_public)
        if not files.has(CHANNELS):
            self.notes.append(f"{files.name} has no {CHANNELS}, so only private channels are known")
        self.users: dict[str, User] = {}
        for name in (USERS, "org_users.json"):
            for entry in self._entries(name):
                if (user := _user(entry)) is not None:
                    self.users.setdefault(user.id, user)
        if files.has_workspaces:
            self.notes.append(
                f"{files.name} holds several workspaces; those under teams/ are not read. Unpack it and name "
                "one of these folders"
            )

    def _add_channels(self, name: str, *, is_public: bool) -> None:
        entries = self._entries(name)
        if not entries and name == CHANNELS:
            self.notes.append(f"{self.files.name}!{name} lists no channels")
        broken = 0
        known = {channel.id for channel in self.channels}
        for entry in entries:
            channel = _channel(entry, is_public=is_public)
            if channel is None:
                broken += not _is_talk(entry)
            elif channel.id not in known:
                known.add(channel.id)
                self.channels.append(channel)
        if broken:
            self.notes.append(f"{broken:,} entries of {self.files.name}!{name} lack an id or a name")

    def _entries(self, name: str) -> list[dict[str, Any]]:
        """Return an index's objects; null and a missing file count as an empty index."""
        if not self.files.has(name):
            return []
        try:
            entries = read_index(self.files.index(name))
        except ValueError:
            raise CaptureError(
                f"{self.files.name}!{name} is not JSON. Get a complete copy of the export."
            ) from None
        if entries is None:
            return []
        if not isinstance(entries, list):
            raise CaptureError(f"{self.files.name}!{name} is not a list. Get a complete copy of the export.")
        return [entry for entry in entries if isinstance(entry, dict)]

    @cached_property
    def apps(self) -> dict[str, str]:
        """The names of apps by id, from the integration log and the users."""
        apps: dict[str, str] = {}
        for entry in self._entries("integration_logs.json"):
            for kind in ("app", "service"):
                id_, name = _id(entry, f"{kind}_id"), _text(entry, f"{kind}_type")
                if id_ and name:
                    apps[id_] = name
        for user in self.users.values():
            if user.app_id:
                apps.setdefault(user.app_id, user.full_name)
        return apps

    @cached_property
    def channel_names(self) -> dict[str, str]:
        """The names of public channels by id."""
        return {channel.id: channel.name for channel in self.channels if channel.is_public}

    def folders_of(self, channels: Iterable[Channel]) -> Iterator[tuple[Channel, str | None]]:
        """Yield each channel with its folder: by its name, or else by its id, or else by its normalised name.

        A folder that two entries claim belongs to neither, and a note says so.
        """
        names = Counter(channel.name for channel in self.channels)
        matches = [(channel, self._folder_of(channel, names)) for channel in channels]
        claims = Counter(folder for _, folder in matches if folder is not None)
        shared = 0
        for channel, folder in matches:
            if (names[channel.name] > 1 and folder == channel.name) or (folder and claims[folder] > 1):
                shared += 1
                yield channel, None
            else:
                yield channel, folder
        if shared:
            self.notes.append(
                f"{counted(shared, 'channel was', 'channels were')} not read, because another entry of the "
                "index has the same folder and it is unknown whose messages it holds"
            )

    def _folder_of(self, channel: Channel, names: Counter[str]) -> str | None:
        folders = self.files.folders
        for candidate in (channel.name, channel.id):
            if candidate in folders:
                return candidate
        for form in ("NFC", "NFKC"):
            found = self._normalised(form).get(normalize(form, channel.name), [])
            free = [folder for folder in found if folder not in names]
            if len(free) == 1:
                return free[0]
        return None

    def _normalised(self, form: Any) -> dict[str, list[str]]:
        if form not in self._by_form:
            by_name: defaultdict[str, list[str]] = defaultdict(list)
            for folder in self.files.folders:
                by_name[normalize(form, folder)].append(folder)
            self._by_form[form] = by_name
        return self._by_form[form]

    @cached_property
    def _by_form(self) -> dict[str, dict[str, list[str]]]:
        return {}

    def folders_without_entry(self) -> int:
        """Return the number of folders that no channel owns, without direct messages."""
        names = {channel.name for channel in self.channels} | {channel.id for channel in self.channels}
        forms = {normalize(form, name) for name in names for form in ("NFC", "NFKC")} if names else set()
        return sum(
            folder not in names
            and normalize("NFC", folder) not in forms
            and normalize("NFKC", folder) not in forms
            and not _PRIVATE_TALK.fullmatch(folder)
            and bool(self.files.days(folder))
            for folder in self.files.folders
        )


def _channel(entry: dict[str, Any], *, is_public: bool) -> Channel | None:
    id_, name = _id(entry, "id"), _text(entry, "name")
    if not id_ or not name or _is_talk(entry):
        return None
    members = entry.get("members")
    return Channel(
        id_,
        name,
        _seconds(entry.get("created")),
        _id(entry, "creator"),
        tuple(member for member in members if isinstance(member, str)) if isinstance(members, list) else (),
        is_public,
    )


def _is_talk(entry: dict[str, Any]) -> bool:
    """Return whether an entry is a direct message."""
    return bool(entry.get("is_im") or entry.get("is_mpim") or str(entry.get("name", "")).startswith("mpdm-"))


def _user(entry: dict[str, Any]) -> User | None:
    id_ = _id(entry, "id")
    if not id_:
        return None
    profile = entry.get("profile")
    profile = profile if isinstance(profile, dict) else {}
    written = [
        _text(profile, "real_name") or _text(entry, "real_name"),
        _text(profile, "display_name"),
        _text(entry, "name"),
    ]
    names = [name for name in written if name]
    return User(
        id_,
        names[0] if names else id_,
        frozenset(name.lower() for name in names),
        _text(profile, "email"),
        bool(entry.get("is_bot") or entry.get("is_app_user") or id_ == SLACKBOT),
        _id(profile, "bot_id"),
        _id(profile, "api_app_id"),
    )


def _seconds(value: object) -> int | None:
    """Return seconds since 1970, which were written as strings until 2018."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= _OLDEST else None


def _text(entry: dict[str, Any], key: str) -> str | None:
    value = entry.get(key)
    return value.strip() or None if isinstance(value, str) else None


_id = _text
