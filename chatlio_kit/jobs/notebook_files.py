"""Put the guided notebooks into a folder, run one, and open the first."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import chatlio_kit
from chatlio_kit.arguments import checked, text
from chatlio_kit.display import Sheet, SheetDisplay
from chatlio_kit.errors import ChatlioKitError, OutputError, UsageError
from chatlio_kit.jobs.notebook_languages import read_sections, translate
from chatlio_kit.private_files import write_private

FIRST = "00_start_here.ipynb"
TOUR = Path("chatlio-notebooks")
"""The tour's default folder for the notebooks."""
_EXTRA = 'pip install "chatlio-kit[notebooks]"'
_PATTERNS = ("**/*.ipynb", "**/*.svg")
_SECONDS = 600
"""Seconds that one cell may run."""


class NotebooksMissing(ChatlioKitError):
    """An error for missing requirements of the notebooks."""


class NotebookStopped(ChatlioKitError):
    """An error for a notebook that stopped at a cell."""


@dataclass(frozen=True, repr=False)
class NotebookFiles(SheetDisplay):
    """The notebooks in a folder.

    Attributes:
        folder: Their folder.
        written: The names of files that were written.
        unchanged: The names of existing files with the same content.
        kept: The names of existing files that differ, and were left unchanged.
    """

    folder: Path
    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    kept: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields of ``notebooks --json``."""
        return {
            "folder": str(self.folder),
            "written": list(self.written),
            "unchanged": list(self.unchanged),
            "kept": list(self.kept),
        }

    def sheet(self) -> Sheet:
        """List each file with its outcome."""
        rows = [
            (name, what)
            for names, what in (
                (self.written, "written"),
                (self.unchanged, "there already"),
                (self.kept, "yours differs, left alone"),
            )
            for name in names
        ]
        notes = [f"Open the first one with: jupyter lab {self.folder / FIRST}"]
        return Sheet(f"Notebooks in {self.folder}", ("file", ""), sorted(rows), notes)


def source_folder() -> Path:
    """Return the folder of the notebooks: inside an installed package, or next to a source checkout.

    Raises:
        NotebooksMissing: The installation has none.
    """
    package = Path(chatlio_kit.__file__).parent
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / FIRST).is_file():
            return folder
    raise NotebooksMissing("This installation has no notebooks. Install the package again, from its wheel.")


@checked()
def write_notebooks(folder: Path | str, language: str = "en") -> NotebookFiles:
    """Put the guided notebooks into a folder. An existing file that differs is never overwritten.

    Args:
        folder: The folder, created if it does not exist.
        language: A key of `LANGUAGES`; untranslated cells stay English.

    Raises:
        OutputError: A file cannot be written.
        NotebooksMissing: The installation has no notebooks.
    """
    folder, source = Path(folder), source_folder()
    names: dict[str, list[str]] = {"written": [], "unchanged": [], "kept": []}
    for path in sorted(path for pattern in _PATTERNS for path in source.glob(pattern)):
        name = path.relative_to(source)
        if any(part.startswith(".") for part in name.parts):
            continue
        target, content = folder / name, path.read_bytes()
        translation = source / "translations" / language / f"{path.stem}.md"
        if translation.is_file():
            content = translate(content, read_sections(translation))
        try:
            if target.exists():
                same = target.read_bytes() == content
                names["unchanged" if same else "kept"].append(name.as_posix())
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            write_private(target, content)
        except OSError as error:
            raise OutputError(
                f"{str(target)!r} cannot be written: {error.strerror or error}. Choose another folder."
            ) from error
        names["written"].append(name.as_posix())
    return NotebookFiles(folder, *(tuple(names[what]) for what in ("written", "unchanged", "kept")))


@checked(name=text)
def run_notebook(folder: Path | str, name: str) -> Path:
    """Run a notebook of a folder from top to bottom, and store its outputs in the file.

    Args:
        folder: Its folder.
        name: Its name or the beginning of its name, such as ``02``.

    Raises:
        UsageError: There is no such notebook, or several.
        NotebooksMissing: Jupyter is not installed.
        NotebookStopped: A cell fails; the file then has the outputs up to that cell.
    """
    require_jupyter()
    names = sorted(path.name for path in Path(folder).glob("*.ipynb"))
    fitting = [one for one in names if one.removesuffix(".ipynb") == name.removesuffix(".ipynb")]
    fitting = fitting or [one for one in names if name and one.startswith(name)]
    if len(fitting) != 1:
        raise UsageError(
            f"{name!r} is {'none' if not fitting else 'not one'} of the notebooks in {str(folder)!r}. "
            f"They are {', '.join(names) or 'not there'}."
        )
    path = Path(folder) / fitting[0]
    nbformat, nbclient = import_module("nbformat"), import_module("nbclient")
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=_SECONDS,
        store_widget_state=False,
        extra_arguments=[
            "--log-level=ERROR"
        ],  # a kernel warns about its own transport, which cannot be changed here
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        client.execute()
    except nbclient.exceptions.CellExecutionError as error:
        sentence = str(error.evalue).rstrip(".")
        raise NotebookStopped(f"{str(path)!r} stopped: {sentence}. Its outputs show the cell.") from None
    except nbclient.exceptions.CellTimeoutError:
        raise NotebookStopped(f"{str(path)!r} stopped: a cell ran for over {_SECONDS} seconds.") from None
    finally:
        nbformat.write(notebook, path)
    return path


def open_jupyter(path: Path, *, browser: bool = True) -> None:
    """Open a notebook in JupyterLab, and wait until JupyterLab is closed.

    Args:
        path: The notebook.
        browser: If true, open a browser; if not, JupyterLab prints its URL.

    Raises:
        NotebooksMissing: JupyterLab is not installed.
        NotebookStopped: JupyterLab ends with an error, which it has printed.
    """
    require_jupyter()
    command = [
        *(sys.executable, "-P", "-m", "jupyterlab"),
        f"--ServerApp.root_dir={path.parent.resolve()}",
        f"--LabApp.default_url=/lab/tree/{path.name}",
        *([] if browser else ["--no-browser"]),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        with suppress(KeyboardInterrupt):  # JupyterLab was interrupted too, and ends by itself
            server.wait()
        if server.wait() > 0:
            raise NotebookStopped("JupyterLab ended with an error. Its messages above give the reason.")


def require_jupyter() -> None:
    """Check that JupyterLab is installed.

    Raises:
        NotebooksMissing: It is not installed; the message says how to install it.
    """
    if find_spec("jupyterlab") is None:
        raise NotebooksMissing(
            f"Notebooks need JupyterLab, which is not installed. Install it with: {_EXTRA}"
        )
