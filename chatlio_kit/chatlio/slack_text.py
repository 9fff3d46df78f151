"""Decode Slack's message format for people.

Slack escapes ``&``, ``<`` and ``>``, and writes mentions, channels and links in angle brackets. Emoji names
and marks such as ``*bold*`` are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

_TOKEN = re.compile(r"<([^<>\n]+)>")
_ENTITIES = (
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&amp;", "&"),
)  # in this order, because a typed "&lt;" is stored as "&amp;lt;"
_BROADCASTS = ("here", "channel", "everyone")


def decode(text: str) -> str:
    """Return a message's text as its author saw it.

    >>> decode("<@U1|sam>: 3 &lt; 4, see <https://a.example|the page>")
    '@sam: 3 < 4, see the page (https://a.example)'
    """
    return decode_with_names(text, {}, {})


def decode_with_names(text: str, users: Mapping[str, str], channels: Mapping[str, str]) -> str:
    """Return the same, with the names of known users and channels in place of their ids."""
    if "<" in text:
        text = _TOKEN.sub(partial(_words, users, channels), text)
    if "&" in text:
        for entity, character in _ENTITIES:
            text = text.replace(entity, character)
    return text


def decode_all(texts: pd.Series[Any]) -> pd.Series[Any]:
    """Return strings decoded; missing ones stay missing."""
    is_coded = texts.str.contains("[<&]", regex=True, na=False)
    return texts.where(~is_coded, texts[is_coded].map(decode).astype(texts.dtype).reindex(texts.index))


def _words(users: Mapping[str, str], channels: Mapping[str, str], token: re.Match[str]) -> str:
    target, bar, label = token[1].partition("|")
    sign, name = target[:1], target[1:]
    if sign == "@":
        return f"@{users.get(name) or label.removeprefix('@') or name}"
    if sign == "#":
        return f"#{label.removeprefix('#') or channels.get(name) or name}"
    if sign == "!":
        if name in _BROADCASTS:
            return f"@{name}"
        return label if bar and "^" in name else token[0]
    if target.startswith(("https://", "http://")):
        if not label:
            return target
        is_address = label.rstrip("/") in (target.rstrip("/"), target.partition("://")[2].rstrip("/"))
        return label if is_address else f"{label} ({target})"
    if target.startswith(("mailto:", "tel:")):
        return label or target.partition(":")[2]
    return token[0]
