"""The same steps as commands: ``chatlio-kit``."""

from __future__ import annotations

from importlib import import_module

import click

_ROOMS = {
    "sample": "sampling.sample",
    "convert": "converting.convert",
    "connect": "connecting.connect",
    "doctor": "connecting.doctor",
    "disconnect": "connecting.disconnect",
    "backfill": "sending.backfill",
    "status": "sending.status",
    "replay": "sending.replay",
    "reconcile": "sending.reconcile",
    "forget": "forgetting.forget",
    "local-platform": "serving.local_platform_group",
}


class _Journey(click.Group):
    """Commands in the order of the journey, each loaded when it is named: to start is most of a short one."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's own form
        return list(_ROOMS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        module, _, name = _ROOMS.get(cmd_name, "").partition(".")
        return getattr(import_module(f"{__name__}.{module}"), name) if module else None


@click.group(cls=_Journey, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chatlio-kit")
def main() -> None:
    """Bring Chatlio's live-chat history into Experience Platform, and prove that it arrived."""
