"""Chatlio live-chat history into Adobe Experience Platform: connect, convert, stream, prove.

>>> import chatlio_kit as ck
>>> platform = ck.open_platform()
>>> connection = ck.plan_connection(platform).apply()
>>> tables = ck.read_export("captures/").to_tables()
>>> run = ck.stream(tables, connection)
>>> run.reconcile()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chatlio_kit.connection import check_platform, disconnect, open_connection, plan_connection
    from chatlio_kit.delivery import stream
    from chatlio_kit.errors import ChatlioKitError
    from chatlio_kit.lessons import open_lesson
    from chatlio_kit.opening import open_platform
    from chatlio_kit.samples import write_sample
    from chatlio_kit.tables import Export, Tables, read_export

__all__ = [
    "ChatlioKitError",
    "Export",
    "Tables",
    "check_platform",
    "disconnect",
    "open_connection",
    "open_lesson",
    "open_platform",
    "plan_connection",
    "read_export",
    "stream",
    "write_sample",
]

_ROOMS = {
    "ChatlioKitError": "errors",
    "Export": "tables",
    "Tables": "tables",
    "check_platform": "connection",
    "disconnect": "connection",
    "open_connection": "connection",
    "open_lesson": "lessons",
    "open_platform": "opening",
    "plan_connection": "connection",
    "read_export": "tables",
    "stream": "delivery",
    "write_sample": "samples",
}


def __getattr__(name: str) -> Any:
    """Open a room when its name is first used: the local platform's process needs none that bring pandas."""
    if name not in _ROOMS:
        raise AttributeError(f"chatlio_kit has no {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return __all__
