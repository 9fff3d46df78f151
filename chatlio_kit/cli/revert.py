"""The command that reverts a bulk run."""

from __future__ import annotations

import click

from chatlio_kit.cli.command import NAME, PRODUCTION, CommandResult, Context, command
from chatlio_kit.connection import open_connection
from chatlio_kit.delivery import revert as run_revert
from chatlio_kit.errors import UsageError


@click.command()
@click.argument("run", type=click.IntRange(min=1))
@NAME
@click.option("--yes", is_flag=True, help="Revert without asking.")
@PRODUCTION
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="Seconds to wait until the platform has reverted the batches.",
)
@command
def revert(context: Context, run: int, name: str, yes: bool, production: bool, wait: float) -> CommandResult:
    """Revert the batches of run number RUN, and read back that their rows are gone.

    The page of `backfill --via batch` names the run's number. Streamed rows cannot be reverted.
    """
    connection = open_connection(context.open(), name)
    if not yes:
        click.echo(f"The rows of run {run} will be gone from {connection.destination}.", err=True)
        if context.as_json or not click.confirm("Revert it?", err=True):
            raise UsageError("Nothing was reverted. Use --yes to revert without confirmation.")
    result = run_revert(connection, run, production=production, wait=wait, quiet=context.as_json)
    return CommandResult(result.as_dict(), result, result.exit_code)
