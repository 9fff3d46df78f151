"""The guided notebooks: run from top to bottom, shaped alike, and free of what must not be stored."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

NOTEBOOKS = sorted((Path(__file__).parent.parent.parent / "notebooks").glob("*.ipynb"))
SANITIZE = Path(__file__).with_name("sanitize.cfg")
NAMES = [
    *("00_start_here", "01_connect", "02_convert", "03_stream", "04_verify", "05_slack_history"),
    *("06_people", "07_answers"),
]
PARAMETERS = ["PLATFORM", "CAPTURES", "KIND", "UNDATED_AS", "FIELDS", "REDACT", "TIME_ZONE", "STATE"]
MORE_PARAMETERS = {
    "03_stream": ["VISITOR"],
    "05_slack_history": ["SLACK"],
    "06_people": ["VISITOR"],
    "07_answers": ["HOURS", "HOLIDAYS"],
}
WIDGET = "application/vnd.jupyter.widget"

UNWANTED = {
    "an absolute path": r"(?<![\w/.:])/(home|tmp|root|Users|var|work)/|[A-Z]:\\",
    "a digest or key": r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])",
    "an inlet": r"/collection/(?!\*\*\*)|x-adobe-flow-id(?!=\{dataflow ID\})",
    "a port": r"(127\.0\.0\.1|localhost):\d+",
    "a token": r"[Bb]earer\s|eyJ[\w-]{10,}\.|client_secret\"?[:=]",
    "an address in memory": r" at 0x[0-9a-f]+",
    "a missing value": r"\b(NaN|NaT|None)\b|&lt;NA&gt;|<NA>",
    "a line break in characters": r"\\n",
    "a fraction of a second": r"\d-\d\d \d\d:\d\d:\d\d[.]\d",
    "a warning": r"Warning:|jp-RenderedText[^>]*stderr",
}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    """One notebook's file."""
    return Path(request.param)


@pytest.fixture
def notebook(path: Path) -> NotebookNode:
    """One notebook."""
    return nbformat.read(path, as_version=4)


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _prose(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def _shown(notebook: NotebookNode) -> Iterator[str]:
    """Give every stored text; pictures are bytes and are left out."""
    for cell in _code(notebook):
        for output in cell.outputs:
            yield output.get("text", "")
            for kind, text in output.get("data", {}).items():
                if kind.startswith("text/"):
                    yield re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)


def _unrun(notebook: NotebookNode) -> list[int]:
    """Number the code cells that were not run, or not in their order, from 1."""
    return [at for at, cell in enumerate(_code(notebook), 1) if cell.execution_count != at]


def _compare(folder: Path, notebook: NotebookNode) -> subprocess.CompletedProcess[str]:
    """Run strict nbval on a copy of a notebook."""
    nbformat.write(notebook, folder / "copy.ipynb")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "--nbval-current-env",
        "--nbval-sanitize-with",
        str(SANITIZE),
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    return subprocess.run(
        [*command, "copy.ipynb"], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )


def test_all_are_there() -> None:
    """The journey, where history comes from, and what is asked of the tables."""
    assert [path.stem for path in NOTEBOOKS] == NAMES


def test_every_cell_was_run_in_order(notebook: NotebookNode) -> None:
    """Strict nbval compares nothing of a cell without an execution count, so each has one, in order."""
    assert _unrun(notebook) == []


def test_an_unrun_cell_is_caught(notebook: NotebookNode) -> None:
    """The test above sees a cell that was never run."""
    _code(notebook)[1].execution_count = None
    assert _unrun(notebook) == [2]


def test_nothing_went_wrong(notebook: NotebookNode) -> None:
    """No output is an error, and none came over stderr."""
    outputs = [output for cell in _code(notebook) for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]


@pytest.mark.parametrize("unwanted", UNWANTED)
def test_outputs_hold_nothing_unwanted(notebook: NotebookNode, unwanted: str) -> None:
    """Outputs hold no secrets, nothing of one machine and nothing of one run."""
    assert [text for text in _shown(notebook) if re.search(UNWANTED[unwanted], text)] == []


@pytest.mark.parametrize(
    ("unwanted", "text"),
    [
        ("an absolute path", "stored in /tmp/chatlio"),
        ("a digest or key", "id " + "0a" * 32),
        ("an inlet", "https://example.org/collection/0123"),
        ("a port", "http://127.0.0.1:40919/"),
        ("a token", "Authorization: Bearer abc"),
        ("an address in memory", "<object at 0x7f28>"),
        ("a missing value", "page_url NaN"),
        ("a line break in characters", "Hello\\nthere"),
        ("a fraction of a second", "2024-03-11 09:03:10.000900+00:00"),
        ("a warning", "UserWarning: look out"),
    ],
)
def test_the_unwanted_is_recognised(unwanted: str, text: str) -> None:
    """The test above can fail."""
    assert re.search(UNWANTED[unwanted], text)


def test_no_leftovers_of_widgets_or_machines(path: Path, notebook: NotebookNode) -> None:
    """Metadata is the same on every machine, and no widget's state or view is stored."""
    assert WIDGET not in path.read_text(encoding="utf-8")
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert dict(notebook.metadata.language_info) == {"name": "python"}
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)


def test_one_cell_holds_the_parameters(path: Path, notebook: NotebookNode) -> None:
    """One cell is tagged and sets the parameters, each with a comment."""
    tagged = [cell.source for cell in _code(notebook) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    lines = tagged[0].splitlines()
    expected = [*PARAMETERS, *MORE_PARAMETERS.get(path.stem, [])]
    assert [line.split(" = ")[0] for line in lines] == expected
    assert all("  # " in line for line in lines)
    assert all(line.count("=") == 1 for line in lines)  # as papermill requires


def test_cells_are_short_and_plain(notebook: NotebookNode) -> None:
    """Code cells are short and define nothing, and none uses what strict nbval cannot compare."""
    for cell in _code(notebook):
        lines = cell.source.splitlines()
        assert len(lines) <= 15
        assert not re.search(r"^\s*(def|class|async def) ", cell.source, re.MULTILINE)
        assert not lines[-1].rstrip().endswith(";")
        assert not re.search(r"\bOut\[|%%time|display_id|\.style\b", cell.source)


def test_every_plot_has_a_finding_and_its_numbers(notebook: NotebookNode) -> None:
    """An image is not compared, so the text next to it holds the title and the numbers."""
    for cell in _code(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            if "<img alt=" in data.get("text/html", "") and "figure" in cell.source:
                assert re.match(r"[A-Z0-9][^.]*\d[^.]*", data["text/plain"]), cell.source
                assert len(re.findall(r"\d", data["text/plain"])) > 8


def test_a_plot_is_followed_by_its_conclusion(notebook: NotebookNode) -> None:
    """The cell after a picture is prose."""
    for cell, after in pairwise(notebook.cells):
        shown = [output.get("data", {}).get("text/html", "") for output in cell.get("outputs", [])]
        if any("<img alt=" in html for html in shown):
            assert after.cell_type == "markdown"
            assert not after.source.startswith("#") or "picture" in cell.source


def test_no_table_is_shown_twice(notebook: NotebookNode) -> None:
    """What was shown once is not shown again; only the exercises all wait for their answer."""
    tables = [
        output["data"]["text/html"]
        for cell in _code(notebook)
        for output in cell.outputs
        if "<table" in output.get("data", {}).get("text/html", "")
    ]
    assert len(set(tables)) == len(tables)


def test_the_shape_is_the_same(notebook: NotebookNode) -> None:
    """A title, what to do, learn and need; imports first; three exercises; a picture; what next."""
    first, *rest = _prose(notebook)
    assert re.match(r"# \w+", first)
    assert [each for each in ("do", "learn", "need") if f"**What you'll {each}**" in first] == [
        "do",
        "learn",
        "need",
    ]
    assert "import chatlio_kit as ck" in _code(notebook)[0].source
    assert any(text.startswith("## On your own") for text in rest)
    assert "## Further reading" in rest[-1]
    assert "](https://" in rest[-1]
    assert any(".picture()" in cell.source for cell in _code(notebook))


def test_three_exercises_wait_for_an_answer(notebook: NotebookNode) -> None:
    """Each has a folded hint and a check; the notebook holds no answer, not even a hidden one."""
    cells = [cell for cell in notebook.cells if re.search(r"-(exercise|check)-\d$", cell.id)]
    assert [cell.id[2:] for cell in cells] == [
        f"-{part}-{number}" for number in (1, 2, 3) for part in ("exercise", "check")
    ]
    for number, (question, check) in enumerate(zip(cells[::2], cells[1::2], strict=True), 1):
        assert question.source.startswith(f"**{number}.** ")
        assert "<details>\n<summary>Hint</summary>\n" in question.source
        assert re.fullmatch(rf"lesson\.check\({number}, \.\.\., .+\)", check.source)
        assert check.outputs[0]["data"]["text/plain"].startswith("Not yet. ")
    assert not [cell for cell in notebook.cells if cell.metadata.get("jupyter")]


def test_links_lead_somewhere(path: Path, notebook: NotebookNode) -> None:
    """Links and pictures are files next to the notebook, or pages on the web."""
    targets = re.findall(r"\]\(([^)#]+)\)", "\n".join(_prose(notebook)))
    for target in targets:
        assert target.startswith("https://") or (path.parent / target).is_file(), target


def test_the_start_leads_everywhere() -> None:
    """From the first notebook, a link leads to each of the others."""
    start = "\n".join(_prose(nbformat.read(NOTEBOOKS[0], as_version=4)))
    assert {f"{name}.ipynb" for name in NAMES[1:]} <= set(re.findall(r"\]\(([^)#]+)\)", start))


def test_a_changed_number_is_caught(tmp_path: Path) -> None:
    """Strict nbval passes on a copy as it is, and fails when one stored number is another."""
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    notebook.cells = notebook.cells[: notebook.cells.index(_code(notebook)[4]) + 1]
    unchanged = _compare(tmp_path, notebook)
    assert unchanged.returncode == 0, unchanged.stdout + unchanged.stderr
    changed = nbformat.from_dict(json.loads(json.dumps(notebook).replace("1,980", "1,981")))
    assert changed != notebook
    assert _compare(tmp_path, changed).returncode == 1
