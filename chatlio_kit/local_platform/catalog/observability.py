"""Observability Insights: records that the lake received, and records that Profile kept.

The lake keeps every row; ``profile/view.py`` decides what Profile and Identity Service ingest.
Source: Observability Insights API guide, "Metrics". It names no counters of Identity Service: these two, and
their meaning, are assumptions, so clients should not rely on them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from ..profile.view import DatasetView, PeopleView, has_tag, people_view
from ..server import errors as problems
from ..server.service import Service, answer
from ..store import BatchFilter, Json

PATH = "/data/infrastructure/observability/insights/metrics"
_PAGE = 100
_STEPS = {"hour": "%Y-%m-%dT%H:00:00Z", "day": "%Y-%m-%dT00:00:00Z", "month": "%Y-%m-01T00:00:00Z"}
BATCHES = "timeseries.ingestion.dataset.batchsuccess.count"
FAILED_BATCHES = "timeseries.ingestion.dataset.batchfailed.count"
RECORDS = "timeseries.ingestion.dataset.recordsuccess.count"
READ = "timeseries.profiles.dataset.recordread.count"
KEPT = "timeseries.profiles.dataset.recordsuccess.count"
LINKED = "timeseries.identity.dataset.recordsuccess.count"
SKIPPED = "timeseries.identity.dataset.recordskipped.count"
METRICS = (BATCHES, FAILED_BATCHES, RECORDS, READ, KEPT, LINKED, SKIPPED)
_OF_PEOPLE = (KEPT, LINKED, SKIPPED)

Count = Callable[[str, Json], int]


class Observability(Service):
    """Counts of batches and records over time, by dataset."""

    def routes(self) -> list[web.RouteDef]:
        """Return the calls of this service."""
        return [web.post(PATH, self.metrics)]

    async def metrics(self, request: web.Request) -> web.Response:
        """Return the requested metrics, summed by time step."""
        body = await self.json_object(request)
        start, end = (_moment(body.get(name)) for name in ("start", "end"))
        granularity = str(body.get("granularity", "day")).lower()
        asked = body.get("metrics")
        if granularity not in _STEPS or not isinstance(asked, list) or not asked:
            raise _bad("granularity is hour, day or month, and metrics a list")
        responses = [self._metric(metric, start, end, granularity) for metric in asked]
        return answer({"metricResponses": await asyncio.gather(*responses)})

    async def _metric(self, asked: Any, start: int, end: int, granularity: str) -> Json:
        if not isinstance(asked, dict) or asked.get("name") not in METRICS or not asked.get("downsample"):
            raise _bad(f"A metric has a downsample and one of the names {', '.join(METRICS)}")
        filters = asked.get("filters", [])
        if not isinstance(filters, list) or any(item.get("name") != "dataSetId" for item in filters):
            raise _bad("The only filter known here is dataSetId")
        wanted = {item.get("value") for item in filters}
        datapoints = []
        people = await asyncio.to_thread(people_view, self._context) if asked["name"] in _OF_PEOPLE else None
        for dataset in self._context.store.all("dataset"):
            if not wanted or dataset["id"] in wanted:
                batches = list(self._batches(dataset["id"]))
                counted = await asyncio.to_thread(
                    _counted, batches, _counting(asked["name"], dataset, people)
                )
                sums: Counter[str] = Counter()
                for created, count in counted:
                    if start <= created < end:
                        moment = datetime.fromtimestamp(created / 1000, UTC)
                        sums[moment.strftime(_STEPS[granularity])] += count
                datapoints.append({"groupBy": {"dataSetId": dataset["id"]}, "dps": dict(sums)})
        return {
            "metric": asked["name"],
            "filters": filters,
            "granularity": granularity,
            "datapoints": datapoints,
        }

    def _batches(self, dataset_id: str) -> Iterator[tuple[str, Json]]:
        start = 0
        while page := self._context.store.batches(BatchFilter(dataset_id, ascending=True), _PAGE, start):
            yield from page.items()
            start += _PAGE


def _counted(batches: list[tuple[str, Json]], count: Count) -> list[tuple[int, int]]:
    """Return each batch's creation time and count; batches without a count are left out."""
    counts = [(batch["created"], count(key, batch)) for key, batch in batches]
    return [(created, found) for created, found in counts if found]


def _counting(name: str, dataset: Json, people: PeopleView | None) -> Count:
    """Return the function that counts a batch."""
    if name == BATCHES:
        return lambda _, batch: int(batch["status"] == "success")
    if name == FAILED_BATCHES:
        return lambda _, batch: int(batch["status"] == "failed")
    if people is None:
        is_read = name == RECORDS or has_tag(dataset, "unifiedProfile")
        return _rows if is_read else lambda *_: 0
    view = people.datasets.get(dataset["id"], DatasetView())
    counts = {KEPT: view.kept, LINKED: view.linked, SKIPPED: view.skipped}[name]
    return lambda key, _: counts[key]


def _rows(_: str, batch: Json) -> int:
    return int(batch["metrics"]["outputRecordCount"]) if batch["status"] == "success" else 0


def _moment(text: Any) -> int:
    try:
        return round(datetime.fromisoformat(str(text)).timestamp() * 1000)
    except ValueError as error:
        raise _bad("start and end are RFC 3339 times") from error


def _bad(detail: str) -> problems.ApiError:
    return problems.generic(400, "INSGHT-1000-400", detail)
