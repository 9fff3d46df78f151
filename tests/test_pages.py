"""The pages' generated parts match the code, and no message is missing."""

from __future__ import annotations

import re
from pathlib import Path

import generated
import messages
import pytest
from click.testing import CliRunner

from chatlio_kit.cli import main

PACKAGE = generated.ROOT / "chatlio_kit"
ONLY_SAMPLES = '{"visitor": {"UUID": "x"}, "message": "hello"}\n'
MISTAKES = {
    "a path": ["convert", "nowhere", "--out", "out"],
    "an empty folder": ["convert", "empty", "--out", "out"],
    "a time": ["convert", "captures", "--out", "out", "--undated-as", "yesterday"],
    "a contract": ["convert", "captures", "--out", "out", "--contract", "discard_row"],
    "a way to redact": ["convert", "captures", "--out", "out", "--redact", "shred"],
    "named fields": ["convert", "captures", "--out", "out", "--fields", "body"],
    "an encoding": ["convert", "captures", "--out", "out", "--encoding", "klingon"],
    "a Slack export": ["slack", "inspect", "captures"],
    "settings of Slack": ["convert", "captures", "captures", "--slack", "none.toml", "--out", "out"],
    "an identity": ["identities", "captures", "--identity", "agent_email=Email"],
    "an e-mail alone": ["identities", "captures", "--identity", "visitor_email=Email"],
    "settings": ["connect", "--platform", "aep"],
    "something to trace": ["trace", "???"],
    "tables": ["metrics", "captures"],
    "a person": ["forget", "captures", "--yes"],
    "a connection's name": ["connect", "--name", "my shop"],
    "holidays without hours": ["metrics", "captures", "--holidays", "DE"],
    "turns": ["connect", "--turns", "--labels"],
}


@pytest.mark.parametrize("page", generated.PAGES)
def test_a_page_is_up_to_date(page: str) -> None:
    """Commands, dictionary, dialects, metrics, reasons and messages are on their pages as in the code."""
    assert (generated.ROOT / page).read_text("utf-8") == generated.written(page), "run `make pages`"


def test_every_error_in_the_source_is_collected() -> None:
    """Wherever the text of the source makes an error of the tree, its words are among those of the page."""
    found = messages.error_messages()
    wordless = [message.place for message in found if messages.count_words(message.text) < 3]
    assert not wordless, f"these messages are built in a way that docs/messages.py cannot read: {wordless}"
    places = {message.place for message in found}
    tree = "|".join(messages.error_names())
    made = re.compile(rf"(?<!class )(?<![\w.`'\"])(?:{tree})\((?!\))")
    missing = [
        place
        for source in messages.sources()
        for number, line in enumerate(source.path.read_text("utf-8").splitlines(), start=1)
        if made.search(line) and not line.lstrip().startswith(("except", "class"))
        if (place := f"{source.path.relative_to(PACKAGE)}:{number}") not in places
    ]
    assert not missing, f"messages of these places are on no page: {missing}"


def test_readme_is_short_and_leads_on() -> None:
    """README has three screens at most, names the two commands, and every file that it links to is there."""
    text = (generated.ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 150
    assert "\nmake backfill " in text
    assert "\nmake test " in text
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert len(links) > 20
    assert [link for link in links if not (generated.ROOT / link).exists()] == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_messages_for_mistakes_are_in_troubleshooting(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence that a command really ends with is one of the page's messages."""
    monkeypatch.chdir(tmp_path)
    for variable in ("AEP_CLIENT_ID", "AEP_CLIENT_SECRET", "AEP_ORG_ID", "AEP_SANDBOX"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "captures").mkdir()
    (tmp_path / "captures" / "a.ndjson").write_text(ONLY_SAMPLES, encoding="utf-8")
    result = CliRunner().invoke(main, MISTAKES[mistake])
    sentence = " ".join(result.stderr.split())
    patterns = [pattern(message.text) for message in messages.error_messages()]
    assert result.exit_code in (1, 2), sentence
    assert any(known.fullmatch(sentence) for known in patterns), sentence


def test_no_message_lacks_a_space_between_two_parts() -> None:
    """A message that is put together from parts has a space after each sentence and clause."""
    names = "json|toml|parquet|slack|apply|isoformat|distributed|keyed|aep"
    run_on = re.compile(rf"(?<![-\w.=/`'])[a-z_]{{3,}}[.:;,](?=[a-z`])(?!\w+[=:,]|{names})\S+")
    collected = (messages.error_messages(), messages.doctor_messages(), messages.notes())
    texts = {message.text: message.place for of_sort in collected for message in of_sort}
    assert not {found[0]: place for text, place in texts.items() if (found := run_on.search(text))}


def pattern(text: str) -> re.Pattern[str]:
    """Return what a message of the page matches: anything at a placeholder, perhaps nothing in brackets."""
    escaped = re.escape(text.replace(" [", "[")).replace(r"\[", "(?: ?").replace(r"\]", ")?")
    return re.compile(re.sub("‹[^›]*›", ".*", escaped))
