"""The commands for single chats: read them, and trace the status of one."""

from __future__ import annotations

from pathlib import Path

import click

from chatlio_kit.arguments import path_ending_in
from chatlio_kit.cli.command import CaptureOptions, CommandResult, Context, capture_options, command
from chatlio_kit.jobs.explore import explore as run_explore
from chatlio_kit.jobs.trace import capture_named_in
from chatlio_kit.jobs.trace import trace as run_trace
from chatlio_kit.tables.explorer import ROWS_OF_A_FILE
from chatlio_kit.tables.report import EXPLORER


@click.command()
@click.argument("tables", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page; by default explorer.html in the folder of the tables.",
)
@click.option("--query", default="", help="Only conversations in which all these words occur.")
@click.option("--since", metavar="TIME", help="Only from this day or RFC 3339 time on, UTC.")
@click.option("--until", metavar="TIME", help="Only before this day or time.")
@click.option(
    "--limit",
    default=ROWS_OF_A_FILE,
    show_default=True,
    type=click.IntRange(min=1),
    help="Maximum number of messages and events on the page; the latest are kept.",
)
@command
def explore(
    context: Context,
    tables: Path,
    out: Path | None,
    query: str,
    since: str | None,
    until: str | None,
    limit: int,
) -> CommandResult:
    """Write a page for searching, filtering and reading the conversations in tables from convert.

    The page works offline. If the state folder has a ledger, the page shows the status of each event.
    """
    explorer = run_explore(tables, state=context.state, query=query, since=since, until=until, limit=limit)
    path = explorer.save(tables / EXPLORER if out is None else path_ending_in(".html", "out", out))
    content = {"page": str(path), "holds": explorer.holds, "entries": len(explorer)}
    return CommandResult(content, f"{explorer.holds}\nOpen {path} in a browser.")


@click.command()
@click.argument("what")
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@click.option(
    "--tables",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A folder of tables from convert.",
)
@capture_options
@command
def trace(
    context: Context, what: str, paths: tuple[str, ...], tables: tuple[Path, ...], captures: CaptureOptions
) -> CommandResult:
    """Show what happened to WHAT: an event, conversation or visitor id, an e-mail address, or file:record.

    Every step is shown, from the record to the row in the dataset, with a reason if it is missing. Name
    tables, or the captures that were sent, to find the events of a conversation, visitor or address. Exit
    code 1 means that nothing is known about it.
    """
    named = paths or tuple(str(path) for path in [capture_named_in(what)] if path is not None)
    export = captures.export(named) if named else ()
    result = run_trace(what, export, tables=tables, state=context.state)
    return CommandResult(result.as_dict(), result, result.exit_code)
