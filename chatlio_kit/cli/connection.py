"""The commands that check, create and remove the connection."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chatlio_kit.cli.command import (
    IDENTITIES,
    KINDS,
    NAME,
    PRODUCTION,
    CaptureOptions,
    CommandResult,
    Context,
    capture_options,
    command,
)
from chatlio_kit.connection import check_platform, list_removals, plan_connection, require_leave
from chatlio_kit.connection import disconnect as run_disconnect
from chatlio_kit.connection.expiry import profile_expiry
from chatlio_kit.connection.labels import write_labels
from chatlio_kit.connection.preflight import unopened
from chatlio_kit.connection.turns import UI_STEPS
from chatlio_kit.display import visible
from chatlio_kit.errors import SettingsError, Unreachable, UsageError

if TYPE_CHECKING:
    from chatlio_kit.analysis.identity_audit import IdentityAudit


@click.command()
@click.argument("paths", nargs=-1, metavar="[CAPTURES]...")
@NAME
@click.option(
    "--webhook", "webhooks", multiple=True, type=KINDS, help="Connect only these webhooks; all by default."
)
@click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")
@click.option(
    "--write-urls",
    type=click.Path(path_type=Path),
    help="Write the webhook URLs to this file; they are secrets.",
)
@IDENTITIES
@click.option(
    "--profile",
    is_flag=True,
    help="Feed Profile, which can never be undone: requires a new connection and an audit of CAPTURES.",
)
@click.option("--slim", is_flag=True, help="Leave out messages, so that events fit into Profile's 10 KB.")
@click.option("--despite-audit", is_flag=True, help="Feed Profile although the audit's verdict is red.")
@click.option("--confirm", metavar="NAME", help="The connection's name again, instead of a prompt.")
@click.option(
    "--turns",
    is_flag=True,
    help="Create only the objects for conversation turns in Customer Journey Analytics.",
)
@click.option("--labels", is_flag=True, help="Write data usage labels, if the registry accepts them.")
@capture_options
@PRODUCTION
@command
def connect(
    context: Context,
    paths: tuple[str, ...],
    name: str,
    webhooks: tuple[str, ...],
    dry_run: bool,
    write_urls: Path | None,
    identities: tuple[str, ...],
    profile: bool,
    slim: bool,
    despite_audit: bool,
    confirm: str | None,
    turns: bool,
    labels: bool,
    captures: CaptureOptions,
    production: bool,
) -> CommandResult:
    """Create the Chatlio connection: schema, dataset, mappings, dataflows, webhook URLs.

    With --identity, its events carry identities. CAPTURES are read only for the audit of identities; backfill
    sends them.
    """
    if turns and (paths or labels or write_urls is not None):
        raise UsageError("With --turns there are no webhooks, labels or audit. Leave out their options.")
    if not profile and (despite_audit or confirm is not None):
        raise UsageError("--despite-audit and --confirm require --profile. Add it, or leave them out.")
    audit = _audit(context, captures, paths, identities) if paths else None
    plan = plan_connection(
        context.open(),
        name,
        webhooks or None,
        identities=list(identities),
        profile=profile,
        slim=slim,
        turns=turns,
    )
    ui_steps = {"ui_steps": list(UI_STEPS)} if turns else {}
    if dry_run:
        content = {**plan.as_dict(), **ui_steps, **({"audit": audit.as_dict()} if audit else {})}
        unchanged = "Nothing was changed. Without --dry-run, connect makes these changes."
        return CommandResult(content, _text(audit, plan, unchanged if plan.changes else None))
    if plan.enables_profile and confirm is None and not context.as_json:
        plan.require_audit(audit, despite_audit=despite_audit)
        require_leave(plan.platform, production)  # before the prompt, whose answer could not matter
        click.echo(visible(_text(audit, plan), keep="\n"), err=True)
        confirm = click.prompt("Feeding Profile can never be undone. The connection's name", err=True)
    connection = plan.apply(production=production, audit=audit, despite_audit=despite_audit, confirm=confirm)
    notes = [write_labels(connection)] if labels else []
    expiry = profile_expiry(connection)
    if expiry is not None and audit is not None:
        notes.append(expiry.sentence(audit.share_older_than(expiry.span, plan.platform.now())))
    next_step = None if turns else "Next: run this again with --write-urls FILE to get the URLs for Chatlio."
    if write_urls is not None:
        connection.write_webhook_urls(write_urls)
        next_step = (
            f"Next: paste each URL of {write_urls} into Chatlio (widget settings, tab Behavior). Keep the "
            "file private, because anybody with a URL can write to the dataset."
        )
    content = {
        **plan.as_dict(made=connection),
        "changes": plan.changes,
        "destination": str(connection.destination),
        "connection": connection.as_dict(),
        **ui_steps,
        **({"audit": audit.as_dict()} if audit else {}),
        **({"profile_expiry": expiry.text if expiry else None} if connection.people.profile else {}),
        **({"notes": notes} if notes else {}),
    }
    return CommandResult(content, _text(audit, plan, connection, *notes, next_step))


def _audit(
    context: Context, captures: CaptureOptions, paths: tuple[str, ...], identities: tuple[str, ...]
) -> IdentityAudit:
    if not identities:
        raise UsageError("CAPTURES are read to audit identities, but no identity is named. Add --identity.")
    audits = import_module(
        "chatlio_kit.analysis.identity_audit"
    )  # imported here because it takes a second to load
    audit: IdentityAudit = audits.audit_export(captures.export(paths), identities, quiet=context.as_json)
    return audit


def _text(*parts: object) -> str:
    return "\n\n".join(str(part) for part in parts if part is not None)


@click.command()
@NAME
@command
def doctor(context: Context, name: str) -> CommandResult:
    """Check, without changing anything, whether a connection can be created and would work."""
    try:
        platform = context.open()
    except (SettingsError, Unreachable) as error:
        result = unopened(error, name)
    else:
        result = check_platform(platform, name)
    return CommandResult(result.as_dict(), result, result.exit_code)


@click.command()
@NAME
@click.option("--yes", is_flag=True, help="Remove without confirmation.")
@PRODUCTION
@command
def disconnect(context: Context, name: str, yes: bool, production: bool) -> CommandResult:
    """Remove our dataflows, connections and mapping sets; schema and data stay."""
    platform = context.open()
    if not yes:
        removals = list_removals(platform, name)
        require_leave(platform, production)  # before the prompt, whose answer could not matter
        click.echo(str(removals), err=True)
        if context.as_json or not click.confirm("Remove these?", err=True):
            raise UsageError("Nothing was removed. Use --yes to remove without confirmation.")
    removal = run_disconnect(platform, name, production=production)
    return CommandResult(removal.as_dict(), removal)
