"""Regular expressions of strangers, matched in linear time.

RE2 has no back-references and no lookaround. Expressions that need them are refused, because any matcher that
offers them can be kept busy for years by a short text.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

LONGEST_PATTERN = 1_000
_MEMORY = 8 << 20


class WrongPattern(ValueError):
    """A regular expression that is none, or that cannot be matched in linear time."""


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Any:
    """Compile a regular expression in RE2's syntax; the result is used as one of ``re``.

    Raises:
        WrongPattern: It is too long, is no regular expression, or needs more than linear time.
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
