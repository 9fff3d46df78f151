"""The notebooks without a clone: in a wheel, put into a folder, run, and opened."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import nbformat
import orjson
import pytest
from click.testing import CliRunner, Result
from nbformat.v4 import new_code_cell, new_notebook

from chatlio_kit.cli import main
from chatlio_kit.jobs import notebook_files

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "notebooks"
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def _json(*arguments: str | Path) -> dict[str, Any]:
    result = _run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    content: dict[str, Any] = orjson.loads(result.stdout)
    return content


def _files(folder: Path, *suffixes: str) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.suffix in (".ipynb", ".svg", *suffixes)]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in found
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def test_a_wheel_holds_the_notebooks(tmp_path: Path) -> None:
    """A built wheel has each of them, byte by byte, and no other place in it has a copy."""
    copy = tmp_path / "source"
    for name in ("chatlio_kit", "notebooks"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    built = subprocess.run(
        [sys.executable, "-c", BUILD, str(tmp_path)], cwd=copy, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as members:
        packed = {
            name: members.read(name)
            for name in members.namelist()
            if name.endswith((".ipynb", ".md", ".svg"))
        }
    source = _files(SOURCE, ".md")
    assert packed == {f"chatlio_kit/notebooks/{name}": content for name, content in source.items()}


def test_notebooks_are_put_into_a_folder(tmp_path: Path) -> None:
    """All that a wheel holds; a second time nothing is written, and what was changed stays."""
    folder = tmp_path / "mine"
    first = _json("notebooks", folder)
    assert _files(folder) == _files(SOURCE)
    assert sorted(first["written"]) == sorted(_files(SOURCE))
    (folder / "02_convert.ipynb").write_text("my own work", encoding="utf-8")
    (folder / "03_stream.ipynb").unlink()
    second = _json("notebooks", folder)
    assert (second["written"], second["kept"]) == (["03_stream.ipynb"], ["02_convert.ipynb"])
    assert (folder / "02_convert.ipynb").read_text(encoding="utf-8") == "my own work"
    shown = _run("notebooks", folder).stdout
    assert "02_convert.ipynb" in shown
    assert "left alone" in shown
    assert f"jupyter lab {folder / '00_start_here.ipynb'}" in shown


def test_one_is_run_and_its_result_stored(tmp_path: Path) -> None:
    """By the beginning of its name; one that stops says so in its error's words."""
    for name, last in (("90_good", "6 * 7"), ("91_bad", "ck.read_export('nowhere')")):
        cells = [new_code_cell("import chatlio_kit as ck"), new_code_cell(last)]
        nbformat.write(new_notebook(cells=cells), tmp_path / f"{name}.ipynb")
    assert _json("notebooks", tmp_path, "--run", "90")["ran"] == str(tmp_path / "90_good.ipynb")
    (output,) = nbformat.read(tmp_path / "90_good.ipynb", as_version=4).cells[1].outputs
    assert output.data["text/plain"] == "42"
    stopped = _run("notebooks", tmp_path, "--run", "91_bad.ipynb")
    assert stopped.exit_code == 1
    assert "91_bad.ipynb' stopped: " in stopped.stderr
    assert "nowhere" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    cells = nbformat.read(tmp_path / "91_bad.ipynb", as_version=4).cells
    assert [cell.execution_count for cell in cells] == [1, 2]


@pytest.mark.parametrize("name", ["08", "0", ""])
def test_what_cannot_be_run_is_a_sentence(tmp_path: Path, name: str) -> None:
    """A name of none, or of several, lists what there is."""
    result = _run("notebooks", tmp_path, "--run", name)
    assert result.exit_code == 2
    assert "00_start_here.ipynb" in result.stderr


@pytest.mark.parametrize("arguments", [("tour",), ("notebooks", "--run", "00")])
def test_without_jupyter_the_extra_is_named(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one sentence, with the command to install it."""
    monkeypatch.setattr(notebook_files, "find_spec", lambda name: None)
    result = _run(*arguments, tmp_path)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].endswith('Install it with: pip install "chatlio-kit[notebooks]"')
    assert result.stderr.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    """Such as one below a file."""
    (tmp_path / "file").write_text("")
    result = _run("notebooks", tmp_path / "file" / "folder")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


def test_the_tour_opens_the_first_in_jupyterlab(tmp_path: Path) -> None:
    """JupyterLab serves the folder; when it ends, so does the command, with one JSON object."""
    places = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("RUNTIME", "CONFIG", "DATA")}
    (tmp_path / "CONFIG").mkdir()
    settings = json.dumps({"ServerApp": {"allow_root": True}})
    (tmp_path / "CONFIG" / "jupyter_server_config.json").write_text(settings)
    command = [sys.executable, "-m", "chatlio_kit", "tour", "here", "--no-browser", "--json"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=os.environ | places,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as tour:
        deadline = time.monotonic() + 60
        while not (found := list((tmp_path / "RUNTIME").glob("jpserver-*.json"))):
            assert tour.poll() is None, tour.stderr.read() if tour.stderr else b""
            assert time.monotonic() < deadline
            time.sleep(0.1)
        server = json.loads(found[0].read_text())
        os.kill(server["pid"], signal.SIGTERM)
        stdout, stderr = tour.communicate(timeout=60)
    assert tour.returncode == 0, stderr
    assert Path(server["root_dir"]) == tmp_path / "here"
    assert orjson.loads(stdout)["opened"] == str(Path("here", "00_start_here.ipynb"))
    assert b"00_start_here.ipynb" in stderr
