"""Chatlio live-chat history into Adobe Experience Platform: connect, convert, stream, prove.

>>> import chatlio_kit as ck
>>> platform = ck.open_platform()
>>> connection = ck.plan_connection(platform).apply()
>>> tables = ck.read_export("captures/").to_tables()
>>> run = ck.stream(tables, connection)
>>> run.reconcile()

These objects display themselves, as text and in a notebook. Tables are pandas frames, which are validated and
sent unchanged. Every error is a ``ChatlioKitError`` whose message includes the next step.

The names, in the order of the journey:

    open_platform     the local platform on this machine, or Experience Platform
    check_platform    checks whether a connection can be created; changes nothing
    plan_connection   the objects of a connection; ``apply()`` creates the missing ones
    open_connection   an existing connection
    audit_identities  checks whether identities would give events the right people
    read_export       captured webhooks in files; ``to_tables()`` returns frames
    inspect_slack     proposed settings for a Slack workspace export; changes nothing
    read_slack        conversations from a Slack workspace export, alone or merged with webhooks
    read_tables       the tables that ``chatlio-kit convert`` wrote
    measure           metrics: waits, outcomes, volume; in calendar and business time
    stream            sends frames to the dataset, each event once; ``reconcile()`` reads the dataset back
    backfill          sends captures of any size to the dataset, batch by batch; resumes by itself
    backfill_turns    sends conversation turns for Customer Journey Analytics instead of events
    replay            sends refused events again
    revert            removes the batches of a bulk run from the dataset
    explore           conversations to search, filter and read, with the status of each
    trace             the status of one event, conversation, visitor, address or record
    disconnect        deletes a connection's dataflows; schema and data stay
    forget            removes one person from local storage and, with a platform, from its dataset
    write_sample      a realistic export to practise with
    open_lesson       the setup of the guided notebooks
    __version__       the installed version
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
    """Import a room when its name is first used: the local platform's process must not import pandas."""
    if name == "__version__":
        return version("chatlio-kit")
    if name not in _ROOMS:
        raise AttributeError(f"chatlio_kit has no {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return __all__
