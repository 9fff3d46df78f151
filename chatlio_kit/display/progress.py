"""Progress that people can read: a bar in a notebook, a line on stderr in a terminal, or nothing."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from tqdm.auto import tqdm


class Progress:
    """A bar that counts up to ``total``. Use it as a context manager.

    Args:
        what: what is counted, e.g. ``streaming``.
        total: where it ends, if known.
        unit: the word behind the numbers.
        quiet: whether to show nothing.
    """

    def __init__(self, what: str, total: int | None, unit: str, *, quiet: bool = False) -> None:
        self._bar: Any = tqdm(
            total=total, desc=what, unit=f" {unit}", disable=quiet, file=sys.stderr, mininterval=0.2
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def advance(self, count: int) -> None:
        """Count up."""
        self._bar.update(count)

    def say(self, **facts: str | int) -> None:
        """Show short facts behind the bar, e.g. ``requests=12``."""
        self._bar.set_postfix(facts, refresh=False)
