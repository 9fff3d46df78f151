"""Observability Insights: the platform's own counters of a dataset.

Source: Observability Insights API guide, metrics.
"""

from __future__ import annotations

from typing import ClassVar

from chatlio_kit.aep.transport import Api, objects_in, to_int

IN_LAKE = "timeseries.ingestion.dataset.recordsuccess.count"
IN_PROFILE = "timeseries.profiles.dataset.recordsuccess.count"
_SINCE, _UNTIL = "2020-01-01T00:00:00.000Z", "2100-01-01T00:00:00.000Z"


class Observability(Api):
    """Sums counters over time."""

    service: ClassVar[str] = "Observability Insights"
    base: ClassVar[str] = "/data/infrastructure/observability/insights"

    def total(self, metric: str, dataset_id: str) -> int:
        """Return the sum of a metric for one dataset."""
        body = {
            "start": _SINCE,
            "end": _UNTIL,
            "granularity": "month",
            "metrics": [
                {
                    "name": metric,
                    "filters": [{"name": "dataSetId", "value": dataset_id, "groupBy": True}],
                    "aggregator": "sum",
                    "downsample": "sum",
                }
            ],
        }
        answer = self._ask_object("count records", "POST", "/metrics", body=body, repeatable=True)
        responses = objects_in(answer, "metricResponses")
        points = (point for response in responses for point in objects_in(response, "datapoints"))
        return sum(to_int(value) for point in points for value in (point.get("dps") or {}).values())
