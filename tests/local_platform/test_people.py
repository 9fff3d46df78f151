"""Identity Service, Profile and record delete, called as documented."""

from __future__ import annotations

import io
import time
from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest

from chatlio_kit.local_platform import running
from chatlio_kit.local_platform.catalog.observability import KEPT, LINKED, PATH, SKIPPED

ENABLED = ["enabled:true"]
BOTH = {"unifiedProfile": ENABLED, "unifiedIdentity": ENABLED}
UNION = [{"op": "add", "path": "/meta:immutableTags", "value": ["union"]}]
PEOPLE = {"sourceType": "ATTRIBUTE", "source": "people", "destination": "identityMap"}
ACCEPT = {"Accept": "application/vnd.adobe.xdm+json"}


def namespace(api, code="ShopVisitor", **changed):
    """Ask for a new namespace."""
    body = {"name": f"The {code}", "code": code, "idType": "COOKIE", **changed}
    return api.post(f"{api.platform.url}/data/core/idnamespace/identities", body)


def person(visitor, email=None, primary="ShopVisitor"):
    """The identityMap of an event."""
    people = {"ShopVisitor": visitor, **({"Email": email} if email is not None else {})}
    return {code: [{"id": value, "primary": code == primary}] for code, value in people.items()}


def people_flow(api, tags=BOTH):
    """A dataflow into a new dataset with these tags."""
    assert namespace(api).status_code == 200
    schema = api.new_schema()
    assert api.call("PATCH", api.resource_url(schema), json=UNION).status_code == 200
    dataset_id = api.new_dataset(schema, tags=tags)
    return api.new_flow(schema, dataset_id, mappings=[PEOPLE]), dataset_id


def count(api, name, dataset_id):
    """A metric of a dataset, over all time."""
    body = {
        "start": "2020-01-01T00:00:00.000Z",
        "end": "2120-01-01T00:00:00.000Z",
        "granularity": "day",
        "metrics": [
            {
                "name": name,
                "filters": [{"name": "dataSetId", "value": dataset_id, "groupBy": True}],
                "aggregator": "sum",
                "downsample": "sum",
            }
        ],
    }
    (response,) = api.post(f"{api.platform.url}{PATH}", body).json()["metricResponses"]
    return sum(sum(point["dps"].values()) for point in response["datapoints"])


def sample_status(api):
    """Profile's own count of profiles and fragments."""
    answer = api.get(f"{api.platform.url}/data/core/ups/previewsamplestatus").json()
    return int(answer["docCount"]), answer["totalFragmentCount"]


def stored(api, flow):
    """The ids of the rows in the lake."""
    files = (io.BytesIO(api.download(key)) for key in api.batches(flow, "success"))
    return sorted(row["_id"] for file in files for row in pq.read_table(file).to_pylist())


def test_a_namespace_is_made_once(api):
    """Its code and name are unique, whatever their case; type and code must be known ones."""
    made = namespace(api)
    assert made.status_code == 200
    assert made.json()["idType"] == "Cookie"
    assert made.json()["custom"]
    listed = api.get(f"{api.platform.url}/data/core/idnamespace/identities").json()
    assert {each["code"] for each in listed} > {"ECID", "Email", "ShopVisitor"}
    taken = namespace(api, name="Another")
    assert taken.status_code == 409
    assert taken.json()["report"]["code"] == "INTEGRATION_CODE_EXISTS"
    assert namespace(api, "email", name="Mail").status_code == 409
    assert namespace(api, "Other", idType="Person").status_code == 400
    assert namespace(api, "no blanks please").status_code == 400


def test_an_identity_descriptor_needs_a_namespace_and_comes_once(api):
    """A field is described once, by a namespace that exists, and by code or number."""
    schema = api.new_schema()
    body = {
        "@type": "xdm:descriptorIdentity",
        "xdm:sourceSchema": schema["$id"],
        "xdm:sourceVersion": 1,
        "xdm:sourceProperty": "/_acmechat/note",
        "xdm:namespace": "ShopVisitor",
        "xdm:property": "xdm:code",
        "xdm:isPrimary": False,
    }
    url = f"{api.registry}/tenant/descriptors"
    assert api.post(url, body).status_code == 400
    assert namespace(api).status_code == 200
    assert api.post(url, body).status_code == 201
    assert api.post(url, body).status_code == 400
    (listed,) = api.get(url, headers=ACCEPT).json()["xdm:descriptorIdentity"]
    assert listed["xdm:namespace"] == "ShopVisitor"
    assert listed["meta:sandboxType"] == "development"


def test_a_schema_never_leaves_its_union(api):
    """The tag is added once; after that only additions are accepted, with or without data."""
    schema = api.new_schema()
    url = api.resource_url(schema)
    wrong = [{"op": "add", "path": "/meta:immutableTags-", "value": "union"}]
    assert api.call("PATCH", url, json=wrong).status_code == 400
    assert api.call("PATCH", url, json=UNION).status_code == 200
    leave = [{"op": "remove", "path": "/meta:immutableTags"}]
    assert api.call("PATCH", url, json=leave).status_code == 400
    assert api.call("DELETE", url).status_code == 400
    groups = [part["$ref"] for part in schema["allOf"]]
    narrower = [{"op": "remove", "path": f"/allOf/{len(groups) - 1}"}]
    assert api.call("PATCH", url, json=narrower).status_code == 400


def test_a_union_holds_one_type_for_a_path(api):
    """A second schema of the class that gives a path another type may not join."""
    first, second = api.new_schema("First"), api.new_schema("Second")
    assert api.call("PATCH", api.resource_url(first), json=UNION).status_code == 200
    group = next(part["$ref"] for part in second["allOf"] if "/mixins/" in part["$ref"])
    path = "/definitions/customFields/properties/_acmechat/properties/count/type"
    change = [{"op": "replace", "path": path, "value": "string"}]
    assert api.call("PATCH", api.resource_url({"$id": group}, "fieldgroups"), json=change).status_code == 200
    refused = api.call("PATCH", api.resource_url(second), json=UNION)
    assert refused.status_code == 400
    assert "XDM-1413-400" in refused.text


def test_profile_takes_events_with_one_valid_primary(api, event):
    """Without a primary, with two, or with a blocked one, an event is in the lake alone."""
    flow, dataset_id = people_flow(api)
    two = {"ShopVisitor": [{"id": "v8", "primary": True}], "Email": [{"id": "b@x.org", "primary": True}]}
    events = [
        event(1, people=person("v1", "ana@example.org")),
        event(2, people=person("v2", "ana@example.org")),
        event(3, people=person("v3")),
        event(4),
        event(5, people=person("v5", primary="nothing")),
        event(6, people=person("Anonymous", "c@example.org")),
        event(7, people=person("", "d@example.org")),
        event(8, people=two),
    ]
    api.send(flow, events)
    api.wait_for_records(flow, len(events))
    assert len(stored(api, flow)) == len(events)
    assert count(api, KEPT, dataset_id) == 3
    assert count(api, LINKED, dataset_id) == 3  # the first two, and the one with two primaries
    assert count(api, SKIPPED, dataset_id) == 5
    assert sample_status(api) == (2, 3)  # v1 and v2 share an address


def test_profile_without_identities_leaves_the_graph_unchanged(api, event):
    """With unifiedProfile and without unifiedIdentity, nothing is linked."""
    flow, dataset_id = people_flow(api, {"unifiedProfile": ENABLED})
    api.send(flow, [event(n, people=person(f"v{n}", "ana@example.org")) for n in (1, 2)])
    api.wait_for_records(flow, 2)
    assert count(api, KEPT, dataset_id) == 2
    assert count(api, LINKED, dataset_id) == 0
    assert sample_status(api) == (2, 2)


def test_profile_ingests_only_batches_that_land_afterwards(api, event):
    """A dataset that is enabled later gives Profile what lands after that; disabled, nothing more."""
    flow, dataset_id = people_flow(api, {})
    api.send(flow, [event(1, people=person("v1"))])
    api.wait_for_records(flow, 1)
    time.sleep(0.01)
    patch = [{"op": "add", "path": "/tags/unifiedProfile", "value": ENABLED}]
    headers = {"Content-Type": "application/json-patch+json"}
    url = f"{api.catalog}/dataSets/{dataset_id}"
    assert api.call("PATCH", url, json=patch, headers=headers).json() == [f"@/dataSets/{dataset_id}"]
    api.send(flow, [event(2, people=person("v1"))])
    api.wait_for_records(flow, 2)
    assert count(api, KEPT, dataset_id) == 1


def test_profile_drops_events_past_their_expiry(tmp_path, connect, event):
    """The sandbox's days are the dataset's expiry, which can be read; the lake keeps older events."""
    with running(tmp_path / "store", enabling_delay=0, processing_delay=0, profile_days=30) as platform:
        api = connect(platform)
        flow, dataset_id = people_flow(api)
        recent = f"{datetime.now(UTC) - timedelta(days=3):%Y-%m-%dT%H:%M:%S.000Z}"
        api.send(flow, [event(1, people=person("v1")), event(2, people=person("v1"), at=recent)])
        api.wait_for_records(flow, 2)
        bounds = api.get(f"{api.catalog}/ttl/{dataset_id}").json()["extensions"]["adobe_unifiedProfile"]
        assert bounds["rowExpiration"]["ttlValue"] == "P30D"
        assert count(api, KEPT, dataset_id) == 1
        assert len(stored(api, flow)) == 2
        longer = {"extensions": {"adobe_unifiedProfile": {"rowExpiration": {"ttlValue": "P10Y"}}}}
        assert api.call("PATCH", f"{api.catalog}/v2/dataSets/{dataset_id}", json=longer).status_code == 200
        assert count(api, KEPT, dataset_id) == 2
        shorter = {"extensions": {"adobe_unifiedProfile": {"rowExpiration": {"ttlValue": "P3D"}}}}
        assert api.call("PATCH", f"{api.catalog}/v2/dataSets/{dataset_id}", json=shorter).status_code == 400


def test_an_identity_that_one_batch_links_to_fifty_others_is_left_out(api, event):
    """An address shared by 60 visitors merges no one."""
    flow, dataset_id = people_flow(api)
    api.send(flow, [event(n, people=person(f"v{n}", "help@example.org")) for n in range(60)])
    api.wait_for_records(flow, 60)
    assert count(api, KEPT, dataset_id) == 60
    assert count(api, LINKED, dataset_id) == 0
    assert sample_status(api) == (60, 60)


def order_body(dataset_id, code, *ids, **changed):
    """The body of a record delete."""
    groups = [{"namespace": {"code": code}, "IDs": list(ids)}]
    body = {"action": "delete_identity", "datasetId": dataset_id, "namespacesIdentities": groups}
    return {**body, "displayName": "A person", "description": "", **changed}


def test_a_work_order_removes_rows_by_their_primary_identity(api, event):
    """Rows of the primary identity go, from lake and Profile; a secondary identity removes nothing."""
    flow, dataset_id = people_flow(api)
    api.send(flow, [event(1, people=person("v1", "a@x.org")), event(2, people=person("v2")), event(3)])
    api.wait_for_records(flow, 3)
    url = f"{api.platform.url}/data/core/hygiene"
    for body, left in (
        (order_body(dataset_id, "Email", "a@x.org"), ["e1", "e2", "e3"]),
        (order_body("ALL", "ShopVisitor", "v1"), ["e2", "e3"]),
    ):
        order = api.post(f"{url}/workorder", body).json()
        assert order["status"] == "received"
        assert order["workorderId"].startswith("DI-")
        deadline = time.monotonic() + 20
        while api.get(f"{url}/workorder/{order['workorderId']}").json()["status"] != "completed":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert stored(api, flow) == left
    assert count(api, KEPT, dataset_id) == 1
    quotas = {each["name"]: each["consumed"] for each in api.get(f"{url}/quota").json()["quotas"]}
    assert quotas["dailyConsumerDeleteIdentitiesQuota"] == 2


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"datasetId": "missing"}, 404),
        ({"action": "delete"}, 400),
        ({"namespacesIdentities": []}, 400),
        (
            {"identities": [{"namespace": {"code": "Email"}, "id": "a@x.org"}], "namespacesIdentities": None},
            400,
        ),
        ({"namespacesIdentities": [{"namespace": {"code": "Unknown"}, "IDs": ["x"]}]}, 400),
    ],
)
def test_an_invalid_work_order_is_refused(api, changed, status):
    """The dataset, the action, the identities and their namespaces must be known."""
    dataset_id = api.new_dataset(api.new_schema())
    body = order_body(dataset_id, "Email", "a@x.org", **changed)
    assert api.post(f"{api.platform.url}/data/core/hygiene/workorder", body).status_code == status


def test_a_work_order_needs_the_entitlement(tmp_path, connect):
    """An organisation without record delete gets a message that says so."""
    with running(tmp_path / "store", withheld=frozenset({"record-delete"})) as platform:
        api = connect(platform)
        body = order_body("ALL", "Email", "a@x.org")
        assert api.post(f"{platform.url}/data/core/hygiene/workorder", body).status_code == 403
        assert api.get(f"{platform.url}/data/core/hygiene/quota").status_code == 403


def test_the_mapper_makes_an_identity_map(api):
    """The documented map functions make one of plain fields; a null makes none."""
    schema = api.new_schema()
    visitor = 'to_map("ShopVisitor", to_array(false, to_object("id", visitor.UUID, "primary", true)))'
    email = 'to_map("Email", to_array(false, to_object("id", lower(visitor.email), "primary", false)))'
    mapping = {
        "sourceType": "EXPRESSION",
        "source": f"add_to_map({visitor}, {email})",
        "destination": "identityMap",
    }
    body = api.mapping_set_body(schema)
    body = {**body, "mappings": [*body["mappings"], mapping]}
    record = {"id": "e1", "at": "2024-03-01T10:15:30.000Z", "note": "", "count": 1}
    people = {"visitor": {"UUID": "v1", "email": "Ana@x.org"}}
    answer = api.post(
        f"{api.data_prep}/mappingSets/preview", {"data": [{**record, **people}], "mappingSet": body}
    )
    assert answer.json()[0]["data"]["identityMap"] == {
        "ShopVisitor": [{"id": "v1", "primary": True}],
        "Email": [{"id": "ana@x.org", "primary": False}],
    }
