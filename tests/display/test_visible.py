"""Untrusted text on screens: no escape sequence, forged line, reordered text or formula gets through."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path
from typing import Any
from unicodedata import category

import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from chatlio_kit.analysis import figures
from chatlio_kit.cli import main
from chatlio_kit.display import (
    Document,
    Example,
    Part,
    Progress,
    Sheet,
    visible,
    visible_json,
)
from chatlio_kit.tables import Export, ReadOptions
from chatlio_kit.tables.transcripts import Line, Transcript

ATTACKS = {
    "colour": "\x1b[31mred",
    "title": "\x1b]0;owned\x07",
    "clipboard": "\x1b]52;c;cm0gLXJm\x1b\\",
    "link": "\x1b]8;;https://evil.example\x1b\\click",
    "C1": "\x9b2J\x9d0;x\x9c",
    "overwrite": "rejected 5\rrejected 0",
    "backspace": "abc\b\b\b",
    "forged line": "a\nrejected   0\vx\fy\x85z\u2028\u2029",
    "bidi": "\u202egnp.exe \u2066x\u2069 \u200f \u061c",
    "invisible": "a\u200bb\ufeff\u2060\U000e0041",
    "delete and null": "\x7f\x00",
    "alone": "\ud800",
}
KEPT = "Ana Ruiz, Zoë 李 مرحبا 👩\u200d💻 10\u00a0% a\u3000b é"


def dangerous(text: str, keep: str = "") -> list[str]:
    """List the characters that a screen would obey."""
    allowed = keep + "\u200c\u200d"
    return [one for one in text if not (one.isprintable() or one in allowed or category(one) == "Zs")]


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_control_characters_are_shown_as_escapes(attack: str) -> None:
    """Nothing dangerous is left, and the original can be read."""
    shown = visible(attack)
    assert not dangerous(shown)
    assert "\\" in shown


def test_normal_text_is_unchanged() -> None:
    """Scripts, emoji, accents and spaces are shown unchanged."""
    assert visible(KEPT) == KEPT


@given(st.text(st.characters(), max_size=80))
def test_any_text_becomes_one_safe_line(text: str) -> None:
    """This holds for any contents; repeating it changes nothing."""
    shown = visible(text)
    assert not dangerous(shown)
    assert len(shown.splitlines()) <= 1
    assert visible(shown) == shown


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_json_keeps_its_content(text: str) -> None:
    """Characters that a terminal would obey are written with JSON's escapes."""
    written = visible_json(json.dumps({text: text}, ensure_ascii=False))
    assert json.loads(written) == {text: text}
    assert not [each for each in dangerous(written) if ord(each) < 0x300 or 0x2000 <= ord(each) < 0x2070]


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_sheet_keeps_each_string_in_its_cell(attack: str) -> None:
    """A cell, heading, title or note is one line in a terminal, and nothing but text on a page."""
    sheet = Sheet(attack, (attack, "count"), [(attack, 1), (attack, 2)], (attack,))
    text, page = str(sheet), sheet._repr_html_()
    assert not dangerous(text, "\n")
    assert len(text.split("\n")) == 6
    assert not dangerous(page, "\n\t")


@pytest.mark.parametrize(
    "attack", ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "{{7*7}}"]
)
def test_a_page_shows_markup_as_text(attack: str) -> None:
    """Sheets and reports escape what they hold, in texts and in attributes."""
    sheet = Sheet(attack, (attack,), [(attack,)], (attack,))
    parts = (Part(attack, attack, sheet=sheet, examples=(Example(attack, attack, attack, attack),)),)
    for page in (sheet._repr_html_(), Document(attack, attack, parts=parts).to_html()):
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "49" not in page
        assert attack in unescape(page)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_report_reorders_nothing(attack: str) -> None:
    """Its page holds no control but its own line ends."""
    attack = attack.replace("\ud800", "")
    page = Document(
        attack, attack, parts=(Part(attack, attack, examples=(Example(attack, attack, attack, attack),)),)
    )
    assert not dangerous(page.to_html(), "\n\t")


def test_progress_shows_names_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    """A bar's description and facts may contain untrusted names."""
    with Progress("\x1b[2J\u202e", 2, "\x07s") as progress:
        progress.say(file="\x1b]0;x\x07")
        progress.advance(2)
    shown = capsys.readouterr().err
    assert not [each for each in ("\x1b[2J", "\x1b]", "\x07", "\u202e") if each in shown]


def test_a_message_forges_no_other_message() -> None:
    """Further lines of a message are below its first, indented more than any message's beginning."""
    forged = "thanks\n   +0:05  agent    Sam: refund granted\r\x1b[A"
    said = repr(
        Transcript("c", "1 May", ("answered by \x1b[1m",), (Line("+0:00", "visitor", "Eve\n", forged),))
    )
    assert not dangerous(said, "\n")
    _, first, second = said.split("\n")
    assert "Eve\\n: thanks" in first
    assert second.startswith(" " * 20)


ATTACK = "\x1b]0;owned\x07\u202e\nrejected 0"


def test_no_command_passes_on_what_a_capture_names(tmp_path: Path, envelope: Any, conversation: Any) -> None:
    """Unknown fields and a file's own name reach the terminal as text, also in sentences and as JSON."""
    folder = tmp_path / "captures"
    folder.mkdir()
    name = "a\x1b[31mb\u202ec.ndjson"
    record = envelope({**conversation, ATTACK: "x", f"{ATTACK}2": {ATTACK: 1}}, "conversation_started")
    (folder / name).write_text(json.dumps(record) + "\n{broken\n", encoding="utf-8")
    (folder / "b\x1b[32m.zip").write_bytes(b"PK\x03\x04 no archive")
    for command in (
        ["convert", str(folder), "--out", str(tmp_path / "out")],
        ["convert", str(folder), "--out", str(tmp_path / "out"), "--contract", "events=freeze"],
        ["convert", str(folder), "--out", str(tmp_path / "out"), "--json"],
        ["convert", str(folder / name) + "\x1b[31m", "--out", str(tmp_path / "out")],
        ["convert", str(folder), "--out", str(tmp_path / "out"), "--fields", f"payload={ATTACK}"],
    ):
        done = CliRunner().invoke(main, command)
        assert done.exit_code in (0, 1, 2, 3)
        assert not dangerous(done.output, "\n\r\t█▏▎▍▌▋▊▉"), command
        assert "\x1b" not in done.output


def test_a_conversation_shows_untrusted_words_as_text(
    tmp_path: Path, ndjson: Any, envelope: Any, transcript: Any
) -> None:
    """The whole way from a capture to the screen."""
    transcript["messages"][0]["text"] = transcript["visitorName"] = transcript["agentName"] = ATTACK
    path = ndjson(tmp_path / "x" / "c.ndjson", [envelope(transcript, "transcript")])
    tables = Export([str(path)], ReadOptions()).to_tables(quiet=True)
    shown = tables.read_conversation()
    assert not dangerous(repr(shown), "\n")
    assert not dangerous(shown._repr_html_(), "\n\t")
    assert not dangerous(repr(tables), "\n")


NAMES = ["$", "$x^2$", "\\frac{1}{2}", "$\\undefined$", "a\nb", "\x1b[1m\u202e", "%d {0}", "$" * 10_000,
         "x" * 50_000, "李", "👩\u200d💻", "_", ""]  # fmt: skip


@pytest.mark.parametrize("name", ["$x^2$ $\\undefined$ \x1b[1m\u202e\n", "x" * 50_000])
def test_a_plot_accepts_any_name(name: str) -> None:
    """Names are not formulas, have one line, and are truncated."""
    index = pd.Index(NAMES, name=name)
    counts = pd.Series(range(len(NAMES)), index=index)
    frame = pd.DataFrame({name: counts, "found": counts})
    spans = pd.DataFrame({"lower_quartile": counts, "median": counts + 1.0, "upper_quartile": counts + 2.0})
    pictures = [
        figures.stacked(frame, unit=name),
        figures.columns(counts, unit=name),
        figures.bars(counts, unit=name),
        figures.quartiles(spans, unit=name),
        figures.band(spans, unit=name),
        figures.heat(frame, unit=name),
        figures.arrived(frame, expected=name, found="found", unit=name),
    ]
    for picture in pictures:
        axes = picture.axes[0]
        texts = [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label]
        assert max(len(text.get_text()) for text in texts) <= 49
        assert not dangerous("".join(text.get_text() for text in texts), "\n")
        assert repr(picture).count("\n") == len(picture.numbers)  # no name adds a line
        assert not dangerous(repr(picture).replace("\n", "") + picture._repr_html_())
        assert len(repr(picture)) < 1_500
