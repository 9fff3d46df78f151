"""Progress: a bar in a notebook, a line on stderr in a terminal, or nothing."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from chatlio_kit.display.visible import visible


class Progress:
    """A bar that counts up to ``total``. Use it as a context manager.

    Args:
        what: The activity, e.g. ``streaming``.
        total: Final count, if known.
        unit: Unit of the count.
        quiet: If true, show nothing.
    """

    def __init__(self, what: str, total: int | None, unit: str, *, quiet: bool = False) -> None:
        from tqdm.auto import tqdm  # noqa: PLC0415 - workers do without

        quiet = quiet or sys.stderr is None  # None in a program without a console
        options = {
            "total": total,
            "desc": visible(what),
            "unit": f" {visible(unit)}",
            "disable": quiet,
            "mininterval": 0.2,
        }
        in_notebook = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
        self._bar: Any = _widget(tqdm, options) if in_notebook else tqdm(**options, file=sys.stderr)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def advance(self, count: int) -> None:
        """Add to the count."""
        self._bar.update(count)

    def say(self, **facts: str | int) -> None:
        """Show short facts after the bar, e.g. ``requests=12``."""
        if not self._bar.disable:
            texts = {name: visible(fact) if isinstance(fact, str) else fact for name, fact in facts.items()}
            self._bar.set_postfix(texts, refresh=False)


def _widget(tqdm: Any, options: dict[str, Any]) -> Any:
    """Return a widget bar.

    A notebook stores a widget's text when it first appears. That text is the description alone, so that a
    notebook never stores a half-filled bar or a duration.
    """
    bar: Any = tqdm(**options, display=False, bar_format="{desc}")
    if not bar.disable:
        from IPython.display import display  # noqa: PLC0415 - in every notebook, needed nowhere else

        display(bar.container)  # type: ignore[no-untyped-call]
        bar.bar_format = None
        bar.refresh()
    return bar
