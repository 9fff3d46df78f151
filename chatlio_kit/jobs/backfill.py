"""The main job: read captures, send accepted events, and read back the dataset."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from copy import copy
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from chatlio_kit.aep import Platform
from chatlio_kit.arguments import SHARED, checked, optional, wrong
from chatlio_kit.captures import CaptureFile, archives_of
from chatlio_kit.chatlio.catalogue import Privacy
from chatlio_kit.chatlio.identities import ConversationVisitors
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.chatlio.redaction import Way
from chatlio_kit.connection import a_platform, open_connection, plan_connection, require_leave
from chatlio_kit.counting import counted
from chatlio_kit.delivery import DestinationLedger, Forecast, Ledger, Page, Run, pace_for
from chatlio_kit.delivery.activation import forecast_guard
from chatlio_kit.delivery.bulk.run import BulkRun
from chatlio_kit.delivery.ledger.ledger import FILE as LEDGER
from chatlio_kit.delivery.ledger.models import ProcessedFile
from chatlio_kit.delivery.ledger.slack import SlackConversations, pair_notes
from chatlio_kit.delivery.people import names_visitors
from chatlio_kit.delivery.requests.pacing import MESSAGES_PER_SECOND
from chatlio_kit.delivery.run import wait_seconds
from chatlio_kit.delivery.run_options import RunOptions, option_notes, record_options
from chatlio_kit.errors import ConnectionIncomplete, UsageError, option
from chatlio_kit.tables import (
    REJECTED,
    REPORT,
    Export,
    RejectedFile,
    make_folder,
    read_export,
    write_json,
)
from chatlio_kit.tables.arrow import release_memory, system_allocator
from chatlio_kit.tables.output import write_page
from chatlio_kit.tables.report import PAGE

if TYPE_CHECKING:
    from distributed import Client

REPORTS = "reports"
ROUTES: dict[str, type[Run]] = {"stream": Run, "batch": BulkRun}
"""The routes into a dataset, and the run class of each."""


def a_route(name: str, value: object) -> None:
    """Accept a route: ``stream`` or ``batch``."""
    if not isinstance(value, str) or value not in ROUTES:
        raise wrong(name, " or ".join(map(repr, ROUTES)), value)


@checked(platform=a_platform)
def forecast(
    captures: Export | Path | str | Sequence[Path | str],
    platform: Platform,
    *,
    name: str = "chatlio",
    pace: int | None = None,
    skip_guard: bool = False,
    canary: bool = True,
) -> Forecast:
    """Forecast the records that a backfill would send, and the minimum time; nothing is created or sent.

    Args:
        captures: An export from :func:`read_export`, or files and folders that need no options.
        platform: The platform to send to.
        name: The connection's name; if there is no such connection, nothing counts as delivered.
        pace: Messages a second; by default 9,000, or 1,400 if the dataset feeds Profile.
        skip_guard: As for :func:`backfill`, like the next argument.
        canary: See ``skip_guard``.

    Raises:
        MissingPath: A path does not exist.
        CaptureError: There are no files.
    """
    export = export_of(captures)
    with ExitStack() as stack:
        connection = ledger = None
        try:
            connection = open_connection(platform, name)
        except ConnectionIncomplete:
            where = f"{platform.settings.platform_name}, without a connection {name!r} yet"
            result = Forecast(where, pace or MESSAGES_PER_SECOND)
        else:
            connection.require_events()
            result = Forecast(str(connection.destination), pace or pace_for(connection))
            if (platform.settings.state / LEDGER).exists():
                opened = stack.enter_context(Ledger(platform.settings.state))
                ledger = DestinationLedger(opened, connection.destination)
        for batch in export.batches(ledger.settled if ledger is not None else None):
            result.counts.add_batch(batch)
            result.add(batch.events, batch.messages)
        if not platform.settings.is_local:
            kinds = [Kind(kind) for kind in result.kinds]
            if not skip_guard:
                result.guard_seconds = forecast_guard(connection, kinds)
            if canary:
                flows = connection.history if connection is not None and ledger is not None else {}
                result.canaries = sum(
                    kind not in flows or ledger is None or not ledger.has_passed_canary(flows[kind].flow_id)
                    for kind in kinds
                )
    examples = result.counts.examples_except({step.reason for step in export.next_steps})
    result.notes += [*export.notes(), *export.next_steps.sentences(), *examples]
    return result


@checked(platform=a_platform, patience=optional(SHARED["patience"]), via=a_route)
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
    patience: float | None = None,
    wait: float | None = None,
    via: str = "stream",
    quiet: bool = False,
    cluster: str | Client | None = None,
) -> Page:
    """Convert captures, send accepted events, and read back the dataset.

    Another call resumes where this one stopped: nothing is lost or counted twice. If over 50,000 events have
    landed before, only new batches are read, and the page counts the events that only an earlier read found;
    ``reconcile`` reads everything again. The state folder stays locked until the page is written.

    Args:
        captures: An export from :func:`read_export`, or files and folders that need no options.
        platform: The platform to send to.
        name: The connection's name.
        connect: If true, create a missing connection; on the local platform this is always done.
        skip_guard: If true, send into a new or changed dataflow without waiting.
        production: True if a production sandbox may be written to.
        canary: True if, on Experience Platform, the first records of each dataflow are read back before the
            rest follows.
        pace: Messages a second; by default 9,000, or 1,400 if the dataset feeds Profile.
        patience: Seconds without a verdict after which sending ends, by default 600, or 7,200 for a batch;
            the next backfill sends the rest.
        wait: Seconds to wait for rows; by default 120 on the local platform, and 0 on Experience Platform,
            where landing may take an hour.
        via: ``stream``, or ``batch`` for batch ingestion of files, which uses no streaming quota;
            ``chatlio-kit backfill --dry-run`` compares the two, and you can combine them. :func:`revert`
            reverts a run's batches.
        quiet: If true, show no progress.
        cluster: The URL of a Dask scheduler, or a client, to convert on a cluster.

    Raises:
        MissingPath: A path does not exist.
        CaptureError: There are no files.
        ClusterError: The cluster cannot be used.
        ProductionSandbox: The sandbox is of the type production, or of a type that cannot be read.
        ConnectionIncomplete: There is no connection and none may be created.
        LedgerBusy: Another run is sending from the same state folder.
    """
    route = ROUTES[via]
    for name_, value in {"pace": pace, "skip_guard": skip_guard}.items():
        if value and route is BulkRun:
            raise UsageError(f"{option(name_)} is for streams, and has no effect with {option('via', via)}.")
    export = export_of(captures)
    if cluster is not None:
        export.cluster = cluster
    export.check_cluster()
    state = platform.settings.state
    if connect or platform.settings.is_local:
        connection = plan_connection(platform, name, quiet=quiet).apply(production=production, quiet=quiet)
    else:
        connection = open_connection(platform, name, quiet=quiet)
        require_leave(platform, production)
    visitors = _visitors_of(export) if names_visitors(connection) else None
    with route(
        connection,
        state,
        skip_guard=skip_guard,
        canary=canary,
        pace=pace,
        patience=patience,
        production=production,
        quiet=quiet,
        visitors=visitors,
    ) as run:
        report = state / REPORTS / f"{str(connection.destination).replace('/', '-')}-{run.number:04d}"
        make_folder(report)
        options = RunOptions.of(export.policy.redaction, export.options)
        record_options(run.destination_ledger, run.number, options)
        kinds = {file.kind: None for file in export.captures.files if file.kind is not None}
        run.prepare(kinds | ({Kind.TRANSCRIPT: None} if export.slack is not None else {}))
        conversations = _slack_conversations(run, export)
        try:
            unchanged = _send(run, export, report / REJECTED)
        finally:
            if export.slack is not None:
                export.slack.known = None  # the ledger is closed when the caller reads the export again
        if export.slack is not None and conversations is not None:
            pairs = conversations.record(export.slack.sent)
            is_named = export.policy.redaction.way_of(Privacy.PSEUDONYM) is Way.KEEP
            run.page.notes += pair_notes(pairs, may_name=is_named)
        run.page.notes += option_notes(run.destination_ledger, run.number, options, export.captures.read)
        if unchanged:
            run.page.notes.append(
                f"{counted(unchanged, 'unchanged file was', 'unchanged files were')} recognised and not "
                "read again"
            )
        run.finish()
        # The ledger stays locked until the page is written: a forget in between could not erase the page.
        page = run.reconcile(wait=wait_seconds(connection, wait), again=False)
        page.slack = export.slack.counts if export.slack is not None else None
        next_steps = export.next_steps
        examples = page.counts.examples_except({step.reason for step in next_steps})
        page.notes += [*export.notes(), *next_steps.sentences(), *examples]
        page.notes.append(f"report, with the list of rejected records in the same folder: {report / PAGE}")
        write_page(report / PAGE, page.document(export.findings, next_steps))
        content = {**page.as_dict(), **export.findings.as_dict(), "next_steps": next_steps.as_list()}
        write_json(report / REPORT, content)
    return page


def _visitors_of(captures: Export) -> ConversationVisitors:
    """Read all captures once, and return the visitor of each conversation.

    A transcript names no visitor; the event that does may be in any other file. A Slack export names none.
    """
    visitors = ConversationVisitors()
    export = export_of(captures)
    export.slack = None
    for batch in export.batches():
        visitors.add(batch.events)
        release_memory()
    return visitors


def _slack_conversations(run: Run, export: Export) -> SlackConversations | None:
    """Return the destination's conversations from Slack exports, if one is read, for look-ups."""
    if export.slack is None:
        return None
    conversations = SlackConversations(run.destination_ledger)
    export.slack.known = conversations.known
    others = conversations.from_other_files(export.slack.name)
    if others and not export.captures.files:
        run.page.notes.append(
            f"{counted(others, 'transcript')} of this destination came from other files than this export. "
            "If these are captures, name them next to the export: otherwise their messages are sent from "
            "Slack, too"
        )
    return conversations


def _send(run: Run, export: Export, rejected_path: Path) -> int:
    """Send an export's accepted events, and return the number of unchanged files that were not read again."""
    ledger, captures = run.destination_ledger, export.captures
    # Captures next to a Slack export are always read, because it is merged with them.
    # An archive is read again if the excluded members have changed.
    selection = (captures.exclude, captures.encoding)
    options = (export.options, selection) if any(selection) else export.options
    fingerprints = {file.name: _fingerprint(file, options) for file in captures.files}
    processed = ledger.processed_files(fingerprints.keys())
    unchanged = {
        name
        for name, fingerprint in fingerprints.items()
        if name in processed and processed[name].fingerprint == fingerprint and export.slack is None
    }
    run.counts.duplicates += sum(processed[name].records for name in unchanged)
    captures.files = [file for file in captures.files if file.name not in unchanged]
    with_rejects: set[str] = set()
    with RejectedFile(rejected_path) as rejected, system_allocator():
        for batch in export.batches(ledger.settled):
            run.counts.add_batch(batch)
            rejected.add(batch.rejected)
            # the name of a zip's member starts with the zip's name, and the whole zip is read again
            with_rejects |= {name for reject in batch.rejected for name in archives_of(reject.file)}
            run.send(batch.events, batch.messages)
            release_memory()
    if not run.is_stopped:
        ledger.record_processed_files(
            ProcessedFile(name, fingerprint, records)
            for name, records in captures.read.items()
            if name not in with_rejects and (fingerprint := fingerprints.get(name)) is not None
        )
    return len(unchanged)


def _fingerprint(file: CaptureFile, options: object) -> str | None:
    """Return a digest of a file and its reading options; None if a change could go unnoticed.

    A file with a reject is always read again, because the report must list the reject.
    """
    version = file.source.mark()
    return None if version is None else sha256(f"{version}|{options!r}".encode()).hexdigest()


def export_of(captures: Export | Path | str | Sequence[Path | str]) -> Export:
    """Return an export whose list of files may be shortened without changing the caller's."""
    export = copy(captures) if isinstance(captures, Export) else read_export(captures)
    export.captures = copy(export.captures)
    export.captures.read = {}
    return export
