"""True if a string names a person, in any form of an address, and no one else."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlio_kit.chatlio.person import Person

NAMED = [
    "ana.ruiz@bücher.example",
    "ANA.RUIZ@BÜCHER.EXAMPLE",
    "mailto:Ana.Ruiz@xn--bcher-kva.example?subject=x",
    "https://x.example/?m=ana.ruiz%40b%C3%BCcher.example&n=1",
    "ana.ruiz%2540xn--bcher-kva.example",
    "ana.ruiz%252540b%25C3%25BCcher.example",
    "q=from+ana.ruiz%40b%c3%bccher.example",
    '{"a": "x\\nana.ruiz\\u0040b\\u00fccher.example"}',
    '"{\\"a\\": \\"ana.ruiz\\\\u0040b\\\\u00fccher.example\\"}"',
    "ana.ruiz@bu\u0308cher.example.",
    "ａｎａ．ｒｕｉｚ＠bücher.example",
    "<ana.ruiz&#64;b&uuml;cher.example>",
    "It is ana.ruiz@büch…",
    "visitor:5B0C7D1E-9a34-4e2f-6c18-b2f09d41a7e3_1",
]
OTHERS = [
    "bea.ana.ruiz@bücher.example",
    "bea+ana.ruiz@bücher.example",
    "ana.ruiz@bücher.example.org",
    "ana.ruiz@bücher.example-shop.org",
    "ana.ruiz@bücher",
    "ana.ruiz is here…",
    "5b0c7d1e-9a34-4e2f-6c18-b2f09d41a7e4",
    "a5b0c7d1e-9a34-4e2f-6c18-b2f09d41a7e3",
    "",
]


@pytest.fixture
def person() -> Person:
    """A person with an address whose domain is not ASCII."""
    return Person("5b0c7d1e-9a34-4e2f-6c18-b2f09d41a7e3", "Ana.Ruiz@Bücher.example")


@pytest.mark.parametrize("text", NAMED)
def test_a_text_that_names_the_person(person: Person, text: str) -> None:
    """Letter case, encodings, escapes, Punycode, Unicode forms and truncation hide no one."""
    assert person.is_named_in(text)


@pytest.mark.parametrize("text", OTHERS)
def test_a_text_that_names_someone_else(person: Person, text: str) -> None:
    """A longer address, another domain or another id is someone else's."""
    assert not person.is_named_in(text)


@pytest.mark.parametrize(
    "name", ["chats-ana.ruiz@bücher.example.ndjson", "a.zip!ana.ruiz%40xn--bcher-kva.example_2024.json.gz"]
)
def test_a_file_named_after_the_person(person: Person, name: str) -> None:
    """The end of an address in a file's name is unknown, so the surrounding text does not count."""
    assert person.names_file(name)
    assert not person.names_file("chats.ndjson")


@given(
    local=st.from_regex(r"[a-z0-9][a-z0-9._+-]{0,20}[a-z0-9]", fullmatch=True),
    domain=st.from_regex(r"[a-zäöüßé0-9]{2,12}\.[a-z]{2,6}", fullmatch=True),
    layers=st.lists(st.sampled_from(["quote", "json", "upper"]), max_size=4),
)
def test_an_address_is_recognised_in_any_encoding(local: str, domain: str, layers: list[str]) -> None:
    """However often and by whichever rule it is encoded, an address is recognised."""
    text = f"{local}@{domain}"
    person = Person(email=text)
    for layer in layers:
        if layer == "quote":
            text = quote(text, safe="")
        elif layer == "json":
            text = json.dumps({"a": text})
        elif "%" not in text and "\\" not in text:
            text = text.upper()
    assert person.is_named_in(text)
