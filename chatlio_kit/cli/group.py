"""The group of all commands."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from chatlio_kit.cli.streams import usable_streams
from chatlio_kit.errors import spoken_at_the_prompt

_COMMANDS = {
    "sample": ("sample.sample", "Write a realistic sample export to try everything out."),
    "slack": ("slack.slack_group", "Read the history from a Slack workspace export."),
    "convert": ("convert.convert", "Turn captured webhooks into validated tables."),
    "identities": ("identities.identities", "Check whether identities would give events the right people."),
    "metrics": ("metrics.metrics", "Measure tables: volume, waits, outcomes; by period and agent."),
    "connect": ("connection.connect", "Create the connection: schema, dataset, dataflows."),
    "doctor": ("connection.doctor", "Check whether a connection can be created; change nothing."),
    "disconnect": ("connection.disconnect", "Remove dataflows; schema and data stay."),
    "backfill": ("delivery.backfill", "Convert, stream, and read back what landed."),
    "status": ("delivery.status", "Show the ledger in numbers."),
    "replay": ("delivery.replay", "Send dead letters again after a fix."),
    "revert": ("revert.revert", "Take the batches of a bulk run back out of the dataset."),
    "reconcile": ("delivery.reconcile", "Compare the ledger with what the dataset holds now."),
    "explore": ("explore.explore", "Write a page for searching and reading conversations."),
    "trace": ("explore.trace", "Show what became of one event, conversation, visitor or record."),
    "forget": ("forget.forget", "Erase one person from everything that is stored here."),
    "notebooks": ("notebooks.notebooks", "Put the guided notebooks into a folder."),
    "tour": ("notebooks.tour", "Open the first guided notebook in JupyterLab."),
    "verify-sandbox": ("verify.verify_sandbox", "Compare a development sandbox with what is relied on."),
    "local-platform": ("local_platform.local_platform_group", "Run the local platform by itself."),
}
"""Each command's function and summary. The list of commands shows summaries without importing them."""


class _LazyGroup(click.Group):
    """Commands in the order of use, each imported when it is named, because imports dominate a short run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        module, _, name = _COMMANDS.get(cmd_name, ("", ""))[0].partition(".")
        return getattr(import_module(f"chatlio_kit.cli.{module}"), name) if module else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])

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
