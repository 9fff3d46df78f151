"""Frozen requests of plain ``connect`` and ``backfill``: the path of each, and a digest of its body.

To accept an intended change, write the digests again::

    python tests/contract/test_frozen_requests.py
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import requests
from requests.adapters import HTTPAdapter

import chatlio_kit as ck
from chatlio_kit.aep import Platform
from chatlio_kit.jobs.backfill import backfill
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import running
from chatlio_kit.samples import write_sample

DIGESTS = Path(__file__).with_name("request_digests.json")
EVENTS = 120
WEBHOOKS = ["transcript", "feedback"]
Exchange = tuple[requests.PreparedRequest, requests.Response]
Digests = dict[str, list[str]]

_MADE_ID = re.compile(
    r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{24,}|01[0-9A-HJKMNP-TV-Z]{24}", re.ASCII
)
_MOMENT = re.compile(r"(createdAfter=)\d+", re.ASCII)


@contextmanager
def recorded() -> Iterator[list[Exchange]]:
    """Yield a list that grows by every request and its answer."""
    exchanges: list[Exchange] = []
    send = HTTPAdapter.send

    def record(self: HTTPAdapter, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        response = send(self, request, **options)
        exchanges.append((request, response))
        return response

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HTTPAdapter, "send", record)
        yield exchanges


def digests_of(exchanges: list[Exchange]) -> list[str]:
    """Return a line for each request except sign-ins; repeated reads are listed once.

    Ids that the platform made up, and moments, are left out; ids of events are not.
    """
    made: set[str] = set()
    for _, response in exchanges:
        if "json" in response.headers.get("Content-Type", ""):
            made.update(_MADE_ID.findall(response.text))

    def settled(text: str) -> str:
        return _MADE_ID.sub(lambda match: "ID" if match[0] in made else match[0], text)

    reads, writes = set(), []
    for request, _ in exchanges:
        url = urlsplit(unquote(str(request.url)))
        path = _MOMENT.sub(r"\1MOMENT", settled(f"{url.path}?{url.query}".removesuffix("?")))
        if request.method == "GET":
            reads.add(f"GET {path}")
        elif not path.startswith("/ims/"):  # the secret is another one on every local platform
            body = request.body or b""
            text = settled(body if isinstance(body, str) else body.decode())
            writes.append(f"{request.method} {path} {sha256(text.encode()).hexdigest()[:16]}")
    return sorted([*reads, *writes])


def digests(folder: Path) -> Digests:
    """Connect and backfill a small sample on an empty local platform, and return what was sent for each."""
    sample = write_sample(folder / "sample", events=EVENTS, seed=5).path
    with (
        running(folder / "store", enabling_delay=0, processing_delay=0) as server,
        Platform(settings_of(server, folder / "state")) as platform,
    ):
        with recorded() as connecting:
            ck.plan_connection(platform, webhooks=WEBHOOKS).apply()
        with recorded() as sending:
            page = backfill(sample, platform, skip_guard=True, wait=30, quiet=True)
    assert page.run.landed == EVENTS
    return {"connect": digests_of(connecting), "backfill": digests_of(sending)}


def test_every_byte_without_options_is_as_frozen(tmp_path: Path) -> None:
    """Paths, queries and bodies of a plain connect and its backfill are those of the day they were frozen."""
    assert digests(tmp_path) == json.loads(DIGESTS.read_text(encoding="utf-8"))


def main() -> None:
    """Freeze what is sent today."""
    with tempfile.TemporaryDirectory() as folder:
        DIGESTS.write_text(json.dumps(digests(Path(folder)), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
