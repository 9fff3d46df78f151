"""The command that makes tables from an export.

It loads little before its workers are started: they load what they need meanwhile.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chatlio_kit.cli.capture_options import ENCODING, EXCLUDE
from chatlio_kit.cli.command import (
    CONTRACT,
    FIELDS,
    KIND,
    PATHS,
    REDACT,
    UNDATED_AS,
    CommandResult,
    Context,
    command,
)
from chatlio_kit.errors import DONE, INCOMPLETE
from chatlio_kit.pool import create_pool, default_workers, paused_collection

if TYPE_CHECKING:
    from chatlio_kit.tables import Converted

_PRELOAD = ("chatlio_kit.tables.pipeline", "pandera.pandas")
"""Named here, since importing what names it would keep workers from starting first."""


@click.command()
@PATHS
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder for the tables.")
@KIND
@UNDATED_AS
@FIELDS
@REDACT
@CONTRACT
@EXCLUDE
@ENCODING
@command
def convert(
    context: Context,
    paths: tuple[str, ...],
    out: Path,
    kind: str | None,
    undated_as: str | None,
    fields: str | None,
    redact: str | None,
    contract: str | None,
    exclude: tuple[str, ...],
    encoding: str | None,
) -> CommandResult:
    """Turn captured webhooks into validated tables."""
    workers = default_workers(_bytes_in(paths))
    with create_pool(workers, _PRELOAD) if workers else nullcontext() as pool:
        with paused_collection():
            tables = import_module("chatlio_kit.tables")  # loaded while the workers load it too
            gc.freeze()  # none of that is garbage: looking through it again and again takes its time
        settling = tables.ReadOptions.from_options(kind, undated_as, fields)
        export = tables.Export(
            paths,
            settling,
            tables.FieldPolicy.from_options(redact, contract),
            exclude=exclude,
            encoding=encoding,
        )
        converted: Converted = tables.convert(export, out, executor=pool, quiet=context.as_json)
    return CommandResult(converted.report(), converted, INCOMPLETE if converted.counts.rejected else DONE)


def _bytes_in(paths: Sequence[str]) -> int:
    """Give the bytes of the files and folders that are named: known before anything else is loaded.

    What patterns and addresses name is known later, and then workers are started for it.
    """
    files = (each for path in map(Path, paths) for each in (path.rglob("*") if path.is_dir() else (path,)))
    try:
        return sum(each.stat().st_size for each in files if each.is_file())
    except OSError:  # told when captures are looked for
        return 0
