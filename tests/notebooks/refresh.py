"""Re-execute all notebooks in place and store what they show: ``python tests/notebooks/refresh.py``.

Everything that changes from run to run is left out, so a second refresh changes nothing.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).parent.parent.parent / "notebooks"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_METADATA = ("tags",)
READ_AT = re.compile(r"read back at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")
STORED_AT = "read back at 2026-01-01 09:00:00 UTC"


def refresh(path: Path) -> None:
    """Run one notebook from top to bottom and store its outputs."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    nbformat.write(settled(notebook), path)


def settled(notebook: NotebookNode) -> NotebookNode:
    """Leave out what changes from run to run, and from one machine to the next."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        kept = {name: cell.metadata[name] for name in CELL_METADATA if name in cell.metadata}
        cell.metadata = nbformat.from_dict(kept)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_VIEW, None)
            if "metadata" in output:
                output["metadata"] = nbformat.from_dict({})
            shown = output.get("data", {})
            for kind in shown:
                if kind.startswith("text/"):
                    shown[kind] = READ_AT.sub(STORED_AT, shown[kind])
    return notebook


def main(names: list[str]) -> None:
    """Refresh the named notebooks, or all of them."""
    paths: list[Any] = [Path(name) for name in names] or sorted(NOTEBOOKS.glob("*.ipynb"))
    for path in paths:
        refresh(path.resolve())
        print(f"refreshed {path.name}")


if __name__ == "__main__":
    main(sys.argv[1:])
