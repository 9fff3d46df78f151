"""The group of all commands."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from chatlio_kit.cli.streams import usable_streams
from chatlio_kit.errors import spoken_at_the_prompt

_COMMANDS = {
    "sample": "sample.sample",
    "slack": "slack.slack_group",
    "convert": "convert.convert",
    "connect": "connection.connect",
    "doctor": "connection.doctor",
    "disconnect": "connection.disconnect",
    "backfill": "delivery.backfill",
    "status": "delivery.status",
    "replay": "delivery.replay",
    "reconcile": "delivery.reconcile",
    "forget": "forget.forget",
    "local-platform": "local_platform.local_platform_group",
}


class _LazyGroup(click.Group):
    """Commands in the order of use, each imported when it is named: imports dominate a short run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        module, _, name = _COMMANDS.get(cmd_name, "").partition(".")
        return getattr(import_module(f"chatlio_kit.cli.{module}"), name) if module else None

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run a command on usable standard streams."""
        with usable_streams(), spoken_at_the_prompt():
            try:
                return super().main(*arguments, **options)
            except OSError as error:  # from click's own output: help, or a question
                click.echo(f"stdout cannot be written: {error.strerror or error}.", err=True)
                raise SystemExit(1) from None


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chatlio-kit")
def main() -> None:
    """Bring Chatlio's live-chat history into Experience Platform, and prove that it arrived."""
