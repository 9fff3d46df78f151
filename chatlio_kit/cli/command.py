"""Common options of commands, and the output of results."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
import orjson

from chatlio_kit.chatlio.identities import DEFAULT
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.cli.streams import write_answer
from chatlio_kit.display import visible, visible_json
from chatlio_kit.errors import DONE, FAILED, ChatlioKitError
from chatlio_kit.settings import AEP, DEFAULT_STATE, LOCAL

if TYPE_CHECKING:
    from chatlio_kit.aep import Platform
    from chatlio_kit.tables import Export

_IDLE_SECONDS = 60.0
"""Seconds that an unused local platform keeps running after a command."""

KINDS = click.Choice([str(kind) for kind in Kind])
PATHS = click.argument("paths", nargs=-1, required=True, metavar="PATH...")
NAME = click.option("--name", default="chatlio", show_default=True, help="The connection's name.")
SKIP_GUARD = click.option(
    "--skip-guard", is_flag=True, help="Do not wait after a dataflow was created or changed."
)
PRODUCTION = click.option(
    "--production",
    is_flag=True,
    help="Allow changes to a production sandbox; otherwise only a development sandbox is changed.",
)

IDENTITIES = click.option(
    "--identity",
    "identities",
    multiple=True,
    is_flag=False,
    flag_value=DEFAULT,
    metavar="[FIELD=NAMESPACE]",
    help="A field that identifies the visitor, and its namespace; may be repeated. Without a value, "
    f"{DEFAULT}.",
)


_CAPTURE_OPTIONS = (
    click.option(
        "--kind", type=KINDS, help="The kind to assume if a record, its file and its shape give none."
    ),
    click.option(
        "--undated-as", help="Time of undated events: file-time, visitor-created or an RFC 3339 time."
    ),
    click.option(
        "--fields",
        metavar="NAME=PLACE,...",
        help="Paths of payload, received, kind and widget in records of an unknown logger, such as "
        "payload=request.body,received=request.time.",
    ),
    click.option(
        "--redact",
        metavar="WAYS",
        help="Redact before anything is written or sent: drop, mask, hash:aep or hash:keyed; "
        "or by class, as in personal=hash:keyed,content=drop.",
    ),
    click.option(
        "--contract",
        metavar="MODES",
        help="Treatment of undocumented fields: evolve (keep them, the default), freeze (reject the record) "
        "or discard_value (leave them out); or by table, as in events=freeze.",
    ),
    click.option(
        "--exclude",
        multiple=True,
        metavar="PATTERN",
        help="Leave out files, folders and archive members that match, such as '*.log' or captures/old; may "
        "be repeated.",
    ),
    click.option(
        "--encoding", metavar="NAME", help="The encoding of lines that are not UTF-8, such as cp1252."
    ),
    click.option(
        "--slack",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Read the first PATH as a Slack workspace export, with the settings in this TOML file; `slack "
        "inspect` proposes one.",
    ),
)


@dataclass
class CommandResult:
    """The result of a command: as JSON, as text, and as an exit code."""

    content: dict[str, Any]
    text: object
    exit_code: int = DONE


@dataclass
class Context:
    """The common options of every command."""

    as_json: bool
    state: Path
    platform: str | None

    @property
    def is_aep(self) -> bool:
        """True if Experience Platform is selected, by the option or by the environment."""
        return (self.platform or os.environ.get("CHATLIO_KIT_PLATFORM")) == AEP

    def open(self) -> Platform:
        """Open the selected platform."""
        platforms = import_module(
            "chatlio_kit.jobs.platforms"
        )  # imported here because it takes a second to load
        platform: Platform = platforms.open_platform(self.platform, state=self.state, idle=_IDLE_SECONDS)
        return platform


@dataclass(frozen=True)
class CaptureOptions:
    """The options that select captures and determine how they are read."""

    kind: str | None
    undated_as: str | None
    fields: str | None
    redact: str | None
    contract: str | None
    exclude: tuple[str, ...]
    encoding: str | None
    slack: Path | None

    def export(self, paths: Sequence[str], cluster: str | None = None) -> Export:
        """Return the export at these paths."""
        tables = import_module("chatlio_kit.tables")
        history = None
        if self.slack is not None:
            slack = import_module("chatlio_kit.slack")
            history = slack.SlackHistory(Path(paths[0]), slack.SlackSettings.from_file(self.slack))
            paths = paths[1:]
        export: Export = tables.Export(
            paths,
            tables.ReadOptions.from_options(self.kind, self.undated_as, self.fields),
            tables.FieldPolicy.from_options(self.redact, self.contract),
            exclude=self.exclude,
            encoding=self.encoding,
            slack=history,
            cluster=cluster,
        )
        return export


cluster_option = click.option(
    "--cluster", metavar="ADDRESS", help="Convert on a Dask cluster: the address of its scheduler."
)


def capture_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of :class:`CaptureOptions` to a command, which takes them as ``captures``."""

    @wraps(function)
    def run(**options: Any) -> None:
        captures = CaptureOptions(**{field.name: options.pop(field.name) for field in fields(CaptureOptions)})
        function(captures=captures, **options)

    decorated: Callable[..., None] = run
    for option in reversed(_CAPTURE_OPTIONS):
        decorated = option(decorated)
    return decorated


def command(function: Callable[..., CommandResult]) -> Callable[..., None]:
    """Add the common options to a command, and print its result."""

    @click.option("--json", "as_json", is_flag=True, help="Print a single JSON object to stdout.")
    @click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_STATE,
        show_default=True,
        help="The state folder: ledger, local platform's store, reports.",
    )
    @click.option(
        "--platform",
        type=click.Choice([LOCAL, AEP]),
        help="The platform; by default CHATLIO_KIT_PLATFORM, or else local.",
    )
    @wraps(function)
    def run(*, as_json: bool, state: Path, platform: str | None, **options: Any) -> None:
        try:
            result = function(Context(as_json, state, platform), **options)
            text = _as_json(result.content) if as_json else visible(str(result.text), keep="\n")
        except ChatlioKitError as error:
            fail(str(error), error.exit_code, as_json)
        except (OSError, MemoryError, sqlite3.DatabaseError) as error:
            fail(_explain(error, state), FAILED, as_json)
        if unwritten := write_answer(text):
            click.echo(
                f"The command succeeded, but its result could not be written to stdout: {unwritten}.",
                err=True,
            )
            sys.exit(FAILED)
        sys.exit(result.exit_code)

    return run


def fail(sentence: str, exit_code: int, as_json: bool) -> NoReturn:
    """End a command with a message and an exit code."""
    if as_json:
        answer_error(sentence)
    click.echo(visible(sentence), err=True)
    sys.exit(exit_code)


def answer_error(sentence: str) -> None:
    """Write a message to stdout as the only JSON object of a failed command."""
    write_answer(_as_json({"error": sentence}))


def _explain(error: OSError | MemoryError | sqlite3.DatabaseError, state: Path) -> str:
    """Return a message for a system error that has none of its own."""
    if isinstance(error, MemoryError):
        return (
            "There is too little free memory for this. Close other programs, or name fewer captures at a "
            "time."
        )
    if isinstance(error, sqlite3.DatabaseError):
        return (
            f"A database in the state folder {str(state)!r} cannot be used: {error}. Restore a backup, or "
            "use another --state."
        )
    reason = error.strerror or str(error) or type(error).__name__
    path = f": {error.filename!r}" if error.filename is not None else ""
    return f"The system refused to continue: {reason}{path}. Correct this and run the command again."


def _as_json(content: dict[str, Any]) -> str:
    return visible_json(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode())
