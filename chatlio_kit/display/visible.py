r"""Strangers' text made safe to look at: nothing in it moves the cursor, forges a line or reorders others.

Field names, file names, chat texts and a platform's words come from strangers. A terminal obeys what is in
them: escape sequences recolour, overwrite, or set the clipboard; controls of writing direction show a text
other than the one that is there. Such characters are shown as Python writes them, e.g. ``\x1b``.
"""

from __future__ import annotations

import json
import re
from unicodedata import category

_JOINERS = "\u200c\u200d"  # Persian and emoji need them, and they move nothing
_LONGEST = 40
_IN_JSON = re.compile("[\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")


def visible(text: str, *, keep: str = "") -> str:
    """Return a text in which every character that is not shown as itself is written as an escape.

    Args:
        text: a text of strangers.
        keep: controls that stay, e.g. a line feed where lines are meant.
    """
    if text.isprintable():
        return text
    return "".join(
        each
        if each.isprintable() or each in keep or each in _JOINERS or category(each) == "Zs"
        else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def visible_json(text: str) -> str:
    """Return a JSON text with the same content that a terminal shows as it is written."""
    return _IN_JSON.sub(lambda found: json.dumps(found[0])[1:-1], text)


def label(name: object) -> str:
    """Return a name for a plot: in words, visible, and short enough to be read."""
    words = visible(str(name)[: _LONGEST * 2]).replace("_", " ")
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"
