"""Sample exports resemble Chatlio's webhooks in every measurable respect."""

import gzip
import ipaddress
import json
import re
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from chatlio_kit.samples import SampleExport, write_sample
from chatlio_kit.samples.clock import through_float

CONVERSATION = {"conversation_started", "unanswered", "feedback"}
KINDS = CONVERSATION | {"offline_message", "transcript"}
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
CHATLIO_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[4-7][0-9a-f]{3}-[0-9a-f]{12}")
FUTURE = datetime(2026, 1, 1, tzinfo=UTC)


class Sample(NamedTuple):
    """An export read: the envelopes, and for each the folder and name of its file."""

    export: SampleExport
    good: list[dict[str, Any]]
    places: list[tuple[str, str]]

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """Give the payloads of some kinds."""
        return [record["payload"] for record in self.good if record["kind"] in kinds]

    @property
    def visitors(self) -> list[dict[str, Any]]:
        """All visitor objects."""
        return [payload["visitor"] for payload in self.of(*CONVERSATION, "offline_message")]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """All messages of transcripts."""
        return [message for payload in self.of("transcript") for message in payload["messages"]]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Read an export without broken records."""
    export = write_sample(tmp_path_factory.mktemp("samples") / "x.d", events=20_000, seed=11)
    good, places = [], []
    for path in sorted(export.path.rglob("*.ndjson*")):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for line in data.splitlines():
            good.append(json.loads(line))
            places.append((path.parent.name, path.name))
    return Sample(export, good, places)


def moment(text: str) -> datetime:
    """Read a time."""
    return datetime.fromisoformat(text)


def test_layout_and_envelopes(sample: Sample) -> None:
    """Files are grouped by kind and month, 2023 is compressed, and a line is an envelope with four keys."""
    offsets = Counter[str]()
    for record, (kind, name) in zip(sample.good, sample.places, strict=True):
        assert kind == record["kind"]
        assert name.endswith(".ndjson.gz" if name.startswith("2023") else ".ndjson")
        assert [*record][-3:] == ["kind", "widget", "payload"]
        assert CHATLIO_ID.fullmatch(record["widget"])
        if received := record.get("receivedAt"):
            text = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:00)", received)
            assert text
            offsets[text[1]] += 1
            assert f"{moment(received).astimezone(UTC):%Y-%m}" == name[:7]
        else:
            assert kind == "transcript"
            offsets["none"] += 1
    assert offsets["Z"] > 0.9 * offsets.total()
    assert set(offsets) == {"Z", "+01:00", "+02:00", "-08:00", "none"}


def test_natural_mix_of_kinds(sample: Sample) -> None:
    """Shares are those of a real shop: starts lead, offline messages are about an eighth."""
    kinds = Counter(record["kind"] for record in sample.good)
    starts = kinds["conversation_started"]
    assert dict(kinds) == sample.export.by_kind
    assert kinds["transcript"] / starts == pytest.approx(0.72, abs=0.03)
    assert kinds["unanswered"] / starts == pytest.approx(0.15, abs=0.02)
    assert kinds["feedback"] / starts == pytest.approx(0.25, abs=0.02)
    assert kinds["offline_message"] / len(sample.good) == pytest.approx(0.12, abs=0.01)


def test_history_grows_and_follows_the_week(sample: Sample) -> None:
    """Captures run from 2023 to 2025, more every year, conversations mostly on working days."""
    received = [moment(record["receivedAt"]) for record in sample.good if record.get("receivedAt")]
    years = Counter(time.astimezone(UTC).year for time in received)
    assert years[2023] < years[2024] < years[2025]
    assert min(received) < datetime(2023, 1, 3, tzinfo=UTC)
    assert datetime(2025, 12, 25, tzinfo=UTC) < max(received) < FUTURE
    days = Counter(
        moment(record["receivedAt"]).weekday() >= 5
        for record in sample.good
        if record["kind"] == "conversation_started"
    )
    assert days[True] / days.total() < 0.15


def test_good_events_are_distinct(sample: Sample) -> None:
    """No two good records share an identity: end of a transcript, id of a start, capture and body."""
    starts = [p["conversationUUID"] for p in sample.of("conversation_started") if "conversationUUID" in p]
    ends = [(p["conversationUUID"], p["endedAt"]) for p in sample.of("transcript")]
    whole = [json.dumps(record, sort_keys=True) for record in sample.good]
    for identities in (starts, ends, whole):
        assert len(set(identities)) == len(identities)


def test_events_of_a_conversation_belong_together(sample: Sample) -> None:
    """A conversation starts, may go unanswered, ends with its transcript, and feedback comes last."""
    lives = defaultdict[str, dict[str, tuple[datetime, dict[str, Any]]]](dict)
    for record in sample.good:
        payload = record["payload"]
        if "conversationUUID" in payload:
            time = moment(record.get("receivedAt") or payload["endedAt"])
            lives[payload["conversationUUID"]].setdefault(record["kind"], (time, payload))
    delay = timedelta(hours=1)  # some captures come late
    for life in lives.values():
        assert len({p["channelId"] for _, p in life.values()}) == 1
        assert len({p["visitor"]["UUID"] for _, p in life.values() if "visitor" in p}) <= 1
        start, transcript = life.get("conversation_started"), life.get("transcript")
        for kind in life.keys() - {"conversation_started"}:
            assert not start or start[0] < life[kind][0] + delay
        if start and transcript:
            assert moment(transcript[1]["startedAt"]) < start[0]
            assert transcript[1]["messages"][0]["text"] == start[1]["message"]
        if start and "unanswered" in life:
            assert life["unanswered"][1]["message"] == start[1]["message"]
        if transcript and "feedback" in life:
            assert moment(transcript[1]["endedAt"]) < life["feedback"][0]
    assert any(life.keys() == KINDS - {"offline_message"} for life in lives.values())


def test_some_conversations_have_a_second_transcript(sample: Sample) -> None:
    """A few transcripts come again with a later end, fuller or with the words typed after the command."""
    by_id = defaultdict[str, list[dict[str, Any]]](list)
    for payload in sample.of("transcript"):
        by_id[payload["conversationUUID"]].append(payload)
    pairs = [found for found in by_id.values() if len(found) > 1]
    assert 0.015 < len(pairs) / len(by_id) < 0.05
    for pair in pairs:
        first, second = sorted(pair, key=lambda payload: moment(payload["endedAt"]))
        longer = len(second["messages"]) > len(first["messages"])
        assert longer or second.get("extraData")
        assert second["messages"][: len(first["messages"])] == first["messages"]
        assert moment(second["endedAt"]) - moment(first["endedAt"]) >= timedelta(minutes=4)


def test_visitors_return(sample: Sample) -> None:
    """Many visitors come more than once and keep id and time of creation."""
    seen = defaultdict[str, list[dict[str, Any]]](list)
    for visitor in sample.visitors:
        seen[visitor["UUID"]].append(visitor)
    assert all(
        len({visitor.get("createdAt", "") for visitor in found} - {""}) <= 1 for found in seen.values()
    )
    assert sum(len(found) > 4 for found in seen.values()) > 100


def test_ids_fail_strict_checks(sample: Sample) -> None:
    """Chatlio's ids have version digit 4 and a variant digit that RFC 4122 does not know."""
    ids = [visitor["UUID"] for visitor in sample.visitors]
    ids += [p["conversationUUID"] for p in sample.of(*CONVERSATION, "transcript") if "conversationUUID" in p]
    assert all(CHATLIO_ID.fullmatch(text) for text in ids)
    assert {text[19] for text in ids} == set("4567")


def test_shapes_have_their_documented_keys(sample: Sample) -> None:
    """Each shape has the fields of its description, spelled as there; `location` only in conversations."""
    visitor = {
        *("email", "UUID", "name", "identUserId", "identTraits", "userAgent", "handle"),
        *("currentPage", "referrerURL", "createdAt", "IPAddress"),
    }
    rest = {"visitor", "message", "channelId", "slackChannelName", "slackChannelId"}
    shapes = Counter[bool]()
    for payload in sample.of(*CONVERSATION):
        full = "conversationUUID" in payload
        shapes[full] += 1
        assert set(payload) == (rest | {"conversationUUID"} if full else rest)
        assert set(payload["visitor"]) == (visitor | {"location"} if full else {"email", "UUID"})
    assert 0 < shapes[False] < 0.03 * shapes.total()
    offline = {"name", "email", "emailPretty", "message", "visitor"}
    assert {frozenset(set(p) - offline) for p in sample.of("offline_message")} == {
        frozenset(),
        frozenset({"subject"}),
    }
    for payload in sample.of("offline_message"):
        assert set(payload["visitor"]) == visitor
        quoted = f'"{payload["name"]}" ' if payload["name"] else ""
        assert payload["emailPretty"] == f"{quoted}<{payload['email']}>"
    transcript = {
        *("conversationUUID", "channelId", "channelName", "startedAt", "endedAt", "agentEmail", "agentName"),
        *("visitorEmail", "replyToEmail", "visitorName", "visitorTraits", "archiveUrl", "messages"),
        *("textBody", "htmlBody"),
    }
    extra = {frozenset(set(payload) - transcript) for payload in sample.of("transcript")}
    assert extra == {
        frozenset(keys) for keys in ({"extraData"}, {"extraData", "slackTeamID"}, {"slackTeamID"})
    }
    message = {"text", "ts", "sentAt", "userId", "username"}
    assert {frozenset(set(said) - message) for said in sample.messages} == {
        frozenset(),
        frozenset({"isVisitorMsg"}),
    }


def test_unknown_text_is_empty_and_never_null(sample: Sample) -> None:
    """Unknown values are `""`; both filled and empty ones occur; nothing but traits holds a null."""
    for key in ("email", "name", "identUserId", "identTraits", "referrerURL"):
        filled = Counter(bool(visitor[key]) for visitor in sample.visitors if key in visitor)
        assert min(filled[True], filled[False]) > 100
    for record in sample.good:
        payload = record["payload"]
        assert None not in payload.values()
        assert None not in payload.get("visitor", {}).values()
    assert any(payload["agentEmail"] == "" for payload in sample.of("transcript"))


def test_both_trait_dialects(sample: Sample) -> None:
    """`identTraits` is JSON in a string or empty; `visitorTraits` an object, sometimes JSON in a string."""
    texts = [visitor["identTraits"] for visitor in sample.visitors if visitor.get("identTraits")]
    assert all(isinstance(json.loads(text), dict) for text in texts)
    assert any("seat count" in text for text in texts)
    traits = [payload["visitorTraits"] for payload in sample.of("transcript")]
    dialects = Counter(type(value) for value in traits)
    assert set(dialects) == {dict, str}
    assert dialects[dict] > 10 * dialects[str] > 100
    read = [json.loads(value) if isinstance(value, str) else value for value in traits if value]
    assert all(value["current_page"].startswith("https://") for value in read)


def test_times_are_written_as_go_writes_them(sample: Sample) -> None:
    """Times drop trailing zeros, have up to 6 or 9 decimals, and mix four offsets and the unset year 1."""
    transcripts = sample.of("transcript")
    micros = [visitor["createdAt"] for visitor in sample.visitors if "createdAt" in visitor]
    micros += [payload["startedAt"] for payload in transcripts]
    nanos = [payload["endedAt"] for payload in transcripts] + [said["sentAt"] for said in sample.messages]
    for texts, most in ((micros, 6), (nanos, 9)):
        read = [RFC_3339.fullmatch(text) for text in texts]
        decimals = Counter(len(match[2] or "") for match in read if match)
        assert decimals.total() == len(texts)
        assert max(decimals) == most
        assert decimals[most] > 0.8 * decimals.total() > decimals[most - 1] > 0
        assert not any(match[2].endswith("0") for match in read if match and match[2])
        assert {match[3] for match in read if match} == {"Z", "-08:00", "+01:00", "+02:00"}
    assert "0001-01-01T00:00:00Z" in micros


def test_float_rounding_is_the_measured_one() -> None:
    """A message's `ts` becomes `sentAt` through a 64-bit float whose fraction is cut to nanoseconds."""
    assert through_float("1710144005.000200", 1) == "2024-03-11T09:00:05.000200033+01:00"
    assert through_float("1710144061.448129", 1) == "2024-03-11T09:01:01.448128938+01:00"


def test_message_ids_are_unique_in_their_channel_and_in_order(sample: Sample) -> None:
    """`ts` rises within a transcript, between its start and end, and is used once in a channel."""
    seen: dict[tuple[str, str], str] = {}
    for payload in sample.of("transcript"):
        stamps = [message["ts"] for message in payload["messages"]]
        assert stamps == sorted(set(stamps))
        sent = [moment(message["sentAt"]) for message in payload["messages"]]
        assert moment(payload["startedAt"]) < sent[0] <= sent[-1] < moment(payload["endedAt"])
        for ts in stamps:
            key = payload["channelId"], ts
            assert seen.setdefault(key, payload["conversationUUID"]) == payload["conversationUUID"]


def test_authors_are_marked(sample: Sample) -> None:
    """Agents have a Slack user, visitors none; `isVisitorMsg` agrees, or is absent in old transcripts."""
    marks = Counter[object]()
    for payload in sample.of("transcript"):
        for message in payload["messages"]:
            marks[message.get("isVisitorMsg")] += 1
            assert message.get("isVisitorMsg", not message["userId"]) is (message["userId"] == "")
            assert "isVisitorMsg" in message or payload["startedAt"] < "2023-09"
    assert 0 < marks[None] < 0.1 * marks.total()
    assert min(marks[True], marks[False]) > 0.3 * marks.total()


def test_people_write_in_their_languages(sample: Sample) -> None:
    """English leads; German, Dutch, emoji, Arabic and Hebrew occur, and typed markup."""
    texts = [message["text"] for message in sample.messages]
    for marks in (
        "Bestellung",
        "bestelling",
        "[\u0600-\u06ff]",
        "[\u05d0-\u05ea]",
        "[\U0001f300-\U0001faff]",
        "<script>",
    ):
        assert any(re.search(marks, text) for text in texts), marks
    assert sum(text.isascii() for text in texts) > len(texts) / 2
    pages = [payload["htmlBody"] for payload in sample.of("transcript")]
    assert any("<script>" in page for page in pages)
    assert any("&lt;script&gt;" in page for page in pages)
    assert any('dir="rtl"' in page for page in pages)


def test_bodies_repeat_the_messages(sample: Sample) -> None:
    """`textBody` holds each message after its author's name."""
    for payload in sample.of("transcript"):
        said = [f"{message['username']}: {message['text']}" for message in payload["messages"]]
        assert payload["textBody"] == "\n".join(said)


def test_nothing_refers_to_real_people(sample: Sample) -> None:
    """IP addresses come from documentation ranges, mail from example domains, sites from `.example`."""
    networks = [
        ipaddress.ip_network(text)
        for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
    ]
    used = set[object]()
    for visitor in sample.visitors:
        if "IPAddress" in visitor:
            address = ipaddress.ip_address(visitor["IPAddress"])
            used.add(next(network for network in networks if address in network))
    assert used == set(networks)
    text = "\n".join(json.dumps(record) for record in sample.good)
    assert set(re.findall(r"[\w.+]@([\w.-]+\w)", text)) == {"example.org", "example.com", "example.net"}
    assert all(host.endswith(".example") for host in re.findall(r"https?://([^/\s\"'\\>|?#]+)", text))
