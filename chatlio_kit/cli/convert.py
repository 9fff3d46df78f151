"""The command that converts captures to tables.

It imports little before it starts its workers, so that they can import in the meantime.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chatlio_kit.cli.command import (
    PATHS,
    CaptureOptions,
    CommandResult,
    Context,
    capture_options,
    cluster_option,
    command,
)
from chatlio_kit.errors import DONE, INCOMPLETE, quoted
from chatlio_kit.pool import create_pool, default_workers, paused_collection

if TYPE_CHECKING:
    from chatlio_kit.tables import Converted

_PRELOAD = ("chatlio_kit.tables.pipeline", "pandera.pandas")
"""Listed here, because importing a list from elsewhere would delay the start of the workers."""


@click.command()
@PATHS
@click.option("--out", required=True, metavar="PATH", help="The folder for the tables, here or in a bucket.")
@cluster_option
@capture_options
@command
def convert(
    context: Context,
    paths: tuple[str, ...],
    out: str,
    cluster: str | None,
    captures: CaptureOptions,
) -> CommandResult:
    """Convert captured webhooks to validated tables."""
    workers = 0 if cluster else default_workers(_bytes_in(paths[1:] if captures.slack else paths))
    with create_pool(workers, _PRELOAD) if workers else nullcontext() as pool:
        with paused_collection():
            tables = import_module("chatlio_kit.tables")  # while the workers import it too
            gc.freeze()  # modules are never garbage, and scanning them repeatedly takes time
        converted: Converted = tables.convert(
            captures.export(paths, cluster), out, executor=pool, quiet=context.as_json
        )
    text = str(converted)
    if converted.counts.accepted and isinstance(converted.out, Path):
        tables_folder = quoted(converted.out)
        text += (
            f"\nNext: chatlio-kit explore {tables_folder} or chatlio-kit metrics {tables_folder}. Then "
            "chatlio-kit backfill, with the captures and options of this command, sends them."
        )
    return CommandResult(converted.report(), text, INCOMPLETE if converted.counts.rejected else DONE)


def _bytes_in(paths: Sequence[str]) -> int:
    """Return the size of the named files and folders, before anything else is imported.

    The size behind patterns and URLs is known later; their workers start then.
    """
    files = (file for path in map(Path, paths) for file in (path.rglob("*") if path.is_dir() else (path,)))
    try:
        return sum(file.stat().st_size for file in files if file.is_file())
    except OSError:  # reported when captures are listed
        return 0
