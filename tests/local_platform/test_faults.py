"""Injected faults: each occurs as its file says, and the log lists accepted records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chatlio_kit.local_platform.faults.plan import FaultPlan, Faults, Limit, Trial, WrongFaults, is_poisoned


def test_the_same_seed_strikes_the_same_requests() -> None:
    """Two servers with one plan fail the same requests; another seed fails others."""

    def struck(seed: int) -> list[bool]:
        faults = Faults(FaultPlan.read({"seed": seed, "faults": [{"fault": "cut", "rate": 0.3}]}))
        return [faults.trial().fault is not None for _ in range(200)]

    assert struck(1) == struck(1) != struck(2)
    assert 30 < sum(struck(1)) < 90


def test_count_after_and_place_bound_a_rule() -> None:
    """A rule applies only after this many requests, this many times, and only at its endpoint."""
    rule = {"fault": "reset_before", "count": 2, "after": 3}
    faults = Faults(FaultPlan.read({"faults": [rule, {"fault": "expired_token", "on": "platform"}]}))
    assert [faults.trial().fault for _ in range(7)] == [
        None,
        None,
        None,
        "reset_before",
        "reset_before",
        None,
        None,
    ]
    assert faults.trial("platform").fault == "expired_token"


def test_a_window_bounds_a_rule_in_time() -> None:
    """A rule does not apply before or after its window."""
    rules = [{"fault": "cut", "until": 0.0}, {"fault": "slow", "since": 3600.0}]
    assert Faults(FaultPlan.read({"faults": rules})).trial().fault is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"faults": [{"fault": "gremlins"}]}, "no fault 'gremlins'"),
        ({"faults": [{"fault": "cut", "rat": 0.5}]}, "no rat"),
        ({"faults": [{"fault": "cut", "rate": 2}]}, "between 0 and 1"),
        ({"faults": [{"fault": "partial", "dialect": "latin"}]}, "dialect"),
        ({"faults": [{"fault": "short", "on": "platform"}]}, "streaming endpoint"),
        ({"faults": {}}, "list named faults"),
    ],
)
def test_an_invalid_file_of_faults_is_refused(tmp_path: Path, content: dict[str, Any], said: str) -> None:
    """An invalid file of faults is reported in a sentence."""
    path = tmp_path / "faults.json"
    path.write_text(json.dumps(content))
    with pytest.raises(WrongFaults, match=said):
        FaultPlan.read(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A missing file of faults is reported."""
    with pytest.raises(WrongFaults, match="cannot be read"):
        FaultPlan.read(tmp_path / "none.json")


def test_lasting_faults_pick_the_same_records() -> None:
    """The choice of poisoned records depends only on names and seed, at about the requested share."""
    picked = {name for name in map(str, range(5000)) if is_poisoned(name, 0.1, 7)}
    assert 400 < len(picked) < 600
    plan = FaultPlan.read({"seed": 7, "faults": [{"fault": "partial", "share": 0.1, "lasting": True}]})
    trial: Trial = Faults(plan).trial()
    assert {name for name in map(str, range(5000)) if trial.picks({"event_id": name})} == picked


def test_a_limit_lets_a_seconds_worth_through() -> None:
    """A burst beyond a second's worth is refused; one larger request passes once the bucket is full."""
    limit = Limit(10.0)
    assert [limit.takes(4) for _ in range(3)] == [True, True, False]
    assert Limit(10.0).takes(50)
    saved = Limit(1.0, most=5.0)
    assert [saved.takes(2) for _ in range(3)] == [True, True, False]
