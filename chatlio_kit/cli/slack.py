"""The commands for Slack workspace exports."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from chatlio_kit.cli.command import CommandResult, Context, command
from chatlio_kit.errors import quoted


@click.group("slack")
def slack_group() -> None:
    """Propose how to read a Slack workspace export."""


@slack_group.command()
@click.argument("export", type=click.Path(path_type=Path))
@click.argument("captures", nargs=-1)
@click.option(
    "--write",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the proposal to this TOML file, to be checked and passed to --slack.",
)
@command
def inspect(_: Context, export: Path, captures: tuple[str, ...], write: Path | None) -> CommandResult:
    """Propose settings for reading an export, using ids and counts but never message text.

    With captures from the same time, it also compares the messages that both have.
    """
    jobs = import_module("chatlio_kit.jobs.slack")
    proposal = jobs.inspect_slack(export, captures or None, write=write)
    if write is None:
        return CommandResult(proposal.as_dict(), proposal)
    paths = " ".join(map(quoted, [export, *captures]))
    next_step = (
        f"Next: check every line of {write}. Then read the export: "
        f"chatlio-kit convert {paths} --slack {quoted(write)} --out tables/"
    )
    if proposal.without_username and proposal.settings["bot_without_username"] == "unknown":
        next_step += (
            "\nThen chatlio-kit explore tables/ shows what unknown authors wrote: if these are notices, set "
            "bot_without_username to notice and convert again before you send."
        )
    return CommandResult(proposal.as_dict(), f"{proposal}\n{next_step}")
