"""The command that runs the embedded platform by itself."""

from __future__ import annotations

from pathlib import Path

import click

from chatlio_kit import local_platform
from chatlio_kit.cli.command import fail
from chatlio_kit.errors import UsageError
from chatlio_kit.jobs.platforms import STORE
from chatlio_kit.settings import DEFAULT_STATE


@click.group("local-platform")
def local_platform_group() -> None:
    """Run the embedded platform by itself."""


@local_platform_group.command()
@click.option(
    "--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)
@click.option("--store", type=click.Path(path_type=Path), default=DEFAULT_STATE / STORE, show_default=True)
@click.option("--faults", type=click.Path(path_type=Path), help="A JSON file of faults to answer with.")
@click.option(
    "--sandbox-type",
    type=click.Choice(local_platform.SANDBOX_TYPES),
    default="development",
    show_default=True,
    help="Of which type its sandbox is; commands change a production one only with --production.",
)
def serve(port: int, store: Path, faults: Path | None, sandbox_type: str) -> None:
    """Answer as Experience Platform does, on this machine alone, until stopped."""
    try:
        options = local_platform.Options(faults=faults, sandbox_type=sandbox_type)
        local_platform.serve(store, port, options=options)
    except local_platform.WrongFaults as error:
        fail(str(error), UsageError.exit_code, as_json=False)
    except local_platform.CannotServe as error:
        fail(str(error), 1, as_json=False)
