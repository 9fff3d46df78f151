"""The asynchronous second stage: a thread that processes accepted messages into batches and runs.

A batch's file is written before the transaction that records the batch, counts it in the run and removes its
messages from the inbox. After a kill before that transaction, the file is an orphan and the messages are
processed again; after a kill later, nothing is left to do.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..batch_ingestion.promotion import Promotion
from ..data_prep.routes import mapping_set_version
from ..flow_service.runs import RunOutcome, record_run
from ..ims.account import LocalAccount, Options
from ..ingestion.landing import Failures, Landing, Pipeline, fail_unknown
from ..profile.work_orders import carry_out
from ..registry.routes import composed_schema
from ..server.service import Context, now_ms
from ..store import Json, Message, Store
from .consolidation import consolidate
from .files import new_batch_id, remove_orphans, write_failed, write_rows

log = logging.getLogger(__name__)

CHUNK_MESSAGES = 5_000
CHUNK_BYTES = 16_000_000
PAUSE_AFTER_FAULT = 1.0
PAUSE_BETWEEN_CONSOLIDATIONS = 0.05


@dataclass(frozen=True)
class _Recipe:
    """The dependencies of a pipeline."""

    mappings: list[Json]
    json_schema: Json
    header: Json


class Lake:
    """A thread that processes the inbox until it is stopped."""

    def __init__(self, folder: Path, account: LocalAccount, options: Options) -> None:
        self._folder = folder
        self._account = account
        self._options = options
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="lake")
        self._pipelines: dict[str, tuple[_Recipe, Pipeline]] = {}
        self._promotion = Promotion()

    def start(self) -> None:
        """Start the thread, beginning with messages left by an earlier server."""
        self._thread.start()

    def notify(self) -> None:
        """Wake the thread: messages have arrived."""
        self._wake.set()

    def stop(self) -> None:
        """Finish the current chunk and end the thread; the next start processes the rest of the inbox."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def _work(self) -> None:
        store = Store(self._folder)
        try:
            remove_orphans(store)
            context = Context(self._account, self._options, store)
            while not self._stopping:
                self._wake.clear()
                try:
                    pause = self._step(context)
                except Exception:
                    log.exception("a chunk could not be processed; it stays in the inbox")
                    pause = PAUSE_AFTER_FAULT
                if pause != 0 and not self._stopping:
                    self._wake.wait(pause)
        finally:
            store.close()

    def _step(self, context: Context) -> float | None:
        """Process a chunk if one is due; return the seconds to sleep, None to wait for a message."""
        carry_out(context)
        waits = [self._process_oldest(context), self._promotion.step(context)]
        if all(wait is None for wait in waits):
            return self._consolidate(context)
        return min(wait for wait in waits if wait is not None)

    def _process_oldest(self, context: Context) -> float | None:
        """Process a chunk of a dataflow's messages if one is due; return the seconds until one is."""
        oldest = context.store.oldest_message()
        if oldest is None:
            return None
        flow_id, received = oldest
        due = received + self._options.processing_delay * 1000 - now_ms()
        if due > 0:
            return due / 1000
        self._process(context, flow_id)
        return 0

    def _consolidate(self, context: Context) -> float | None:
        """Merge old batches if the option is set; return the seconds until the next time."""
        delay = self._options.consolidation_delay
        if delay == math.inf:
            return None
        consolidate(context, now_ms() - round(delay * 1000))
        return max(delay, PAUSE_BETWEEN_CONSOLIDATIONS)

    def _process(self, context: Context, flow_id: str) -> None:
        started = now_ms()
        messages, last = context.store.waiting(flow_id, CHUNK_MESSAGES, CHUNK_BYTES)
        flow = context.store.get("flows", flow_id) or context.store.get("deleted_flow", flow_id)
        if flow is None:
            raise LookupError(f"messages of the unknown dataflow {flow_id}")
        dataset_id = _dataset_id(context, flow)
        landing = self._land(context, flow, dataset_id, messages)
        good_id, failed_id = new_batch_id(), new_batch_id()
        lake = context.store.lake
        output_bytes = write_rows(lake, good_id, landing.table) if landing.table is not None else 0
        if landing.failures.lines:
            write_failed(lake, failed_id, landing.failures.lines)
        input_bytes = sum(len(message.body) for message in messages)
        outcome = RunOutcome(
            messages=len(messages), landing=landing, input_bytes=input_bytes, output_bytes=output_bytes
        )
        with context.store.transaction():
            if landing.table is not None:
                body = self._batch(flow_id, dataset_id, started, _good_metrics(outcome))
                context.store.add_batch(good_id, dataset_id, {**body, "status": "success", "errors": []})
            if landing.failures.lines:
                body = self._batch(flow_id, dataset_id, started, _failed_metrics(outcome))
                errors = [{"code": code, "description": text} for code, text in landing.failures.descriptions]
                context.store.add_batch(failed_id, dataset_id, {**body, "status": "failed", "errors": errors})
            record_run(context, flow, outcome)
            context.store.remove_waiting(flow_id, last)

    def _land(self, context: Context, flow: Json, dataset_id: str, messages: list[Message]) -> Landing:
        header = {"imsOrgId": self._account.org_id, "datasetId": dataset_id, "flowId": flow["id"]}
        recipe = _recipe(context, flow, dataset_id, header)
        if recipe is None:
            failures = Failures()
            for message in messages:
                fail_unknown(failures, message, header, f"The dataset {dataset_id} has no schema any more")
            return Landing(None, 0, 0, Counter(), failures)
        known = self._pipelines.get(flow["id"])
        if known is None or known[0] != recipe:
            known = (recipe, Pipeline(recipe.mappings, recipe.json_schema, recipe.header))
            self._pipelines[flow["id"]] = known
        return known[1].land(messages)

    def _batch(self, flow_id: str, dataset_id: str, started: int, metrics: Json) -> Json:
        account = self._account
        moment = now_ms()
        return {
            "imsOrg": account.org_id,
            "sandboxId": account.sandbox_id,
            "created": moment,
            "updated": moment,
            "started": started,
            "completed": moment,
            "createdClient": account.client_id,
            "createdUser": account.technical_user,
            "updatedUser": account.technical_user,
            "version": "1.0.0",
            "inputFormat": {"format": "json"},
            "relatedObjects": [{"type": "dataSet", "id": dataset_id}],
            "tags": {"flowId": [flow_id]},
            "metrics": metrics,
        }


def _dataset_id(context: Context, flow: Json) -> str:
    if "dataSetId" in flow:
        return str(flow["dataSetId"])
    target = context.store.get("targetConnections", flow["targetConnectionIds"][0])
    if target is None:
        raise LookupError(f"the dataflow {flow['id']} has no target connection")
    return str(target["params"]["dataSetId"])


def _recipe(context: Context, flow: Json, dataset_id: str, header: Json) -> _Recipe | None:
    dataset = context.store.get("dataset", dataset_id)
    json_schema = composed_schema(context, dataset["schemaRef"]["id"]) if dataset else None
    params = flow["transformations"][0]["params"]
    mapping_set = mapping_set_version(context, params["mappingId"], int(params["mappingVersion"]))
    if dataset is None or json_schema is None or mapping_set is None:
        return None
    return _Recipe(mapping_set["mappings"], json_schema, {**header, "schemaRef": dataset["schemaRef"]})


def _good_metrics(outcome: RunOutcome) -> Json:
    rows = outcome.landing.rows
    return {
        "inputRecordCount": rows,
        "outputRecordCount": rows,
        "failedRecordCount": 0,
        "inputByteSize": outcome.input_bytes,
        "outputByteSize": outcome.output_bytes,
        "inputFileCount": 1,
        "outputFileCount": 1,
        "partitionCount": 1,
        "recordsSize": outcome.input_bytes,
    }


def _failed_metrics(outcome: RunOutcome) -> Json:
    failures = outcome.landing.failures
    layers = ("StreamingValidation", "Mapper", "Profile", "Identity", "Unknown")
    return {
        "recordsSize": sum(len(line) for line in failures.lines),
        "inputRecordCount": len(failures.lines),
        "outputRecordCount": 0,
        "failedRecordCount": len(failures.lines),
        "invalidRecordCount": len(failures.lines),
        **{f"invalidRecords{layer}": failures.by_layer[f"invalidRecords{layer}"] for layer in layers},
    }
