"""Audit the packages of constraints.txt for known vulnerabilities with pip-audit.

Usage: python tests/release/audit.py PIP_AUDIT

Ends with 0 where none is known, with 1 where one is, and with 3 where some packages could not be audited:
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
    """Ask one service after the other; return the exit code."""
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
            print(f"Not audited by {name}: what answers in its place knows none of {len(packages)} packages.")
            continue
        found = [(package, each) for package in packages for each in package.get("vulns", [])]
        for package, each in found:
            fixed = f"fixed in {', '.join(each['fix_versions'])}" if each["fix_versions"] else "not fixed"
            print(f"{package['name']} {package['version']}: {each['id']}, {fixed}")
        print(
            f"{len(packages) - len(unknown)} packages audited by {name}: {len(found)} known vulnerabilities."
        )
        if unknown:
            print(f"Not audited, because {name} does not know them: {', '.join(unknown)}.")
        return VULNERABLE if found else UNKNOWN if unknown else 0
    print("No advisories could be reached, so nothing is known. Run this again where PyPI or osv.dev can be.")
    return UNKNOWN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
