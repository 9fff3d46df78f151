"""Write requirements.lock from pip's report of an installation: each package with the SHA-256 of its file.

Usage: python tests/release/lock.py REPORT, where REPORT is what ``pip install --dry-run --report`` wrote.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = Path(__file__).parents[2] / "requirements.lock"
HEAD = """\
# Every package that `make` installs, with the SHA-256 of its file for Linux on x86-64 with CPython 3.11.
# Written by `make lock` from constraints.txt; a test holds the two equal.
"""


def lines_of(packages: list[dict[str, Any]]) -> list[str]:
    """Return a line for each package but our own, sorted by name.

    With hashes pip accepts a package only with the extras that its line names. They are collected from what
    the packages require of one another.
    """
    extras = defaultdict[str, set[str]](set)
    for package in packages:
        for required in map(Requirement, package["metadata"].get("requires_dist", [])):
            if required.extras and (required.marker is None or required.marker.evaluate({"extra": ""})):
                extras[canonicalize_name(required.name)] |= required.extras
    lines = {}
    for package in packages:
        name = canonicalize_name(package["metadata"]["name"])
        if name == "chatlio-kit":
            continue
        asked = f"{name}[{','.join(sorted(extras[name]))}]" if extras[name] else name
        digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
        lines[name] = f"{asked}=={package['metadata']['version']} --hash=sha256:{digest}"
    return [lines[name] for name in sorted(lines)]


if __name__ == "__main__":
    report = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    LOCK.write_text(HEAD + "\n".join(lines_of(report["install"])) + "\n", encoding="utf-8")
