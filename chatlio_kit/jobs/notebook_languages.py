"""Guided notebooks in other languages.

A translation is a Markdown file with a section for each Markdown cell of the English notebook. A section
begins with a marker that holds the cell's id and a digest of the English text, so outdated translations are
recognised. Code and outputs exist only once, in the English notebook.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

LANGUAGES = {"en": "English", "de": "German", "nl": "Dutch"}
_DIGITS = 12
_MARKER = re.compile(rf"^(<!-- translates \S+ [0-9a-f]{{{_DIGITS}}} -->)\n", re.MULTILINE)


def marker(name: str, english: str) -> str:
    """Return the line that begins the translation of an English text."""
    return f"<!-- translates {name} {hashlib.sha256(english.encode()).hexdigest()[:_DIGITS]} -->"


def read_sections(path: Path) -> dict[str, str]:
    """Read a file of translations.

    Returns:
        Each translated text by its marker, without surrounding blank lines.
    """
    _, *parts = _MARKER.split(path.read_text(encoding="utf-8"))
    return {begin: text.strip() for begin, text in zip(parts[::2], parts[1::2], strict=True)}


def translate(notebook: bytes, sections: dict[str, str]) -> bytes:
    """Return a notebook whose Markdown cells are translated.

    A cell without a translation of its present text stays English.

    Args:
        notebook: The English notebook, as it is stored.
        sections: Translations by marker.
    """
    content = json.loads(notebook)
    for cell in content["cells"]:
        if cell["cell_type"] == "markdown":
            english = "".join(cell["source"])
            cell["source"] = sections.get(marker(cell["id"], english), english).splitlines(keepends=True)
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
