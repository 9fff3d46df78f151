"""Drawing: plain rows as text and HTML, progress, plots."""

from chatlio_kit.display.progress import Progress
from chatlio_kit.display.sheet import Sheet

__all__ = ["Progress", "Sheet"]
