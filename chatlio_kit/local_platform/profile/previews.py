"""Profile's own counters: the status of the latest sample.

Source: Profile API guide, "Preview sample status". Counts here are current; the service takes a sample daily.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from ..server.service import Service, answer, now_ms, route
from .view import people_view

BASE = "/data/core/ups"


class Previews(Service):
    """Counts of profiles and their fragments."""

    @route("GET", f"{BASE}/previewsamplestatus")
    async def status(self, _request: web.Request) -> web.Response:
        """Return the numbers of profiles and fragments."""
        view = await asyncio.to_thread(people_view, self._context)
        fragments = sum(len(dataset.fragments) for dataset in view.datasets.values())
        return answer(
            {
                "numRowsToRead": "1",
                "sampleJobRunning": {"status": False, "submissionTimestamp": now_ms()},
                "docCount": str(view.profiles),
                "totalRows": str(view.profiles),
                "totalFragmentCount": fragments,
                "lastSuccessfulBatchTimestamp": now_ms(),
                "status": "SUCCESS",
            }
        )
