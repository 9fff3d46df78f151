"""The contract for fields that Chatlio sends and the catalogue does not know.

| mode | a record with an unknown field | the field |
| --- | --- | --- |
| ``evolve`` | is accepted | is kept in ``extra_fields`` |
| ``discard_value`` | is accepted | is left out |
| ``freeze`` | is rejected as ``unknown_field`` | is in the rejection |

The modes are named as in dlt (dlt documentation: schema contracts), with two differences, because every
record has exactly one outcome. ``freeze`` rejects the record and continues, where dlt stops. And there is no
``discard_row``, which drops a row silently: the error message explains the nearest alternative. ``freeze``
also leaves out the record, but reports it, and never drops a single message from a transcript. In every mode,
all unknown fields are counted and reported.
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
    """The treatment of an unknown field."""

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
        """Parse the option ``--contract``: a mode for both tables, or ``TABLE=MODE`` pairs with commas.

        Raises:
            UsageError: A table or a mode does not exist.
        """
        modes: dict[str, Mode] = {}
        for part in text.split(",") if text is not None else ():
            table, is_single, mode = (word.strip() for word in part.rpartition("="))
            if mode == _DISCARD_ROW:
                raise UsageError(
                    f"{option('contract', repr(part.strip()))}: every dropped field is reported. Use "
                    f"{table}{is_single}freeze: it also leaves out the record, a transcript as a whole, and "
                    "the run continues; rejected.jsonl gives its file, number and field."
                )
            if mode not in set(Mode) or (is_single and table not in cls.__dataclass_fields__):
                raise UsageError(
                    f"{option('contract', repr(part.strip()))} is not valid. The tables are events and "
                    f"messages, the modes {', '.join(Mode)}; for example freeze, or events=freeze."
                )
            modes |= {table: Mode(mode)} if is_single else dict.fromkeys(cls.__dataclass_fields__, Mode(mode))
        return cls(**modes)

    def enforce(self, batch: EventBatch, seen: Counter[str]) -> EventBatch:
        """Return a batch with its unknown fields kept, discarded or rejected.

        Args:
            batch: The batch.
            seen: Counter of unknown fields by their path in the payload, to add to.
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
    """Count a record's unknown fields once each; see :func:`count_names`."""
    count_names(Counter({_LIST_INDEX.sub("[]", field)[:_LONGEST_NAME] for field in fields}), seen)


def count_names(names: Mapping[str, int], seen: Counter[str]) -> None:
    """Add counts of names. If there are very many, only the first are listed; long names are cut."""
    for full_name, count in names.items():
        name = full_name[:_LONGEST_NAME]
        seen[name if name in seen or len(seen) < _MOST_NAMES else _OTHERS] += count


def _rejection(batch: EventBatch, row: int, name: str) -> Rejection:
    table = "messages" if _OF_MESSAGES.match(name) else "events"
    detail = (
        f"{shortened(name)} is a field that the catalogue does not know, and the contract freezes {table}. "
        f"Accept it with --contract {table}=evolve."
    )
    file, record = (batch.rows[column][row].as_py() for column in ("source_file", "source_record"))
    return Rejection(file, record, Reason.UNKNOWN_FIELD, name, detail, batch.raw(row))
