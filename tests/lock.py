"""Write requirements.lock from pip's report of an installation: each package with the SHA-256 of its file.

Usage: python tests/lock.py REPORT, where REPORT is what ``pip install --dry-run --report`` wrote.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

LOCK = Path(__file__).parent.parent / "requirements.lock"
HEAD = """\
# Every package that `make` installs, with the SHA-256 of its file for Linux on x86-64 with CPython 3.11.
# Written by `make lock` from constraints.txt; a test holds the two equal.
"""


def lines_of(report: dict[str, list[dict[str, object]]]) -> list[str]:
    """Return a line for each package of a report but our own, sorted by name."""
    pins = {}
    for entry in report["install"]:
        name, version = entry["metadata"]["name"], entry["metadata"]["version"]  # type: ignore[index]
        digest = entry["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")  # type: ignore[attr-defined]
        if name != "chatlio-kit":
            pins[name.lower()] = f"{name}=={version} --hash=sha256:{digest}"
    return [pins[name] for name in sorted(pins)]


if __name__ == "__main__":
    found = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    LOCK.write_text(HEAD + "\n".join(lines_of(found)) + "\n", encoding="utf-8")
