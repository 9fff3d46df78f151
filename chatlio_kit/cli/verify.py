"""The command that checks the client's assumptions in a sandbox."""

from __future__ import annotations

from pathlib import Path

import click

from chatlio_kit.cli.command import CommandResult, Context, command
from chatlio_kit.jobs.verify import CASES, listed_calls
from chatlio_kit.jobs.verify import verify_sandbox as run_verify


@click.command()
@click.option("--dry-run", is_flag=True, help="List every call without making any.")
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the answers, scrubbed of ids, addresses and names; needs the extra 'verify'.",
)
@click.option(
    "--wait",
    default=900.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Seconds to wait until a dataflow is ready and records have landed, which can take an hour.",
)
@command
def verify_sandbox(context: Context, dry_run: bool, record: Path | None, wait: float) -> CommandResult:
    """Check the client's assumptions in a development sandbox.

    It creates its own objects, compares the answers with docs/evidence.md, and removes the objects. A
    production sandbox is refused, and no option changes that. Exit code 3 means that an answer differs.
    """
    if dry_run:
        calls = [{"case": case.name, "call": case.call, "relies": case.relies} for case in CASES]
        return CommandResult({"calls": calls}, listed_calls())
    result = run_verify(context.open(), wait=wait, record=record, quiet=context.as_json)
    return CommandResult(result.as_dict(), result, result.exit_code)
