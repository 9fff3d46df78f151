"""The rules for identities: which fields may be one, which values count, and which one is primary."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlio_kit.chatlio.catalogue import EVENTS
from chatlio_kit.chatlio.identities import (
    FIELDS,
    ConversationVisitors,
    identity_columns,
    parse_identities,
)
from chatlio_kit.delivery.requests.wire import wire_records
from chatlio_kit.errors import UsageError
from chatlio_kit.tables import empty

ANA, BEA = "5b0c7d1e-9a34-4e2f-6c18-b2f09d41a7e3", "6c1d8e2f-0b45-4f30-7d29-c3f1ae52b8f4"
CHAT, OTHER = "7c1e9a52-3b6d-4f08-5a91-0d4e6b2f8c13", "8d2f0b63-4c7e-4a19-6ba2-1e5f7c3a9d24"
ALL = ("visitor_email=Email", "traits.ecid=ECID", "visitor_id=ChatlioVisitor", "user_id=CustomerId")


def frame(*rows: dict[str, str | None]) -> pd.DataFrame:
    """Events with only these fields."""
    columns = {name: [row.get(name) for row in rows] for name in empty("events").columns}
    return pd.DataFrame(columns).astype(dict.fromkeys((*FIELDS, "visitor_traits", "conversation_id"), "str"))


def people(identities: tuple[str, ...], *rows: dict[str, str | None]) -> list[dict[str, Any]]:
    """The identities of events, by namespace."""
    columns = identity_columns(frame(*rows), parse_identities(identities))
    return [
        {column.namespace: column.ids.iloc[row] for column in columns if pd.notna(column.ids.iloc[row])}
        for row in range(len(rows))
    ]


@pytest.mark.parametrize(
    "field", ["agent_email", "agent_name", "slack_user_id", "reply_to_email", "conversation_id", "channel_id"]
)
def test_staff_and_conversations_are_never_identities(field: str) -> None:
    """The refusal gives the reason."""
    with pytest.raises(UsageError, match="never an identity"):
        parse_identities(["visitor_id=ChatlioVisitor", f"{field}=Email"])


def test_only_four_columns_and_traits_may_be_identities() -> None:
    """Every other column of the catalogue is refused."""
    for column in EVENTS:
        if column.name not in FIELDS:
            with pytest.raises(UsageError):
                parse_identities([f"{column.name}=Anything"])
    assert (
        len(parse_identities(["user_id=A", "visitor_id=B", "traits.plan-id=C", "contact_email=Email"])) == 4
    )


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["visitor_id"], "FIELD=NAMESPACE"),
        (["visitor_id=no blanks"], "FIELD=NAMESPACE"),
        (["visitor_email=Email"], "alone is never"),
        (["visitor_id=ECID"], "Adobe's own"),
        (["visitor_id=A", "visitor_id=B"], "two namespaces"),
        (["visitor_id=A", "user_id=A"], "merge strangers"),
        (["traits.mail=Email"], "alone is never"),
        (["user_id=A", "visitor_email=A"], "merge strangers"),
    ],
)
def test_identities_that_would_merge_people_are_refused(texts: list[str], words: str) -> None:
    """A message says what is wrong."""
    with pytest.raises(UsageError, match=words):
        parse_identities(texts)


def test_the_sites_own_id_is_primary_before_the_visitors_and_an_address_never() -> None:
    """The order does not depend on the order in which they are given."""
    assert [str(one) for one in parse_identities(ALL)] == [ALL[3], ALL[2], ALL[1], ALL[0]]


@pytest.mark.parametrize(
    "value", ["", "   ", "null", "NULL", "Anonymous", "invalid", "undefined", "x" * 1025, "***", None]
)
def test_blocked_values_are_left_out(value: str | None) -> None:
    """Blocked values, and placeholders that programs write, are not identities."""
    rows = {"user_id": value, "visitor_id": ANA}
    assert people(ALL, rows) == [{"ChatlioVisitor": ANA}]


def test_values_are_normalised_by_their_namespace() -> None:
    """Addresses are trimmed, in lower case, or hashed that way; an ECID has 38 digits."""
    row = {"visitor_id": f" {ANA} ", "visitor_email": " Ana@X.org ", "visitor_traits": '{"ecid":"12"}'}
    assert people(ALL, row) == [{"ChatlioVisitor": ANA, "Email": "ana@x.org"}]
    ecid = {"visitor_id": "visitor", "visitor_traits": json.dumps({"ecid": "1" * 38}), "visitor_email": "ana"}
    assert people(ALL, ecid) == [{"ECID": "1" * 38}]
    hashed = people(("visitor_id=V", "visitor_email=Email_LC_SHA256"), row)
    assert hashed == [{"V": ANA, "Email_LC_SHA256": sha256(b"ana@x.org").hexdigest()}]
    digest = sha256(b"ana@x.org").hexdigest()
    was_hashed = {"visitor_id": ANA, "visitor_email": digest.upper()}
    assert people(("visitor_id=V", "visitor_email=Email_LC_SHA256"), was_hashed) == [
        {"V": ANA, "Email_LC_SHA256": digest}
    ]
    assert people(("visitor_id=V", "visitor_email=Email"), was_hashed) == [{"V": ANA}]
    values = (42, 1.5, True, None, [42])
    customers = [{"visitor_traits": json.dumps({"customer": value})} for value in values]
    assert people(("traits.customer=C",), *customers) == [{"C": "42"}, {}, {}, {}, {}]
    assert people(("user_id=C",), {"user_id": "x" * 1024}, {"user_id": "x" * 1025}) == [{"C": "x" * 1024}, {}]


def test_an_event_has_one_address_and_the_visitors_comes_first() -> None:
    """Two fields may share a namespace of addresses; the first one with a value counts."""
    both = ("visitor_id=V", "contact_email=Email", "visitor_email=Email")
    typed = {"visitor_id": ANA, "contact_email": "typed@x.org"}
    assert people(both, {**typed, "visitor_email": "known@x.org"}, typed) == [
        {"V": ANA, "Email": "known@x.org"},
        {"V": ANA, "Email": "typed@x.org"},
    ]


def test_an_event_without_a_primary_id_has_no_identity() -> None:
    """An address alone would be linked without a profile, so the event carries nothing."""
    assert people(ALL, {"visitor_email": "ana@x.org"}) == [{}]


def test_a_transcript_gets_its_conversations_visitor_unless_there_are_several() -> None:
    """Any event of the conversation may name the visitor, before or after."""
    started = frame(
        {"conversation_id": CHAT, "visitor_id": ANA},
        {"conversation_id": OTHER, "visitor_id": ANA},
        {"conversation_id": OTHER, "visitor_id": BEA},
    )
    visitors = ConversationVisitors()
    visitors.add(started)
    transcripts = frame({"conversation_id": CHAT}, {"conversation_id": OTHER}, {})
    (column,) = identity_columns(transcripts, parse_identities(["visitor_id=V"]), visitors.of(transcripts))
    assert column.ids.fillna("nobody").tolist() == [ANA, "nobody", "nobody"]
    (own,) = identity_columns(transcripts, parse_identities(["user_id=C"]), visitors.of(transcripts))
    assert own.ids.isna().all()
    visitors.add(frame({"conversation_id": BEA, "visitor_id": BEA}))
    assert visitors.of(transcripts).fillna("nobody").tolist() == [ANA, "nobody", "nobody"]
    assert ConversationVisitors().of(transcripts).isna().tolist() == [True] * 3


_VALUES = st.one_of(
    st.none(), st.sampled_from(["", "null", ANA, BEA, 'a"b\\c', "ana@x.org", "\x01é🙂"]), st.text()
)


@given(st.lists(st.tuples(_VALUES, _VALUES, _VALUES, _VALUES, _VALUES), min_size=1, max_size=12))
def test_every_identity_map_has_exactly_one_primary_and_one_id_a_namespace(
    rows: list[tuple[str | None, ...]],
) -> None:
    """For any values, the record is JSON, and its map follows the rules."""
    names = ("user_id", "visitor_id", "visitor_email", "contact_email")
    events = frame(
        *(
            {**dict(zip(names, row, strict=True)), "visitor_traits": json.dumps({"crm": trait})}
            for *row, trait in rows
        )
    )
    events["event_id"] = [f"{number:064x}" for number in range(len(events))]
    events = events.astype({"event_id": "str"})
    identities = parse_identities(
        ["user_id=U", "visitor_id=V", "traits.crm=C", "visitor_email=Email", "contact_email=Email"]
    )
    columns = identity_columns(events, identities)
    plain = wire_records(events, empty("messages"))
    for row, (record, without) in enumerate(
        zip(wire_records(events, empty("messages"), columns), plain, strict=True)
    ):
        body = json.loads(record.body)
        found = body.pop("identityMap", None)
        assert body == json.loads(without.body)
        expected = {one.namespace: one.ids.iloc[row] for one in columns if pd.notna(one.ids.iloc[row])}
        if not expected:
            assert found is None
            continue
        assert {code: item["id"] for code, (item,) in found.items()} == expected
        assert [code for code, (item,) in found.items() if item["primary"]] == [next(iter(expected))]
        assert "Email" not in [code for code, (item,) in found.items() if item["primary"]]
        assert {item["authenticatedState"] for (item,) in found.values()} == {"ambiguous"}
