"""Data Prep over HTTP: versions, both forms of a mapping, validation and preview."""

from __future__ import annotations

import re

import pytest


def test_creating_answers_200_and_a_plain_id(api):
    """A mapping set starts at version 0 under 32 hexadecimal digits without dashes."""
    schema = api.new_schema()
    response = api.post(f"{api.data_prep}/mappingSets", api.mapping_set_body(schema))
    assert response.status_code == 200
    body = response.json()
    assert re.fullmatch("[0-9a-f]{32}", body["id"])
    assert body["version"] == 0
    assert set(body) == {"id", "version", "createdDate", "modifiedDate", "createdBy", "modifiedBy"}


def test_versions_rise_and_stay(api):
    """PUT raises the version; the earlier one can still be read."""
    schema = api.new_schema()
    created = api.new_mapping_set(schema)
    url = f"{api.data_prep}/mappingSets/{created['id']}"
    changed = api.mapping_set_body(schema)
    changed["mappings"] = changed["mappings"][:3]
    assert api.call("PUT", url, json=changed).json()["version"] == 1
    assert len(api.get(url).json()["mappings"]) == 3
    assert len(api.get(url, params={"version": "0"}).json()["mappings"]) == 5
    assert api.get(url, params={"version": "2"}).status_code == 404


def test_reads_show_both_forms(api):
    """A read mapping has the current and the legacy keys, and the legacy name of an attribute source."""
    schema = api.new_schema()
    created = api.new_mapping_set(schema)
    url = f"{api.data_prep}/mappingSets/{created['id']}"
    mappings = api.get(f"{url}/mappings").json()
    first = mappings[0]
    assert first["source"] == first["sourceAttribute"] == "id"
    assert first["destination"] == first["destinationXdmPath"] == "_id"
    assert first["sourceType"] == "text/x.schema-path"
    assert api.get(f"{url}/mappings/{first['id']}").json() == first
    assert api.call("PUT", url, json=api.get(url).json()).json()["version"] == 1


def test_the_legacy_form_is_read(api):
    """Top-level ``xdmSchema`` and ``sourceAttribute`` are accepted still, as the connector pages use them."""
    schema = api.new_schema()
    body = {
        "version": 0,
        "xdmSchema": schema["$id"],
        "xdmVersion": "1.0",
        "mappings": [
            {"sourceAttribute": "id", "destinationXdmPath": "_id", "identity": False, "version": 0},
            {"sourceAttribute": "at", "destinationXdmPath": "timestamp"},
        ],
    }
    assert api.post(f"{api.data_prep}/mappingSets", body).status_code == 200


def test_lists_need_limit_and_start(api):
    """Both parameters are mandatory; the answer has ``data`` and ``_page``."""
    schema = api.new_schema()
    ids = [api.new_mapping_set(schema)["id"] for _ in range(3)]
    url = f"{api.data_prep}/mappingSets"
    assert api.get(url).status_code == 400
    listed = api.get(url, params={"limit": "2", "start": "1"}).json()
    assert [each["id"] for each in listed["data"]] == ids[1:]
    assert listed["_page"] == {"count": 2, "limit": 2}


@pytest.mark.parametrize(
    "mapping",
    [
        {"sourceType": "ATTRIBUTE", "source": "note", "destination": "_acmechat.nothing"},
        {"sourceType": "EXPRESSION", "source": "concat(note,", "destination": "_acmechat.note"},
        {"sourceType": "MAGIC", "source": "note", "destination": "_acmechat.note"},
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(api, mapping):
    """Unknown destinations, broken expressions and unknown source types are 400."""
    schema = api.new_schema()
    body = api.mapping_set_body(schema)
    body["mappings"] = [*body["mappings"][:3], mapping]
    assert api.post(f"{api.data_prep}/mappingSets", body).status_code == 400


def test_validation_answers_per_mapping(api):
    """One entry per mapping, in order: SUCCESS with null errors, or FAILED with their exceptions."""
    schema = api.new_schema()
    body = api.mapping_set_body(schema)
    body["mappings"] = [
        body["mappings"][0],
        {"sourceType": "EXPRESSION", "source": "nonsense(", "destination": "_acmechat.note"},
    ]
    good, bad = api.post(f"{api.data_prep}/mappingSets/validate", body).json()["validationResponse"]
    assert good == {"status": "SUCCESS", "errors": None}
    assert bad["status"] == "FAILED"
    assert {"destination", "exception", "source", "columnName", "sourceType"} == set(bad["errors"][0])


def test_preview_maps_without_keeping(api, event):
    """Preview answers an array with a row per record."""
    schema = api.new_schema()
    body = {"data": [event(1)], "mappingSet": api.mapping_set_body(schema)}
    (row,) = api.post(f"{api.data_prep}/mappingSets/preview", body).json()
    assert row["errors"] is None
    assert row["data"]["_id"] == "e1"
    assert row["data"]["eventType"] == "shop.visit"
    assert row["data"]["_acmechat"] == {"note": "hello", "count": 1}
    listed = api.get(f"{api.data_prep}/mappingSets", params={"limit": "9", "start": "0"}).json()
    assert listed["data"] == []


@pytest.mark.parametrize(("expression", "valid"), [('concat("a", note)', True), ('concat("a", note', False)])
def test_expressions_are_validated(api, expression, valid):
    """A valid expression answers ``succeeded`` with the error ``none``."""
    url = f"{api.data_prep}/languages/el/validate"
    answered = api.post(url, {"expression": expression}).json()
    assert (answered["validationStatus"] == "succeeded") is valid
    assert (answered["error"] == "none") is valid


def test_a_mapping_set_in_use_is_kept(api):
    """A mapping set that a dataflow uses is not deleted; another is."""
    flow = api.new_flow()
    used = flow["transformations"][0]["params"]["mappingId"]
    assert api.call("DELETE", f"{api.data_prep}/mappingSets/{used}").status_code == 400
    assert api.call("DELETE", f"{api.flow_service}/flows/{flow['id']}").status_code == 204
    assert api.call("DELETE", f"{api.data_prep}/mappingSets/{used}").status_code == 204
    assert api.get(f"{api.data_prep}/mappingSets/{used}").status_code == 404
