"""How many records were read and what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.chatlio.rejections import Reason, Rejection
from chatlio_kit.display import Sheet
from chatlio_kit.tables.arrow import whole

EXAMPLES = 3
"""How many rejects of each reason are shown."""
_SHOWN_OF_RAW = 600


@dataclass
class RecordCounts:
    """``read = accepted + rejected + duplicates``, always.

    Attributes:
        duplicates: records whose event was there before.
        by_kind: accepted events by kind.
        by_month: accepted events by the month in which they happened, months since 1970, and kind.
        rejected_by_reason: records that were not accepted.
        examples: the first of them for each reason, with the beginning of the record.
    """

    duplicates: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    by_month: Counter[tuple[int, str]] = field(default_factory=Counter)
    rejected_by_reason: Counter[str] = field(default_factory=Counter)
    examples: dict[Reason, list[Rejection]] = field(default_factory=dict)

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

    def add_piece(self, events: Any, rejected: Iterable[Rejection], duplicates: int) -> None:
        """Count a piece: its accepted events, an Arrow table, its rejected records, and its duplicates."""
        told = whole(events["kind"]).dictionary_encode()
        kinds = told.dictionary.to_pylist()
        instants = whole(events["occurred_at"]).cast(pa.int64()).to_numpy().astype("datetime64[us]")
        months = instants.astype("datetime64[M]").astype(np.int64)
        found, counts = np.unique(months * len(kinds) + told.indices.to_numpy(), return_counts=True)
        for both, count in zip(found.tolist(), counts.tolist(), strict=True):
            month, kind = divmod(both, len(kinds))
            self.by_kind[kinds[kind]] += count
            self.by_month[month, kinds[kind]] += count
        self.duplicates += duplicates
        for each in rejected:
            self.rejected_by_reason[each.reason] += 1
            known = self.examples.setdefault(each.reason, [])
            if len(known) < EXAMPLES:
                known.append(replace(each, raw=each.raw and each.raw[:_SHOWN_OF_RAW]))

    def timeline(self) -> dict[str, dict[str, int]]:
        """Give the accepted events of each month that has some, by kind."""
        kinds = [str(kind) for kind in Kind if self.by_kind[kind]]
        return {
            str(np.datetime64(month, "M")): {kind: self.by_month[month, kind] for kind in kinds}
            for month in sorted({month for month, _ in self.by_month})
        }

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
