"""Slack's escapes, decoded for reading."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlio_kit.chatlio.slack_text import decode, decode_all


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("3 &lt; 4 &amp;&amp; 5 &gt; 4", "3 < 4 && 5 > 4"),
        ("&amp;lt; &amp;copy; &copy;", "&lt; &copy; &copy;"),
        ("&lt;b&gt;", "<b>"),
        ("a & b", "a & b"),
        ("<@U1> <@U1|sam> <@U1|@sam>", "@U1 @sam @sam"),
        ("<#C1|general> <#C1|> <#C1>", "#general #C1 #C1"),
        ("<!here> <!channel|channel> <!everyone>", "@here @channel @everyone"),
        ("<!subteam^S1|@sales> <!date^1710144005^{date}|March 11>", "@sales March 11"),
        ("<!subteam^S1>", "<!subteam^S1>"),
        ("<https://a.example>", "https://a.example"),
        ("<https://a.example|https://a.example>", "https://a.example"),
        ("<http://a.example/?a=1&amp;b=2|here>", "here (http://a.example/?a=1&b=2)"),
        ("<mailto:a@b.example|a@b.example> <tel:+1555|555>", "a@b.example 555"),
        ("<mailto:c@d.example>", "c@d.example"),
        ("<!DOCTYPE html> <module> <git+ssh://x>", "<!DOCTYPE html> <module> <git+ssh://x>"),
        ("<", "<"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_text_is_shown_as_its_writer_saw_it(raw: str, text: str) -> None:
    """Mentions, channels and links become words; the three entities become characters, once each."""
    assert decode(raw) == text


@given(st.text())
def test_typed_text_is_restored_by_decoding(typed: str) -> None:
    """Decoding what Slack escaped restores what was typed."""
    escaped = typed.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert decode(escaped) == typed


def test_a_column_keeps_its_missing_values_and_its_index() -> None:
    """A whole column is decoded; its dtype, index and missing values are kept."""
    texts = pd.Series(["&lt;", None, "plain", "<@U1>"], index=[3, 1, 2, 0], dtype="str")
    found = decode_all(texts)
    expected = pd.Series(["<", None, "plain", "@U1"], index=[3, 1, 2, 0], dtype="str")
    pd.testing.assert_series_equal(found, expected)
    assert decode_all(texts[:0]).empty
