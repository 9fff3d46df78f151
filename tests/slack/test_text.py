"""Text is decoded once, token by token and entity by entity, for reading; the raw text is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_exports import SETTINGS, channel, said, write_export

import chatlio_kit as ck
from chatlio_kit.slack.text import Renderer

RENDERER = Renderer({"U1": "Sam Lee"}, {"C1": "general"})


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("<@U1> and <@U1|sam>", "@Sam Lee and @Sam Lee"),
        ("<@U9> and <@U9|kim>", "@U9 and @kim"),
        ("<#C1|news> <#C1|> <#C1> <#C9>", "#news #general #general #C9"),
        ("<!here> <!here|here> <!channel> <!everyone>", "@here @here @channel @everyone"),
        ("<!subteam^S1|@sales> <!date^1710144005^{date}|March 11>", "@sales March 11"),
        ("<https://a.example> <https://a.example|label>", "https://a.example label (https://a.example)"),
        ("<http://a.example|a.example> <https://a.example/|a.example>", "a.example a.example"),
        ("<https://a.example/?a=1&amp;b=2>", "https://a.example/?a=1&b=2"),
        ("<mailto:a@b.example|a@b.example> <tel:+1555|555>", "a@b.example 555"),
        ("<!DOCTYPE html> <module> <git+ssh://x>", "<!DOCTYPE html> <module> <git+ssh://x>"),
        ("&lt;b&gt; &lt;@U1&gt;", "<b> <@U1>"),
        ("&amp;copy; &amp;lt; a & b &copy; &quot;", "&copy; &lt; a & b &copy; &quot;"),
        (":wave: *b* _i_ ~s~ `code`", ":wave: *b* _i_ ~s~ `code`"),
        ("see https://files.slack.com/files-pri/T1-F1/x.png?t=xoxe-1-abc-2 now",
         "see https://files.slack.com/files-pri/T1-F1/x.png now"),
    ],
)  # fmt: skip
def test_a_text_is_read_as_people_read_it(raw: str, text: str) -> None:
    """Text is rendered for reading."""
    assert RENDERER.text_of({"text": raw})[0] == text


@given(st.text())
def test_typed_text_is_restored(typed: str) -> None:
    """Slack escapes three characters; a mention or link typed by hand does not become a token."""
    escaped = typed.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if "xox" not in typed:
        assert RENDERER.rendered(escaped) == typed


def test_the_raw_text_is_kept_where_it_differs(tmp_path: Path) -> None:
    """The raw text is kept if it differs."""
    lines = [said("1710144005.000200", "a &amp; b"), said("1710144006.000200", "plain")]
    tables = ck.read_slack(write_export(tmp_path, lines), **SETTINGS).to_tables(quiet=True)
    assert list(tables.messages["text"]) == ["a & b", "plain"]
    assert tables.messages["slack_text"].fillna("-").tolist() == ["a &amp; b", "-"]


def test_a_text_is_decoded_once(tmp_path: Path) -> None:
    """Searching and reading use it unchanged; they decode a webhook's text, which Slack escaped."""
    lines = [said("1710144005.000200", "typed &amp;lt;b&amp;gt;")]
    tables = ck.read_slack(write_export(tmp_path, lines), **SETTINGS).to_tables(quiet=True)
    assert list(tables.messages["text"]) == ["typed &lt;b&gt;"]
    assert list(tables.search("&lt;b")["match"]) == ["typed &lt;b&gt;"]


def test_private_channels_are_named_in_no_text(tmp_path: Path) -> None:
    """Private channels are never named in text."""
    lines = [said("1710144005.000200", "ask in <#G1>")]
    path = write_export(tmp_path, lines, groups=[channel("G1", "merger-plans")])
    assert list(ck.read_slack(path, **SETTINGS).to_tables(quiet=True).messages["text"]) == ["ask in #G1"]
