"""docs/captures.md lists what the code says. ``python tests/test_captures_page.py`` writes it anew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from chatlio_kit.captures.dialects import DIALECTS, FIELDS, LISTS, Body, Dialect
from chatlio_kit.captures.dialects.naming import MEANINGS

PAGE = Path(__file__).parent.parent / "docs" / "captures.md"


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


def written() -> str:
    """Give the page with its generated parts as the code says them now."""
    text = PAGE.read_text()
    for part, lines in (("dialects", _dialects()), ("pages", _pages()), ("fields", _fields())):
        begin, end = f"<!-- {part}: written by `make readme` -->", f"<!-- end of {part} -->"
        body = "\n".join(lines)
        text = re.sub(
            f"(?s){re.escape(begin)}.*{re.escape(end)}",
            lambda _, b=begin, e=end, t=body: f"{b}\n\n{t}\n\n{e}",
            text,
        )
    return text


def test_the_page_about_captures_is_up_to_date() -> None:
    """Its tables of dialects, pages and fields agree with the code."""
    assert PAGE.read_text() == written(), "run `make readme`"


if __name__ == "__main__":
    PAGE.write_text(written())
