"""Delete one person's rows from a dataset on Experience Platform by record delete, and read back the result.

A record delete removes rows by their primary identity, so it reaches only the rows of a connection with
identities. The identities are read from the rows themselves. Only rows that were read back are reported.

Source: Data Hygiene: work orders; Profile: privacy requests.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from chatlio_kit.aep import Platform
from chatlio_kit.chatlio.identities import IDENTITIES_KEY
from chatlio_kit.chatlio.person import CHANNEL, CONVERSATION, WHO, Person
from chatlio_kit.connection import Connection, Destination, open_connection
from chatlio_kit.connection.rows import stored_rows
from chatlio_kit.counting import counted
from chatlio_kit.errors import (
    AuthenticationFailed,
    ChatlioKitError,
    ConnectionIncomplete,
    NotFound,
    PermissionMissing,
    PlatformError,
)

DISPLAY_NAME = "chatlio-kit: a person is forgotten"
_FINISHED = frozenset(
    ("complete", "completed", "success", "succeeded", "finished", "failed", "failure", "error", "cancelled")
)
_RECEIVED = "received"
"""The only documented status. The words above only end the waiting; the read-back decides."""
_FIRST_POLL, _SLOWEST_POLL = 0.2, 30.0

Confirm = Callable[[str], bool]
"""Called with a sentence about what would be deleted; returns whether to continue."""


class UnreadableDataset(ChatlioKitError):
    """An error for unreadable rows of a dataset, about which nothing can be claimed."""


@dataclass
class RecordDelete:
    """One person's rows at one destination, and the result of their deletion.

    Attributes:
        destination: Their destination.
        dataset: The dataset.
        rows: Number of their rows that were found.
        nameless: Number of these without a primary identity, which nothing removes individually.
        others: Number of further rows that have the same primary identities and would be removed with them.
        left: Number of the rows that the last read found.
        work_order: The id of the work order, if one was sent.
        status: Its status in the platform's words, or ``unknown`` with the reason.
        problem: Reason why nothing, or not everything, could be removed.
    """

    destination: Destination
    dataset: str
    rows: int = 0
    nameless: int = 0
    others: int = 0
    left: int = 0
    work_order: str | None = None
    status: str = ""
    problem: str = ""
    identities: dict[str, list[str]] = field(default_factory=dict, repr=False)

    @property
    def is_under_way(self) -> bool:
        """True if rows are left after a work order that is not reported as finished."""
        return self.work_order is not None and bool(self.left) and self.status not in _FINISHED

    def as_dict(self) -> dict[str, Any]:
        """Return the deletion as plain data for JSON, without identities."""
        return {
            "destination": str(self.destination),
            "dataset": self.dataset,
            "rows": self.rows,
            "without_identity": self.nameless,
            "others": self.others,
            "left": self.left,
            "work_order": self.work_order,
            "status": self.status,
            "problem": self.problem,
        }

    def advice(self) -> str:
        """Return advice on removing the rows that are left."""
        if self.is_under_way:
            return (
                f"the status of the work order {self.work_order} is {self.status or 'unknown'}; it can take "
                "days to finish. Run forget again, or reconcile, to see whether the rows are gone"
            )
        return self.problem or (
            f"they are still there although the status of the work order {self.work_order} is {self.status}: "
            "run forget again later, and ask Adobe if they remain"
        )


def delete_records(
    platform: Platform, destination: Destination, person: Person, *, confirm: Confirm | None, wait: float
) -> RecordDelete:
    """Order the deletion of a person's rows, follow it, and read back the rows that are left.

    Args:
        platform: The platform.
        destination: The destination on that platform.
        person: The person; events that are found are added.
        confirm: Asked before the work order is sent; None sends it.
        wait: Seconds to wait for it to finish.

    Raises:
        UnreadableDataset: A batch cannot be read; nothing was ordered.
        PlatformError: The platform cannot be reached.
    """
    result = RecordDelete(destination, destination.dataset)
    try:
        platform.catalog.dataset(destination.dataset)
    except NotFound:  # its rows went with it, and its connection may have another dataset by now
        return result
    try:
        connection = open_connection(platform, destination.name, quiet=True)
    except ConnectionIncomplete as error:
        result.problem = f"its identities cannot be read, because the connection is incomplete: {error}"
        return result
    _find(connection, person, result)
    result.left = result.rows
    if not connection.people.identities:
        result.problem = _NO_IDENTITIES
        return result
    if not result.identities:
        if result.nameless:
            result.problem = _NAMELESS
        return result
    if result.others and person.names(CHANNEL):
        result.problem = _OTHER_ROWS.format(counted(result.others, "row"))
        return result
    count = sum(map(len, result.identities.values()))
    question = (
        f"{counted(result.rows - result.nameless, 'row')} of {destination} with "
        f"{counted(count, 'primary identity', 'primary identities')} of the person"
        + (f", and {counted(result.others, 'row')} not known to be theirs" if result.others else "")
        + ": a record delete removes all of these for good."
    )
    if confirm is not None and not confirm(question):
        result.problem = "the record delete was not confirmed, so nothing was removed there"
        return result
    try:
        order = platform.work_orders.delete_identities(connection.dataset_id, result.identities, DISPLAY_NAME)
    except (
        PermissionMissing,
        AuthenticationFailed,
    ) as error:  # this service responds 401 to a missing permission
        result.problem = (
            f"a record delete was refused ({error.reason.rstrip('.')}): it needs an entitlement of the "
            "organisation and a permission of the credential"
        )
        return result
    result.work_order, result.status = str(order["workorderId"]), str(order.get("status") or "").lower()
    try:
        _read_back(connection, person, result, wait)
    except UnreadableDataset as error:
        result.problem = f"the work order {result.work_order} was sent, and what is left is unknown: {error}"
    return result


_NO_IDENTITIES = (
    "nothing removes single rows. The connection has no identities, so neither a Privacy Service request nor "
    "a record delete finds them. To remove them, delete their batches, with all other rows in these, or the "
    "dataset. The query below finds the rows"
)
_OTHER_ROWS = (
    "a record delete removes all rows with the same primary identities, including {} outside the "
    "channel, so none was sent. Forget the visitor to remove them all. The query below finds the "
    "channel's"
)
_NAMELESS = (
    "these rows have no identity, so no record delete finds them. To remove them, delete their batches or "
    "the dataset. The query below finds the rows"
)


def _find(connection: Connection, person: Person, result: RecordDelete) -> None:
    """Count a person's rows in the dataset, and collect their primary identities.

    Raises:
        UnreadableDataset: A batch cannot be read, so nothing could be claimed about its rows.
    """
    inside = f"_{connection.tenant_id}.chatlio"
    columns = ["_id", IDENTITIES_KEY, *(f"{inside}.{name}" for name in (*WHO, CONVERSATION, CHANNEL))]
    unreadable: list[str] = []
    theirs: dict[str, set[str]] = defaultdict(set)
    primaries: dict[tuple[str, str], int] = defaultdict(int)
    for row in stored_rows(connection.platform, connection.dataset_id, columns, unreadable):
        fields = (row.get(f"_{connection.tenant_id}") or {}).get("chatlio") or {}
        primary = _primary(row)
        if primary is not None:
            primaries[primary] += 1
        texts = {name: value for name, value in fields.items() if isinstance(value, str)}
        is_theirs = (
            row["_id"] in person.events
            or any(map(person.is_name, texts.values()))
            or person.is_channel(texts.get(CHANNEL, ""))
        )
        if is_theirs:
            person.events.add(row["_id"])
            result.rows += 1
            if primary is None:
                result.nameless += 1
            else:
                theirs[primary[0]].add(primary[1])
    if unreadable:
        raise UnreadableDataset(
            f"The rows of {counted(len(unreadable), 'batch', 'batches')} of {result.destination} cannot be "
            f"read ({unreadable[0]}), so the person's rows among them are unknown. Run forget again when "
            "they can be read; reconcile lists them all."
        )
    result.identities = {code: sorted(ids) for code, ids in theirs.items()}
    known = sum(primaries[code, value] for code, ids in theirs.items() for value in ids)
    result.others = known - (result.rows - result.nameless)


def _primary(row: dict[str, Any]) -> tuple[str, str] | None:
    for code, items in row.get(IDENTITIES_KEY) or ():
        for item in items or ():
            if item.get("primary") and item.get("id"):
                return code, item["id"]
    return None


def _read_back(connection: Connection, person: Person, result: RecordDelete, wait: float) -> None:
    """Follow a work order, and count the rows that are left when it is finished or time is up.

    While its status is "received", only the status is polled. Any other status says little, so the rows are
    read.
    """
    waited, pause = 0.0, _FIRST_POLL
    while True:
        is_over = result.status in _FINISHED or waited >= wait
        if is_over or result.status != _RECEIVED:
            read = RecordDelete(result.destination, result.dataset)
            _find(connection, person, read)
            result.left = read.rows
            if read.rows and read.rows <= read.nameless:
                result.problem = _NAMELESS
            if is_over or read.rows <= read.nameless:
                return
        connection.platform.sleep(pause)
        waited += pause
        pause = min(pause * 1.5, _SLOWEST_POLL)
        try:
            order = connection.platform.work_orders.get(str(result.work_order))
        except PlatformError as error:
            result.status = f"unknown ({error.reason.rstrip('.')})"
        else:
            result.status = str(order.get("status") or "").lower()
