"""The command that audits identities."""

from __future__ import annotations

import click

from chatlio_kit.analysis.identity_audit import audit_export
from chatlio_kit.cli.command import (
    IDENTITIES,
    PATHS,
    CaptureOptions,
    CommandResult,
    Context,
    capture_options,
    command,
)


@click.command()
@PATHS
@IDENTITIES
@capture_options
@command
def identities(
    context: Context, paths: tuple[str, ...], identities: tuple[str, ...], captures: CaptureOptions
) -> CommandResult:
    """Check whether identities would give events the right people, or merge strangers. Reads only captures.

    Exit code 1 means that the verdict is red.
    """
    audit = audit_export(captures.export(paths), identities or None, quiet=context.as_json)
    return CommandResult(audit.as_dict(), audit, audit.exit_code)
