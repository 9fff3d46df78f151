"""The user's decisions about fields: the contract for unknown fields, and redaction of personal values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from chatlio_kit.chatlio.redaction import Redaction
from chatlio_kit.settings import redaction_key
from chatlio_kit.tables.arrow import events_of, message_counts, messages_of, nest
from chatlio_kit.tables.validate.contract import Contract
from chatlio_kit.tables.validate.event_batch import EventBatch


@dataclass(frozen=True)
class FieldPolicy:
    """The treatment of personal values and undocumented fields.

    Attributes:
        redaction: The redaction of each privacy class.
        contract: The treatment of unknown fields.
    """

    redaction: Redaction = field(default_factory=Redaction)
    contract: Contract = field(default_factory=Contract)

    @classmethod
    def from_options(
        cls, redact: str | Mapping[str, str] | None = None, contract: str | None = None
    ) -> FieldPolicy:
        """Parse the options ``--redact`` and ``--contract``.

        Raises:
            UsageError: One of them is invalid.
            SettingsError: Keyed hashing needs a key, but there is none.
        """
        return cls(Redaction.from_text(redact, redaction_key), Contract.from_text(contract))

    def redact(self, batch: EventBatch, counts: Counter[str]) -> EventBatch:
        """Return a batch with its events, messages and rejections redacted.

        Args:
            batch: The batch.
            counts: Counter of redacted values by ``table.column``, to add to.
        """
        if not self.redaction.is_on:
            return batch
        events, counted = self.redaction.apply("events", events_of(batch.rows))
        messages, counted_in_messages = self.redaction.apply("messages", messages_of(batch.rows))
        counts.update({f"events.{column}": count for column, count in counted.items()})
        counts.update({f"messages.{column}": count for column, count in counted_in_messages.items()})
        nested = nest(events, messages, message_counts(batch.rows))
        return replace(
            batch, rows=nested, rejected=[self.redaction.rejection(rejection) for rejection in batch.rejected]
        )
