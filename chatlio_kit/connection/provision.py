"""Build a connection, resource by resource, from whatever already exists.

No state is kept outside the platform. Every resource is looked up by its mark before it is created, so the
next run continues an interrupted one, and a run with nothing to do changes nothing.

Most resources need no unique name, so two simultaneous runs may both find nothing and both create. Runs that
share a state folder wait for each other. Other runs list each resource again after creating it: if there are
several, the oldest stays, and the run that created another deletes it.
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
from chatlio_kit.counting import counted
from chatlio_kit.errors import (
    Conflict,
    ConnectionIncomplete,
    NotFound,
    PlatformError,
    Unavailable,
    Unreachable,
)

StepCallback = Callable[[str], None]
"""Called with a sentence for each step."""

LOCK = "connecting.lock"
LOCK_TIMEOUT = 900.0
"""In seconds: a build waits up to 10 minutes for its dataflows."""
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
    compared with the results that Python expects.

    Args:
        survey: The survey so far; updated.
        dataflows: The dataflows to build; updated.
        progress: Called with a sentence for each step.

    Raises:
        ConnectionIncomplete: A resource is in conflict, a mapping gives an unexpected result, or a dataflow
            was not ready in time.
        PlatformError: The platform refused a step; what was created is kept and found again.
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

    Without a state folder, or if no lock can be created in it, nothing is held; duplicates are then resolved
    after their creation.

    Raises:
        ConnectionIncomplete: Another process has been building for too long.
    """
    with ExitStack() as stack:
        if state.is_dir():
            try:
                stack.enter_context(FileLock(state / LOCK, LOCK_TIMEOUT, mode=0o600))
            except Timeout:
                raise ConnectionIncomplete(
                    f"Another process has been connecting from the state folder {str(state)!r} for "
                    f"{LOCK_TIMEOUT / 60:.0f} minutes. Stop it, then connect again: the work continues from "
                    "there."
                ) from None
            except (OSError, NotImplementedError):  # a read-only folder, or a drive without locks
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

    A create without a response may have been carried out, in which case the next inspection finds the
    resource.
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
    """Keep a resource that was just created, unless another run created the same one first."""
    resource.survey.forget()
    oldest = next(iter(resource.candidates()), created_id)
    if oldest == created_id:
        return ResourceState(Action.REUSE, "made", created_id)
    report(
        f"Another run has just created the {resource.type_name} {resource.name!r} too; continuing with the "
        "older one"
    )
    try:
        resource.delete_duplicate(created_id)
    except PlatformError as error:
        report(f"The newer one, {created_id}, is unused but could not be deleted: {error.reason}")
    resource.survey.forget()
    return resource.inspect()


def _wait_until_ready(survey: Survey, dataflows: Sequence[DataflowState], report: StepCallback) -> None:
    """Wait until every dataflow is enabled and has its inlet."""
    deadline = time.monotonic() + LONGEST_WAIT
    pause = _FIRST_POLL
    waiting = [dataflow for dataflow in dataflows if not (dataflow.flow and dataflow.flow.is_ready)]
    if waiting:
        report(f"Waiting for {counted(len(waiting), 'dataflow')} to be enabled")
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
                f"After {LONGEST_WAIT / 60:.0f} minutes, some dataflows are not enabled with an inlet: "
                f"{late}. Nothing is lost: connect again later to continue from here."
            )
        survey.platform.sleep(pause)
        pause = min(pause * 1.5, _SLOWEST_POLL)
