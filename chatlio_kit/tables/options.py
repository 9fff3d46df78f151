"""On what terms an export is read, and what is found besides its records."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from chatlio_kit.captures import BARE, ENVELOPE
from chatlio_kit.chatlio.catalogue import TABLES, Privacy
from chatlio_kit.chatlio.redaction import Redaction, Way
from chatlio_kit.chatlio.rejections import on_one_line
from chatlio_kit.settings import redaction_key
from chatlio_kit.tables.validate.contract import Contract

_NAMED = 5
_OWN = frozenset({BARE.name, ENVELOPE.name})


@dataclass(frozen=True)
class FieldPolicy:
    """What the user decided about values that speak of people and about fields that nobody documented.

    Attributes:
        redaction: what becomes of each privacy class.
        contract: what becomes of unknown fields.
    """

    redaction: Redaction = field(default_factory=Redaction)
    contract: Contract = field(default_factory=Contract)

    @classmethod
    def from_options(cls, redact: str | None = None, contract: str | None = None) -> FieldPolicy:
        """Read the options ``--redact`` and ``--contract``.

        Raises:
            UsageError: when one of them cannot be meant.
            SettingsError: when values are to be hashed with a key and there is none.
        """
        return cls(Redaction.from_text(redact, redaction_key), Contract.from_text(contract))


@dataclass
class FieldFindings:
    """What was found besides records.

    Attributes:
        redaction: on what terms values were redacted.
        dialects: how many records a payload was taken from, by the dialect they were written in.
        fields: fields that the catalogue does not know, by their place, and in how many records they stood.
        unread: keys beside payloads that were not read, and in how many records they stood.
        siblings: elements that stand beside the one that ``--fields`` names, by the place of each of them.
        loose: accepted events of tables that do not keep the text that was captured.
        missed_twins: whether some of these were not compared with the records read before them.
        redacted: how many values were redacted, by ``table.column``.
    """

    redaction: Redaction = field(default_factory=Redaction)
    dialects: Counter[str] = field(default_factory=Counter)
    fields: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    siblings: Counter[str] = field(default_factory=Counter)
    loose: int = 0
    missed_twins: bool = False
    redacted: Counter[str] = field(default_factory=Counter)

    @property
    def unknown_fields(self) -> dict[str, int]:
        """The unknown fields, the most frequent first.

        Their names are strangers' words too: where content is redacted only their number is told.
        """
        return self._names(self.fields)

    @property
    def unread_keys(self) -> dict[str, int]:
        """The keys beside payloads that were not read, the most frequent first."""
        return self._names(self.unread)

    def _names(self, counts: Counter[str]) -> dict[str, int]:
        if counts and self.redaction.way_of(Privacy.CONTENT) is not Way.KEEP:
            return {f"({len(counts)} names, redacted)": counts.total()}
        return dict(_by_count(counts))

    @property
    def redacted_columns(self) -> list[dict[str, Any]]:
        """Each redacted column: its privacy class, what became of it, and of how many values."""
        found = []
        for table, fields in TABLES.items():
            for each in fields:
                name = f"{table}.{each.name}"
                if count := self.redacted[name]:
                    way = self.redaction.way_in_words(each)
                    found.append({"column": name, "class": str(each.privacy), "way": way, "values": count})
        return found

    def as_dict(self) -> dict[str, Any]:
        """Give the findings as ``report.json`` has them."""
        return {
            "dialects": dict(_by_count(self.dialects)),
            "unknown_fields": self.unknown_fields,
            "unread_keys": self.unread_keys,
            "redacted": self.redacted_columns,
        }

    def notes(self) -> list[str]:
        """Say the findings in sentences."""
        said = []
        if self.dialects.keys() - _OWN or len(self.dialects) > 1:
            shown = ", ".join(f"{name} {count:,}" for name, count in _by_count(self.dialects))
            said.append(f"records by dialect: {shown}")
        if names := self.unknown_fields:
            said.append(f"fields that the catalogue does not know, in how many records: {_first(names)}")
        if names := self.unread_keys:
            said.append(
                f"keys beside the payload that were not read, in how many records: {_first(names)}; "
                "if one is the time of arrival, the kind or the widget, name it with --fields, "
                f"as in widget={next(iter(names))}"
            )
        for place, count in _by_count(self.siblings):
            said.append(
                f"not read: {count:,} elements beside the one that --fields names; "
                f"payload={place} reads each of them"
            )
        if self.loose:
            compared = (
                "they were not compared with records read before them, since no file's name says that it "
                "holds a table"
                if self.missed_twins
                else "they were compared with all other records of this run, and nothing is there twice"
            )
            said.append(
                f"{self.loose:,} events came from tables that do not keep the text that was captured, so "
                f"their ids may differ from those of the same captures as JSON; {compared}. Where you have "
                "the same captures as JSON too, read both in one run"
            )
        if self.redaction.is_on:
            said.append(f"redacted {self.redacted.total():,} values: {self.redaction}")
        if self.redaction.way_of(Privacy.PSEUDONYM) is Way.DROP:
            said.append(
                "Without ids nothing tells conversations and visitors apart, so these tables have no rows; "
                "--redact drop,pseudonym=mask (in Python redact=) keeps them."
            )
        return said


def _first(names: dict[str, int]) -> str:
    """Write down the first of some counts, and how many more there are."""
    shown = ", ".join(f"{on_one_line(name)} {count:,}" for name, count in list(names.items())[:_NAMED])
    return f"{shown} and {len(names) - _NAMED:,} more" if len(names) > _NAMED else shown


def _by_count(counts: Counter[str]) -> list[tuple[str, int]]:
    """Give what was counted, the most frequent first."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
