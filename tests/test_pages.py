"""The pages' generated parts are what the code says. ``make readme`` writes them anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import evidence_page
import pytest

from chatlio_kit.analysis.definitions import GROUPS, METRICS
from chatlio_kit.captures.dialects import DIALECTS, FIELDS, LISTS, Body, Dialect
from chatlio_kit.captures.dialects.named_fields import MEANINGS
from chatlio_kit.chatlio.catalogue import TABLES, Field
from chatlio_kit.chatlio.labels import label_of
from chatlio_kit.chatlio.redaction import SPEAKS_OF_PEOPLE, left_by_mask
from chatlio_kit.cli import main

ROOT = Path(__file__).parent.parent


def _commands(group: click.Group, before: str = "") -> Iterator[str]:
    common = {"as_json", "state", "platform", "help"}
    context = click.Context(group)
    for name in sorted(group.list_commands(context)):
        command = group.get_command(context, name)
        assert command is not None
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
    places = "<br>".join(f"{shape}: `{place}`" for shape, place in field.paths.items())
    sent = f"`{field.xdm}`" if field.xdm else ""
    label = (label_of(field) or "") if field.xdm else ""
    about = f"{field.dtype} | {field.meaning} | {field.privacy}"
    return f"| `{field.name}` | {about} | {places} | {sent} | {label} |"


def _dictionary() -> Iterator[str]:
    for table, fields in TABLES.items():
        yield f"<details><summary><code>{table}</code>, {len(fields)} columns</summary>\n"
        yield "| column | holds | meaning | privacy | in the payload | in XDM | label |"
        yield "| --- | --- | --- | --- | --- | --- | --- |"
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


def _code(text: object) -> str:
    return f"`{text}`" if str(text) else ""


def _dialects() -> Iterator[str]:
    yield "| dialect | who writes it | known by | payload | time of arrival | kind | documented in |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for each in DIALECTS:
        cells = (
            _code(each.name),
            each.title,
            _known_by(each),
            _payload(each),
            f"{_code(each.received)}, {each.clock}" if each.received else "none",
            _code(each.label) if each.label else "none",
            each.source,
        )
        yield f"| {' | '.join(cells)} |"


def _known_by(dialect: Dialect) -> str:
    if dialect.body is Body.ITSELF:
        return "the payload's own fields"
    if dialect.body is Body.COLUMNS:
        return (
            _code(f"visitor{dialect.separator}UUID") + " and the like"
            if dialect.separator
            else "JSON in cells"
        )
    known = ", ".join(map(_code, dialect.needs))
    return f"{known}, without {', '.join(map(_code, dialect.lacks))}" if dialect.lacks else known


def _payload(dialect: Dialect) -> str:
    place = _code(dialect.payload)
    flag = f"; base64 if {_code(dialect.base64_flag)}" if dialect.base64_flag else ""
    return f"{place}: {dialect.body}{flag}" if place else str(dialect.body)


def _pages() -> Iterator[str]:
    yield "| page of | lists its captures in |"
    yield "| --- | --- |"
    for name, place in LISTS.items():
        yield f"| {name} | {_code(place)} |"


def _fields() -> Iterator[str]:
    yield "| name | what stands there |"
    yield "| --- | --- |"
    for name in FIELDS:
        yield f"| {_code(name)} | {MEANINGS[name]} |"


def _metrics() -> Iterator[str]:
    yield "| metric | in words | summed up as | what it measures | standard in |"
    yield "| --- | --- | --- | --- | --- |"
    for metric in METRICS.values():
        source = metric.source.replace("_", r"\_").replace("*", r"\*")
        yield f"| `{metric.name}` | {metric.title} | {metric.measure} | {metric.meaning} | {source} |"


def _groups() -> Iterator[str]:
    yield "| `by` | groups |"
    yield "| --- | --- |"
    for name, meaning in GROUPS.items():
        yield f"| `{name}` | {meaning} |"


PAGES: dict[str, dict[str, Callable[[], Iterator[str]]]] = {
    "README.md": {
        "commands": lambda: _commands(main),
        "redaction": _redaction,
        "dictionary": _dictionary,
    },
    "docs/captures.md": {"dialects": _dialects, "pages": _pages, "fields": _fields},
    "docs/metrics.md": {"metrics": _metrics, "groups": _groups},
    "docs/evidence.md": {
        "tags": evidence_page.tags,
        "calls": evidence_page.calls,
        "live": evidence_page.live,
    },
}


def written(page: str) -> str:
    """Give a page with its generated parts as the code says them now."""
    text = (ROOT / page).read_text()
    for part, lines in PAGES[page].items():
        begin, end = f"<!-- {part}: written by `make readme` -->", f"<!-- end of {part} -->"
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        assert found, f"{page} has no place for {part}"
        assert ended, f"{page} does not end {part}"
        body = "\n".join(lines()).strip()
        text = f"{before}{begin}\n\n{body}\n\n{end}{after}"
    return text


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_up_to_date(page: str) -> None:
    """Commands, redaction, dictionary, dialects, pages and fields stand there, and agree with the code."""
    assert (ROOT / page).read_text() == written(page), "run `make readme`"


if __name__ == "__main__":
    for each in PAGES:
        (ROOT / each).write_text(written(each))
