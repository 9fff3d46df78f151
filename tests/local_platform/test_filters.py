"""The order of lists."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from chatlio_kit.local_platform.server.filters import ordered

DOCUMENTS = st.lists(st.fixed_dictionaries({"a": st.integers(0, 2), "b": st.sampled_from(["x", "y"])}))


@given(documents=DOCUMENTS, first=st.booleans(), last=st.booleans())
def test_ties_follow_the_direction_of_the_last_path(documents, first, last):
    """Each path orders what ties before it; what ties in all comes as it was made, or newest first."""
    made = [{**each, "place": place} for place, each in enumerate(documents)]
    found = ordered(made, ("a", first), ("b", last))
    assert sorted(each["place"] for each in found) == list(range(len(made)))
    for before, after in pairwise(found):
        if before["a"] != after["a"]:
            assert (before["a"] > after["a"]) == first
        elif before["b"] != after["b"]:
            assert (before["b"] > after["b"]) == last
        else:
            assert (before["place"] > after["place"]) == last
