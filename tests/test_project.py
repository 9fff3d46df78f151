"""The repository keeps its rules: import order, one list of dependencies, a complete public interface."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from contextlib import suppress
from importlib import metadata
from importlib.metadata import PackageNotFoundError
from itertools import chain
from pathlib import Path

import licences
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import chatlio_kit

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "chatlio_kit"
INSTALLED = ("notebooks", "s3", "cluster", "verify", "dev")


def test_package_faces_and_modules_are_short() -> None:
    """A folder's face has under 40 lines, a module at most 600."""
    for path in PACKAGE.rglob("*.py"):
        lines = len(path.read_text().splitlines())
        limit = 40 if path.name == "__init__.py" and path.parent != PACKAGE else 600
        assert lines <= limit, f"{path.relative_to(ROOT)} has {lines} lines"


@pytest.mark.parametrize(
    ("file", "named", "install"),
    [("environment.yml", ("notebooks",), "."), ("environment-dev.yml", INSTALLED, "-e .")],
)
def test_environments_are_pyproject(file: str, named: tuple[str, ...], install: str) -> None:
    """Each names the packages and ranges of pyproject.toml under their conda names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    listed = [*project["dependencies"], *chain(*(extras[name] for name in named))]
    conda_names = {"duckdb": "python-duckdb", "matplotlib": "matplotlib-base", "pandera": "pandera-pandas"}
    expected = {f"python{project['requires-python']}", "pip"}
    for requirement in listed:
        name, ranges = re.fullmatch(r"([a-zA-Z0-9-]+)(?:\[[a-z0-9]+\])?(.*)", requirement).groups()  # type: ignore[union-attr]
        if name != "chatlio-kit":
            expected.add(conda_names.get(name, name) + ranges)
    environment = yaml.safe_load((ROOT / file).read_text())["dependencies"]
    assert {each for each in environment if isinstance(each, str)} == expected
    assert environment[-1] == {"pip": [install]}


def test_constraints_are_names_and_versions_only() -> None:
    """The constraints file pins what is declared, and names no place where packages come from."""
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", pin) for pin in pins)
    pinned = {pin.split("==")[0].lower().replace("_", "-") for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[\[>=<]", each)[0] for each in project["dependencies"]}
    assert declared <= pinned


def test_the_constraints_fit_what_each_package_requires() -> None:
    """Each pin satisfies what the package, its extras and all that is installed for them require."""
    pins = dict(pin.split("==") for pin in (ROOT / "constraints.txt").read_text().splitlines())
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *chain(*(extras[name] for name in INSTALLED))]
    waiting = [Requirement(each) for each in asked if not each.startswith("chatlio-kit[")]
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name} has no pin"
        assert requirement.specifier.contains(pins[name], prereleases=True), f"{requirement}: {pins[name]}"
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        with suppress(PackageNotFoundError):
            waiting += [
                needed
                for needed in map(Requirement, metadata.distribution(name).requires or [])
                if needed.marker is None
                or any(needed.marker.evaluate({"extra": extra}) for extra in {"", *requirement.extras})
            ]
    assert {
        canonicalize_name(Requirement(each).name) for name in ("gs", "abfs") for each in extras[name]
    } <= set(pins)


def test_the_lock_has_the_pins_and_a_hash_for_each() -> None:
    """requirements.lock installs the versions of constraints.txt, and only files whose SHA-256 it names."""
    pins = dict(pin.split("==") for pin in (ROOT / "constraints.txt").read_text().splitlines())
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = {}
    for line in lines:
        if not line.startswith("#"):
            name, version = re.fullmatch(
                r"([^\s\[]+)(?:\[\S+\])?==(\S+) --hash=sha256:[0-9a-f]{64}", line
            ).groups()  # type: ignore[union-attr]
            locked[canonicalize_name(name)] = version
    assert locked.items() <= pins.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *chain(*(extras[name] for name in INSTALLED))]
    assert {canonicalize_name(Requirement(each).name) for each in asked} - {"chatlio-kit"} <= set(locked)


def test_every_dependency_has_an_allowed_licence(tmp_path: Path) -> None:
    """Everything that the package requires has an allowed licence."""
    required = licences.required_by("chatlio-kit")
    assert {"pandas", "chatlio-kit"} <= {package.name for package in required}
    assert not licences.not_allowed(required)
    (tmp_path / "METADATA").write_text("Name: other\nVersion: 1\nLicense-Expression: MIT OR GPL-3.0-only\n\n")
    assert licences.not_allowed([metadata.Distribution.at(tmp_path)]) == {"other": "MIT OR GPL-3.0-only"}


def test_the_version_has_one_place() -> None:
    """The version is written in pyproject.toml only."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert chatlio_kit.__version__ == version
    assert not [path for path in PACKAGE.rglob("*.py") if f'"{version}"' in path.read_text(encoding="utf-8")]


def test_the_face_is_sorted_and_whole() -> None:
    """Every public name is in __all__, sorted, and has a docstring."""
    assert sorted(chatlio_kit.__all__) == chatlio_kit.__all__ == sorted([*chatlio_kit._ROOMS, "__version__"])
    assert all(getattr(chatlio_kit, name).__doc__ for name in chatlio_kit.__all__)
    with pytest.raises(AttributeError, match="upload"):
        chatlio_kit.upload  # noqa: B018


def test_the_local_platform_starts_without_pandas() -> None:
    """The local platform's own process loads no room that brings pandas."""
    code = "import sys, chatlio_kit.local_platform; sys.exit('pandas' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_runs_as_a_module() -> None:
    """``python -m chatlio_kit`` is the command."""
    done = subprocess.run(
        [sys.executable, "-m", "chatlio_kit", "--help"], capture_output=True, text=True, check=True
    )
    assert "backfill" in done.stdout
