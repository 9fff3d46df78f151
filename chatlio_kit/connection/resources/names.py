"""Names and marks of our objects, which distinguish them from all others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.errors import UsageError

TURNS, FEEDBACK = "turns", "feedback"
"""The parts of a connection for conversation turns, as in ``chatlio/turns``."""

_NAME = re.compile(rf"(?P<base>[A-Za-z0-9][A-Za-z0-9_-]{{0,39}})(?:/(?P<part>{TURNS}|{FEEDBACK}))?")

WEBHOOK_FIELDS: dict[Kind, str] = {
    Kind.TRANSCRIPT: "transcript export",
    Kind.OFFLINE_MESSAGE: "offline message export",
    Kind.CONVERSATION_STARTED: "new conversation starts",
    Kind.UNANSWERED: "visitor waited without an answer",
    Kind.FEEDBACK: "feedback after a chat",
}
"""The field for each kind's URL in Chatlio's widget settings, tab Behavior."""


class Role(StrEnum):
    """The source of a dataflow's records."""

    LIVE = "live"  # Chatlio's webhooks, as they happen
    HISTORY = "history"  # captured webhooks, streamed from files


@dataclass(frozen=True)
class ResourceNames:
    """Names of everything that one connection owns, and the mark that identifies it.

    Titles of schemas and field groups are unique within a tenant. Other names on the platform need not be
    unique, so the mark in the description identifies ours.

    Attributes:
        name: The connection's name; with ``/turns`` or ``/feedback``, its part for conversation turns, which
            has its own schema, datasets and dataflows.

    Raises:
        UsageError: The name contains characters other than letters, digits, ``-`` and ``_``.
    """

    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"A connection's name has up to 40 letters, digits, '-' and '_', but {self.name!r} does not. "
                "Choose another name."
            )

    @property
    def mark(self) -> str:
        """The string that identifies our objects."""
        return f"chatlio-kit:{self.base}"

    @property
    def base(self) -> str:
        """The name without the part."""
        return self.name.partition("/")[0]

    @property
    def part(self) -> str:
        """The part for conversation turns, ``turns`` or ``feedback``; empty for events."""
        return self.name.partition("/")[2]

    @property
    def label(self) -> str:
        """The beginning of every name, with the word chatlio once."""
        label = self.base if self.base.startswith("chatlio") else f"{self.base} chatlio"
        return f"{label} {TURNS}" if self.part else label

    @property
    def dataset(self) -> str:
        """The name of the dataset."""
        return self.shared(f"{FEEDBACK} dataset" if self.part == FEEDBACK else "dataset")

    def owns(self, description: object) -> bool:
        """Return whether a description contains our mark, and not the mark of a longer name."""
        return bool(re.search(rf"(?<![\w:-]){re.escape(self.mark)}(?![\w-])", str(description or "")))

    def describe(self, sentence: str) -> str:
        """Return a description with the mark."""
        return f"{sentence} {self.mark}"

    def shared(self, thing: str) -> str:
        """Return the name of an object that all dataflows share."""
        return f"{self.label} {thing}"

    def own(self, thing: str, role: Role, kind: Kind) -> str:
        """Return the name of an object of one dataflow."""
        return f"{self.label} {role} {in_words(kind)} {thing}"


def in_words(kind: Kind) -> str:
    """Return a kind in words."""
    return kind.replace("_", " ")
