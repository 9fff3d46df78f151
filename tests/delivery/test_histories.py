"""Random histories of the delivery: nothing is lost, stale, never read, or doubled without a reason.

What a kill is, and what the judge knows, is in `history_world` and `history_machine`; ``make soak`` runs
10,000 histories. Histories that failed stay here as cases.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
from history_bugs import BUGS, Bug, play
from history_machine import Histories
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

HISTORIES = 25
EVERYTHING = 2**9 - 1


def _a_corrected_capture(machine: Histories) -> None:
    """Stream failed with an IndexError when the capture of a settled event had been corrected."""
    machine.begin(EVERYTHING)
    machine.stream()
    machine.edit(0, 1)
    machine.stream()


def _killed_while_a_bulk_run_opens(machine: Histories) -> None:
    """The state folder stayed locked while the process lived."""
    machine.begin(1)
    gc.disable()  # it may unlock the folder
    try:
        machine.load(("client: after a commit", 3))
        machine.reconcile()
    finally:
        gc.enable()


def _killed_when_the_ledger_is_made(machine: Histories) -> None:
    """The ledger was called unusable: there was nothing to roll back after the commit."""
    machine.begin(1)
    machine.stream(("client: after a commit", 0))


def _reverted_before_it_was_read(machine: Histories) -> None:
    """An event delivered and reverted before a read is under way, then lost, then sent again."""
    machine.begin(7)
    machine.stream(("client: after a commit", 6))
    machine.revert(0)
    machine.hours_pass()
    machine.replay()


def _forget_killed_between_store_and_ledger(machine: Histories) -> None:
    """Rows are erased, the ledger does not know yet: the next call finishes."""
    machine.begin(EVERYTHING)
    machine.stream()
    machine.forget(1, ("client: after erasing", 0))
    machine.reconcile()
    machine.replay_gone()


def _dropped_then_lost(machine: Histories) -> None:
    """The edge acknowledges and drops; the platform's runs say that it is done."""
    machine.begin(EVERYTHING)
    machine.fault("some are dropped")
    machine.stream()
    machine.hours_pass()
    machine.reconcile()


def _dropped_then_replayed(machine: Histories) -> None:
    """An acknowledged event counts as delivered, although it is nowhere and replay was requested."""
    machine.begin(EVERYTHING)
    machine.fault("some are dropped")
    machine.backfill()
    machine.replay()


def _refused_reverted_and_unreadable(machine: Histories) -> None:
    """All kinds of absence together, with a kill of both processes in the replay."""
    machine.begin(EVERYTHING)
    machine.fault("some are refused")
    machine.stream()
    machine.revert(0)
    machine.hide(0)
    machine.reconcile()
    machine.replay(("both: before a commit", 1))
    machine.replay_gone()


def _loaded_and_reverted_before_its_verdict(machine: Histories) -> None:
    """The next run ended with an error, because the batch of the interrupted one was inactive."""
    machine.begin(EVERYTHING)
    machine.slow()
    machine.load(("platform: after a commit", 0))
    machine.revert(0)
    machine.replay_gone()


def _loaded_and_reverted_before_it_was_read(machine: Histories) -> None:
    """The events were under way for ever: delivered, and in no batch that a read had found."""
    machine.begin(EVERYTHING)
    machine.load(("client: after a commit", 10))
    machine.revert(0)
    machine.reconcile()


def _merged_before_its_verdict(machine: Histories) -> None:
    """The next run sent the events again, because the batch of the interrupted one was inactive."""
    machine.begin(0b111)
    machine.stream()
    machine.convert(EVERYTHING)
    machine.load(("client: before a commit", 9))
    machine.merge()


def _forgotten_while_files_wait(machine: Histories) -> None:
    """Forgetting is refused until the interrupted load is finished, and done afterwards."""
    machine.begin(EVERYTHING)
    machine.load(("platform: before a commit", 0))
    machine.forget(1)


@pytest.mark.parametrize(
    "history",
    [
        _a_corrected_capture,
        _killed_while_a_bulk_run_opens,
        _killed_when_the_ledger_is_made,
        _reverted_before_it_was_read,
        _forget_killed_between_store_and_ledger,
        _dropped_then_lost,
        _dropped_then_replayed,
        _refused_reverted_and_unreadable,
        _loaded_and_reverted_before_its_verdict,
        _loaded_and_reverted_before_it_was_read,
        _merged_before_its_verdict,
        _forgotten_while_files_wait,
    ],
)
def test_a_recorded_history(history: Callable[[Histories], None]) -> None:
    """The judge finds nothing."""
    play(history)


def test_random_histories() -> None:
    """The judge finds nothing in random histories."""
    chosen = settings(
        max_examples=HISTORIES,
        stateful_step_count=8,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Histories, settings=chosen)


@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
def test_an_injected_bug_is_found(bug: Bug) -> None:
    """The judge finds nothing without the bug, and names the bug once it is injected."""
    play(bug.history)
    with bug.put_in(), pytest.raises(AssertionError, match=bug.shows):
        play(bug.history)
