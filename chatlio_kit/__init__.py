"""Chatlio live-chat history into Adobe Experience Platform: connect, convert, stream, prove.

>>> import chatlio_kit as ck
>>> platform = ck.open_platform()
>>> connection = ck.plan_connection(platform).apply()
>>> tables = ck.read_export("captures/").to_tables()
>>> run = ck.stream(tables, connection)
>>> run.reconcile()
"""

from collections.abc import Sequence
from pathlib import Path

from chatlio_kit.connection import disconnect, open_connection, plan_connection
from chatlio_kit.delivery import stream
from chatlio_kit.errors import ChatlioKitError
from chatlio_kit.opening import open_platform
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import Export, Settling, Tables

__all__ = [
    "ChatlioKitError",
    "Export",
    "Tables",
    "disconnect",
    "open_connection",
    "open_platform",
    "plan_connection",
    "read_export",
    "stream",
    "write_sample",
]


def read_export(
    paths: Path | str | Sequence[Path | str], *, kind: str | None = None, undated_as: str | None = None
) -> Export:
    """Find captured webhooks in files and folders.

    Args:
        paths: a file or folder, or several.
        kind: the kind of records that neither capture nor file nor shape names; it overrides nothing.
        undated_as: what stands in for the time of events that have none: ``file-time``,
            ``visitor-created`` or an RFC 3339 time. Without it they are rejected as undated.

    Raises:
        MissingPath: when a path does not exist.
        CaptureError: when there are no files.
        UsageError: when an option is none of its values.
    """
    named = [paths] if isinstance(paths, str | Path) else list(paths)
    return Export(named, Settling.from_options(kind, undated_as))
