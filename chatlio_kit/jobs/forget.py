"""Erase one person from local storage, and report what is stored elsewhere."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from chatlio_kit import local_platform
from chatlio_kit.aep import Platform
from chatlio_kit.arguments import SECONDS, callable_, checked, optional, place
from chatlio_kit.arguments import text as a_text
from chatlio_kit.chatlio.person import ADDRESS, CHANNEL, CONVERSATION, VISITOR, WHO, Person
from chatlio_kit.chatlio.redaction import Redaction
from chatlio_kit.chatlio.turns import turn_row_id
from chatlio_kit.connection import Destination, a_platform, require_leave
from chatlio_kit.counting import counted
from chatlio_kit.delivery import Ledger
from chatlio_kit.delivery.bulk.lots import require_finished
from chatlio_kit.delivery.ledger.erasure import (
    answers_to,
    count_rows,
    dead_letters_naming,
    erase_events,
    sent_elsewhere,
    source_files,
    transcripts_of,
)
from chatlio_kit.delivery.run_options import reading_of, recorded_readings
from chatlio_kit.display import Sheet, SheetDisplay
from chatlio_kit.errors import DONE, FAILED, UNCONFIRMED, OutputError, UsageError, in_words, option
from chatlio_kit.jobs.backfill import REPORTS
from chatlio_kit.jobs.platforms import STORE
from chatlio_kit.jobs.record_delete import Confirm, RecordDelete, delete_records
from chatlio_kit.settings import DEFAULT_STATE
from chatlio_kit.tables import Export, FieldPolicy, ReadOptions
from chatlio_kit.tables.erasure import (
    ErasedFiles,
    check_tables,
    erase_from_report,
    erase_from_tables,
    learn_from_tables,
)
from chatlio_kit.tables.pipeline import read_batches

UNFINISHED = "forgetting.json"
"""Names of the person during a call. It remains after a kill, and the next call resumes from it."""

_SHOWN = 20
_SHORTEST = 4
"""Minimum length of an id or address, because a shorter one is part of almost every text."""
_BLOCK = 1 << 22
_OVERLAP = 1 << 12
_DATABASES = frozenset({".db", ".sqlite3", ".db-wal", ".sqlite3-wal"})
_ROWS = "SELECT _id, timestamp, eventType FROM your_table"
_COLUMNS = {
    VISITOR: ("visitor_id",),
    ADDRESS: ("visitor_email", "contact_email"),
    CONVERSATION: ("conversation_id",),
    CHANNEL: ("channel_id",),
}
_CHANNEL_ID = re.compile(r"[CDG][A-Z0-9]+")


@dataclass(frozen=True)
class SearchedStore:
    """A store that was searched for the person, e.g. the ledger or the captures.

    Attributes:
        name: Its name.
        exists: True if there was anything to search.
        removed: Number of removed entries.
        left: Number of the person's entries that were found and are left.
        remove_by: Advice on removing what is left; empty if nothing is left.
    """

    name: str
    exists: bool
    removed: int = 0
    left: int = 0
    remove_by: str = ""


@dataclass(repr=False)
class Forgotten(SheetDisplay):
    """Result of a search for one person: what was removed, and what is left for others to remove.

    Attributes:
        events: Erased rows of the ledger.
        rejects: Lines removed from the rejections.
        pages: Report pages that were removed because they showed such a line.
        lake_rows: Rows removed from the local platform.
        captures: Records in the captures that name the person: file and number.
        tables: Rows removed from the given tables, by table.
        stores: All stores that were searched.
        notes: Sentences on what could not be done.
        deletions: Record deletes on the given platform.
        sql: A query that finds the person's rows on Experience Platform; None if nothing was sent there.
        event_ids: Ids of all events that name the person.
    """

    events: int = 0
    rejects: int = 0
    pages: int = 0
    lake_rows: int = 0
    captures: list[tuple[str, int]] = field(default_factory=list)
    tables: dict[str, int] = field(default_factory=dict)
    stores: list[SearchedStore] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    deletions: list[RecordDelete] = field(default_factory=list)
    sql: str | None = None
    event_ids: list[str] = field(default_factory=list)

    def add(
        self, store: str, removed: int = 0, *, left: int = 0, remove_by: str = "", exists: bool = True
    ) -> None:
        """Add a store that was searched."""
        self.stores.append(SearchedStore(store, exists, removed, left, remove_by))

    @property
    def found(self) -> bool:
        """True if the person was found anywhere."""
        return bool(self.event_ids) or any(store.removed or store.left for store in self.stores)

    @property
    def exit_code(self) -> int:
        """0 if the person was found; 1 if they were not, or if rows are left on the given platform.

        4 while a work order is in progress.
        """
        if not self.found or any(one.problem for one in self.deletions):
            return FAILED
        if any(one.is_under_way for one in self.deletions):
            return UNCONFIRMED
        return FAILED if any(one.left for one in self.deletions) else DONE

    def as_dict(self) -> dict[str, Any]:
        """Return the fields of ``forget --json``."""
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
                    "place": store.name,
                    "looked_at": store.exists,
                    "removed": store.removed,
                    "left": store.left,
                    "remove_by": store.remove_by,
                }
                for store in self.stores
            ],
            "deletions": [one.as_dict() for one in self.deletions],
            "notes": self.notes,
            "sql": self.sql,
            "event_ids": self.event_ids,
        }

    def sheet(self) -> Sheet:
        """Return a table of removed and remaining items."""
        rows = [
            (store.name, store.removed, store.left)
            if store.exists
            else (f"{store.name} (missing)", None, None)
            for store in self.stores
        ]
        notes = [f"Left in {store.name}: {store.remove_by}" for store in self.stores if store.left]
        notes += [f"  {file} record {record:,}" for file, record in self.captures[:_SHOWN]]
        if len(self.captures) > _SHOWN:
            notes.append(f"  ... and {len(self.captures) - _SHOWN:,} more; --json lists them")
        title = "Forgotten" if self.found else "No match was found, and nothing was erased."
        sql = [self.sql] if self.sql else []
        return Sheet(title, ("looked at", "removed", "left"), rows, [*notes, *self.notes, *sql])


@checked(
    state=place,
    channel=optional(a_text),
    platform=optional(a_platform),
    confirm=optional(callable_),
    wait=SECONDS,
)
def forget(
    captures: Export | Path | str | Sequence[Path | str] = (),
    *,
    email: str | None = None,
    visitor_id: str | None = None,
    channel: str | None = None,
    state: Path | str = DEFAULT_STATE,
    tables: Path | str | Sequence[Path | str] = (),
    kind: str | None = None,
    undated_as: str | None = None,
    fields: str | Mapping[str, str] | None = None,
    redact: str | Mapping[str, str] | None = None,
    contract: str | None = None,
    exclude: Sequence[str] = (),
    encoding: str | None = None,
    platform: Platform | None = None,
    production: bool = False,
    confirm: Confirm | None = None,
    wait: float = 0.0,
) -> Forgotten:
    """Erase one person from ledger, dead letters, rejections, reports, the local platform, and tables.

    The ledger's rows hold digests and file locations, but no names. To find a person's rows, name the
    captures that were sent, with the same ``kind``, ``undated_as`` and ``fields`` as then. Stored records
    lead to further events. A conversation in which the person takes part is erased as a whole,
    as is another person's event that mentions them.

    If a call is interrupted, the next call finishes the job.

    Args:
        captures: Captures that were sent from this state folder; they are only read.
        email: The person's e-mail address, in any case and encoding; every visitor with this address is
            included.
        visitor_id: The person's visitor id.
        channel: The id of a Slack channel (``C...``): the conversations held there are erased like a
            person's. Their visitor's other conversations stay. Use it for people known only to Slack.
        state: The state folder.
        tables: Folders of tables that ``convert`` wrote; the person's rows are removed from them.
        kind: As in :func:`read_export`.
        undated_as: As in :func:`read_export`.
        fields: As in :func:`read_export`.
        redact: As in :func:`read_export`; with ``hash:keyed``, rows that the key hashed are found as well.
        contract: As in :func:`read_export`; it hides no records from the search.
        exclude: As in :func:`read_export`.
        encoding: As in :func:`read_export`.
        platform: A platform to which events of the person were sent from this state folder: their rows are
            deleted there by record delete, if the connection has identities.
        production: True if a production sandbox may be changed.
        confirm: Called with a sentence before a record delete is sent; returns whether to send it. By default
            it is sent.
        wait: Seconds to wait for a record delete to finish, which can take days.

    Returns:
        The result: each searched store, with the items removed and left, and advice on the latter.

    Raises:
        UsageError: No person is named, an option is invalid, or a folder is the wrong one.
        MissingPath: The captures do not exist.
        LedgerBusy: A run is sending from this state folder; nothing was changed.
        ProductionSandbox: The platform's sandbox is of the type production, or of an unknown type.
        PlatformError: The platform cannot be reached; nothing was changed.
        OutputError: The local platform does not end, or a file cannot be written.
    """
    state = Path(state)
    if not any(name and name.strip() for name in (visitor_id, email, channel)):
        names = f"{option('visitor_id')}, {option('email')} or {option('channel')}"
        raise UsageError(f"There is no one to forget. Name a person or channel with {names}.")
    for name in (visitor_id, email):
        if name and len(name.strip()) < _SHORTEST:
            raise UsageError(
                f"{name!r} is too short: other people's ids and texts contain it. Name a whole id or address."
            )
    if channel and not _CHANNEL_ID.fullmatch(channel.strip()):
        raise UsageError(f"{option('channel')} takes a channel's id such as C0123456789, not its name.")
    if not state.is_dir():
        raise UsageError(f"There is no state folder {str(state)!r}. Name the one that was used for sending.")
    folders = [Path(folder) for folder in ([tables] if isinstance(tables, Path | str) else tables)]
    for folder in folders:
        check_tables(folder)
    redaction = FieldPolicy.from_options(redact, contract).redaction
    export = _export(captures, ReadOptions.from_options(kind, undated_as, fields), exclude, encoding)
    if platform is not None:
        require_leave(platform, production)
    person = Person(visitor_id, email, redaction, channel=channel)
    with Ledger(state) as ledger, ledger.exclusive_lock():
        require_finished(ledger, state)
        erasure = _Erasure(state, person, folders, export, ledger)
        if platform is not None:
            erasure.delete_records(platform, confirm, wait)
        erasure.search()
        erasure.erase()
        return erasure.result


class _Erasure:
    """The search for one person and their erasure, while the state folder is locked."""

    def __init__(
        self, state: Path, person: Person, tables: list[Path], export: Export | None, ledger: Ledger
    ) -> None:
        self.result = Forgotten()
        self._state, self._store = state, state / STORE
        self._person, self._tables, self._export, self._ledger = person, tables, export, ledger
        self._unread = 0
        self._captures_naming: list[str] = []
        self._ledger_files_naming: list[str] = []

    def search(self) -> None:
        """Collect everything that leads to the person before erasing anything."""
        person, ledger = self._person, self._ledger
        if self._store.is_dir():
            try:
                local_platform.stop(self._store)
            except local_platform.CannotServe as error:
                raise _not_ended(error) from error
        self._learn()
        person.words |= answers_to(ledger, person.events)
        self._ledger_files_naming = [name for name in source_files(ledger) if person.names_file(name)]
        self.result.event_ids = sorted(person.events)

    def _learn(self, *, from_store: bool = True) -> None:
        """Search the stores for names of the person until none leads to more."""
        person, ledger = self._person, self._ledger
        _resume(self._state / UNFINISHED, person)
        known = -1
        while known != person.known:  # each store may lead to more in the others
            known = person.known
            person.look_again()
            if self._export is not None:
                self._search_captures(self._export)
            for event_id, text in dead_letters_naming(ledger, person.is_named_in).items():
                person.events.add(event_id)
                person.learn(_parsed(text))
            person.events |= transcripts_of(ledger, person.is_channel)
            if from_store and self._store.is_dir():
                person.learn(local_platform.find_rows(self._store, person.is_named_in))
            for folder in self._tables:
                learn_from_tables(folder, person)

    def delete_records(self, platform: Platform, confirm: Confirm | None, wait: float) -> None:
        """Delete the person's rows on a platform, before the ledger forgets what was sent there.

        The locked ledger prevents sending in the meantime. A call that is interrupted here has erased nothing
        yet, and the next call deletes the rest.
        """
        self._learn(from_store=False)
        settings = platform.settings
        here = (settings.platform_name, settings.org_id, settings.sandbox)
        for destination in self._ledger.destinations():
            if (destination.platform, destination.org, destination.sandbox) == here:
                deletion = delete_records(platform, destination, self._person, confirm=confirm, wait=wait)
                self.result.deletions.append(deletion)
        if not self.result.deletions:
            self.result.notes.append(f"Nothing was sent to {settings.platform_name} from this state folder.")

    def erase(self) -> None:
        """Erase the person's data; the ledger, which leads to the rest, comes last."""
        unfinished = self._state / UNFINISHED
        _write_privately(unfinished, self._person)
        result, person = self.result, self._person
        reports, in_tables = ErasedFiles(), ErasedFiles()
        for folder in sorted(path for path in (self._state / REPORTS).glob("*") if path.is_dir()):
            erase_from_report(folder, person, reports)
        for folder in self._tables:
            erase_from_tables(folder, person, in_tables)
        erased = local_platform.Erased()
        if self._store.is_dir():
            try:
                erased = local_platform.erase_rows(self._store, person.is_named_in)
            except local_platform.CannotServe as error:
                raise _not_ended(error) from error
        elsewhere = sent_elsewhere(self._ledger, person.events)
        rows_before = count_rows(self._ledger, person.events)
        result.events = erase_events(self._ledger, sorted(person.events), self._ledger_files_naming)
        unfinished.unlink()
        result.rejects, result.pages, result.lake_rows = reports.rejects, reports.pages, erased.rows
        result.tables = in_tables.rows
        self._report_stores(reports, in_tables, erased)
        self._report_elsewhere(elsewhere)
        if rows_before > result.events:
            result.notes.append(
                f"Erased from the ledger earlier: {counted(rows_before - result.events, 'row')}."
            )
        self._report_remaining_files()

    def _search_captures(self, export: Export) -> None:
        """Search the captures: an address leads to visitors, and these to conversations and transcripts.

        Duplicates are searched like any other record, because they name the person too.
        """
        person = self._person
        has_turns = any(destination.is_for_turns for destination in self._ledger.destinations())
        locations: set[tuple[str, int]] = set()
        unread: set[tuple[str, int]] = set()
        with export.create_pool() as pool:
            for batch in read_batches(export.captures, export.options, pool, export.slack, Redaction()):
                naming = {
                    index for index, raw in enumerate(batch.raw_batch.raws) if person.is_named_in(_text(raw))
                }
                events = batch.events
                is_theirs = person.among(events) | pd.Series(
                    [index in naming for index in batch.raw_rows.tolist()], index=events.index, dtype=bool
                )
                rows = events[is_theirs]
                person.learn_fields(rows["extra_fields"], events.loc[~is_theirs, "extra_fields"])
                columns = [*WHO, CONVERSATION, CHANNEL, "event_id"]
                person.learn(rows[columns].astype(object).to_dict("records"))
                if has_turns:
                    messages = batch.messages.dropna(subset=[CONVERSATION])
                    messages = messages[messages["event_id"].isin(rows["event_id"])]
                    person.events |= set(map(turn_row_id, messages[CONVERSATION], messages["ts"]))
                locations |= set(zip(rows["source_file"], rows["source_record"].astype(int), strict=True))
                unread |= {
                    (reject.file, reject.record)
                    for reject in batch.rejected
                    if person.is_named_in(reject.raw or "")
                }
        self.result.captures = sorted(locations | unread)
        self._unread = len(unread)
        self._captures_naming = [file.name for file in export.captures.files if person.names_file(file.name)]

    def _report_stores(
        self, reports: ErasedFiles, in_tables: ErasedFiles, erased: local_platform.Erased
    ) -> None:
        result = self.result
        has_reports, has_platform = (self._state / REPORTS).is_dir(), self._store.is_dir()
        result.add("ledger, with its dead letters", result.events)
        result.add("file names in the ledger", len(self._ledger_files_naming))
        result.add("rejects", reports.rejects, exists=has_reports)
        result.add("file names in rejects", reports.renamed, exists=has_reports)
        result.add("report pages", reports.pages, exists=has_reports)
        result.add("reports as JSON", reports.reports, exists=has_reports)
        result.add("remains of interrupted runs", reports.partials, exists=has_reports)
        result.add("local platform", erased.rows, exists=has_platform)
        batches = erased.descriptions + erased.log_lines
        result.add("its batches, runs and log", batches, exists=has_platform)
        if self._tables:
            result.add("tables", sum(in_tables.rows.values()))
            result.add("rejects and reports next to them", in_tables.beside_tables)
        for folder in self._tables:
            if left := len(list(folder.glob(".unfinished-*"))):
                advice = f"delete the folders .unfinished-* in {str(folder)!r}, or run convert there again"
                result.add("interrupted conversions", left=left, remove_by=advice)
        if self._export is not None:
            left = len(result.captures) + len(self._captures_naming)
            advice = "captures are never changed here: remove these records yourself"
            if self._captures_naming:
                named = counted(len(self._captures_naming), "file")
                advice += f"; rename what is named after the person: {named}"
            result.add("captures", left=left, remove_by=advice)
        else:
            result.notes.append(
                "No captures were named. The ledger stores only digests, so events that are neither dead "
                "letters nor on the local platform can be found only through the captures that were sent."
            )
        reading = "" if self._export is None else reading_of(self._export.options)
        others = [earlier for earlier in recorded_readings(self._ledger) if earlier != reading]
        if self._export is not None and others:
            how = " and ".join(other or "without options" for other in others)
            result.notes.append(
                f"Earlier runs read captures {how}. To find what they sent, run forget with the same options."
            )
        if self._unread:
            result.notes.append(
                f"Unreadable in the captures: {counted(self._unread, 'record')}, whose events are unknown. "
                "If they were sent with --kind, --undated-as or --fields, run forget again with the same "
                "options (in Python kind=, undated_as=, fields=)."
            )
        if not self._tables:
            result.notes.append(
                f"Tables from convert were not searched: name their folders with {option('tables')}."
            )
        if result.events:
            result.notes.append(
                "The ledger keeps the digests of these events, so that later backfills do not send them "
                "again."
            )

    def _report_elsewhere(self, elsewhere: Mapping[Destination, int]) -> None:
        """Report the rows left on Experience Platform, and the ways to remove them."""
        for deletion in self.result.deletions:
            elsewhere = {where: count for where, count in elsewhere.items() if where != deletion.destination}
            removed = deletion.rows - deletion.left
            name = f"dataset of {deletion.destination}"
            advice = f"in dataset {deletion.dataset} {deletion.advice()}." if deletion.left else ""
            self.result.add(name, removed, left=deletion.left, remove_by=advice)
            if deletion.work_order and deletion.others:
                self.result.notes.append(
                    f"{counted(deletion.others, 'further row')} of {deletion.destination} with the same "
                    "primary identities: the record delete removes these too."
                )
            if deletion.work_order and removed:
                self.result.notes.append(
                    f"The record delete {deletion.work_order} removed {counted(removed, 'row')} from "
                    f"{deletion.destination}, as a read-back confirmed. Profile and Identity Service were "
                    "not read."
                )
        for destination, count in elsewhere.items():
            how = in_words(
                "forget again with --platform aep", "forget again with platform=open_platform('aep')"
            )
            advice = (
                f"dataset {destination.dataset} was not searched. Run {how}: if the connection has "
                "identities, a record delete removes the rows, and a read-back confirms it. Without "
                "identities, neither a Privacy Service request nor a record delete finds single rows"
            )
            self.result.add(f"Experience Platform, {destination}", left=count, remove_by=f"{advice}.")
        if not any(deletion.left for deletion in self.result.deletions) and not elsewhere:
            return
        self.result.sql = _query(self._person)
        self.result.notes.append(
            "In the query, replace your_table with your dataset's table and _tenant with your tenant. It "
            "finds rows by our columns. To find redacted rows and rows whose text mentions the person, "
            "search by _id: --json lists event_ids."
        )

    def _report_remaining_files(self) -> None:
        """Search every file in the state folder, and report those that still name the person."""
        advice = "chatlio_kit cannot change this file: check it yourself"
        remaining = [path for path in self._state.rglob("*") if path.is_file() and self._names_person(path)]
        for path in sorted(remaining):
            self.result.add(str(path.relative_to(self._state)), left=1, remove_by=advice)

    def _names_person(self, path: Path) -> bool:
        if path.suffix == ".parquet":
            return False  # its rows were searched one by one
        is_database = path.suffix in _DATABASES
        with path.open("rb") as file:
            overlap = b""
            while block := file.read(_BLOCK):
                text = overlap + block
                if self._person.is_in_bytes(text) or (
                    not is_database and self._person.is_named_in(_text(text))
                ):
                    return True
                overlap = text[-_OVERLAP:]
        return False


def _export(
    captures: Export | Path | str | Sequence[Path | str],
    options: ReadOptions,
    exclude: Sequence[str],
    encoding: str | None,
) -> Export | None:
    if isinstance(captures, Export):
        return Export(captures.captures, captures.options, slack=captures.slack)
    paths = [captures] if isinstance(captures, Path | str) else list(captures)
    return Export(paths, options, exclude=exclude, encoding=encoding) if paths else None


def _resume(unfinished: Path, person: Person) -> None:
    """Load the knowledge of an interrupted call."""
    if unfinished.exists():
        with suppress(ValueError):  # it was interrupted before anything was erased
            person.restore(json.loads(unfinished.read_bytes()))


def _write_privately(path: Path, person: Person) -> None:
    unfinished = path.with_name(f".{path.name}.partial")
    unfinished.unlink(missing_ok=True)
    with open(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(orjson.dumps(person.as_dict()))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _not_ended(error: Exception) -> OutputError:
    return OutputError(f"The local platform's rows cannot be erased: {error}. Stop it and run forget again.")


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
