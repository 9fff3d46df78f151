"""How many records were read and what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from chatlio_kit.display import Sheet
from chatlio_kit.events.kinds import Kind
from chatlio_kit.events.rejection import Reason


@dataclass
class Counts:
    """``read = accepted + rejected + duplicates``, always."""

    duplicates: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    rejected_by_reason: Counter[str] = field(default_factory=Counter)

    @property
    def accepted(self) -> int:
        """Records that became events."""
        return self.by_kind.total()

    @property
    def rejected(self) -> int:
        """Records that were not accepted, each with a reason."""
        return self.rejected_by_reason.total()

    @property
    def read(self) -> int:
        """All records."""
        return self.accepted + self.rejected + self.duplicates

    def add(self, kinds: Iterable[str], reasons: Iterable[str], duplicates: int = 0) -> None:
        """Count the kinds of accepted events, the reasons of rejected records, and duplicates."""
        self.by_kind.update(kinds)
        self.rejected_by_reason.update(reasons)
        self.duplicates += duplicates

    def as_dict(self) -> dict[str, Any]:
        """Give the counts as JSON has them: kinds and reasons in catalogue order, those that occur."""
        return {
            "read": self.read,
            "accepted": self.accepted,
            "rejected": self.rejected,
            "duplicates": self.duplicates,
            "by_kind": {str(kind): self.by_kind[kind] for kind in Kind if self.by_kind[kind]},
            "rejected_by_reason": {
                str(reason): self.rejected_by_reason[reason]
                for reason in Reason
                if self.rejected_by_reason[reason]
            },
        }

    def sheet(self, title: str, notes: Iterable[str] = ()) -> Sheet:
        """Show the counts with what they add up to."""
        known = self.as_dict()
        rows: list[tuple[str, int]] = [("read", self.read), ("accepted", self.accepted)]
        rows += [(f"  {kind}", count) for kind, count in known["by_kind"].items()]
        rows += [("rejected", self.rejected)]
        rows += [(f"  {reason}", count) for reason, count in known["rejected_by_reason"].items()]
        rows += [("duplicates", self.duplicates)]
        return Sheet(title, ("records", "count"), rows, list(notes))
