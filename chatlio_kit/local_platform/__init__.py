"""The local platform: an HTTP server on the loopback interface, with a store on disk.

It is written only from Adobe's documentation and shares no code with its clients.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .faults.plan import Logged, WrongFaults, read_log
from .ims.account import SANDBOX_TYPES, LocalAccount, Options
from .server.process import CannotServe, RunningPlatform, ensure_running, stop

if TYPE_CHECKING:
    from .lake.erasure import Erased, erase_rows, find_rows
    from .server.serve import running, serve

__all__ = [
    "SANDBOX_TYPES", "CannotServe", "Erased", "LocalAccount", "Logged", "Options", "RunningPlatform",
    "WrongFaults",
    "ensure_running", "erase_rows", "find_rows", "read_log", "running", "serve", "stop",
]  # fmt: skip
_LATER = {
    "Erased": "lake.erasure",
    "erase_rows": "lake.erasure",
    "find_rows": "lake.erasure",
    "running": "server.serve",
    "serve": "server.serve",
}


def __getattr__(name: str) -> Any:
    """Import the server on first use: most programs only talk to one."""
    if name not in _LATER:
        raise AttributeError(f"the local platform has no {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
