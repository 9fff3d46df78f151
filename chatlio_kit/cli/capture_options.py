"""The options that say which captures are read."""

from __future__ import annotations

import click

EXCLUDE = click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Leave out files, folders and members of archives, as in '*.log' or captures/old; may be repeated.",
)
ENCODING = click.option(
    "--encoding", metavar="NAME", help="What lines are in that are not UTF-8, such as cp1252."
)
