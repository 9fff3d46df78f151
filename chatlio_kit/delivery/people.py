"""Count delivered events with an identity, and those that Profile takes.

The lake keeps every event. Profile leaves out events without an identity, over 10 KB, or past its expiry. The
counts need no read-back: an event's own bytes and time decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chatlio_kit.chatlio.identities import VISITOR, ConversationVisitors, IdentityColumn, identity_columns
from chatlio_kit.chatlio.kinds import EVENT_TYPE_PREFIX
from chatlio_kit.connection import Connection
from chatlio_kit.connection.expiry import profile_expiry
from chatlio_kit.delivery.requests.packing import ADVISED_RECORD

IDENTIFIED = "with an identity"
IN_PROFILE = "for Profile"
NO_IDENTITY = "no identity"
TOO_LARGE = "too large for Profile"
EXPIRED = "older than Profile keeps"
LAKE_ONLY = (NO_IDENTITY, TOO_LARGE, EXPIRED)

_OF_WIRE = ("event_id", "occurred_at", "kind")
_OF_XDM = ("_id", "timestamp", "eventType")


class PeopleCounter:
    """Finds the identities of events, and counts delivered events by their use for Profile.

    Args:
        connection: The destination, which has identities.
        visitors: The visitor of each conversation.
    """

    def __init__(self, connection: Connection, visitors: ConversationVisitors | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self.expiry = profile_expiry(connection)
        self._connection = connection
        self._visitors = visitors if visitors is not None else ConversationVisitors()
        self._under_way: dict[int, str] = {}
        # a record grows by the names of XDM, and by the objects around its fields
        wrapper = len(f'"_{connection.tenant_id}":{{"chatlio":{{}}}}')
        names = sum(map(len, _OF_XDM)) - sum(map(len, _OF_WIRE))
        self._growth = names + len(EVENT_TYPE_PREFIX) + wrapper

    def columns(self, events: pd.DataFrame) -> list[IdentityColumn]:
        """Return the identities of events; one without a visitor gets that of its conversation."""
        return identity_columns(events, self._connection.people.identities, self._visitors.of(events))

    def expect(
        self,
        rows: NDArray[np.int64],
        events: pd.DataFrame,
        sizes: NDArray[np.int64],
        columns: Sequence[IdentityColumn],
    ) -> None:
        """Note how events count once they are delivered.

        Args:
            rows: The events' ledger rows.
            events: The events.
            sizes: Bytes of each event as sent.
            columns: The events' identities.
        """
        outcomes = np.full(len(rows), IDENTIFIED, dtype=object)
        if self._connection.people.profile:
            outcomes[:] = IN_PROFILE
            if self.expiry is not None:
                oldest = pd.Timestamp(self._connection.platform.now() - self.expiry.span)
                outcomes[(events["occurred_at"] < oldest).to_numpy()] = EXPIRED
            outcomes[sizes + self._growth > ADVISED_RECORD] = TOO_LARGE
        has_identity = np.zeros(len(rows), dtype=np.bool_)
        for column in columns:
            has_identity |= column.ids.notna().to_numpy()
        outcomes[~has_identity] = NO_IDENTITY
        self._under_way.update(zip(rows.tolist(), outcomes.tolist(), strict=True))

    def delivered(self, rows: Iterable[int]) -> None:
        """Count events that the platform accepted."""
        self.counts.update(outcome for row in rows if (outcome := self._under_way.pop(row, None)))

    def refused(self, rows: Iterable[int]) -> None:
        """Leave out events that became dead letters, or were not sent."""
        for row in rows:
            self._under_way.pop(row, None)

    def rows(self) -> Iterator[tuple[str, int]]:
        """Yield the lines of the page: counts of delivered events.

        A replay sends stored records and counts none of them.
        """
        if not self.counts:
            return
        for name in (IN_PROFILE if self._connection.people.profile else IDENTIFIED, *LAKE_ONLY):
            if name in self.counts or name == NO_IDENTITY:
                yield name, self.counts[name]


def names_visitors(connection: Connection) -> bool:
    """Return whether events get the visitor of their conversation as an identity."""
    return any(identity.field == VISITOR for identity in connection.people.identities)
