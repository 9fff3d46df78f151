"""From the paths that were named to the files that are read, in a fixed order under stable names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from chatlio_kit.errors import CaptureError, MissingPath
from chatlio_kit.events.kinds import Kind, kind_in_path


@dataclass(frozen=True)
class CaptureFile:
    """One file of captures.

    Attributes:
        path: where it is.
        name: how frames, rejects and the ledger call it: the path from the named argument's own name on,
            so that it does not depend on the machine or on the working directory.
        kind: the kind that its name or its folders' names say, if any.
    """

    path: Path
    name: str
    kind: Kind | None

    @property
    def modified_at(self) -> datetime:
        """The file's time, UTC."""
        return datetime.fromtimestamp(self.path.stat().st_mtime, UTC)


def find_files(paths: Sequence[Path | str]) -> list[CaptureFile]:
    """List the files under the named paths, each once, sorted by name.

    In a folder every file is read whatever its ending, except hidden ones.

    Raises:
        MissingPath: when a named path does not exist.
        CaptureError: when there is no file at all.
    """
    named = [Path(path) for path in paths]
    for path in named:
        if not path.exists():
            raise MissingPath(f"There is no file or folder {str(path)!r}. Check the path and try again.")
    roots = Counter(path.resolve().name for path in named)
    found: dict[Path, CaptureFile] = {}
    for path in named:
        root = path.resolve().name if roots[path.resolve().name] == 1 else path.as_posix()
        for file, inside in _files_below(path):
            name = "/".join((root, *inside))
            parts = name.split("/") if inside else [path.resolve().parent.name, root]
            found.setdefault(file.resolve(), CaptureFile(file, name, kind_in_path(parts)))
    if not found:
        listed = ", ".join(repr(str(path)) for path in named)
        raise CaptureError(
            f"There are no capture files in {listed}. Name a folder or a file of captured webhooks."
        )
    return sorted(found.values(), key=lambda file: file.name)


def _files_below(path: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    if not path.is_dir():
        yield path, ()
        return
    for file in path.rglob("*"):
        inside = file.relative_to(path).parts
        if file.is_file() and not any(part.startswith(".") for part in inside):
            yield file, inside
