"""Numbers agree with their nouns."""

from __future__ import annotations

import pytest

from chatlio_kit.counting import counted
from chatlio_kit.delivery.ledger.models import FateCounts
from chatlio_kit.delivery.page import Page


@pytest.mark.parametrize(("count", "number"), [(0, "0"), (1, "1"), (2, "2"), (1200, "1,200")])
def test_a_number_agrees_with_its_noun(count: int, number: str) -> None:
    """Only 1 is singular; a plural that is not given takes an s."""
    is_one = count == 1
    assert counted(count, "event") == f"{number} {'event' if is_one else 'events'}"
    assert counted(count, "batch", "batches") == f"{number} {'batch' if is_one else 'batches'}"


def test_a_page_counts_one_event_in_the_singular() -> None:
    """Sentences about one event or record have a singular noun and verb."""
    shown = str(Page("here", run=FateCounts(delivered=1, pending=1), heavy=1, unanswered=1).sheet())
    assert "Over 10 KB: 1 record, kept in the lake" in shown
    assert "1 record was sent again" in shown
    assert "1 delivered event has not been read back yet" in shown
    assert "1 event has no verdict yet" in shown
