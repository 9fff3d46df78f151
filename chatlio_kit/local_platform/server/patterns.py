"""Untrusted regular expressions, matched in linear time.

RE2 has no back-references or lookaround. Expressions that need them are refused, because a short string can
keep any matcher that supports them busy for years.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

LONGEST_PATTERN = 1_000
_MEMORY = 8 << 20


class WrongPattern(ValueError):
    """An error for a regular expression that is invalid or cannot be matched in linear time."""


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Any:
    """Compile a regular expression in RE2's syntax; the result works like a pattern of ``re``.

    Raises:
        WrongPattern: It is too long, invalid, or needs more than linear time.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise WrongPattern(f"it has {len(pattern)} characters, more than {LONGEST_PATTERN}")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "it cannot be compiled"
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise WrongPattern(text) from None
