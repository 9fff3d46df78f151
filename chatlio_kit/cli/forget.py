"""The command that erases one person."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from chatlio_kit.cli.command import (
    PRODUCTION,
    CaptureOptions,
    CommandResult,
    Context,
    capture_options,
    command,
)
from chatlio_kit.errors import UsageError
from chatlio_kit.jobs.forget import forget as run_forget


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@click.option("--visitor-id", help="Forget the visitor with this id, which Chatlio gives to a browser.")
@click.option("--email", help="Forget everyone with this e-mail address.")
@click.option("--channel", help="Forget the conversations in the Slack channel with this id (C...).")
@click.option(
    "--tables",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A folder of tables from convert; the person's rows are erased from them.",
)
@capture_options
@click.option("--yes", is_flag=True, help="Erase without confirmation.")
@PRODUCTION
@click.option(
    "--wait",
    default=0.0,
    type=click.FloatRange(min=0),
    help="Seconds to wait for a record delete to finish, which can take days.",
)
@command
def forget(
    context: Context,
    paths: tuple[str, ...],
    visitor_id: str | None,
    email: str | None,
    channel: str | None,
    tables: tuple[Path, ...],
    captures: CaptureOptions,
    yes: bool,
    production: bool,
    wait: float,
) -> CommandResult:
    """Erase one person, or one Slack channel, from the state folder and the local platform.

    With --platform aep, their rows are also deleted there by record delete, if the connection has identities;
    the report is based on a read-back. Without identities, the report lists what cannot be deleted.

    Name the captures that were sent, with the options of that backfill, so that the person's rows in the
    ledger can be found. The captures themselves are not changed; the report lists what to remove from them.
    Tables are changed if --tables names them. Exit code 1 means that no match was found.
    """
    if not yes and (visitor_id or email or channel):
        in_tables = "".join(f" and the tables in {str(folder)!r}" for folder in tables)
        target = "this channel" if channel and not (visitor_id or email) else "this person"
        state = repr(str(context.state))
        click.echo(f"All data about {target} in {state}{in_tables} will be erased for good.", err=True)
        if context.as_json or not click.confirm("Erase it?", err=True):
            raise UsageError("Nothing was erased. Use --yes to erase without confirmation.")
    options = asdict(captures)
    has_export = options.pop("slack") is not None
    options.pop("cluster", None)  # the search for a person runs locally
    result = run_forget(
        captures.export(paths) if has_export else paths,
        email=email,
        visitor_id=visitor_id,
        channel=channel,
        state=context.state,
        tables=tables,
        **options,
        platform=context.open() if context.is_aep else None,
        production=production,
        confirm=None if yes else lambda sentence: click.confirm(f"{sentence} Send it?", err=True),
        wait=wait,
    )
    return CommandResult(result.as_dict(), result, result.exit_code)
