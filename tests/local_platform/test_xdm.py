"""XDM: the registry's checks, composed schemas, and validation as in streaming ingestion."""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlio_kit.local_platform.data_prep.mappings import compile_mappings
from chatlio_kit.local_platform.registry import xdm

TENANT = "_acmechat"
EVENT = "https://ns.adobe.com/xdm/context/experienceevent"
WEB = "https://ns.adobe.com/xdm/context/experienceevent-web"
GROUP_ID = "https://ns.adobe.com/acmechat/mixins/77aa01"
LONG = {"type": "integer", "minimum": -9007199254740992, "maximum": 9007199254740992}


def field_group(**fields):
    """The body of a field group with the given tenant fields."""
    return {
        "type": "object",
        "title": "Acme chat details",
        "meta:intendedToExtend": [EVENT],
        "definitions": {
            "customFields": {
                "type": "object",
                "properties": {TENANT: {"type": "object", "properties": fields}},
            }
        },
        "allOf": [{"$ref": "#/definitions/customFields"}],
    }


def schema(*references):
    """The body of a schema of the given parts."""
    return {
        "type": "object",
        "title": "Chat",
        "description": "",
        "allOf": [{"$ref": each} for each in references],
    }


def composed(**fields):
    """The JSON Schema of an event schema with the given tenant fields."""
    known = {**xdm.GLOBAL_RESOURCES, GROUP_ID: xdm.with_xdm_types(field_group(**fields))}
    return xdm.compose(schema(EVENT, GROUP_ID, WEB), known.get)


def event(**fields):
    """A valid event with the given tenant fields."""
    return {"_id": "e1", "timestamp": "2024-01-01T00:00:00Z", TENANT: fields}


def test_an_event_schema_has_the_fields_of_all_its_parts():
    """Class, behaviour, identity map, custom and standard field groups become one object schema."""
    found = composed(text={"type": "string"})
    assert found["required"] == ["_id", "timestamp"]
    assert {"eventType", "producedBy", "eventMergeId", "identityMap", TENANT, "web"} <= found[
        "properties"
    ].keys()
    assert found["properties"]["timestamp"]["format"] == "date-time"
    assert found["properties"]["web"]["properties"]["webPageDetails"]["properties"]["URL"]["type"] == "string"


def test_every_object_with_properties_is_closed_and_a_map_stays_open():
    """Unknown keys are refused at every depth, but a map takes any key."""
    labels = {"type": "object", "meta:xdmType": "map", "additionalProperties": {"type": "string"}}
    items = {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}}
    found = composed(labels=labels, items=items)
    own = found["properties"][TENANT]
    assert found["additionalProperties"] is own["additionalProperties"] is False
    assert own["properties"]["items"]["items"]["additionalProperties"] is False
    assert own["properties"]["labels"]["additionalProperties"]["type"] == "string"
    validator = xdm.Validator(found)
    assert validator.violations(event(labels={"any": "x"}, items=[{"a": "x"}])) == []
    assert len(validator.violations(event(labels={"any": 1}, items=[{"b": "x"}]))) == 2


def test_two_field_groups_share_the_tenant_object():
    """Fields of two groups under the tenant's object are merged."""
    known = {
        **xdm.GLOBAL_RESOURCES,
        "a": field_group(one={"type": "string"}),
        "b": field_group(two={"type": "integer"}),
    }
    found = xdm.compose(schema(EVENT, "a", "b"), known.get)
    assert list(found["properties"][TENANT]["properties"]) == ["one", "two"]


def test_two_types_for_one_path_are_refused():
    """One path with two types is a merge error."""
    known = {
        **xdm.GLOBAL_RESOURCES,
        "a": field_group(one={"type": "string"}),
        "b": field_group(one={"type": "integer"}),
    }
    with pytest.raises(xdm.UnresolvedReference, match=r"_acmechat\.one is string") as caught:
        xdm.compose(schema(EVENT, "a", "b"), known.get)
    assert caught.value.problem.code == "XDM-1413-400"


@pytest.mark.parametrize("reference", ["https://ns.adobe.com/acmechat/mixins/gone", "#/definitions/gone"])
def test_a_reference_to_nothing_is_not_found(reference):
    """A schema that refers to a resource that does not exist cannot be composed."""
    with pytest.raises(xdm.UnresolvedReference, match="is not found") as caught:
        xdm.compose(schema(EVENT, reference), xdm.GLOBAL_RESOURCES.get)
    assert caught.value.problem.code.endswith("-404")


def test_references_in_a_circle_are_refused():
    """A resource that contains itself cannot be composed."""
    with pytest.raises(xdm.UnresolvedReference, match="circle"):
        xdm.compose(schema("a"), {"a": {"type": "object", "allOf": [{"$ref": "a"}]}}.get)


def test_composing_does_not_change_the_parts():
    """Composing a schema leaves the resources that it is made of as they were."""
    before = deepcopy(xdm.GLOBAL_RESOURCES)
    composed(text={"type": "string"})
    assert before == xdm.GLOBAL_RESOURCES


def test_a_composed_schema_can_be_mapped_to():
    """The mapper's destinations are the paths of a composed schema, identity map and web details included."""
    paths = ["_id", "identityMap.Email[0].id", "web.webPageDetails.URL", f"{TENANT}.text"]
    mappings = [{"sourceType": "STATIC", "source": "x", "destination": path} for path in paths]
    row = compile_mappings(mappings, composed(text={"type": "string"})).apply({}, now=datetime.now()).row
    assert row["identityMap"] == {"Email": [{"id": "x"}]}
    assert row["web"] == {"webPageDetails": {"URL": "x"}}


@pytest.mark.parametrize("key", sorted(xdm.GLOBAL_RESOURCES))
def test_a_standard_resource_has_the_form_of_a_lookup(key):
    """Each global resource carries ids, title, version and type, and composes."""
    resource = xdm.GLOBAL_RESOURCES[key]
    assert resource["$id"] == key
    assert resource["meta:altId"].startswith("_xdm.")
    assert {"title", "version", "meta:resourceType", "meta:extends", "meta:xdmType"} <= resource.keys()
    assert xdm.compose(resource, xdm.GLOBAL_RESOURCES.get)["properties"]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"type": "string"}, "string"),
        ({"type": "string", "format": "email"}, "string"),
        ({"type": "string", "enum": ["a"]}, "string"),
        ({"type": "string", "format": "date"}, "date"),
        ({"type": "string", "format": "date-time"}, "date-time"),
        ({"type": "number"}, "number"),
        ({"type": "integer"}, "int"),
        (LONG, "long"),
        ({"type": "integer", "minimum": 0, "maximum": 9007199254740991}, "long"),
        ({"type": "integer", "minimum": -2147483648, "maximum": 2147483647}, "int"),
        ({"type": "integer", "minimum": -32768, "maximum": 32768}, "short"),
        ({"type": "integer", "minimum": -128, "maximum": 128}, "byte"),
        ({"type": "integer", "minimum": 0}, "int"),
        ({"type": "boolean"}, "boolean"),
        ({"type": "array", "items": {"type": "string"}}, "array"),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, "object"),
        ({"type": "object", "meta:xdmType": "map", "additionalProperties": {"type": "string"}}, "map"),
    ],
)
def test_the_registry_adds_the_type_of_each_field(node, expected):
    """`meta:xdmType` follows the table of the custom fields tutorial."""
    typed = xdm.with_xdm_types(field_group(it=node))
    found = typed["definitions"]["customFields"]["properties"][TENANT]["properties"]["it"]
    assert found["meta:xdmType"] == expected
    assert "meta:xdmType" not in node or node["meta:xdmType"] == "map"


def test_types_reach_items_and_map_values():
    """Array items and map values get their types, and a reference gets none."""
    typed = xdm.with_xdm_types(
        {
            "type": "array",
            "items": {"type": "object", "properties": {"a": {"$ref": "x"}, "b": {"type": "boolean"}}},
        }
    )
    assert typed["items"]["properties"] == {
        "a": {"$ref": "x"},
        "b": {"type": "boolean", "meta:xdmType": "boolean"},
    }


def test_a_good_field_group_and_a_good_schema_are_accepted():
    """The documented bodies have no problem, with every type of field."""
    fields = {
        "name": {"type": "string", "title": "Name"},
        "count": {"type": "integer"},
        "ratio": {"type": "number"},
        "open": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "labels": {"type": "object", "meta:xdmType": "map", "additionalProperties": {"type": "integer"}},
        "inner": {
            "type": "object",
            "properties": {"a": {"$ref": "https://ns.adobe.com/xdm/context/identityitem"}},
        },
    }
    assert xdm.check_field_group(field_group(**fields), TENANT) == []
    assert xdm.check_schema(schema(EVENT, GROUP_ID, WEB)) == []


@pytest.mark.parametrize(
    ("node", "fragment"),
    [
        ({"type": "date"}, "unknown type 'date'"),
        ({"title": "no type"}, "unknown type None"),
        ({"type": ["string", "null"]}, "unknown type"),
        ("string", "must be an object that describes a field"),
        ({"type": "object"}, "needs properties"),
        ({"type": "object", "properties": {}}, "needs properties"),
        ({"type": "array"}, "must be an object that describes a field"),
        ({"type": "array", "items": {"type": "text"}}, "it[*] has the unknown type"),
        ({"type": "object", "properties": {"_x": {"type": "string"}}}, "it._x has a name"),
        ({"type": "object", "properties": {"a-b": {"type": "string"}}}, "it.a-b has a name"),
        ({"type": "object", "properties": {"a b": {"type": "string"}}}, "it.a b has a name"),
        ({"type": "object", "meta:xdmType": "map"}, "needs additionalProperties"),
        (
            {"type": "object", "meta:xdmType": "map", "additionalProperties": {"type": "boolean"}},
            "needs additionalProperties",
        ),
        ({"$ref": 1}, "$ref that is not a string"),
    ],
)
def test_a_field_that_the_registry_does_not_know_is_refused(node, fragment):
    """Unknown types, bad names and half-defined objects, arrays and maps are refused at creation."""
    (problem,) = xdm.check_field_group(field_group(it=node), TENANT)
    assert fragment in problem.detail
    assert problem.code.startswith("XDM-")


def test_a_custom_field_outside_the_tenants_object_is_a_namespace_error():
    """Custom fields belong inside `_{tenantId}`, in definitions and at the top level."""
    body = field_group(ok={"type": "string"})
    body["definitions"]["customFields"]["properties"]["loose"] = {"type": "string"}
    body["properties"] = {"_other": {"type": "object", "properties": {"a": {"type": "string"}}}}
    found = xdm.check_field_group(body, TENANT)
    assert [each.title for each in found] == ["Namespace validation error"] * 2
    assert found[0].code == "XDM-1020-400"


@pytest.mark.parametrize("missing", ["title", "type", "allOf", "meta:intendedToExtend", "definitions"])
def test_a_field_group_without_a_required_part_is_refused(missing):
    """Title, type, allOf, definitions and the class that it extends are all required."""
    body = field_group(ok={"type": "string"})
    del body[missing]
    assert any(missing in each.detail for each in xdm.check_field_group(body, TENANT))


def test_a_field_group_refers_only_to_its_own_fields():
    """An `allOf` that points past `definitions` is refused."""
    body = {**field_group(ok={"type": "string"}), "allOf": [{"$ref": "#/definitions/other"}]}
    (problem,) = xdm.check_field_group(body, TENANT)
    assert "#/definitions/other" in problem.detail


@pytest.mark.parametrize(
    ("body", "fragment"),
    [
        (schema(GROUP_ID), "exactly one class, this one has 0"),
        (schema(EVENT, "https://ns.adobe.com/acmechat/classes/1"), "exactly one class, this one has 2"),
        (schema(EVENT, "https://ns.adobe.com/xdm/data/time-series"), "behaviour"),
        ({**schema(EVENT), "title": " "}, "title"),
        ({**schema(EVENT), "type": "array"}, "type"),
        ({**schema(EVENT), "allOf": [{"$ref": EVENT}, {"type": "object"}]}, "allOf"),
        ({**schema(EVENT), "properties": {"a": {"type": "string"}}}, "field groups"),
    ],
)
def test_a_schema_is_one_class_and_its_field_groups(body, fragment):
    """A schema takes everything from exactly one class and from field groups."""
    (problem,) = xdm.check_schema(body)
    assert fragment in problem.detail


def only(violations):
    """Return the only violation."""
    (violation,) = violations
    return violation


def test_the_documented_violations_are_quoted_verbatim():
    """An unknown key and a wrong type give the documented entries (Streaming validation)."""
    row = {"_id": 1, "timestamp": "2024-01-01T00:00:00Z", "oops": 1}
    found = xdm.Validator(composed(a={"type": "string"})).violations(row)
    assert sorted(found, key=lambda each: each["keyword"]) == [
        {
            "schemaLocation": "#",
            "pointerToViolation": "#",
            "causingExceptions": [],
            "keyword": "additionalProperties",
            "message": "extraneous key [oops] is not permitted",
        },
        {
            "schemaLocation": "#/properties/_id",
            "pointerToViolation": "#/_id",
            "causingExceptions": [],
            "keyword": "type",
            "message": "expected type: String, found: Long",
        },
    ]


def test_a_bad_time_is_reported_with_the_expected_formats():
    """The message lists the four documented forms (Retrieving failed batches)."""
    violation = only(
        xdm.Validator(composed(a={"type": "string"})).violations({**event(), "timestamp": "now"})
    )
    assert (violation["keyword"], violation["pointerToViolation"]) == ("format", "#/timestamp")
    assert violation["message"] == (
        "[now] is not a valid date-time. Expected "
        "[yyyy-MM-dd'T'HH:mm:ssZ, yyyy-MM-dd'T'HH:mm:ss.[0-9]{1-9}Z, "
        "yyyy-MM-dd'T'HH:mm:ss[+-]HH:mm, yyyy-MM-dd'T'HH:mm:ss.[0-9]{1,9}[+-]HH:mm]"
    )


def test_a_missing_required_key_is_named():
    """A row without `_id` lacks a required key."""
    violation = only(
        xdm.Validator(composed(a={"type": "string"})).violations({"timestamp": "2024-01-01T00:00:00Z"})
    )
    assert (violation["keyword"], violation["message"]) == ("required", "required key [_id] not found")


@pytest.mark.parametrize(
    ("node", "good", "bad", "keyword", "message"),
    [
        ({"type": "string"}, "", None, "type", "expected type: String, found: Null"),
        ({"type": "string"}, "a", ["a"], "type", "expected type: String, found: JSONArray"),
        ({"type": "string"}, "a", {"a": 1}, "type", "expected type: String, found: JSONObject"),
        ({"type": "boolean"}, True, "true", "type", "expected type: Boolean, found: String"),
        ({"type": "number"}, 1.5, False, "type", "expected type: Number, found: Boolean"),
        ({"type": "integer"}, 1, 1.0, "type", "expected type: Integer, found: Double"),
        (
            {"type": "integer"},
            2147483647,
            2147483648,
            "maximum",
            "2147483648 is not less or equal to 2147483647",
        ),
        (LONG, -(2**53), -(2**53) - 1, "minimum", f"{-(2**53) - 1} is not greater or equal to {-(2**53)}"),
        ({"type": "string", "enum": ["a"]}, "a", "b", "enum", "b is not a valid enum value"),
        ({"type": "string", "pattern": "^a"}, "ab", "ba", "pattern", "string [ba] does not match pattern ^a"),
        ({"type": "string", "minLength": 2}, "ab", "a", "minLength", "expected minLength: 2, actual: 1"),
        ({"type": "string", "maxLength": 2}, "ab", "abc", "maxLength", "expected maxLength: 2, actual: 3"),
        (
            {"type": "array", "items": {"type": "string"}, "maxItems": 1},
            ["a"],
            ["a", "b"],
            "maxItems",
            "expected maximum item count: 1, found: 2",
        ),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ["a"],
            [],
            "minItems",
            "expected minimum item count: 1, found: 0",
        ),
        (
            {"type": "string", "format": "email"},
            "a@b.example",
            "a b",
            "format",
            "[a b] is not a valid email address",
        ),
        ({"type": "string", "format": "date"}, "2024-02-29", "2023-02-29", "format", None),
        (
            {"type": "string", "format": "uri"},
            "https://a.example/b",
            "a b",
            "format",
            "[a b] is not a valid URI",
        ),
        ({"type": "string", "format": "ipv4"}, "10.0.0.1", "10.0.0.256", "format", None),
        ({"type": "string", "format": "ipv6"}, "::1", "10.0.0.1", "format", None),
        ({"type": "string", "format": "hostname"}, "a.example", "-a", "format", None),
    ],
)
def test_each_rule_is_checked_and_reported(node, good, bad, keyword, message):
    """Type, range, enum, pattern, length and format are enforced at ingestion (Field constraints)."""
    validator = xdm.Validator(composed(it=node))
    assert validator.violations(event(it=good)) == []
    violation = only(validator.violations(event(it=bad)))
    assert violation["keyword"] == keyword
    assert violation["pointerToViolation"] == f"#/{TENANT}/it"
    assert violation["schemaLocation"] == f"#/properties/{TENANT}/properties/it"
    assert violation["message"] == message or message is None


def test_at_most_five_violations_are_listed():
    """The validator stops after five errors in a message (Streaming validation)."""
    row = {**event(), **{f"k{number}": 1 for number in range(9)}}
    assert len(xdm.Validator(composed(a={"type": "string"})).violations(row)) == 5


def test_an_id_with_a_space_is_not_a_uri_reference():
    """`_id` is a uri-reference, so colons and spaces must be avoided."""
    violation = only(xdm.Validator(composed(a={"type": "string"})).violations({**event(), "_id": "a b"}))
    assert violation["message"] == "[a b] is not a valid URI reference"


def test_pointers_escape_slashes_and_tildes():
    """A map's odd key is escaped as JSON pointers want it."""
    row = {**event(), "identityMap": {"a/b~c": [{"id": 1}]}}
    violation = only(xdm.Validator(composed(a={"type": "string"})).violations(row))
    assert violation["pointerToViolation"] == "#/identityMap/a~1b~0c/0/id"


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01",
        "2024-01-01T00:00:00",
        "2024-01-01 00:00:00Z",
        "2024-01-01T00:00Z",
        "2024-01-01T00:00:00z",
        "2024-01-01t00:00:00Z",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00.1234567890Z",
        "2024-01-01T00:00:00+0200",
        "2024-01-01T00:00:00+24:00",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:00:60Z",
        "2024-02-30T00:00:00Z",
        "2024-01-01T00:00:00Z\n",
        "٢٠٢٤-01-01T00:00:00Z",
        "",
    ],
)
def test_only_rfc_3339_with_seconds_and_offset_is_a_date_time(text):
    """A time needs a T, seconds, an offset and at most nine decimals, and must exist."""
    violation = only(
        xdm.Validator(composed(at={"type": "string", "format": "date-time"})).violations(event(at=text))
    )
    assert violation["keyword"] == "format"


@given(
    st.datetimes(),
    st.integers(0, 9),
    st.none() | st.integers(-23 * 60 - 59, 23 * 60 + 59),
    st.integers(0, 999_999_999),
)
def test_every_documented_form_of_a_time_is_a_date_time(moment, decimals, minutes, nanoseconds):
    """Any instant with zero to nine decimals and `Z` or an offset is valid."""
    fraction = f".{nanoseconds:09d}"[: decimals + 1] if decimals else ""
    local = moment.replace(microsecond=0, tzinfo=None).isoformat()
    zone = "Z"
    if minutes is not None:
        zone = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes))).isoformat()[-6:]
    assert xdm.Validator({"type": "string", "format": "date-time"}).violations(local + fraction + zone) == []
