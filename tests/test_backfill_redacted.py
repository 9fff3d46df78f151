"""A redacted backfill: no request, row or stored file holds a personal value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

import chatlio_kit as ck
from chatlio_kit.aep import Platform
from chatlio_kit.aep.ingestion import Inlet
from chatlio_kit.delivery.requests.wire import wire_records
from chatlio_kit.jobs.backfill import backfill, forecast
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import running
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import Tables, revalidate

KEY = "a key that nobody guesses"
TOLD = (
    *("visitor_id", "conversation_id", "visitor_email", "visitor_name", "user_id", "message", "ip_address"),
    *("agent_email", "agent_name", "contact_mailbox", "reply_to_email", "visitor_handle", "archive_url"),
)


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bodies of all requests to inlets."""
    bodies: list[bytes] = []
    post = Inlet.post_batch

    def record(inlet: Inlet, body: bytes) -> Any:
        bodies.append(body)
        return post(inlet, body)

    monkeypatch.setattr(Inlet, "post_batch", record)
    return bodies


def _kept(state: Path) -> str:
    """Return all bytes of a state folder, including decompressed lake files."""
    said = [path.read_bytes().decode("latin-1") for path in state.rglob("*") if path.is_file()]
    said += [str(pq.read_table(path).to_pylist()) for path in state.rglob("*.parquet")]
    return "\n".join(said)


def test_no_personal_value_is_sent_or_stored(
    tmp_path: Path, posted: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests, lake, ledger, dead letters and reports hold hashes; the redacted tables are sent."""
    monkeypatch.setenv("CHATLIO_KIT_REDACTION_KEY", KEY)
    sample = write_sample(tmp_path / "x.d", events=200, bad_share=0.1)
    plain = ck.read_export(sample.path).to_tables(quiet=True)
    persons = {str(value) for name in TOLD for value in plain.events[name].dropna()}
    persons |= {text for name in ("text", "username") for text in plain.messages[name].dropna()}
    persons = {each for each in persons if len(each) >= 8}
    state, export = tmp_path / "state", ck.read_export(sample.path, redact="hash:keyed")
    faults = {"faults": [{"fault": "partial", "status": 400, "share": 0.3, "dialect": "status", "rate": 1.0}]}
    options: dict[str, Any] = {"enabling_delay": 0.02, "processing_delay": 0.02, "faults": faults}
    with (
        running(state / "local", **options) as server,
        Platform(replace(settings_of(server, state))) as platform,
    ):
        reported = forecast(export, platform)
        page = backfill(export, platform, quiet=True)
    assert page.run.dead_lettered > 0
    assert reported.counts.accepted == page.counts.accepted == plain.counts.accepted
    said = _kept(state) + b"".join(posted).decode()
    assert [each for each in persons if each in said] == []
    assert KEY not in said

    tables = export.to_tables(quiet=True)
    expected = {each.event_id: orjson.loads(each.body) for each in wire_records(tables.events, _sent(tables))}
    sent = {each["event_id"]: each for body in posted for each in orjson.loads(body)["messages"]}
    assert sent == expected


def test_a_file_named_after_a_person_is_recognised(tmp_path: Path) -> None:
    """The ledger recognises such files by their redacted names, even if several are equal."""
    sample = write_sample(tmp_path / "x.d", events=60)
    folder, state = tmp_path / "captures", tmp_path / "state"
    files = sorted(path for path in sample.path.rglob("*") if path.is_file())
    for number, path in enumerate(files):
        named = folder / path.parent.name / f"zq{number}@example.org-{path.name}"
        named.parent.mkdir(parents=True, exist_ok=True)
        named.write_bytes(path.read_bytes())
    with running(state / "local") as server, Platform(settings_of(server, state)) as platform:
        export = ck.read_export(folder, redact="mask")
        first = backfill(export, platform, quiet=True)
        again = backfill(ck.read_export(folder, redact="mask"), platform, quiet=True)
    assert first.counts.accepted == again.counts.duplicates - first.counts.duplicates > 0
    assert any(f"{len(files)} unchanged files" in note for note in again.notes)
    assert "zq" not in _kept(state)


def _sent(tables: Tables) -> Any:
    return revalidate(tables.events, tables.messages).messages
