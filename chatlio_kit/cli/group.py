"""The group of all commands."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from chatlio_kit.cli.streams import usable_streams
from chatlio_kit.errors import spoken_at_the_prompt

_GROUPS = {
    "Start here": {
        "tour": ("notebooks.tour", "Open the first guided notebook in JupyterLab."),
        "notebooks": ("notebooks.notebooks", "Put the guided notebooks into a folder."),
        "sample": ("sample.sample", "Write a realistic sample export to try everything out."),
    },
    "Read": {
        "convert": ("convert.convert", "Convert captured webhooks to validated tables."),
        "slack": ("slack.slack_group", "Propose how to read a Slack workspace export."),
        "explore": ("explore.explore", "Write a page for searching and reading conversations."),
        "metrics": ("metrics.metrics", "Measure tables: volume, waits, outcomes; by period and agent."),
    },
    "Connect and send": {
        "doctor": ("connection.doctor", "Check whether a connection can be created; change nothing."),
        "connect": ("connection.connect", "Create the connection: schema, dataset, dataflows."),
        "backfill": ("delivery.backfill", "Convert, send, and read the dataset back."),
        "reconcile": ("delivery.reconcile", "Compare the ledger with the dataset."),
        "status": ("delivery.status", "Show the ledger in numbers."),
        "replay": ("delivery.replay", "Send dead letters again after a fix."),
        "revert": ("revert.revert", "Remove the batches of a bulk run from the dataset."),
        "disconnect": ("connection.disconnect", "Remove dataflows; schema and data stay."),
    },
    "Look after": {
        "trace": ("explore.trace", "Show the status of one event, conversation, visitor or record."),
        "identities": (
            "identities.identities",
            "Check whether identities would give events the right people.",
        ),
        "forget": ("forget.forget", "Erase one person from local storage."),
    },
    "Rehearse and check": {
        "local-platform": ("local_platform.local_platform_group", "Run the local platform on its own."),
        "verify-sandbox": ("verify.verify_sandbox", "Compare a development sandbox with documented answers."),
    },
}
"""Each command's function and summary, by purpose. The list shows the summaries without importing them."""
_COMMANDS = {name: command for group in _GROUPS.values() for name, command in group.items()}


class _LazyGroup(click.Group):
    """Commands in the order of use, each imported on first use, because imports dominate short runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        module, _, name = _COMMANDS.get(cmd_name, ("", ""))[0].partition(".")
        return getattr(import_module(f"chatlio_kit.cli.{module}"), name) if module else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        width = max(len(name) for name in _COMMANDS)
        for title, commands in _GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), summary) for name, (_, summary) in commands.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["is_json"] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the named command; usage errors are reported in JSON too, if requested."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if ctx.meta["is_json"]:
                import_module("chatlio_kit.cli.command").answer_error(error.format_message())
            raise

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run a command on usable standard streams."""
        with usable_streams(), spoken_at_the_prompt():
            try:
                return super().main(*arguments, **options)
            except OSError as error:  # from click's own output: help, or a prompt
                click.echo(f"stdout cannot be written: {error.strerror or error}.", err=True)
                raise SystemExit(1) from None


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chatlio-kit")
def main() -> None:
    """Bring Chatlio's live-chat history into Experience Platform, and prove that it arrived."""
