"""Redacted tables contain nothing about a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chatlio_kit as ck
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import Export, FieldPolicy, ReadOptions, convert, failures, revalidate

Payload = dict[str, Any]
Wrap = Callable[..., Payload]
Write = Callable[[Path, Iterable[Any]], Path]

SECRET = "zqSecret"
KEPT_BY_MASKS = ("zqdomain", "zqpath", "ZqCountry", "203.0.113.0")
KEY = "a key that nobody guesses"


ADDRESSES = (
    f"{SECRET}@zqdomain.example",
    f"{SECRET}@zqdomain.example (mobile {SECRET})",
    f"a@zqdomain.example; {SECRET}@other.example",
    f"ana@zqdomain.example {SECRET}",
    f"{SECRET}%40zqdomain.example",
    f"{SECRET}%2540zqdomain.example",
)
PLACES = (f"{SECRET}, ZqCountry", f"Madrid, ZqCountry ({SECRET} 555)", f"Madrid, {SECRET}@x.example")
PAGES = (
    f"https://{SECRET}@zqpath.example/{SECRET}%40zqdomain.example",
    f"https://zqpath.example/zqpath/{SECRET}%2540zqdomain.example/b",
    f"https://zqpath.example/zqpath/{SECRET}&#64;zqdomain.example",
    f"https://zqpath.example/zqpath%3Fname={SECRET}",
    f"https://zqpath.example/zqpath (call {SECRET})",
    f"{SECRET}://zqpath.example/",
)


def _person(number: int) -> Payload:
    """A visitor with a recognisable marker in every value."""
    return {
        "UUID": f"{number:08x}-5ec0-4e2f-6c18-b2f09d41a7e3",
        "email": ADDRESSES[number % len(ADDRESSES)],
        "name": f"{SECRET} Name",
        "identUserId": f"{SECRET}-user",
        "identTraits": {f"{SECRET}-key": f"{SECRET}-value", "a": [{"b": {SECRET: [SECRET]}}]},
        "userAgent": f"{SECRET}/1.0",
        "handle": f"{SECRET}-handle",
        "currentPage": f"https://zqpath.example/zqpath?mail={SECRET}#{SECRET}",
        "referrerURL": PAGES[number % len(PAGES)],
        "createdAt": "2024-03-09T18:20:11Z",
        "IPAddress": f"203.0.113.{number % 200 + 7}",
        "location": PLACES[number % len(PLACES)],
    }


def _started(number: int) -> Payload:
    return {
        "visitor": _person(number), "message": f"{SECRET} hello", "channelId": f"C0{SECRET}",
        "conversationUUID": f"{number:08x}-c0c0-4f08-5a91-0d4e6b2f8c13",
    }  # fmt: skip


def _offline(number: int) -> Payload:
    address = f"{SECRET}@zqdomain.example"
    return {
        "visitor": _person(number), "name": f"{SECRET} Name", "email": address,
        "emailPretty": f'"{SECRET}" <{address}>', "subject": SECRET, "message": f"{SECRET} call me",
    }  # fmt: skip


def _transcript(number: int) -> Payload:
    message = {"text": f"{SECRET} said", "username": f"{SECRET}-shown", "userId": f"U0{SECRET}"}
    return {
        "conversationUUID": f"{number:08x}-c0c0-4f08-5a91-0d4e6b2f8c13", "channelId": f"C0{SECRET}",
        "channelName": f"z-{SECRET}", "startedAt": "2024-03-11T08:59:41Z", "endedAt": "2024-03-11T09:03:10Z",
        "agentEmail": f"{SECRET}@zqdomain.example", "agentName": SECRET, "visitorName": SECRET,
        "visitorEmail": ADDRESSES[number % len(ADDRESSES)], "replyToEmail": f"{SECRET}@zqdomain.example",
        "visitorTraits": {"a": SECRET}, "archiveUrl": f"https://acme.slack.com/{SECRET}",
        "extraData": [SECRET],
        "messages": [
            {**message, "ts": "1710144005.000200", "isVisitorMsg": True},
            {**message, "ts": "1710144061.448129", "isVisitorMsg": False},
        ],
        "textBody": SECRET, "htmlBody": f"<p>{SECRET}</p>",
    }  # fmt: skip


def _spoilt(payload: Payload, how: int) -> Payload | bytes:
    """Break a record so that its rejection would show a value, or give it an undocumented field."""
    spoils: list[Payload | bytes] = [
        payload,
        {**payload, f"{SECRET}-field": {SECRET: SECRET}},
        {**payload, "visitor": {"UUID": f"{SECRET}-no-uuid", "createdAt": SECRET}},
        {**payload, "visitor": SECRET},
        {**payload, "endedAt": SECRET, "message": {SECRET: 1}},
        {SECRET: SECRET},
        f'{{"a": "{SECRET}", oops}}'.encode(),
        f'{{"payload": {{"{SECRET}": 1, "{SECRET}": 2}}}}'.encode(),
        orjson.dumps([SECRET]),
        {**payload, "channelId": f"C0{SECRET}-other"},
    ]
    return spoils[how]


def _all_bytes(out: Path) -> str:
    """Return everything in a folder of results: file names, bytes, and decompressed tables."""
    said = [path.name + path.read_bytes().decode("latin-1") for path in out.iterdir()]
    for path in out.glob("*.parquet"):
        said += [str(row) for row in pd.read_parquet(path).to_dict("records")]
    return "\n".join(said)


@given(
    people=st.lists(
        st.tuples(st.integers(0, 8), st.sampled_from([_started, _offline, _transcript]), st.integers(0, 9)),
        min_size=1,
        max_size=12,
    ),
    way=st.sampled_from(["drop", "mask", "hash:aep", "hash:keyed"]),
    contract=st.sampled_from(["evolve", "freeze", "discard_value"]),
)
@settings(max_examples=25)
def test_no_value_of_a_person_is_written(
    tmp_path_factory: pytest.TempPathFactory, people: list[Any], way: str, contract: str
) -> None:
    """For any valid or broken input and any method, no byte written contains a personal value."""
    folder = tmp_path_factory.mktemp("redacted")
    kinds = {_started: "feedback", _offline: "offline_message", _transcript: "transcript"}
    lines = []
    for place, (number, make, how) in enumerate(people):
        spoilt = _spoilt(make(number), how)
        received = f"2024-03-{place + 1:02}T08:00:00Z"
        around = {"receivedAt": received, "kind": kinds[make], "payload": spoilt}
        lines.append(spoilt if isinstance(spoilt, bytes) else orjson.dumps(around))
    (folder / "in.ndjson").write_bytes(b"\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATLIO_KIT_REDACTION_KEY", KEY)
        policy = FieldPolicy.from_options(way, contract)
    converted = convert(Export([folder / "in.ndjson"], ReadOptions(), policy), folder / "out", quiet=True)
    said = _all_bytes(folder / "out")
    assert converted.counts.read == len(people)
    assert SECRET.lower() not in said.lower()
    assert "5ec0-4e2f" not in said
    assert "c0c0-4f08" not in said
    assert KEY not in said
    if way in ("drop", "hash:keyed"):
        assert [entry for entry in KEPT_BY_MASKS if entry in said] == []


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A realistic export with broken records."""
    return write_sample(tmp_path_factory.mktemp("sample") / "x.d", events=600, bad_share=0.03).path


@pytest.mark.parametrize("way", ["drop", "mask", "hash:aep", "hash:keyed"])
def test_redacted_tables_hold_as_others_do(export: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids, order, dtypes and counts are as without redaction; schemas hold; the tables are what is sent."""
    monkeypatch.setenv("CHATLIO_KIT_REDACTION_KEY", KEY)
    plain = ck.read_export(export).to_tables(quiet=True)
    redacted = ck.read_export(export, redact=way).to_tables(quiet=True)
    assert redacted.counts.as_dict() == plain.counts.as_dict()
    assert redacted.events["event_id"].tolist() == plain.events["event_id"].tolist()
    for name, frame in redacted.frames().items():
        assert dict(frame.dtypes) == dict(plain.frames()[name].dtypes)
        assert failures(name, frame) == []
    assert revalidate(redacted.events, redacted.messages).rejected == []
    assert redacted.rejected["raw"].isna().all()
    keys = ("file", "record", "reason")
    assert redacted.rejected[list(keys)].equals(plain.rejected[list(keys)])
    if way == "drop":
        assert len(redacted.conversations) == len(redacted.visitors) == 0
        assert any("pseudonym=mask" in note for note in redacted.notes)
    else:
        assert len(redacted.conversations) == len(plain.conversations)
        assert len(redacted.visitors) == len(plain.visitors)
        assert set(redacted.messages["conversation_id"].dropna()) <= set(
            redacted.conversations["conversation_id"]
        )


def test_an_agents_name_is_staff_wherever_it_occurs(documented: Path) -> None:
    """The name next to a message is redacted like its author: an agent's as staff, a visitor's as person."""
    kept = ck.read_export(documented, redact="mask,staff=keep").to_tables(quiet=True)
    assert kept.messages["username"].tolist() == ["***", "Sam L."]
    gone = ck.read_export(documented, redact="staff=drop").to_tables(quiet=True)
    assert gone.messages["username"].tolist()[0] == "ana-ruiz"
    assert gone.messages["username"].isna().tolist() == [False, True]
    assert gone.conversations["agent_name"].isna().all()


def test_the_report_lists_redacted_fields(documented: Path, tmp_path: Path) -> None:
    """For each column: its class, its way, and number of values; the same in report.json and on the page."""
    policy = FieldPolicy.from_options("personal=mask")
    report = convert(Export([documented], ReadOptions(), policy), tmp_path, quiet=True).report()
    reported = {entry["column"]: entry for entry in report["redacted"]}
    assert reported["events.visitor_email"] == {
        "column": "events.visitor_email", "class": "personal", "way": "mask", "values": 1,
    }  # fmt: skip
    assert reported["messages.username"]["way"] == "mask, agents' keep"
    assert "events.visitor_id" not in reported
    assert "events.visitor_email" in (tmp_path / "report.html").read_text()


@pytest.fixture
def called_after_people(tmp_path: Path, conversation: Payload, envelope: Wrap) -> Path:
    """Captures whose files, folders and zip members have e-mail addresses in their names."""
    lines = [
        orjson.dumps(
            envelope({**conversation, "conversationUUID": f"{number:08x}-3b6d-4f08-5a91-0d4e6b2f8c13"})
        )
        for number in range(6)
    ]
    folder = tmp_path / "x"
    for number, name in enumerate(
        ("a-zqana@b.example", "zqbob%2540b.example", "zqeve%40b.example/c.ndjson", "plain")
    ):
        (folder / "feedback" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "feedback" / name).write_bytes(lines[number] + b"\nno record\n")
    (folder / ".zqleft@b.example").write_bytes(b"")
    with ZipFile(folder / "z", "w") as archive:
        archive.writestr("unanswered/zqmay@b.example.ndjson", lines[4])
        archive.writestr("unanswered/zqsue@b.example.ndjson", lines[5])
        archive.writestr("unanswered/zqnil@b.example.ndjson", b"")
        archive.writestr(".zqleft@b.example", b"")
    return folder


@pytest.mark.parametrize("way", ["drop", "mask", "hash:aep", "hash:keyed"])
def test_files_named_after_people(
    called_after_people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """No address in a file's name appears in any output; each record has its own position."""
    monkeypatch.setenv("CHATLIO_KIT_REDACTION_KEY", KEY)
    export = Export([called_after_people], ReadOptions(), FieldPolicy.from_options(way))
    convert(export, tmp_path / "out", quiet=True)
    tables = export.to_tables(quiet=True)
    said = "".join(path.read_bytes().decode("latin-1") for path in (tmp_path / "out").iterdir())
    said += repr(export) + repr(tables) + str([frame.to_dict() for frame in tables.frames().values()])
    assert "zq" not in said
    assert "40b.example" not in said
    files = [*tables.events["source_file"], *(rejection.file for rejection in tables.rejections)]
    assert len(set(files)) == 6
    assert "x/feedback/plain" in files
    assert ("x/feedback/***" in files) == (way != "hash:keyed")
    assert tables.events["kind"].tolist() == ["feedback"] * 4 + ["unanswered"] * 2


def test_names_of_files_stay_where_personal_values_do(called_after_people: Path) -> None:
    """Other classes do not affect names."""
    tables = ck.read_export(called_after_people, redact="content=mask").to_tables(quiet=True)
    assert "x/feedback/a-zqana@b.example" in tables.events["source_file"].tolist()
