"""The user's decisions about fields: the contract for unknown ones, and redaction of those about people."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from chatlio_kit.chatlio.redaction import Redaction
from chatlio_kit.settings import redaction_key
from chatlio_kit.tables.arrow import message_counts, nest
from chatlio_kit.tables.validate.contract import Contract
from chatlio_kit.tables.validate.event_batch import EventBatch
from chatlio_kit.tables.validate.schemas import arrow_rows


@dataclass(frozen=True)
class FieldPolicy:
    """What becomes of values about people and of fields that nobody documented.

    Attributes:
        redaction: what becomes of each privacy class.
        contract: what becomes of unknown fields.
    """

    redaction: Redaction = field(default_factory=Redaction)
    contract: Contract = field(default_factory=Contract)

    @classmethod
    def from_options(cls, redact: str | None = None, contract: str | None = None) -> FieldPolicy:
        """Parse the options ``--redact`` and ``--contract``.

        Raises:
            UsageError: when one of them is invalid.
            SettingsError: when values are to be hashed with a key and there is none.
        """
        return cls(Redaction.from_text(redact, redaction_key), Contract.from_text(contract))

    def redact(self, batch: EventBatch, counts: Counter[str]) -> EventBatch:
        """Return a batch with its events, messages and rejections redacted.

        Args:
            batch: the batch.
            counts: where redacted values are counted, by ``table.column``.
        """
        if not self.redaction.is_on:
            return batch
        redacted: dict[str, Any] = {}
        for table, frame in (("events", batch.events), ("messages", batch.messages)):
            frame, counted = self.redaction.apply(table, frame)  # noqa: PLW2901
            redacted[table] = arrow_rows(frame, table)
            counts.update({f"{table}.{column}": count for column, count in counted.items()})
        rows = nest(redacted["events"], redacted["messages"], message_counts(batch.rows))
        return replace(batch, rows=rows, rejected=[self.redaction.rejection(each) for each in batch.rejected])
