"""The notebooks hold up when nothing but their parameters is changed: other captures, another platform.

``make notebooks-long`` does the same with all of them, larger exports, and real kernels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

import chatlio_kit as ck
from chatlio_kit import local_platform
from chatlio_kit.jobs.platforms import STORE

NOTEBOOKS = Path(__file__).parent.parent.parent / "notebooks"
FAULTS = {
    "seed": 3,
    "faults": [
        {"fault": "status", "status": 429, "rate": 0.2, "retry_after": 0},
        {"fault": "reset_after", "count": 1},
        {"fault": "partial", "status": 400, "share": 0.05, "lasting": True},
    ],
}


def _run(name: str, **parameters: Any) -> dict[str, Any]:
    """Run a notebook's cells with other parameters, draw what each shows, and return its names."""
    shell = InteractiveShell()
    for cell in nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            result = shell.run_cell(cell.source, store_history=False)
            result.raise_error()
            shell.display_formatter.format(result.result)
            if "parameters" in cell.metadata.get("tags", []):
                assert set(parameters) <= set(shell.user_ns)
                shell.user_ns.update(parameters)
    return dict(shell.user_ns)


@pytest.fixture
def bare(tmp_path: Path, conversation: dict[str, Any]) -> Path:
    """A folder of bare payloads: nothing says their kind, nothing their time."""
    lines = []
    for number in range(30):
        payload = deepcopy(conversation)
        payload["conversationUUID"] = f"7c1e9a52-3b6d-4f08-5a91-{number:012}"
        payload["visitor"]["UUID"] = f"5b0c7d1e-9a34-4e2f-6c18-{number % 9:012}"
        lines.append(json.dumps(payload))
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "hooks.ndjson").write_text("\n".join(lines))
    return tmp_path / "bare"


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Path]:
    """A state folder with a local platform that makes trouble."""
    state = tmp_path / "state"
    ck.open_platform("local", state=state, faults=FAULTS).close()
    yield state
    local_platform.stop(state / STORE)


def test_converting_holds_with_many_bad_records(tmp_path: Path) -> None:
    """An export in which every fourth record is broken is explored and settled like any other."""
    captures = ck.write_sample(tmp_path / "captures", events=400, seed=11, bad_share=0.25).path
    _run("02_convert", CAPTURES=str(captures))
    _run("07_answers", CAPTURES=str(captures))


def test_verifying_holds_on_a_platform_with_faults(tmp_path: Path, faulty: Path) -> None:
    """Records that the platform refused or took twice are counted as such, and the notebook goes on."""
    captures = ck.write_sample(tmp_path / "captures", events=300, seed=5).path
    _run("04_verify", CAPTURES=str(captures), STATE=str(faulty))


@pytest.mark.parametrize("name", ["03_stream", "04_verify", "06_people", "07_answers"])
def test_notebooks_hold_with_bare_captures(name: str, bare: Path) -> None:
    """What captures do not say is said by two parameters; that there is one kind only breaks nothing."""
    _run(name, CAPTURES=str(bare), KIND="feedback", UNDATED_AS="2024-03-11T09:00:00Z")


def test_history_from_slack_holds_with_other_captures(tmp_path: Path, bare: Path) -> None:
    """With an export of one's own; also next to captures that share nothing with it."""
    sample = ck.write_sample(tmp_path / "captures", events=200, seed=5, bad_share=0.1, slack=True)
    _run("05_slack_history", CAPTURES=str(sample.path), SLACK=str(sample.slack))
    _run(
        "05_slack_history",
        CAPTURES=str(bare),
        KIND="conversation_started",
        UNDATED_AS="visitor-created",
        SLACK=str(sample.slack),
    )


def test_an_export_of_slack_alone_is_not_mixed_with_the_sample(tmp_path: Path) -> None:
    """Who has no captures sees only the conversations of the export."""
    sample = ck.write_sample(tmp_path / "captures", events=100, seed=5, slack=True)
    both = _run("05_slack_history", SLACK=str(sample.slack))["both"]
    assert set(both.conversations["origin"]) == {"slack_export"}


def test_what_is_missing_is_asked_for(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without them there is nothing to stream, and a sentence says so: no traceback."""
    with pytest.raises(ck.ChatlioKitError, match="KIND and UNDATED_AS"):
        _run("03_stream", CAPTURES=str(bare))
    said = capsys.readouterr().out
    assert "30 kind_unknown" in said
    assert "Traceback" not in said
