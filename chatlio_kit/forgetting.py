"""One person, taken out of everything that is kept here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from chatlio_kit import local_platform
from chatlio_kit.arguments import checked, place
from chatlio_kit.backfilling import REPORTS
from chatlio_kit.delivery import Ledger
from chatlio_kit.delivery.erasing import erase_events, events_kept
from chatlio_kit.delivery.ledger import FILE as LEDGER
from chatlio_kit.display import Sheet
from chatlio_kit.errors import OutputError, UsageError, option
from chatlio_kit.opening import STORE
from chatlio_kit.settings import DEFAULT_STATE
from chatlio_kit.tables import REJECTED, Export, Settling
from chatlio_kit.tables.report import PAGE

_WHO = ("visitor_id", "visitor_email", "contact_email")
_CONVERSATION = "conversation_id"
_EVENT = ("_id", "event_id")
_SHOWN = 20
_ESCAPES = re.compile(r'\\[nrtbf"/\\]')


@dataclass
class Forgotten:
    """What was taken out, and what has to be taken out elsewhere.

    Attributes:
        events: rows of the ledger that were emptied.
        rejects: lines taken out of the reports' rejects.
        pages: report pages that were removed, since they showed such a line.
        lake_rows: rows taken out of the local platform.
        captures: records of the captures that hold the person: file and number.
    """

    events: int = 0
    rejects: int = 0
    pages: int = 0
    lake_rows: int = 0
    captures: list[tuple[str, int]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Give the same as JSON has it."""
        captures = [{"file": file, "record": record} for file, record in self.captures]
        return {
            "events": self.events,
            "rejects": self.rejects,
            "pages": self.pages,
            "lake_rows": self.lake_rows,
            "in_captures": captures,
        }

    def sheet(self) -> Sheet:
        """Show what was done and what is left to do."""
        rows = [
            ("rows of the ledger, emptied", self.events),
            ("rejects", self.rejects),
            ("report pages that showed them", self.pages),
            ("rows of the local platform", self.lake_rows),
        ]
        left = [f"still in the captures: {file} record {record:,}" for file, record in self.captures[:_SHOWN]]
        if len(self.captures) > _SHOWN:
            left.append(f"... and {len(self.captures) - _SHOWN:,} more; --json lists them")
        return Sheet(
            "Forgotten",
            ("taken out", "count"),
            rows,
            [
                *left,
                "Captures are yours to change: take the records out there too. Tables that convert wrote are "
                "made anew from them.",
                "Rows in Experience Platform are removed there, with a Privacy Service request or a record "
                "delete of data hygiene.",
                "The ledger keeps the digests of these events, so that no later backfill sends them again.",
            ],
        )

    def __repr__(self) -> str:
        return str(self.sheet())

    def _repr_html_(self) -> str:
        return self.sheet()._repr_html_()


@checked(state=place)
def forget(
    state: Path | str = DEFAULT_STATE,
    *,
    visitor_id: str | None = None,
    email: str | None = None,
    paths: Sequence[Path | str] = (),
    settling: Settling | None = None,
) -> Forgotten:
    """Take one person out of ledger, kept dead letters, reports, rejects, and the local platform.

    The ledger's rows hold digests and places, no names. To find those of a person, what was sent is looked
    for in the kept dead letters, in the local platform's rows, and in the captures that are named. A
    conversation in which the person is known belongs to the person whole.

    Args:
        state: the state folder.
        visitor_id: who is meant, as Chatlio numbers browsers.
        email: who is meant, by address, in any case; every visitor that has it is meant.
        paths: captures that were sent from this state folder; they are read and left as they are.
        settling: what was decided where captures say nothing.

    Raises:
        UsageError: when nobody is named, or the state folder does not exist.
        MissingPath: when captures are named that do not exist.
        LedgerBusy: when a run is sending from this state folder.
        OutputError: when the local platform does not end.
    """
    state = Path(state)
    names = [each.strip() for each in (visitor_id, email) if each and each.strip()]
    if not names:
        whom = f"{option('visitor_id')} or {option('email')}"
        raise UsageError(f"Nobody is named. Say whom to forget with {whom}.")
    if not state.is_dir():
        raise UsageError(f"There is no state folder {str(state)!r}. Name the one that was sent from.")
    person = _Person(names)
    forgotten = Forgotten()
    if paths:
        _look_into_captures(person, Export(paths, settling or Settling()), forgotten)
    store, has_ledger = state / STORE, (state / LEDGER).exists()
    for _ in range(2):  # what the ledger tells may lead to further rows of the lake, and the other way round
        if has_ledger:
            with Ledger(state) as ledger:
                for event_id, text in events_kept(ledger, person.speaks).items():
                    person.events.add(event_id)
                    person.learn(_parsed(text))
        if store.is_dir():
            person.learn(local_platform.find_rows(store, person.speaks))
    if has_ledger:
        with Ledger(state) as ledger, ledger.alone():
            forgotten.events = erase_events(ledger, sorted(person.events))
    person.add(sorted(person.events))  # where ids were redacted, only these lead to the lake's rows
    if store.is_dir():
        try:
            forgotten.lake_rows = local_platform.erase_rows(store, person.speaks)
        except local_platform.CannotServe as error:
            raise OutputError(f"The local platform keeps its rows: {error}. End it and try again.") from error
    _clean_reports(state / REPORTS, person.speaks, forgotten)
    return forgotten


class _Person:
    """What tells that a text speaks of the person: ids and addresses, more of them as they are found."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names: set[str] = set()
        self.events: set[str] = set()
        self.add(names)

    def add(self, names: Iterable[str]) -> None:
        """Learn further names; whole ones only count, so that no longer one is meant by a part of it."""
        self._names |= {each.lower() for each in names}
        any_of_them = "|".join(re.escape(each) for each in sorted(self._names))
        self._pattern = re.compile(rf"(?<![\w.+%-])(?:{any_of_them})(?!\.?[\w-])")

    def speaks(self, text: str) -> bool:
        """Whether a text, perhaps JSON, holds one of the names."""
        return self._pattern.search(_ESCAPES.sub(" ", _plain(text)).lower()) is not None

    def learn(self, rows: Iterable[Any]) -> None:
        """Learn the events of rows that hold one of the names.

        Who is the visitor of a row that is the person's own is learnt too, and its conversation; a stranger's
        row that only mentions the person leads no further.
        """
        found: set[str] = set()
        for row in rows:
            told = list(_members(row))
            self.events |= {value for name, value in told if name in _EVENT}
            if any(name in _WHO and value.lower() in self._names for name, value in told):
                found |= {value for name, value in told if name in ("visitor_id", _CONVERSATION)}
        self.add(sorted(found))

    def among(self, events: pd.DataFrame) -> pd.Series[bool]:
        """Say which events name the person as their visitor, or belong to a conversation that does."""
        columns = [events[name].str.strip().str.lower() for name in (*_WHO, _CONVERSATION)]
        return pd.concat([each.isin(self._names) for each in columns], axis=1).any(axis=1)


def _look_into_captures(person: _Person, export: Export, forgotten: Forgotten) -> None:
    """Find the person's events: an address leads to visitors, these to conversations and transcripts."""
    known = -1
    while known != len(person.events):
        known = len(person.events)
        places: set[tuple[str, int]] = set()
        for sifted in export.sifted():
            events = sifted.built.events
            theirs = events[person.among(events)]
            person.add([*theirs["visitor_id"].dropna(), *theirs[_CONVERSATION].dropna()])
            person.events |= set(theirs["event_id"])
            places |= set(zip(theirs["source_file"], theirs["source_record"].astype(int), strict=True))
            rejected = (each for each in sifted.built.rejected if person.speaks(each.raw or ""))
            places |= {(each.file, each.record) for each in rejected}
        forgotten.captures = sorted(places)


def _clean_reports(reports: Path, speaks: Callable[[str], bool], forgotten: Forgotten) -> None:
    for path in sorted(reports.glob(f"*/{REJECTED}")):
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if not any(speaks(text) for text in _texts(json.loads(line)))]
        if len(kept) == len(lines):
            continue
        forgotten.rejects += len(lines) - len(kept)
        unfinished = path.with_name(f".{path.name}.partial")
        unfinished.write_bytes(b"".join(kept))
        unfinished.replace(path)
        page = path.with_name(PAGE)
        if page.exists():
            page.unlink()
            forgotten.pages += 1


def _plain(text: str) -> str:
    """Write JSON without the escapes in which a name could hide."""
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _parsed(text: str) -> Iterator[Any]:
    try:
        yield json.loads(text)
    except ValueError:
        return


def _members(value: Any) -> Iterator[tuple[str, str]]:
    """Give the texts inside a value by their names, however deep they stand."""
    if isinstance(value, dict):
        for name, inside in value.items():
            if isinstance(inside, str):
                yield name, inside
            yield from _members(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _members(inside)


def _texts(told: dict[str, Any]) -> Iterator[str]:
    return (each for each in told.values() if isinstance(each, str))
