"""Undocumented fields are kept, left out or refused, as the user chose, and always reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chatlio_kit as ck
from chatlio_kit.errors import UsageError
from chatlio_kit.tables import Export, FieldPolicy, ReadOptions, Tables, convert
from chatlio_kit.tables.validate.contract import Contract

Payload = dict[str, Any]
Write = Callable[[Path, Iterable[Any]], Path]
Wrap = Callable[..., Payload]


@pytest.fixture
def capture(
    tmp_path: Path, ndjson: Write, envelope: Wrap, transcript: Payload, conversation: Payload
) -> Path:
    """Four records: one as documented, one with an unknown field in itself, one in a message, one in both."""
    lines = []
    for number, (in_event, in_message) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
        reported = {**deepcopy(transcript), "endedAt": f"2024-03-1{number + 1}T09:00:00Z"}
        if in_event:
            reported |= {"rating": 2**70 + number}
        if in_message:
            for message in reported["messages"]:
                message["files"] = ["a.png"]
        lines.append(envelope(reported))
    return ndjson(tmp_path / "in.ndjson", lines)


def _tables(path: Path, contract: str | None) -> Tables:
    return ck.read_export(path, contract=contract).to_tables(quiet=True)


@pytest.mark.parametrize(
    ("contract", "accepted", "fields"),
    [
        (None, [1, 2, 3, 4], [set(), {"rating"}, {"messages[0].files", "messages[1].files"},
                              {"rating", "messages[0].files", "messages[1].files"}]),
        ("freeze", [1], [set()]),
        ("events=freeze", [1, 3], [set(), {"messages[0].files", "messages[1].files"}]),
        ("messages=freeze", [1, 2], [set(), {"rating"}]),
        ("discard_value", [1, 2, 3, 4], [set(), set(), set(), set()]),
        ("messages=discard_value", [1, 2, 3, 4], [set(), {"rating"}, set(), {"rating"}]),
        ("freeze,messages=evolve", [1, 3], [set(), {"messages[0].files", "messages[1].files"}]),
    ],
)  # fmt: skip
def test_the_outcome_of_an_unknown_field(
    capture: Path, contract: str | None, accepted: list[int], fields: list[set[str]]
) -> None:
    """Each mode, per table: kept exactly, left out, or the record rejected with the name; always counted."""
    tables = _tables(capture, contract)
    assert tables.events["source_record"].tolist() == accepted
    kept = [orjson.loads(value) if isinstance(value, str) else {} for value in tables.events["extra_fields"]]
    assert [set(entry) for entry in kept] == fields
    texts = "".join(tables.events["extra_fields"].dropna())
    assert (str(2**70 + 1) in texts) == any("rating" in field for field in fields)  # not one digit is lost
    assert {(rejection.record, rejection.reason) for rejection in tables.rejections} == {
        (number, "unknown_field") for number in {1, 2, 3, 4} - set(accepted)
    }
    assert tables.findings.unknown_fields == {"messages[].files": 2, "rating": 2}
    assert any("messages[].files 2, rating 2" in note for note in tables.notes)
    assert len(tables.messages) == 2


def test_a_frozen_field_is_named_with_what_lets_it_in(capture: Path) -> None:
    """The rejection names the field, and the option that would accept its record."""
    rejected = _tables(capture, "freeze").rejections
    assert [rejection.field for rejection in rejected] == ["rating", "messages[0].files", "messages[0].files"]
    assert "--contract messages=evolve" in rejected[1].detail
    assert rejected[0].raw


def test_kept_fields_keep_their_digits(tmp_path: Path, transcript: Payload, envelope: Wrap) -> None:
    """If one unknown field is left out, the others stay as they were written."""
    line = orjson.dumps(
        envelope({**transcript, "rating": 0, "messages": [{"ts": "1710144005.000200", "x": 1}]})
    )
    (tmp_path / "a").write_bytes(line.replace(b'"rating":0', b'"rating":0.1234567890123456789'))
    tables = _tables(tmp_path / "a", "messages=discard_value")
    assert tables.events["extra_fields"].tolist() == ['{"rating":0.1234567890123456789}']


@pytest.mark.parametrize("contract", ["discard_row", "events=discard_row", "evolve,messages=discard_row"])
def test_a_row_is_not_discarded_but_frozen(contract: str) -> None:
    """Users who know the word from dlt are shown the nearest alternative, for the table that they named."""
    near = contract.replace("evolve,", "").replace("discard_row", "freeze")
    with pytest.raises(UsageError, match=rf"Use {near}: .* rejected\.jsonl"):
        Contract.from_text(contract)


@pytest.mark.parametrize("text", ["", "strict", "visitors=freeze", "events=", "freeze,"])
def test_an_invalid_contract_is_refused(text: str) -> None:
    """An unknown table or mode is reported with the valid ones."""
    with pytest.raises(UsageError, match="contract="):
        Contract.from_text(text)


@given(
    names=st.lists(st.text(max_size=120), max_size=8, unique=True), mode=st.sampled_from(["evolve", "freeze"])
)
@settings(max_examples=15)
def test_any_name_may_come(tmp_path_factory: pytest.TempPathFactory, names: list[str], mode: str) -> None:
    """With any field names, all records are accounted for, and the page shows no name as markup."""
    folder = tmp_path_factory.mktemp("names")
    visitor = {"UUID": "5b0c7d1e-9a34-4e2f-6c18-b2f09d41a7e3", **dict.fromkeys(names, "<b>x</b>")}
    payload = {"visitor": visitor, "message": "hi", "channelId": "C0", "<script>alert(1)</script>": 1}
    record = {"receivedAt": "2024-03-01T08:00:00Z", "kind": "feedback", "payload": payload}
    (folder / "in.ndjson").write_bytes(orjson.dumps(record))
    export = Export([folder / "in.ndjson"], ReadOptions(), FieldPolicy.from_options(None, mode))
    counts = convert(export, folder / "out", quiet=True).counts
    assert counts.read == counts.accepted + counts.rejected == 1
    assert counts.accepted == (mode == "evolve") or counts.rejected_by_reason["unknown_field"] == 0
    page = (folder / "out" / "report.html").read_text()
    assert "<script" not in page
    assert "<b>x" not in page


def test_of_very_many_names_only_the_first_are_counted_separately() -> None:
    """Made-up names cannot fill the memory; all are counted."""
    from chatlio_kit.tables.validate.contract import _count  # noqa: PLC0415

    seen: Counter[str] = Counter()
    for number in range(1000):
        _count({f"field {number}": 1}, seen)
    assert len(seen) == 201
    assert seen.total() == 1000
