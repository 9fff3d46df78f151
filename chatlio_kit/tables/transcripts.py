"""One conversation for reading, with untrusted text escaped."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from chatlio_kit.chatlio.slack_text import decode
from chatlio_kit.display import visible

_SIDES = {
    "visitor": ("flex-start", "#E8EEF2"),
    "agent": ("flex-end", "#D5E8F5"),
    "unknown": ("center", "#EEEEEA"),
}
_PANEL = (
    "background:#FCFCFA;color:#22272B;border:1px solid #E3E6E4;border-radius:8px;padding:14px 16px;"
    "max-width:680px;display:flex;flex-direction:column;gap:8px;font-size:13px;line-height:1.45"
)
_BUBBLE = "border-radius:10px;padding:7px 11px;white-space:pre-wrap;overflow-wrap:anywhere"
_TEXT_COLUMN = 21  # further to the right than any message begins
_QUIET_STYLE = "color:#5C656C;font-size:11.5px"


@dataclass(frozen=True)
class Line:
    """One message.

    Attributes:
        after: Time since the first message, e.g. ``+1:05``.
        author: ``visitor``, ``agent`` or ``unknown``.
        name: The name shown with it.
        text: Its text, decoded from Slack's escapes.
    """

    after: str
    author: str
    name: str
    text: str


@dataclass(frozen=True, repr=False)
class Transcript:
    """A conversation for reading.

    Attributes:
        conversation_id: Its id.
        started_at: Its start, as text.
        facts: Other facts about it, as text.
        lines: Its messages in order; empty if no transcript was read.
    """

    conversation_id: str
    started_at: str
    facts: tuple[str, ...]
    lines: tuple[Line, ...]

    @classmethod
    def of(cls, conversation: pd.Series[Any], messages: pd.DataFrame, time_zone: str = "UTC") -> Transcript:
        """Return the transcript of a conversation.

        Args:
            conversation: Its row in the table ``conversations``.
            messages: Its rows in the table ``messages``, in order.
            time_zone: The zone in which its start is shown.
        """
        agent = _text(conversation["agent_name"])
        facts = [f"answered by {agent}"] if agent else []
        facts += ["reported as unanswered"] if _is_true(conversation["was_unanswered"]) else []
        facts += ["with feedback"] if _is_true(conversation["has_feedback"]) else []
        first = messages["sent_at"].min()
        return cls(
            str(conversation["conversation_id"]),
            f"{conversation['started_at'].tz_convert(time_zone):%d %B %Y, %H:%M} {time_zone}",
            tuple(facts),
            tuple(
                Line(
                    _after(row["sent_at"] - first),
                    row["author"],
                    _text(row["username"]),
                    decode(_text(row["text"])),
                )
                for row in messages.to_dict("records")
            ),
        )

    def __repr__(self) -> str:
        lines = [
            f"{line.after:>8}  {line.author:<7}  {visible(line.name)}: {_indented(line.text)}"
            for line in self.lines
        ]
        return "\n".join([visible(self._heading()), *(lines or ["None of its transcripts were read."])])

    def _repr_html_(self) -> str:
        body = "".join(_bubble(line) for line in self.lines)
        body = body or f'<div style="{_QUIET_STYLE}">None of its transcripts were read.</div>'
        return f'<div style="{_PANEL}"><div style="{_QUIET_STYLE}">{_html(self._heading())}</div>{body}</div>'

    def _heading(self) -> str:
        return " · ".join([self.started_at, *self.facts])


def _bubble(line: Line) -> str:
    side, color = _SIDES[line.author]
    bubble = f"background:{color};{_BUBBLE}"
    byline = f"{_html(line.name or line.author)} · {line.after}"
    return (
        f'<div style="align-self:{side};max-width:80%"><div style="{_QUIET_STYLE}">{byline}</div>'
        f'<div style="{bubble}">{_html(line.text)}</div></div>'
    )


def _html(text: str) -> str:
    return escape(visible(text, keep="\n\t"))


def _indented(text: str) -> str:
    """Indent a message's further lines, so that none looks like another message."""
    return visible(text, keep="\n").replace("\n", "\n" + " " * _TEXT_COLUMN)


def _after(span: pd.Timedelta) -> str:
    minutes, seconds = divmod(int(span.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"+{hours}:{minutes:02}:{seconds:02}" if hours else f"+{minutes}:{seconds:02}"


def _is_true(flag: object) -> bool:
    """Whether a flag is true, and not missing."""
    return flag is not pd.NA and bool(flag)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
