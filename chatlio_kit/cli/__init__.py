"""The same steps as commands: ``chatlio-kit``."""

import click

from chatlio_kit.cli.connecting import connect, disconnect, doctor
from chatlio_kit.cli.converting import convert, sample
from chatlio_kit.cli.forgetting import forget
from chatlio_kit.cli.sending import backfill, reconcile, replay, status
from chatlio_kit.cli.serving import local_platform_group


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chatlio-kit")
def main() -> None:
    """Bring Chatlio's live-chat history into Experience Platform, and prove that it arrived."""


for _each in (sample, convert, connect, doctor, disconnect, backfill, status, replay, reconcile, forget):
    main.add_command(_each)
main.add_command(local_platform_group)
