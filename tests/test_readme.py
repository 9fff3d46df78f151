"""The README's generated parts are what the code says. ``python tests/test_readme.py`` writes them anew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from chatlio_kit.cli import main
from chatlio_kit.events.catalogue import TABLES, Field
from chatlio_kit.events.redaction import SPEAKS_OF_PEOPLE, left_by_mask

README = Path(__file__).parent.parent / "README.md"


def _commands(group: click.Group, before: str = "") -> Iterator[str]:
    common = {"as_json", "state", "platform", "help"}
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _commands(command, f"{before}{name} ")
            continue
        arguments = [
            each.make_metavar(click.Context(command))
            for each in command.params
            if isinstance(each, click.Argument)
        ]
        yield f"**`chatlio-kit {' '.join([before + name, *arguments])}`**: {(command.help or '').strip()}\n"
        options = [
            each for each in command.params if isinstance(each, click.Option) and each.name not in common
        ]
        for option in options:
            value = "" if option.is_flag else f" {option.make_metavar(click.Context(command))}"
            said = f": {option.help}" if option.help else ""
            yield f"- `{option.opts[0]}{value}`{said}"
        if options:
            yield ""


def _row(field: Field) -> str:
    places = "<br>".join(f"{shape}: `{place}`" for shape, place in field.places.items())
    sent = f"`{field.xdm}`" if field.xdm else ""
    return f"| `{field.name}` | {field.dtype} | {field.meaning} | {field.privacy} | {places} | {sent} |"


def _dictionary() -> Iterator[str]:
    for table, fields in TABLES.items():
        yield f"<details><summary><code>{table}</code>, {len(fields)} columns</summary>\n"
        yield "| column | holds | meaning | privacy | in the payload | in XDM |"
        yield "| --- | --- | --- | --- | --- | --- |"
        yield from (_row(field) for field in fields)
        yield "\n</details>\n"


def _redaction() -> Iterator[str]:
    """What a mask leaves of each column that speaks of people, by privacy class."""
    yield "| class | columns of `events` and `messages` | what `mask` leaves |"
    yield "| --- | --- | --- |"
    for privacy in SPEAKS_OF_PEOPLE:
        left: dict[str, list[str]] = {}
        for each in (*TABLES["events"], *TABLES["messages"]):
            if each.privacy is privacy:
                left.setdefault(left_by_mask(each), []).append(f"`{each.name}`")
        for said, columns in left.items():
            yield f"| {privacy} | {', '.join(dict.fromkeys(columns))} | {said} |"


def written() -> str:
    """Give the README with its generated parts as the code says them now."""
    text = README.read_text()
    parts = (("commands", _commands(main)), ("redaction", _redaction()), ("dictionary", _dictionary()))
    for part, lines in parts:
        begin, end = f"<!-- {part}: written by `make readme` -->", f"<!-- end of {part} -->"
        body = "\n".join(lines).strip()
        text = re.sub(
            f"(?s){re.escape(begin)}.*{re.escape(end)}",
            lambda _, b=begin, e=end, t=body: f"{b}\n\n{t}\n\n{e}",
            text,
        )
    return text


def test_the_readme_is_up_to_date() -> None:
    """Command reference and data dictionary agree with the code."""
    assert README.read_text() == written(), "run `make readme`"


if __name__ == "__main__":
    README.write_text(written())
