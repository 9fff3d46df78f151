"""The Schema Registry: ids, Accept headers, lists, changes and refusals."""

from __future__ import annotations

from urllib.parse import quote

import pytest

EXPERIENCE_EVENT = "https://ns.adobe.com/xdm/context/experienceevent"
SHORT = {"Accept": "application/vnd.adobe.xed-id+json"}
FULL_LIST = {"Accept": "application/vnd.adobe.xed+json"}
LOOKUP = {"Accept": "application/vnd.adobe.xed+json; version=1"}
FULL_LOOKUP = {"Accept": "application/vnd.adobe.xed-full+json; version=1"}


@pytest.mark.parametrize("path", ["stats", "stats/"])
def test_stats_name_the_tenant_without_underscore(api, path):
    """The tenant id is the field namespace without its underscore."""
    api.new_schema()
    stats = api.get(f"{api.registry}/{path}").json()
    assert stats["tenantId"] == "acmechat"
    assert stats["imsOrg"] == api.platform.account.org_id
    assert (stats["counts"]["schemas"], stats["counts"]["mixins"]) == (1, 1)
    assert list(stats["classUsage"]) == [EXPERIENCE_EVENT]


def test_a_field_group_is_stored_as_a_mixin(api):
    """A field group is created at /fieldgroups, yet its ``$id`` and resource type say mixins."""
    created = api.new_field_group()
    token = created["$id"].removeprefix("https://ns.adobe.com/acmechat/mixins/")
    assert created["meta:altId"] == f"_acmechat.mixins.{token}"
    assert created["meta:resourceType"] == "mixins"
    assert created["version"] == "1.0"
    assert created["meta:tenantNamespace"] == "_acmechat"
    assert (created["meta:extensible"], created["meta:abstract"]) == (True, True)
    assert "repo:createdDate" in created["meta:registryMetadata"]
    own = created["definitions"]["customFields"]["properties"]["_acmechat"]
    assert own["meta:xdmType"] == "object"
    assert own["properties"]["seenAt"]["meta:xdmType"] == "date-time"


def test_a_schema_lists_its_parts(api):
    """A schema gains its class, what it extends with the class's behaviour, and its references."""
    schema = api.new_schema()
    references = [part["$ref"] for part in schema["allOf"]]
    assert schema["meta:class"] == EXPERIENCE_EVENT
    assert schema["refs"] == references
    assert {*references, "https://ns.adobe.com/xdm/data/time-series"} <= set(schema["meta:extends"])
    assert schema["meta:extensible"] is False
    assert all(part["meta:xdmType"] == "object" for part in schema["allOf"])


def test_lookup_by_id_and_by_alternate_id(api):
    """Path ids are the URL-encoded ``$id`` or the ``meta:altId``."""
    schema = api.new_schema()
    by_alternate = f"{api.registry}/tenant/schemas/{schema['meta:altId']}"
    assert api.get(api.resource_url(schema), headers=LOOKUP).json() == schema
    assert api.get(by_alternate, headers=LOOKUP).json() == schema


def test_a_full_lookup_resolves_references(api):
    """``xed-full`` shows the fields of class and field groups in one tree."""
    full = api.get(api.resource_url(api.new_schema()), headers=FULL_LOOKUP).json()
    assert {"_id", "timestamp", "eventType", "_acmechat"} <= set(full["properties"])
    assert full["properties"]["_acmechat"]["properties"]["note"]["type"] == "string"
    assert {"_id", "timestamp"} <= set(full["required"])


def test_a_lookup_without_text(api):
    """``notext`` leaves out titles and descriptions."""
    headers = {"Accept": "application/vnd.adobe.xed-full-notext+json; version=1"}
    full = api.get(api.resource_url(api.new_schema()), headers=headers).json()
    assert "title" not in full
    assert "description" not in full["properties"]["timestamp"]


@pytest.mark.parametrize(
    ("path", "accept", "code"),
    [
        ("tenant/schemas", "application/json", "XDM-1006-400"),
        ("tenant/schemas", "application/vnd.adobe.xed+json; version=1", "XDM-1006-400"),
        ("tenant/schemas/x", "application/vnd.adobe.xed+json", "XDM-1007-400"),
        ("tenant/descriptors", "application/vnd.adobe.xed+json", "XDM-1008-400"),
        ("tenant/descriptors/x", "application/vnd.adobe.xed+json", "XDM-1009-400"),
    ],
)
def test_a_wrong_accept_header_is_refused(api, path, accept, code):
    """Lists take no version, lookups need one, and descriptors have media types of their own."""
    response = api.get(f"{api.registry}/{path}", headers={"Accept": accept})
    assert response.status_code == 400
    assert response.json()["type"] == f"http://ns.adobe.com/aep/errors/{code}"
    assert response.json()["title"] == "Accept header invalid"


def test_lists_are_short_or_full(api):
    """``xed-id`` lists id, alternate id, version and title only."""
    api.new_schema()
    short = api.get(f"{api.registry}/tenant/schemas", headers=SHORT).json()
    full = api.get(f"{api.registry}/tenant/schemas", headers=FULL_LIST).json()
    assert set(short["results"][0]) == {"$id", "meta:altId", "version", "title"}
    assert full["results"][0]["meta:class"] == EXPERIENCE_EVENT
    assert short["_page"] == {"orderby": "updated", "next": None, "count": 1}


def test_lists_page_by_the_last_value_seen(api):
    """``start`` is a value cursor: the last value of the sort key, exclusive, as ``_page.next`` gives it."""
    for title in "bdac":
        api.new_field_group(title)
    query = {"orderby": "title", "limit": "3"}
    first = api.get(f"{api.registry}/tenant/fieldgroups", params=query, headers=SHORT).json()
    assert [each["title"] for each in first["results"]] == ["a", "b", "c"]
    assert first["_page"]["next"] == "c"
    query["start"] = first["_page"]["next"]
    last = api.get(f"{api.registry}/tenant/fieldgroups", params=query, headers=SHORT).json()
    assert [each["title"] for each in last["results"]] == ["d"]
    assert last["_page"]["next"] is None
    assert api.get(first["_links"]["next"]["href"], headers=SHORT).json()["results"] == last["results"]


def test_lists_are_filtered_by_property(api):
    """``property`` compares values, and inside arrays too: field groups of a class are found by it."""
    api.new_field_group("a")
    url = f"{api.registry}/tenant/fieldgroups"

    def titles(filter_text: str) -> list[str]:
        found = api.get(url, params={"property": filter_text}, headers=SHORT).json()
        return [each["title"] for each in found["results"]]

    assert titles(f"meta:intendedToExtend=={EXPERIENCE_EVENT}") == ["a"]
    assert titles("title==a") == ["a"]
    assert titles("title!=a") == []
    assert titles("meta:class") == []


def test_adobe_resources_are_read_only(api):
    """The global container lists the class of events and takes no writes."""
    url = f"{api.registry}/global/classes"
    listed = api.get(url, headers=SHORT).json()["results"]
    assert EXPERIENCE_EVENT in [each["$id"] for each in listed]
    found = api.get(f"{url}/{quote(EXPERIENCE_EVENT, safe='')}", headers=LOOKUP)
    assert found.status_code == 200
    assert api.post(url, {"title": "x"}).status_code == 405


def test_titles_are_unique_across_resource_types(api):
    """A schema cannot share its title with a field group: XDM-1521-400."""
    api.new_field_group("Shop")
    body = {"type": "object", "title": "Shop", "description": "", "allOf": [{"$ref": EXPERIENCE_EVENT}]}
    response = api.post(f"{api.registry}/tenant/schemas", body)
    assert response.status_code == 400
    assert response.json()["type"].endswith("XDM-1521-400")
    assert response.json()["title"] == "Title not unique"


def test_custom_fields_live_under_the_tenant(api):
    """A field outside the tenant's object is a namespace validation error, XDM-1020 to 1024."""
    fields = {"type": "object", "properties": {"note": {"type": "string"}}}
    body = {
        "type": "object",
        "title": "Loose",
        "meta:intendedToExtend": [EXPERIENCE_EVENT],
        "definitions": {"customFields": fields},
        "allOf": [{"$ref": "#/definitions/customFields"}],
    }
    response = api.post(f"{api.registry}/tenant/fieldgroups", body)
    assert response.status_code == 400
    assert response.json()["type"].rpartition("/")[2] in {f"XDM-{code}-400" for code in range(1020, 1025)}


def test_a_schema_needs_a_class_and_known_parts(api):
    """A schema without a class, or with a reference to nothing, is refused."""
    body = {"type": "object", "title": "No class", "description": "", "allOf": []}
    assert api.post(f"{api.registry}/tenant/schemas", body).status_code == 400
    body["allOf"] = [{"$ref": EXPERIENCE_EVENT}, {"$ref": "https://ns.adobe.com/acmechat/mixins/none"}]
    assert api.post(f"{api.registry}/tenant/schemas", body).status_code == 404


def test_a_patch_adds_a_field_group(api):
    """A patch needs no If-Match, answers the whole resource, and raises the minor version."""
    schema = api.new_schema()
    group = api.new_field_group("More")
    group = {**group, "definitions": group["definitions"]}
    patch = [{"op": "add", "path": "/allOf/-", "value": {"$ref": group["$id"]}}]
    response = api.call("PATCH", api.resource_url(schema), json=patch)
    assert response.status_code == 200
    assert response.json()["version"] == "1.1"
    assert group["$id"] in response.json()["meta:extends"]
    assert response.json()["$id"] == schema["$id"]


def test_a_bad_patch_changes_nothing(api):
    """A patch of an unknown operation is refused."""
    schema = api.new_schema()
    patch = [{"op": "move", "path": "/title", "value": "x"}]
    assert api.call("PATCH", api.resource_url(schema), json=patch).status_code == 400
    assert api.get(api.resource_url(schema), headers=LOOKUP).json() == schema


def test_a_put_rewrites_a_resource(api):
    """A PUT keeps the id and replaces the rest."""
    group = api.new_field_group()
    body = {name: group[name] for name in ("type", "meta:intendedToExtend", "definitions", "allOf")}
    response = api.call("PUT", api.resource_url(group, "fieldgroups"), json={**body, "title": "Renamed"})
    assert (response.json()["title"], response.json()["version"]) == ("Renamed", "1.1")
    assert response.json()["$id"] == group["$id"]


def test_deleting_answers_204_and_then_404(api):
    """DELETE answers an empty 204; a lookup afterwards is not found."""
    schema = api.new_schema()
    deleted = api.call("DELETE", api.resource_url(schema))
    assert (deleted.status_code, deleted.content) == (204, b"")
    missing = api.get(api.resource_url(schema), headers=LOOKUP)
    assert missing.status_code == 404
    assert missing.json()["title"] == "Resource not found"
    assert set(missing.json()["report"]) == {
        "registryRequestId",
        "timestamp",
        "detailed-message",
        "sub-errors",
    }


def test_a_resource_in_use_is_not_deleted(api):
    """A schema of a dataset, and a field group of a schema, stay."""
    schema = api.new_schema()
    api.new_dataset(schema)
    assert api.call("DELETE", api.resource_url(schema)).status_code == 400
    group_id = schema["refs"][1]
    url = f"{api.registry}/tenant/fieldgroups/{quote(group_id, safe='')}"
    assert api.call("DELETE", url).status_code == 400


def test_a_schema_with_data_only_gains(api, event):
    """Once a dataset holds rows, fields can be added but not removed, retyped or made required."""
    schema = api.new_schema()
    flow = api.new_flow(schema)
    own = "/definitions/customFields/properties/_acmechat/properties"
    url = api.resource_url({"$id": schema["refs"][1]}, "fieldgroups")

    def patched(*operations):
        return api.call("PATCH", url, json=list(operations)).status_code

    drop_time = {"op": "remove", "path": f"{own}/seenAt"}
    drop_count = {"op": "remove", "path": f"{own}/count"}
    assert patched(drop_time) == 200
    api.send(flow, [event(1)])
    api.wait_for_records(flow, 1)
    assert patched(drop_count) == 400
    assert patched({"op": "replace", "path": f"{own}/count/type", "value": "string"}) == 400
    assert patched({"op": "add", "path": f"{own}/more", "value": {"type": "string"}}) == 200


def test_parts_of_a_schema_must_agree(api):
    """Two field groups that give one path different types do not make a schema."""
    group = api.new_field_group("One")
    own = {"type": "object", "properties": {"note": {"type": "integer"}}}
    fields = {"customFields": {"type": "object", "properties": {"_acmechat": own}}}
    body = {name: group[name] for name in ("type", "meta:intendedToExtend", "allOf")}
    other = api.post(f"{api.registry}/tenant/fieldgroups", {**body, "title": "Two", "definitions": fields})
    parts = [{"$ref": each} for each in (EXPERIENCE_EVENT, group["$id"], other.json()["$id"])]
    schema = {"type": "object", "title": "Both", "description": "", "allOf": parts}
    assert api.post(f"{api.registry}/tenant/schemas", schema).status_code == 400


def test_an_identity_descriptor(api):
    """Descriptors are created with 201, listed by type, looked up without Accept, and deleted with 204."""
    schema = api.new_schema()
    url = f"{api.registry}/tenant/descriptors"
    listing = {"Accept": "application/vnd.adobe.xdm-link+json"}
    assert api.get(url, headers=listing).json() == {}
    body = {
        "@type": "xdm:descriptorIdentity",
        "xdm:sourceSchema": schema["$id"],
        "xdm:sourceVersion": 1,
        "xdm:sourceProperty": "/_acmechat/note",
        "xdm:namespace": "Email",
        "xdm:property": "xdm:code",
        "xdm:isPrimary": True,
    }
    created = api.post(url, body)
    assert created.status_code == 201
    key = created.json()["@id"]
    assert created.json()["meta:containerId"] == "tenant"
    linked = {"xdm:descriptorIdentity": [f"/tenant/descriptors/{key}"]}
    assert api.get(url, headers=listing).json() == linked
    assert api.get(f"{url}/{key}").json()["xdm:namespace"] == "Email"
    second = api.post(url, {**body, "xdm:sourceProperty": "/eventType"})
    assert second.status_code == 400
    assert api.post(url, {**body, "xdm:sourceProperty": "/_acmechat/count"}).status_code == 400
    assert api.call("PUT", f"{url}/{key}", json={**body, "xdm:namespace": "ECID"}).json() == {"@id": key}
    assert api.call("DELETE", f"{url}/{key}").status_code == 204
    assert api.get(f"{url}/{key}").status_code == 404
