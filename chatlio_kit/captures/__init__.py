"""Read captured webhooks from files, archives, buckets and URLs."""

from chatlio_kit.captures.batches import Captures, FileSlice, Part, RawBatch, ReadAtHome
from chatlio_kit.captures.dialects import (
    BARE,
    ENVELOPE,
    Dialect,
    Unwrapped,
    named_fields,
    recognise,
    unwrap,
)
from chatlio_kit.captures.formats.records import Text, is_exact, keeps_quotes, parse, refusal
from chatlio_kit.captures.sources.discovery import find_files
from chatlio_kit.captures.sources.files import CaptureFile, archives_of
from chatlio_kit.captures.sources.local import LocalSource

__all__ = [
    "BARE",
    "ENVELOPE",
    "CaptureFile",
    "Captures",
    "Dialect",
    "FileSlice",
    "LocalSource",
    "Part",
    "RawBatch",
    "ReadAtHome",
    "Text",
    "Unwrapped",
    "archives_of",
    "find_files",
    "is_exact",
    "keeps_quotes",
    "named_fields",
    "parse",
    "recognise",
    "refusal",
    "unwrap",
]
