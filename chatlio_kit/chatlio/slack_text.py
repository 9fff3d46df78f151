"""Slack's way of writing messages, decoded for people.

Slack escapes ``&``, ``<`` and ``>``, and writes mentions, channels and links between angle brackets. Emoji
names and marks such as ``*bold*`` stay as they are.
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

_TOKEN = re.compile(r"<([^<>]+)>")
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))  # in this order: a typed "&lt;" is "&amp;lt;"
_BROADCASTS = ("here", "channel", "everyone")


def decode(text: str) -> str:
    """Return a message's text as its writer saw it.

    >>> decode("<@U1|sam>: 3 &lt; 4, see <https://a.example|the page>")
    '@sam: 3 < 4, see the page (https://a.example)'
    """
    if "<" in text:
        text = _TOKEN.sub(_words, text)
    if "&" in text:
        for entity, character in _ENTITIES:
            text = text.replace(entity, character)
    return text


def decode_all(texts: pd.Series[Any]) -> pd.Series[Any]:
    """Return texts decoded; those that are missing stay so."""
    is_coded = texts.str.contains("[<&]", regex=True, na=False)
    return texts.where(~is_coded, texts[is_coded].map(decode).astype(texts.dtype).reindex(texts.index))


def _words(token: re.Match[str]) -> str:
    target, bar, label = token[1].partition("|")
    sign, name = target[:1], target[1:]
    if sign in "@#":
        return f"{sign}{label.removeprefix(sign) or name}"
    if sign == "!":
        if name in _BROADCASTS:
            return f"@{name}"
        return label if bar and "^" in name else token[0]
    if target.startswith(("https://", "http://")):
        return f"{label} ({target})" if label and label != target else target
    if target.startswith(("mailto:", "tel:")):
        return label or target.partition(":")[2]
    return token[0]
