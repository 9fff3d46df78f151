"""Audit identities before they are used: coverage, values that different people share, and graphs.

| verdict | when |
| --- | --- |
| red | a graph holds over 50 identities; one value is on over 1 % of the visitors and on more than 5; fewer than half of the events get an identity; an agent's address is a visitor's identity |
| amber | one value is on more than 5 visitors; a role address such as info@ is an identity; a graph joins several e-mail addresses; fewer than four fifths of the events get an identity |
| green | none of these |

The result contains no ids or addresses: values are masked, and identified by the record they were read from.
"""  # noqa: E501 - a table

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pandas as pd

from chatlio_kit.analysis.identity_graphs import LARGEST, IdentityGraphs
from chatlio_kit.arguments import checked, named, text_or_texts
from chatlio_kit.chatlio.catalogue import EVENTS
from chatlio_kit.chatlio.identities import (
    DEFAULT,
    EMAIL,
    EMAILS,
    TRAITS,
    USER,
    VISITOR,
    ConversationVisitors,
    Flaw,
    Identity,
    field_values,
    identity_columns,
    parse_identities,
)
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.chatlio.redaction import MASK, masked
from chatlio_kit.counting import counted
from chatlio_kit.display import Progress, Sheet
from chatlio_kit.display.sheet import FormattedNumber
from chatlio_kit.errors import UsageError, option
from chatlio_kit.tables import Export, Tables, empty, revalidate

if TYPE_CHECKING:
    from chatlio_kit.display.figure import Picture

COLUMNS = (
    "kind", "occurred_at", "conversation_id", VISITOR, USER, *EMAILS, "visitor_traits", "agent_email",
    "source_file", "source_record",
)  # fmt: skip
"""The columns of ``events`` that an audit reads."""
MANY_VISITORS = 5
RED_SHARE = 0.01
LEAST_COVERAGE, GOOD_COVERAGE = 0.5, 0.8

_ROLES = frozenset((
    "admin", "contact", "hello", "help", "info", "mail", "marketing", "no-reply", "noreply", "office",
    "postmaster", "sales", "service", "support", "team", "test", "webmaster",
))  # fmt: skip
_NAMED = 5
_CANDIDATES = (
    Identity(VISITOR, "ChatlioVisitor"),
    Identity(USER, "UserId"),
    *(Identity(name, EMAIL) for name in EMAILS),
)


class Light(StrEnum):
    """The verdict of an audit."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"


@dataclass(frozen=True)
class SharedValue:
    """A value that suspiciously many visitors share, or that is not a visitor's.

    Attributes:
        shown: The value, masked.
        visitors: Number of visitors with the value.
        whose: ``agent`` or ``role`` if it is such an address; otherwise empty.
        file: The file in which it was first read, with ``record``.
    """

    shown: str
    visitors: int
    whose: str
    file: str
    record: int


@dataclass(frozen=True)
class FieldAudit:
    """One field as an identity.

    Attributes:
        field: The field.
        namespace: Its namespace; None if none was chosen.
        valid: Events with a valid value, by kind.
        distinct: Number of distinct valid values.
        blank: Events without a value.
        blocked: Events whose value is blocked, or identifies no one.
        invalid: Events whose value does not have the format of its namespace.
        shared: Values that need attention, those of most visitors first.
    """

    field: str
    namespace: str | None
    valid: dict[str, int]
    distinct: int
    blank: int
    blocked: int
    invalid: int
    shared: tuple[SharedValue, ...]


@dataclass(frozen=True, repr=False)
class IdentityAudit:
    """The effect of identities on some events.

    Attributes:
        identities: The identities, in order of precedence.
        events: Events by kind.
        identified: Events that get an identity, by kind; a transcript gets its conversation's visitor.
        visitors: Number of visitors that the events name.
        fields: The fields, chosen ones first.
        graphs: The people that the events would become.
        light: The verdict.
        reasons: Reasons for the verdict, as sentences.
        times: The time of each event.
    """

    identities: tuple[Identity, ...]
    events: dict[str, int]
    identified: dict[str, int]
    visitors: int
    fields: tuple[FieldAudit, ...]
    graphs: IdentityGraphs
    light: Light
    reasons: tuple[str, ...]
    times: pd.Series[pd.Timestamp] = field(compare=False)

    def share_older_than(self, age: timedelta, now: datetime) -> float:
        """Return the share of events that are older than a time."""
        return float((self.times < pd.Timestamp(now - age)).mean()) if len(self.times) else 0.0

    @property
    def coverage(self) -> float:
        """The share of events that get an identity."""
        return sum(self.identified.values()) / max(1, sum(self.events.values()))

    @property
    def exit_code(self) -> int:
        """1 if the verdict is red, otherwise 0."""
        return int(self.light is Light.RED)

    def as_dict(self) -> dict[str, Any]:
        """Return the audit as plain data for JSON, without ids and addresses."""
        return {
            "identities": [str(identity) for identity in self.identities],
            "verdict": self.light.value,
            "reasons": list(self.reasons),
            "events": self.events,
            "identified": self.identified,
            "visitors": self.visitors,
            "fields": [asdict(one) for one in self.fields],
            "graphs": {
                "count": self.graphs.count,
                "identities": self.graphs.identities,
                "largest": self.graphs.largest,
                "over_50": self.graphs.too_large,
                "with_several_emails": self.graphs.joined_emails,
                "by_size": {str(size): count for size, count in sorted(self.graphs.sizes.items())},
            },
        }

    def sheets(self) -> tuple[Sheet, ...]:
        """Return the audit as tables: the verdict and coverage, the fields, the graphs."""
        kinds = []
        for kind, count in self.events.items():
            identified = self.identified.get(kind, 0)
            kinds.append(
                (kind.replace("_", " "), count, identified, FormattedNumber(f"{identified / count:.0%}"))
            )
        fields = [
            (
                one.field,
                one.namespace or "not chosen",
                sum(one.valid.values()),
                one.distinct,
                one.blank,
                one.blocked + one.invalid,
                max((value.visitors for value in one.shared), default=0),
            )
            for one in self.fields
        ]
        headings = ("field", "namespace", "valid", "distinct", "blank", "blocked", "visitors sharing a value")
        sizes = [(FormattedNumber(f"{size:,}"), count) for size, count in sorted(self.graphs.sizes.items())]
        chains = list(dict.fromkeys(f"One of the largest: {_chain(one)}." for one in self.graphs.members))
        total = (
            f"{counted(self.graphs.identities, 'identity makes', 'identities make')} "
            f"{counted(self.graphs.count, 'person', 'people')}."
        )
        return (
            Sheet(
                f"Identities {', '.join(map(str, self.identities))}: {self.light}",
                ("kind", "events", "with an identity", "share"),
                kinds,
                self.reasons,
            ),
            Sheet("Fields", headings, fields, _about_shared(self.fields)),
            Sheet("Identity graphs", ("identities in it", "graphs"), sizes, (total, *chains)),
        )

    def picture(self) -> Picture:
        """Draw coverage by kind, and graphs by size."""
        from chatlio_kit.analysis.identity_picture import draw  # noqa: PLC0415 - only a drawing needs matplotlib

        return draw(self)

    def __repr__(self) -> str:
        return "\n\n".join(map(str, self.sheets()))

    def _repr_html_(self) -> str:
        return "".join(sheet._repr_html_() for sheet in self.sheets())


def _tables(name: str, value: object) -> None:
    if not isinstance(value, Tables | pd.DataFrame):
        raise UsageError(
            f"{option(name)} is tables, as read_export(...).to_tables() returns them, not {named(value)}."
        )


@checked(tables=_tables, identities=text_or_texts)
def audit_identities(
    tables: Tables | pd.DataFrame, identities: str | Sequence[str] = (DEFAULT,)
) -> IdentityAudit:
    """Audit identities over frames, before anything is created on a platform. Reads only.

    Args:
        tables: The frames, or the frame ``events`` alone.
        identities: The fields that identify the visitor, as ``FIELD=NAMESPACE``.

    Returns:
        Coverage, values that need attention, graphs, and a verdict: green, amber or red.

    Raises:
        UsageError: An identity is invalid, or a field may not be an identity.
        FrameError: A frame no longer has its columns and dtypes.
    """
    chosen = parse_identities([identities] if isinstance(identities, str) else identities)
    if not chosen:
        raise UsageError(f"Name an identity to audit, e.g. identities=[{DEFAULT!r}].")
    frame = tables if isinstance(tables, pd.DataFrame) else tables.events
    return _audited(revalidate(frame, empty("messages")).events, chosen)


def _audited(frame: pd.DataFrame, chosen: tuple[Identity, ...]) -> IdentityAudit:
    """Audit accepted events, of which only some columns are needed."""
    events = frame.reset_index(drop=True)
    conversations = ConversationVisitors()
    conversations.add(events)
    visitors = conversations.of(events)
    columns = identity_columns(events, chosen, visitors)
    has_identity = pd.Series(data=False, index=events.index)
    for column in columns:
        has_identity |= column.ids.notna()
    visitor_of = events[VISITOR].fillna(visitors)
    others = [other for other in _CANDIDATES if other.field not in {identity.field for identity in chosen}]
    audit = _Audit(events, visitor_of)
    fields = [audit.field(identity, is_chosen=True) for identity in chosen]
    graphs = IdentityGraphs.of(columns)
    by_kind, identified = _by_kind(events["kind"]), _by_kind(events.loc[has_identity, "kind"])
    light, reasons = _verdict(fields, graphs, int(has_identity.sum()), len(events), audit.visitors)
    return IdentityAudit(
        chosen,
        by_kind,
        identified,
        audit.visitors,
        (*fields, *(audit.field(identity, is_chosen=False) for identity in others)),
        graphs,
        light,
        tuple(reasons),
        events["occurred_at"],
    )


def audit_export(
    export: Export, identities: Sequence[str] | None = None, *, quiet: bool = False
) -> IdentityAudit:
    """Audit identities over captures, with only the needed columns in memory.

    Args:
        export: The captures.
        identities: The fields that identify the visitor; by default ``visitor_id=ChatlioVisitor``.
        quiet: If true, hide progress.

    Raises:
        UsageError: An identity is invalid, or a field may not be an identity.
    """
    chosen = parse_identities(identities or (DEFAULT,))  # an invalid one is reported before anything is read
    frames = [empty("events")[list(COLUMNS)]]
    with Progress("reading", None, "records", quiet=quiet) as progress:
        for batch in export.batches():
            frames.append(batch.events[list(COLUMNS)])
            progress.advance(batch.records)
    return _audited(pd.concat(frames), chosen)


class _Audit:
    """The events of one audit, and the visitor of each."""

    def __init__(self, events: pd.DataFrame, visitor_of: pd.Series[str]) -> None:
        self._events = events
        self._visitor_of = visitor_of
        self.visitors = int(visitor_of.nunique())
        agents = events["agent_email"].dropna().unique()
        self._agents = {address.strip().lower() for address in agents if "@" in address}

    def field(self, identity: Identity, *, is_chosen: bool) -> FieldAudit:
        """Audit one field."""
        values = field_values(self._events, identity.field)
        readings = {value: identity.read(value) for value in values.dropna().unique()}
        ids = values.map({value: found for value, (found, _) in readings.items()}).astype("str")
        flaws = values.map({value: flaw for value, (_, flaw) in readings.items()})
        return FieldAudit(
            identity.field,
            identity.namespace if is_chosen else None,
            _by_kind(self._events.loc[ids.notna(), "kind"]),
            int(ids.nunique()),
            int(values.isna().sum()) + int((flaws == Flaw.BLANK).sum()),
            int((flaws == Flaw.BLOCKED).sum()),
            int((flaws == Flaw.INVALID).sum()),
            tuple(self._shared(identity, values, ids)),
        )

    def _shared(
        self, identity: Identity, values: pd.Series[str], ids: pd.Series[str]
    ) -> Iterator[SharedValue]:
        """Yield the values of more than 5 visitors, and addresses that are not a visitor's."""
        if identity.field == VISITOR:
            return
        visitors = self._visitor_of.groupby(ids).nunique().sort_values(ascending=False, kind="stable")
        plain = values.groupby(ids).first().str.strip().str.lower().to_dict()
        for value, count in visitors.items():
            whose = self._whose(str(plain[value])) if identity.is_email else ""
            if count > MANY_VISITORS or whose:
                position = int((ids == value).to_numpy().argmax())
                first = self._events.iloc[position]
                yield SharedValue(
                    _masked(str(values.iloc[position]), identity.field),
                    int(count),
                    whose,
                    str(first["source_file"]),
                    int(first["source_record"]),
                )

    def _whose(self, address: str) -> str:
        if address in self._agents:
            return "agent"
        return "role" if address.partition("@")[0] in _ROLES else ""


def _verdict(
    fields: Sequence[FieldAudit], graphs: IdentityGraphs, identified: int, events: int, visitors: int
) -> tuple[Light, list[str]]:
    red, amber = [], []
    if graphs.too_large:
        red.append(
            f"Identity graphs with over {LARGEST} identities: {graphs.too_large:,}, the largest with "
            f"{graphs.largest:,}. Experience Platform would drop the oldest and answer no lookups."
        )
    for one in fields:
        for value in one.shared:
            where = f"first in {value.file} record {value.record:,}"
            on = f"{one.field} {value.shown} is on {value.visitors:,} of {counted(visitors, 'visitor')}"
            if value.whose == "agent":
                red.append(f"An agent's address is a visitor's identity: {on} ({where}).")
            elif value.visitors > max(MANY_VISITORS, visitors * RED_SHARE):
                red.append(f"One value would merge different people into one: {on} ({where}).")
            elif value.whose == "role":
                amber.append(f"A role address belongs to no one person: {on} ({where}).")
            else:
                amber.append(f"{on} ({where}).")
    if graphs.joined_emails:
        amber.append(
            f"{counted(graphs.joined_emails, 'person', 'people')} would have several e-mail addresses."
        )
    share = identified / max(1, events)
    if share < GOOD_COVERAGE:
        without = f"{events - identified:,} of {events:,} events get no identity and stay only in the lake."
        (red if share < LEAST_COVERAGE else amber).append(without)
    light = Light.RED if red else Light.AMBER if amber else Light.GREEN
    return light, [*_some(red), *_some(amber)] or ["No objection to these identities was found."]


def _some(reasons: list[str]) -> list[str]:
    more = len(reasons) - _NAMED
    return [*reasons[:_NAMED], *([f"{more:,} more of this type; --json lists them."] if more > 0 else [])]


def _by_kind(kinds: pd.Series[str]) -> dict[str, int]:
    counts = kinds.value_counts()
    return {str(kind): int(counts[kind]) for kind in Kind if kind in counts.index}


def _masked(value: str, field: str) -> str:
    if field.startswith(TRAITS):
        return MASK
    return masked(value, next(column for column in EVENTS if column.name == field))


def _about_shared(fields: Iterable[FieldAudit]) -> list[str]:
    sentences = [
        f"{one.field} {value.shown}: {counted(value.visitors, 'visitor')}"
        + (f", {value.whose}" if value.whose else "")
        + f"; first in {value.file} record {value.record:,}"
        for one in fields
        for value in one.shared
    ]
    return _some(sentences)


def _chain(members: tuple[str, ...]) -> str:
    """Describe a graph with pseudonyms that mean nothing outside the sentence."""
    counts: dict[str, int] = {}
    for namespace in members:
        counts[namespace] = counts.get(namespace, 0) + 1
    parts = [f"{code} 1 to {count:,}" if count > 1 else f"{code} 1" for code, count in counts.items()]
    return f"{counted(len(members), 'identity', 'identities')}, {', '.join(parts)}"
