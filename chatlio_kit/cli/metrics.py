"""The command that measures tables."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from chatlio_kit.arguments import path_ending_in
from chatlio_kit.cli.command import CommandResult, Context, command
from chatlio_kit.errors import UsageError

_PERIODS = ("day", "week", "month", "quarter", "year")


@click.command()
@click.argument("tables", type=click.Path(path_type=Path))
@click.option(
    "--by",
    type=click.Choice(_PERIODS),
    default="month",
    show_default=True,
    help="The period for comparisons.",
)
@click.option(
    "--hours",
    help="Opening hours, such as 'Mo-Fr 09:00-17:30; Sa 10:00-14:00'; also measures in business time.",
)
@click.option(
    "--time-zone",
    default="UTC",
    show_default=True,
    help="The time zone of days, months and opening hours, such as Europe/Berlin.",
)
@click.option(
    "--holidays",
    help="Closed days: a country or region such as DE or DE-BE, dates, or several separated by commas.",
)
@click.option("--xlsx", type=click.Path(path_type=Path), help="Also write everything to this workbook.")
@command
def metrics(
    context: Context,  # noqa: ARG001 - measuring needs no platform
    tables: Path,
    by: str,
    hours: str | None,
    time_zone: str,
    holidays: str | None,
    xlsx: Path | None,
) -> CommandResult:
    """Measure the tables in a folder that convert wrote: volume, waits, outcomes; by period and agent."""
    workbook = None if xlsx is None else path_ending_in(".xlsx", "xlsx", xlsx)
    room = import_module("chatlio_kit.tables")
    measure = import_module("chatlio_kit.analysis.measure").measure
    measured = measure(room.read_tables(tables), hours=hours, time_zone=time_zone, holidays=holidays)
    if holidays is not None and hours is None:
        raise UsageError("--holidays closes days within the opening hours. Add --hours, or leave it out.")
    text = str(measured.sheet(by))
    if workbook is not None:
        text += f"\nworkbook: {measured.to_excel(workbook, by)}"
    return CommandResult(measured.as_dict(by), text)
