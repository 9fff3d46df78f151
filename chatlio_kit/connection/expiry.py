"""Profile's expiry of a connection's events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from chatlio_kit.aep import duration_of
from chatlio_kit.connection.connection import Connection


@dataclass(frozen=True)
class Expiry:
    """Profile's expiry of a dataset's events.

    Attributes:
        text: In the platform's notation, e.g. ``P30D``.
        span: The same as a duration.
    """

    text: str
    span: timedelta

    def sentence(self, share: float) -> str:
        """Return a sentence about the share of a history that is older."""
        return (
            f"Profile drops events of this dataset that are older than {self.span.days:,} days: {share:.0%} "
            "of this history would be dropped there. The lake keeps it."
        )


def profile_expiry(connection: Connection) -> Expiry | None:
    """Read the expiry of the dataset's events in Profile; None if it never drops them, or takes none."""
    if not connection.people.profile:
        return None
    text = connection.platform.catalog.profile_expiry(connection.dataset_id)
    span = duration_of(text)
    return None if text is None or span is None else Expiry(text, span)
