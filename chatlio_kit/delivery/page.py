"""The summary of a run: every count, and proof that they add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chatlio_kit.counting import counted
from chatlio_kit.delivery.ledger.models import FateCounts, Readback
from chatlio_kit.delivery.people import EXPIRED, IDENTIFIED, LAKE_ONLY, NO_IDENTITY, TOO_LARGE
from chatlio_kit.delivery.reconcile import Reconciliation, explain, explain_gone, is_amiss
from chatlio_kit.display import Document, Part, Sheet, SheetDisplay, Tile
from chatlio_kit.errors import DONE, FAILED, INCOMPLETE, UNCONFIRMED
from chatlio_kit.slack import SlackCounts
from chatlio_kit.tables import FieldFindings, RecordCounts
from chatlio_kit.tables.next_steps import NextStep
from chatlio_kit.tables.report import further_parts, record_parts, record_tiles

_NOT_IN_PROFILE = {
    NO_IDENTITY: "without an identity",
    TOO_LARGE: "too large for Profile",
    EXPIRED: "older than Profile keeps",
}


@dataclass(repr=False)
class Page(SheetDisplay):
    """The result of a run, and the totals of its destination.

    ``read = accepted + rejected + duplicates`` and ``accepted = delivered + dead_lettered + pending``.

    Attributes:
        destination: The destination, e.g. ``local/prod/chatlio``.
        counts: Records read in this run, by outcome.
        run: Events accepted in this run, by their fate.
        total: All events ever sent to this destination, by their fate.
        dead_by_reason: This run's dead letters.
        via: The route, ``stream`` or ``batch``.
        run_number: The number of this run at its destination.
        requests: Requests posted, or batches created, in this run, including ``retries``.
        seconds: Duration of the run.
        gone_by_reason: Events of this run that landed and are no longer in the dataset.
        total_gone_by_reason: The same for all runs.
        readback: The read that found the landed events.
        arrived: The reconciliation; None before a read.
        unanswered: Records of requests whose answer was lost or incomplete; the lake may hold them twice.
        throttled: Number of answers 429 or 503; sending slowed down after each.
        heavy: Records over 10 KB, which the lake keeps and Profile drops.
        stopped_by: The reason if sending ended early.
        notes: Further sentences.
        people: Delivered events of this run by their use for identities; empty without identities.
        slack: Counts of a Slack export's messages and conversations, if one was read.
    """

    destination: str
    counts: RecordCounts = field(default_factory=RecordCounts)
    run: FateCounts = field(default_factory=FateCounts)
    total: FateCounts = field(default_factory=FateCounts)
    dead_by_reason: dict[str, int] = field(default_factory=dict)
    via: str = "stream"
    run_number: int = 0
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0
    gone_by_reason: dict[str, int] = field(default_factory=dict)
    total_gone_by_reason: dict[str, int] = field(default_factory=dict)
    readback: Readback = field(default_factory=Readback)
    arrived: Reconciliation | None = None
    unanswered: int = 0
    throttled: int = 0
    heavy: int = 0
    stopped_by: str | None = None
    notes: list[str] = field(default_factory=list)
    people: dict[str, int] = field(default_factory=dict)
    slack: SlackCounts | None = None

    @property
    def exit_code(self) -> int:
        """0 all landed; 3 some rejected, dead-lettered or gone; 4 not all landed yet; 1 stopped early.

        It concerns this run, as the counts do.
        """
        if self.stopped_by is not None or self.run.pending:
            return FAILED
        if self.run.under_way:
            return UNCONFIRMED
        amiss = self.counts.rejected or self.run.dead_lettered or is_amiss(self.gone_by_reason)
        return INCOMPLETE if amiss else DONE

    def as_dict(self) -> dict[str, Any]:
        """Return the fields of ``backfill --json``."""
        records = self.counts.as_dict()
        return {
            "destination": self.destination,
            **{key: records[key] for key in ("read", "accepted", "rejected", "duplicates")},
            **self.run.as_dict(),
            "by_kind": records["by_kind"],
            "rejected_by_reason": records["rejected_by_reason"],
            "dead_by_reason": self.dead_by_reason,
            "requests": self.requests,
            "retries": self.retries,
            "seconds": round(self.seconds, 3),
            "total": self.total.as_dict(),
            "via": self.via,
            "run": self.run_number,
            "gone": self.run.gone,
            "gone_by_reason": self.gone_by_reason,
            "total_gone_by_reason": self.total_gone_by_reason,
            **self.readback.as_dict(),
            **({"people": self.people} if self.people else {}),
            **({"slack": self.slack.as_dict()} if self.slack is not None else {}),
        }

    def sheet(self) -> Sheet:
        """Return the page as a table with sentences."""
        records = self.counts.as_dict()
        rows: list[tuple[str, int | None, int | None]] = [
            ("read", self.counts.read, None),
            ("accepted", self.counts.accepted, None),
            *((f"  {kind}", count, None) for kind, count in records["by_kind"].items()),
            ("rejected", self.counts.rejected, None),
            *((f"  {reason}", count, None) for reason, count in records["rejected_by_reason"].items()),
            ("duplicates", self.counts.duplicates, None),
            ("delivered", self.run.delivered, self.total.delivered),
            *((f"  {name}", count, None) for name, count in self.people.items()),
            ("dead-lettered", self.run.dead_lettered, self.total.dead_lettered),
            *((f"  {reason}", count, None) for reason, count in self.dead_by_reason.items()),
            ("pending", self.run.pending, self.total.pending),
            ("landed", self.run.landed, self.total.landed),
        ]
        if self.total.gone:
            rows.append(("gone", self.run.gone, self.total.gone))
            reasons = self.total_gone_by_reason.items()
            rows += [(f"  {reason}", self.gone_by_reason.get(reason, 0), count) for reason, count in reasons]
        return Sheet(f"To {self.destination}", ("", "this run", "total"), rows, self._sentences())

    def document(self, findings: FieldFindings, next_steps: Sequence[NextStep] = ()) -> Document:
        """Return the page as a self-contained report.

        Args:
            findings: Other findings in the records.
            next_steps: Options that resolve the rejected records.
        """
        sheet, run = self.sheet(), self.run
        tiles = [
            *record_tiles(self.counts),
            Tile("delivered", run.delivered),
            Tile("dead letters", run.dead_lettered, is_trouble=run.dead_lettered > 0),
            Tile("pending", run.pending, is_trouble=run.pending > 0),
            Tile("landed", run.landed, is_trouble=run.landed < run.delivered),
        ]
        return Document(
            f"Backfill to {self.destination}",
            f"{'Batches' if self.via == 'batch' else 'Requests'}: {self.requests:,}, of which "
            f"{self.retries:,} repeated; {self.seconds:,.1f} s.",
            tiles,
            [
                Part("Outcome of the records", sheet=Sheet("", sheet.headings, sheet.rows, sheet.notes)),
                *record_parts(self.counts, findings),
                *further_parts(self.counts, (), next_steps),
            ],
        )

    def _sentences(self) -> list[str]:
        counts, run = self.counts, self.run
        sentences = [
            f"read {counts.read:,} = accepted {counts.accepted:,} + rejected {counts.rejected:,}"
            f" + duplicates {counts.duplicates:,}",
            f"accepted {counts.accepted:,} = delivered {run.delivered:,}"
            f" + dead-lettered {run.dead_lettered:,} + pending {run.pending:,}",
        ]
        if self.arrived is not None:
            sentences.append(_received(self.arrived))
        if self.unanswered:
            sentences.append(
                f"{counted(self.unanswered, 'record was', 'records were')} sent again with the same ids, "
                "because an answer was lost or incomplete. The lake may hold duplicates."
            )
        if self.throttled:
            times = "once" if self.throttled == 1 else f"{self.throttled:,} times"
            sentences.append(f"The platform throttled requests {times}; sending slowed down.")
        if self.heavy and not self.people:  # else the lines about people count them, in the bytes of XDM
            sentences.append(
                f"Over 10 KB: {counted(self.heavy, 'record')}, kept in the lake but dropped by Profile."
            )
        lake_only = {name: self.people[name] for name in LAKE_ONLY if self.people.get(name)}
        if lake_only:
            reasons = ", ".join(f"{count:,} {_NOT_IN_PROFILE[name]}" for name, count in lake_only.items())
            sentences.append(
                f"In the lake but not in Profile: {reasons}."
                if IDENTIFIED not in self.people
                else f"A record delete cannot find {reasons}."
            )
        if self.arrived is not None:
            sentences += [*self.readback.sentences(), *explain(self.arrived)]
        else:
            if self.total.landed or self.total.gone:
                sentences += self.readback.sentences()
            if self.total_gone_by_reason:
                sentences += explain_gone(self.total_gone_by_reason)
            if run.under_way:
                sentences.append(
                    f"{counted(run.under_way, 'delivered event has', 'delivered events have')} not been "
                    "read back yet. Run reconcile to read the dataset."
                )
        if self.stopped_by is not None:
            sentences.append(f"Sending stopped early: {self.stopped_by}. Run it again to continue.")
            if run.pending:
                sentences.append(f"Pending until the next run: {counted(run.pending, 'event')}.")
        elif run.pending:
            sentences.append(
                f"{counted(run.pending, 'event has', 'events have')} no verdict yet. Run the backfill or "
                "stream again."
            )
        return [*sentences, *self.notes]


def _received(arrived: Reconciliation) -> str:
    """Report what the platform counts; a run opens only the dataflows of the kinds that it sends."""
    rows = f"The dataset holds {counted(arrived.lake_rows, 'row')} of these events."
    if not arrived.runs:
        return rows
    received = ", ".join(f"{count:,} {name}" for name, count in arrived.received().items())
    others = any(counts.delivered for kind, counts in arrived.by_kind.items() if kind not in arrived.runs)
    kinds = f" of {', '.join(arrived.runs)}" if others else ""
    return f"The history dataflows{kinds} report {received}. {rows}"
