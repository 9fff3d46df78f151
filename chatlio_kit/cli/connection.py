"""The commands that check, create and remove the connection."""

from __future__ import annotations

from pathlib import Path

import click

from chatlio_kit.cli.command import KINDS, NAME, PRODUCTION, CommandResult, Context, command
from chatlio_kit.connection import check_platform, list_removals, plan_connection, require_leave
from chatlio_kit.connection import disconnect as run_disconnect
from chatlio_kit.connection.preflight import unopened
from chatlio_kit.errors import SettingsError, Unreachable, UsageError


@click.command()
@NAME
@click.option("--webhook", "webhooks", multiple=True, type=KINDS, help="Only these webhooks; all by default.")
@click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")
@click.option(
    "--write-urls", type=click.Path(path_type=Path), help="Write the webhook URLs; they are secrets."
)
@PRODUCTION
@command
def connect(
    context: Context,
    name: str,
    webhooks: tuple[str, ...],
    dry_run: bool,
    write_urls: Path | None,
    production: bool,
) -> CommandResult:
    """Make the Chatlio connection: schema, dataset, mappings, dataflows, webhook URLs."""
    plan = plan_connection(context.open(), name, webhooks or None)
    if dry_run:
        return CommandResult(plan.as_dict(), plan)
    connection = plan.apply(production=production)
    if write_urls is not None:
        connection.write_webhook_urls(write_urls)
    content = {
        **plan.as_dict(made=connection),
        "changes": plan.changes,
        "destination": str(connection.destination),
        "connection": connection.as_dict(),
    }
    return CommandResult(content, f"{plan}\n\n{connection}")


@click.command()
@NAME
@command
def doctor(context: Context, name: str) -> CommandResult:
    """Check, without changing anything, whether a connection can be made and would work."""
    try:
        platform = context.open()
    except (SettingsError, Unreachable) as error:
        result = unopened(error, name)
    else:
        result = check_platform(platform, name)
    return CommandResult(result.as_dict(), result, result.exit_code)


@click.command()
@NAME
@click.option("--yes", is_flag=True, help="Remove without asking.")
@PRODUCTION
@command
def disconnect(context: Context, name: str, yes: bool, production: bool) -> CommandResult:
    """Remove our dataflows, connections and mapping sets; schema and data stay."""
    platform = context.open()
    if not yes:
        removals = list_removals(platform, name)
        require_leave(platform, production)  # before the question, whose answer would not matter
        click.echo(str(removals), err=True)
        if context.as_json or not click.confirm("Remove these?", err=True):
            raise UsageError("Nothing was removed. Say --yes to remove without being asked.")
    removal = run_disconnect(platform, name, production=production)
    return CommandResult(removal.as_dict(), removal)
