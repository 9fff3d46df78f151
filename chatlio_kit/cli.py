"""The same steps as commands: ``chatlio-kit``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import click
import orjson

from chatlio_kit import local_platform
from chatlio_kit.backfill import backfill as run_backfill
from chatlio_kit.backfill import forecast
from chatlio_kit.connection import check_platform, list_removals, open_connection, plan_connection
from chatlio_kit.connection import disconnect as run_disconnect
from chatlio_kit.connection.preflight import unopened
from chatlio_kit.delivery import Ledger, ingested, read_back
from chatlio_kit.delivery import replay as run_replay
from chatlio_kit.delivery.page import DONE, INCOMPLETE, UNCONFIRMED
from chatlio_kit.delivery.reconcile import count_sql
from chatlio_kit.delivery.run import NAMED
from chatlio_kit.display import Sheet
from chatlio_kit.errors import ChatlioKitError, OutputError, SettingsError, Unreachable, UsageError
from chatlio_kit.events.kinds import Kind
from chatlio_kit.opening import AEP, COMMAND_SECONDS, LOCAL, STORE, open_platform
from chatlio_kit.platform import Platform
from chatlio_kit.samples import write_sample
from chatlio_kit.settings import DEFAULT_STATE
from chatlio_kit.tables import Export, Settling
from chatlio_kit.tables import convert as run_convert

NAME = "chatlio"
SHOWN = 20
"""How many missing events are shown; the JSON has more."""
KINDS = click.Choice([str(kind) for kind in Kind])
PATHS = click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")


@dataclass
class Answer:
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
        return open_platform(self.platform, state=self.state, idle=COMMAND_SECONDS)


def command(function: Callable[..., Answer]) -> Callable[..., None]:
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
        except ChatlioKitError as error:
            _fail(str(error), error.exit_code, as_json)
        except OSError as error:
            _fail(f"{error.strerror or error}: {error.filename or 'the disk'}.", 1, as_json)
        if as_json:
            _print_json(answer.content)
        else:
            click.echo(str(answer.text))
        sys.exit(answer.exit_code)

    return run


def _fail(sentence: str, exit_code: int, as_json: bool) -> NoReturn:
    if as_json:
        _print_json({"error": sentence})
    click.echo(sentence, err=True)
    sys.exit(exit_code)


def _print_json(content: dict[str, Any]) -> None:
    click.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode())


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chatlio-kit")
def main() -> None:
    """Bring Chatlio's live-chat history into Experience Platform, and prove that it arrived."""


@main.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--events", default=1000, show_default=True, type=click.IntRange(min=1), help="How many records."
)
@click.option("--seed", default=7, show_default=True, help="The same seed gives the same bytes.")
@click.option("--bad-share", default=0.0, show_default=True, help="Share of broken records, 0 to 0.5.")
@command
def sample(_: Context, out: Path, events: int, seed: int, bad_share: float) -> Answer:
    """Write a realistic export to try everything on."""
    try:
        export = write_sample(out, events=events, seed=seed, bad_share=bad_share)
    except FileExistsError as error:
        raise OutputError(str(error)) from error
    except ValueError as error:
        raise UsageError(str(error)) from error
    content = {**asdict(export), "path": str(export.path), "manifest": str(export.manifest)}
    kinds = [(str(kind), count) for kind, count in export.by_kind.items()]
    notes = [
        f"{export.files:,} files; {export.bad:,} broken records, listed in {export.manifest}",
    ]
    return Answer(content, Sheet(f"Sample export in {export.path}", ("kind", "records"), kinds, notes))


@main.command()
@PATHS
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder for the tables.")
@click.option("--kind", type=KINDS, help="The kind of records that nothing else names; overrides nothing.")
@click.option("--undated-as", help="Time of undated events: file-time, visitor-created or an RFC 3339 time.")
@command
def convert(
    context: Context, paths: tuple[Path, ...], out: Path, kind: str | None, undated_as: str | None
) -> Answer:
    """Turn captured webhooks into validated tables."""
    export = Export(paths, Settling.from_options(kind, undated_as))
    converted = run_convert(export, out, quiet=context.as_json)
    return Answer(converted.report(), converted, INCOMPLETE if converted.counts.rejected else DONE)


@main.command()
@click.option("--name", default=NAME, show_default=True, help="The connection's name.")
@click.option("--webhook", "webhooks", multiple=True, type=KINDS, help="Only these webhooks; all by default.")
@click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")
@click.option(
    "--write-urls", type=click.Path(path_type=Path), help="Write the webhook URLs; they are secrets."
)
@command
def connect(
    context: Context, name: str, webhooks: tuple[str, ...], dry_run: bool, write_urls: Path | None
) -> Answer:
    """Make the Chatlio connection: schema, dataset, mappings, dataflows, webhook URLs."""
    plan = plan_connection(context.open(), name, webhooks or None)
    if dry_run:
        return Answer(plan.as_dict(), plan)
    connection = plan.apply()
    if write_urls is not None:
        connection.write_webhook_urls(write_urls)
    content = {**plan.as_dict(), "changes": plan.changes, "destination": str(connection.destination)}
    return Answer(content, f"{plan}\n\n{connection}")


@main.command()
@click.option("--name", default=NAME, show_default=True, help="The connection's name.")
@command
def doctor(context: Context, name: str) -> Answer:
    """Check, without changing anything, whether a connection can be made and would work."""
    try:
        platform = context.open()
    except (SettingsError, Unreachable) as error:
        found = unopened(error, name)
    else:
        found = check_platform(platform, name)
    return Answer(found.as_dict(), found, found.exit_code)


@main.command()
@click.option("--name", default=NAME, show_default=True, help="The connection's name.")
@click.option("--yes", is_flag=True, help="Remove without asking.")
@command
def disconnect(context: Context, name: str, yes: bool) -> Answer:
    """Remove our dataflows, connections and mapping sets; schema and data stay."""
    platform = context.open()
    if not yes:
        click.echo(str(list_removals(platform, name)), err=True)
        if context.as_json or not click.confirm("Remove these?", err=True):
            raise UsageError("Nothing was removed. Say --yes to remove without being asked.")
    removal = run_disconnect(platform, name)
    return Answer(removal.as_dict(), removal)


@main.command()
@PATHS
@click.option("--name", default=NAME, show_default=True, help="The connection's name.")
@click.option("--kind", type=KINDS, help="The kind of records that nothing else names; overrides nothing.")
@click.option("--undated-as", help="Time of undated events: file-time, visitor-created or an RFC 3339 time.")
@click.option("--dry-run", is_flag=True, help="Forecast records, bytes, requests and time; send nothing.")
@click.option("--connect", "make", is_flag=True, help="Make the connection if it is missing.")
@click.option("--skip-guard", is_flag=True, help="Do not wait after a dataflow was made or changed.")
@click.option(
    "--no-canary", is_flag=True, help="On aep, do not read the first records back before volume follows."
)
@click.option("--wait", type=click.FloatRange(min=0), help="Seconds to wait until everything has landed.")
@command
def backfill(
    context: Context,
    paths: tuple[Path, ...],
    name: str,
    kind: str | None,
    undated_as: str | None,
    dry_run: bool,
    make: bool,
    skip_guard: bool,
    no_canary: bool,
    wait: float | None,
) -> Answer:
    """Convert captures, stream them, and read back what landed. Resumes by itself."""
    settling = Settling.from_options(kind, undated_as)
    Export(paths, settling)  # a wrong path is told before anything is made
    if dry_run:
        found = forecast(paths, context.open(), name=name, settling=settling)
        return Answer(found.as_dict(), found)
    page = run_backfill(
        paths,
        context.open(),
        name=name,
        settling=settling,
        connect=make,
        skip_guard=skip_guard,
        canary=not no_canary,
        wait=wait,
        quiet=context.as_json,
    )
    return Answer(page.as_dict(), page, page.exit_code)


@main.command()
@command
def status(context: Context) -> Answer:
    """Show the ledger in numbers."""
    with Ledger(context.state) as ledger:
        found = [(destination, ledger.book(destination)) for destination in ledger.destinations()]
        content = {
            "destinations": [
                {
                    "destination": str(destination),
                    "total": asdict(book.tally()),
                    "by_kind": {kind: asdict(tally) for kind, tally in book.by_kind().items()},
                    "dead_by_reason": book.dead_by_reason(),
                    "lake_duplicates": book.rows_read() - book.tally().landed,
                }
                for destination, book in found
            ]
        }
        sheets = []
        for destination, book in found:
            tallies = [*book.by_kind().items(), ("all", book.tally())]
            rows = [
                (kind, tally.delivered, tally.dead_lettered, tally.pending, tally.landed)
                for kind, tally in tallies
            ]
            headings = ("kind", "delivered", "dead-lettered", "pending", "landed")
            sheets.append(str(Sheet(f"Sent to {destination}", headings, rows)))
    return Answer(content, "\n\n".join(sheets) or f"Nothing was sent from {str(context.state)!r} yet.")


@main.command()
@click.option("--name", default=NAME, show_default=True, help="The connection's name.")
@click.option("--reason", help="Only dead letters of this reason; status lists the reasons.")
@click.option("--skip-guard", is_flag=True, help="Do not wait after a dataflow was changed.")
@click.option("--wait", type=click.FloatRange(min=0), help="Seconds to wait until everything has landed.")
@command
def replay(context: Context, name: str, reason: str | None, skip_guard: bool, wait: float | None) -> Answer:
    """Send dead letters again after a fix, all or by reason."""
    connection = open_connection(context.open(), name)
    page = run_replay(connection, reason=reason, skip_guard=skip_guard, wait=wait, quiet=context.as_json)
    return Answer(page.as_dict(), page, page.exit_code)


@main.command()
@click.option("--name", default=NAME, show_default=True, help="The connection's name.")
@click.option("--wait", default=0.0, type=click.FloatRange(min=0), help="Seconds to wait for missing rows.")
@command
def reconcile(context: Context, name: str, wait: float) -> Answer:
    """Compare the ledger with what the dataset holds."""
    connection = open_connection(context.open(), name)
    with Ledger(context.state) as ledger:
        book = ledger.book(connection.destination)
        read_back(connection, book, wait=wait, quiet=context.as_json)
        total, dead = book.tally(), book.dead_by_reason()
        runs, rows = ingested(connection), book.rows_read()
        missing = book.missing(NAMED)
    table = str(connection.platform.catalog.dataset(connection.dataset_id).get("name", "the_dataset"))
    sql = count_sql(table)
    content = {
        "destination": str(connection.destination),
        "total": asdict(total),
        "dead_by_reason": dead,
        "runs": runs,
        "lake_rows": rows,
        "lake_duplicates": rows - total.landed,
        "missing": [dict(zip(("event_id", "kind", "file", "record"), each, strict=True)) for each in missing],
        "sql": sql,
    }
    sheet = Sheet(
        f"Arrived at {connection.destination}",
        ("", "count"),
        [
            ("delivered", total.delivered),
            ("dead-lettered", total.dead_lettered),
            *((f"  {reason}", count) for reason, count in dead.items()),
            ("pending", total.pending),
            ("landed", total.landed),
            *((f"dataflows: {what}", count) for what, count in runs.items()),
            ("rows of ours read back", rows),
            ("  of them repeated ids", rows - total.landed),
        ],
        [
            *(
                f"not landed yet: {kind} {event_id} ({file} record {record})"
                for event_id, kind, file, record in missing[:SHOWN]
            ),
            *([f"... and {len(missing) - SHOWN:,} more; --json lists them"] if len(missing) > SHOWN else []),
            f"The same in Query Service: {sql}",
        ],
    )
    if total.landed < total.delivered or total.pending:
        return Answer(content, sheet, UNCONFIRMED)
    return Answer(content, sheet, INCOMPLETE if total.dead_lettered else DONE)


@main.group("local-platform")
def local_platform_group() -> None:
    """Run the embedded platform by itself."""


@local_platform_group.command()
@click.option(
    "--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)
@click.option("--store", type=click.Path(path_type=Path), default=DEFAULT_STATE / STORE, show_default=True)
@click.option("--faults", type=click.Path(path_type=Path), help="A JSON file of faults to answer with.")
def serve(port: int, store: Path, faults: Path | None) -> None:
    """Answer as Experience Platform does, on this machine alone, until stopped."""
    try:
        local_platform.serve(store, port, options=local_platform.Options(faults=faults))
    except local_platform.WrongFaults as error:
        _fail(str(error), UsageError.exit_code, as_json=False)
    except local_platform.CannotServe as error:
        _fail(str(error), 1, as_json=False)
