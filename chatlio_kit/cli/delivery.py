"""The commands that send events and check what arrived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from chatlio_kit.cli.command import (
    NAME,
    PATHS,
    PRODUCTION,
    SKIP_GUARD,
    CaptureOptions,
    CommandResult,
    Context,
    capture_options,
    cluster_option,
    command,
)
from chatlio_kit.connection import Destination, open_connection
from chatlio_kit.counting import counted
from chatlio_kit.delivery import DestinationLedger, Ledger
from chatlio_kit.delivery import reconcile as run_reconcile
from chatlio_kit.delivery import replay as run_replay
from chatlio_kit.delivery.ledger.ledger import FILE as LEDGER
from chatlio_kit.delivery.reconcile import explain_gone, reconcile_deleted
from chatlio_kit.delivery.requests.sending import PATIENCE as PATIENCE_SECONDS
from chatlio_kit.display import Sheet
from chatlio_kit.errors import ConnectionIncomplete, UsageError
from chatlio_kit.jobs.backfill import backfill as run_backfill
from chatlio_kit.jobs.backfill import forecast

if TYPE_CHECKING:
    from chatlio_kit.delivery import Page
    from chatlio_kit.jobs.turns import TurnsPage

PATIENCE = click.option(
    "--patience",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=PATIENCE_SECONDS,
    show_default=True,
    help="Seconds without a verdict after which sending ends; the rest stays pending.",
)


@click.command()
@PATHS
@NAME
@cluster_option
@capture_options
@click.option("--dry-run", is_flag=True, help="Forecast records, bytes, requests and time; send nothing.")
@click.option("--connect", "make", is_flag=True, help="Create the connection if it is missing.")
@SKIP_GUARD
@PRODUCTION
@click.option(
    "--no-canary", is_flag=True, help="On aep, do not read back the first records before the rest follows."
)
@click.option(
    "--pace",
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help="Messages a second; by default 9000, or 1400 if the dataset feeds Profile.",
)
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Seconds without a verdict after which sending ends, by default 600, or 7200 for a batch; the rest "
    "stays pending.",
)
@click.option("--wait", type=click.FloatRange(min=0), help="Seconds to wait until everything has landed.")
@click.option(
    "--via",
    type=click.Choice(["stream", "batch"]),
    default="stream",
    show_default=True,
    help="The route: stream requests, or load files by batch ingestion; --dry-run compares the two.",
)
@click.option(
    "--turns",
    is_flag=True,
    help="Send conversation turns for Customer Journey Analytics instead of events: a row for each message.",
)
@command
def backfill(
    context: Context,
    paths: tuple[str, ...],
    name: str,
    cluster: str | None,
    captures: CaptureOptions,
    dry_run: bool,
    make: bool,
    skip_guard: bool,
    production: bool,
    no_canary: bool,
    pace: int | None,
    patience: float | None,
    wait: float | None,
    via: str,
    turns: bool,
) -> CommandResult:
    """Convert captures, send them, and read back the dataset. Resumes by itself."""
    export = captures.export(paths, cluster)  # reports a wrong path before a platform is opened
    if turns and dry_run:
        raise UsageError("--dry-run covers only events. Leave out --turns, or try it on the local platform.")
    if turns and via == "batch":
        raise UsageError("Conversation turns are streamed. Leave out --via batch.")
    if dry_run:
        result = forecast(
            export, context.open(), name=name, pace=pace, skip_guard=skip_guard, canary=not no_canary
        )
        return CommandResult(result.as_dict(), result)
    send: Callable[..., Page | TurnsPage] = partial(run_backfill, via=via)
    if turns:
        send = import_module("chatlio_kit.jobs.turns").backfill_turns
        patience = PATIENCE_SECONDS if patience is None else patience
    page = send(
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
        destinations = ledger.destinations()
        names = Counter(map(str, destinations))
        statuses = [
            _status_of(DestinationLedger(ledger, destination), destination, names[str(destination)] > 1)
            for destination in destinations
        ]
    text = "\n\n".join(str(sheet) for _, sheet in statuses)
    content = {"destinations": [status for status, _ in statuses]}
    return CommandResult(content, text or f"Nothing was sent from {str(context.state)!r} yet.")


def _status_of(
    ledger: DestinationLedger, destination: Destination, name_dataset: bool
) -> tuple[dict[str, Any], Sheet]:
    total, by_kind, dead_by_reason = ledger.counts(), ledger.counts_by_kind(), ledger.dead_by_reason()
    gone_by_reason, readback = ledger.landings.gone_by_reason(), ledger.landings.last_readback()
    repeated = max(0, ledger.landings.row_count() - total.landed)
    content = {
        "destination": str(destination),
        "dataset": destination.dataset,
        "total": total.as_dict(),
        "by_kind": {kind: asdict(counts) for kind, counts in by_kind.items()},
        "dead_by_reason": dead_by_reason,
        "gone": total.gone,
        "gone_by_reason": gone_by_reason,
        **readback.as_dict(),
        "lake_duplicates": repeated,
    }
    rows = [
        (kind, counts.delivered, counts.dead_lettered, counts.pending, counts.landed, counts.gone)
        for kind, counts in [*by_kind.items(), ("all", total)]
    ]
    headings = ("kind", "delivered", "dead-lettered", "pending", "landed", "gone")
    notes = [f"dead letters, {reason}: {count:,}" for reason, count in dead_by_reason.items()]
    notes += readback.sentences()
    if gone_by_reason:
        notes += explain_gone(gone_by_reason)
    if repeated:
        notes.append(f"{counted(repeated, 'row in the lake repeats', 'rows in the lake repeat')} an id.")
    dataset = f", dataset {destination.dataset}" if name_dataset else ""
    return content, Sheet(f"Sent to {destination}{dataset}", headings, rows, notes)


@click.command()
@NAME
@click.option("--reason", help="Replay only events with this reason; status lists the reasons.")
@click.option(
    "--gone", is_flag=True, help="Requeue events that are gone from the dataset, instead of dead letters."
)
@PATIENCE
@click.option("--skip-guard", is_flag=True, help="Do not wait after a dataflow change.")
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
    """Read everything back again, and compare the ledger with the dataset."""
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
        destination = DestinationLedger(ledger, connection.destination, platform.now)
        result = run_reconcile(connection, destination, wait=wait, quiet=context.as_json)
    return CommandResult(result.as_dict(), result, result.exit_code)
