"""The parts of the pages that are generated from the code: ``make pages``. A test compares them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import evidence_page
import messages

from chatlio_kit.aep import errors as platform_errors
from chatlio_kit.analysis.definitions import GROUPS, METRICS
from chatlio_kit.captures.dialects import DIALECTS, FIELDS, LISTS, Body, Dialect
from chatlio_kit.captures.dialects.named_fields import MEANINGS
from chatlio_kit.chatlio.catalogue import TABLES, Field
from chatlio_kit.chatlio.labels import label_of
from chatlio_kit.chatlio.redaction import SPEAKS_OF_PEOPLE, left_by_mask
from chatlio_kit.chatlio.rejections import HINTS, Reason
from chatlio_kit.cli import main
from chatlio_kit.delivery.forecast import (
    BATCHES_A_DAY,
    RECORDS_A_CORE,
    Forecast,
    counted,
    in_bytes,
    in_time,
)
from chatlio_kit.delivery.requests import responses
from chatlio_kit.delivery.requests.pacing import MESSAGES_PER_SECOND_TO_PROFILE
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import read_export

CHATS, SAMPLED = 50_000_000, 2_000
ROOT = Path(__file__).parent.parent
ROOMS = {
    "settings": "Settings",
    "arguments": "Options and arguments",
    "captures": "Reading captures",
    "slack": "Reading a Slack export",
    "tables": "Tables",
    "chatlio": "Redaction and identities",
    "analysis": "Metrics and audits",
    "display": "Figures and tables shown",
    "connection": "Connecting",
    "delivery": "Sending and the ledger",
    "jobs": "Backfill, trace, forget, notebooks",
    "cli": "Commands",
    "aep": "Calls to Experience Platform",
    "private_files": "Files and folders of this machine",
    "pool": "Processes of this machine",
    "samples": "Samples",
}
"""The rooms with messages for users, in the order of the journey, and their subjects."""


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
            argument.make_metavar(click.Context(command))
            for argument in command.params
            if isinstance(argument, click.Argument)
        ]
        yield f"## {before}{name}\n"
        yield f"```text\nchatlio-kit {' '.join([before + name, *arguments])}\n```\n"
        yield f"{_paragraphs(command.help or '')}\n"
        options = [
            option
            for option in command.params
            if isinstance(option, click.Option) and option.name not in common
        ]
        for option in options:
            value, choices = "" if option.is_flag else f" {option.make_metavar(click.Context(command))}", ""
            if isinstance(option.type, click.Choice) and len(value) > 30:
                value = f" {(option.name or '').upper()}"
                choices = f" One of {', '.join(f'`{choice}`' for choice in option.type.choices)}."
            yield f"- `{option.opts[0]}{value}`: {_prose(option.help or '')}{choices}"
        if options:
            yield ""


def _paragraphs(help_text: str) -> str:
    """Write a command's help as paragraphs of Markdown."""
    return "\n\n".join(_prose(" ".join(part.split())) for part in help_text.strip().split("\n\n"))


def _row(field: Field) -> str:
    places = "<br>".join(f"{shape}: `{place}`" for shape, place in field.paths.items())
    sent = f"`{field.xdm}`" if field.xdm else ""
    label = (label_of(field) or "") if field.xdm else ""
    about = f"{field.dtype} | {field.meaning} | {field.privacy}"
    return f"| `{field.name}` | {about} | {places} | {sent} | {label} |"


def _dictionary() -> Iterator[str]:
    for table, fields in TABLES.items():
        yield f"## `{table}`\n"
        yield "| column | holds | meaning | privacy | in the payload | in XDM | label |"
        yield "| --- | --- | --- | --- | --- | --- | --- |"
        yield from (_row(field) for field in fields)
        yield ""


def _redaction() -> Iterator[str]:
    """Yield the parts of columns about people that a mask leaves, by privacy class."""
    yield "| class | columns of `events` and `messages` | what `mask` leaves |"
    yield "| --- | --- | --- |"
    for privacy in SPEAKS_OF_PEOPLE:
        left: dict[str, list[str]] = {}
        for field in (*TABLES["events"], *TABLES["messages"]):
            if field.privacy is privacy:
                left.setdefault(left_by_mask(field), []).append(f"`{field.name}`")
        for said, columns in left.items():
            yield f"| {privacy} | {', '.join(dict.fromkeys(columns))} | {said} |"


def _code(text: object) -> str:
    return f"`{text}`" if str(text) else ""


def _dialects() -> Iterator[str]:
    yield "| dialect | who writes it | known by | payload | time of arrival | kind | documented in |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for dialect in DIALECTS:
        cells = (
            _code(dialect.name),
            dialect.title,
            _known_by(dialect),
            _payload(dialect),
            f"{_code(dialect.received)}, {dialect.clock}" if dialect.received else "none",
            _code(dialect.label) if dialect.label else "none",
            dialect.source,
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
    yield "| name | value at the path |"
    yield "| --- | --- |"
    for name in FIELDS:
        yield f"| {_code(name)} | {MEANINGS[name]} |"


def _metrics() -> Iterator[str]:
    yield "| metric | title | summarized as | meaning | standard in |"
    yield "| --- | --- | --- | --- | --- |"
    for metric in METRICS.values():
        source = metric.source.replace("_", r"\_").replace("*", r"\*")
        yield f"| `{metric.name}` | {metric.title} | {metric.measure} | {metric.meaning} | {source} |"


def _groups() -> Iterator[str]:
    yield "| `by` | groups |"
    yield "| --- | --- |"
    for name, meaning in GROUPS.items():
        yield f"| `{name}` | {meaning} |"


def _rejections() -> Iterator[str]:
    yield "| reason | what it means, and what to do |"
    yield "| --- | --- |"
    yield from (f"| `{reason}` | {_prose(HINTS[reason])} |" for reason in Reason)


def _errors() -> Iterator[str]:
    """Yield each message of the error tree, in a table for each room."""
    found = messages.error_messages()
    strangers = {message.room for message in found} - set(ROOMS)
    assert not strangers, f"{strangers} has no title in ROOMS"
    for room, title in ROOMS.items():
        lines = {message.text: message for message in found if message.room == room}
        if lines:
            yield f"### {title}\n"
            yield "| message | next step | error |"
            yield "| --- | --- | --- |"
            for message in lines.values():
                step = _prose(message.next_step) or "as the message says"
                yield f"| {_prose(message.finding)} | {step} | `{message.error}` |"
            yield ""


def _doctor() -> Iterator[str]:
    yield "| check | finding | next step |"
    yield "| --- | --- | --- |"
    for message in messages.doctor_messages():
        yield f"| {_prose(message.error)} | {_prose(message.finding)} | {_prose(message.next_step)} |"


def _platform_codes() -> Iterator[str]:
    """Yield the advice on answers of Experience Platform, by code."""
    yield "| code | next step |"
    yield "| --- | --- |"
    by_advice: dict[str, list[str]] = {}
    for code, advice in platform_errors.ADVICE.items():
        by_advice.setdefault(advice, []).append(f"`{code}`")
    yield from (f"| {', '.join(codes)} | {_prose(advice)} |" for advice, codes in by_advice.items())


def _responses() -> Iterator[str]:
    return (line for line in (responses.__doc__ or "").splitlines() if line.startswith("|"))


def _notes() -> Iterator[str]:
    yield "| note | about |"
    yield "| --- | --- |"
    for note in messages.notes():
        if messages.count_words(note.text) > 2:
            yield f"| {_prose(note.text)} | {ROOMS[note.room]} |"


def _prose(text: str) -> str:
    """Write a message as Markdown: options and code as code, placeholders in italics."""
    text = re.sub("--‹([^›]*)›", lambda found: f"`--{found[1].upper()}`", text)
    code = re.compile(r"`[^`]+`|(?<![\w-])--[a-z][a-z-]*|\b[A-Z]+_[A-Z_]+\b|\b[a-z]+(?:_[a-z]+)+(?:\(\))?")
    pieces, end = [], 0
    for found in code.finditer(text):
        pieces += [_plain(text[end : found.start()]), f"`{found[0].strip('`')}`"]
        end = found.end()
    return "".join([*pieces, _plain(text[end:])])


def _plain(text: str) -> str:
    for letter in "\\*_[]<>|#":
        text = text.replace(letter, f"\\{letter}")
    return re.sub("‹([^›]*)›", r"*\1*", text)


def _plan() -> Iterator[str]:
    """Yield a plan for 50,000,000 chats: the forecast of a sample, scaled up."""
    with TemporaryDirectory() as folder:
        export = read_export(write_sample(Path(folder) / "captures", events=SAMPLED, seed=7).path)
        forecast = Forecast("a dataset")
        profile = Forecast("a dataset that feeds Profile", MESSAGES_PER_SECOND_TO_PROFILE)
        chats: set[str] = set()
        for batch in export.batches():
            chats |= set(batch.events["conversation_id"].dropna())
            for each in (forecast, profile):
                each.add(batch.events, batch.messages)
    lake, profile = (each.scaled(CHATS / len(chats)) for each in (forecast, profile))
    stream, batch_route = lake.routes()["stream"], lake.routes()["batch"]
    cores = math.ceil(lake.core_seconds / lake.batch_seconds)
    yield "| | by stream | by batch |"
    yield "| --- | --- | --- |"
    rows = [
        ("events", f"{lake.records / 1e6:,.0f} million", "the same, under the same ids"),
        ("sent", f"{in_bytes(stream['bytes'])} of JSON", f"{in_bytes(batch_route['bytes'])} of Parquet"),
        (
            "calls",
            f"{stream['requests']:,.0f} requests",
            f"{lake.files:,} files in {lake.batches:,} batches",
        ),
        (
            "least time",
            f"{in_time(lake.seconds)} at {lake.per_second:,} messages a second",
            f"{in_time(lake.batch_seconds)} at 20 GB an hour",
        ),
        (
            "cost to live traffic",
            f"{stream['quota_share']:.0%} of the organisation's {lake.quota:,} messages a second",
            "none of the streaming quota",
        ),
        (
            "into a dataset that feeds Profile",
            f"{in_time(profile.seconds)} at {profile.per_second:,} of {profile.quota:,} records a second",
            f"{profile.batches:,} of the {BATCHES_A_DAY} batches that Profile takes in a day",
        ),
        ("undo", "none", "`chatlio-kit revert RUN`"),
    ]
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""
    yield (
        f"Converting takes {in_time(lake.core_seconds)} of one core, at {RECORDS_A_CORE:,} records a second. "
        f"{counted(cores, 'core')} therefore {'converts' if cores == 1 else 'convert'} as fast as the API "
        "takes files. A cluster does not shorten the load: it is for exports that one machine cannot read "
        f"fast enough. {lake.comparison()[-1]}"
    )


PAGES: dict[str, dict[str, Callable[[], Iterator[str]]]] = {
    "docs/commands.md": {"commands": lambda: _commands(main)},
    "docs/data-dictionary.md": {"dictionary": _dictionary},
    "docs/dialects.md": {"dialects": _dialects, "pages": _pages, "fields": _fields},
    "docs/bulk.md": {"plan": _plan},
    "docs/metrics.md": {"metrics": _metrics, "groups": _groups},
    "docs/redact-and-forget.md": {"redaction": _redaction},
    "docs/troubleshooting.md": {
        "errors": _errors,
        "rejections": _rejections,
        "codes": _platform_codes,
        "responses": _responses,
        "doctor": _doctor,
        "notes": _notes,
    },
    "docs/evidence.md": {
        "tags": evidence_page.tags,
        "calls": evidence_page.calls,
        "live": evidence_page.live,
    },
}


def written(page: str) -> str:
    """Return a page with its generated parts updated from the code."""
    text = (ROOT / page).read_text("utf-8")
    for part, lines in PAGES[page].items():
        begin, end = f"<!-- {part}: written by `make pages` -->", f"<!-- end of {part} -->"
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        assert found, f"{page} has no place for {part}"
        assert ended, f"{page} does not end {part}"
        body = "\n".join(lines()).strip()
        text = f"{before}{begin}\n\n{body}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    for page in PAGES:
        (ROOT / page).write_text(written(page), "utf-8")
