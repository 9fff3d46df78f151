"""What Flow Service gives back: dataflows, their two ends, and their runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from chatlio_kit.aep.data_prep import whole_number
from chatlio_kit.aep.transport import Json
from chatlio_kit.settings import Secret, sealed

FLOW_ID_HEADER = "x-adobe-flow-id"


@dataclass(frozen=True)
class Endpoint:
    """A source or target connection.

    Attributes:
        id: its id.
        name: its name, which may repeat.
        description: its description.
        state: e.g. ``enabled``.
        created_at: milliseconds since 1970.
        connection_spec_id: what sort of system it stands for.
        data: format and schema.
        params: further parameters, such as ``dataSetId``.
    """

    id: str
    name: str
    description: str
    state: str
    created_at: int
    connection_spec_id: str
    data: Json = field(repr=False)
    params: Json = field(repr=False)


@dataclass(frozen=True)
class Flow:
    """A dataflow.

    Attributes:
        id: its id.
        name: its name, which may repeat.
        description: its description.
        state: ``enabled``, ``disabled``, ``enabling`` and others.
        etag: its version, with its quotes; a change has to name it.
        created_at: milliseconds since 1970.
        updated_at: milliseconds since 1970.
        flow_spec_id: what sort of dataflow it is.
        source_ids: ids of its source connections.
        target_ids: ids of its target connections.
        mapping_set_id: the mapping set it applies, if any.
        mapping_version: the version of that set.
        inlet_url: where its data is posted, once it is enabled; a secret, as it is the only key to the inlet.
    """

    id: str
    name: str
    description: str
    state: str
    etag: str
    created_at: int
    updated_at: int
    flow_spec_id: str
    source_ids: tuple[str, ...]
    target_ids: tuple[str, ...]
    mapping_set_id: str | None
    mapping_version: int
    inlet_url: Secret | None

    @property
    def is_ready(self) -> bool:
        """Whether data can be posted to it."""
        return self.state == "enabled" and self.inlet_url is not None


@dataclass(frozen=True)
class RunError:
    """A sort of failure in a run: the service's code, its sentence, and how many records, if it says."""

    code: str
    message: str
    records: int | None


@dataclass(frozen=True)
class FlowRun:
    """One run of a dataflow: of a streaming one, an hour.

    A run whose status is ``success`` may hold failed records: the counts and ``errors`` are what to read.

    Attributes:
        id: its id.
        flow_id: the dataflow.
        status: in lower case.
        started_at: milliseconds since 1970.
        completed_at: milliseconds since 1970, 0 while it runs.
        received: records that came in.
        ingested: records that went to the dataset.
        failed: records that did not.
        warned: records that went to the dataset with an attribute missing.
        errors: what went wrong, of the run and of its activities.
        body: the whole object.
    """

    id: str
    flow_id: str
    status: str
    started_at: int
    completed_at: int
    received: int
    ingested: int
    failed: int
    warned: int
    errors: tuple[RunError, ...]
    body: Json = field(repr=False)


@sealed
def webhook_url(inlet_url: Secret, flow_id: str) -> Secret:
    """Give the URL for senders that cannot set headers: the dataflow's id travels in the query."""
    return Secret(f"{inlet_url.reveal()}?{FLOW_ID_HEADER}={flow_id}")


def endpoint_in(item: Json) -> Endpoint:
    """Read a source or target connection."""
    return Endpoint(
        id=str(item.get("id") or ""),
        name=str(item.get("name") or ""),
        description=str(item.get("description") or ""),
        state=str(item.get("state") or ""),
        created_at=whole_number(item.get("createdAt")),
        connection_spec_id=str((item.get("connectionSpec") or {}).get("id") or ""),
        data=item.get("data") or {},
        params=item.get("params") or {},
    )


def flow_in(item: Json) -> Flow:
    """Read a dataflow."""
    mapping = next(
        (
            each.get("params") or {}
            for each in item.get("transformations") or []
            if isinstance(each, dict) and each.get("name") == "Mapping"
        ),
        {},
    )
    inlet = (item.get("options") or {}).get("inletUrl")
    return Flow(
        id=str(item.get("id") or ""),
        name=str(item.get("name") or ""),
        description=str(item.get("description") or ""),
        state=str(item.get("state") or ""),
        etag=str(item.get("etag") or item.get("eTag") or item.get("version") or ""),
        created_at=whole_number(item.get("createdAt")),
        updated_at=whole_number(item.get("updatedAt")),
        flow_spec_id=str((item.get("flowSpec") or {}).get("id") or ""),
        source_ids=tuple(str(each) for each in item.get("sourceConnectionIds") or []),
        target_ids=tuple(str(each) for each in item.get("targetConnectionIds") or []),
        mapping_set_id=str(mapping["mappingId"]) if mapping.get("mappingId") else None,
        mapping_version=whole_number(mapping.get("mappingVersion")),
        inlet_url=inlet if isinstance(inlet, Secret) else None,
    )


def run_in(item: Json) -> FlowRun:
    """Read a run."""
    metrics = item.get("metrics") or {}
    records = metrics.get("recordSummary") or {}
    duration = metrics.get("durationSummary") or {}
    status = metrics.get("statusSummary") or {}
    activities = item.get("activities") or item.get("activites") or []  # the reference's spelling
    summaries = [status, *(each.get("statusSummary") or {} for each in activities if isinstance(each, dict))]
    return FlowRun(
        id=str(item.get("id") or ""),
        flow_id=str(item.get("flowId") or ""),
        status=str(status.get("status") or "").lower(),
        started_at=whole_number(duration.get("startedAtUTC")),
        completed_at=whole_number(duration.get("completedAtUTC")),
        received=whole_number(records.get("inputRecordCount")),
        ingested=whole_number(records.get("outputRecordCount")),
        failed=whole_number(records.get("failedRecordCount")),
        warned=whole_number(records.get("warningRecordCount")),
        errors=tuple(error for summary in summaries for error in _errors_in(summary)),
        body=item,
    )


def _errors_in(summary: Mapping[str, Any]) -> Iterator[RunError]:
    extensions = summary.get("extensions") or {}
    for each in [*(summary.get("errors") or []), *(extensions.get("errors") or [])]:
        if isinstance(each, dict):
            count = each.get("recordCount")
            yield RunError(
                str(each.get("code") or ""),
                str(each.get("message") or ""),
                None if count is None else whole_number(count),
            )
