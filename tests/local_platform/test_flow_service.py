"""Flow Service: creation, enabling, lists, changes, and its error codes on the wire."""

from __future__ import annotations

import re
import time

import pytest
import requests

from chatlio_kit.local_platform import running

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def code_of(response: requests.Response) -> str:
    """The table code of an error, after checking that the envelope is whole."""
    body = response.json()
    assert body["status"] == response.status_code
    assert body["errorMessage"] == body["errorDetails"] == body["report"]["detailed-message"]
    assert body["report"]["request-id"]
    return str(body["type"].removeprefix("https://ns.adobe.com/aep/errors/FLOW-"))


def test_specs_are_looked_up_by_id_and_by_name(api):
    """Spec lookups answer a list of one; an unknown id is 1439-404."""
    spec_id = "073127a3-26e3-496c-9d94-9f48fb93fba8"
    one = api.get(f"{api.flow_service}/connectionSpecs/{spec_id}").json()["items"][0]
    query = {"property": f"name=={one['name']}"}
    by_name = api.get(f"{api.flow_service}/connectionSpecs", params=query).json()["items"]
    flow_spec = api.get(f"{api.flow_service}/flowSpecs/e77fde5a-22a8-11ed-861d-0242ac120002").json()
    assert by_name == [one]
    assert flow_spec["items"][0]["name"] == "GenericStreamingAEP"
    assert spec_id in flow_spec["items"][0]["sourceConnectionSpecIds"]
    assert code_of(api.get(f"{api.flow_service}/flowSpecs/{UNKNOWN}")) == "1439-404"


def test_creating_answers_id_and_etag(api):
    """201 with ``id``, an ``etag`` that contains its quotes, and a Location."""
    response = api.post(f"{api.flow_service}/sourceConnections", api.source_body())
    assert response.status_code == 201
    assert set(response.json()) == {"id", "etag"}
    assert re.fullmatch(r'"[0-9a-f]{8}-0000-0200-0000-[0-9a-f]{12}"', response.json()["etag"])
    assert response.headers["Location"].endswith(response.json()["id"])


def test_enabling_is_asynchronous(tmp_path, connect):
    """A new dataflow is first initializing without inlet; enabled, it shows one and has another etag."""
    with running(tmp_path / "store", enabling_delay=0.3) as platform:
        api = connect(platform)
        schema = api.new_schema()
        body = api.flow_body(schema, api.new_dataset(schema))
        created = api.post(f"{api.flow_service}/flows", body).json()
        early = api.flow(created["id"])
        busy = api.call(
            "PATCH",
            f"{api.flow_service}/flows/{created['id']}",
            json=[{"op": "replace", "path": "/name", "value": "x"}],
            headers={"If-Match": created["etag"]},
        )
        time.sleep(0.35)
        late = api.flow(created["id"])
    assert early["state"] == "initializing"
    assert "options" not in early
    assert code_of(busy) == "1416-400"
    assert late["state"] == "enabled"
    assert late["etag"] not in (created["etag"], early["etag"])
    assert late["updatedAt"] > late["createdAt"]
    assert re.fullmatch(rf"{platform.url}/collection/[0-9a-f]{{64}}", late["options"]["inletUrl"])


def test_a_dataflow_shows_its_parts(api):
    """The read of a dataflow has the members of the documented sample."""
    flow = api.new_flow()
    assert flow["version"] == flow["etag"]
    assert flow["runs"] == f"/runs?property=flowId=={flow['id']}"
    assert flow["inheritedAttributes"]["properties"] == {"isSourceFlow": True}
    connection = flow["inheritedAttributes"]["sourceConnections"][0]
    assert connection["connectionSpec"]["id"] == "073127a3-26e3-496c-9d94-9f48fb93fba8"
    assert flow["lastOperation"]["operation"] == "enable"
    assert {"createdAt", "createdBy", "createdClient", "sandboxId", "sandboxName", "imsOrgId"} <= set(flow)


def test_the_inlet_follows_the_port_and_keeps_its_path(tmp_path, connect):
    """The address of an inlet is on the host that was asked; its path stays over restarts."""
    with running(tmp_path / "store", enabling_delay=0) as platform:
        first = connect(platform).new_flow()
    with running(tmp_path / "store") as platform:
        again = connect(platform).flow(first["id"])
    old, new = first["options"]["inletUrl"], again["options"]["inletUrl"]
    assert new.startswith(platform.url)
    assert old.rpartition("/")[2] == new.rpartition("/")[2]


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"name": ""}, "1100-400"),
        ({"data": {"format": "csv"}}, "1327-400"),
        ({"connectionSpec": {"id": UNKNOWN, "version": "1.0"}}, "1413-400"),
        ({"connectionSpec": {"id": "c604ff05-7f1a-43c0-8e18-33bf874cb11c"}}, "1413-400"),
        ({"baseConnectionId": UNKNOWN}, "1332-400"),
    ],
)
def test_a_source_connection_is_checked(api, changed, code):
    """Unknown specs, other formats than JSON, and a base connection are refused."""
    response = api.post(f"{api.flow_service}/sourceConnections", api.source_body(**changed))
    assert code_of(response) == code


def test_a_target_connection_is_checked(api):
    """A wrong target spec is 1307-400, no dataset 1325-400, another schema than the dataset's 1425-400."""
    schema = api.new_schema()
    dataset_id = api.new_dataset(schema)
    other = api.new_schema("Other")
    url = f"{api.flow_service}/targetConnections"
    wrong_spec = {"connectionSpec": {"id": "073127a3-26e3-496c-9d94-9f48fb93fba8", "version": "1.0"}}
    assert code_of(api.post(url, api.target_body(schema, dataset_id, **wrong_spec))) == "1307-400"
    assert code_of(api.post(url, api.target_body(schema, dataset_id, params={}))) == "1325-400"
    assert code_of(api.post(url, api.target_body(schema, "0" * 24))) == "1325-400"
    assert code_of(api.post(url, api.target_body(other, dataset_id))) == "1425-400"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"flowSpec": {"id": UNKNOWN, "version": "1.0"}}, "1413-400"),
        ({"state": "enabled"}, "1410-400"),
        ({"sourceConnectionIds": []}, "1320-400"),
        ({"targetConnectionIds": ["a", "b"]}, "1321-400"),
        ({"sourceConnectionIds": [UNKNOWN]}, "1439-404"),
        ({"transformations": []}, "1419-400"),
        (
            {"transformations": [{"name": "Mapping", "params": {"mappingId": UNKNOWN, "mappingVersion": 0}}]},
            "1419-400",
        ),
        (
            {
                "transformations": [
                    {"name": "Mapping", "params": {"mappingId": "0" * 32, "mappingVersion": 0}}
                ]
            },
            "1419-400",
        ),
    ],
)
def test_a_dataflow_is_checked(api, changed, code):
    """Every documented refusal of a dataflow has its code."""
    schema = api.new_schema()
    body = api.flow_body(schema, api.new_dataset(schema), **changed)
    assert code_of(api.post(f"{api.flow_service}/flows", body)) == code


def test_the_mapping_version_must_exist(api):
    """A version that the mapping set does not have is 1412-400; text and number are the same version."""
    schema = api.new_schema()
    body = api.flow_body(schema, api.new_dataset(schema))
    params = body["transformations"][0]["params"]
    params["mappingVersion"] = 7
    assert code_of(api.post(f"{api.flow_service}/flows", body)) == "1412-400"
    params["mappingVersion"] = "0"
    assert api.post(f"{api.flow_service}/flows", body).status_code == 201


def test_mapping_and_dataset_must_share_the_schema(api):
    """A mapping set of another schema than the dataset's is 1425-400."""
    schema, other = api.new_schema(), api.new_schema("Other")
    body = api.flow_body(schema, api.new_dataset(schema))
    body["transformations"][0]["params"]["mappingId"] = api.new_mapping_set(other)["id"]
    assert code_of(api.post(f"{api.flow_service}/flows", body)) == "1425-400"


def test_an_empty_body_is_refused(api):
    """An empty body is 1405-400."""
    assert code_of(api.call("POST", f"{api.flow_service}/flows")) == "1405-400"
    assert code_of(api.post(f"{api.flow_service}/flows", {})) == "1405-400"


def test_a_change_needs_the_etag_of_the_last_read(api):
    """No If-Match is 1403-400, an old one 1404-412; the right one gives a new etag."""
    flow = api.new_flow()
    url = f"{api.flow_service}/flows/{flow['id']}"
    patch = [{"op": "add", "path": "/description", "value": "new"}]
    assert code_of(api.call("PATCH", url, json=patch)) == "1403-400"
    changed = api.call("PATCH", url, json=patch, headers={"If-Match": flow["etag"]})
    assert changed.status_code == 200
    assert set(changed.json()) == {"id", "etag"}
    assert changed.json()["etag"] != flow["etag"]
    stale = api.call("PATCH", url, json=patch, headers={"If-Match": flow["etag"]})
    assert (stale.status_code, code_of(stale)) == (412, "1404-412")
    assert api.flow(flow["id"])["description"] == "new"


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ({"op": "move", "path": "/name", "value": "x"}, "1434-400"),
        ({"op": "replace", "path": "/nothing", "value": "x"}, "1455-400"),
        ({"op": "replace", "path": "/state", "value": "disabled"}, "1455-400"),
        ({"op": "replace", "path": "/transformations/0", "value": {"name": "Mapping"}}, "1419-400"),
    ],
)
def test_an_invalid_change_is_refused(api, operation, code):
    """Unknown operations, paths that lead nowhere, and broken transformations are refused."""
    flow = api.new_flow()
    url = f"{api.flow_service}/flows/{flow['id']}"
    response = api.call("PATCH", url, json=[operation], headers={"If-Match": flow["etag"]})
    assert code_of(response) == code


def test_a_new_mapping_version_is_patched_in(api):
    """PUT raises the version of the mapping set; the dataflow takes it by a patch of /transformations/0."""
    flow = api.new_flow()
    params = flow["transformations"][0]["params"]
    url = f"{api.data_prep}/mappingSets/{params['mappingId']}"
    reference = api.get(url).json()["outputSchema"]["schemaRef"]
    body = api.mapping_set_body({"$id": reference["id"]})
    assert api.call("PUT", url, json=body).json()["version"] == 1
    value = {"name": "Mapping", "params": {**params, "mappingVersion": 1}}
    patch = [{"op": "REPLACE", "path": "/transformations/0", "value": value}]
    changed = api.call(
        "PATCH", f"{api.flow_service}/flows/{flow['id']}", json=patch, headers={"If-Match": flow["etag"]}
    )
    assert changed.status_code == 200
    assert api.flow(flow["id"])["transformations"] == [value]


def test_disable_and_enable(api):
    """Actions answer id and etag; an action in the state it leads to is refused."""
    flow = api.new_flow()
    url = f"{api.flow_service}/flows/{flow['id']}/action"
    assert code_of(api.call("POST", f"{url}?op=enable")) == "1420-400"
    disabled = api.call("POST", f"{url}?op=disable")
    assert set(disabled.json()) == {"id", "etag"}
    assert api.flow(flow["id"])["state"] == "disabled"
    assert code_of(api.call("POST", f"{url}?op=disable")) == "1421-400"
    assert api.call("POST", f"{url}?op=ENABLE").status_code == 200
    assert api.flow(flow["id"])["state"] == "enabled"
    assert code_of(api.call("POST", f"{url}?op=finalize")) == "1402-400"


def test_lists_filter_sort_page_and_count(api):
    """Filters AND together, a comma means any of, the next page is a path relative to the service."""
    url = f"{api.flow_service}/sourceConnections"
    for name in ("b", "c", "a"):
        api.post(url, api.source_body(name=name))

    def names(*filters: str, **query: str) -> list[str]:
        found = api.get(url, params={"property": filters, "orderby": "name", **query}).json()
        return [each["name"] for each in found["items"]]

    assert names() == ["a", "b", "c"]
    assert names(orderby="-name") == ["c", "b", "a"]
    assert names("name==a,c") == ["a", "c"]
    assert names("name==a,c", "name==c") == ["c"]
    assert names("connectionSpec.id==none") == []
    first = api.get(url, params={"orderby": "name", "limit": "2"}).json()
    href = first["_links"]["next"]["href"]
    assert href.startswith("/sourceConnections?continuationToken=")
    last = api.get(f"{api.flow_service}{href}").json()
    assert [each["name"] for each in first["items"] + last["items"]] == ["a", "b", "c"]
    assert last["_links"] == {}
    assert api.get(url, params={"count": "true", "property": "name==a,b"}).json() == {"count": 2}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"count": "true", "limit": "1"}, "1401-400"),
        ({"property": "name~a"}, "1440-400"),
        ({"property": "createdAt>1,2"}, "1443-400"),
        ({"property": "name"}, "1448-400"),
        ({"orderby": "--name"}, "1432-400"),
        ({"continuationToken": "no"}, "1449-400"),
    ],
)
def test_a_bad_list_query_is_refused(api, query, code):
    """Bad filters, orders and tokens have codes of their own."""
    assert code_of(api.get(f"{api.flow_service}/flows", params=query)) == code


def test_filters_step_into_arrays_by_brackets(api):
    """Dataflows are found by connection and by mapping set, as the guide "Sort and filter" shows."""
    flow = api.new_flow()
    mapping_id = flow["transformations"][0]["params"]["mappingId"]
    spec_id = "073127a3-26e3-496c-9d94-9f48fb93fba8"
    for wanted in (
        f"sourceConnectionIds[]=={flow['sourceConnectionIds'][0]}",
        f"transformations[].params.mappingId=={mapping_id}",
        f"inheritedAttributes.sourceConnections[].connectionSpec.id=={spec_id}",
        "inheritedAttributes.properties.isSourceFlow==true",
        "state==enabled",
        f"createdAt>={flow['createdAt']}",
    ):
        found = api.get(f"{api.flow_service}/flows", params={"property": wanted}).json()["items"]
        assert [each["id"] for each in found] == [flow["id"]], wanted


def test_deleting_goes_from_the_dataflow_down(api):
    """A connection in use is 1447-400; after the dataflow, it is deleted with 204; reads are 1439-404."""
    flow = api.new_flow()
    source = f"{api.flow_service}/sourceConnections/{flow['sourceConnectionIds'][0]}"
    flow_url = f"{api.flow_service}/flows/{flow['id']}"
    assert code_of(api.call("DELETE", source)) == "1447-400"
    deleted = api.call("DELETE", flow_url)
    assert (deleted.status_code, deleted.content) == (204, b"")
    missing = api.get(flow_url)
    assert code_of(missing) == "1439-404"
    assert missing.json()["title"] == "Resource not found"
    assert (missing.json()["report"]["id"], missing.json()["report"]["type"]) == (flow["id"], "flows")
    assert api.call("DELETE", source).status_code == 204
