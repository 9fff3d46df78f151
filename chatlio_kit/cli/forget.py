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
@click.option("--visitor-id", help="Whom to forget: the visitor, as Chatlio numbers browsers.")
@click.option("--email", help="Whom to forget: everybody with this address.")
@click.option("--channel", help="What to forget: the conversations of the Slack channel with this id (C...).")
@click.option(
    "--tables",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A folder of tables that convert wrote: the person's rows are taken out of them.",
)
@capture_options
@click.option("--yes", is_flag=True, help="Take out without asking.")
@PRODUCTION
@click.option(
    "--wait",
    default=0.0,
    type=click.FloatRange(min=0),
    help="Seconds to wait until a record delete is carried out, which can take days.",
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
    """Take one person, or one Slack channel, out of the state folder and the local platform.

    With --platform aep their rows are deleted there too, by record delete, where the connection has
    identities; what is reported was read back. Without identities it says what cannot be done.

    Name the captures that were sent, with the options of that backfill, and the ledger's rows of the person
    are found through them; the captures themselves are left as they are, with a list of what to take out of
    them. Tables are changed where --tables names them. Exit code 1 says that nobody was found.
    """
    if not yes and (visitor_id or email or channel):
        in_tables = "".join(f", and the tables in {str(folder)!r}" for folder in tables)
        whom = "this channel" if channel and not (visitor_id or email) else "this person"
        click.echo(f"What {str(context.state)!r} keeps of {whom}{in_tables} will be gone for good.", err=True)
        if context.as_json or not click.confirm("Take it out?", err=True):
            raise UsageError("Nothing was taken out. Say --yes to take out without being asked.")
    options = asdict(captures)
    has_export = options.pop("slack") is not None
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
