"""German and Dutch keep step with English: the core notebooks, and the first page of the README."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner

from chatlio_kit.cli import main
from chatlio_kit.jobs.notebook_files import write_notebooks
from chatlio_kit.jobs.notebook_languages import LANGUAGES, marker, read_sections, translate

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "notebooks"
CORE = sorted(path.name for path in SOURCE.glob("0[0-4]_*.ipynb"))
OTHERS = [language for language in LANGUAGES if language != "en"]

_FIXED = re.compile(
    r"```.*?```|`[^`]+`"  # code
    r"|(?<=\]\()[^)]+"  # links and pictures
    r"|<[^>]+>"  # HTML tags
    r"|^ *(?:#+|-|\d\.|\|)(?= )",  # headings, lists and rows of tables
    re.MULTILINE | re.DOTALL,
)
_COMMENT = re.compile(r" +# .*")
_FIRST_PAGE = re.compile(r"^\*\*.*?^```console\n.*?^```$", re.MULTILINE | re.DOTALL)


def _fixed(text: str) -> list[str]:
    """Return what a translation must not change, in any order, without comments in code."""
    return sorted(_FIXED.findall(_COMMENT.sub("", text)))


def _assert_in_step(sections: dict[str, str], english: dict[str, str]) -> None:
    missing, surplus = english.keys() - sections.keys(), sections.keys() - english.keys()
    assert not missing | surplus, f"to translate: {sorted(missing)}; of older texts: {sorted(surplus)}"
    assert list(sections) == list(english)
    for begin, text in english.items():
        assert sections[begin] != text, begin
        assert _fixed(sections[begin]) == _fixed(text), begin


@pytest.mark.parametrize("language", OTHERS)
def test_each_core_notebook_is_translated(language: str) -> None:
    """No other notebook has a translation, so none can be forgotten by this file."""
    files = (SOURCE / "translations" / language).iterdir()
    assert sorted(path.with_suffix(".ipynb").name for path in files) == CORE
    assert len(CORE) == 5


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("name", CORE)
def test_translated_cells_are_in_step(name: str, language: str) -> None:
    """Every Markdown cell has a translation of its present text with the same code, links and structure."""
    cells = nbformat.read(SOURCE / name, as_version=4).cells
    english = {marker(cell.id, cell.source): cell.source for cell in cells if cell.cell_type == "markdown"}
    _assert_in_step(read_sections(SOURCE / "translations" / language / f"{Path(name).stem}.md"), english)


@pytest.mark.parametrize("language", OTHERS)
def test_translated_notebooks_have_the_same_code_and_outputs(language: str, tmp_path: Path) -> None:
    """The command writes valid notebooks that differ from the English ones in their Markdown alone."""
    command = ["notebooks", str(tmp_path), "--language", language]
    assert CliRunner().invoke(main, command).exit_code == 0
    for path in sorted(SOURCE.glob("*.ipynb")):
        written = nbformat.read(tmp_path / path.name, as_version=4)
        nbformat.validate(written)
        english = nbformat.read(path, as_version=4)
        assert [cell.id for cell in written.cells] == [cell.id for cell in english.cells]
        for cell, origin in zip(written.cells, english.cells, strict=True):
            if path.name in CORE and origin.cell_type == "markdown":
                assert cell.source != origin.source
                origin.source = cell.source
        assert written == english
    assert write_notebooks(tmp_path, language).kept == ()


def test_the_tour_in_another_language_has_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So English notebooks from an earlier tour do not stay in its way."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("chatlio_kit.cli.notebooks.open_jupyter", lambda path, browser: None)
    for arguments in ([], ["--language", "nl"]):
        assert CliRunner().invoke(main, ["tour", *arguments]).exit_code == 0
    first = nbformat.read(tmp_path / "chatlio-notebooks-nl" / CORE[0], as_version=4)
    assert first.cells[0].source.startswith("# Begin hier")


def test_a_cell_without_a_present_translation_stays_english() -> None:
    """So does a whole notebook, byte by byte."""
    content = (SOURCE / CORE[0]).read_bytes()
    assert translate(content, {marker("00-title", "an older text"): "ein alter Text"}) == content


@pytest.mark.parametrize("language", OTHERS)
def test_the_first_page_of_the_readme_is_in_step(language: str) -> None:
    """From the promise to the two commands, with the same commands, links and picture."""
    found = _FIRST_PAGE.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found is not None
    sections = read_sections(ROOT / f"README.{language}.md")
    (begin, text), *_ = sections.items()
    page = _FIRST_PAGE.search(text)
    assert page is not None
    _assert_in_step({begin: page[0]}, {marker("first-page", found[0]): found[0]})
