r"""Make untrusted text safe to display.

Field names, file names, chat text and the platform's messages are untrusted. A terminal obeys control
characters in them: escape sequences change colours, overwrite text or set the clipboard, and bidirectional
controls reorder it. Such characters are escaped as in Python, e.g. ``\x1b``.
"""

from __future__ import annotations

import json
import re
from unicodedata import category

_JOINERS = "\u200c\u200d"  # Persian and emoji need them, and they do not reorder text
_LONGEST = 48
_IN_JSON = re.compile("[\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")


def visible(text: str, *, keep: str = "") -> str:
    """Return a string with escapes for all characters that are not displayed unchanged.

    Args:
        text: Untrusted text.
        keep: Control characters to keep, e.g. a line feed in multi-line text.
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
    """Return equivalent JSON without characters that a terminal obeys."""
    return _IN_JSON.sub(lambda match: json.dumps(match[0])[1:-1], text)


def label(name: object) -> str:
    """Return a label for a plot: words instead of underscores, escaped and shortened."""
    words = visible(str(name)[: _LONGEST * 2]).replace("_", " ")
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"
