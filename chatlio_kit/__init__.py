"""Chatlio live-chat history into Adobe Experience Platform: connect, convert, stream, prove.

>>> import chatlio_kit as ck
>>> platform = ck.open_platform()
>>> connection = ck.plan_connection(platform).apply()
>>> tables = ck.read_export("captures/").to_tables()
>>> run = ck.stream(tables, connection)
>>> run.reconcile()

Each of these shows itself, as text and in a notebook. Tables are pandas frames: what they say is what is
sent. Whatever goes wrong is a ``ChatlioKitError`` that says what happened and what to do next.

The names, in the order of the journey:

    open_platform     the local platform on this machine, or Experience Platform
    check_platform    what prevents a connection; changes nothing
    plan_connection   what a connection needs and what is there; ``apply()`` makes the rest
    open_connection   a connection that was made before
    audit_identities  whether identities would make people of events, or glue strangers together
    read_export       captured webhooks in files; ``to_tables()`` makes frames of them
    inspect_slack     how a Slack workspace export could be read; changes nothing
    read_slack        conversations out of a Slack workspace export, alone or merged with webhooks
    read_tables       the tables that ``chatlio-kit convert`` wrote
    measure           what chats answer: waits, outcomes, volume; in calendar and business time
    stream            frames to the dataset, each event once; ``reconcile()`` reads back what landed
    backfill          captures of any size to the dataset in one go, batch by batch; resumes by itself
    backfill_turns    conversation turns of captures, for Customer Journey Analytics, instead of events
    replay            what the platform would not take, again
    revert            the batches of a bulk run, out of the dataset again
    explore           conversations to search, filter and read, with what became of each
    trace             what became of one event, conversation, visitor, address or record
    disconnect        takes a connection's dataflows down; schema and data stay
    forget            removes one person from all that is kept here and, given a platform, from its dataset
    write_sample      a realistic export to practise on
    open_lesson       the ground of the guided notebooks
    __version__       the version that is installed
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chatlio_kit.analysis.identity_audit import audit_identities
    from chatlio_kit.analysis.measure import measure
    from chatlio_kit.connection import check_platform, disconnect, open_connection, plan_connection
    from chatlio_kit.delivery import replay, revert, stream
    from chatlio_kit.errors import ChatlioKitError
    from chatlio_kit.jobs.backfill import backfill
    from chatlio_kit.jobs.explore import explore
    from chatlio_kit.jobs.forget import forget
    from chatlio_kit.jobs.notebooks import open_lesson
    from chatlio_kit.jobs.platforms import open_platform
    from chatlio_kit.jobs.slack import inspect_slack
    from chatlio_kit.jobs.trace import trace
    from chatlio_kit.jobs.turns import backfill_turns
    from chatlio_kit.samples import write_sample
    from chatlio_kit.tables import Export, Tables, read_export, read_slack, read_tables

__all__ = [
    "ChatlioKitError",
    "Export",
    "Tables",
    "__version__",
    "audit_identities",
    "backfill",
    "backfill_turns",
    "check_platform",
    "disconnect",
    "explore",
    "forget",
    "inspect_slack",
    "measure",
    "open_connection",
    "open_lesson",
    "open_platform",
    "plan_connection",
    "read_export",
    "read_slack",
    "read_tables",
    "replay",
    "revert",
    "stream",
    "trace",
    "write_sample",
]

_ROOMS = {
    "ChatlioKitError": "errors",
    "Export": "tables",
    "Tables": "tables",
    "audit_identities": "analysis.identity_audit",
    "backfill": "jobs.backfill",
    "backfill_turns": "jobs.turns",
    "check_platform": "connection",
    "disconnect": "connection",
    "explore": "jobs.explore",
    "forget": "jobs.forget",
    "inspect_slack": "jobs.slack",
    "measure": "analysis.measure",
    "open_connection": "connection",
    "open_lesson": "jobs.notebooks",
    "open_platform": "jobs.platforms",
    "plan_connection": "connection",
    "read_export": "tables",
    "read_slack": "tables",
    "read_tables": "tables",
    "replay": "delivery",
    "revert": "delivery",
    "stream": "delivery",
    "trace": "jobs.trace",
    "write_sample": "samples",
}


def __getattr__(name: str) -> Any:
    """Open a room when its name is first used: the local platform's process needs none that bring pandas."""
    if name == "__version__":
        return version("chatlio-kit")
    if name not in _ROOMS:
        raise AttributeError(f"chatlio_kit has no {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return __all__
