"""Commands about sending: backfill, replay, and what arrived."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from chatlio_kit.backfill import backfill as run_backfill
from chatlio_kit.backfill import forecast
from chatlio_kit.cli.command import KIND, NAME, PATHS, SKIP_GUARD, UNDATED_AS, Answer, Context, command
from chatlio_kit.connection import open_connection
from chatlio_kit.delivery import Ledger, ingested, read_back
from chatlio_kit.delivery import replay as run_replay
from chatlio_kit.delivery.page import DONE, INCOMPLETE, UNCONFIRMED
from chatlio_kit.delivery.reconcile import count_sql
from chatlio_kit.delivery.run import NAMED
from chatlio_kit.display import Sheet
from chatlio_kit.tables import Export, Settling

SHOWN = 20
"""How many missing events are shown; the JSON has more."""


@click.command()
@PATHS
@NAME
@KIND
@UNDATED_AS
@click.option("--dry-run", is_flag=True, help="Forecast records, bytes, requests and time; send nothing.")
@click.option("--connect", "make", is_flag=True, help="Make the connection if it is missing.")
@SKIP_GUARD
@click.option(
    "--no-canary", is_flag=True, help="On aep, do not read the first records back before volume follows."
)
@click.option("--wait", type=click.FloatRange(min=0), help="Seconds to wait until everything has landed.")
@command
def backfill(
    context: Context,
    paths: tuple[Path, ...],
    name: str,
    kind: str | None,
    undated_as: str | None,
    dry_run: bool,
    make: bool,
    skip_guard: bool,
    no_canary: bool,
    wait: float | None,
) -> Answer:
    """Convert captures, stream them, and read back what landed. Resumes by itself."""
    settling = Settling.from_options(kind, undated_as)
    Export(paths, settling)  # a wrong path is told before anything is made
    if dry_run:
        found = forecast(paths, context.open(), name=name, settling=settling)
        return Answer(found.as_dict(), found)
    page = run_backfill(
        paths,
        context.open(),
        name=name,
        settling=settling,
        connect=make,
        skip_guard=skip_guard,
        canary=not no_canary,
        wait=wait,
        quiet=context.as_json,
    )
    return Answer(page.as_dict(), page, page.exit_code)


@click.command()
@command
def status(context: Context) -> Answer:
    """Show the ledger in numbers."""
    with Ledger(context.state) as ledger:
        found = [(destination, ledger.book(destination)) for destination in ledger.destinations()]
        content = {
            "destinations": [
                {
                    "destination": str(destination),
                    "total": asdict(book.tally()),
                    "by_kind": {kind: asdict(tally) for kind, tally in book.by_kind().items()},
                    "dead_by_reason": book.dead_by_reason(),
                    "lake_duplicates": book.rows_read() - book.tally().landed,
                }
                for destination, book in found
            ]
        }
        sheets = []
        for destination, book in found:
            tallies = [*book.by_kind().items(), ("all", book.tally())]
            rows = [
                (kind, tally.delivered, tally.dead_lettered, tally.pending, tally.landed)
                for kind, tally in tallies
            ]
            headings = ("kind", "delivered", "dead-lettered", "pending", "landed")
            sheets.append(str(Sheet(f"Sent to {destination}", headings, rows)))
    return Answer(content, "\n\n".join(sheets) or f"Nothing was sent from {str(context.state)!r} yet.")


@click.command()
@NAME
@click.option("--reason", help="Only dead letters of this reason; status lists the reasons.")
@click.option("--skip-guard", is_flag=True, help="Do not wait after a dataflow was changed.")
@click.option("--wait", type=click.FloatRange(min=0), help="Seconds to wait until everything has landed.")
@command
def replay(context: Context, name: str, reason: str | None, skip_guard: bool, wait: float | None) -> Answer:
    """Send dead letters again after a fix, all or by reason."""
    connection = open_connection(context.open(), name)
    page = run_replay(connection, reason=reason, skip_guard=skip_guard, wait=wait, quiet=context.as_json)
    return Answer(page.as_dict(), page, page.exit_code)


@click.command()
@NAME
@click.option("--wait", default=0.0, type=click.FloatRange(min=0), help="Seconds to wait for missing rows.")
@command
def reconcile(context: Context, name: str, wait: float) -> Answer:
    """Compare the ledger with what the dataset holds."""
    connection = open_connection(context.open(), name)
    with Ledger(context.state) as ledger:
        book = ledger.book(connection.destination)
        read_back(connection, book, wait=wait, quiet=context.as_json)
        total, dead = book.tally(), book.dead_by_reason()
        runs, rows = ingested(connection), book.rows_read()
        missing = book.missing(NAMED)
    table = str(connection.platform.catalog.dataset(connection.dataset_id).get("name", "the_dataset"))
    sql = count_sql(table)
    content = {
        "destination": str(connection.destination),
        "total": asdict(total),
        "dead_by_reason": dead,
        "runs": runs,
        "lake_rows": rows,
        "lake_duplicates": rows - total.landed,
        "missing": [dict(zip(("event_id", "kind", "file", "record"), each, strict=True)) for each in missing],
        "sql": sql,
    }
    sheet = Sheet(
        f"Arrived at {connection.destination}",
        ("", "count"),
        [
            ("delivered", total.delivered),
            ("dead-lettered", total.dead_lettered),
            *((f"  {reason}", count) for reason, count in dead.items()),
            ("pending", total.pending),
            ("landed", total.landed),
            *((f"dataflows: {what}", count) for what, count in runs.items()),
            ("rows of ours read back", rows),
            ("  of them repeated ids", rows - total.landed),
        ],
        [
            *(
                f"not landed yet: {kind} {event_id} ({file} record {record})"
                for event_id, kind, file, record in missing[:SHOWN]
            ),
            *([f"... and {len(missing) - SHOWN:,} more; --json lists them"] if len(missing) > SHOWN else []),
            f"The same in Query Service: {sql}",
        ],
    )
    if total.landed < total.delivered or total.pending:
        return Answer(content, sheet, UNCONFIRMED)
    return Answer(content, sheet, INCOMPLETE if total.dead_lettered else DONE)
