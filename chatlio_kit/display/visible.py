r"""Strangers' texts made safe to display.

Field names, file names, chat texts and a platform's words come from strangers. A terminal obeys control
characters in them: escape sequences recolour, overwrite, or set the clipboard; controls of writing direction
display another text than the one that is there. Such characters are written as in Python, e.g. ``\x1b``.
"""

from __future__ import annotations

import json
import re
from unicodedata import category

_JOINERS = "\u200c\u200d"  # Persian and emoji need them, and they move nothing
_LONGEST = 40
_IN_JSON = re.compile("[\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")


def visible(text: str, *, keep: str = "") -> str:
    """Return a text with escapes for all characters that are not displayed as themselves.

    Args:
        text: a text of strangers.
        keep: controls that stay, e.g. a line feed if several lines are meant.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character in keep + _JOINERS or category(character) == "Zs"
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def visible_json(text: str) -> str:
    """Return a JSON text with the same content and no character that a terminal obeys."""
    return _IN_JSON.sub(lambda match: json.dumps(match[0])[1:-1], text)


def label(name: object) -> str:
    """Return a name for a plot: in words, visible, and short enough to read."""
    words = visible(str(name)[: _LONGEST * 2]).replace("_", " ")
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"
