"""The commands that bring the guided notebooks."""

from __future__ import annotations

from pathlib import Path

import click

from chatlio_kit.cli.command import CommandResult, Context, command
from chatlio_kit.jobs.notebook_files import (
    FIRST,
    TOUR,
    open_jupyter,
    require_jupyter,
    run_notebook,
    write_notebooks,
)
from chatlio_kit.jobs.notebook_languages import LANGUAGES

_LANGUAGE = click.option(
    "--language",
    type=click.Choice(list(LANGUAGES)),
    default="en",
    show_default=True,
    help=f"The language of notebooks 00 to 04: {', '.join(LANGUAGES.values())}. The others are in English.",
)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--run", "name", metavar="NAME", help="Run this one, such as 02, and store its outputs.")
@_LANGUAGE
@command
def notebooks(_: Context, folder: Path, name: str | None, language: str) -> CommandResult:
    """Put the guided notebooks into a folder.

    An existing file that differs is left unchanged, so your own work is never overwritten. With --run, one of
    them is run from top to bottom, and its outputs are stored in its file.
    """
    files = write_notebooks(folder, language)
    content = files.as_dict()
    if name is None:
        return CommandResult(content, files)
    path = run_notebook(folder, name)
    return CommandResult({**content, "ran": str(path)}, f"Ran {path}. To see the result: jupyter lab {path}")


@click.command()
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option("--no-browser", is_flag=True, help="Print JupyterLab's address instead of opening a browser.")
@_LANGUAGE
@command
def tour(_: Context, folder: Path | None, no_browser: bool, language: str) -> CommandResult:
    """Open the first guided notebook in JupyterLab.

    The notebooks are put into DIR, as `chatlio-kit notebooks` does: by default into chatlio-notebooks, or
    chatlio-notebooks-de for German. JupyterLab runs until you stop it with Ctrl-C.
    """
    require_jupyter()
    folder = folder or (TOUR if language == "en" else TOUR.with_name(f"{TOUR.name}-{language}"))
    files = write_notebooks(folder, language)
    click.echo(f"The notebooks are in {folder}. Stop JupyterLab with Ctrl-C.", err=True)
    open_jupyter(folder / FIRST, browser=not no_browser)
    return CommandResult({**files.as_dict(), "opened": str(folder / FIRST)}, "JupyterLab has ended.")
