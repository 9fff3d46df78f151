"""The command that runs the local platform by itself."""

from __future__ import annotations

from pathlib import Path

import click

from chatlio_kit import local_platform
from chatlio_kit.cli.command import fail
from chatlio_kit.display import visible
from chatlio_kit.errors import ChatlioKitError, UsageError
from chatlio_kit.jobs.platforms import STORE, require_own_settings, write_settings
from chatlio_kit.settings import DEFAULT_STATE


@click.group("local-platform")
def local_platform_group() -> None:
    """Run the local platform by itself."""


@local_platform_group.command()
@click.option(
    "--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 picks a free one."
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=DEFAULT_STATE / STORE,
    show_default=True,
    help="The folder of its data and of its client secret.",
)
@click.option("--faults", type=click.Path(path_type=Path), help="A JSON file of faults to inject.")
@click.option(
    "--sandbox-type",
    type=click.Choice(local_platform.SANDBOX_TYPES),
    default="development",
    show_default=True,
    help="The type of its sandbox; commands change a production sandbox only with --production.",
)
@click.option(
    "--write-env",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write settings to this file, such as .env, with which --platform aep reaches it, to rehearse.",
)
def serve(port: int, store: Path, faults: Path | None, sandbox_type: str, write_env: Path | None) -> None:
    """Serve the local platform on this machine only, until stopped with Ctrl-C."""

    def started(running: local_platform.RunningPlatform) -> None:
        if write_env is not None:
            write_settings(running, write_env)
            note = f"In this folder, --platform aep now reaches it: its settings are in {str(write_env)!r}."
            click.echo(visible(note), err=True)

    try:
        if write_env is not None:
            require_own_settings(write_env)
        options = local_platform.Options(faults=faults, sandbox_type=sandbox_type)
        local_platform.serve(store, port, options=options, announce=click.echo, started=started)
    except OSError as error:
        advice = (
            f"Port {port} may be in use: choose another with --port." if port else "Choose another --store."
        )
        fail(f"The local platform cannot be served: {error.strerror or error}. {advice}", 1, as_json=False)
    except ChatlioKitError as error:
        fail(str(error), error.exit_code, as_json=False)
    except local_platform.WrongFaults as error:
        fail(str(error), UsageError.exit_code, as_json=False)
    except local_platform.CannotServe as error:
        fail(str(error), 1, as_json=False)
