"""Files to captured records."""

from chatlio_kit.captures.captures import Captured, Captures, Piece
from chatlio_kit.captures.discover import CaptureFile, find_files

__all__ = ["CaptureFile", "Captured", "Captures", "Piece", "find_files"]
