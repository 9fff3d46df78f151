"""Build JupyterLite with notebooks 00 and 02 in build/lite: ``make lite``.

Its parts come from PyPI and npm: JupyterLite, Pyodide's core, the kernel's requirements, our wheel, and the
dependencies whose wheels Pyodide can load. The others are only on Pyodide's CDN, used when a cell needs one.
packages.md in the site lists the source of each.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jupyterlite_pyodide_kernel.constants import PYODIDE_CDN_URL, PYODIDE_PYTHON_VERSION, PYODIDE_VERSION

ROOT = Path(__file__).parent.parent
SOURCE, SITE = ROOT / "build" / "lite-source", ROOT / "build" / "lite"
CORE, WHEELS, CONTENTS = SOURCE / "static" / "pyodide", SOURCE / "pypi", SOURCE / "files"
NOTEBOOKS = ("00_start_here.ipynb", "02_convert.ipynb", "journey.svg")
KERNEL = ("micropip", "ipython", "comm", "jedi")
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def add_wheel(lock: dict[str, Any], name: str, ranges: str) -> str:
    """Add a wheel that Pyodide can load to the site, and return its version, or ``no`` if PyPI has none."""
    python, abi = PYODIDE_PYTHON_VERSION, lock["info"]["abi_version"]
    target = ["--python-version", python, "--implementation", "cp", "--abi", f"cp{python.replace('.', '')}"]
    only = ["--only-binary", ":all:", "--platform", f"pyemscripten_{abi}_wasm32", *target]
    with TemporaryDirectory() as folder:
        command = [*PIP, "download", "--no-deps", *only, "--dest", folder, name + ranges]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        if "No matching distribution found" in done.stderr:
            return "no"
        if done.returncode:
            sys.exit(done.stderr)
        wheel = next(Path(folder).glob("*.whl"))
        version, package = wheel.name.split("-")[1], lock["packages"].get(name)
        if package is not None:
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            package.update(file_name=wheel.name, version=version, sha256=digest)
        shutil.move(wheel, WHEELS if package is None else CORE)
    return version


def main() -> None:
    """Collect the parts, list the source of each package, and build the site."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("make lite gets Pyodide from npm and did not find it. Install Node.js, which brings npm.")
    for folder in (CORE.parent, WHEELS, CONTENTS):
        folder.mkdir(parents=True)
    for name in NOTEBOOKS:
        shutil.copy(ROOT / "notebooks" / name, CONTENTS)
    shutil.copy(ROOT / "docs" / "in-the-browser.md", CONTENTS)
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)  # else the wheel keeps removed modules
    subprocess.run([*PIP, "wheel", "--no-deps", "--wheel-dir", str(WHEELS), str(ROOT)], check=True)
    subprocess.run([npm, "pack", "--silent", f"pyodide@{PYODIDE_VERSION}"], cwd=SOURCE, check=True)
    shutil.unpack_archive(SOURCE / f"pyodide-{PYODIDE_VERSION}.tgz", SOURCE)
    (SOURCE / "package").rename(CORE)
    lock = json.loads((CORE / "pyodide-lock.json").read_text("utf-8"))
    packages = lock["packages"]
    on_cdn = {name: package["version"] for name, package in packages.items()}

    waiting, seen = [*KERNEL], set[str]()
    while waiting:
        name = re.sub("[-_.]+", "-", waiting.pop()).lower()
        if name not in seen:
            seen.add(name)
            waiting += packages.get(name, {"depends": []})["depends"]
            if add_wheel(lock, name, f"=={on_cdn[name]}" if name in on_cdn else "") == "no":
                sys.exit(f"The kernel needs {name}, and PyPI has no wheel of the version that Pyodide names.")

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    table = ["| package | in the site | on Pyodide's CDN |", "| --- | --- | --- |"]
    for name, ranges in re.findall(r"^([\w-]+)(?:\[\w+\])?(.*)$", "\n".join(project["dependencies"]), re.M):
        table.append(f"| {name} | {add_wheel(lock, name, ranges)} | {on_cdn.get(name, 'no')} |")
    for package in packages.values():
        if not (CORE / package["file_name"]).is_file():
            package["file_name"] = f"{PYODIDE_CDN_URL}/{package['file_name']}"
    (CORE / "pyodide-lock.json").write_text(json.dumps(lock), "utf-8")
    (CONTENTS / "packages.md").write_text("\n".join([*table, ""]), "utf-8")

    build = [sys.executable, "-m", "jupyterlite_core", "build", "--apps", "lab", "--no-sourcemaps"]
    folders = ["--lite-dir", str(SOURCE), "--output-dir", str(SITE)]
    subprocess.run([*build, *folders], cwd=SOURCE, check=True, stdout=subprocess.DEVNULL)
    print(*table, "", "A browser cannot open it as a file. Serve it:", sep="\n")
    print("  python3 -m http.server --bind 127.0.0.1 --directory build/lite 8000")
    print("Then open http://127.0.0.1:8000/lab/index.html?path=00_start_here.ipynb")


if __name__ == "__main__":
    main()
