"""Send conversation turns for Customer Journey Analytics: one row per message and per feedback event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

from chatlio_kit.aep import Platform
from chatlio_kit.arguments import checked
from chatlio_kit.chatlio.catalogue import Privacy
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.chatlio.redaction import Way
from chatlio_kit.connection import a_platform, open_connection, plan_connection, require_leave
from chatlio_kit.connection.resources.names import FEEDBACK, TURNS
from chatlio_kit.connection.turns import UI_STEPS
from chatlio_kit.counting import counted
from chatlio_kit.delivery import Page, Run
from chatlio_kit.delivery.requests.sending import PATIENCE
from chatlio_kit.delivery.run import wait_seconds
from chatlio_kit.delivery.run_options import RunOptions, record_options
from chatlio_kit.delivery.turns import TurnBuilder, TurnCounts, TurnRow, rows_to_send
from chatlio_kit.display import Sheet
from chatlio_kit.display.sheet import SheetDisplay
from chatlio_kit.errors import DONE, FAILED, INCOMPLETE, UNCONFIRMED, UsageError, option
from chatlio_kit.jobs.backfill import REPORTS, export_of
from chatlio_kit.tables import REJECTED, REPORT, Export, RecordCounts, RejectedFile, make_folder, write_json
from chatlio_kit.tables.arrow import release_memory, system_allocator
from chatlio_kit.tables.policy import FieldPolicy

_WORST_FIRST = (FAILED, UNCONFIRMED, INCOMPLETE)
_ROWS_AT_ONCE = 5_000


@dataclass(repr=False)
class TurnsPage(SheetDisplay):
    """The outcome of every message and feedback event.

    Attributes:
        records: The records read, by outcome.
        messages: The messages of their transcripts.
        feedbacks: Their feedback events.
        turns: The delivery of the rows of messages.
        feedback: The delivery of the rows of feedback.
        notes: Further sentences.
    """

    records: RecordCounts
    messages: TurnCounts
    feedbacks: TurnCounts
    turns: Page
    feedback: Page
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 all landed; 3 some rejected, dead-lettered or gone; 4 not all landed yet; 1 stopped early."""
        codes = {self.turns.exit_code, self.feedback.exit_code, INCOMPLETE if self.records.rejected else DONE}
        return next((code for code in _WORST_FIRST if code in codes), DONE)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields of ``backfill --turns --json``."""
        records = self.records.as_dict()
        return {
            "records": {key: records[key] for key in ("read", "accepted", "rejected", "duplicates")}
            | {key: records[key] for key in ("by_kind", "rejected_by_reason")},
            "messages": self.messages.as_dict(),
            "feedback_events": self.feedbacks.as_dict(),
            "turns": self.turns.as_dict(),
            "feedback": self.feedback.as_dict(),
            "ui_steps": list(UI_STEPS),
        }

    def sheet(self) -> Sheet:
        """Return the page as a table with a column for turns and one for feedback, and sentences."""
        both, counts = (self.turns, self.feedback), (self.messages, self.feedbacks)
        reasons = Counter[str]() + self.messages.left_out + self.feedbacks.left_out
        rows: list[tuple[str, int, int]] = [
            ("read", *_pair(one.read for one in counts)),
            ("rows", *_pair(one.rows for one in counts)),
            ("  without identity", *_pair(one.without_identity for one in counts)),
            ("repeated", *_pair(one.repeated for one in counts)),
            ("left out", *_pair(one.left_out.total() for one in counts)),
            *((f"  {reason}", *_pair(one.left_out[reason] for one in counts)) for reason in reasons),
            ("delivered", *_pair(page.run.delivered for page in both)),
            ("dead-lettered", *_pair(page.run.dead_lettered for page in both)),
            ("pending", *_pair(page.run.pending for page in both)),
            ("landed", *_pair(page.run.landed for page in both)),
            ("landed, all runs", *_pair(page.total.landed for page in both)),
        ]
        title = f"Conversation turns to {self.turns.destination} and {self.feedback.destination}"
        return Sheet(title, ("", "messages", "feedback"), rows, [*self._sentences(), *self.notes, *UI_STEPS])

    def _sentences(self) -> Iterator[str]:
        records = self.records
        yield (
            f"records read {records.read:,} = accepted {records.accepted:,} + rejected "
            f"{records.rejected:,} + duplicates {records.duplicates:,}"
        )
        yield self.messages.sentence("messages")
        yield self.feedbacks.sentence("feedback")
        for reason, count in records.rejected_by_reason.items():
            yield f"rejected, {reason}: {count:,}"
        for page in (self.turns, self.feedback):
            # a page's first two notes are its equations, which are above, in messages
            yield from (f"{page.destination}: {note}" for note in page.sheet().notes[2:])
        if nameless := self.messages.without_identity + self.feedbacks.without_identity:
            yield (
                f"{counted(nameless, 'row carries', 'rows carry')} no identity, because no event names the "
                "visitor of their conversation. The lake keeps such rows, Customer Journey Analytics skips "
                "them."
            )


@checked(platform=a_platform)
def backfill_turns(
    captures: Export | Path | str | Sequence[Path | str],
    platform: Platform,
    *,
    name: str = "chatlio",
    connect: bool = False,
    skip_guard: bool = False,
    production: bool = False,
    canary: bool = True,
    pace: float | None = None,
    patience: float = PATIENCE,
    wait: float | None = None,
    quiet: bool = False,
) -> TurnsPage:
    """Convert captures to conversation turns, send them, and read back the dataset.

    The captures are read twice, because the visitor of a conversation may be in any file. Another call sends
    only new rows, such as further messages of a longer transcript. Events are not sent.

    Args:
        captures: An export from :func:`read_export`, or files and folders that need no options.
        platform: The platform to send to.
        name: The connection's name; ``plan_connection(..., turns=True)`` creates its part for turns.
        connect: If true, create a missing part; on the local platform this is always done.
        skip_guard: As for :func:`backfill`, like the following arguments.
        production: True if a production sandbox may be written to.
        canary: True if, on Experience Platform, first records are read back before the rest follows.
        pace: Rows a second.
        patience: Seconds without a verdict after which sending ends.
        wait: Seconds to wait for rows.
        quiet: If true, show no progress.

    Raises:
        UsageError: The messages are redacted, so nothing is left to analyse.
        MissingPath: A path does not exist.
        CaptureError: There are no files.
        ClusterError: The cluster of the export cannot be used.
        ProductionSandbox: The sandbox is of the type production, or of a type that cannot be read.
        ConnectionIncomplete: There is no connection for turns, or a field group of Adobe's is missing.
        LedgerBusy: Another run is sending from the same state folder.
    """
    export = export_of(captures)
    if export.policy.redaction.way_of(Privacy.CONTENT) is not Way.KEEP:
        raise UsageError(
            "Redacted messages leave nothing to analyse. Send turns with content=keep in "
            f"{option('redact', '...')}, or do not send them."
        )
    export.check_cluster()
    if connect or platform.settings.is_local:
        plan = plan_connection(platform, name, turns=True, quiet=quiet)
        plan.apply(production=production, quiet=quiet)
    require_leave(platform, production)
    connections = [open_connection(platform, f"{name}/{part}", quiet=quiet) for part in (TURNS, FEEDBACK)]
    builder = TurnBuilder(connections[0].people.identities)
    first_pass = export_of(captures)
    first_pass.slack = None  # a Slack export names no visitors and holds no feedback
    for batch in first_pass.batches():
        builder.learn(batch.events)
        release_memory()
    state, records, policy = platform.settings.state, RecordCounts(), export.policy
    export.policy = FieldPolicy(contract=policy.contract)  # ids derive from unredacted values
    terms: dict[str, Any] = {
        "skip_guard": skip_guard,
        "canary": canary,
        "pace": pace,
        "patience": patience,
        "production": production,
        "quiet": quiet,
    }

    def messages(rejected: RejectedFile) -> Iterator[list[TurnRow]]:
        for batch in export.batches():
            records.add_batch(batch)
            redacted = policy.redact(batch, Counter())
            rejected.add(redacted.rejected)
            yield builder.turns(batch, redacted)
            release_memory()

    with Run(connections[0], state, **terms) as run:
        report = state / REPORTS / f"{str(connections[0].destination).replace('/', '-')}-{run.number:04d}"
        make_folder(report)
        record_options(run.destination_ledger, run.number, RunOptions.of(policy.redaction, export.options))
        with RejectedFile(report / REJECTED) as rejected, system_allocator():
            _send(run, Kind.TRANSCRIPT, messages(rejected), builder.messages)
        turns = _finished(run, wait)
    with Run(connections[1], state, **terms) as run:
        rows = list(builder.feedback())
        chunks = (rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE))
        _send(run, Kind.FEEDBACK, chunks, builder.feedbacks)
        feedback = _finished(run, wait)
        page = TurnsPage(records, builder.messages, builder.feedbacks, turns, feedback)
        page.notes += [*export.notes(), f"rejects and report: {report}"]
        write_json(report / REPORT, page.as_dict())
    return page


def _send(run: Run, kind: Kind, chunks: Iterable[list[TurnRow]], counts: TurnCounts) -> None:
    """Send new rows, and count all rows."""
    seen: set[bytes] = set()
    for chunk in chunks:
        settled = run.destination_ledger.settled([row.id for row in chunk])
        new = []
        for row in chunk:
            key = bytes.fromhex(row.id)
            if row.id not in settled and key not in seen:
                new.append(row)
            seen.add(key)
        counts.rows += len(new)
        counts.repeated += len(chunk) - len(new)
        counts.without_identity += sum(not row.has_identity for row in new)
        run.counts.add(repeat(str(kind), len(new)), (), len(chunk) - len(new))
        if new:
            run.send_rows(*rows_to_send(kind, new))


def _finished(run: Run, wait: float | None) -> Page:
    run.finish()
    return run.reconcile(wait=wait_seconds(run.connection, wait), again=False)


def _pair(numbers: Iterable[int]) -> tuple[int, int]:
    """Return the number of messages and that of feedback."""
    messages, feedback = numbers
    return messages, feedback
