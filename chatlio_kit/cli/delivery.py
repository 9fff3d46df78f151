"""Commands about sending: backfill, replay, and what arrived."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import click

from chatlio_kit.cli.capture_options import ENCODING, EXCLUDE
from chatlio_kit.cli.command import (
    CONTRACT,
    FIELDS,
    KIND,
    NAME,
    PATHS,
    PRODUCTION,
    REDACT,
    SKIP_GUARD,
    UNDATED_AS,
    CommandResult,
    Context,
    command,
)
from chatlio_kit.connection import open_connection
from chatlio_kit.delivery import Ledger
from chatlio_kit.delivery import reconcile as run_reconcile
from chatlio_kit.delivery import replay as run_replay
from chatlio_kit.delivery.ledger.destination import DestinationLedger
from chatlio_kit.delivery.ledger.ledger import FILE as LEDGER
from chatlio_kit.delivery.reconcile import gone_sentences, reconcile_deleted
from chatlio_kit.delivery.requests.sending import PATIENCE as PATIENCE_SECONDS
from chatlio_kit.display import Sheet
from chatlio_kit.errors import ConnectionIncomplete
from chatlio_kit.jobs.backfill import backfill as run_backfill
from chatlio_kit.jobs.backfill import forecast
from chatlio_kit.tables import Export, FieldPolicy, ReadOptions

PATIENCE = click.option(
    "--patience",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=PATIENCE_SECONDS,
    show_default=True,
    help="How long to go without a verdict of the platform before sending ends; the rest stays pending.",
)


@click.command()
@PATHS
@NAME
@KIND
@UNDATED_AS
@FIELDS
@REDACT
@CONTRACT
@EXCLUDE
@ENCODING
@click.option("--dry-run", is_flag=True, help="Forecast records, bytes, requests and time; send nothing.")
@click.option("--connect", "make", is_flag=True, help="Make the connection if it is missing.")
@SKIP_GUARD
@PRODUCTION
@click.option(
    "--no-canary", is_flag=True, help="On aep, do not read the first records back before volume follows."
)
@click.option(
    "--pace",
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help="Messages a second; by default 9000, or 1400 where the dataset feeds Profile.",
)
@PATIENCE
@click.option("--wait", type=click.FloatRange(min=0), help="Seconds to wait until everything has landed.")
@command
def backfill(
    context: Context,
    paths: tuple[str, ...],
    name: str,
    kind: str | None,
    undated_as: str | None,
    fields: str | None,
    redact: str | None,
    contract: str | None,
    exclude: tuple[str, ...],
    encoding: str | None,
    dry_run: bool,
    make: bool,
    skip_guard: bool,
    production: bool,
    no_canary: bool,
    pace: int | None,
    patience: float,
    wait: float | None,
) -> CommandResult:
    """Convert captures, stream them, and read back what landed. Resumes by itself."""
    settling, terms = (
        ReadOptions.from_options(kind, undated_as, fields),
        FieldPolicy.from_options(redact, contract),
    )
    # A wrong path is reported before a platform is opened.
    export = Export(paths, settling, terms, exclude=exclude, encoding=encoding)
    if dry_run:
        found = forecast(export, context.open(), name=name, pace=pace)
        return CommandResult(found.as_dict(), found)
    page = run_backfill(
        export,
        context.open(),
        name=name,
        connect=make,
        skip_guard=skip_guard,
        production=production,
        canary=not no_canary,
        pace=pace,
        patience=patience,
        wait=wait,
        quiet=context.as_json,
    )
    return CommandResult(page.as_dict(), page, page.exit_code)


@click.command()
@command
def status(context: Context) -> CommandResult:
    """Show the ledger in numbers."""
    if not (context.state / LEDGER).exists():
        return CommandResult({"destinations": []}, f"Nothing was sent from {str(context.state)!r} yet.")
    with Ledger(context.state) as ledger:
        found = [(destination, ledger.book(destination)) for destination in ledger.destinations()]
        content = {
            "destinations": [
                {
                    "destination": str(destination),
                    "dataset": destination.dataset,
                    "total": book.tally().as_dict(),
                    "by_kind": {kind: asdict(tally) for kind, tally in book.by_kind().items()},
                    "dead_by_reason": book.dead_by_reason(),
                    "gone": book.tally().gone,
                    "gone_by_reason": book.landings.gone_by_reason(),
                    **book.landings.last().as_dict(),
                    "lake_duplicates": _repeated(book),
                }
                for destination, book in found
            ]
        }
        sheets = []
        names = Counter(str(destination) for destination, _ in found)
        for destination, book in found:
            tallies = [*book.by_kind().items(), ("all", book.tally())]
            rows = [
                (kind, tally.delivered, tally.dead_lettered, tally.pending, tally.landed, tally.gone)
                for kind, tally in tallies
            ]
            headings = ("kind", "delivered", "dead-lettered", "pending", "landed", "gone")
            notes = [f"dead letters, {reason}: {count:,}" for reason, count in book.dead_by_reason().items()]
            notes += book.landings.last().sentences()
            if gone := book.landings.gone_by_reason():
                notes += gone_sentences(gone)
            if repeated := _repeated(book):
                notes.append(f"{repeated:,} rows in the lake repeat an id.")
            which = f", dataset {destination.dataset}" if names[str(destination)] > 1 else ""
            sheets.append(str(Sheet(f"Sent to {destination}{which}", headings, rows, notes)))
    return CommandResult(content, "\n\n".join(sheets) or f"Nothing was sent from {str(context.state)!r} yet.")


def _repeated(book: DestinationLedger) -> int:
    return max(0, book.landings.rows() - book.tally().landed)


@click.command()
@NAME
@click.option("--reason", help="Only those of this reason; status lists the reasons.")
@click.option(
    "--gone", is_flag=True, help="Call back what was in the dataset and is gone, instead of dead letters."
)
@PATIENCE
@click.option("--skip-guard", is_flag=True, help="Do not wait after a dataflow was changed.")
@PRODUCTION
@click.option("--wait", type=click.FloatRange(min=0), help="Seconds to wait until everything has landed.")
@command
def replay(
    context: Context,
    name: str,
    reason: str | None,
    gone: bool,
    patience: float,
    skip_guard: bool,
    production: bool,
    wait: float | None,
) -> CommandResult:
    """Send dead letters again after a fix, all or by reason."""
    connection = open_connection(context.open(), name)
    page = run_replay(
        connection,
        reason=reason,
        gone=gone,
        skip_guard=skip_guard,
        patience=patience,
        production=production,
        wait=wait,
        quiet=context.as_json,
    )
    return CommandResult(page.as_dict(), page, page.exit_code)


@click.command()
@NAME
@click.option("--wait", default=0.0, type=click.FloatRange(min=0), help="Seconds to wait for missing rows.")
@command
def reconcile(context: Context, name: str, wait: float) -> CommandResult:
    """Read everything back again, and compare the ledger with what the dataset holds now."""
    platform = context.open()
    with Ledger(context.state) as ledger:
        try:
            connection = open_connection(platform, name)
        except ConnectionIncomplete:
            deleted = reconcile_deleted(platform, ledger, name)
            if deleted is None:
                raise
            return CommandResult(deleted.as_dict(), deleted, deleted.exit_code)
        reconcile_deleted(platform, ledger, name)
        book = ledger.book(connection.destination, platform.now)
        found = run_reconcile(connection, book, wait=wait, quiet=context.as_json)
    return CommandResult(found.as_dict(), found, found.exit_code)
