"""The streaming endpoint: accepted and refused messages, and the wording of refusals."""

from __future__ import annotations

import json
import time

import pytest
import requests

from chatlio_kit.local_platform import running

HEADER_MANDATORY = "The 'header' field is mandatory. Provide a valid 'header' value and try again."
PROBLEM = "http://ns.adobe.com/adobecloud/problem/data-collection-service/inlet"


def single(flow, record, **options):
    """Post one message to a dataflow's inlet, without credentials."""
    return requests.post(flow["options"]["inletUrl"], json=record, timeout=10, **options)


def envelope(api, flow, **changed_header):
    """An XDM message for a dataflow's dataset."""
    target = api.get(f"{api.flow_service}/targetConnections/{flow['targetConnectionIds'][0]}").json()
    schema_id = target["items"][0]["data"]["schema"]["id"]
    reference = {"id": schema_id, "contentType": "application/vnd.adobe.xed-full+json;version=1"}
    header = {"schemaRef": reference, "flowId": flow["id"], "datasetId": api.dataset_of(flow)}
    entity = {"_id": "x1", "timestamp": "2024-03-01T10:15:30Z", "_acmechat": {"note": "hello"}}
    return {
        "header": {**header, **changed_header},
        "body": {"xdmMeta": {"schemaRef": reference}, "xdmEntity": entity},
    }


@pytest.mark.parametrize("place", ["headers", "params"])
def test_a_single_raw_record_names_its_dataflow_in_header_or_query(api, event, place):
    """The success body has inlet, transaction, dataflow and time, as Adobe's lab shows for raw data."""
    flow = api.new_flow()
    response = single(flow, event(1), **{place: {"x-adobe-flow-id": flow["id"]}})
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"inletId", "xactionId", "flowId", "receivedTimeMs", "syncValidation"}
    assert flow["options"]["inletUrl"].endswith(body["inletId"])
    assert body["flowId"] == flow["id"]
    assert body["syncValidation"] == {"skipped": True}
    assert abs(body["receivedTimeMs"] - time.time() * 1000) < 60_000
    assert api.wait_for_records(flow, 1)["outputRecordCount"] == 1


def test_a_single_raw_record_without_dataflow_is_refused(api, event):
    """Without a flow id there is no dataflow to map the record by."""
    response = single(api.new_flow(), event(1))
    assert response.status_code == 400
    assert HEADER_MANDATORY in response.json()["report"]["message"]


def test_a_batch_answers_207_with_an_element_per_message(api, event):
    """Each element of a full success has a transaction id that ends in its index, and no status."""
    flow = api.new_flow()
    response = api.send(flow, [event(number) for number in range(3)])
    body = response.json()
    assert response.status_code == 207
    assert set(body) == {"inletId", "batchId", "receivedTimeMs", "responses"}
    assert [set(each) for each in body["responses"]] == [{"xactionId"}] * 3
    ids = [each["xactionId"] for each in body["responses"]]
    assert ids == [f"{body['batchId']}:{index}" for index in range(3)]


def test_a_bad_message_does_not_touch_its_neighbours(api, event):
    """A message that is not an object has its own status; the others are accepted."""
    flow = api.new_flow()
    responses = api.send(flow, [event(0), 5, None, [event(1)], event(2)]).json()["responses"]
    assert ["status" in each for each in responses] == [False, True, True, True, False]
    assert responses[1]["status"] == 400
    assert responses[1]["xactionId"].endswith("-1")
    assert "Message has unknown xdm format" in responses[1]["message"]
    assert api.wait_for_records(flow, 2)["outputRecordCount"] == 2


@pytest.mark.parametrize("options", [{"headers": {}}, {"headers": {}, "params": True}])
def test_a_batch_of_raw_records_needs_the_header(api, event, options):
    """On the batch path the query parameter does not count: every message misses its header field."""
    flow = api.new_flow()
    if "params" in options:
        options = {**options, "params": {"x-adobe-flow-id": flow["id"]}}
    response = api.send(flow, [event(0), event(1)], **options)
    assert response.status_code == 207
    responses = response.json()["responses"]
    assert [each["status"] for each in responses] == [400, 400]
    assert {each["message"] for each in responses} == {HEADER_MANDATORY}


def test_an_unknown_inlet_does_not_exist(api, event):
    """The answer's wording is that reported by users; its status is not documented, and 404 is our choice."""
    flow = api.new_flow()
    url = f"{api.platform.url}/collection/{'0' * 64}"
    response = requests.post(url, json=event(1), headers={"x-adobe-flow-id": flow["id"]}, timeout=10)
    assert response.status_code == 404
    assert response.json()["title"].startswith("Inlet does not exist (Reference id: ")
    assert response.json()["type"] == PROBLEM


def test_a_dataflow_that_is_being_reenabled_accepts_no_records(tmp_path, connect, event):
    """After disable and enable the dataflow takes records again only once it is enabled."""
    with running(tmp_path / "store", enabling_delay=0.3) as platform:
        api = connect(platform)
        flow = api.new_flow()
        action = f"{api.flow_service}/flows/{flow['id']}/action"
        for operation in ("disable", "enable"):
            assert api.call("POST", f"{action}?op={operation}").status_code == 200
        early = api.send(flow, [event(1)])
        time.sleep(0.35)
        late = api.send(flow, [event(1)])
    assert (early.status_code, late.status_code) == (400, 207)


@pytest.mark.parametrize("change", ["unknown", "other", "disabled"])
def test_a_wrong_dataflow_is_refused_entirely(api, event, change):
    """An unknown, another inlet's, or a disabled dataflow is a problem document; Adobe documents none."""
    flow = api.new_flow()
    flow_id = "00000000-0000-4000-8000-000000000000"
    if change == "other":
        flow_id = api.new_flow(api.new_schema("Other"))["id"]
    if change == "disabled":
        flow_id = flow["id"]
        api.call("POST", f"{api.flow_service}/flows/{flow_id}/action?op=disable")
    response = api.send(flow, [event(1)], headers={"x-adobe-flow-id": flow_id})
    assert response.status_code == 400
    assert response.json()["type"] == PROBLEM


def test_a_body_over_one_megabyte_is_too_large(api, event):
    """The limit counts the whole body: 1,000,000 bytes pass, one more does not."""
    flow = api.new_flow()
    url = flow["options"]["inletUrl"].replace("/collection/", "/collection/batch/")
    headers = {"x-adobe-flow-id": flow["id"], "Content-Type": "application/json"}
    body = json.dumps({"messages": [event(1)]}).encode()
    for extra, status in ((0, 207), (1, 413)):
        padded = body + b" " * (1_000_000 + extra - len(body))
        assert requests.post(url, data=padded, headers=headers, timeout=10).status_code == status
    chunks = iter([b" " * 600_000, b" " * 600_000])
    assert requests.post(url, data=chunks, headers=headers, timeout=10).status_code == 413


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"messages": [', "application/json"),
        (b'{"messages": [{"a": NaN}]}', "application/json"),
        (b"[]", "application/json"),
        (b'{"messages": {}}', "application/json"),
        (b'{"messages": []}', "application/json"),
        (b'{"messages": [{}]}', "text/plain"),
    ],
)
def test_a_malformed_batch_is_refused_entirely(api, body, content_type):
    """A body that is not JSON, not an object with messages, or not sent as JSON, is 400."""
    flow = api.new_flow()
    url = flow["options"]["inletUrl"].replace("/collection/", "/collection/batch/")
    headers = {"x-adobe-flow-id": flow["id"], "Content-Type": content_type}
    assert requests.post(url, data=body, headers=headers, timeout=10).status_code == 400


def test_a_single_message_is_an_object(api):
    """A single post of an array is not a message."""
    flow = api.new_flow()
    response = single(flow, [{}], headers={"x-adobe-flow-id": flow["id"]})
    assert response.status_code == 400
    assert response.json()["title"] == "Invalid XDM Message Format"


def test_an_xdm_message_carries_its_own_header(api):
    """An envelope with schema, dataflow and dataset in its header needs no HTTP header and no mapping."""
    flow = api.new_flow()
    assert single(flow, envelope(api, flow)).status_code == 200
    assert api.send(flow, [envelope(api, flow)], headers={}).json()["responses"][0].keys() == {"xactionId"}
    assert api.wait_for_records(flow, 2)["outputRecordCount"] == 2


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"imsOrgId": "0@AdobeOrg"}, "Message has an absent or wrong ims org in the header"),
        ({"schemaRef": None}, "Message has unknown xdm format"),
        ({"schemaRef": {"id": "other"}}, "Message has unknown xdm format"),
        ({"flowId": None}, HEADER_MANDATORY),
        ({"flowId": "none"}, "Unknown flow id"),
        ({"datasetId": "none"}, "unknown dataset"),
    ],
)
def test_an_xdm_message_is_checked_at_the_edge(api, changed, words):
    """Organisation, schema, dataflow and dataset of the header must fit, or the message is refused."""
    flow = api.new_flow()
    response = single(flow, envelope(api, flow, **changed))
    assert response.status_code == 400
    assert words in response.json()["report"]["message"]


def test_synchronous_validation_refuses_immediately(api):
    """With ``syncValidation=true`` a valid message passes and an invalid one is answered with its causes."""
    flow = api.new_flow()
    good = envelope(api, flow)
    bad = envelope(api, flow)
    bad["body"]["xdmEntity"]["_id"] = 5
    passed = single(flow, good, params={"syncValidation": "true"})
    failed = single(flow, bad, params={"syncValidation": "true"})
    assert passed.json()["syncValidation"] == {"status": "pass"}
    assert failed.status_code == 400
    validation = failed.json()["report"]["cause"]["_streamingValidation"][0]
    assert validation["message"] == "1 schema violations found"
    assert validation["causingExceptions"][0]["pointerToViolation"] == "#/_id"
    assert api.wait_for_records(flow, 1)["failedRecordCount"] == 0


def test_synchronous_validation_is_for_sixty_requests_a_minute(api):
    """Sixty requests pass immediately, then one per second; other requests are not limited."""
    flow = api.new_flow()
    message = envelope(api, flow)
    passed = 0
    while single(flow, message, params={"syncValidation": "true"}).status_code == 200:
        passed += 1
        assert passed < 1000
    assert passed >= 60
    assert single(flow, message).status_code == 200


def test_the_endpoint_asks_for_no_credentials_but_reads_post_only(api):
    """The inlet address is the only secret of such a connector; other methods are not allowed."""
    flow = api.new_flow()
    assert requests.get(flow["options"]["inletUrl"], timeout=10).status_code == 405
