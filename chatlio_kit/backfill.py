"""The main job: captures to landed rows, piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chatlio_kit.connection import open_connection, plan_connection
from chatlio_kit.delivery import Page, Run
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


def backfill(
    paths: Sequence[Path | str],
    platform: Platform,
    *,
    name: str = "chatlio",
    settling: Settling | None = None,
    connect: bool = False,
    skip_guard: bool = False,
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
    with Run(connection, state, skip_guard=skip_guard, quiet=quiet) as run:
        report = state / REPORTS / f"{str(connection.destination).replace('/', '-')}-{run.number:04d}"
        make_folder(report)
        run.prepare({file.kind: None for file in export.captures.files if file.kind is not None})
        with RejectedFile(report / REJECTED) as rejected:
            for sifted in export.sifted(run.book.settled):
                count(run.counts, sifted)
                rejected.add(sifted.built.rejected)
                run.send(sifted.built.events, sifted.built.messages)
    if wait is None:
        wait = 120.0 if is_local else 0.0
    page = run.reconcile(wait=wait)
    page.notes += [*export.captures.notes, f"rejects and report: {report}"]
    write_json(report / REPORT, page.as_dict())
    return page
