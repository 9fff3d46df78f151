"""An embedded Experience Platform: a real HTTP server on the loopback interface, with a store on disk.

It is written from Adobe's documentation alone and shares no code with the clients it answers.
"""

from .account import LocalAccount, Options
from .erasing import erase_rows, find_rows
from .faults import Logged, WrongFaults, read_log
from .lifecycle import CannotServe, RunningPlatform, ensure_running, running, serve, stop

__all__ = [
    "CannotServe",
    "LocalAccount",
    "Logged",
    "Options",
    "RunningPlatform",
    "WrongFaults",
    "ensure_running",
    "erase_rows",
    "find_rows",
    "read_log",
    "running",
    "serve",
    "stop",
]
