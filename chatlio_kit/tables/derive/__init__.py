"""Conversations, messages, visitors and offline messages, derived from accepted events by SQL."""

from chatlio_kit.tables.derive.database import derive_rows
from chatlio_kit.tables.derive.files import EventFiles

__all__ = ["EventFiles", "derive_rows"]
