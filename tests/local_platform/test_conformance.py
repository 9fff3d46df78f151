"""The local platform compared with Adobe's documentation: requests, and the documented answers.

Words in braces represent objects of the stage below. In expected answers, a dict lists required members
(``Only`` lists all of them), a pattern is matched, a type means an instance, and ``...`` is anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
import requests

from chatlio_kit.jobs.verify.shapes import Only, misfits
from chatlio_kit.local_platform import RunningPlatform, running

REGISTRY = "/data/foundation/schemaregistry"
CATALOG = "/data/foundation/catalog"
DATA_PREP = "/data/foundation/conversion"
FLOWS = "/data/foundation/flowservice"
ACCESS = "/data/foundation/access-control"
EVENT = "https://ns.adobe.com/xdm/context/experienceevent"
FULL = "application/vnd.adobe.xed-full+json;version=1"
PLAIN = "application/vnd.adobe.xed+json;version=1"
NOWHERE = "00000000-0000-4000-8000-000000000000"
ETAG = re.compile(r'"[0-9a-f]{8}-0000-0200-0000-[0-9a-f]{12}"')
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
HEX24, HEX32 = re.compile(r"[0-9a-f]{24}"), re.compile(r"[0-9a-f]{32}")
WORDS = re.compile(r"\S.*", re.DOTALL)
MILLISECONDS = int


@dataclass(frozen=True)
class Case:
    """One request and its documented answer.

    Attributes:
        source: the paragraph of the documentation.
        asked: method and path, with query.
        status: the HTTP status.
        body: the expected body of the answer.
        sent: the request's body as JSON; None for none.
        headers: replaced headers; None leaves one out.
        answered: headers that the answer must have.
    """

    source: str
    asked: str
    status: int
    body: Any
    sent: Any = None
    headers: dict[str, str | None] = field(default_factory=dict)
    answered: dict[str, Any] = field(default_factory=dict)


def gateway(code: str, message: str) -> Only:
    """Return the gateway's answer: these two members and no others."""
    return Only(error_code=code, message=message)


def flow_error(code: str, title: str = "Invalid request") -> dict[str, Any]:
    """Return Flow Service's answer, in the form of the sample in "Data usage labels"."""
    return {
        "type": f"https://ns.adobe.com/aep/errors/FLOW-{code}",
        "title": title,
        "status": int(code[-3:]),
        "report": {"detailed-message": WORDS, "request-id": WORDS},
        "errorMessage": WORDS,
        "errorDetails": WORDS,
    }


def registry_error(code: str, title: str) -> dict[str, Any]:
    """Return the Schema Registry's answer, in the form of its troubleshooting guide."""
    return {
        "type": f"http://ns.adobe.com/aep/errors/{code}",
        "title": title,
        "status": int(code[-3:]),
        "report": {
            "registryRequestId": WORDS,
            "timestamp": re.compile(r"\d\d-\d\d-\d{4} \d\d:\d\d:\d\d"),
            "detailed-message": WORDS,
            "sub-errors": list,
        },
        "detail": WORDS,
    }


def field_group(title: str, tenant: str = "_acmechat") -> dict[str, Any]:
    """The body of "Create a field group"."""
    note = {"note": {"type": "string", "title": "Note", "description": "Text"}}
    custom = {"type": "object", "properties": {tenant: {"type": "object", "properties": note}}}
    return {
        "type": "object",
        "title": title,
        "description": "Chat attributes",
        "meta:intendedToExtend": [EVENT],
        "definitions": {"customFields": custom},
        "allOf": [{"$ref": "#/definitions/customFields"}],
    }


def source(**changed: Any) -> dict[str, Any]:
    """The source connection of "Create a Chatlio source connection and dataflow"."""
    return {
        "name": "Chatlio source",
        "description": "live chat",
        "providerId": "521eee4d-8cbe-4906-bb48-fb6bd4450033",
        "connectionSpec": {"id": "073127a3-26e3-496c-9d94-9f48fb93fba8", "version": "1.0"},
        "data": {"format": "json"},
        **changed,
    }


def target(**changed: Any) -> dict[str, Any]:
    """The target connection of the same guide."""
    return {
        "name": "Chatlio target",
        "connectionSpec": {"id": "c604ff05-7f1a-43c0-8e18-33bf874cb11c", "version": "1.0"},
        "data": {"format": "json", "schema": {"id": "{schema}", "version": FULL}},
        "params": {"dataSetId": "{dataset}"},
        **changed,
    }


def flow(mapping: str = "{mapping}", version: Any = 0, **changed: Any) -> dict[str, Any]:
    """The dataflow of the same guide."""
    return {
        "name": "Chatlio flow",
        "flowSpec": {"id": "e77fde5a-22a8-11ed-861d-0242ac120002", "version": "1.0"},
        "sourceConnectionIds": ["{source}"],
        "targetConnectionIds": ["{target}"],
        "transformations": [{"name": "Mapping", "params": {"mappingId": mapping, "mappingVersion": version}}],
        **changed,
    }


def mapping_set(*mappings: dict[str, str], schema: str = "{schema}") -> dict[str, Any]:
    """The body of "Create a mapping set"."""
    usual = {"sourceType": "EXPRESSION", "source": "now()", "destination": "timestamp"}
    return {
        "outputSchema": {"schemaRef": {"id": schema, "contentType": FULL}},
        "mappings": list(mappings) or [usual],
    }


RENAME = [{"op": "replace", "path": "/name", "value": "renamed"}]
NOTE = {"sourceType": "ATTRIBUTE", "source": "a", "destination": "_acmechat.note"}
BROKEN = {"sourceType": "EXPRESSION", "source": "nvl(a, b)", "destination": "_acmechat.note"}
LEGACY = {"sourceAttribute": "a", "destinationXdmPath": "_acmechat.note", "identity": False, "version": 0}
FORM = "grant_type=client_credentials&client_id=local-client&client_secret={}&scope={}"
SCOPES = "openid,session,AdobeID,read_organizations,additional_info.projectedProductContext"
READ = {"Accept": "application/vnd.adobe.xed+json; version=1"}
LIST = {"Accept": "application/vnd.adobe.xed-id+json"}
STALE = {"If-Match": '"00000000-0000-0200-0000-000000000000"'}
CURRENT = {"If-Match": "{etag}"}

IMS_CASES = [
    Case(
        "Server-to-server authentication, IMS API: response",
        "POST /ims/token/v3",
        200,
        Only(access_token=WORDS, token_type="bearer", expires_in=86_399),
        FORM.format("{secret}", SCOPES),
    ),
    Case(
        "Server-to-server authentication, IMS API: invalid secret",
        "POST /ims/token/v3",
        400,
        Only(error="invalid_client", error_description="invalid client_secret parameter"),
        FORM.format("wrong", SCOPES),
    ),
    Case(
        "Server-to-server authentication, IMS API: scopes are separated by commas",
        "POST /ims/token/v3",
        400,
        Only(error="invalid_scope", error_description=WORDS),
        FORM.format("{secret}", "openid session"),
    ),
]
GATEWAY_CASES = [
    Case("Troubleshooting guide: OAuth token is missing", f"GET {REGISTRY}/stats", 403,
         gateway("403010", "Oauth token is missing."), headers={"Authorization": None}),
    Case("Troubleshooting guide: OAuth token is not valid", f"GET {REGISTRY}/stats", 401,
         gateway("401013", "Oauth token is not valid"), headers={"Authorization": "Bearer old"}),
    Case("Troubleshooting guide: API key is required", f"GET {REGISTRY}/stats", 403,
         gateway("403000", "Api Key is required"), headers={"x-api-key": None}),
    Case("Troubleshooting guide: API key is invalid", f"GET {REGISTRY}/stats", 403,
         gateway("403003", "Api Key is invalid"), headers={"x-api-key": "other"}),
    Case("Troubleshooting guide: missing header", f"GET {CATALOG}/dataSets", 400,
         gateway("400003", "Missing header"), headers={"x-gw-ims-org-id": None}),
    Case("Troubleshooting guide: profile is not valid", f"GET {FLOWS}/flows", 403,
         gateway("403025", "Profile is not valid"), headers={"x-gw-ims-org-id": f"{'0' * 24}@AdobeOrg"}),
    Case("Troubleshooting guide: user region is missing", f"GET {FLOWS}/flows", 403,
         gateway("403027", "User region is missing"), headers={"x-gw-ims-org-id": "acme"}),
    Case("Troubleshooting guide: valid content-type not specified", f"POST {FLOWS}/flows", 400,
         Only(type="/placeholder/type/uri", status=400, title="BadRequestError",
              detail="A valid content-type must be specified"), {}, {"Content-Type": "text/plain"}),
]  # fmt: skip
REGISTRY_CASES = [
    Case("Schema Registry, Getting started: know your TENANT_ID", f"GET {REGISTRY}/stats", 200,
         {"imsOrg": re.compile(r"[0-9A-F]{24}@AdobeOrg"), "tenantId": "acmechat",
          "counts": {"schemas": int, "mixins": int, "datatypes": int, "classes": int, "unions": int},
          "recentlyCreatedResources": list, "recentlyUpdatedResources": list, "classUsage": dict}),
    Case("Schema Registry, Field groups: create", f"POST {REGISTRY}/tenant/fieldgroups", 201,
         {"$id": re.compile(r"https://ns\.adobe\.com/acmechat/mixins/[0-9a-f]+"),
          "meta:altId": re.compile(r"_acmechat\.mixins\.[0-9a-f]+"), "meta:resourceType": "mixins",
          "version": "1.0", "imsOrg": WORDS, "meta:extensible": True, "meta:abstract": True,
          "meta:xdmType": "object", "meta:containerId": "tenant", "meta:tenantNamespace": "_acmechat",
          "meta:registryMetadata": {"repo:createdDate": MILLISECONDS, "repo:lastModifiedDate": MILLISECONDS,
                                    "xdm:createdClientId": WORDS, "eTag": WORDS}},
         field_group("A new group")),
    Case("Schema Registry, Schemas: create", f"POST {REGISTRY}/tenant/schemas", 201,
         {"$id": re.compile(r"https://ns\.adobe\.com/acmechat/schemas/[0-9a-f]+"), "version": "1.0",
          "meta:resourceType": "schemas", "meta:class": EVENT, "meta:extensible": False,
          "meta:abstract": False, "refs": list, "meta:sandboxId": WORDS, "meta:sandboxType": WORDS,
          "allOf": [{"$ref": EVENT, "type": "object", "meta:xdmType": "object"}]},
         {"type": "object", "title": "A new schema", "description": "", "allOf": [{"$ref": EVENT}]}),
    Case("Schema Registry, Appendix: paging; the results of a list",
         f"GET {REGISTRY}/tenant/schemas?orderby=title&limit=1",
         200, {"results": [Only({"$id": WORDS, "meta:altId": WORDS, "version": WORDS, "title": WORDS})],
               "_page": {"orderby": "title", "next": WORDS, "count": 1},
               "_links": {"next": {"href": WORDS}, "global_schemas": {"href": WORDS}}}, headers=LIST),
    Case("Schema Registry, Appendix: paging; the last page",
         f"GET {REGISTRY}/tenant/fieldgroups?orderby=title",
         200, {"results": list, "_page": {"next": None}, "_links": {"next": None}}, headers=LIST),
    Case("Schema Registry, Schemas: look up", f"GET {REGISTRY}/tenant/schemas/{{schema path}}", 200,
         {"$id": "{schema}", "title": "Stage schema"}, headers=READ),
    Case("Schema Registry, error codes: XDM-1006-400", f"GET {REGISTRY}/tenant/schemas", 400,
         registry_error("XDM-1006-400", "Accept header invalid"), headers={"Accept": FULL}),
    Case("Schema Registry, error codes: XDM-1007-400", f"GET {REGISTRY}/tenant/schemas/{{schema path}}", 400,
         registry_error("XDM-1007-400", "Accept header invalid"),
         headers={"Accept": "application/vnd.adobe.xed+json"}),
    Case("Schema Registry, error codes: XDM-1008-400", f"GET {REGISTRY}/tenant/descriptors", 400,
         registry_error("XDM-1008-400", "Accept header invalid"), headers=LIST),
    Case("Schema Registry troubleshooting: resource not found",
         f"GET {REGISTRY}/tenant/schemas/_acmechat.schemas.none",
         404, registry_error("XDM-1012-404", "Resource not found"), headers=READ),
    Case("Schema Registry troubleshooting: title not unique, XDM-1521-400",
         f"POST {REGISTRY}/tenant/fieldgroups",
         400, registry_error("XDM-1521-400", "Title not unique"), field_group("Stage schema")),
    Case("Schema Registry troubleshooting: namespace validation error", f"POST {REGISTRY}/tenant/fieldgroups",
         400, {"type": re.compile(r"http://ns\.adobe\.com/aep/errors/XDM-102[0-4]-400"),
               "title": "Namespace validation error"}, field_group("Foreign fields", "_other")),
    Case("Schema Registry, Schemas: update", f"PATCH {REGISTRY}/tenant/schemas/{{spare schema path}}", 200,
         {"version": "1.1", "title": "Renamed schema"},
         [{"op": "replace", "path": "/title", "value": "Renamed schema"}]),
]  # fmt: skip
CATALOG_CASES = [
    Case("Catalog: create a dataset", f"POST {CATALOG}/dataSets?requestDataSource=true", 201,
         [re.compile(r"@/dataSets/[0-9a-f]{24}")],
         {"name": "Another", "schemaRef": {"id": "{schema}", "contentType": PLAIN}},
         answered={"Location": WORDS}),
    Case("Catalog: look up a dataset", f"GET {CATALOG}/dataSets/{{dataset}}", 200,
         Only({"{dataset}": {"name": "Stage dataset", "imsOrg": WORDS, "sandboxId": WORDS, "version": "1.0.0",
                             "tags": {"adobe/pqs/table": ["stage_dataset"]}, "created": MILLISECONDS,
                             "files": "@/dataSetFiles?dataSetId={dataset}", "viewId": HEX24,
                             "schemaRef": {"id": "{schema}", "contentType": PLAIN}}}),
         answered={"ETag": WORDS}),
    Case("Catalog, filter: name and properties", f"GET {CATALOG}/dataSets?name=Stage+dataset&properties=name",
         200, Only({"{dataset}": Only(name="Stage dataset")})),
    Case("Catalog, filter: limit from 1 to 100", f"GET {CATALOG}/dataSets?limit=101", 400, {"status": 400}),
    Case("Catalog, filter: limit of 0 is an error", f"GET {CATALOG}/dataSets?limit=0", 400, {"status": 400}),
    Case("Catalog: update an object by fields", f"PATCH {CATALOG}/dataSets/{{spare dataset}}", 200,
         ["@/dataSets/{spare dataset}"], {"description": "by fields"}),
    Case("Catalog: update an object by JSON Patch", f"PATCH {CATALOG}/dataSets/{{spare dataset}}", 200,
         ["@/dataSets/{spare dataset}"], [{"op": "add", "path": "/description", "value": "by patch"}],
         {"Content-Type": "application/json-patch+json"}),
    Case("Catalog: If-Match that does not match", f"PATCH {CATALOG}/dataSets/{{spare dataset}}", 412,
         {"status": 412}, {"description": "late"}, STALE),
    Case("Catalog: delete an object that is not there", f"DELETE {CATALOG}/dataSets/{'0' * 24}", 200, []),
    Case("Catalog: a dataset that is not there", f"GET {CATALOG}/dataSets/{'0' * 24}", 404, {"status": 404}),
]  # fmt: skip
DATA_PREP_CASES = [
    Case("Data Prep, Mapping sets: create answers 200 and version 0", f"POST {DATA_PREP}/mappingSets", 200,
         Only(id=HEX32, version=0, createdDate=MILLISECONDS, modifiedDate=MILLISECONDS, createdBy=WORDS,
              modifiedBy=WORDS), mapping_set()),
    Case("Data Prep, Mapping sets: legacy keys of the connector pages", f"POST {DATA_PREP}/mappingSets", 200,
         {"id": HEX32, "version": 0},
         {"version": 0, "xdmSchema": "{schema}", "xdmVersion": "1.0", "mappings": [LEGACY]}),
    Case("Data Prep, Mapping sets: list needs limit and start", f"GET {DATA_PREP}/mappingSets", 400,
         {"status": 400}),
    Case("Data Prep, Mapping sets: list", f"GET {DATA_PREP}/mappingSets?limit=1&start=0", 200,
         {"data": [{"id": HEX32}], "_page": {"count": 1, "limit": 1}}),
    Case("Data Prep, Mapping sets: look up", f"GET {DATA_PREP}/mappingSets/{{mapping}}", 200,
         {"id": "{mapping}", "version": 0, "status": WORDS, "strictMapping": bool, "allowNullValues": bool,
          "mappings": [{"sourceType": "text/x.schema-path", "source": "a", "sourceAttribute": "a",
                        "destination": "_acmechat.note", "destinationXdmPath": "_acmechat.note",
                        "identity": False, "primaryIdentity": False, "functionVersion": int}]}),
    Case("Data Prep, Mapping sets: update raises the version",
         f"PUT {DATA_PREP}/mappingSets/{{spare mapping}}",
         200, {"id": "{spare mapping}", "version": 1}, mapping_set()),
    Case("Data Prep, Mapping sets: validate, per mapping in order",
         f"POST {DATA_PREP}/mappingSets/validate", 200,
         Only(validationResponse=[
             Only(status="SUCCESS", errors=None),
             Only(status="FAILED", errors=[{"destination": "_acmechat.note", "source": "nvl(a, b)",
                                            "exception": WORDS, "columnName": ..., "sourceType": ...}])]),
         mapping_set(NOTE, BROKEN)),
    Case("Data Prep, Mapping sets: preview", f"POST {DATA_PREP}/mappingSets/preview", 200,
         [Only(data={"_acmechat": {"note": "x"}}, errors=None)],
         {"data": [{"a": "x"}], "mappingSet": mapping_set(NOTE)}),
    Case("Data Prep, Expressions: validate", f"POST {DATA_PREP}/languages/el/validate", 200,
         Only(validationStatus="succeeded", error="none"), {"expression": 'concat(a, "|", b)'}),
]  # fmt: skip
FLOW_CASES = [
    Case("Create a Chatlio source connection", f"POST {FLOWS}/sourceConnections", 201,
         Only(id=UUID, etag=ETAG), source(), answered={"Location": WORDS}),
    Case("Create a Chatlio target connection", f"POST {FLOWS}/targetConnections", 201,
         Only(id=UUID, etag=ETAG), target(), answered={"Location": WORDS}),
    Case("Create a Chatlio dataflow", f"POST {FLOWS}/flows", 201, Only(id=UUID, etag=ETAG), flow(),
         answered={"Location": WORDS}),
    Case("Create a Chatlio dataflow: mappingVersion as text", f"POST {FLOWS}/flows", 201,
         Only(id=UUID, etag=ETAG), flow(version="0")),
    Case("Create a Chatlio dataflow: get the streaming endpoint", f"GET {FLOWS}/flows/{{flow}}", 200,
         Only(items=[{"id": "{flow}", "state": "enabled", "etag": ETAG, "version": ETAG,
                      "createdAt": MILLISECONDS, "updatedAt": MILLISECONDS, "sandboxName": "prod",
                      "sourceConnectionIds": ["{source}"], "targetConnectionIds": ["{target}"],
                      "inheritedAttributes": {"properties": {"isSourceFlow": True},
                                              "sourceConnections": [{"id": "{source}"}],
                                              "targetConnections": [{"id": "{target}"}]},
                      "options": {"inletUrl": re.compile(r"http://127\.0\.0\.1:\d+/collection/[0-9a-f]{64}")},
                      "runs": "/runs?property=flowId=={flow}", "providerRefId": UUID,
                      "lastOperation": {"started": int, "updated": int, "operation": "enable"}}])),
    Case("Sources SDK: flow spec of generic streaming",
         f"GET {FLOWS}/flowSpecs/e77fde5a-22a8-11ed-861d-0242ac120002",
         200, Only(items=[{"name": "GenericStreamingAEP", "version": "1.0",
                           "transformationSpecs": [{"name": "Mapping"}],
                           "attributes": {"isSourceFlow": True, "frequency": "streaming"}}])),
    Case("Sources SDK: connection spec of a streaming source",
         f"GET {FLOWS}/connectionSpecs/073127a3-26e3-496c-9d94-9f48fb93fba8", 200,
         Only(items=[{"version": "1.0", "authSpec": list, "sourceSpec": {"attributes": {}},
                      "providerId": "521eee4d-8cbe-4906-bb48-fb6bd4450033"}])),
    Case("Sort and filter: by flow spec",
         f"GET {FLOWS}/flows?property=flowSpec.id==e77fde5a-22a8-11ed-861d-0242ac120002&limit=1",
         200, {"items": [{"flowSpec": {"version": "1.0"}}], "_links": dict}),
    Case("Sort and filter: through an array",
         f"GET {FLOWS}/flows?property=sourceConnectionIds[]=={{lone source}}",
         200, Only(items=[{"id": "{flow of lone source}"}], _links={})),
    Case("Sort and filter: count",
         f"GET {FLOWS}/flows?property=name==nothing&count=true", 200, Only(count=0)),
    Case("Sort and filter: the next page is relative to the service",
         f"GET {FLOWS}/sourceConnections?limit=1", 200,
         {"items": [{}],
          "_links": {"next": {"href": re.compile(r"/sourceConnections\?continuationToken=.+")}}}),
    Case("Monitor dataflows: runs of a dataflow", f"GET {FLOWS}/runs?property=flowId=={{flow}}", 200,
         Only(items=[], _links={})),
    Case("Flow Service error codes: 1401-400",
         f"GET {FLOWS}/flows?count=true&limit=1", 400, flow_error("1401-400")),
    Case("Flow Service error codes: 1403-400", f"PATCH {FLOWS}/flows/{{flow}}", 400,
         flow_error("1403-400", "Header is missing"), RENAME),
    Case("Flow Service error codes: 1404-412", f"PATCH {FLOWS}/flows/{{flow}}", 412,
         flow_error("1404-412", "Version not matching"), RENAME, STALE),
    Case("Flow Service error codes: 1405-400", f"POST {FLOWS}/flows", 400, flow_error("1405-400"), {}),
    Case("Flow Service error codes: 1410-400", f"POST {FLOWS}/flows", 400, flow_error("1410-400"),
         flow(state="enabled")),
    Case("Flow Service error codes: 1412-400",
         f"POST {FLOWS}/flows", 400, flow_error("1412-400"), flow(version=9)),
    Case("Flow Service error codes: 1413-400", f"POST {FLOWS}/sourceConnections", 400, flow_error("1413-400"),
         source(connectionSpec={"id": NOWHERE, "version": "1.0"})),
    Case("Flow Service error codes: 1414-400", f"PATCH {FLOWS}/sourceConnections/{{spare source}}", 400,
         flow_error("1414-400"), [{"op": "replace", "path": "/connectionSpec/id", "value": NOWHERE}],
         {"If-Match": "{spare etag}"}),
    Case("Flow Service error codes: 1418 and 1447-400", f"DELETE {FLOWS}/sourceConnections/{{source}}", 400,
         flow_error("1447-400")),
    Case("Flow Service error codes: 1419-400", f"POST {FLOWS}/flows", 400, flow_error("1419-400"),
         flow(mapping="0" * 32)),
    Case("Flow Service error codes: 1420-400", f"POST {FLOWS}/flows/{{flow}}/action?op=enable", 400,
         flow_error("1420-400")),
    Case("Flow Service error codes: 1425-400", f"POST {FLOWS}/flows", 400, flow_error("1425-400"),
         flow(mapping="{other mapping}")),
    Case("Flow Service error codes: 1402-400", f"POST {FLOWS}/flows/{{flow}}/action?op=FINALIZE", 400,
         flow_error("1402-400")),
    Case("Flow Service error codes: 1432-400",
         f"GET {FLOWS}/flows?orderby=a%20b", 400, flow_error("1432-400")),
    Case("Flow Service error codes: 1434-400", f"PATCH {FLOWS}/flows/{{flow}}", 400, flow_error("1434-400"),
         [{"op": "increase", "path": "/name", "value": "x"}], CURRENT),
    Case("Flow Service error codes: 1440-400",
         f"GET {FLOWS}/flows?property=name~x", 400, flow_error("1440-400")),
    Case("Flow Service error codes: 1443-400", f"GET {FLOWS}/flows?property=createdAt>1,2", 400,
         flow_error("1443-400")),
    Case("Flow Service error codes: 1455-400", f"PATCH {FLOWS}/flows/{{flow}}", 400, flow_error("1455-400"),
         [{"op": "replace", "path": "/nothing/there", "value": "x"}], CURRENT),
    Case("Flow Service error codes: 1439, in the sample of Data usage labels",
         f"GET {FLOWS}/flows/{NOWHERE}", 404,
         flow_error("1439-404", "Resource not found") | {"report": {"id": NOWHERE, "type": "flows"}}),
    Case("Flow Service error codes: 2100-404", f"GET {FLOWS}/flows", 404,
         flow_error("2100-404", "Sandbox not found"), headers={"x-sandbox-name": "nowhere"}),
    Case("Flow Service error codes: 2105-400", f"GET {FLOWS}/flows", 400,
         flow_error("2105-400", "Header is missing"), headers={"x-sandbox-name": None}),
    Case("Flow Service error codes: 2110-400", f"GET {FLOWS}/flows", 400,
         {"type": "https://ns.adobe.com/aep/errors/FLOW-2110-400"}, headers={"x-sandbox-id": NOWHERE}),
    Case("Connector errors: 1307-400", f"POST {FLOWS}/targetConnections", 400, flow_error("1307-400"),
         target(connectionSpec={"id": "073127a3-26e3-496c-9d94-9f48fb93fba8", "version": "1.0"})),
    Case("Connector errors: 1320-400", f"POST {FLOWS}/flows", 400, flow_error("1320-400"),
         flow(sourceConnectionIds=[])),
    Case("Connector errors: 1321-400", f"POST {FLOWS}/flows", 400, flow_error("1321-400"),
         flow(targetConnectionIds=["{target}", "{target}"])),
    Case("Connector errors: 1325-400", f"POST {FLOWS}/targetConnections", 400, flow_error("1325-400"),
         target(params={})),
    Case("Connector errors: 1327-400", f"POST {FLOWS}/sourceConnections", 400, flow_error("1327-400"),
         source(data={"format": "csv"})),
    Case("Connector errors: 1332-400", f"POST {FLOWS}/sourceConnections", 400, flow_error("1332-400"),
         source(baseConnectionId=NOWHERE)),
]  # fmt: skip
ACCESS_CASES = [
    Case("Access control, Effective policies: what is held, what is not is left out",
         f"POST {ACCESS}/acl/effective-policies", 200,
         Only(policies=Only({"/permissions/manage-datasets": ["*"], "/permissions/manage-schemas": ["*"],
                             "/resource-types/schemas": ["read", "write", "delete"]})),
         ["/permissions/manage-datasets", "/permissions/manage-schemas", "/resource-types/schemas",
          "/permissions/manage-the-moon"]),
    Case("Access control, Permissions and resource types: reference", f"GET {ACCESS}/acl/reference", 200,
         {"permissions": {"manage-datasets": ..., "view-datasets": ..., "manage-schemas": ...,
                          "view-schemas": ..., "manage-identity-namespaces": ...,
                          "view-monitoring-dashboard": ...}}),
]  # fmt: skip
CASES = [
    *IMS_CASES,
    *GATEWAY_CASES,
    *REGISTRY_CASES,
    *CATALOG_CASES,
    *DATA_PREP_CASES,
    *FLOW_CASES,
    *ACCESS_CASES,
]


class Caller:
    """One platform, called with a token and the four usual headers."""

    def __init__(self, platform: RunningPlatform) -> None:
        self.url = platform.url
        account = platform.account
        self.words: dict[str, str] = {"secret": account.client_secret}
        token = self.ask("POST", "/ims/token/v3", FORM.format(account.client_secret, SCOPES)).json()
        self.headers: dict[str, str | None] = {
            "Authorization": f"Bearer {token['access_token']}",
            "x-api-key": account.client_id,
            "x-gw-ims-org-id": account.org_id,
            "x-sandbox-name": account.sandbox,
        }

    def filled(self, node: Any) -> Any:
        """Replace words in braces with the stage's ids."""
        if isinstance(node, str):
            return re.sub(r"\{([a-z ]+)\}", lambda found: self.words[found[1]], node)
        if isinstance(node, dict):
            return type(node)({self.filled(key): self.filled(value) for key, value in node.items()})
        return [self.filled(each) for each in node] if isinstance(node, list) else node

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str | None] | None = None
    ) -> requests.Response:
        """Make a call with the usual headers, some replaced."""
        is_form = isinstance(body, str)
        content = {"Content-Type": "application/x-www-form-urlencoded"} if is_form else {}
        parts: dict[str, Any] = {"data": self.filled(body)} if is_form else {"json": self.filled(body)}
        sent = {**({} if is_form else self.headers), **content, **self.filled(headers or {})}
        return requests.request(method, self.url + self.filled(path), headers=sent, timeout=30, **parts)

    def made(self, path: str, body: Any) -> Any:
        """Create an object and return the answer."""
        response = self.ask("POST", path, body)
        assert response.status_code in (200, 201), response.text
        return response.json()


class Stage(Caller):
    """A platform with one object of each type, and spare ones."""

    def __init__(self, platform: RunningPlatform) -> None:
        super().__init__(platform)
        for name in ("schema", "spare schema", "other schema"):
            self._schema(name)
        for name in ("dataset", "spare dataset"):
            body = {"name": f"Stage {name}", "schemaRef": {"id": "{schema}", "contentType": PLAIN}}
            path = f"{CATALOG}/dataSets?requestDataSource=true"
            self.words[name] = self.made(path, body)[0].rpartition("/")[2]
        for name, schema in (
            ("mapping", "schema"),
            ("spare mapping", "schema"),
            ("other mapping", "other schema"),
        ):
            body = mapping_set(NOTE, schema=f"{{{schema}}}")
            self.words[name] = self.made(f"{DATA_PREP}/mappingSets", body)["id"]
        for name in ("source", "spare source", "lone source"):
            self.words[name] = self.made(f"{FLOWS}/sourceConnections", source())["id"]
        self.words["target"] = self.made(f"{FLOWS}/targetConnections", target())["id"]
        self.words["flow"] = self.made(f"{FLOWS}/flows", flow())["id"]
        alone = flow(sourceConnectionIds=["{lone source}"])
        self.words["flow of lone source"] = self.made(f"{FLOWS}/flows", alone)["id"]
        for word, path in (("etag", "flows/{flow}"), ("spare etag", "sourceConnections/{spare source}")):
            found = self.ask("GET", f"{FLOWS}/{path}").json()["items"][0]
            self.words[word] = found["etag"]

    def _schema(self, name: str) -> None:
        group = self.made(f"{REGISTRY}/tenant/fieldgroups", field_group(f"Stage {name} fields"))
        parts = [{"$ref": EVENT}, {"$ref": group["$id"]}]
        body = {"type": "object", "title": f"Stage {name}", "description": "", "allOf": parts}
        self.words[name] = self.made(f"{REGISTRY}/tenant/schemas", body)["$id"]
        self.words[f"{name} path"] = quote(self.words[name], safe="")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The stage shared by all cases; no case affects another."""
    with running(tmp_path_factory.mktemp("stage") / "store", enabling_delay=0) as platform:
        yield Stage(platform)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.source)
def test_the_answer_is_as_documented(stage: Stage, case: Case) -> None:
    """Status, members, types and literal words of the answer are those of the named paragraph."""
    method, _, path = case.asked.partition(" ")
    response = stage.ask(method, path, case.sent, case.headers)
    assert response.status_code == case.status, response.text
    found = list(misfits(response.json(), stage.filled(case.body)))
    found += misfits(dict(response.headers), case.answered, "headers")
    assert found == []


@pytest.mark.parametrize(
    ("permission", "asked"),
    [
        ("manage-schemas", f"POST {REGISTRY}/tenant/schemas"),
        ("view-schemas", f"GET {REGISTRY}/stats"),
        ("manage-datasets", f"POST {CATALOG}/dataSets"),
        ("view-datasets", f"GET {CATALOG}/dataSets"),
        ("manage-sources", f"POST {FLOWS}/flows"),
        ("view-sources", f"GET {FLOWS}/runs"),
    ],
)
def test_each_right_can_be_withheld(
    tmp_path_factory: pytest.TempPathFactory, permission: str, asked: str
) -> None:
    """Access control, "Available permissions": without its right, a call is 403 and the sentence names it."""
    withheld = {permission, permission.replace("view-", "manage-")}
    folder = tmp_path_factory.mktemp("withheld") / "store"
    with running(folder, withheld=frozenset(withheld)) as platform:
        method, _, path = asked.partition(" ")
        response = Caller(platform).ask(method, path, {} if method == "POST" else None)
    assert response.status_code == 403
    assert permission in response.text
    if path.startswith(FLOWS):
        assert list(misfits(response.json(), flow_error("2118-403", "Missing permission"))) == []
