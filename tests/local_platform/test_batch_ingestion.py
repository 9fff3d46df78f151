"""Batch ingestion: batches, their files and states, landing, failures, and reverts."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import os
import signal
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

from chatlio_kit.local_platform import Options, ensure_running, erase_rows, running, stop
from chatlio_kit.local_platform.batch_ingestion import promotion, routes
from chatlio_kit.local_platform.lake import files

EVENT = "https://ns.adobe.com/xdm/context/experienceevent"
OCTETS = {"Content-Type": "application/octet-stream"}
AT = "2024-03-01T10:15:30.000Z"
WHEN = datetime(2024, 3, 1, 10, 15, 30, tzinfo=UTC)
MILLIS = round(WHEN.timestamp() * 1000)
FIELDS = {
    "note": {"type": "string", "pattern": "^[a-z ]+$", "maxLength": 20},
    "mail": {"type": "string", "format": "email"},
    "kind": {"type": "string", "enum": ["asked", "answered"]},
    "count": {"type": "integer"},
    "rank": {"type": "integer", "minimum": -128, "maximum": 127},
    "long": {"type": "integer", "minimum": -9007199254740992, "maximum": 9007199254740992},
    "share": {"type": "number", "minimum": 0, "maximum": 1},
    "open": {"type": "boolean"},
    "day": {"type": "string", "format": "date"},
    "seen": {"type": "string", "format": "date-time"},
    "tags": {"type": "array", "items": {"type": "string"}},
    "lines": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"text": {"type": "string"}, "at": {"type": "string", "format": "date-time"}},
        },
    },
    "words": {"type": "object", "meta:xdmType": "map", "additionalProperties": {"type": "string"}},
}
MILLISECONDS = pa.timestamp("ms", "UTC")
OWN = pa.struct(
    {
        **dict.fromkeys(("note", "mail", "kind"), pa.string()),
        "count": pa.int32(),
        "rank": pa.int8(),
        "long": pa.int64(),
        "share": pa.float64(),
        "open": pa.bool_(),
        "day": pa.date32(),
        "seen": MILLISECONDS,
        "tags": pa.list_(pa.string()),
        "lines": pa.list_(pa.struct({"text": pa.string(), "at": MILLISECONDS})),
        "words": pa.map_(pa.string(), pa.string()),
    }.items()
)


class Batches:
    """The batch ingestion API of one platform, for one dataset of its own."""

    def __init__(self, api, schema=None, dataset=None, **more):
        self.api = api
        self.schema = schema or ({} if dataset else new_schema(api))
        self.dataset = dataset or api.new_dataset(self.schema, **more)

    def create(self, form="json", **more):
        """Ask for a batch of the dataset."""
        body = {"datasetId": self.dataset, "inputFormat": {"format": form}, **more}
        return self.api.post(f"{self.api.ingest}/batches", body)

    def new(self, form="json", **more):
        """Create a batch; gives its id."""
        response = self.create(form, **more)
        assert response.status_code == 201, response.text
        return response.json()["id"]

    def file(self, batch, path="rows", dataset=None):
        """The address of a file of a batch."""
        return f"{self.api.ingest}/batches/{batch}/datasets/{dataset or self.dataset}/files/{path}"

    def put(self, batch, content, path="rows"):
        """Upload a file as a whole."""
        return self.api.call("PUT", self.file(batch, path), data=content, headers=OCTETS)

    def act(self, batch, action):
        """Complete, abort, fail or revert a batch."""
        return self.api.call("POST", f"{self.api.ingest}/batches/{batch}?action={action}")

    def entry(self, batch):
        """Return a batch's entry in Catalog."""
        return self.api.get(f"{self.api.catalog}/batches/{batch}").json()[batch]

    def wait(self, batch, *states):
        """Wait until a batch is in one of these states."""
        deadline = time.monotonic() + 30
        while (entry := self.entry(batch))["status"] not in states:
            assert time.monotonic() < deadline, entry
            time.sleep(0.01)
        return entry

    def load(self, *contents, form="json", **more):
        """Upload files to a new batch, complete it, and wait for its end."""
        batch = self.new(form, **more)
        for number, content in enumerate(contents):
            assert self.put(batch, content, f"folder/{number}").status_code == 201
        assert self.act(batch, "COMPLETE").status_code == 200
        return self.wait(batch, "success", "failed")

    def tables(self):
        """The Parquet files of the dataset, oldest batch first."""
        query = {"dataSet": self.dataset, "status": "success", "limit": "100", "orderBy": "asc:created"}
        for batch in self.api.get(f"{self.api.catalog}/batches", params=query).json():
            (file,) = self.api.get(f"{self.api.export}/batches/{batch}/files").json()["data"]
            for part in self.api.get(file["_links"]["self"]["href"]).json()["data"]:
                yield pq.read_table(io.BytesIO(self.api.get(part["_links"]["self"]["href"]).content))

    def rows(self):
        """The rows of the dataset."""
        return [each for table in self.tables() for each in table.to_pylist(maps_as_pydicts="strict")]

    def ids(self):
        """The ids of the rows of the dataset."""
        return [each["_id"] for each in self.rows()]

    def meta(self, batch, path):
        """A file or folder of a batch's metadata."""
        return self.api.get(f"{self.api.export}/batches/{batch}/meta", params={"path": path})

    def diagnostics(self, batch):
        """The lines of a batch's diagnostics files, by name."""
        listed = self.meta(batch, "row_errors").json()["data"]
        return {
            each["name"]: [
                json.loads(line) for line in self.api.get(each["_links"]["self"]["href"]).iter_lines()
            ]
            for each in listed
        }


def new_schema(api):
    """Create the schema of these tests."""
    own = {"type": "object", "properties": FIELDS}
    body = {
        "type": "object",
        "title": "Batch details",
        "meta:intendedToExtend": [EVENT],
        "definitions": {"customFields": {"type": "object", "properties": {"_acmechat": own}}},
        "allOf": [{"$ref": "#/definitions/customFields"}],
    }
    group = api.post(f"{api.registry}/tenant/fieldgroups", body).json()["$id"]
    body = {"type": "object", "title": "Batch events", "allOf": [{"$ref": EVENT}, {"$ref": group}]}
    return api.post(f"{api.registry}/tenant/schemas", body).json()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The folder of the platform that most tests share."""
    return tmp_path_factory.mktemp("batches") / "store"


@pytest.fixture(scope="module")
def platform(store):
    """A platform that waits for nothing."""
    with running(store, enabling_delay=0, processing_delay=0) as found:
        yield found


@pytest.fixture(scope="module")
def schemas():
    """The schema of each platform, created once."""
    return {}


@pytest.fixture
def batches(platform, connect, schemas):
    """Batches of a new dataset."""
    api = connect(platform)
    found = Batches(api, schemas.get(platform.url))
    schemas[platform.url] = found.schema
    return found


def row(number=1, **own):
    """A valid event with fields of its own."""
    return {"_id": f"e{number}", "timestamp": AT, "_acmechat": {"count": 1, **own}}


def lines(*rows):
    """Events as JSON lines."""
    return b"".join(json.dumps(each).encode() + b"\n" for each in rows)


def parquet(rows, own=OWN, **options):
    """Events as a Parquet file."""
    schema = pa.schema({"_id": pa.string(), "timestamp": MILLISECONDS, "_acmechat": own}.items())
    target = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), target, **options)
    return target.getvalue()


# Creation.


def test_a_new_batch_is_loading_and_has_its_id_as_external_id(batches):
    """Creation answers 201 with the entry that Catalog shows from then on."""
    response = batches.create(tags={"lot": ["1"]}, enableErrorDiagnostics=True, partialIngestionPercent=5)
    created = response.json()
    assert (response.status_code, created["status"], created["version"]) == (201, "loading", "1.0.0")
    assert created["externalId"] == created["id"]
    assert created["relatedObjects"] == [{"type": "dataSet", "id": batches.dataset}]
    assert created["tags"] == {
        "lot": ["1"],
        "acp_enableErrorDiagnostics": True,
        "acp_partialIngestionPercent": 5,
    }
    assert batches.entry(created["id"]) == created


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"datasetId": None}, "required"),
        ({"inputFormat": None}, "required"),
        ({"datasetId": "0" * 24}, "not found"),
        ({"inputFormat": {"format": "csv"}}, "CSV"),
        ({"inputFormat": {"format": "avro"}}, "format"),
        ({"inputFormat": {"format": "parquet", "isMultiLineJson": True}}, "isMultiLineJson"),
        ({"partialIngestionPercentage": 5}, "partialIngestionPercentage"),
        ({"partialIngestionPercent": 0}, "partialIngestionPercent"),
        ({"enableErrorDiagnostics": "yes"}, "enableErrorDiagnostics"),
        ({"tags": {"lot": "1"}}, "tags"),
        ({"externalId": ""}, "externalId"),
        ({"replay": {"reason": "replace", "predecessors": ["01M8"]}}, "a $ before it"),
        ({"replay": {"reason": "replace", "predecessors": ["$01M8"]}}, "no successful batch"),
    ],
)
def test_a_batch_that_makes_no_sense_is_not_created(batches, changed, said):
    """Required fields, the dataset, formats, and fields that the reference does not know: 400."""
    response = batches.create(**changed)
    assert response.status_code == 400
    assert said in response.json()["detail"]


def test_an_external_id_finds_its_batch_and_is_never_given_twice(batches):
    """Catalog filters by ``externalId``; even an aborted batch keeps its own, unique in the organisation."""
    batch = batches.new(externalId="lot 1")
    query = {"dataSet": batches.dataset, "externalId": "lot 1"}
    assert list(batches.api.get(f"{batches.api.catalog}/batches", params=query).json()) == [batch]
    assert batches.act(batch, "ABORT").status_code == 200
    assert batches.create(externalId="lot 1").status_code == 400
    assert batches.api.get(f"{batches.api.ingest}/batches").status_code == 405


def test_batches_are_limited_by_the_minute(tmp_path, connect, monkeypatch):
    """One more than a minute's batches of a user is answered with 429."""
    monkeypatch.setattr(routes, "BATCHES_PER_MINUTE", 2)
    with running(tmp_path / "store", withheld=frozenset({"manage-sources"})) as platform:
        found = Batches(connect(platform))
        assert [found.create().status_code for _ in range(3)] == [201, 201, 429]


# Uploads.


def test_an_upload_is_idempotent_by_its_path(batches):
    """The first PUT creates with 201, the next replaces with 200; both answer without a body."""
    batch = batches.new()
    first, second = (batches.put(batch, lines(row(number)), "a=1/b.json") for number in (1, 2))
    assert [(each.status_code, each.content) for each in (first, second)] == [(201, b""), (200, b"")]
    assert batches.act(batch, "COMPLETE").status_code == 200
    assert batches.wait(batch, "success")["metrics"]["inputFileCount"] == 1
    assert batches.ids() == ["e2"]
    (listed,) = batches.meta(batch, "input_files").json()["data"]
    assert batches.api.get(listed["_links"]["self"]["href"]).json() == {"path": "a=1/b.json"}


def test_an_upload_to_the_wrong_place_is_refused(batches):
    """Unknown batch or dataset 404, media type 415, URL beyond 2000 characters 414, odd paths 400."""
    batch, put = batches.new(), batches.api.call
    assert put("PUT", batches.file("none"), data=b"x", headers=OCTETS).status_code == 404
    other = batches.api.new_dataset(batches.schema, name="other")
    assert put("PUT", batches.file(batch, dataset=other), data=b"x", headers=OCTETS).status_code == 404
    assert (
        put("PUT", batches.file(batch), data=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
    )
    assert put("PUT", batches.file(batch), files={"file": b"{}"}).status_code == 415
    assert batches.put(batch, b"x", "n" * 2000).status_code == 414
    assert [batches.put(batch, b"x", path).status_code for path in ("a//b", "a/%20/b")] == [400, 400]
    headers = {**OCTETS, "x-sandbox-name": "other"}
    assert put("PUT", batches.file(batch), data=b"x", headers=headers).status_code == 404
    expired = put("PUT", batches.file(batch), data=b"x", headers={**OCTETS, "Authorization": "Bearer old"})
    assert (expired.status_code, expired.json()["error_code"]) == (401, "401013")
    assert batches.act(batch, "COMPLETE").status_code == 200
    assert batches.wait(batch, "failed")["errors"][0]["code"] == "133"
    assert batches.put(batch, b"x").status_code == 428


def test_a_file_beyond_256_megabytes_is_refused(batches, monkeypatch):
    """The announced length is refused before the body; without one, the body is when it grows too large."""
    batch = batches.new()
    line = announced(batches, batch, 256_000_001)
    assert line.getresponse().status == 413
    line.close()
    monkeypatch.setattr(routes, "LARGEST_FILE", 100)
    assert batches.put(batch, iter([b"x" * 60, b"x" * 60])).status_code == 413
    assert batches.put(batch, b"x" * 100).status_code == 201


def test_an_interrupted_upload_leaves_nothing(batches, store):
    """A connection that is lost within the body stores no part of a file."""
    batch = batches.new()
    line = announced(batches, batch, 1_000_000)
    line.send(lines(row(1)))
    deadline = time.monotonic() + 10
    while not list(store.glob("uploads/*/*.unfinished")):
        assert time.monotonic() < deadline
    line.close()
    while list(store.glob("uploads/*/*.unfinished")):
        assert time.monotonic() < deadline
    assert batches.api.call("HEAD", batches.file(batch)).status_code == 404
    assert batches.put(batch, lines(row(2))).status_code == 201


def announced(batches, batch, length):
    """A connection on which an upload has begun: its head is sent."""
    url = urlsplit(batches.file(batch))
    line = http.client.HTTPConnection(url.netloc, timeout=10)
    line.putrequest("PUT", url.path, skip_accept_encoding=True)
    for name, value in {**batches.api.session.headers, **OCTETS, "Content-Length": str(length)}.items():
        line.putheader(name, value)
    line.endheaders()
    return line


def test_a_large_file_is_joined_from_its_chunks(batches):
    """Missing and overlapping chunks are refused with 400 when the file is completed, not before."""
    batch, content = batches.new(), lines(*map(row, range(20)))
    url, call = batches.file(batch), batches.api.call

    def patch(first, last):
        headers = {**OCTETS, "Content-Range": f"bytes {first}-{last}"}
        return call("PATCH", url, data=content[first : last + 1], headers=headers).status_code

    assert patch(0, 99) == 404
    assert call("POST", f"{url}?action=INITIALIZE").status_code == 201
    assert [patch(100, 199), patch(300, 399), patch(0, 99), patch(100, 199)] == [200] * 4
    assert call("HEAD", url).headers["Range"] == "bytes=0-199,300-399"
    assert call("POST", f"{url}?action=COMPLETE").status_code == 400
    assert batches.act(batch, "COMPLETE").status_code == 400
    assert patch(200, len(content) - 1) == 200
    assert call("POST", f"{url}?action=COMPLETE").status_code == 400
    assert call("POST", f"{url}?action=INITIALIZE").status_code == 201
    assert [patch(0, 199), patch(200, len(content) - 1)] == [200, 200]
    wrong = {**OCTETS, "Content-Range": "bytes 0-5"}
    assert call("PATCH", url, data=b"x", headers=wrong).status_code == 400
    done = call("POST", f"{url}?action=COMPLETE")
    assert (done.status_code, done.json()) == (200, {"name": "rows", "sizeInBytes": len(content)})
    assert batches.act(batch, "COMPLETE").status_code == 200
    assert batches.wait(batch, "success")["metrics"]["outputRecordCount"] == 20


def test_a_preview_names_columns_by_path(batches):
    """Before the batch is complete, columns are named by paths that are joined by strokes."""
    batch = batches.new("parquet")
    batches.put(
        batch, parquet([{"_id": f"e{n}", "timestamp": n, "_acmechat": {"count": n}} for n in range(5)])
    )
    url = f"{batches.api.ingest}/batches/{batch}/datasets/{batches.dataset}/preview"
    found = batches.api.get(url, params={"format": "parquet", "nrow": "2"}).json()["preview"]
    names = {each["cid"]: each["name"] for each in found["columns"]}
    assert [{names[cid]: value for cid, value in each.items()} for each in found["rows"]] == [
        {"_id": f"e{n}", "timestamp": str(n), "_acmechat/count": str(n)} for n in range(2)
    ]


# States.


def test_a_batch_passes_its_states_in_order_and_shows_nothing_before_success(tmp_path, connect):
    """Loading, loaded, staging, staged, success; completion may be repeated, and a revert takes its time."""
    with running(tmp_path / "store", enabling_delay=0, processing_delay=0.3) as platform:
        found = Batches(connect(platform))
        batch = found.new()
        found.put(batch, lines(row()))
        assert found.entry(batch)["status"] == "loading"
        assert found.act(batch, "COMPLETE").status_code == 200
        seen = []
        while "success" not in seen:
            entry = found.entry(batch)
            if entry["status"] not in seen:
                seen.append(entry["status"])
                assert found.act(batch, "COMPLETE").status_code == 200
                assert found.act(batch, "ABORT").status_code == 428
            if entry["status"] != "success":
                files_then = found.api.get(f"{found.api.export}/batches/{batch}/files").json()["data"]
                assert files_then == [] or found.entry(batch)["status"] == "success"
        assert [state for state in seen if state != "staging"] == ["loaded", "staged", "success"]
        assert entry["metrics"]["outputRecordCount"] == 1
        assert entry["created"] <= entry["started"] <= entry["completed"]
        assert found.act(batch, "REVERT").status_code == 200
        assert (found.entry(batch)["status"], found.ids()) == ("success", ["e1"])
        found.wait(batch, "inactive")
        assert found.ids() == []


def test_each_action_has_its_states(batches):
    """Abort and fail before completion, revert after success; all else is refused with 428."""
    states = {name: batches.new() for name in ("loading", "aborted", "failed")}
    for name, action in (("aborted", "ABORT"), ("failed", "FAIL")):
        assert batches.act(states[name], action).status_code == 200
        assert batches.entry(states[name])["status"] == name
    states["success"] = batches.load(lines(row(1)))["id"]
    states["inactive"] = batches.load(lines(row(2)))["id"]
    assert batches.act(states["inactive"], "REVERT").status_code == 200
    allowed = {("success", "COMPLETE")}
    for name, batch in list(states.items())[1:]:
        for action in ("COMPLETE", "ABORT", "FAIL", *(["REVERT"] if name != "success" else [])):
            response = batches.act(batch, action)
            assert response.status_code == (200 if (name, action) in allowed else 428), (name, action)
            assert response.content == b"" or response.json()["title"] == "ERR-BI-104"
    assert batches.act(states["loading"], "REVERT").status_code == 428
    assert batches.act(states["loading"], "DELETE").status_code == 400
    assert batches.ids() == ["e1"]


def test_a_batch_that_cannot_be_processed_is_retried_and_then_stalls(tmp_path, connect, monkeypatch):
    """A lost file is the platform's fault: the batch does not fail, and stays stalled."""
    monkeypatch.setattr(promotion, "PAUSE_BEFORE_RETRY", 0.05)
    with running(tmp_path / "store", enabling_delay=0, processing_delay=0.1) as platform:
        found = Batches(connect(platform))
        batch = found.new()
        found.put(batch, lines(row()))
        (lost,) = (tmp_path / "store" / "uploads").glob("*/*")
        lost.unlink()
        found.act(batch, "COMPLETE")
        found.wait(batch, "retrying")
        found.wait(batch, "stalled")
        assert found.act(batch, "REVERT").status_code == 428


# Landing.


def test_rows_of_all_routes_have_the_same_columns(batches):
    """JSON lines, a JSON array, Parquet and the stream fill one dataset with rows that are alike."""
    whole = {
        "note": "hello", "mail": "a@example.org", "kind": "asked", "count": 7, "rank": 3, "long": 2**40,
        "share": 0.5, "open": True, "day": "2024-03-01", "seen": AT, "tags": ["a", "b"],
        "lines": [{"text": "hi", "at": AT}], "words": {"k": "v"},
    }  # fmt: skip
    identities = {"Email": [{"id": "a@example.org", "primary": True}]}
    event = {**row(1, **whole), "identityMap": identities}
    own = {**whole, "day": date(2024, 3, 1), "seen": WHEN, "lines": [{"text": "hi", "at": WHEN}]}
    flow = batches.api.new_flow(batches.schema, batches.dataset)
    envelope = envelope_of(batches, flow, event)
    assert batches.api.send(flow, [envelope], headers={}).json()["responses"][0].keys() == {"xactionId"}
    batches.api.wait_for_records(flow, 1)
    identity = pa.struct([("id", pa.string()), ("primary", pa.bool_())])
    columns = pa.schema(
        {
            "_id": pa.string(), "timestamp": MILLISECONDS, "_acmechat": OWN,
            "identityMap": pa.map_(pa.string(), pa.list_(identity)),
        }.items()
    )  # fmt: skip
    target = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{**event, "timestamp": WHEN, "_acmechat": own}], columns), target)
    multi_line = {"inputFormat": {"format": "JSON", "isMultiLineJson": True}}
    assert batches.load(lines(event))["status"] == "success"
    assert (
        batches.load(json.dumps([event, event], indent=1), **multi_line)["metrics"]["outputRecordCount"] == 2
    )
    assert batches.load(target.getvalue(), form="parquet")["status"] == "success"
    tables = list(batches.tables())
    assert len(tables) == 4
    assert all(table.schema.equals(tables[0].schema) for table in tables)
    first, *others = batches.rows()
    assert first["_acmechat"] == own
    assert len(others) == 4
    assert all(plain(each) == plain(first) for each in others)


def plain(value):
    """A row without absent values."""
    if isinstance(value, dict):
        return {name: plain(member) for name, member in value.items() if member is not None}
    return [plain(each) for each in value] if isinstance(value, list) else value


def envelope_of(batches, flow, event):
    """An event in the XDM form of streaming ingestion."""
    content_type = "application/vnd.adobe.xed-full+json;version=1"
    reference = {"id": batches.schema["$id"], "contentType": content_type}
    header = {"schemaRef": reference, "datasetId": batches.dataset, "flowId": flow["id"]}
    return {"header": header, "body": {"xdmMeta": {"schemaRef": reference}, "xdmEntity": event}}


def test_values_are_converted_to_the_type_of_their_field(batches):
    """Texts and numbers to each other and to times; milliseconds to times; null counts as absent."""
    cases = [
        ({"count": "12"}, {"count": 12}),
        ({"count": 3.0}, {"count": 3}),
        ({"note": 5}, {"note": "5"}),
        ({"share": "0.25"}, {"share": 0.25}),
        ({"share": 1}, {"share": 1.0}),
        ({"seen": MILLIS}, {"seen": WHEN}),
        ({"day": MILLIS}, {"day": date(2024, 3, 1)}),
        ({"seen": "2024-03-01T12:15:30+02:00"}, {"seen": WHEN}),
        ({"note": None, "open": None}, {}),
        ({"lines": [{"text": 7}]}, {"lines": [{"text": "7"}]}),
        ({"words": {"k": 1}}, {"words": {"k": "1"}}),
        # Streaming refuses these; batch ingestion does not check pattern or format.
        ({"note": "NO", "mail": "none"}, {"note": "NO", "mail": "none"}),
    ]
    entry = batches.load(lines(*(row(number, **own) for number, (own, _) in enumerate(cases))))
    assert entry["status"] == "success", entry
    assert [plain(each["_acmechat"]) for each in batches.rows()] == [
        {"count": 1, **kept} for _, kept in cases
    ]


def test_rows_that_break_the_schema_are_diagnosed_one_by_one(batches):
    """Type, enum, range, presence, unknown fields and broken JSON; the good rows around them land."""
    bad = [
        row("text", count="many"), row("whole", count=1.5), row("range", rank=500), row("enum", kind="sold"),
        row("long", note="x" * 21), row("time", seen="yesterday"), row("zone", seen="2024-03-01T10:15:30"),
        row("unknown", oops=1), row("big", count=2**40),
    ]  # fmt: skip
    absent = [{"_id": "absent"}, {**row("null"), "timestamp": None}, row("element", tags=["a", None])]
    content = lines(row(1), *bad, *absent) + b'{"_id": \n[1]\n\n' + lines(row(2))
    entry = batches.load(content, enableErrorDiagnostics=True, partialIngestionPercent=88)
    assert (entry["status"], batches.ids()) == ("success", ["e1", "e2"])
    counted = [entry["metrics"][f"{name}RecordCount"] for name in ("input", "output", "failed")]
    assert counted == [16, 2, 14]
    assert entry["errors"][0]["code"] == "INGEST-1212-400"
    assert entry["errors"][0]["description"].startswith(
        "Encountered 14 errors in the data. Successfully ingested 2 rows."
    )
    counts = {each["code"]: each["recordCount"] for each in entry["errors"][1:]}
    assert counts == {"INGEST-1401-400": 11, "INGEST-1555-400": 3}
    found = batches.diagnostics(entry["id"])
    corrupt = found["parsing_errors_0.json"]
    assert [each["_corrupt_record"] for each in corrupt] == ['{"_id":', "[1]"]
    converted = found["conversion_errors_0.json"]
    assert [json.loads(each["_corrupt_record"]) for each in converted] == [*bad, *absent]
    assert [each["_errors"][0]["code"] for each in converted] == ["1401"] * len(bad) + ["1555"] * 3
    assert "#/_acmechat/count" in converted[0]["_errors"][0]["message"]
    assert len(batches.meta(entry["id"], "row_errors_sample.json").text.splitlines()) == 14


def test_a_batch_fails_above_its_share_of_errors(batches):
    """At the threshold, rows land; above it, none do; without diagnostics, the rows are not listed."""
    content = lines(*map(row, range(19)), row("bad", count="many"))
    assert batches.load(content, partialIngestionPercent=5)["status"] == "success"
    assert len(batches.ids()) == 19
    entry = batches.load(content, partialIngestionPercent=4.9)
    assert (entry["status"], [each["code"] for each in entry["errors"]]) == ("failed", ["INGEST-1211-400"])
    assert batches.diagnostics(entry["id"]) == {}
    entry = batches.load(content, enableErrorDiagnostics=True)
    assert (entry["status"], entry["metrics"]["outputRecordCount"]) == ("failed", 0)
    (failed,) = batches.api.failed_messages(entry["id"])
    assert failed["body"]["_id"] == "ebad"
    assert batches.api.get(f"{batches.api.export}/batches/{entry['id']}/files").json()["data"] == []
    assert len(batches.ids()) == 19


@pytest.mark.parametrize(
    "own", [{"note": True}, {"open": "true"}, {"open": 1}, {"tags": "a"}, {"count": [1]}, {"words": "k"},
            {"note": {"a": 1}}, {"seen": 1.5}],
    ids=str,
)  # fmt: skip
def test_a_value_without_a_conversion_fails_the_batch(batches, own):
    """Booleans and arrays are converted to and from nothing, nor is an object to a text."""
    entry = batches.load(
        lines(row(1), row(2, **own)), enableErrorDiagnostics=True, partialIngestionPercent=100
    )
    (error,) = entry["errors"]
    assert (entry["status"], error["code"]) == ("failed", "TypeCompatibilityException")
    assert f"_acmechat.{next(iter(own))}" in error["description"]
    assert batches.ids() == []


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("seen", pa.timestamp("ms"), 1),
        ("seen", pa.timestamp("us", "UTC"), 1),
        ("seen", pa.timestamp("ns", "UTC"), 1),
        ("seen", pa.int32(), 1),
        ("count", pa.uint32(), 1),
        ("count", pa.bool_(), True),
        ("share", pa.float32(), 1.0),
        ("share", pa.decimal128(5, 2), Decimal(1)),
        ("note", pa.binary(), b"x"),
        ("note", pa.null(), None),
        ("note", pa.struct({"a": pa.string()}.items()), {"a": "x"}),
        ("tags", pa.string(), "a"),
        ("lines", pa.list_(pa.string()), ["a"]),
        ("oops", pa.string(), "x"),
    ],
    ids=str,
)
def test_a_parquet_column_of_another_form_fails_the_batch(batches, name, kind, value):
    """Times are UTC milliseconds; unsigned, decimal, float, binary and typeless columns are refused."""
    content = parquet(
        [{"_id": "e", "timestamp": 1, "_acmechat": {name: value}}], pa.struct({name: kind}.items())
    )
    entry = batches.load(content, form="parquet")
    (error,) = entry["errors"]
    assert (entry["status"], error["code"]) == ("failed", "TypeCompatibilityException")
    assert f"_acmechat.{name}" in error["description"]


def test_parquet_lists_have_a_group_named_element(batches):
    """The older names of a list's groups are refused, and so are INT96 times."""
    rows = [{"_id": "e", "timestamp": 1, "_acmechat": {"tags": ["a"]}}]
    own = pa.struct({"tags": pa.list_(pa.string())}.items())
    assert batches.load(parquet(rows, own), form="parquet")["status"] == "success"
    for option in ({"use_compliant_nested_type": False}, {"use_deprecated_int96_timestamps": True}):
        assert batches.load(parquet(rows, own, **option), form="parquet")["status"] == "failed"


def test_parquet_columns_are_converted_too(batches):
    """Whole numbers of 64 bits are milliseconds, and texts become what their field is."""
    own = pa.struct(
        [("seen", pa.int64()), ("day", pa.string()), ("count", pa.string()), ("note", pa.int32())]
    )
    value = {"seen": MILLIS, "day": "2024-03-01", "count": "12", "note": 5}
    content = parquet([{"_id": "e", "timestamp": MILLIS, "_acmechat": value}], own)
    assert batches.load(content, form="parquet")["status"] == "success"
    (found,) = batches.rows()
    assert found["timestamp"] == WHEN
    assert plain(found["_acmechat"]) == {"seen": WHEN, "day": date(2024, 3, 1), "count": 12, "note": "5"}


def test_unreadable_and_empty_files_fail_their_batch(batches):
    """A wrong format, compressed JSON, files of different columns, a file without rows."""
    multi_line = {"inputFormat": {"format": "json", "isMultiLineJson": True}}
    whole = parquet([{"_id": "e", "timestamp": 1}])
    narrow = parquet([{"_id": "e", "timestamp": 1}], pa.struct({"note": pa.string()}.items()))
    cases = [
        ("INGEST-1401-400", batches.load(lines(row()), form="parquet")),
        ("INGEST-1401-400", batches.load(whole[:200] + whole[201:], form="parquet")),
        ("INGEST-1401-400", batches.load(whole, narrow, form="parquet")),
        ("INGEST-1401-400", batches.load(lines(row()), **multi_line)),
        ("INGEST-1401-400", batches.load(json.dumps([row()])[:-3], **multi_line)),
        ("INGEST-1211-400", batches.load(gzip.compress(lines(row())))),
        ("INGEST-1211-400", batches.load(json.dumps([row()]))),
        ("106", batches.load(lines(row()), b"")),
        ("106", batches.load(parquet([]), form="parquet")),
    ]
    for number, (code, entry) in enumerate(cases):
        assert (entry["status"], entry["errors"][0]["code"]) == ("failed", code), (number, entry)
    assert batches.ids() == []


def test_guardrails_are_named_when_a_batch_hits_them(batches, monkeypatch):
    """Too many files or bytes fail the batch, with the documented text."""
    monkeypatch.setattr(promotion, "MOST_FILES", 1)
    monkeypatch.setattr(promotion, "MOST_BYTES", 100)
    entry = batches.load(lines(row(1)), lines(row(2)))
    assert (entry["status"], entry["errors"][0]["description"]) == (
        "failed",
        "Batch ingestion guardrails hit: 2 files (over the 1 threshold); 164 bytes (over the 100 threshold)",
    )


def test_a_large_batch_has_many_parts(batches, monkeypatch):
    """Every part is listed and has its rows; one revert takes them all."""
    monkeypatch.setattr(files, "PART_ROWS", 10)
    monkeypatch.setattr(promotion, "CHUNK_ROWS", 4)
    entry = batches.load(lines(*map(row, range(15))), lines(*map(row, range(15, 30))))
    assert entry["metrics"]["outputFileCount"] == 3
    assert batches.ids() == [f"e{number}" for number in range(30)]
    preview = batches.api.get(f"{batches.api.export}/datasets/{batches.dataset}/preview").json()["data"]
    assert len(preview) == 30
    assert batches.act(entry["id"], "REVERT").status_code == 200
    assert batches.ids() == []


# Reverts.


def test_a_replay_replaces_batches_once_it_succeeds(batches):
    """The predecessors stay until then, by id or by external id, and turn inactive with the success."""
    old = [batches.load(lines(row(number)), externalId=f"old {number}")["id"] for number in (1, 2)]
    replay = {"reason": "replace", "predecessors": [f"${old[0]}"], "predecessorsByExternalId": ["$old 2"]}
    batch = batches.new(replay=replay)
    assert batches.entry(batch)["replay"] == {"predecessors": old, "reason": "replace"}
    batches.put(batch, lines(row(3)))
    assert batches.ids() == ["e1", "e2"]
    batches.act(batch, "COMPLETE")
    batches.wait(batch, "success")
    assert batches.ids() == ["e3"]
    assert {batches.entry(each)["status"] for each in old} == {"inactive"}


def test_a_revert_keeps_rows_of_other_routes_and_removes_its_own_from_profile(tmp_path, connect):
    """Profile and Observability count what the lake holds; a reverted batch counts no more."""
    with running(tmp_path / "store", enabling_delay=0, processing_delay=0) as platform:
        api = connect(platform)
        schema = new_schema(api)
        union = [{"op": "add", "path": "/meta:immutableTags", "value": ["union"]}]
        assert api.call("PATCH", api.resource_url(schema), json=union).status_code == 200
        tags = {"unifiedProfile": ["enabled:true"], "unifiedIdentity": ["enabled:true"]}
        found = Batches(api, schema, tags=tags)
        people = [
            {**row(n), "identityMap": {"Email": [{"id": f"{n}@example.org", "primary": True}]}}
            for n in range(3)
        ]
        flow = api.new_flow(schema, found.dataset)
        api.send(flow, [envelope_of(found, flow, people[0])], headers={})
        api.wait_for_records(flow, 1)
        batch = found.load(lines(*people[1:]))["id"]
        status = f"{platform.url}/data/core/ups/previewsamplestatus"
        assert api.get(status).json()["totalRows"] == "3"
        assert found.act(batch, "REVERT").status_code == 200
        assert (api.get(status).json()["totalRows"], found.ids()) == ("1", ["e0"])
        (streamed,) = api.batches(flow, "success")
        assert found.act(streamed, "REVERT").status_code == 200
        assert (api.get(status).json()["totalRows"], found.ids()) == ("0", [])


# Faults.


def test_a_kill_loses_no_file_and_doubles_no_row(tmp_path, connect):
    """Uploads and completion are on disk when they are answered; processing starts again from the files."""
    store = tmp_path / "store"
    options = Options(enabling_delay=0, processing_delay=1)
    try:
        found = Batches(connect(ensure_running(store, options=options)))
        batch, open_batch = found.new(), found.new()
        for number in range(3):
            found.put(batch, lines(*map(row, range(number * 100, number * 100 + 100))), f"{number}")
        found.put(open_batch, lines(row("last")))
        found.act(batch, "COMPLETE")
        pid = json.loads((store / "server.json").read_text())["pid"]
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        api = connect(ensure_running(store, options=Options(processing_delay=0)))
        again = Batches(api, dataset=found.dataset)
        assert again.wait(batch, "success")["metrics"]["outputRecordCount"] == 300
        assert sorted(again.ids()) == sorted(f"e{number}" for number in range(300))
        assert again.put(open_batch, lines(row("last"))).status_code == 200
        again.act(open_batch, "COMPLETE")
        again.wait(open_batch, "success")
        assert list((store / "uploads").iterdir()) == []
        assert "could not be processed" not in (store / "server.log").read_text()
    finally:
        stop(store)


def test_faults_strike_before_and_after_a_call_takes_effect(tmp_path, connect):
    """An answer that is lost leaves the effect; the call may be repeated."""
    rules = [
        {"fault": "reset_after", "on": "platform", "after": 5, "count": 1},
        {"fault": "status", "status": 503, "on": "platform", "after": 6, "count": 1},
        {"fault": "cut", "on": "platform", "after": 8, "count": 1},
    ]
    with running(tmp_path / "store", processing_delay=0, faults={"faults": rules}) as platform:
        found = Batches(connect(platform))  # three calls
        batch = found.new()
        assert found.put(batch, lines(row())).status_code == 201
        with pytest.raises(requests.ConnectionError):
            found.put(batch, lines(row(2)), "other")
        assert found.put(batch, lines(row(2)), "other").status_code == 503
        assert found.put(batch, lines(row(2)), "other").status_code == 200
        with pytest.raises(requests.RequestException):
            found.create(externalId="lost")
        assert found.create(externalId="lost").status_code == 400


def test_erasing_rows_includes_uploads(tmp_path, connect):
    """A batch that is still loading lands without the rows that were erased meanwhile."""
    store = tmp_path / "store"
    with running(store, enabling_delay=0) as platform:
        found = Batches(connect(platform))
        loading = found.new(), found.new("parquet")
        found.put(loading[0], lines(row(1), row("secret")))
        found.put(loading[1], parquet([{"_id": each, "timestamp": 1} for each in ("esecret", "e2")]))
    assert erase_rows(store, lambda line: "esecret" in line).rows == 2
    with running(store, processing_delay=0) as platform:
        again = Batches(connect(platform), dataset=found.dataset)
        for batch in loading:
            again.act(batch, "COMPLETE")
            again.wait(batch, "success")
        assert again.ids() == ["e1", "e2"]
