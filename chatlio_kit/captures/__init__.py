"""Files to captured records."""

from chatlio_kit.captures.captures import Captures, Piece, Stretch
from chatlio_kit.captures.dialects import Unwrapped, unwrap
from chatlio_kit.captures.discover import CaptureFile, find_files
from chatlio_kit.captures.records import HUGE, keeps_quotes, parse, refusal

__all__ = [
    "HUGE",
    "CaptureFile",
    "Captures",
    "Piece",
    "Stretch",
    "Unwrapped",
    "find_files",
    "keeps_quotes",
    "parse",
    "refusal",
    "unwrap",
]
