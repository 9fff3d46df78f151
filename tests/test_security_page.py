"""SECURITY.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_test_on_the_page_exists() -> None:
    """A promise without its test is none."""
    file = ""
    found = 0
    for line in (ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("All tests are in"):
            file = line.split("`")[1]
        for named in re.findall(r"`((?:[\w/]+\.py)?(?:::)?test_\w+)`|`([\w/]+\.py::test_\w+)`", line):
            place, _, test = max(named).rpartition("::")
            file = place or file
            text = (ROOT / "tests" / file).read_text(encoding="utf-8")
            assert f"def {test}(" in text, f"{file} has no {test}"
            found += 1
    assert found > 40
