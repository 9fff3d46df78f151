"""Random histories of the delivery, and a judge who reads the platform's store instead of the ledger.

Each history ends with healing: faults stop, hidden files come back, interrupted calls of ``forget`` are
finished, and the client does what its pages advise until all is well. Then the outcome is checked as a set
over all events that were ever given to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

from history_world import INSTANTS, VERSIONS, VISITORS, Killed, Kind, World, pool, world
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import chatlio_kit as ck
from chatlio_kit.delivery import Page, replay, stream
from chatlio_kit.delivery.run import Run
from chatlio_kit.errors import ChatlioKitError, LedgerBusy, UsageError
from chatlio_kit.jobs.backfill import backfill

EVENTS = 9
SLOW = 0.2
"""Seconds in which a slow platform collects messages."""
HAS_BULK = find_spec("chatlio_kit.delivery.bulk") is not None
"""True if the bulk route exists; two rules depend on it."""
ROUNDS = 6
"""Maximum number of times that the client may follow its own advice until all is well."""
MOST_COMMITS = 17
"""Commits of a call that sends or loads and reads back, so that a kill can hit every one."""
FAULTS: dict[str, dict[str, Any]] = {
    "the connection breaks before": {"fault": "reset_before", "count": 1},
    "the answer is lost": {"fault": "reset_after", "count": 2},
    "the answer is cut": {"fault": "cut", "count": 1},
    "the answer is a web page": {"fault": "not_json", "count": 1},
    "the answer is short": {"fault": "short", "count": 2},
    "the answer is long": {"fault": "long", "count": 1},
    "refused": {"fault": "status", "status": 400, "count": 3},
    "busy": {"fault": "status", "status": 503, "count": 2},
    "some are refused": {"fault": "partial", "status": 400, "share": 0.5, "count": 3},
    "some are busy": {"fault": "partial", "status": 503, "share": 0.5, "count": 2},
    "some are dropped": {"fault": "dropped", "share": 0.5, "count": 2},
}
deaths = st.none() | st.tuples(st.sampled_from(INSTANTS), st.integers(0, 6) | st.integers(7, MOST_COMMITS))
masks = st.sampled_from([2**EVENTS - 1, 2**3 - 1]) | st.integers(1, 2**EVENTS - 1)
TALLY: Counter[str] = Counter()
"""The totals of all histories in this process."""


class Histories(RuleBasedStateMachine):
    """One history of a delivery."""

    def __init__(self) -> None:
        super().__init__()
        self._opened = ExitStack()
        self.world: World = self._opened.enter_context(world())
        self.ids = pool()[0].ids
        self.wanted: dict[str, int] = {}
        self.forgetting: set[int] = set()
        self.loaded_first: set[str] = set()
        self.has_sent = self.has_loaded = self.is_hiding = self.was_refused = False
        TALLY["histories"] += 1

    # The user's actions.

    @initialize(mask=masks)
    def begin(self, mask: int) -> None:
        """There are captures."""
        self.convert(mask)

    @rule(mask=masks)
    def convert(self, mask: int) -> None:
        """More captures are converted."""
        for place, name in enumerate(self.ids):
            if mask >> place & 1:
                self.wanted.setdefault(name, 0)

    @rule(place=st.integers(0, VISITORS - 1), version=st.integers(1, VERSIONS - 1))
    def edit(self, place: int, version: int) -> None:
        """The text of a conversation's start is edited; its id does not depend on it."""
        name = [name for name in self.ids if self.world.pool.kind_of[name] is Kind.CONVERSATION_STARTED][
            place
        ]
        if name in self.wanted:
            self.wanted[name] = version

    @rule(death=deaths, stop_after=st.none() | st.just(1))
    def stream(self, death: tuple[str, int] | None = None, stop_after: int | None = None) -> None:
        """Frames are sent."""
        self.has_sent = True
        self.world.sendable = self.wanted
        page = self._do("stream", lambda: self._stream(stop_after).page, death)
        self.world.sendable = None
        if page is not None:
            self._check_page(page, read=len(self.wanted))

    def _stream(self, stop_after: int | None = None) -> Run:
        frames = self.world.frames(self.wanted)
        return stream(frames, self.world.connection, skip_guard=True, quiet=True, stop_after=stop_after)

    @precondition(lambda self: self.wanted)
    @rule(death=deaths)
    def backfill(self, death: tuple[str, int] | None = None) -> None:
        """Captures are converted, sent and reconciled by one command."""
        self.has_sent = True
        path = self.world.write_captures(self.wanted)
        platform = self.world.platform
        assert platform is not None
        self.world.sendable = self.wanted
        page = self._do(
            "backfill", lambda: backfill([path], platform, skip_guard=True, wait=0, quiet=True), death
        )
        self.world.sendable = None
        if page is not None:
            self._check_page(page, read=len(self.wanted))

    @precondition(lambda self: HAS_BULK and self.wanted)
    @rule(death=deaths)
    def load(self, death: tuple[str, int] | None = None) -> None:
        """Captures are loaded in batches instead of streamed."""
        self.has_sent = self.has_loaded = True
        path, platform = self.world.write_captures(self.wanted), self.world.platform
        assert platform is not None
        route: dict[str, Any] = {"via": "batch"}
        page = self._do("load", lambda: backfill([path], platform, wait=0, quiet=True, **route), death)
        if page is not None:
            self._check_page(page, read=len(self.wanted))

    @precondition(lambda self: self.has_loaded)
    @rule(death=deaths, run=st.integers(1, 4))
    def revert_run(self, death: tuple[str, int] | None = None, run: int = 1) -> None:
        """A bulk run is reverted; a run without batches is refused."""
        self.unhide()
        self.world.settle()
        self.world.landed |= self.world.rows().keys()
        revert: Any = getattr(ck, "revert", None)
        self._do(
            "revert", lambda: revert(self.world.connection, run, wait=5, quiet=True), death, may_refuse=True
        )

    @precondition(lambda self: self.has_sent)
    @rule(death=deaths)
    def replay(self, death: tuple[str, int] | None = None) -> None:
        """Dead letters are sent again."""
        self._absent()
        page = self._do("replay", lambda: self._replay(gone=False), death)
        if page is not None:
            self._check_page(page)

    @precondition(lambda self: self.has_sent)
    @rule(death=deaths)
    def replay_gone(self, death: tuple[str, int] | None = None) -> None:
        """Gone events are requeued."""
        self._replay_gone(death)

    def _replay_gone(self, death: tuple[str, int] | None = None) -> None:
        self.world.settle()
        self._absent()
        page = self._do("replay --gone", lambda: self._replay(gone=True), death)
        if page is not None:
            self._check_page(page)

    def _replay(self, *, gone: bool) -> Page:
        return replay(self.world.connection, gone=gone, skip_guard=True, wait=0, quiet=True)

    @precondition(lambda self: self.has_sent)
    @rule(death=deaths, settled=st.booleans())
    def reconcile(self, death: tuple[str, int] | None = None, settled: bool = True) -> None:
        """The dataset is read back."""
        if settled:
            self.world.settle()
        self.world.settle_reverts()
        before, kills = self.world.rows(), self.world.kills.total()
        page = self._do("reconcile", self._reconcile, death)
        if page is not None and page.arrived is None:
            assert self.world.kills.total() > kills, "the dataset was not read, and nobody was killed"
        elif page is not None:
            self._check_landed(page, before)

    def _reconcile(self) -> Page:
        with Run(self.world.connection, self.world.state, skip_guard=True, quiet=True) as run:
            run.finish()
            return run.reconcile(wait=0)

    @precondition(lambda self: self.has_sent)
    @rule(visitor=st.integers(0, VISITORS - 1), death=deaths)
    def forget(self, visitor: int, death: tuple[str, int] | None = None) -> None:
        """One person is forgotten, while the platform is down."""
        world = self.world
        world.settle()
        self.unhide()
        known = set(world.ledger())
        person = f"0000000{visitor}-9a34-4e2f-6c18-b2f09d41a7e3"
        captures = [world.write_captures(self.wanted)] if self.wanted else []
        if not known and not captures:
            return
        world.platform_thread.stop()
        done = self._do(
            "forget",
            lambda: ck.forget(captures, visitor_id=person, state=world.state),
            death,
            restart=True,
            may_refuse=self.has_loaded,  # files of an interrupted load wait for their verdict
        )
        if done is None:
            self.forgetting.add(visitor)
            return
        self.forgetting.discard(visitor)
        theirs = {name for name, whose in world.pool.visitor_of.items() if whose == person}
        if not any(
            world.pool.kind_of[name] is Kind.CONVERSATION_STARTED for name in theirs & self.wanted.keys()
        ):
            # a transcript names no visitor: without the conversation's start nothing leads to it
            theirs = {name for name in theirs if world.pool.kind_of[name] is not Kind.TRANSCRIPT}
        world.forgotten |= theirs & known
        world.settled -= world.forgotten

    # Events on the platform.

    @rule(fault=st.sampled_from(sorted(FAULTS)))
    def fault(self, fault: str) -> None:
        """A fault begins at the streaming endpoint."""
        self.world.faults = [FAULTS[fault]]
        self.world.start_platform()

    @precondition(lambda self: not self.world.processing_delay)
    @rule()
    def slow(self) -> None:
        """The platform collects messages over some time into one batch."""
        self.world.processing_delay = SLOW
        self.world.start_platform()

    @precondition(lambda self: self.world.faults or self.world.processing_delay)
    @rule()
    def heal(self) -> None:
        """All faults end."""
        self.world.processing_delay = 0.0
        self.world.faults = []
        self.world.start_platform()

    @precondition(lambda self: self.has_sent)
    @rule(place=st.integers(0, 5))
    def revert(self, place: int) -> None:
        """A batch is reverted through the platform's API."""
        world = self.world
        self.unhide()
        world.settle()
        batches = world.batches()
        if not batches or world.platform is None:
            return
        path = f"/data/foundation/import/batches/{batches[place % len(batches)]}"
        world.platform._transport.call(
            "Batch Ingestion", "revert a batch", "POST", path, query=[("action", "REVERT")]
        )

    @precondition(lambda self: self.has_sent)
    @rule()
    def merge(self) -> None:
        """The platform merges all batches into one."""
        self.unhide()
        self.world.settle()
        self.world.merge()

    @precondition(lambda self: self.has_sent)
    @rule(place=st.integers(0, 5))
    def hide(self, place: int) -> None:
        """A batch's file cannot be read for a while."""
        self.is_hiding = True
        self.world.settle()
        if batches := self.world.batches():
            self.world.hide(batches[place % len(batches)])

    @precondition(lambda self: self.is_hiding)
    @rule()
    def unhide(self) -> None:
        """All files can be read again."""
        self.is_hiding = False
        self.world.unhide()

    @precondition(lambda self: self.has_sent)
    @rule()
    def hours_pass(self) -> None:
        """Everything is some hours older."""
        self.world.age()

    # The judge.

    @invariant()
    def nothing_forbidden_was_seen(self) -> None:
        """Check the wire, and the invariants that always hold."""
        world = self.world
        problems = list(dict.fromkeys(world.violations))
        fates = world.ledger()
        delivered = {name for name, (fate, *_) in fates.items() if fate == "delivered"}
        rows = world.rows()
        world.landed |= rows.keys()
        loaded = world.loaded_rows()
        if repeated := [
            name for name, count in loaded.items() if count > 1 and name not in world.called_back
        ]:
            problems.append(f"{len(repeated)} events were loaded twice")
        self.loaded_first |= loaded.keys() - world.accepted.keys()
        if streamed := self.loaded_first & world.accepted.keys() - world.called_back:
            problems.append(f"{len(streamed)} events were streamed although they were loaded")
        founded = world.accepted.keys() | world.landed | world.acknowledged | world.forgotten
        if unfounded := delivered - founded:
            problems.append(f"{len(unfounded)} events count as delivered and were never accepted")
        if shown := rows.keys() & world.forgotten:
            problems.append(f"{len(shown)} events of a person who was forgotten are in the dataset")
        assert not problems, "; ".join(problems)

    def _do(
        self,
        name: str,
        action: Callable[[], Any],
        death: tuple[str, int] | None,
        *,
        restart: bool = False,
        may_refuse: bool = False,
    ) -> Any:
        """Do something that a kill may interrupt; return its result, or None if it was killed or failed."""
        world = self.world
        world.arm(*(death or (None, 0)))
        result = None
        try:
            result = action()
        except Killed:
            pass
        except ChatlioKitError as error:
            if isinstance(error, UsageError | LedgerBusy) and may_refuse:
                self.was_refused = True
            elif world.platform_thread.life.is_alive:
                raise
        finally:
            if restart:
                world.start_platform()
        TALLY[name] += 1
        return None if world.after() else result

    def _check_page(self, page: Page, *, read: int | None = None) -> None:
        counts, run = page.counts, page.run
        add_up = counts.read == counts.accepted + counts.rejected + counts.duplicates
        add_up &= counts.accepted == run.delivered + run.dead_lettered + run.pending
        assert add_up, f"the counts of a page do not add up\n{page}"
        assert read is None or counts.read == read, f"never read: {counts.read} of {read}\n{page}"
        known = len(self.world.ledger())
        in_all = page.total.delivered + page.total.dead_lettered + page.total.pending
        assert in_all == known, (
            f"the totals of a page do not add up to the {known} events of the ledger\n{page}"
        )

    def _check_landed(self, page: Page, before: Counter[str]) -> None:
        """``landed`` refers to the present: rows that were there before the read or arrived during it."""
        now, fates = self.world.rows(), self.world.ledger()
        landed = {name for name, (_, is_landed, _) in fates.items() if is_landed}
        assert before.keys() <= landed | self._unknown(before) <= now.keys(), (
            f"stale: {len(before)} to {len(now)} events are in the dataset, the ledger says {len(landed)}"
        )
        assert page.total.landed == len(landed), f"stale: the page says {page.total.landed} landed"
        if page.arrived is not None and before == now:
            rows = sum(now.values())
            assert page.arrived.lake_rows == rows, f"{page.arrived.lake_rows} rows reported, {rows} are there"
            assert page.arrived.lake_duplicates == rows - len(now)
            dead = {name for name, (fate, *_) in fates.items() if fate != "delivered"}
            assert not dead & now.keys(), "an event is in the dataset and does not count as delivered"
        self.world.settled |= landed

    def _unknown(self, names: Counter[str]) -> set[str]:
        return names.keys() - self.world.ledger().keys()

    def _absent(self) -> None:
        """Events in no readable batch may be sent again at the user's request."""
        there = self.world.waiting() | self.world.rows().keys()
        self.world.called_back |= self.world.ledger().keys() - there
        self.world.settled &= there

    # The end.

    def teardown(self) -> None:
        """Heal, follow the advice, and check the outcome as a set."""
        try:
            self._end()
        finally:
            self._opened.close()

    def abandon(self) -> None:
        """Close what is open, without a judgement."""
        self._opened.close()

    def _end(self) -> None:
        world = self.world
        world.unhide()
        if world.faults or world.processing_delay:
            self.heal()
        if self.forgetting and self.was_refused:
            self.stream()  # as the refusal advises
        for visitor in sorted(self.forgetting):
            self.forget(visitor)
        assert not self.forgetting, "a person is not forgotten, although nothing is interrupted"
        expected = set(self.wanted)
        for _ in range(ROUNDS):
            self.stream()
            self.reconcile()
            fates = world.ledger()
            open_ = {name: fates[name] for name in expected & fates.keys() - world.forgotten}
            if all(landed for _, landed, _ in open_.values()):
                break
            TALLY["rounds of advice"] += 1
            if any(gone for *_, gone in open_.values()):
                self._replay_gone()
            if any(fate == "delivered" and not landed and not gone for fate, landed, gone in open_.values()):
                world.age()
                self.reconcile()
            if any(fate == "dead_lettered" for fate, *_ in world.ledger().values()):
                self.replay()
        self.nothing_forbidden_was_seen()
        self._check_outcome(expected)
        for who, count in world.kills.items():
            TALLY[f"kills of {who}"] += count

    def _check_outcome(self, expected: set[str]) -> None:
        world, rows, fates = self.world, self.world.rows(), self.world.ledger()
        never = expected - fates.keys()
        assert not never, f"never read: {len(never)} events"
        lost = expected - rows.keys() - world.forgotten
        assert not lost, f"lost: {len(lost)} of {len(expected)} events are not in the dataset"
        pending = {name for name in expected if fates[name][0] == "pending"}
        assert not pending, f"{len(pending)} events stay pending"
        doubled = {name for name, count in rows.items() if count > 1}
        TALLY["events"] += len(expected)
        TALLY["events forgotten"] += len(world.forgotten)
        TALLY["doubled and explained"] += len(doubled)
