"""The pages' generated parts are what the code says, and no message is missing from them."""

from __future__ import annotations

import generated
import pytest


@pytest.mark.parametrize("page", generated.PAGES)
def test_a_page_is_up_to_date(page: str) -> None:
    """Commands, dictionary, dialects, metrics, rejections and messages are on their pages as the code has them."""
    assert (generated.ROOT / page).read_text("utf-8") == generated.written(page), "run `make pages`"
