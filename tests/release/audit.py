"""Known vulnerabilities of the packages in constraints.txt, by pip-audit.

Usage: python tests/release/audit.py PIP_AUDIT

Ends with 0 if there are none, with 1 if there are some, and with 3 if packages could not be audited:
pip-audit itself ends with 0 when its index knows none of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).parents[2] / "constraints.txt"
SERVICES = {"pypi": "the index of PyPI", "osv": "osv.dev"}
VULNERABLE, UNKNOWN = 1, 3


def main(pip_audit: str) -> int:
    """Audit with the first service that answers, and return the exit code."""
    for service, name in SERVICES.items():
        command = [pip_audit, "-s", service, "--no-deps", "--disable-pip", "-r", str(PINS), "-f", "json"]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
        try:
            packages = json.loads(done.stdout)["dependencies"]
        except ValueError:
            reason = (done.stderr.strip() or "no answer").splitlines()[-1][:110]
            print(f"Not audited by {name}, which could not be reached: {reason}")
            continue
        unknown = [package["name"] for package in packages if "skip_reason" in package]
        if len(unknown) == len(packages):
            print(f"Not audited by {name}: the index here knows none of {len(packages)} packages.")
            continue
        found = [(package, advisory) for package in packages for advisory in package.get("vulns", [])]
        for package, advisory in found:
            fixed = (
                f"fixed in {', '.join(advisory['fix_versions'])}" if advisory["fix_versions"] else "not fixed"
            )
            print(f"{package['name']} {package['version']}: {advisory['id']}, {fixed}")
        print(
            f"{len(packages) - len(unknown)} packages audited by {name}: {len(found)} known vulnerabilities."
        )
        if unknown:
            print(f"Not audited, because {name} does not know them: {', '.join(unknown)}.")
        return VULNERABLE if found else UNKNOWN if unknown else 0
    print("No index of advisories could be reached. Run this again with access to PyPI or osv.dev.")
    return UNKNOWN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
