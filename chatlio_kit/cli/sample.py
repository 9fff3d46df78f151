"""The command that writes a sample export."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from chatlio_kit.cli.command import CommandResult, Context, command
from chatlio_kit.counting import counted
from chatlio_kit.display import Sheet
from chatlio_kit.samples import write_sample


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--events", default=1000, show_default=True, type=click.IntRange(min=1), help="Number of records."
)
@click.option("--seed", default=7, show_default=True, help="The same seed gives the same bytes.")
@click.option("--bad-share", default=0.0, show_default=True, help="Share of broken records, 0 to 0.5.")
@click.option("--slack", is_flag=True, help="Also write OUT.slack.zip: a Slack export of the same chats.")
@command
def sample(_: Context, out: Path, events: int, seed: int, bad_share: float, slack: bool) -> CommandResult:
    """Write a realistic sample export to try everything out."""
    export = write_sample(out, events=events, seed=seed, bad_share=bad_share, slack=slack)
    content = {**asdict(export), "path": str(export.path), "manifest": str(export.manifest)}
    content["slack"] = str(export.slack) if export.slack else None
    kinds = [(str(kind), count) for kind, count in export.by_kind.items()]
    notes = [
        f"{counted(export.files, 'file')}; {counted(export.bad, 'broken record')}, listed in "
        f"{export.manifest}"
    ]
    if export.slack is not None:
        notes.append(f"a Slack export of the same chats: {export.slack}")
    return CommandResult(content, Sheet(f"Sample export in {export.path}", ("kind", "records"), kinds, notes))
