"""What every command shares: its common options, and how it answers."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
import orjson

from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.cli.streams import write_answer
from chatlio_kit.display import visible, visible_json
from chatlio_kit.errors import DONE, FAILED, ChatlioKitError
from chatlio_kit.settings import AEP, DEFAULT_STATE, LOCAL

if TYPE_CHECKING:
    from chatlio_kit.aep import Platform

_IDLE_SECONDS = 60.0
"""How long a local platform stays up unused after a command."""

KINDS = click.Choice([str(kind) for kind in Kind])
PATHS = click.argument("paths", nargs=-1, required=True, metavar="PATH...")
NAME = click.option("--name", default="chatlio", show_default=True, help="The connection's name.")
KIND = click.option(
    "--kind", type=KINDS, help="The kind of records that nothing else names; overrides nothing."
)
UNDATED_AS = click.option(
    "--undated-as", help="Time of undated events: file-time, visitor-created or an RFC 3339 time."
)
FIELDS = click.option(
    "--fields",
    metavar="NAME=PLACE,...",
    help="Where payload, received, kind and widget stand in records of an unknown logger, "
    "as in payload=request.body,received=request.time.",
)
REDACT = click.option(
    "--redact",
    metavar="WAYS",
    help="Redact before anything is written or sent: drop, mask, hash:aep or hash:keyed; "
    "or by class, as in personal=hash:keyed,content=drop.",
)
CONTRACT = click.option(
    "--contract",
    metavar="MODES",
    help="What becomes of unknown fields: evolve (kept, the default), freeze (rejected) or discard_value "
    "(left out); or by table, as in events=freeze.",
)
SKIP_GUARD = click.option(
    "--skip-guard", is_flag=True, help="Do not wait after a dataflow was made or changed."
)
PRODUCTION = click.option(
    "--production", is_flag=True, help="Change a production sandbox; without it only a development one is."
)


@dataclass
class CommandResult:
    """What a command found: for a machine, for a person, and as an exit code."""

    content: dict[str, Any]
    text: object
    exit_code: int = DONE


@dataclass
class Context:
    """What every command is told."""

    as_json: bool
    state: Path
    platform: str | None

    def open(self) -> Platform:
        """Open the chosen platform."""
        opening = import_module("chatlio_kit.jobs.platforms")  # only now: it takes a second to load
        found: Platform = opening.open_platform(self.platform, state=self.state, idle=_IDLE_SECONDS)
        return found


def command(function: Callable[..., CommandResult]) -> Callable[..., None]:
    """Give a command its common options, and print what it answers."""

    @click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else."
    )
    @click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_STATE,
        show_default=True,
        help="The folder that remembers: ledger, local store, reports.",
    )
    @click.option(
        "--platform",
        type=click.Choice([LOCAL, AEP]),
        help="Which platform; by default CHATLIO_KIT_PLATFORM, else local.",
    )
    @wraps(function)
    def run(*, as_json: bool, state: Path, platform: str | None, **options: Any) -> None:
        try:
            answer = function(Context(as_json, state, platform), **options)
            text = _as_json(answer.content) if as_json else visible(str(answer.text), keep="\n")
        except ChatlioKitError as error:
            fail(str(error), error.exit_code, as_json)
        except (OSError, MemoryError, sqlite3.DatabaseError) as error:
            fail(_last_resort(error, state), FAILED, as_json)
        if unwritten := write_answer(text):
            click.echo(
                f"The command did its work, but its answer could not be written to stdout: {unwritten}.",
                err=True,
            )
            sys.exit(FAILED)
        sys.exit(answer.exit_code)

    return run


def fail(sentence: str, exit_code: int, as_json: bool) -> NoReturn:
    """End a command with a sentence and an exit code."""
    if as_json:
        write_answer(_as_json({"error": sentence}))
    click.echo(visible(sentence), err=True)
    sys.exit(exit_code)


def _last_resort(error: OSError | MemoryError | sqlite3.DatabaseError, state: Path) -> str:
    """Word what the machine refused where no room had a sentence of its own."""
    if isinstance(error, MemoryError):
        return (
            "The machine has too little free memory for this. End other programs, or name fewer captures at "
            "a time."
        )
    if isinstance(error, sqlite3.DatabaseError):
        return (
            f"A database in the state folder {str(state)!r} cannot be used: {error}. Put a copy of it back, "
            "or use another --state."
        )
    said = error.strerror or str(error) or type(error).__name__
    place = f": {error.filename!r}" if error.filename is not None else ""
    return f"The system refused to go on: {said}{place}. Correct that, and run the command again."


def _as_json(content: dict[str, Any]) -> str:
    return visible_json(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode())
