"""A sentence in a box: a verdict, or the reason for stopping."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from chatlio_kit.display.palette import INK, LINE, PANEL
from chatlio_kit.display.visible import visible


@dataclass(frozen=True, repr=False)
class Notice:
    """A word and a sentence, in a terminal and in a notebook.

    Attributes:
        word: Its type, e.g. ``Right``.
        sentence: Its text.
        color: Edge colour.
    """

    word: str
    sentence: str
    color: str

    def __repr__(self) -> str:
        return visible(f"{self.word}. {self.sentence}", keep="\n")

    def _repr_html_(self) -> str:
        style = (
            f"background:{PANEL};color:{INK};border:1px solid {LINE};border-left:4px solid {self.color};"
            "border-radius:4px;padding:.6em .9em;max-width:52em;white-space:pre-line"
        )
        text = f"<b>{escape(visible(self.word))}.</b> {escape(visible(self.sentence, keep=chr(10)))}"
        return f'<div style="{style}">{text}</div>'
