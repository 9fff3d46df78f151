"""The text of a message as displayed in Slack.

Slack escapes ``text`` (:mod:`chatlio_kit.chatlio.slack_text`), but not the strings within ``rich_text``
blocks.

Source: Slack's documentation, formatting message text; text of public exports.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from chatlio_kit.chatlio.slack_text import decode_with_names

_SECRET = re.compile(r"(?:[?&]t=)?xox[a-z]-[A-Za-z0-9%_-]+")
_DEEPEST = 12


class Renderer:
    """A renderer of text as displayed in Slack.

    Args:
        users: User names by id.
        channels: Names of public channels by id.
    """

    def __init__(self, users: Mapping[str, str], channels: Mapping[str, str]) -> None:
        self._users, self._channels = users, channels

    def text_of(self, message: Mapping[str, Any]) -> tuple[str, str]:
        """Return a message's text as displayed in Slack, and as in the export.

        If ``text`` is empty, blocks are read, or else attachments; never both ``text`` and these, because
        they repeat each other.
        """
        text = message.get("text")
        if isinstance(text, str) and text:
            raw = without_secrets(text)
            return self.rendered(raw), raw
        found = [part for part in self._blocks(message.get("blocks"), 0) if part]
        if not found:
            found = [part for part in self._attachments(message.get("attachments")) if part]
        joined = without_secrets("\n".join(found))
        return joined, joined

    def rendered(self, text: str) -> str:
        """Return a string with its tokens and entities replaced."""
        return decode_with_names(text, self._users, self._channels)

    def _blocks(self, blocks: object, depth: int) -> Iterator[str]:
        """Yield the text of blocks; anything in an undocumented format is left out."""
        for block in blocks if isinstance(blocks, list) and depth < _DEEPEST else ():
            if not isinstance(block, dict):
                continue
            kind = block.get("type")
            if kind == "rich_text":
                for element in _listed(block.get("elements")):
                    yield "".join(self._rich(element, depth + 1))
            elif kind in ("section", "header", "context"):
                for item in [
                    block.get("text"),
                    *_listed(block.get("fields")),
                    *_listed(block.get("elements")),
                ]:
                    yield self._text_object(item)

    def _rich(self, element: object, depth: int) -> Iterator[str]:
        if not isinstance(element, dict) or depth > _DEEPEST:
            return
        kind = element.get("type")
        if kind == "text":
            yield _string(element.get("text"))
        elif kind == "link":
            url, text = _string(element.get("url")), _string(element.get("text"))
            yield f"{text} ({url})" if text and text != url else url
        elif kind == "user":
            name = _string(element.get("user_id"))
            yield f"@{self._users.get(name, name)}"
        elif kind == "channel":
            name = _string(element.get("channel_id"))
            yield f"#{self._channels.get(name, name)}"
        elif kind == "emoji":
            yield f":{_string(element.get('name'))}:"
        elif kind == "broadcast":
            yield f"@{_string(element.get('range'))}"
        else:
            inner = ["".join(self._rich(child, depth + 1)) for child in _listed(element.get("elements"))]
            yield ("\n" if kind == "rich_text_list" else "").join(inner)

    def _text_object(self, item: object) -> str:
        if isinstance(item, str):
            return self.rendered(item)
        text = _string(item.get("text")) if isinstance(item, dict) else ""
        return self.rendered(text)

    def _attachments(self, attachments: object) -> Iterator[str]:
        for attachment in _listed(attachments):
            if isinstance(attachment, dict):
                text = _string(attachment.get("text")) or _string(attachment.get("fallback"))
                yield self.rendered(text)


def without_secrets(text: str) -> str:
    """Return a string without Slack tokens, such as those that open a file's URL."""
    return _SECRET.sub("", text) if "xox" in text else text


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
