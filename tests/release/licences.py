"""Licences of installed packages, and the list of allowed ones.

Usage: python tests/release/licences.py

Writes one line per package of its environment. Ends with 1 if a licence is not allowed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution, distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ALLOWED = frozenset(
    {"0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "MIT-CMU"}
    | {"MPL-2.0", "PSF-2.0", "Zlib"}
)
"""Licences that ask an importing program only for their notices. MPL-2.0 also asks for the source of changed
files."""
_NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "BSD 3-Clause License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""Names in metadata older than SPDX expressions."""


def licence_of(package: Distribution) -> str:
    """Return a package's licence as an SPDX expression, or in its own words if they are unknown."""
    metadata = package.metadata
    classifiers = [
        line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or [] if line[:7] == "License"
    ]
    stated = metadata.get("License-Expression"), " AND ".join(_NAMES.get(name, name) for name in classifiers)
    words = next(filter(None, (*stated, (metadata.get("License") or "").partition("\n")[0])), "none stated")
    return _NAMES.get(words, words)


def not_allowed(packages: Iterable[Distribution]) -> dict[str, str]:
    """Return the packages whose licence is not allowed, with that licence."""
    found = {package.name: licence_of(package) for package in packages}
    return {
        name: licence
        for name, licence in found.items()
        if not set(re.sub(r"[()]|\b(AND|OR)\b", " ", licence).split()) <= ALLOWED
    }


def required_by(name: str) -> list[Distribution]:
    """Return a package and everything that it requires, directly or not, without its extras."""
    waiting, seen = [(name, "")], set[tuple[str, str]]()
    while waiting:
        if (wanted := waiting.pop()) not in seen:
            seen.add(wanted)
            for required in map(Requirement, distribution(wanted[0]).requires or []):
                if required.marker is None or required.marker.evaluate({"extra": wanted[1]}):
                    named = canonicalize_name(required.name)
                    waiting += [(named, extra) for extra in ("", *required.extras)]
    return [distribution(name) for name in sorted({name for name, _ in seen})]


if __name__ == "__main__":
    packages = sorted(distributions(), key=lambda package: canonicalize_name(package.name))
    for package in packages:
        sys.stdout.write(f"{canonicalize_name(package.name)} {package.version}: {licence_of(package)}\n")
    if wrong := not_allowed(packages):
        sys.exit(
            f"Licences that are not allowed: {', '.join(f'{name} ({its})' for name, its in wrong.items())}."
        )
