"""The command about one person."""

from __future__ import annotations

import click

from chatlio_kit.cli.command import KIND, UNDATED_AS, Answer, Context, command
from chatlio_kit.cli.reading import ENCODING, EXCLUDE
from chatlio_kit.errors import UsageError
from chatlio_kit.forgetting import forget as run_forget
from chatlio_kit.tables import Settling


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@click.option("--visitor-id", help="Whom to forget: the visitor, as Chatlio numbers browsers.")
@click.option("--email", help="Whom to forget: everybody with this address.")
@KIND
@UNDATED_AS
@EXCLUDE
@ENCODING
@click.option("--yes", is_flag=True, help="Take out without asking.")
@command
def forget(
    context: Context,
    paths: tuple[str, ...],
    visitor_id: str | None,
    email: str | None,
    kind: str | None,
    undated_as: str | None,
    exclude: tuple[str, ...],
    encoding: str | None,
    yes: bool,
) -> Answer:
    """Take one person out of the state folder: ledger, dead letters, rejects, reports, local platform.

    Name the captures that were sent, and the ledger's rows of the person are found through them; the captures
    themselves are left as they are, with a list of what to take out of them.
    """
    settling = Settling.from_options(kind, undated_as)
    if not yes and (visitor_id or email):
        click.echo(f"What {str(context.state)!r} keeps of this person will be gone for good.", err=True)
        if context.as_json or not click.confirm("Take it out?", err=True):
            raise UsageError("Nothing was taken out. Say --yes to take out without being asked.")
    found = run_forget(
        context.state,
        visitor_id=visitor_id,
        email=email,
        paths=paths,
        settling=settling,
        exclude=exclude,
        encoding=encoding,
    )
    return Answer(found.as_dict(), found)
