"""A redacted backfill with a planted word in every value, key and file name: no stored byte contains it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlio_kit import local_platform
from chatlio_kit.chatlio.catalogue import EVENTS, MESSAGES, Privacy
from chatlio_kit.chatlio.redaction import Redaction
from chatlio_kit.cli import main
from chatlio_kit.settings import Secret
from chatlio_kit.tables.arrow import arrow_schema

Payload = dict[str, Any]

WORD = "zqsecret"
KEY = "a key that nobody guesses"
WAYS = ("drop", "mask", "hash:aep", "hash:keyed")
ADDRESSES = (
    f"{WORD}@shop.example", f"{WORD}@shop.example (mobile {WORD})", f"a@shop.example; {WORD}@other.example",
    f"{WORD}%2540shop.example", f"call {WORD}",
)  # fmt: skip
PAGES = (
    f"https://shop.example/u/{WORD}%2540shop.example?a={WORD}#{WORD}", f"https://{WORD}@shop.example/",
    f"https://shop.example/a%3Fname={WORD}", f"https://shop.example/ (call {WORD})", f"{WORD}:{WORD}",
)  # fmt: skip


def _person(number: int) -> Payload:
    return {
        "UUID": f"{number:08x}-5ec0-4e2f-6c18-b2f09d41a7e3", "email": ADDRESSES[number % 5], "name": WORD,
        "identUserId": WORD, "identTraits": {WORD: [{WORD: {"deep": WORD}}]}, "userAgent": WORD,
        "handle": WORD, "currentPage": PAGES[number % 5], "referrerURL": PAGES[(number + 1) % 5],
        "createdAt": "2024-03-09T18:20:11Z", "IPAddress": "203.0.113.77",
        "location": (f"{WORD}, Spain", f"Madrid, Spain ({WORD} 5)")[number % 2],
    }  # fmt: skip


def _records() -> list[bytes]:
    """Records of each shape, good ones and such as are rejected for each reason that can quote a value."""
    lines = []
    for number in range(10):
        chat = f"{number:08x}-c0c0-4f08-5a91-0d4e6b2f8c13"
        around = {"receivedAt": f"2024-03-12T0{number}:00:00Z"}
        started = {"visitor": _person(number), "message": WORD, "channelId": WORD, "conversationUUID": chat}
        left = {
            "visitor": _person(number), "name": WORD, "email": ADDRESSES[number % 5], "subject": WORD,
            "emailPretty": f"{WORD} <{WORD}@shop.example>", "message": WORD,
        }  # fmt: skip
        message = {"text": WORD, "username": WORD, "userId": WORD, "ts": "1710144005.000200"}
        ended = {
            "conversationUUID": chat, "channelId": WORD, "channelName": WORD, "agentName": WORD,
            "startedAt": "2024-03-11T08:59:41Z", "endedAt": "2024-03-11T09:03:10Z", "visitorName": WORD,
            "agentEmail": ADDRESSES[number % 5], "visitorEmail": ADDRESSES[(number + 1) % 5],
            "replyToEmail": ADDRESSES[(number + 2) % 5], "visitorTraits": {WORD: WORD}, "archiveUrl": WORD,
            "extraData": [WORD], "messages": [{**message, "isVisitorMsg": number % 2 == 0, WORD: WORD}],
            "textBody": WORD, "htmlBody": WORD,
        }  # fmt: skip
        lines += [
            orjson.dumps({**around, "kind": "feedback", "payload": {**started, f"{WORD}-field": {WORD: 1}}}),
            orjson.dumps({**around, "kind": "offline_message", "payload": left}),
            orjson.dumps({**around, "kind": "transcript", "payload": ended}),
        ]
    spoilt: list[Any] = [
        {**started, "visitor": {"UUID": WORD, "createdAt": WORD}}, {**started, "visitor": WORD},
        {**started, "message": {WORD: 1}}, {WORD: WORD}, [WORD], {**ended, "endedAt": WORD},
        {**ended, "channelId": f"{WORD}-other"}, {**started, "visitor": {**_person(1), "IPAddress": WORD}},
    ]  # fmt: skip
    lines += [
        orjson.dumps({"kind": "feedback", "receivedAt": "2024-03-13", "payload": each}) for each in spoilt
    ]
    lines += [f'{{"a": "{WORD}", oops}}'.encode(), f'{{"{WORD}": 1, "{WORD}": 2}}'.encode()]
    return lines


def _kept(state: Path) -> str:
    said = [str(path.relative_to(state)) for path in state.rglob("*")]
    said += [path.read_bytes().decode("latin-1") for path in state.rglob("*") if path.is_file()]
    said += [str(pq.read_table(path).to_pylist()) for path in state.rglob("*.parquet")]
    return "\n".join(said).lower()


@pytest.mark.parametrize("way", WAYS)
def test_no_stored_byte_has_the_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Ledger, dead letters, lake, failed batches, rejects, report, page and log: none repeats a person."""
    monkeypatch.setenv("CHATLIO_KIT_REDACTION_KEY", KEY)
    state, folder = tmp_path / "state", tmp_path / "captures"
    folder.mkdir()
    lines = _records()
    for number, name in enumerate(
        (f"{WORD}@x.example.ndjson", f"{WORD}%2540x.example.ndjson", "plain.ndjson")
    ):
        (folder / name).write_bytes(b"\n".join(lines[number::3] if number else lines))
    faults = {"faults": [{"fault": "partial", "status": 400, "share": 0.4, "dialect": "status", "rate": 1.0}]}
    options = local_platform.Options(enabling_delay=0.02, processing_delay=0.02, faults=faults)
    local_platform.ensure_running(state / "local", options=options)
    command = ["backfill", str(folder), "--redact", way, "--state", str(state), "--json"]
    result = CliRunner().invoke(main, command)
    local_platform.stop(state / "local")
    page = orjson.loads(result.stdout)
    assert page["dead_lettered"] > 0
    assert page["delivered"] > 0
    assert page["rejected"] >= 10
    said = _kept(state) + result.output.lower()
    assert WORD not in said
    assert "5ec0-4e2f" not in said
    assert "c0c0-4f08" not in said
    assert "203.0.113.77" not in said
    assert KEY not in said


_FIELDS = [(table, each) for table, fields in (("events", EVENTS), ("messages", MESSAGES)) for each in fields]
_GLUE = ("", " ", ", ", "; ", "@", "%40", "%2540", "&#64;", "/", "?", "#", "<", "(", "\n", ":", "://", "＠")


@given(
    field=st.sampled_from([each for each in _FIELDS if each[1].privacy is not Privacy.PLAIN]),
    parts=st.lists(st.sampled_from([*_GLUE, WORD, "x.example", "a", "1"]), min_size=1, max_size=8),
    way=st.sampled_from(WAYS),
)
@settings(max_examples=300)
def test_words_around_an_address_never_survive(field: Any, parts: list[str], way: str) -> None:
    """In any combination, words outside a domain, host or path never occur in a redacted value."""
    table, column = field
    value = f"{WORD}{''.join(parts)}@x.example {WORD}"
    schema = arrow_schema(table)
    columns = [pa.array([value if each.name == column.name else None], each.type) for each in schema]
    rows = pa.table(columns, schema=schema)
    redacted, _ = Redaction.from_text(way, lambda: Secret(KEY)).apply(table, rows)
    assert WORD not in str(redacted[column.name].to_pylist()).lower()
