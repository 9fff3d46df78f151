"""Building a connection, object by object, from whatever is there already.

No state is kept outside the platform: every object is looked for by its mark before it is made, so a run
that broke off is continued by the next one, and a run that has nothing to do changes nothing.

Names of most objects may repeat, so two runs that start at the same moment may both find nothing and both
create. Those with one state folder take turns. Others find out: each lists the object again after it made
one, and where more than one is there, the oldest stays and whoever made another removes that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from chatlio_kit.connection.mapping_check import check_mappings
from chatlio_kit.connection.objects.dataflows import dataflow_objects
from chatlio_kit.connection.objects.names import in_words
from chatlio_kit.connection.objects.shared import Action, ObjectState, SharedObject, known, shared_objects
from chatlio_kit.connection.objects.survey import DataflowState, Survey
from chatlio_kit.connection.turns import one_at_a_time
from chatlio_kit.errors import (
    Conflict,
    ConnectionIncomplete,
    NotFound,
    PlatformError,
    Unavailable,
    Unreachable,
)

Progress = Callable[[str], None]

LONGEST_WAIT = 600.0
_FIRST_LOOK = 0.25
_SLOWEST_LOOK = 10.0
_CREATES = 3
_BUILDS = 3


def build(site: Survey, lanes: Sequence[DataflowState], progress: Progress | None = None) -> None:
    """Build the shared objects and the dataflows, and wait until all dataflows take data.

    Before a mapping set is made or replaced, the platform maps samples with it, and what comes out is
    compared with what Python expects.

    Args:
        site: what is known so far; filled in.
        lanes: the dataflows to build; filled in.
        progress: told a sentence for each change.

    Raises:
        ConnectionIncomplete: an object is in conflict, a mapping gives something else than expected, or a
            dataflow was not ready in time.
        PlatformError: the platform refused a step; what was built stays and is found again.
    """
    say = progress or _nobody
    for tries in range(1, _BUILDS + 1):
        try:
            with one_at_a_time(site.platform.settings.state):
                _build(site, lanes, say)
            _wait_for(site, lanes, say)
            break
        except NotFound:  # another run has just removed its double of an object
            if tries == _BUILDS:
                raise


def _build(site: Survey, lanes: Sequence[DataflowState], say: Progress) -> None:
    site.forget()
    for piece in shared_objects(site):
        _settle(piece, say)
    pieces = {id(lane): dataflow_objects(site, lane) for lane in lanes}
    for lane in lanes:
        mapping_set = pieces[id(lane)][0]
        if mapping_set.look().action is not Action.REUSE:
            say(f"Trying the {lane.role} mapping for {in_words(lane.kind)} on samples")
            check_mappings(site.platform, site.design, lane.role, lane.kind, str(site.schema_id))
    for lane in lanes:
        for each in pieces[id(lane)]:
            _settle(each, say)


def _settle(piece: SharedObject, say: Progress) -> None:
    """Bring one object to where it should be."""
    standing = piece.look()
    if standing.action is Action.CREATE:
        standing = _create(piece, say)
    if standing.action is Action.UPDATE:
        say(f"Updating the {piece.thing} {piece.name!r}: {standing.reason}")
        piece.mend()
        piece.site.forget()
    elif standing.action is Action.CONFLICT:
        raise ConnectionIncomplete(
            f"The {piece.thing} {piece.name!r} ({standing.id}) stands in the way: {standing.reason}."
        )


def _create(piece: SharedObject, say: Progress) -> ObjectState:
    """Create an object that was not there when it was just looked for; look again before each further try.

    A create that got no answer may have been carried out: then the next look finds it.
    """
    failure: PlatformError | None = None
    for tries in range(_CREATES):
        if failure:
            piece.site.platform.sleep(2.0**tries)
            piece.site.forget()
            standing = piece.look()
            if standing.action is not Action.CREATE:
                return standing
        say(f"Creating the {piece.thing} {piece.name!r}")
        try:
            made = piece.make()
        except (Unreachable, Unavailable, Conflict) as error:
            failure = error
        else:
            return _agree(piece, made, say)
    piece.site.forget()
    standing = piece.look()
    if standing.action is Action.CREATE and failure:
        raise failure
    return standing


def _agree(piece: SharedObject, made: str, say: Progress) -> ObjectState:
    """Keep an object that was just made, unless another run has made the same one before."""
    piece.site.forget()
    oldest = next(iter(piece.alike()), made)
    if oldest == made:
        return ObjectState(Action.REUSE, "made", made)
    say(f"Another run has just made the {piece.thing} {piece.name!r} too; going on with the older one")
    try:
        piece.withdraw(made)
    except PlatformError as error:
        say(f"The newer one, {made}, is not used and stays: {error.reason}")
    piece.site.forget()
    return piece.look()


def _wait_for(site: Survey, lanes: Sequence[DataflowState], say: Progress) -> None:
    """Wait until every dataflow is enabled and has its inlet."""
    deadline = time.monotonic() + LONGEST_WAIT
    pause = _FIRST_LOOK
    waiting = [lane for lane in lanes if not (lane.flow and lane.flow.is_ready)]
    if waiting:
        say(f"Waiting for {len(waiting)} dataflow{'s' if len(waiting) > 1 else ''} to be enabled")
    while waiting:
        for lane in waiting:
            lane.flow = site.platform.flows.flow(known(lane.flow.id if lane.flow else None))
        waiting = [lane for lane in waiting if lane.flow and not lane.flow.is_ready]
        if not waiting:
            return
        if time.monotonic() + pause > deadline:
            late = ", ".join(f"{lane.flow.name!r} is {lane.flow.state}" for lane in waiting if lane.flow)
            raise ConnectionIncomplete(
                f"After {LONGEST_WAIT / 60:.0f} minutes not every dataflow is enabled with an inlet: {late}. "
                "Nothing is lost: connect again later, and it goes on from here."
            )
        site.platform.sleep(pause)
        pause = min(pause * 1.5, _SLOWEST_LOOK)


def _nobody(sentence: str) -> None:
    """Listen to nothing."""
