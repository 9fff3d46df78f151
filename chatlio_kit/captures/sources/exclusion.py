"""Exclude files and archive members by patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable

from chatlio_kit.errors import UsageError, option

_SEPARATORS = re.compile(r"[/!]")


class Exclusion:
    """Patterns for files not to read.

    ``*`` and ``?`` match within one name, ``**`` matches any folders. A pattern without a slash matches the
    name of a file, folder or member anywhere; one with a slash matches a path from the argument on, from
    within it, or as it was typed. Everything in an excluded folder or archive is excluded too.

    Args:
        patterns: The patterns.

    Attributes:
        unused: Patterns that have matched nothing so far.

    Raises:
        UsageError: A pattern is empty.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self.patterns = tuple(dict.fromkeys(patterns))
        if any(not pattern.strip("/! ") for pattern in self.patterns):
            raise UsageError(f"{option('exclude')} is empty. Name a file, a folder or a pattern.")
        self._rules = [
            (pattern, _compiled(pattern), _SEPARATORS.search(pattern.strip("/")) is not None)
            for pattern in self.patterns
        ]
        self.unused = set(self.patterns)

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def matches(self, paths: Iterable[str]) -> bool:
        """Return whether a pattern matches one of a file's paths; ``!`` precedes an archive's member."""
        distinct = list(dict.fromkeys(paths))
        matched = {
            pattern
            for pattern, rule, is_path in self._rules
            if any(_is_matched(rule, path, is_path) for path in distinct)
        }
        self.unused -= matched
        return bool(matched)


def _is_matched(rule: re.Pattern[str], path: str, is_path: bool) -> bool:
    if not is_path:
        return any(map(rule.fullmatch, _SEPARATORS.split(path)))
    ends = [*(separator.start() for separator in _SEPARATORS.finditer(path)), len(path)]
    return any(rule.fullmatch(path, 0, end) for end in ends)


def _compiled(pattern: str) -> re.Pattern[str]:
    written = re.sub(r"^(\./)+", "", pattern).rstrip("/")
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[!?[^]]+\])", written)
    return re.compile("".join(map(_translated, parts)))


def _translated(part: str) -> str:
    wild = {"**/": r"(?:[^!]*/)?", "**": ".*", "*": "[^/!]*", "?": "[^/!]"}
    if part in wild:
        return wild[part]
    if part.startswith("[") and part.endswith("]") and len(part) > 2:
        negated = part[1] == "!"
        inside = part[2 if negated else 1 : -1].replace("\\", "\\\\").replace("^", "\\^")
        return f"(?![/!])[{'^' if negated else ''}{inside}]"
    return re.escape(part)
