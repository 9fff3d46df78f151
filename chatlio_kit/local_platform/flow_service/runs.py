"""Runs of dataflows: one per hour, updated with every chunk.

Source: Dataflows API guide, "Monitor dataflows", and "Monitor streaming dataflows".
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from ..ingestion.landing import Landing
from ..server.service import Context, now_ms
from ..store import Json

HOUR = 3_600_000
MAPPER_WARNING = "MAPPER-3700-400"
_TITLES = {MAPPER_WARNING: "Mapper Transform Error"}


@dataclass(frozen=True)
class RunOutcome:
    """The counts that one chunk adds to a run."""

    messages: int
    landing: Landing
    input_bytes: int
    output_bytes: int


def record_run(context: Context, flow: Json, outcome: RunOutcome) -> None:
    """Count a chunk in the run of the current hour window."""
    moment = now_ms()
    window = moment - moment % HOUR
    run = context.store.run_of(flow["id"], window) or _new_run(context, flow, window, moment)
    metrics = run["metrics"]
    landing = outcome.landing
    _add(metrics["sizeSummary"], inputBytes=outcome.input_bytes, outputBytes=outcome.output_bytes)
    records = metrics["recordSummary"]
    _add(
        records,
        inputRecordCount=outcome.messages,
        outputRecordCount=landing.rows,
        createdRecordCount=landing.rows,
        failedRecordCount=outcome.messages - landing.rows,
        warningRecordCount=landing.warned,
    )
    _add(metrics["fileSummary"], inputFileCount=1, outputFileCount=1 if landing.rows else 0)
    metrics["durationSummary"]["completedAtUTC"] = moment
    activity = run["activities"][0]
    counted = {error["code"]: error for error in activity["statusSummary"]["extensions"]["errors"]}
    texts = dict(reversed(landing.failures.descriptions))
    for code, count in (landing.failures.by_code + landing.warning_codes).items():
        entry = counted.setdefault(
            code, {"code": code, "recordCount": 0, "message": _TITLES.get(code, texts.get(code, code))}
        )
        entry["recordCount"] += count
    errors = list(counted.values())
    status = "failed" if records["failedRecordCount"] and not records["outputRecordCount"] else "success"
    metrics["statusSummary"]["status"] = activity["statusSummary"]["status"] = status
    metrics["statusSummary"]["errors"] = [
        {"code": error["code"], "message": error["message"]} for error in errors
    ]
    activity["statusSummary"]["extensions"]["errors"] = errors
    activity["updatedAtUTC"] = run["updatedAt"] = moment
    for summary in ("durationSummary", "sizeSummary", "recordSummary", "fileSummary"):
        activity[summary] = {key: value for key, value in metrics[summary].items() if key != "activityRefs"}
    run["etag"] = f'"{uuid.uuid4().hex[:8]}-0000-0200-0000-{moment // 1000:08x}0000"'
    context.store.put_run(run["id"], flow["id"], window, run)


def _new_run(context: Context, flow: Json, window: int, moment: int) -> Json:
    activity_id = str(uuid.uuid4())
    return {
        "id": str(uuid.uuid4()),
        **context.audit(moment),
        "flowId": flow["id"],
        "flowSpec": flow["flowSpec"],
        "providerRefId": flow["providerRefId"],
        "metrics": {
            "durationSummary": {"startedAtUTC": window, "completedAtUTC": moment},
            "sizeSummary": {"inputBytes": 0, "outputBytes": 0},
            "recordSummary": {},
            "fileSummary": {"inputFileCount": 0, "outputFileCount": 0, "activityRefs": [activity_id]},
            "statusSummary": {"status": "success", "errors": [], "activityRefs": [activity_id]},
        },
        "activities": [
            {
                "id": activity_id,
                "name": "Promotion Activity",
                "updatedAtUTC": moment,
                "durationSummary": {},
                "sizeSummary": {},
                "recordSummary": {},
                "fileSummary": {},
                "statusSummary": {"status": "success", "extensions": {"errors": []}},
            }
        ],
    }


def _add(summary: Json, **counts: int) -> None:
    for name, count in counts.items():
        summary[name] = summary.get(name, 0) + count
