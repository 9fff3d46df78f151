"""The main job: captures to landed rows, piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from chatlio_kit.connection import open_connection, plan_connection
from chatlio_kit.delivery import Forecast, Ledger, Page, Run, pace_for
from chatlio_kit.delivery.fates import ReadFile
from chatlio_kit.delivery.known_files import mark_of
from chatlio_kit.delivery.ledger import FILE as LEDGER
from chatlio_kit.errors import ConnectionIncomplete
from chatlio_kit.platform import Platform
from chatlio_kit.tables import (
    REJECTED,
    REPORT,
    Export,
    RejectedFile,
    Settling,
    count,
    make_folder,
    write_json,
)

REPORTS = "reports"


def forecast(
    paths: Sequence[Path | str],
    platform: Platform,
    *,
    name: str = "chatlio",
    settling: Settling | None = None,
) -> Forecast:
    """Say what a backfill would send, and how long it takes at least; nothing is made and nothing is sent.

    Args:
        paths: files and folders of captures.
        platform: where to.
        name: the connection's name; where there is none, nothing counts as delivered.
        settling: what the user decided where captures say nothing.

    Raises:
        MissingPath: when a path does not exist.
        CaptureError: when there are no files.
    """
    export = Export(paths, settling or Settling())
    with ExitStack() as stack:
        settled = None
        try:
            connection = open_connection(platform, name)
        except ConnectionIncomplete:
            found = Forecast(f"{platform.settings.platform_name}, where no connection {name!r} is yet")
        else:
            found = Forecast(str(connection.destination), pace_for(connection))
            if (platform.settings.state / LEDGER).exists():
                ledger = stack.enter_context(Ledger(platform.settings.state))
                settled = ledger.book(connection.destination).settled
        for sifted in export.sifted(settled):
            count(found.counts, sifted)
            found.add(sifted.built.events, sifted.built.messages)
    return found


def backfill(
    paths: Sequence[Path | str],
    platform: Platform,
    *,
    name: str = "chatlio",
    settling: Settling | None = None,
    connect: bool = False,
    skip_guard: bool = False,
    canary: bool = True,
    wait: float | None = None,
    quiet: bool = False,
) -> Page:
    """Convert captures, stream what is accepted, read back what landed.

    Run again it goes on where it stopped: nothing is lost, nothing is counted twice.

    Args:
        paths: files and folders of captures.
        platform: where to.
        name: the connection's name.
        settling: what the user decided where captures say nothing.
        connect: whether to make the connection where it is missing; the local platform always does.
        skip_guard: whether to send into a dataflow that was just made or changed without waiting.
        canary: whether, on Experience Platform, the first records of each dataflow are read back before
            volume follows.
        wait: seconds to wait for rows that are under way; by default two minutes on the local platform and
            none elsewhere, where an hour may pass.
        quiet: whether to show no progress.

    Raises:
        MissingPath: when a path does not exist.
        CaptureError: when there are no files.
        ConnectionIncomplete: when there is no connection and none is to be made.
        LedgerBusy: when another run is sending from the same state folder.
    """
    export = Export(paths, settling or Settling())
    is_local, state = platform.settings.is_local, platform.settings.state
    if connect or is_local:
        connection = plan_connection(platform, name).apply()
    else:
        connection = open_connection(platform, name)
    with Run(connection, state, skip_guard=skip_guard, canary=canary, quiet=quiet) as run:
        report = state / REPORTS / f"{str(connection.destination).replace('/', '-')}-{run.number:04d}"
        make_folder(report)
        run.prepare({file.kind: None for file in export.captures.files if file.kind is not None})
        marks = {file.name: mark_of(file.path, export.settling) for file in export.captures.files}
        known = run.book.files_read()
        unchanged = {name for name, mark in marks.items() if name in known and known[name].mark == mark}
        run.counts.duplicates += sum(known[name].records for name in unchanged)
        export.captures.files = [file for file in export.captures.files if file.name not in unchanged]
        unclean: set[str] = set()
        with RejectedFile(report / REJECTED) as rejected:
            for sifted in export.sifted(run.book.settled):
                count(run.counts, sifted)
                rejected.add(sifted.built.rejected)
                # a zip's members are rejected by their own names, and the zip is read again whole
                unclean |= {
                    name for each in sifted.built.rejected for name in (each.file, each.file.split("!")[0])
                }
                run.send(sifted.built.events, sifted.built.messages)
        if not run.is_stopped:
            run.book.remember_files(
                ReadFile(name, mark, records)
                for name, records in export.captures.read.items()
                if name not in unclean and (mark := marks.get(name)) is not None
            )
        if unchanged:
            run.page.notes.append(f"{len(unchanged):,} unchanged files were recognised and not read again")
    if wait is None:
        wait = 120.0 if is_local else 0.0
    page = run.reconcile(wait=wait)
    page.notes += [*export.captures.notes, f"rejects and report: {report}"]
    write_json(report / REPORT, page.as_dict())
    return page
