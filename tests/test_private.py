"""Files on disk: private, never written through a planted link, and cleaned up after a kill."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from chatlio_kit import local_platform
from chatlio_kit.aep import Platform
from chatlio_kit.chatlio.rejections import Reason, Rejection
from chatlio_kit.cli import main
from chatlio_kit.delivery import Ledger
from chatlio_kit.errors import ChatlioKitError, LedgerError, UsageError
from chatlio_kit.jobs.backfill import backfill
from chatlio_kit.jobs.platforms import open_platform
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import RejectedFile, write_json
from chatlio_kit.tables.deduplicate import seen_ids


@pytest.fixture
def open_umask() -> Any:
    """An open umask, under which new files are readable and writable by all."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    """Return the mode of everything in a folder."""
    found = [folder, *folder.rglob("*")]
    return {str(path.relative_to(folder)): oct(stat.S_IMODE(path.stat().st_mode)) for path in found}


@pytest.mark.usefixtures("open_umask")
def test_written_files_are_private(tmp_path: Path, local: Platform) -> None:
    """Tables, rejects, reports, ledger and store hold what people wrote, whatever the umask."""
    sample = write_sample(tmp_path / "x.d", events=60, seed=3)
    done = CliRunner().invoke(main, ["convert", str(sample.path), "--out", str(tmp_path / "out")])
    assert done.exit_code in (0, 3)
    backfill([sample.path], local, quiet=True)
    for folder in (tmp_path / "out", local.settings.state):
        found = modes(folder)
        assert len(found) > 5
        for name, mode in found.items():
            assert mode == ("0o700" if (folder / name).is_dir() else "0o600"), name


def test_an_out_folder_of_others_keeps_its_mode(tmp_path: Path) -> None:
    """A folder that was there is shared on purpose, perhaps; the files in it are ours."""
    sample = write_sample(tmp_path / "x.d", events=5, seed=3)
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o755)
    assert CliRunner().invoke(main, ["convert", str(sample.path), "--out", str(out)]).exit_code in (0, 3)
    assert stat.S_IMODE(out.stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o770])
def test_an_open_state_folder_is_made_private(tmp_path: Path, mode: int) -> None:
    """An empty folder, and one that holds only our files."""
    state = tmp_path / "state"
    state.mkdir()
    for _ in range(2):
        state.chmod(mode)
        with Ledger(state):
            pass
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
    state.chmod(mode)
    try:
        open_platform("local", state=state).close()
    finally:
        local_platform.stop(state / "local")
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_an_open_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    """It may be a project or /tmp: closing it would lock out others, and using it would let them in."""
    state = tmp_path / "project"
    state.mkdir()
    (state / "README.md").write_text("ours")
    state.chmod(0o755)
    with pytest.raises(UsageError, match=r"open to other users and holds other files.*chmod go="):
        Ledger(state)
    with pytest.raises(UsageError, match="open to other users"):
        open_platform("local", state=state)
    done = CliRunner().invoke(main, ["backfill", str(tmp_path), "--state", str(state)])
    assert done.exit_code == 2
    assert [each.name for each in state.iterdir()] == ["README.md"]
    assert stat.S_IMODE(state.stat().st_mode) == 0o755


def test_a_planted_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """In a folder where others may write, neither a result's name nor a draft's leads elsewhere."""
    sample = write_sample(tmp_path / "x.d", events=20, seed=3)
    precious, out = tmp_path / "precious", tmp_path / "out"
    precious.write_text("kept")
    out.mkdir()
    names = ["events.parquet", "rejected.jsonl", "report.json", "report.html"]
    for name in names:
        (out / name).symlink_to(precious)
        (out / f".{name}.{os.getpid()}.partial").symlink_to(precious)
    (out / f".unfinished-{os.getpid()}").symlink_to(tmp_path, target_is_directory=True)
    CliRunner().invoke(main, ["convert", str(sample.path), "--out", str(out)])
    (out / f".unfinished-{os.getpid()}").unlink()
    done = CliRunner().invoke(main, ["convert", str(sample.path), "--out", str(out)])
    assert done.exit_code in (0, 3)
    assert precious.read_text() == "kept"
    assert not [name for name in names if (out / name).is_symlink()]


_KILLED = """
import os, signal, sys
from chatlio_kit.tables import Deduplicator
from chatlio_kit.cli import main
Deduplicator.apply = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main(sys.argv[1:])
"""


def test_leftovers_of_a_kill_are_removed_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporary folders and drafts of runs that are gone; those of others stay."""
    sample = write_sample(tmp_path / "x.d", events=20, seed=3)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    others = {
        temporary / "chatlio-kit-lesson-abc",
        temporary / "chatlio-kit-elsewhere-1-abc",
        temporary / "x",
    }
    for folder in others:
        folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    command = ["convert", str(sample.path), "--out", str(tmp_path / "out")]
    killed = subprocess.run([sys.executable, "-c", _KILLED, *command], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = set(temporary.iterdir()) - others
    assert stat.S_IMODE(left.stat().st_mode) == 0o700
    assert [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    assert CliRunner().invoke(main, command).exit_code in (0, 3)
    assert set(temporary.iterdir()) == others
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_drafts_of_a_killed_report_are_removed(tmp_path: Path) -> None:
    """The next file of that name removes what is left; a running process keeps its own."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = tmp_path / f".report.json.{gone.pid}.abc.partial"
    alive = tmp_path / f".report.json.{os.getppid()}.abc.partial"
    for path in (left, alive):
        path.write_text("half")
    write_json(tmp_path / "report.json", {"a": 1})
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", alive.name}


def test_no_command_imports_from_the_current_folder(tmp_path: Path) -> None:
    """Neither the command nor its local platform runs modules from the current folder."""
    work = tmp_path / "work"
    sample = write_sample(work / "x.d", events=20, seed=3)
    for name in ("orjson", "aiohttp", "pandas", "pyarrow", "shutil", "sitecustomize", "chatlio_kit"):
        (work / f"{name}.py").write_text(f"open('stolen', 'a').write({name!r})\n", encoding="utf-8")
    program = str(Path(sys.executable).with_name("chatlio-kit"))
    try:
        for command in (["convert", str(sample.path), "--out", "out"], ["backfill", str(sample.path)]):
            done = subprocess.run(
                [program, *command], cwd=work, capture_output=True, text=True, check=False, timeout=300
            )
            assert done.returncode in (0, 3), done.stderr
    finally:
        local_platform.stop(work / ".chatlio-kit" / "local")
    assert not list(tmp_path.rglob("stolen"))


def test_a_planted_lock_is_not_followed(tmp_path: Path) -> None:
    """The lock of a state folder from another user's checkout is not followed elsewhere."""
    precious, state = tmp_path / "precious", tmp_path / "state"
    precious.write_text("kept")
    with Ledger(state) as ledger:
        (state / "ledger.lock").symlink_to(precious)
        with pytest.raises(LedgerError, match=r"ledger\.lock"), ledger.exclusive_lock():
            pass
    assert precious.read_text() == "kept"


# Disks that fill.

_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from functools import partial
from chatlio_kit.tables import pipeline
pipeline.Deduplicator = partial(pipeline.Deduplicator, most_in_memory=1)
from chatlio_kit.cli import main
main(sys.argv[2:])
"""


def limited(size: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose files may not grow beyond a size, as on a disk that is nearly full."""
    arguments = [sys.executable, "-c", _LIMITED, str(size), *command]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("size", [0, 700, 5_000, 20_000, 60_000])
def test_a_full_disk_ends_a_conversion_with_one_sentence(tmp_path: Path, size: int) -> None:
    """At any file: no partial output is left, and earlier results stay."""
    sample = write_sample(tmp_path / "x.d", events=600, seed=3)
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").write_text("earlier")
    done = limited(size, "convert", str(sample.path), "--out", str(out))
    assert done.returncode == 1, done.stdout
    sentence = done.stderr.strip().splitlines()[-1]
    assert "cannot be written" in sentence
    assert "Traceback" not in done.stderr
    assert [path.name for path in out.iterdir()] == ["report.json"]
    assert (out / "report.json").read_text() == "earlier"


def test_the_folder_that_is_full_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary files are not next to results, so the message names their folder."""
    sample = write_sample(tmp_path / "x.d", events=20, seed=3)
    temporary = tmp_path / "small"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(seen_ids.SeenIds, "add", full)
    done = CliRunner().invoke(main, ["convert", str(sample.path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    sentence = done.stderr.strip().splitlines()[-1]
    assert str(temporary) in sentence
    assert "TMPDIR" in sentence
    assert str(tmp_path / "out") not in sentence
    assert list(temporary.iterdir()) == []
    assert list((tmp_path / "out").iterdir()) == []
    temporary.rmdir()
    done = CliRunner().invoke(main, ["convert", str(sample.path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "folder for temporary files" in done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("size", [0, 30_000, 500_000])
def test_a_full_disk_ends_a_backfill_with_one_sentence(tmp_path: Path, size: int) -> None:
    """Ledger, store, lake and reports share the disk: the run says so, and resumes once there is space."""
    sample = write_sample(tmp_path / "x.d", events=400, seed=3)
    state = tmp_path / "state"
    command = ("backfill", str(sample.path), "--state", str(state))
    try:
        done = limited(size, *command)
        assert done.returncode == 1, done.stdout
        assert "Traceback" not in done.stderr
        assert any(each in done.stderr for each in ("disk", "File too large", "cannot be written")), (
            done.stderr
        )
        local_platform.stop(state / "local")
        again = CliRunner().invoke(main, list(command))
        assert again.exit_code in (0, 3), again.output
    finally:
        local_platform.stop(state / "local")


def test_a_rejects_file_that_cannot_be_closed_is_reported(tmp_path: Path) -> None:
    """Buffered data reaches the disk last, and the disk may be full by then."""

    class Full:
        def write(self, data: bytes) -> int:
            return len(data)

        def close(self) -> None:
            raise OSError(28, "No space left on device")

    file = RejectedFile(tmp_path / "r.jsonl").__enter__()
    file._file.close()
    file._file = Full()  # type: ignore[assignment]
    file.add([Rejection("f", 1, Reason.CONFLICTING_DUPLICATE, None, "d", "raw")])
    with pytest.raises(ChatlioKitError, match="No space left"):
        file.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []
