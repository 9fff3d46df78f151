"""Catalog: datasets and their lists."""

from __future__ import annotations

import re

import pytest


def test_creating_answers_a_list_of_one_reference(api):
    """201, a Location, and ``["@/dataSets/{24 hex}"]``, as in the guide "Create a dataset"."""
    schema = api.new_schema()
    body = {
        "name": "Shop",
        "schemaRef": {"id": schema["$id"], "contentType": "application/vnd.adobe.xed+json;version=1"},
    }
    response = api.post(f"{api.catalog}/dataSets?requestDataSource=true", body)
    assert response.status_code == 201
    assert re.fullmatch(r"@/dataSets/[0-9a-f]{24}", response.json()[0])
    assert response.headers["Location"].endswith(response.json()[0].removeprefix("@"))


def test_a_dataset_is_read_as_an_object_by_its_id(api):
    """A read is keyed by the id and shows audit fields and the schema reference."""
    schema = api.new_schema()
    key = api.new_dataset(schema, description="ours")
    answered = api.get(f"{api.catalog}/dataSets/{key}").json()
    assert list(answered) == [key]
    dataset = answered[key]
    assert dataset["schemaRef"]["id"] == schema["$id"]
    assert dataset["description"] == "ours"
    assert dataset["files"] == f"@/dataSetFiles?dataSetId={key}"
    assert dataset["tags"]["adobe/pqs/table"] == ["shop_dataset"]
    assert {"imsOrg", "sandboxId", "viewId", "created", "updated", "version", "fileDescription"} <= set(
        dataset
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"name": ""},
        {"schemaRef": {"id": "https://ns.adobe.com/acmechat/schemas/none"}},
        {
            "schemaRef": {
                "id": "https://ns.adobe.com/acmechat/schemas/none",
                "contentType": "application/vnd.adobe.xed+json;version=1",
            }
        },
        {"tags": {"unifiedProfile": ["enabled:true"]}},
    ],
)
def test_a_dataset_needs_a_name_and_a_known_schema(api, changed):
    """A dataset without name, of an unknown schema, or for Profile without the union tag, is refused."""
    schema = api.new_schema()
    reference = {"id": schema["$id"], "contentType": "application/vnd.adobe.xed+json;version=1"}
    body = {"name": "Shop", "schemaRef": reference, **changed}
    assert api.post(f"{api.catalog}/dataSets?requestDataSource=true", body).status_code == 400


def test_a_data_source_must_be_requested(api):
    """Without ``requestDataSource=true`` the body must carry a ``dataSourceId``."""
    schema = api.new_schema()
    reference = {"id": schema["$id"], "contentType": "application/vnd.adobe.xed+json;version=1"}
    response = api.post(f"{api.catalog}/dataSets", {"name": "Shop", "schemaRef": reference})
    assert response.status_code == 400


def test_lists_are_filtered_and_paged_by_offset(api):
    """``limit`` is 1 to 100, ``start`` an offset, ``property`` takes a pattern, ``properties`` narrows."""
    schema = api.new_schema()
    ids = [api.new_dataset(schema, f"shop {number}", tags={"area": [str(number)]}) for number in range(3)]
    url = f"{api.catalog}/dataSets"

    def listed(**query: str) -> list[str]:
        return list(api.get(url, params={"orderBy": "asc:name", **query}).json())

    assert listed() == ids
    assert listed(limit="2") == ids[:2]
    assert listed(limit="2", start="2") == ids[2:]
    assert listed(name="shop 1") == ids[1:2]
    assert listed(property="name~^shop [01]$") == ids[:2]
    assert listed(tags="area:2") == ids[2:]
    assert listed(tags="area:*") == ids
    assert api.get(url, params={"limit": "0"}).status_code == 400
    assert api.get(url, params={"limit": "101"}).status_code == 400
    names = api.get(url, params={"properties": "name", "limit": "1"}).json()
    assert list(names.values()) == [{"name": "shop 2"}]


def test_objects_of_one_millisecond_are_listed_newest_first_too(api, monkeypatch):
    """The order of a list does not depend on the clock: later objects come first, the default order."""
    monkeypatch.setattr("chatlio_kit.local_platform.catalog.routes.now_ms", lambda: 1_700_000_000_000)
    schema = api.new_schema()
    ids = [api.new_dataset(schema, f"shop {number}") for number in range(3)]
    assert list(api.get(f"{api.catalog}/dataSets").json()) == ids[::-1]


def test_patches_by_fields_by_json_patch_and_by_merge(api):
    """All three ways answer the reference; the version of the dataset rises."""
    key = api.new_dataset(api.new_schema(), tags={"area": ["1"]})
    url = f"{api.catalog}/dataSets/{key}"
    patch = [{"op": "add", "path": "/tags/more", "value": ["2"]}]
    by_patch = api.call("PATCH", url, json=patch, headers={"Content-Type": "application/json-patch+json"})
    by_fields = api.call("PATCH", url, json={"description": "new"})
    merged = api.call("PATCH", f"{api.catalog}/v2/dataSets/{key}", json={"tags": {"third": ["3"]}})
    for response in (by_patch, by_fields, merged):
        assert response.json() == [f"@/dataSets/{key}"]
    without_tags = [{"op": "remove", "path": "/tags"}]
    refused = api.call(
        "PATCH", url, json=without_tags, headers={"Content-Type": "application/json-patch+json"}
    )
    assert refused.status_code == 400
    dataset = api.get(url).json()[key]
    assert dataset["version"] == "1.0.3"
    assert dataset["description"] == "new"
    assert {"area", "more", "third"} <= set(dataset["tags"])


def test_an_old_etag_does_not_match(api):
    """The ETag of a read locks optimistically; a mismatch is 412."""
    key = api.new_dataset(api.new_schema())
    url = f"{api.catalog}/dataSets/{key}"
    etag = api.get(url).headers["ETag"]
    assert api.call("PATCH", url, json={"description": "a"}, headers={"If-Match": etag}).status_code == 200
    assert api.call("PATCH", url, json={"description": "b"}, headers={"If-Match": etag}).status_code == 412


def test_validating_saves_nothing(api):
    """``Pragma: validate-only`` checks without saving."""
    key = api.new_dataset(api.new_schema())
    url = f"{api.catalog}/dataSets/{key}"
    response = api.call("PATCH", url, json={"description": "a"}, headers={"Pragma": "validate-only"})
    assert response.status_code == 200
    assert "description" not in api.get(url).json()[key]


def test_deleting_answers_200_and_nothing_for_an_unknown_id(api):
    """DELETE answers 200 with the reference, then ``[]``; the dataset is gone."""
    key = api.new_dataset(api.new_schema())
    url = f"{api.catalog}/dataSets/{key}"
    assert api.call("DELETE", url).json() == [f"@/dataSets/{key}"]
    assert api.call("DELETE", url).json() == []
    assert api.get(url).status_code == 404


def test_the_target_of_a_dataflow_stays(api):
    """A dataset that a dataflow writes to is not deleted."""
    flow = api.new_flow()
    response = api.call("DELETE", f"{api.catalog}/dataSets/{api.dataset_of(flow)}")
    assert response.status_code == 400


def test_an_unknown_batch_is_not_found(api):
    """A batch id that never was is 404."""
    assert api.get(f"{api.catalog}/batches/none").status_code == 404
