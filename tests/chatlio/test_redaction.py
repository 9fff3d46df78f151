"""Redaction: what each way leaves of a value, and what it never shows."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from chatlio_kit.chatlio.catalogue import EVENTS, Field, Privacy
from chatlio_kit.chatlio.redaction import Redaction, Way, hashed_email, masked
from chatlio_kit.errors import SettingsError, UsageError
from chatlio_kit.settings import Secret, redaction_key
from chatlio_kit.tables.arrow import arrow_schema

FIELDS = {event.name: event for event in EVENTS}


def _key() -> Secret:
    return Secret("a key that nobody guesses")


def _events(**columns: list[str | None]) -> Any:
    """Return events with these columns and nulls in all others."""
    schema = arrow_schema("events")
    size = len(next(iter(columns.values())))
    return pa.table(
        [pa.array(columns.get(entry.name, [None] * size), entry.type) for entry in schema], schema=schema
    )


def test_an_email_is_hashed_as_the_platform_publishes_it() -> None:
    """The example of Adobe's hashing page: trimmed, in lower case, SHA-256 as hexadecimal digits."""
    expected = "a6ea4cde5da5ae7cc68baae894d1d6544fca26254433b0fff7c2cb4843b4a097"
    assert hashed_email(" ecid@adobe.com ") == hashed_email("ECID@Adobe.com") == expected


@pytest.mark.parametrize(
    ("column", "value", "left"),
    [
        ("visitor_email", "Ana.Ruiz@Example.org", "***@example.org"),
        ("visitor_email", "not an address", "***"),
        ("visitor_email", "@example.org", "***"),
        ("visitor_email", "ana@example.org (mobile 555)", "***"),
        ("visitor_email", "ana@example.org; bea@example.net", "***"),
        ("visitor_email", "call 555 or ana@example.org", "***"),
        ("visitor_email", '"Ana Ruiz" <ana@example.org>', "***"),
        ("visitor_email", "ana@example.org\nmobile 555", "***"),
        ("visitor_email", "ana@555.555", "***"),
        ("visitor_email", "ana%40example.org", "***"),
        ("visitor_email", "ana@bücher.example", "***@bücher.example"),
        ("contact_mailbox", '"Ana Ruiz" <ana@example.org>', "***"),
        ("page_url", "https://shop.example/pricing?mail=ana@x.org#a", "https://shop.example/pricing"),
        ("page_url", "https://ana:secret@shop.example:8080/u/ana%40x.org/b", "https://shop.example/u/***/b"),
        ("page_url", "ana@x.org", "***"),
        ("page_url", "http://[oops/", "***"),
        ("page_url", "https://shop.example/u/ana%2540x.org/b", "https://shop.example/u/***/b"),
        ("page_url", "https://shop.example/u/ana%252540x.org", "https://shop.example/u/***"),
        ("page_url", "https://shop.example/u/ana&#64;x.org", "https://shop.example/u/***"),
        ("page_url", "https://shop.example/u/ana\\u0040x.org", "https://shop.example/u/***"),
        ("page_url", "https://shop.example/u/ana＠x.org", "https://shop.example/u/***"),
        ("page_url", "https://shop.example/a%3Fname=ana/b", "https://shop.example/***/b"),
        ("page_url", "https://shop.example/a (mobile 555)", "https://shop.example/***"),
        ("page_url", "ana-ruiz://shop.example/a", "***"),
        ("page_url", "https://ana%40x.org/a", "***"),
        ("location", "Madrid, Madrid, Spain", "Spain"),
        ("location", "Yamoussoukro, Côte d'Ivoire", "Côte d'Ivoire"),
        ("location", "Madrid, Spain (mobile 555)", "***"),
        ("location", "Madrid, ana@example.org", "***"),
        ("location", "Madrid", "***"),
        ("location", "Madrid, ", "***"),
        ("ip_address", "203.0.113.7", "203.0.113.0"),
        ("ip_address", "2001:db8:aa:bb::1", "2001:db8:aa::"),
        ("ip_address", "203.0.113.007", "0.0.0.0"),  # noqa: S104
        ("visitor_traits", '{"plan":"gold"}', '"***"'),
        ("message", "Call me: +34 600 000 000", "***"),
        ("user_agent", "Mozilla/5.0", "***"),
    ],
)
def test_the_part_that_a_mask_leaves(column: str, value: str, left: str) -> None:
    """Only the part of a value that does not identify a person is left, whatever its form."""
    assert masked(value, FIELDS[column]) == left


@pytest.mark.parametrize(
    "value", ["+34 600 000 000", "ana@example.org, mobile 555", "a@b.org; c@d.org", "ana%40example.org"]
)
def test_only_an_address_is_hashed_without_a_key(value: str) -> None:
    """Words next to an address can be guessed from a plain hash, so nothing is left of such a value."""
    redacted, _ = Redaction.from_text("hash:aep").apply("events", _events(visitor_email=[value]))
    assert redacted["visitor_email"].to_pylist() == ["***"]


@pytest.mark.parametrize("way", ["mask", "hash:aep", "hash:keyed"])
@pytest.mark.parametrize("column", ["visitor_id", "ip_address", "visitor_traits", "visitor_email", "message"])
def test_a_redacted_value_keeps_its_rule_and_its_equals(way: str, column: str) -> None:
    """The result follows the column's rule; equal values stay equal, different ones stay different."""
    values = {
        "visitor_id": ["5b0c7d1e-9a34-4e2f-6c18-b2f09d41a7e3", "5b0c7d1e-9a34-4e2f-6c18-b2f09d41a7e4"],
        "ip_address": ["203.0.113.7", "198.51.100.9"],
        "visitor_traits": ['{"a":1}', '{"a":2}'],
        "visitor_email": ["a@x.org", "b@y.org"],
    }.get(column, ["one", "two"])
    rows = _events(**{column: [values[0], values[1], values[0], None]})
    redacted, counts = Redaction.from_text(way, _key).apply("events", rows)
    first, second, third, fourth = redacted[column].to_pylist()
    assert redacted.schema == rows.schema
    assert counts == {column: 3}
    assert first == third not in values
    assert (first != second) == (
        way == "hash:keyed" or column in ("visitor_id", "ip_address", "visitor_email")
    )
    assert fourth is None
    assert _keeps_rule(FIELDS[column], first)


def _keeps_rule(entry: Field, value: str) -> bool:
    if entry.name == "visitor_traits":
        return isinstance(orjson.loads(value), str)
    return entry.rule is None or re.fullmatch(entry.rule.pattern or ".*", value) is not None


def test_one_key_gives_one_hash_and_another_key_another() -> None:
    """Keyed hashes depend on the key; without it they cannot be computed."""
    rows = _events(visitor_name=["Ana"])
    hashes = [
        Redaction.from_text("hash:keyed", lambda key=key: Secret(key))
        .apply("events", rows)[0]["visitor_name"]
        .to_pylist()
        for key in ("one key of many", "one key of many", "another key of many")
    ]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("text", "ways"),
    [
        (None, {}),
        ("keep", {}),
        ("drop", dict.fromkeys(("pseudonym", "personal", "content", "staff"), "drop")),
        ("mask, staff=keep", dict.fromkeys(("pseudonym", "personal", "content"), "mask")),
        ("staff=keep,mask", dict.fromkeys(("pseudonym", "personal", "content"), "mask")),
        ("personal=hash:keyed,content=mask,staff=drop",
         {"personal": "hash:keyed", "content": "mask", "staff": "drop"}),
        ({"personal": "mask", "content": "keep"}, {"personal": "mask"}),
    ],
)  # fmt: skip
def test_the_option_is_read(text: str | dict[str, str] | None, ways: dict[str, str]) -> None:
    """A single way applies to all classes of personal data; a way for a single class takes precedence."""
    redaction = Redaction.from_text(text, _key)
    assert {str(privacy): str(way) for privacy, way in redaction.ways.items()} == ways
    assert redaction.is_on == bool(ways)
    assert redaction.way_of(Privacy.PLAIN) is Way.KEEP


@pytest.mark.parametrize(
    "text",
    [
        *("", "hash", "masked", "plain=drop", "names=drop", "personal=", "drop,,mask"),
        *({"names": "drop"}, {"content": "mask,drop"}, {"personal": "keep,content=mask"}),
    ],
)
def test_an_invalid_option_is_refused(text: str | dict[str, str]) -> None:
    """An unknown class or way is reported with the valid ones; a typo never leaves values unredacted."""
    with pytest.raises(UsageError, match="redact="):
        Redaction.from_text(text, _key)


def test_the_key_comes_from_settings_and_never_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment, .env or a file provide the key; a missing or short one is reported; nothing reveals it."""
    monkeypatch.chdir(tmp_path)
    key = "0123456789abcdef-the-key"
    (tmp_path / "key.txt").write_text(f"{key}\n")
    (tmp_path / ".env").write_text("CHATLIO_KIT_REDACTION_KEY_FILE=key.txt\n")
    assert redaction_key({}).reveal() == key
    assert redaction_key({"CHATLIO_KIT_REDACTION_KEY": key}, dotenv="none").reveal() == key
    bad: dict[str, str]
    for bad in ({}, {"CHATLIO_KIT_REDACTION_KEY": "short"}, {"CHATLIO_KIT_REDACTION_KEY_FILE": "nowhere"}):
        with pytest.raises(SettingsError, match="CHATLIO_KIT_REDACTION_KEY") as error:
            redaction_key(bad, dotenv="none")
        assert "short" not in str(error.value)
    redaction = Redaction.from_text("hash:keyed", lambda: Secret(key))
    assert key not in repr(redaction) + str(redaction)
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(redaction)


def test_each_column_about_people_is_redacted() -> None:
    """Dropping leaves values only in plain columns: the catalogue's class alone decides."""
    about_people = {event.name: ["x"] for event in EVENTS if event.privacy is not Privacy.PLAIN}
    dropped, counts = Redaction.from_text("drop").apply("events", _events(**about_people))
    assert set(counts) == set(about_people)
    assert all(dropped[name].null_count == 1 for name in about_people)
