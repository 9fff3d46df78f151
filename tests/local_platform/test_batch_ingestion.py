"""Batch ingestion, as the sheet says it: batches, their files, their states, and what lands."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chatlio_kit.local_platform import running

OCTETS = {"Content-Type": "application/octet-stream"}
FINAL = ("success", "failed")


class Batches:
    """The batch ingestion API of one platform, for one dataset."""

    def __init__(self, api: Any) -> None:
        self.api = api
        schemas = api.get(f"{api.registry}/tenant/schemas", headers={"Accept": "application/vnd.adobe.xed-id+json"})
        found = schemas.json()["results"]
        self.schema = found[0] if found else api.new_schema()
        self.dataset = api.new_dataset(self.schema)

    def create(self, form="json", **more):
        body = {"datasetId": self.dataset, "inputFormat": {"format": form}, **more}
        return self.api.post(f"{self.api.ingest}/batches", body)

    def new(self, form="json", **more):
        response = self.create(form, **more)
        assert response.status_code == 201, response.text
        return response.json()["id"]

    def file(self, batch, path="rows.json"):
        return f"{self.api.ingest}/batches/{batch}/datasets/{self.dataset}/files/{path}"

    def put(self, batch, content, path="rows.json", **headers):
        return self.api.call("PUT", self.file(batch, path), data=content, headers={**OCTETS, **headers})

    def act(self, batch, action):
        return self.api.call("POST", f"{self.api.ingest}/batches/{batch}?action={action}")

    def entry(self, batch):
        return self.api.get(f"{self.api.catalog}/batches/{batch}").json()[batch]

    def ended(self, batch):
        deadline = time.monotonic() + 20
        while (entry := self.entry(batch))["status"] not in FINAL:
            assert time.monotonic() < deadline, entry
            time.sleep(0.01)
        return entry

    def load(self, *contents, form="json", **more):
        batch = self.new(form, **more)
        for number, content in enumerate(contents):
            assert self.put(batch, content, f"part-{number}").status_code == 201
        assert self.act(batch, "COMPLETE").status_code == 200
        return batch, self.ended(batch)

    def rows(self):
        found = []
        query = {"dataSet": self.dataset, "status": "success", "limit": "100"}
        for batch in self.api.get(f"{self.api.catalog}/batches", params=query).json():
            found += pq.read_table(io.BytesIO(self.api.download(batch))).to_pylist()
        return found


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    with running(tmp_path_factory.mktemp("batches") / "store", enabling_delay=0, processing_delay=0) as found:
        yield found


@pytest.fixture
def batches(platform, connect):
    return Batches(connect(platform))


def row(number, **own):
    return {"_id": f"e{number}", "timestamp": "2024-03-01T10:15:30.000Z", "_acmechat": {"count": number, **own}}


def lines(*rows):
    return b"".join(json.dumps(each).encode() + b"\n" for each in rows)


def parquet(rows, schema=None):
    target = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), target)
    return target.getvalue()


def test_happy_path_json(batches):
    batch, entry = batches.load(lines(row(1), row(2)), externalId="first")
    assert entry["status"] == "success", entry
    assert [each["_id"] for each in batches.rows()] == ["e1", "e2"]
    assert batches.act(batch, "REVERT").status_code == 200
    assert batches.rows() == []


def test_happy_path_parquet(batches):
    own = pa.struct([("count", pa.int32()), ("note", pa.string()), ("seenAt", pa.timestamp("ms", "UTC"))])
    schema = pa.schema([("_id", pa.string()), ("timestamp", pa.timestamp("ms", "UTC")), ("_acmechat", own)])
    rows = [{"_id": f"e{n}", "timestamp": 1_700_000_000_000 + n, "_acmechat": {"count": n, "seenAt": 5}} for n in range(3)]
    batch, entry = batches.load(parquet(rows, schema), form="parquet")
    assert entry["status"] == "success", entry


def test_partial(batches):
    content = lines(row(1), row("x"), {"_id": "e"}, *map(row, range(10))) + b"{not json\n"
    batch, entry = batches.load(content, enableErrorDiagnostics=True, partialIngestionPercent=50)
    assert entry["status"] == "success", entry
    batch, entry = batches.load(content)
    assert entry["status"] == "failed", entry
    batch, entry = batches.load(json.dumps([row(1), row(2)], indent=1), inputFormat={"format":"json","isMultiLineJson":True})
    assert entry["status"] == "success", entry
