"""Build a connection, resource by resource, from whatever exists already.

No state is kept outside the platform. Every resource is found by its mark before it is created, so the next
run continues one that was interrupted, and a run with nothing to do changes nothing.

The names of most resources may repeat, so two runs that start at the same moment may both find nothing and
both create. Runs that share a state folder wait for each other. Other runs list each resource again after its
creation: where there is more than one, the oldest stays, and the run that created another one deletes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from chatlio_kit.connection.mapping_check import try_people
from chatlio_kit.connection.resources.dataflows import dataflow_resources
from chatlio_kit.connection.resources.names import in_words
from chatlio_kit.connection.resources.resource import Action, Resource, ResourceState, known
from chatlio_kit.connection.resources.shared import shared_resources
from chatlio_kit.connection.resources.survey import DataflowState, Survey
from chatlio_kit.errors import (
    Conflict,
    ConnectionIncomplete,
    NotFound,
    PlatformError,
    Unavailable,
    Unreachable,
)

StepCallback = Callable[[str], None]
"""Is called with a sentence for each step."""

LOCK = "connecting.lock"
LOCK_TIMEOUT = 900.0
"""Seconds: a build waits up to 10 minutes for its dataflows."""
LONGEST_WAIT = 600.0
_FIRST_POLL = 0.25
_SLOWEST_POLL = 10.0
_CREATES = 3
_BUILDS = 3


def provision(
    survey: Survey, dataflows: Sequence[DataflowState], progress: StepCallback | None = None
) -> None:
    """Build the shared resources and the dataflows, and wait until all dataflows receive data.

    Before a mapping set is created or replaced, the platform maps samples with it, and the results are
    compared with what Python expects.

    Args:
        survey: what is known so far; updated.
        dataflows: the dataflows to build; updated.
        progress: is called with a sentence for each step.

    Raises:
        ConnectionIncomplete: a resource is in conflict, a mapping gives something else than expected, or a
            dataflow was not ready in time.
        PlatformError: the platform refused a step; what was created is kept and found again.
    """
    report = progress or (lambda _sentence: None)
    for tries in range(1, _BUILDS + 1):
        try:
            with build_lock(survey.platform.settings.state):
                _build(survey, dataflows, report)
            _wait_until_ready(survey, dataflows, report)
            break
        except NotFound:  # another run has just deleted its duplicate of a resource
            if tries == _BUILDS:
                raise


@contextmanager
def build_lock(state: Path) -> Iterator[None]:
    """Hold the lock of a state folder while building; the system releases it however the process ends.

    Without a state folder, or where no lock can be made in it, nothing is held: then duplicates are resolved
    after they were created.

    Raises:
        ConnectionIncomplete: another process has been building for too long.
    """
    with ExitStack() as stack:
        if state.is_dir():
            try:
                stack.enter_context(FileLock(state / LOCK, LOCK_TIMEOUT, mode=0o600))
            except Timeout:
                raise ConnectionIncomplete(
                    f"Another process has been connecting from the state folder {str(state)!r} for "
                    f"{LOCK_TIMEOUT / 60:.0f} minutes. End it, then connect again: it goes on from there."
                ) from None
            except (OSError, NotImplementedError):  # a read-only folder, or a drive that cannot lock
                pass
        yield


def _build(survey: Survey, dataflows: Sequence[DataflowState], report: StepCallback) -> None:
    survey.forget()
    for resource in shared_resources(survey):
        _ensure(resource, report)
    resources = [dataflow_resources(survey, dataflow) for dataflow in dataflows]
    for dataflow, (mapping_set, *_) in zip(dataflows, resources, strict=True):
        if mapping_set.inspect().action is not Action.REUSE:
            report(f"Trying the {dataflow.role} mapping for {in_words(dataflow.kind)} on samples")
            role, kind = dataflow.role, dataflow.kind
            dataflow.people, refusal = try_people(
                survey.platform, survey.design, role, kind, str(survey.schema_id)
            )
            if refusal:
                report(f"Live events of the kind {in_words(kind)} will carry no identity: {refusal}")
    for resource in (resource for of_dataflow in resources for resource in of_dataflow):
        _ensure(resource, report)


def _ensure(resource: Resource, report: StepCallback) -> None:
    """Create or update a resource as needed."""
    state = resource.inspect()
    if state.action is Action.CREATE:
        state = _create(resource, report)
    if state.action is Action.UPDATE:
        report(f"Updating the {resource.type_name} {resource.name!r}: {state.reason}")
        resource.update()
        resource.survey.forget()
    elif state.action is Action.CONFLICT:
        raise ConnectionIncomplete(
            f"The {resource.type_name} {resource.name!r} ({state.id}) is in the way: {state.reason}."
        )


def _create(resource: Resource, report: StepCallback) -> ResourceState:
    """Create a resource that the last inspection did not find; inspect it again before each retry.

    A create without an answer may have been carried out: then the next inspection finds the resource.
    """
    failure: PlatformError | None = None
    for tries in range(_CREATES):
        if failure:
            resource.survey.platform.sleep(2.0**tries)
            resource.survey.forget()
            state = resource.inspect()
            if state.action is not Action.CREATE:
                return state
        report(f"Creating the {resource.type_name} {resource.name!r}")
        try:
            created_id = resource.create()
        except (Unreachable, Unavailable, Conflict) as error:
            failure = error
        else:
            return _resolve_duplicates(resource, created_id, report)
    resource.survey.forget()
    state = resource.inspect()
    if state.action is Action.CREATE and failure:
        raise failure
    return state


def _resolve_duplicates(resource: Resource, created_id: str, report: StepCallback) -> ResourceState:
    """Keep a resource that was just created, unless another run has created the same one before."""
    resource.survey.forget()
    oldest = next(iter(resource.candidates()), created_id)
    if oldest == created_id:
        return ResourceState(Action.REUSE, "made", created_id)
    report(
        f"Another run has just made the {resource.type_name} {resource.name!r} too; "
        "going on with the older one"
    )
    try:
        resource.delete_duplicate(created_id)
    except PlatformError as error:
        report(f"The newer one, {created_id}, is not used and stays: {error.reason}")
    resource.survey.forget()
    return resource.inspect()


def _wait_until_ready(survey: Survey, dataflows: Sequence[DataflowState], report: StepCallback) -> None:
    """Wait until every dataflow is enabled and has its inlet."""
    deadline = time.monotonic() + LONGEST_WAIT
    pause = _FIRST_POLL
    waiting = [dataflow for dataflow in dataflows if not (dataflow.flow and dataflow.flow.is_ready)]
    if waiting:
        report(f"Waiting for {len(waiting)} dataflow{'s' if len(waiting) > 1 else ''} to be enabled")
    while waiting:
        flows = []
        for dataflow in waiting:
            dataflow.flow = survey.platform.flows.flow(known(dataflow.flow.id if dataflow.flow else None))
            flows.append(dataflow.flow)
        waiting = [dataflow for dataflow, flow in zip(waiting, flows, strict=True) if not flow.is_ready]
        if not waiting:
            return
        if time.monotonic() + pause > deadline:
            late = ", ".join(f"{flow.name!r} is {flow.state}" for flow in flows if not flow.is_ready)
            raise ConnectionIncomplete(
                f"After {LONGEST_WAIT / 60:.0f} minutes not every dataflow is enabled with an inlet: {late}. "
                "Nothing is lost: connect again later, and it goes on from here."
            )
        survey.platform.sleep(pause)
        pause = min(pause * 1.5, _SLOWEST_POLL)
