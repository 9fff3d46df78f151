"""A running local platform, and a client that knows only the documented calls."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from chatlio_kit.local_platform import RunningPlatform, running

EXPERIENCE_EVENT = "https://ns.adobe.com/xdm/context/experienceevent"
SOURCE_SPEC = {"id": "073127a3-26e3-496c-9d94-9f48fb93fba8", "version": "1.0"}
TARGET_SPEC = {"id": "c604ff05-7f1a-43c0-8e18-33bf874cb11c", "version": "1.0"}
FLOW_SPEC = {"id": "e77fde5a-22a8-11ed-861d-0242ac120002", "version": "1.0"}
MAPPINGS = [
    {"sourceType": "ATTRIBUTE", "source": "id", "destination": "_id"},
    {"sourceType": "ATTRIBUTE", "source": "at", "destination": "timestamp"},
    {"sourceType": "STATIC", "source": "shop.visit", "destination": "eventType"},
    {"sourceType": "ATTRIBUTE", "source": "note", "destination": "_acmechat.note"},
    {"sourceType": "ATTRIBUTE", "source": "count", "destination": "_acmechat.count"},
]


class Api:
    """The services of one local platform, called over HTTP as documented."""

    def __init__(self, platform: RunningPlatform) -> None:
        self.platform = platform
        self.session = requests.Session()
        self.session.headers.update(
            {
                "Authorization": f"Bearer {self.token()['access_token']}",
                "x-api-key": platform.account.client_id,
                "x-gw-ims-org-id": platform.account.org_id,
                "x-sandbox-name": platform.account.sandbox,
            }
        )
        foundation = f"{platform.url}/data/foundation"
        self.registry = f"{foundation}/schemaregistry"
        self.catalog = f"{foundation}/catalog"
        self.data_prep = f"{foundation}/conversion"
        self.flow_service = f"{foundation}/flowservice"
        self.export = f"{foundation}/export"
        self.ingest = f"{foundation}/import"
        self.access_control = f"{foundation}/access-control"

    def token(self, **changed: str) -> dict[str, Any]:
        """Ask for an access token; keywords replace form fields."""
        account = self.platform.account
        form = {
            "grant_type": "client_credentials",
            "client_id": account.client_id,
            "client_secret": account.client_secret,
            "scope": ",".join(account.scopes),
        }
        return requests.post(f"{self.platform.url}/ims/token/v3", data={**form, **changed}, timeout=10).json()

    def call(self, method: str, url: str, **options: Any) -> requests.Response:
        """Any call with the credentials."""
        return self.session.request(method, url, timeout=30, **options)

    def get(self, url: str, **options: Any) -> requests.Response:
        """A GET with the credentials."""
        return self.call("GET", url, **options)

    def post(self, url: str, body: Any, **options: Any) -> requests.Response:
        """A POST of JSON with the credentials."""
        return self.call("POST", url, json=body, **options)

    def new_field_group(self, title: str = "Shop details") -> dict[str, Any]:
        """Create a field group with a text, a number, and a time under the tenant's namespace."""
        own = {
            "type": "object",
            "properties": {
                "note": {"type": "string", "maxLength": 1000},
                "count": {"type": "integer"},
                "seenAt": {"type": "string", "format": "date-time"},
            },
        }
        body = {
            "type": "object",
            "title": title,
            "description": "",
            "meta:intendedToExtend": [EXPERIENCE_EVENT],
            "definitions": {"customFields": {"type": "object", "properties": {"_acmechat": own}}},
            "allOf": [{"$ref": "#/definitions/customFields"}],
        }
        return _created(self.post(f"{self.registry}/tenant/fieldgroups", body))

    def new_schema(self, title: str = "Shop events") -> dict[str, Any]:
        """Create a schema of the class ExperienceEvent with a field group of its own."""
        parts = [{"$ref": EXPERIENCE_EVENT}, {"$ref": self.new_field_group(f"{title} details")["$id"]}]
        body = {"type": "object", "title": title, "description": "", "allOf": parts}
        return _created(self.post(f"{self.registry}/tenant/schemas", body))

    def resource_url(self, resource: dict[str, Any], plural: str = "schemas") -> str:
        """The address of a registry resource."""
        return f"{self.registry}/tenant/{plural}/{quote(resource['$id'], safe='')}"

    def new_dataset(self, schema: dict[str, Any], name: str = "Shop dataset", **more: Any) -> str:
        """Create a dataset for a schema; gives its id."""
        reference = {"id": schema["$id"], "contentType": "application/vnd.adobe.xed+json;version=1"}
        body = {"name": name, "schemaRef": reference, **more}
        created = _created(self.post(f"{self.catalog}/dataSets?requestDataSource=true", body))
        return str(created[0]).removeprefix("@/dataSets/")

    def mapping_set_body(
        self, schema: dict[str, Any], mappings: list[dict[str, str]] | None = None
    ) -> dict[str, Any]:
        """The body of a mapping set for a schema."""
        content_type = "application/vnd.adobe.xed-full+json;version=1"
        return {
            "outputSchema": {"schemaRef": {"id": schema["$id"], "contentType": content_type}},
            "mappings": mappings or MAPPINGS,
        }

    def new_mapping_set(self, schema: dict[str, Any], more: Sequence[dict[str, str]] = ()) -> dict[str, Any]:
        """Create a mapping set for a schema, with further mappings after the usual ones."""
        body = self.mapping_set_body(schema, [*MAPPINGS, *more])
        return _created(self.post(f"{self.data_prep}/mappingSets", body))

    def source_body(self, **changed: Any) -> dict[str, Any]:
        """The body of a source connection."""
        return {"name": "source", "connectionSpec": SOURCE_SPEC, "data": {"format": "json"}, **changed}

    def target_body(self, schema: dict[str, Any], dataset_id: str, **changed: Any) -> dict[str, Any]:
        """The body of a target connection."""
        version = "application/vnd.adobe.xed-full+json;version=1"
        return {
            "name": "target",
            "connectionSpec": TARGET_SPEC,
            "data": {"format": "json", "schema": {"id": schema["$id"], "version": version}},
            "params": {"dataSetId": dataset_id},
            **changed,
        }

    def flow_body(
        self, schema: dict[str, Any], dataset_id: str, mappings: Sequence[dict[str, str]] = (), **changed: Any
    ) -> dict[str, Any]:
        """The body of a dataflow, after its connections and mapping set are created."""
        source = _created(self.post(f"{self.flow_service}/sourceConnections", self.source_body()))
        target_body = self.target_body(schema, dataset_id)
        target = _created(self.post(f"{self.flow_service}/targetConnections", target_body))
        params = {"mappingId": self.new_mapping_set(schema, mappings)["id"], "mappingVersion": 0}
        return {
            "name": "flow",
            "flowSpec": FLOW_SPEC,
            "sourceConnectionIds": [source["id"]],
            "targetConnectionIds": [target["id"]],
            "transformations": [{"name": "Mapping", "params": params}],
            **changed,
        }

    def flow(self, flow_id: str) -> dict[str, Any]:
        """A dataflow as it is now."""
        found: dict[str, Any] = self.get(f"{self.flow_service}/flows/{flow_id}").json()["items"][0]
        return found

    def new_flow(
        self,
        schema: dict[str, Any] | None = None,
        dataset_id: str | None = None,
        mappings: Sequence[dict[str, str]] = (),
    ) -> dict[str, Any]:
        """Create a dataflow with all it needs, and wait until it is enabled."""
        schema = schema or self.new_schema()
        body = self.flow_body(schema, dataset_id or self.new_dataset(schema), mappings)
        flow_id = _created(self.post(f"{self.flow_service}/flows", body))["id"]
        deadline = time.monotonic() + 10
        while (flow := self.flow(flow_id))["state"] != "enabled":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return flow

    def dataset_of(self, flow: dict[str, Any]) -> str:
        """The id of the dataset a dataflow writes to."""
        target = self.get(f"{self.flow_service}/targetConnections/{flow['targetConnectionIds'][0]}").json()
        return str(target["items"][0]["params"]["dataSetId"])

    def send(self, flow: dict[str, Any], messages: list[Any], **options: Any) -> requests.Response:
        """Post raw messages to the batch endpoint of a dataflow's inlet, without credentials."""
        url = flow["options"]["inletUrl"].replace("/collection/", "/collection/batch/")
        headers = {"x-adobe-flow-id": flow["id"]}
        return requests.post(url, json={"messages": messages}, timeout=30, **{"headers": headers, **options})

    def records(self, flow: dict[str, Any]) -> dict[str, int]:
        """The record counts of a dataflow, summed over its runs."""
        query = {"property": f"flowId=={flow['id']}"}
        total: dict[str, int] = {}
        for run in self.get(f"{self.flow_service}/runs", params=query).json()["items"]:
            for name, count in run["metrics"]["recordSummary"].items():
                total[name] = total.get(name, 0) + count
        return total

    def wait_for_records(self, flow: dict[str, Any], count: int) -> dict[str, int]:
        """Wait until this many records of a dataflow are processed."""
        deadline = time.monotonic() + 30
        while (records := self.records(flow)).get("inputRecordCount", 0) < count:
            assert time.monotonic() < deadline, records
            time.sleep(0.02)
        return records

    def batches(self, flow: dict[str, Any], status: str) -> dict[str, dict[str, Any]]:
        """The newest batches of a dataflow's dataset."""
        query = {"dataSet": self.dataset_of(flow), "status": status, "limit": "100"}
        found: dict[str, dict[str, Any]] = self.get(f"{self.catalog}/batches", params=query).json()
        return found

    def download(self, batch_id: str) -> bytes:
        """The Parquet file of a batch."""
        files = self.get(f"{self.export}/batches/{batch_id}/files").json()["data"]
        parts = self.get(files[0]["_links"]["self"]["href"]).json()["data"]
        return self.get(parts[0]["_links"]["self"]["href"]).content

    def failed_messages(self, batch_id: str) -> list[dict[str, Any]]:
        """The messages of a failed batch, with the JSON inside their strings decoded."""
        entries = self.get(f"{self.export}/batches/{batch_id}/failed").json()["data"]
        content = self.get(entries[-1]["_links"]["self"]["href"]).text
        lines = [json.loads(line) for line in content.splitlines()]
        return [{name: json.loads(value) for name, value in line.items()} for line in lines]


def _created(response: requests.Response) -> Any:
    assert response.status_code in (200, 201), response.text
    return response.json()


@pytest.fixture
def event() -> Any:
    """Makes a raw record that the usual mapping set turns into a valid row."""

    def make(number: int, **changed: Any) -> dict[str, Any]:
        record = {"id": f"e{number}", "at": "2024-03-01T10:15:30.000Z", "note": "hello", "count": number}
        return {**record, **changed}

    return make


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """A client of a fresh local platform that waits for nothing."""
    with running(tmp_path / "store", enabling_delay=0, processing_delay=0) as platform:
        client = Api(platform)
        yield client
        client.session.close()


@pytest.fixture
def connect() -> Iterator[Any]:
    """Makes a client of a platform that the test runs itself."""
    clients: list[Api] = []

    def make(platform: RunningPlatform) -> Api:
        clients.append(Api(platform))
        return clients[-1]

    yield make
    for client in clients:
        client.session.close()
