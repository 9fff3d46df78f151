"""What becomes of fields that Chatlio sends and the catalogue does not know.

| mode | a record with an unknown field | the field |
| --- | --- | --- |
| ``evolve`` | is accepted | is kept in ``extra_fields`` |
| ``discard_value`` | is accepted | is left out |
| ``freeze`` | is rejected as ``unknown_field`` | is in the reject |

The words are dlt's (dlt documentation: schema contracts), with two differences that follow from every record
ending in exactly one place. ``freeze`` rejects the record and goes on where dlt stops. And there is no
``discard_row``, which drops a row without telling: the word is answered with what comes near it. ``freeze``
leaves the record out too, but reports it; and of a transcript it leaves out no single message. Whatever the
mode, every unknown field is counted and reported.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import pyarrow as pa

from chatlio_kit.captures import parse
from chatlio_kit.chatlio.event_ids import canonical
from chatlio_kit.chatlio.rejections import Reason, Rejection, shortened
from chatlio_kit.errors import UsageError, option
from chatlio_kit.tables.validate.event_batch import EventBatch

_OF_MESSAGES = re.compile(r"messages\[\d+\]\.")
_LIST_INDEX = re.compile(r"\[\d+\]")
_MOST_NAMES = 200
_OTHERS = "(other fields)"
_LONGEST_NAME = 80
_DISCARD_ROW = "discard_row"


class Mode(StrEnum):
    """What becomes of an unknown field."""

    EVOLVE = "evolve"
    FREEZE = "freeze"
    DISCARD_VALUE = "discard_value"


@dataclass(frozen=True)
class Contract:
    """The mode of each table that takes fields from Chatlio."""

    events: Mode = Mode.EVOLVE
    messages: Mode = Mode.EVOLVE

    @classmethod
    def from_text(cls, text: str | None) -> Contract:
        """Read the option ``--contract``: a mode for both tables, or ``TABLE=MODE``, with commas between.

        Raises:
            UsageError: when a table or a mode is none.
        """
        modes: dict[str, Mode] = {}
        for part in text.split(",") if text is not None else ():
            table, is_single, mode = (word.strip() for word in part.rpartition("="))
            if mode == _DISCARD_ROW:
                raise UsageError(
                    f"{option('contract', repr(part.strip()))}: every dropped field is reported. "
                    f"Say {table}{is_single}freeze: such a record is left out too, a transcript as a whole, "
                    "and the run goes on; rejected.jsonl names its file, number and field."
                )
            if mode not in set(Mode) or (is_single and table not in cls.__dataclass_fields__):
                raise UsageError(
                    f"{option('contract', repr(part.strip()))} cannot be meant. The tables are events and "
                    f"messages, the modes {', '.join(Mode)}; as in freeze, or events=freeze."
                )
            modes |= {table: Mode(mode)} if is_single else dict.fromkeys(cls.__dataclass_fields__, Mode(mode))
        return cls(**modes)

    def enforce(self, batch: EventBatch, seen: Counter[str]) -> EventBatch:
        """Return a batch with its unknown fields kept, discarded or rejected.

        Args:
            batch: the batch.
            seen: where unknown fields are counted, by their path in the payload.
        """
        extra = batch.rows["extra_fields"]
        if extra.null_count == len(extra):
            return batch
        rejected: dict[int, Rejection] = {}
        texts: list[str | None] = extra.to_pylist()
        kept = list(texts)
        for row, text in enumerate(texts):
            if text is None:
                continue
            fields = parse(text.encode())
            _count(fields, seen)
            frozen = next((name for name in fields if self._mode(name) is Mode.FREEZE), None)
            if frozen is not None:
                rejected[row] = _rejection(batch, row, frozen)
            left = {name: value for name, value in fields.items() if self._mode(name) is Mode.EVOLVE}
            if len(left) < len(fields):
                kept[row] = canonical(left).decode() if left else None
        if kept != texts:
            index = batch.rows.schema.get_field_index("extra_fields")
            column = pa.array(kept, extra.type)
            rows = batch.rows.set_column(index, batch.rows.schema.field(index), column)
            batch = replace(batch, rows=rows)
        if not rejected:
            return batch
        return batch.keep([row for row in range(len(batch)) if row not in rejected], rejected.values())

    def _mode(self, name: str) -> Mode:
        return self.messages if _OF_MESSAGES.match(name) else self.events


def _count(fields: dict[str, Any], seen: Counter[str]) -> None:
    """Count a record's unknown fields, each once. Only the first of very many names get their own count."""
    count_names(Counter({_LIST_INDEX.sub("[]", field)[:_LONGEST_NAME] for field in fields}), seen)


def count_names(names: Mapping[str, int], seen: Counter[str]) -> None:
    """Add counts of names. Only the first of very many get their own count; long names are cut."""
    for full_name, count in names.items():
        name = full_name[:_LONGEST_NAME]
        seen[name if name in seen or len(seen) < _MOST_NAMES else _OTHERS] += count


def _rejection(batch: EventBatch, row: int, name: str) -> Rejection:
    table = "messages" if _OF_MESSAGES.match(name) else "events"
    detail = (
        f"{shortened(name)} is a field that the catalogue does not know, and the contract freezes {table}. "
        f"Let it in with --contract {table}=evolve."
    )
    file, record = (batch.rows[column][row].as_py() for column in ("source_file", "source_record"))
    return Rejection(file, record, Reason.UNKNOWN_FIELD, name, detail, batch.raw(row))
