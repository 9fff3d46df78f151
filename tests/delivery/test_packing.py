"""Request bodies."""

from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from chatlio_kit.delivery.requests.packing import LIMIT, fits, fitting, pack
from chatlio_kit.delivery.requests.wire import WireRecord, WireRecords


def _record(number: int, size: int) -> WireRecord:
    body = json.dumps({"n": number, "pad": ""}).encode()
    return WireRecord(str(number), body.replace(b'""', b'"' + b"x" * size + b'"'))


@given(
    sizes=st.lists(st.integers(0, 400), max_size=60),
    limit=st.integers(500, 2000),
    most=st.none() | st.integers(1, 9),
)
def test_packets_hold_everything_once_in_order_and_within_the_limits(
    sizes: list[int], limit: int, most: int | None
) -> None:
    """No record is lost, duplicated or moved, no body exceeds a limit, and bodies are the JSON sent."""
    records = [_record(number, size) for number, size in enumerate(sizes)]
    packets = list(pack(records, limit, most))
    assert [record for packet in packets for record in packet.records] == records
    for packet in packets:
        assert len(packet.body) <= limit
        assert most is None or len(packet) <= most
        assert json.loads(packet.body)["messages"] == [json.loads(record.body) for record in packet.records]
    fuller = [
        len(one) == most or len(one.body) + 1 + len(two.records[0].body) > limit
        for one, two in itertools.pairwise(packets)
    ]
    assert all(fuller)


def test_the_largest_record_that_can_be_sent() -> None:
    """A record fits if its request has at most 1,000,000 bytes."""
    around = len(b'{"messages":[]}')
    most, more = (WireRecord("a", b"x" * (LIMIT - around + extra)) for extra in (0, 1))
    assert (fits(most), fits(more)) == (True, False)
    assert fitting(WireRecords.of([most, more])).tolist() == [True, False]
    (packet,) = pack([most])
    assert len(packet.body) == LIMIT == 1_000_000


@given(count=st.integers(2, 9))
def test_halves_are_the_whole(count: int) -> None:
    """Splitting keeps every record, and each half is smaller."""
    (packet,) = pack([_record(number, 1) for number in range(count)])
    assert [list(single.records) for single in packet.singles()] == [[record] for record in packet.records]
    one, two = packet.halves()
    assert [*one.records, *two.records] == list(packet.records)
    assert min(len(one.records), len(two.records)) >= 1


@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    cut=st.slices(12),
    places=st.lists(st.integers(0, 11), unique=True),
)
def test_records_in_one_buffer_are_as_good_as_a_list(sizes: list[int], cut: slice, places: list[int]) -> None:
    """Slices and selections equal those of a list, and joined bodies hold exactly these records."""
    listed = [_record(number, size) for number, size in enumerate(sizes)]
    laid = WireRecords.of(listed)
    assert list(laid[cut]) == listed[cut]
    assert json.loads(b"[" + laid[cut].joined + b"]") == [json.loads(each.body) for each in listed[cut]]
    chosen = sorted(place for place in places if place < len(listed))
    assert list(laid.take(chosen)) == [listed[place] for place in chosen]
    assert laid[cut].rows.tolist() == [*range(len(listed))][cut]
    assert laid.take(chosen)[1:].rows.tolist() == chosen[1:]
    assert laid[cut].sizes.tolist() == [len(each.body) for each in listed[cut]]
    assert laid[-1] == listed[-1]


@given(count=st.integers(1, 9), chosen=st.sets(st.integers(0, 8)))
def test_a_body_of_some_records_has_only_those(count: int, chosen: set[int]) -> None:
    """The records whose fate is still unknown go out again in their order."""
    (packet,) = pack([_record(number, 1) for number in range(count)])
    indexes = sorted(index for index in chosen if index < count)
    assert list(packet.only(indexes).records) == [packet.records[index] for index in indexes]
