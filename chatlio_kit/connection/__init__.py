"""Create, find, check and remove a Chatlio connection on Experience Platform."""

from chatlio_kit.connection.connection import (
    Connection,
    Dataflow,
    Destination,
    a_connection,
    open_connection,
)
from chatlio_kit.connection.plan import Plan, Planned, plan_connection
from chatlio_kit.connection.preflight import Preflight, check_platform
from chatlio_kit.connection.production import require_leave
from chatlio_kit.connection.resources.resource import feeds_profile
from chatlio_kit.connection.resources.survey import a_platform
from chatlio_kit.connection.teardown import Removal, disconnect, list_removals

__all__ = [
    "Connection",
    "Dataflow",
    "Destination",
    "Plan",
    "Planned",
    "Preflight",
    "Removal",
    "a_connection",
    "a_platform",
    "check_platform",
    "disconnect",
    "feeds_profile",
    "list_removals",
    "open_connection",
    "plan_connection",
    "require_leave",
]
