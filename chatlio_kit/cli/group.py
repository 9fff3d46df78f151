"""The commands in the order of the journey."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from chatlio_kit.cli.streams import usable_streams
from chatlio_kit.errors import spoken_at_the_prompt

_ROOMS = {
    "sample": "sample.sample",
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


class _Journey(click.Group):
    """Commands in the order of the journey, each loaded when it is named: to start is most of a short one."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's own form
        return list(_ROOMS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        module, _, name = _ROOMS.get(cmd_name, "").partition(".")
        return getattr(import_module(f"chatlio_kit.cli.{module}"), name) if module else None

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run a command on the streams that there are."""
        with usable_streams(), spoken_at_the_prompt():
            try:
                return super().main(*arguments, **options)
            except OSError as error:  # of click's own writing: of help, or of a question
                click.echo(f"stdout cannot be written: {error.strerror or error}.", err=True)
                raise SystemExit(1) from None


@click.group(cls=_Journey, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chatlio-kit")
def main() -> None:
    """Bring Chatlio's live-chat history into Experience Platform, and prove that it arrived."""
