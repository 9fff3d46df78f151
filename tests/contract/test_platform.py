"""The sender's patience with a platform that faults, and the local platform's server process."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatlio_kit.aep import Platform
from chatlio_kit.delivery.requests import sending
from chatlio_kit.jobs.backfill import backfill
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import Options, ensure_running, running, stop
from chatlio_kit.samples import write_sample


@pytest.mark.parametrize("fault", [{"fault": "status", "status": 500}, {"fault": "reset_before"}])
def test_a_request_is_retried_until_it_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: dict[str, object]
) -> None:
    """Five faults in a row cost one request five retries and no record."""
    monkeypatch.setattr(sending, "pause_before", lambda tries, retry_after: 0.002)
    sample = write_sample(tmp_path / "sample", events=40)
    state = tmp_path / "state"
    faults = {"faults": [{**fault, "count": 5}]}
    with (
        running(state / "local", enabling_delay=0, processing_delay=0, faults=faults) as server,
        Platform(settings_of(server, state)) as platform,
    ):
        page = backfill(sample.path / "transcript", platform, quiet=True)
    counts = page.as_dict()
    assert counts["delivered"] == counts["accepted"] > 0
    assert (counts["pending"], counts["dead_lettered"], counts["retries"]) == (0, 0, 5)
    assert counts["requests"] == 6


def test_the_server_process_needs_no_pandas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server process that connects, lands rows and is read back from never imports pandas."""
    planted, mark = tmp_path / "planted", tmp_path / "imported"
    planted.mkdir()
    (planted / "pandas.py").write_text(f"open({str(mark)!r}, 'w').close()\nraise ImportError('planted')\n")
    monkeypatch.setenv("PYTHONPATH", str(planted))
    state = tmp_path / "state"
    try:
        server = ensure_running(state / "local", options=Options(enabling_delay=0, processing_delay=0))
        monkeypatch.delenv("PYTHONPATH")
        with Platform(settings_of(server, state)) as platform:
            sample = write_sample(tmp_path / "sample", events=40)
            assert backfill(sample.path, platform, quiet=True).as_dict()["landed"] == 40
    finally:
        stop(state / "local")
    assert not mark.exists()
