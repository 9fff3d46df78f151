"""Dialects of captured webhooks, and unwrapping of their payloads."""

from chatlio_kit.captures.dialects.beside import meaning
from chatlio_kit.captures.dialects.clocks import Clock, advice, with_offset
from chatlio_kit.captures.dialects.dialect import Body, Dialect, FieldPath
from chatlio_kit.captures.dialects.named_fields import FIELDS, named_fields
from chatlio_kit.captures.dialects.pages import LISTS, unfold
from chatlio_kit.captures.dialects.table import BARE, DIALECTS, ENVELOPE, LOGGERS
from chatlio_kit.captures.dialects.unwrapping import Unwrapped, recognise, unwrap

__all__ = [
    "BARE",
    "DIALECTS",
    "ENVELOPE",
    "FIELDS",
    "LISTS",
    "LOGGERS",
    "Body",
    "Clock",
    "Dialect",
    "FieldPath",
    "Unwrapped",
    "advice",
    "meaning",
    "named_fields",
    "recognise",
    "unfold",
    "unwrap",
    "with_offset",
]
