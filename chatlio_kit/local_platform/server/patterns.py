"""Regular expressions of strangers, matched in time that grows with the text alone.

RE2 has no back-references and no looking around; expressions that need them are refused, since every matcher
that offers them can be kept busy for years by a short text.
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
        WrongPattern: it is too long, is no regular expression, or needs more than linear time.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise WrongPattern(f"it has {len(pattern)} characters, more than {LONGEST_PATTERN}")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0] if error.args else "it cannot be compiled"
        raise WrongPattern(said.decode(errors="replace") if isinstance(said, bytes) else str(said)) from None
