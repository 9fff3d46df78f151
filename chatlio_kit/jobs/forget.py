"""One person, taken out of everything that is kept here, and the truth about what is kept elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from chatlio_kit import local_platform
from chatlio_kit.arguments import checked, place
from chatlio_kit.chatlio.person import ADDRESS, CONVERSATION, VISITOR, WHO, Person
from chatlio_kit.connection import Destination
from chatlio_kit.delivery import Ledger
from chatlio_kit.delivery.ledger.erasure import (
    answers_to,
    erase_events,
    events_kept,
    files_known,
    known_among,
    sent_elsewhere,
)
from chatlio_kit.delivery.run_options import reading_of, readings
from chatlio_kit.display import Sheet
from chatlio_kit.errors import DONE, FAILED, OutputError, UsageError, option
from chatlio_kit.jobs.backfill import REPORTS
from chatlio_kit.jobs.platforms import STORE
from chatlio_kit.settings import DEFAULT_STATE
from chatlio_kit.tables import Export, FieldPolicy, ReadOptions
from chatlio_kit.tables.erasure import (
    ErasedFiles,
    check_tables,
    erase_from_report,
    erase_from_tables,
    learn_from_tables,
)
from chatlio_kit.tables.pipeline import validate_batches

UNFINISHED = "forgetting.json"
"""What is known of a person while they are being forgotten; a kill leaves it, and the next call goes on."""

_SHOWN = 20
_BLOCK = 1 << 22
_OVERLAP = 1 << 12
_DATABASES = frozenset({".db", ".sqlite3", ".db-wal", ".sqlite3-wal"})
_ROWS = "SELECT _id, timestamp, eventType FROM your_table"
_COLUMNS = {
    VISITOR: ("visitor_id",),
    ADDRESS: ("visitor_email", "contact_email"),
    CONVERSATION: ("conversation_id",),
}


@dataclass(frozen=True)
class Place:
    """One place that was looked at.

    Attributes:
        name: what it is called.
        was_there: whether there was anything to look at.
        removed: how much was taken out of it.
        left: how much of the person is left in it, as far as that was found.
        remove_by: who takes out what is left, and how; empty where nothing is left.
    """

    name: str
    was_there: bool
    removed: int = 0
    left: int = 0
    remove_by: str = ""


@dataclass
class Forgotten:
    """Where a person was looked for, what was taken out, and what is left for others to take out.

    Attributes:
        events: rows of the ledger that were emptied.
        rejects: lines taken out of the rejects.
        pages: report pages that were removed, since they showed such a line.
        lake_rows: rows taken out of the local platform.
        captures: records of the captures that hold the person: file and number.
        tables: rows taken out of the tables that were named, by table.
        places: every place that was looked at.
        notes: sentences on what could not be done.
        sql: a query that finds the person's rows on Experience Platform; None where nothing was sent there.
        event_ids: the ids of all events that name the person.
    """

    events: int = 0
    rejects: int = 0
    pages: int = 0
    lake_rows: int = 0
    captures: list[tuple[str, int]] = field(default_factory=list)
    tables: dict[str, int] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sql: str | None = None
    event_ids: list[str] = field(default_factory=list)

    @property
    def found(self) -> bool:
        """Whether the person was found anywhere."""
        return bool(self.event_ids) or any(place.removed or place.left for place in self.places)

    @property
    def exit_code(self) -> int:
        """0 when the person was found, 1 when they were not."""
        return DONE if self.found else FAILED

    def as_dict(self) -> dict[str, Any]:
        """Return the same as JSON has it."""
        return {
            "found": self.found,
            "events": self.events,
            "rejects": self.rejects,
            "pages": self.pages,
            "lake_rows": self.lake_rows,
            "tables": self.tables,
            "in_captures": [{"file": file, "record": record} for file, record in self.captures],
            "places": [
                {
                    "place": place.name,
                    "looked_at": place.was_there,
                    "removed": place.removed,
                    "left": place.left,
                    "remove_by": place.remove_by,
                }
                for place in self.places
            ],
            "notes": self.notes,
            "sql": self.sql,
            "event_ids": self.event_ids,
        }

    def sheet(self) -> Sheet:
        """Show what was done and what is left to do."""
        rows = [
            (place.name, place.removed, place.left)
            if place.was_there
            else (f"{place.name} (not there)", None, None)
            for place in self.places
        ]
        said = [f"Left in {place.name}: {place.remove_by}" for place in self.places if place.left]
        said += [f"  {file} record {record:,}" for file, record in self.captures[:_SHOWN]]
        if len(self.captures) > _SHOWN:
            said.append(f"  ... and {len(self.captures) - _SHOWN:,} more; --json lists them")
        title = "Forgotten" if self.found else "Nobody was found, and nothing was taken out."
        sql = [self.sql] if self.sql else []
        return Sheet(title, ("looked at", "removed", "left"), rows, [*said, *self.notes, *sql])

    def __repr__(self) -> str:
        return str(self.sheet())

    def _repr_html_(self) -> str:
        return self.sheet()._repr_html_()


@checked(state=place)
def forget(
    captures: Export | Path | str | Sequence[Path | str] = (),
    *,
    email: str | None = None,
    visitor_id: str | None = None,
    state: Path | str = DEFAULT_STATE,
    tables: Path | str | Sequence[Path | str] = (),
    kind: str | None = None,
    undated_as: str | None = None,
    fields: str | Mapping[str, str] | None = None,
    redact: str | None = None,
    contract: str | None = None,
    exclude: Sequence[str] = (),
    encoding: str | None = None,
) -> Forgotten:
    """Take one person out of ledger, dead letters, rejects, reports, the local platform, and tables.

    The ledger's rows hold digests and places, no names. To find those of a person, name the captures that
    were sent, and read them as they were read then: with the same ``kind``, ``undated_as`` and ``fields``.
    What is kept leads to further events by itself. A conversation in which the person is known belongs to
    the person whole; an event of somebody else that mentions the person is taken out too.

    Broken off at any moment, the next call finishes the job.

    Args:
        captures: captures that were sent from this state folder; they are read and left as they are.
        email: who is meant, by address, in any case and encoding; every visitor that has it is meant.
        visitor_id: who is meant, as Chatlio numbers browsers.
        state: the state folder.
        tables: folders of tables that ``convert`` wrote; the person's rows are taken out of them.
        kind: as for :func:`read_export`.
        undated_as: as for :func:`read_export`.
        fields: as for :func:`read_export`.
        redact: as for :func:`read_export`; with ``hash:keyed``, rows that the key hashed are found as well.
        contract: as for :func:`read_export`; records are found whatever it says.
        exclude: as for :func:`read_export`.
        encoding: as for :func:`read_export`.

    Returns:
        What was found: each place that was looked at, what was taken out, what is left and who removes it.

    Raises:
        UsageError: when nobody is named, an option cannot be meant, or a folder is not what it should be.
        MissingPath: when captures are named that do not exist.
        LedgerBusy: when a run is sending from this state folder; then nothing was changed.
        OutputError: when the local platform does not end, or a file cannot be written.
    """
    state = Path(state)
    names = [each.strip() for each in (visitor_id, email) if each and each.strip()]
    if not names:
        whom = f"{option('visitor_id')} or {option('email')}"
        raise UsageError(f"Nobody is named. Say whom to forget with {whom}.")
    if not state.is_dir():
        raise UsageError(f"There is no state folder {str(state)!r}. Name the one that was sent from.")
    folders = [Path(each) for each in ([tables] if isinstance(tables, Path | str) else tables)]
    for folder in folders:
        check_tables(folder)
    terms = FieldPolicy.from_options(redact, contract)
    export = _export(captures, ReadOptions.from_options(kind, undated_as, fields), exclude, encoding)
    person = Person(visitor_id, email, terms.redaction)
    with Ledger(state) as ledger, ledger.alone():
        forgetting = _Forgetting(state, person, folders, export, ledger)
        forgetting.find()
        forgetting.erase()
        return forgetting.found


class _Forgetting:
    """A person while they are looked for and taken out; the state folder is held meanwhile."""

    def __init__(
        self, state: Path, person: Person, tables: list[Path], export: Export | None, ledger: Ledger
    ) -> None:
        self.found = Forgotten()
        self._state, self._store = state, state / STORE
        self._person, self._tables, self._export, self._ledger = person, tables, export, ledger
        self._unread = 0
        self._named: list[str] = []
        self._files: list[str] = []

    def find(self) -> None:
        """Learn all that leads to the person, before anything of it is taken out."""
        person, ledger = self._person, self._ledger
        if self._store.is_dir():
            try:
                local_platform.stop(self._store)
            except local_platform.CannotServe as error:
                raise _not_ended(error) from error
        _go_on(self._state / UNFINISHED, person)
        known = -1
        while known != person.known:  # each place may lead to more in every other
            known = person.known
            person.look_again()
            if self._export is not None:
                self._look_into_captures(self._export)
            for event_id, text in events_kept(ledger, person.speaks).items():
                person.events.add(event_id)
                person.learn(_parsed(text))
            if self._store.is_dir():
                person.learn(local_platform.find_rows(self._store, person.speaks))
            for folder in self._tables:
                learn_from_tables(folder, person)
        person.words |= answers_to(ledger, person.events)
        self._files = [name for name in files_known(ledger) if person.names_file(name)]
        self.found.event_ids = sorted(person.events)

    def erase(self) -> None:
        """Take out what was found; what leads to the rest goes last."""
        unfinished = self._state / UNFINISHED
        _write_privately(unfinished, self._person)
        found, person = self.found, self._person
        reports, in_tables = ErasedFiles(), ErasedFiles()
        for folder in sorted(each for each in (self._state / REPORTS).glob("*") if each.is_dir()):
            erase_from_report(folder, person, reports)
        for folder in self._tables:
            erase_from_tables(folder, person, in_tables)
        erased = local_platform.Erased()
        if self._store.is_dir():
            try:
                erased = local_platform.erase_rows(self._store, person.speaks)
            except local_platform.CannotServe as error:
                raise _not_ended(error) from error
        elsewhere = sent_elsewhere(self._ledger, person.events)
        forgotten_before = known_among(self._ledger, person.events)
        found.events = erase_events(self._ledger, sorted(person.events), self._files)
        unfinished.unlink()
        found.rejects, found.pages, found.lake_rows = reports.rejects, reports.pages, erased.rows
        found.tables = in_tables.rows
        self._tell(reports, in_tables, erased)
        self._tell_elsewhere(elsewhere)
        if forgotten_before > found.events:
            found.notes.append(
                f"{forgotten_before - found.events:,} rows of the ledger were forgotten before."
            )
        self._tell_what_is_still_there()

    def _look_into_captures(self, export: Export) -> None:
        """Find the person's records: an address leads to visitors, these to conversations and transcripts.

        Repeated records are looked at like any other, since they hold the person too.
        """
        person = self._person
        places: set[tuple[str, int]] = set()
        unread: set[tuple[str, int]] = set()
        with export.create_pool() as pool:
            for built in validate_batches(export.captures.pieces(), export.settling, pool):
                raws = built.piece.raws
                speaking = {place for place, raw in enumerate(raws) if person.speaks(_text(raw))}
                events = built.events
                theirs = person.among(events) | pd.Series(
                    [place in speaking for place in built.places.tolist()], index=events.index, dtype=bool
                )
                rows = events[theirs]
                person.learn_fields(rows["extra_fields"], events.loc[~theirs, "extra_fields"])
                person.learn(rows[[*WHO, CONVERSATION, "event_id"]].astype(object).to_dict("records"))
                places |= set(zip(rows["source_file"], rows["source_record"].astype(int), strict=True))
                unread |= {
                    (each.file, each.record) for each in built.rejected if person.speaks(each.raw or "")
                }
        self.found.captures = sorted(places | unread)
        self._unread = len(unread)
        self._named = [each.name for each in export.captures.files if person.names_file(each.name)]

    def _tell(self, reports: ErasedFiles, in_tables: ErasedFiles, erased: local_platform.Erased) -> None:
        found, state = self.found, self._state
        has_reports = (state / REPORTS).is_dir()
        found.places = [
            Place("ledger, with its dead letters", was_there=True, removed=found.events),
            Place("names of files in the ledger", was_there=True, removed=len(self._files)),
            Place("rejects", has_reports, reports.rejects),
            Place("names of files in rejects", has_reports, reports.renamed),
            Place("report pages", has_reports, reports.pages),
            Place("reports as JSON", has_reports, reports.reports),
            Place("remains of broken-off runs", has_reports, reports.partials),
            Place("local platform", self._store.is_dir(), erased.rows),
            Place("its batches, runs and log", self._store.is_dir(), erased.descriptions + erased.log_lines),
        ]
        if self._tables:
            found.places += [
                Place("tables", was_there=True, removed=sum(in_tables.rows.values())),
                Place("rejects and reports beside them", was_there=True, removed=in_tables.beside_tables),
            ]
            self._tell_unfinished_tables()
        if self._export is not None:
            left = len(found.captures) + len(self._named)
            advice = "the captures are yours to change: take these records out there"
            if self._named:
                advice += f"; {len(self._named):,} files are called after the person: rename them"
            found.places.append(Place("captures", was_there=True, left=left, remove_by=advice))
        else:
            found.notes.append(
                "No captures were named. The ledger keeps digests only, so events that are neither dead "
                "letters nor on the local platform are found through the captures that were sent."
            )
        reading = "" if self._export is None else reading_of(self._export.settling)
        if self._export is not None and (
            others := [each for each in readings(self._ledger) if each != reading]
        ):
            found.notes.append(
                f"Earlier runs read captures {' and '.join(each or 'without options' for each in others)}. "
                "What was sent so is found when forget is run with the same."
            )
        if self._unread:
            found.notes.append(
                f"{self._unread:,} of the records in captures could not be read, so their events are not "
                "known. If they were sent with --kind, --undated-as or --fields, run forget again with the "
                "same options (in Python kind=, undated_as=, fields=)."
            )
        if not self._tables:
            found.notes.append(
                "Tables that convert wrote were not looked at: name their folders with --tables (tables=)."
            )
        if found.events:
            found.notes.append(
                "The ledger keeps the digests of these events, so that no later backfill sends them again."
            )

    def _tell_unfinished_tables(self) -> None:
        for folder in self._tables:
            if left := len(list(folder.glob(".unfinished-*"))):
                advice = f"delete the folders .unfinished-* in {str(folder)!r}, or run convert there again"
                self.found.places.append(
                    Place("conversions that were broken off", was_there=True, left=left, remove_by=advice)
                )

    def _tell_elsewhere(self, elsewhere: Mapping[Destination, int]) -> None:
        """Say what is left on Experience Platform, and what removes it."""
        if not elsewhere:
            return
        for destination, count in elsewhere.items():
            advice = (
                f"in dataset {destination.dataset} nothing removes single rows. They carry no identity, so "
                "neither a Privacy Service request nor a record delete of data hygiene finds them. What "
                "removes them is deleting the batches that hold them, with all other rows of these batches, "
                "or the dataset. The query below finds the rows."
            )
            self.found.places.append(Place(f"Experience Platform, {destination}", True, 0, count, advice))
        self.found.sql = _query(self._person)
        self.found.notes.append(
            "In the query put your dataset's table for your_table and your tenant for _tenant. It finds rows "
            "by our columns. Redacted rows, and rows whose text mentions the person, are found by _id: "
            "--json lists event_ids."
        )

    def _tell_what_is_still_there(self) -> None:
        """Look through every byte of the state folder, and name the files that still hold the person."""
        left = [path for path in sorted(self._state.rglob("*")) if path.is_file() and self._holds(path)]
        for path in left:
            advice = "this file is none that chatlio_kit knows how to change: look into it yourself"
            self.found.places.append(
                Place(str(path.relative_to(self._state)), was_there=True, left=1, remove_by=advice)
            )

    def _holds(self, path: Path) -> bool:
        if path.suffix == ".parquet":
            return False  # its rows were looked at one by one
        is_database = path.suffix in _DATABASES
        with path.open("rb") as file:
            before = b""
            while block := file.read(_BLOCK):
                text = before + block
                if self._person.is_in_bytes(text) or (not is_database and self._person.speaks(_text(text))):
                    return True
                before = text[-_OVERLAP:]
        return False


def _export(
    captures: Export | Path | str | Sequence[Path | str],
    settling: ReadOptions,
    exclude: Sequence[str],
    encoding: str | None,
) -> Export | None:
    if isinstance(captures, Export):
        return Export(captures.captures, captures.settling)
    named = [captures] if isinstance(captures, Path | str) else list(captures)
    return Export(named, settling, exclude=exclude, encoding=encoding) if named else None


def _go_on(unfinished: Path, person: Person) -> None:
    """Take up what an earlier call knew when it was broken off."""
    if unfinished.exists():
        with suppress(ValueError):  # it was broken off before anything was taken out
            person.take_up(json.loads(unfinished.read_bytes()))


def _write_privately(path: Path, person: Person) -> None:
    unfinished = path.with_name(f".{path.name}.partial")
    unfinished.unlink(missing_ok=True)
    with open(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(orjson.dumps(person.as_dict()))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _not_ended(error: Exception) -> OutputError:
    return OutputError(f"The local platform keeps its rows: {error}. End it and run forget again.")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")


def _parsed(text: str) -> Iterator[Any]:
    with suppress(ValueError):
        yield json.loads(text)


def _query(person: Person) -> str:
    """Return SQL that finds the person's rows by our columns."""
    conditions = []
    for sort, columns in _COLUMNS.items():
        names = ", ".join("'" + name.replace("'", "''") + "'" for name in person.names(sort))
        conditions += [f"lower(_tenant.chatlio.{column}) IN ({names})" for column in columns if names]
    return f"{_ROWS}\nWHERE " + "\n   OR ".join(conditions)
