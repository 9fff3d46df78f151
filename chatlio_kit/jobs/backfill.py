"""The main job: captures to landed rows, piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from copy import copy
from pathlib import Path

from chatlio_kit.aep import Platform
from chatlio_kit.arguments import checked
from chatlio_kit.captures import archives_of
from chatlio_kit.connection import a_platform, open_connection, plan_connection, require_leave
from chatlio_kit.delivery import Forecast, Ledger, Page, Run, pace_for
from chatlio_kit.delivery.ledger.ledger import FILE as LEDGER
from chatlio_kit.delivery.ledger.models import ReadFile
from chatlio_kit.delivery.ledger.processed_files import mark_of
from chatlio_kit.delivery.page_document import page_document
from chatlio_kit.delivery.requests.pacing import MESSAGES_PER_SECOND
from chatlio_kit.delivery.requests.sending import PATIENCE
from chatlio_kit.delivery.run_options import RunOptions, remember_terms, sentences_on_terms
from chatlio_kit.errors import ConnectionIncomplete
from chatlio_kit.tables import (
    REJECTED,
    REPORT,
    Export,
    RejectedFile,
    count,
    make_folder,
    read_export,
    write_json,
)
from chatlio_kit.tables.arrow import give_memory_back, lean_memory
from chatlio_kit.tables.output import write_page
from chatlio_kit.tables.report import PAGE

REPORTS = "reports"


@checked(platform=a_platform)
def forecast(
    captures: Export | Path | str | Sequence[Path | str],
    platform: Platform,
    *,
    name: str = "chatlio",
    pace: int | None = None,
) -> Forecast:
    """Say what a backfill would send, and how long it takes at least; nothing is made and nothing is sent.

    Args:
        captures: what :func:`read_export` found, or files and folders that need no decisions.
        platform: where to.
        name: the connection's name; where there is none, nothing counts as delivered.
        pace: messages a second; by default 9,000, or 1,400 where the dataset feeds Profile.

    Raises:
        MissingPath: when a path does not exist.
        CaptureError: when there are no files.
    """
    export = _found(captures)
    with ExitStack() as stack:
        settled = None
        try:
            connection = open_connection(platform, name)
        except ConnectionIncomplete:
            where = f"{platform.settings.platform_name}, where no connection {name!r} is yet"
            found = Forecast(where, pace or MESSAGES_PER_SECOND)
        else:
            found = Forecast(str(connection.destination), pace or pace_for(connection))
            if (platform.settings.state / LEDGER).exists():
                ledger = stack.enter_context(Ledger(platform.settings.state))
                settled = ledger.book(connection.destination).settled
        for batches in export.batches(settled):
            count(found.counts, batches)
            found.add(batches.built.events, batches.built.messages)
    found.notes += [*export.notes(), *export.next_steps.sentences()]
    return found


@checked(platform=a_platform)
def backfill(
    captures: Export | Path | str | Sequence[Path | str],
    platform: Platform,
    *,
    name: str = "chatlio",
    connect: bool = False,
    skip_guard: bool = False,
    production: bool = False,
    canary: bool = True,
    pace: float | None = None,
    patience: float = PATIENCE,
    wait: float | None = None,
    quiet: bool = False,
) -> Page:
    """Convert captures, stream what is accepted, read back what landed.

    Run again it goes on where it stopped: nothing is lost, nothing is counted twice. Where over 50,000 events
    have landed before, the page reads new batches only and says for how many an earlier read still speaks;
    ``reconcile`` reads everything again.

    Args:
        captures: what :func:`read_export` found, or files and folders that need no decisions.
        platform: where to.
        name: the connection's name.
        connect: whether to make the connection where it is missing; the local platform always does.
        skip_guard: whether to send into a dataflow that was just made or changed without waiting.
        production: whether a production sandbox may be written to.
        canary: whether, on Experience Platform, the first records of each dataflow are read back before
            volume follows.
        pace: messages a second; by default 9,000, or 1,400 where the dataset feeds Profile.
        patience: seconds without a verdict of the platform on any record, by default 600, after which
            sending ends; what is left stays pending, and the next backfill goes on with it.
        wait: seconds to wait for rows that are under way; by default two minutes on the local platform and
            none elsewhere, where an hour may pass.
        quiet: whether to show no progress.

    Raises:
        MissingPath: when a path does not exist.
        CaptureError: when there are no files.
        ProductionSandbox: when the sandbox is of the type production, or of a type that cannot be read.
        ConnectionIncomplete: when there is no connection and none is to be made.
        LedgerBusy: when another run is sending from the same state folder.
    """
    export = _found(captures)
    is_local, state = platform.settings.is_local, platform.settings.state
    if connect or is_local:
        connection = plan_connection(platform, name, quiet=quiet).apply(production=production, quiet=quiet)
    else:
        connection = open_connection(platform, name, quiet=quiet)
        require_leave(platform, production)
    with Run(
        connection,
        state,
        skip_guard=skip_guard,
        canary=canary,
        pace=pace,
        patience=patience,
        production=production,
        quiet=quiet,
    ) as run:
        report = state / REPORTS / f"{str(connection.destination).replace('/', '-')}-{run.number:04d}"
        make_folder(report)
        terms = RunOptions.of(export.terms.redaction, export.settling)
        remember_terms(state, connection.destination, run.number, terms)
        run.prepare({file.kind: None for file in export.captures.files if file.kind is not None})
        # A file is read again once it is read otherwise, such as an archive with members left out before.
        read_with = (export.captures.exclude, export.captures.encoding)
        chosen = (export.settling, read_with) if any(read_with) else export.settling
        marks = {file.name: mark_of(file, chosen) for file in export.captures.files}
        known = run.book.files_read()
        unchanged = {name for name, mark in marks.items() if name in known and known[name].mark == mark}
        run.counts.duplicates += sum(known[name].records for name in unchanged)
        export.captures.files = [file for file in export.captures.files if file.name not in unchanged]
        unclean: set[str] = set()
        with RejectedFile(report / REJECTED) as rejected, lean_memory():
            for batches in export.batches(run.book.settled):
                count(run.counts, batches)
                rejected.add(batches.built.rejected)
                # a zip's members are rejected by their own names, and the zip is read again whole
                unclean |= {name for each in batches.built.rejected for name in archives_of(each.file)}
                run.send(batches.built.events, batches.built.messages)
                give_memory_back()
        if not run.is_stopped:
            run.book.remember_files(
                ReadFile(name, mark, records)
                for name, records in export.captures.read.items()
                if name not in unclean and (mark := marks.get(name)) is not None
            )
        run.page.notes += sentences_on_terms(state, connection.destination, run.number, terms)
        if unchanged:
            run.page.notes.append(f"{len(unchanged):,} unchanged files were recognised and not read again")
    if wait is None:
        wait = 120.0 if is_local else 0.0
    page = run.reconcile(wait=wait, again=False)
    steps = export.next_steps.sentences()
    page.notes += [*export.notes(), *steps, f"rejects and report: {report}"]
    write_page(report / PAGE, page_document(page, export.findings, export.next_steps))
    told = {**page.as_dict(), **export.findings.as_dict(), "next_steps": export.next_steps.as_list()}
    write_json(report / REPORT, told)
    return page


def _found(captures: Export | Path | str | Sequence[Path | str]) -> Export:
    """Give an export whose list of files may be cut short: the caller's stays as it is."""
    export = copy(captures) if isinstance(captures, Export) else read_export(captures)
    export.captures = copy(export.captures)
    export.captures.read = {}
    return export
