"""The embedded platform by itself."""

from __future__ import annotations

from pathlib import Path

import click

from chatlio_kit import local_platform
from chatlio_kit.cli.command import fail
from chatlio_kit.errors import UsageError
from chatlio_kit.opening import STORE
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
def serve(port: int, store: Path, faults: Path | None) -> None:
    """Answer as Experience Platform does, on this machine alone, until stopped."""
    try:
        local_platform.serve(store, port, options=local_platform.Options(faults=faults))
    except local_platform.WrongFaults as error:
        fail(str(error), UsageError.exit_code, as_json=False)
    except local_platform.CannotServe as error:
        fail(str(error), 1, as_json=False)
