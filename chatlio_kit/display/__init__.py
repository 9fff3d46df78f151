"""Tables, pages, progress bars and figures for terminals and notebooks."""

from chatlio_kit.display.document import Chart, Document, Example, Part, Tile
from chatlio_kit.display.progress import Progress
from chatlio_kit.display.sheet import Sheet, SheetDisplay
from chatlio_kit.display.visible import visible, visible_json

__all__ = [
    "Chart",
    "Document",
    "Example",
    "Part",
    "Progress",
    "Sheet",
    "SheetDisplay",
    "Tile",
    "visible",
    "visible_json",
]
