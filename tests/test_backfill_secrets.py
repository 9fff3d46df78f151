"""Secrets: no inlet, token or client secret is stored or printed, at any log level."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import chatlio_kit as ck
from chatlio_kit.aep import Platform
from chatlio_kit.aep import http as wire
from chatlio_kit.delivery import DestinationLedger, Ledger, reconcile, replay, run
from chatlio_kit.delivery.requests import sending
from chatlio_kit.delivery.requests.packing import pack
from chatlio_kit.errors import ChatlioKitError
from chatlio_kit.jobs.backfill import backfill
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import running
from chatlio_kit.local_platform.store import Store
from chatlio_kit.samples import write_sample
from chatlio_kit.settings import Secret

FAULTS: list[dict[str, Any]] = [
    {"fault": "late_inlet", "count": 2},
    {"fault": "expired_token", "after": 12, "count": 20},  # more than all workers can renew away
    {"fault": "reset_after", "count": 2},
    {"fault": "hung_before", "seconds": 2.0, "count": 1},
    {"fault": "status", "status": 400, "share": 0.05},
    {"fault": "expired_token", "on": "platform", "after": 30, "count": 1},
    {"fault": "expired_token", "on": "platform", "after": 60, "count": 1},
    {"fault": "status", "status": 503, "on": "platform", "after": 80, "count": 1},
]


def test_no_secret_is_stored_or_printed_after_a_day_of_faults(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The state folder's bytes, the pages, all logs at DEBUG and all errors are free of inlets and tokens."""
    monkeypatch.setattr(sending, "pause_before", lambda tries, retry_after: 0.002)
    monkeypatch.setattr(wire, "READ_TIMEOUT", 0.5)
    monkeypatch.setattr(run, "pack", partial(pack, limit=12_000))
    caplog.set_level(logging.DEBUG)
    state = tmp_path / "state"
    sample = write_sample(tmp_path / "x.d", events=300, seed=41)
    tokens = _issued_tokens(monkeypatch)
    said: list[str] = []
    options = {"enabling_delay": 0.02, "processing_delay": 0.02, "token_lifetime": 400}
    with (
        running(state / "local", faults={"seed": 2, "faults": FAULTS}, **options) as server,
        Platform(settings_of(server, state), sleep=lambda seconds: None) as platform,
    ):
        stopped = page = backfill([sample.path], platform)
        while page.stopped_by:
            page = backfill([sample.path], platform)
        connection = ck.open_connection(platform)
        again = replay(connection)
        with Ledger(state) as ledger:
            found = reconcile(connection, DestinationLedger(ledger, connection.destination))
            said += [ledger.as_frame().to_csv()]
        said += [repr(each) for each in (stopped, page, again, found, connection, platform)]
        said += [each._repr_html_() for each in (stopped, page, again, found, connection)]
        said += [str(each.as_dict()) for each in (stopped, page, again, found)]
        wrong = replace(platform.settings, client_secret=Secret("a-secret-that-is-wrong"))
        with pytest.raises(ChatlioKitError) as error, Platform(wrong) as locked:
            ck.open_connection(locked)
        said += [str(error.value), repr(error.value)]
        flows = [*connection.live.values(), *connection.history.values()]
        inlets = [flow.inlet_url.reveal().rpartition("/")[2] for flow in flows]
    kept = {
        path: path.read_bytes()
        for path in state.rglob("*")
        if path.is_file() and path.relative_to(state).parts[0] != "local"
    }
    secrets = [*inlets, *tokens, platform.settings.client_secret.reveal(), "a-secret-that-is-wrong"]
    everything = "\n".join([*said, *capfd.readouterr(), caplog.text])
    assert stopped.stopped_by is not None
    assert page.run.dead_lettered
    assert len(inlets) == 10
    assert tokens
    assert any("/collection/" in record.getMessage() for record in caplog.records)
    assert kept
    for secret in secrets:
        assert secret not in everything
        assert not [path for path, content in kept.items() if secret.encode() in content]


def _issued_tokens(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Write down every token that the platform gives out."""
    tokens: list[str] = []
    keep = Store.keep_token

    def note(self: Store, token: str, expires: float) -> None:
        tokens.append(token)
        keep(self, token, expires)

    monkeypatch.setattr(Store, "keep_token", note)
    return tokens
