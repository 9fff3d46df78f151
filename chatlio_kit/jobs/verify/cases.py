"""The conformance cases for a development sandbox, in their order.

A case is a call of the client, and the parts of the answer that it relies on. ``docs/evidence.md`` lists
them, ``verify-sandbox`` runs them, and tests check the local platform against them. Words in braces are the
ids of objects that earlier cases created, the walk's ``mark``, the ``sandbox`` and the ``tenant``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from chatlio_kit.connection.resources.blueprint import FLOW_SPEC, SOURCE_PROVIDER, SOURCE_SPEC, TARGET_SPEC
from chatlio_kit.jobs.verify.shapes import Each, Keyed, Some

REGISTRY = "/data/foundation/schemaregistry"
CATALOG = "/data/foundation/catalog"
DATA_PREP = "/data/foundation/conversion"
FLOWS = "/data/foundation/flowservice"
EXPORT = "/data/foundation/export"
IMPORT = "/data/foundation/import"
MARK = "chatlio-kit:verify-"
"""Prefix of the name and description of every object of a walk."""

TAKE_DOWN = {
    "group": f"DELETE {REGISTRY}/tenant/fieldgroups/{{group}}",
    "schema": f"DELETE {REGISTRY}/tenant/schemas/{{schema}}",
    "descriptor": f"DELETE {REGISTRY}/tenant/descriptors/{{descriptor}}",
    "dataset": f"DELETE {CATALOG}/dataSets/{{dataset}}",
    "mapping": f"DELETE {DATA_PREP}/mappingSets/{{mapping}}",
    "source": f"DELETE {FLOWS}/sourceConnections/{{source}}",
    "target": f"DELETE {FLOWS}/targetConnections/{{target}}",
    "flow": f"DELETE {FLOWS}/flows/{{flow}}",
}
"""The call that removes each created object."""

GIVEN = {
    "source_spec": SOURCE_SPEC,
    "target_spec": TARGET_SPEC,
    "flow_spec": FLOW_SPEC,
    "provider": SOURCE_PROVIDER,
    "talk": "https://ns.adobe.com/xdm/fieldgroups/agentic/conversationevent",
    "rows": "rows.json",
    "no_schema": "https://ns.adobe.com/none/schemas/none",
    "no_dataset": "0" * 24,
    "no_flow": "00000000-0000-4000-8000-000000000000",
    "no_inlet": "0" * 64,
}
"""Ids that no case creates."""


@dataclass(frozen=True)
class Case:
    """A call, and the parts of its answer that the client relies on.

    Attributes:
        name: The case's name everywhere.
        call: Verb and path.
        relies: The assumptions that the client relies on, as text.
        sources: Its sources, as tags of ``docs/evidence.md``.
        status: The HTTP statuses that the client understands.
        answer: The shape of the JSON in the answer.
        query: Query parameters.
        sent: The body as JSON; a string is sent as a form.
        headers: Further headers.
        gives: Paths in the answer of ids that later cases use; ``*`` is the first key.
        makes: The object that the call creates, a key of ``TAKE_DOWN``.
        removes: The object that it removes.
        awaits: Repeat the call until the answer has its shape: a dataflow is ``ready``, or records have
            ``landed``.
        after: The waiting case that must have been walked before; empty for none.
    """

    name: str
    call: str
    relies: str
    sources: str
    status: tuple[int, ...] = (200,)
    answer: Any = ...
    query: Mapping[str, str] = field(default_factory=dict)
    sent: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    gives: Mapping[str, str] = field(default_factory=dict)
    makes: str | None = None
    removes: str | None = None
    awaits: Literal["ready", "landed"] | None = None
    after: str = ""

    @property
    def path(self) -> str:
        """The call without its verb."""
        return self.call.partition(" ")[2]


_EVENT = "https://ns.adobe.com/xdm/context/experienceevent"
_FULL = "application/vnd.adobe.xed-full+json;version=1"
_PLAIN = "application/vnd.adobe.xed+json;version=1"
_LIST = {"Accept": "application/vnd.adobe.xed-id+json"}
_READ = {"Accept": "application/vnd.adobe.xed+json; version=1"}
_DESCRIPTORS = {"Accept": "application/vnd.adobe.xdm+json"}
_PAGE = {"limit": "100", "start": "0"}
_BY_TITLE = {"orderby": "title", "limit": "300"}
_RECORD = {"id": "{mark}-1", "at": "2024-03-01T10:15:30.000Z", "note": "{mark}"}
_UNDATED = {"id": "{mark}-2", "note": "{mark}"}
_FLOW_HEADER = {"x-adobe-flow-id": "{flow}"}
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_WORDS = re.compile(r"\S.*", re.DOTALL)
_TITLE = {"$id": _WORDS, "meta:altId": _WORDS, "title": str}
_TITLES = {"results": Each(_TITLE), "_page": {"next": (None, str)}}
_NUMBER = (int, re.compile(r"\d+"))
_MADE = {"id": _UUID}
_NOTE = {"type": "object", "properties": {"note": {"type": "string", "title": "Note", "description": "Text"}}}
_GROUP = {
    "type": "object",
    "title": "{mark} fields",
    "description": "{mark}",
    "meta:intendedToExtend": [_EVENT],
    "definitions": {"customFields": {"type": "object", "properties": {"_{tenant}": _NOTE}}},
    "allOf": [{"$ref": "#/definitions/customFields"}],
}
_MAPPINGS = [
    {"sourceType": "ATTRIBUTE", "source": "id", "destination": "_id"},
    {"sourceType": "ATTRIBUTE", "source": "at", "destination": "timestamp"},
    {"sourceType": "STATIC", "source": "chatlio.verify", "destination": "eventType"},
    {"sourceType": "ATTRIBUTE", "source": "note", "destination": "_{tenant}.note"},
]
_MAPPING_SET = {
    "name": "{mark} mapping",
    "description": "{mark}",
    "outputSchema": {"schemaRef": {"id": "{schema}", "contentType": _FULL}},
    "mappings": _MAPPINGS,
}
_MAPPED = {"eventType": "chatlio.verify", "_id": "{mark}-1", "_{tenant}": {"note": "{mark}"}}
_METRIC = {
    "name": "timeseries.ingestion.dataset.recordsuccess.count",
    "filters": [{"name": "dataSetId", "value": "{dataset}", "groupBy": True}],
    "aggregator": "sum",
    "downsample": "sum",
}
_BATCH = {
    "datasetId": "{dataset}",
    "inputFormat": {"format": "json"},
    "externalId": "{mark}-batch",
    "enableErrorDiagnostics": True,
    "partialIngestionPercent": 5,
}
_ROW = {
    "_id": "{mark}-3",
    "timestamp": "2024-03-01T10:15:30.000Z",
    "eventType": "chatlio.verify",
    "_{tenant}": {"note": "{mark}"},
}
_FILES = {"data": Some({"name": str, "length": _NUMBER})}


def _connection(side: str, spec: str, **more: Any) -> dict[str, Any]:
    body = {
        "name": f"{{mark}} {side}",
        "description": "{mark}",
        "connectionSpec": {"id": spec, "version": "1.0"},
    }
    return {**body, "data": {"format": "json"}, **more}


CASES: tuple[Case, ...] = (
    Case("sign in", "POST /ims/token/v3", "a token, and its lifetime in seconds", "DEVC, GTS 1", (200,),
         {"access_token": _WORDS, "expires_in": int},
         sent="grant_type=client_credentials&client_id={client_id}&client_secret={client_secret}&scope={scopes}"),
    Case("sign in with a made-up credential", "POST /ims/token/v3",
         "400 or 401 means a refused credential", "JS24, GTS 2", (400, 401), {"error": _WORDS},
         sent="grant_type=client_credentials&client_id=nobody&client_secret=none&scope={scopes}"),
    Case("call with a refused token", f"GET {REGISTRY}/stats", "401: the token is renewed once",
         "EN:landing", (401,), {"error_code": "401013", "message": _WORDS},
         headers={"Authorization": "Bearer none"}),
    Case("call what does not exist", "GET /data/foundation/nothing",
         "404, with any body", "GTS 7", (404,)),
    Case("find the sandbox", "GET /data/foundation/sandbox-management/",
         "its type decides whether it may be written to; an empty list gives no permission", "SBX, GTS 38",
         answer={"sandboxes": Some({"name": "{sandbox}", "type": "development"})},
         query={"limit": "50", "offset": "0"}),
    Case("ask for rights", "POST /data/foundation/access-control/acl/effective-policies",
         "permissions that are held are listed, others are left out", "EN:access-control",
         answer={"policies": Keyed(list)},
         sent=["/permissions/manage-datasets", "/permissions/manage-schemas", "/permissions/manage-sources"]),
    Case("list the names of rights", "GET /data/foundation/access-control/acl/reference",
         "an object, of any depth", "EN:access-control", answer=dict),
    Case("read the tenant's id", f"GET {REGISTRY}/stats", "the id, without an underscore before it",
         "SR, EN:xdm", answer={"tenantId": re.compile("[^_].*")}, gives={"tenant": "tenantId"}),
    Case("create a field group", f"POST {REGISTRY}/tenant/fieldgroups",
         "201 and the group's $id", "SR, EN:xdm, DEP", (201,),
         {"$id": re.compile(r"https://ns\.adobe\.com/[^/]+/mixins/.+"), "title": "{mark} fields", "version": _WORDS},
         sent=_GROUP, gives={"group": "$id"}, makes="group"),
    Case("create a field group of a taken title", f"POST {REGISTRY}/tenant/fieldgroups",
         "a title in use is a conflict, not a second group", "EN:xdm", (400,),
         {"type": re.compile(r"https?://ns\.adobe\.com/aep/errors/XDM-1521-400"), "title": _WORDS}, sent=_GROUP),
    Case("list field groups", f"GET {REGISTRY}/tenant/fieldgroups",
         "_page.next is the last title, from which start continues; null ends the list", "EN:xdm, GTS 9, GTS 10",
         answer={**_TITLES, "results": Some(_TITLE)}, query=_BY_TITLE, headers=_LIST),
    Case("list schemas", f"GET {REGISTRY}/tenant/schemas", "as field groups: titles are unique across all lists",
         "EN:xdm, SR", answer=_TITLES, query=_BY_TITLE, headers=_LIST),
    Case("list classes", f"GET {REGISTRY}/tenant/classes", "as field groups: titles are unique across all lists", "EN:xdm, SR", answer=_TITLES,
         query=_BY_TITLE, headers=_LIST),
    Case("list data types", f"GET {REGISTRY}/tenant/datatypes", "as field groups: titles are unique across all lists", "EN:xdm, SR", answer=_TITLES,
         query=_BY_TITLE, headers=_LIST),
    Case("read a field group", f"GET {REGISTRY}/tenant/fieldgroups/{{group}}",
         "the definitions, unchanged", "SR, EN:xdm",
         answer={"$id": "{group}", "title": "{mark} fields", "definitions": dict}, headers=_READ),
    Case("change a field group", f"PATCH {REGISTRY}/tenant/fieldgroups/{{group}}",
         "JSON Patch as application/json, without If-Match", "SR, PM", answer={"$id": "{group}"},
         sent=[{"op": "replace", "path": "/description", "value": "{mark} changed"}]),
    Case("create a schema", f"POST {REGISTRY}/tenant/schemas", "201 and the schema's $id",
         "SR, EN:xdm, DEP", (201,),
         {"$id": re.compile(r"https://ns\.adobe\.com/[^/]+/schemas/.+"), "title": "{mark} schema"},
         sent={"type": "object", "title": "{mark} schema", "description": "{mark}", "allOf": [{"$ref": _EVENT}]},
         gives={"schema": "$id"}, makes="schema"),
    Case("add a field group to a schema", f"PATCH {REGISTRY}/tenant/schemas/{{schema}}",
         "an operation on /allOf/- is enough", "PM, EN:xdm",
         answer={"allOf": Some({"$ref": "{group}"})},
         sent=[{"op": "add", "path": "/allOf/-", "value": {"$ref": "{group}"}}]),
    Case("read a schema", f"GET {REGISTRY}/tenant/schemas/{{schema}}",
         "the escaped $id and a version in Accept find it", "SR, GTS 12",
         answer={"$id": "{schema}", "title": "{mark} schema", "description": str, "allOf": Some({"$ref": "{group}"})},
         headers=_READ),
    Case("read a schema that is not there", f"GET {REGISTRY}/tenant/schemas/{{no_schema}}",
         "404 means absence", "EN:xdm", (404,), {"title": _WORDS}, headers=_READ),
    Case("read Adobe's field group for conversations", f"GET {REGISTRY}/global/fieldgroups/{{talk}}",
         "200, or 404 if the organisation does not have it", "XC", (200, 404),
         headers={"Accept": "application/vnd.adobe.xed-full+json; version=1"}),
    Case("describe an identity", f"POST {REGISTRY}/tenant/descriptors", "201 and the descriptor's @id",
         "EN:xdm, SR, DEP", (201,), {"@id": _WORDS},
         sent={"@type": "xdm:descriptorIdentity", "xdm:sourceSchema": "{schema}", "xdm:sourceVersion": 1,
               "xdm:sourceProperty": "/_{tenant}/note", "xdm:namespace": "Email", "xdm:property": "xdm:code",
               "xdm:isPrimary": False},
         gives={"descriptor": "@id"}, makes="descriptor"),
    Case("list descriptors", f"GET {REGISTRY}/tenant/descriptors",
         "lists by type; a type without descriptors is absent", "EN:xdm",
         answer={"xdm:descriptorIdentity": Some({"@id": "{descriptor}", "xdm:sourceSchema": "{schema}"})},
         headers=_DESCRIPTORS),
    Case("remove a descriptor", TAKE_DOWN["descriptor"], "a success without content", "EN:xdm", (200, 204),
         removes="descriptor"),
    Case("list namespaces", "GET /data/core/idnamespace/identities", "a bare list; Email is in it",
         "IDN, GTS 33", answer=Some({"code": "Email", "name": str, "idType": str})),
    Case("create a dataset", f"POST {CATALOG}/dataSets", "201 and a list of one reference",
         "CAT, EN:catalog, GTS 15", (201,), [re.compile("@/dataSets/[0-9a-f]{24}")],
         {"requestDataSource": "true"},
         {"name": "{mark} dataset", "description": "{mark}", "schemaRef": {"id": "{schema}", "contentType": _PLAIN}},
         gives={"dataset": "0"}, makes="dataset"),
    Case("read a dataset", f"GET {CATALOG}/dataSets/{{dataset}}",
         "an object keyed by the id; it names its schema", "CAT, EN:catalog",
         answer={"{dataset}": {"name": "{mark} dataset", "description": str, "tags": dict,
                               "schemaRef": {"id": "{schema}"}}}),
    Case("list datasets of a name", f"GET {CATALOG}/dataSets", "an object keyed by ids; a limit of 100 is accepted",
         "CAT, GTS 13, GTS 14", answer={"{dataset}": {"name": "{mark} dataset"}},
         query={"name": "{mark} dataset", **_PAGE}),
    Case("read a dataset that is not there", f"GET {CATALOG}/dataSets/{{no_dataset}}", "404 means absence",
         "CAT, GTS 17", (404,)),
    Case("remove a dataset that is not there", f"DELETE {CATALOG}/dataSets/{{no_dataset}}",
         "404, or 200 with an empty answer: it is gone either way", "EN:catalog, GTS 16", (404, 200)),
    Case("read the expiry of a dataset", f"GET {CATALOG}/ttl/{{dataset}}",
         "an object; extensions may be absent", "OAS:catalog, EN:catalog", answer=dict),
    Case("create a mapping set", f"POST {DATA_PREP}/mappingSets", "an id; versions start at 0",
         "DP, EN:data-prep, AEPP", answer={"id": _WORDS, "version": _NUMBER}, sent=_MAPPING_SET,
         gives={"mapping": "id"}, makes="mapping"),
    Case("read a mapping set", f"GET {DATA_PREP}/mappingSets/{{mapping}}",
         "each mapping in the current form, the legacy form or both", "DP, EN:data-prep",
         answer={"id": "{mapping}", "mappings": Each(({"source": str, "destination": str},
                                                      {"sourceAttribute": str, "destinationXdmPath": str}))}),
    Case("list mapping sets of a name", f"GET {DATA_PREP}/mappingSets", "limit and start, both; data holds them",
         "DP, AEPP", answer={"data": Some({"id": "{mapping}", "name": "{mark} mapping"})},
         query={"name": "{mark} mapping", **_PAGE}),
    Case("replace a mapping set", f"PUT {DATA_PREP}/mappingSets/{{mapping}}", "a higher version", "DP",
         answer={"version": (1, "1")}, sent=_MAPPING_SET, gives={"version": "version"}),
    Case("preview a mapping set", f"POST {DATA_PREP}/mappingSets/preview",
         "the mapped record, in a list or bare; a STATIC literal arrives unchanged", "EN:data-prep, DP",
         answer=([{"data": _MAPPED}], {"data": _MAPPED}, _MAPPED), sent={"data": [_RECORD], "mappingSet": _MAPPING_SET}),
    Case("read Chatlio's connection spec", f"GET {FLOWS}/connectionSpecs/{{source_spec}}",
         "the source is offered here", "EN:sources, GTS 34", answer={"items": [{"id": "{source_spec}"}]}),
    Case("create a source connection", f"POST {FLOWS}/sourceConnections", "201 and its id",
         "FS, EN:sources, AEPP", (201,), _MADE,
         sent=_connection("source", "{source_spec}", providerId="{provider}"),
         gives={"source": "id"}, makes="source"),
    Case("create a target connection", f"POST {FLOWS}/targetConnections", "201 and its id",
         "FS, EN:sources, DEP", (201,), _MADE,
         sent=_connection("target", "{target_spec}", data={"format": "json", "schema": {"id": "{schema}", "version": _FULL}},
                       params={"dataSetId": "{dataset}"}),
         gives={"target": "id"}, makes="target"),
    Case("read a source connection", f"GET {FLOWS}/sourceConnections/{{source}}", "a list of one", "FS, EN:sources",
         answer={"items": [{"id": "{source}", "name": "{mark} source"}]}),
    Case("read a target connection", f"GET {FLOWS}/targetConnections/{{target}}",
         "a list of one; it names dataset and schema", "FS, EN:sources",
         answer={"items": [{"id": "{target}", "params": {"dataSetId": "{dataset}"},
                            "data": {"schema": {"id": "{schema}"}}}]}),
    Case("list source connections of a name", f"GET {FLOWS}/sourceConnections",
         "property filters; items holds them, _links continues", "EN:dataflows, FS",
         answer={"items": Some({"id": "{source}", "name": "{mark} source", "description": "{mark}",
                                "connectionSpec": {"id": "{source_spec}"}}), "_links": dict},
         query={"property": "name=={mark} source"}),
    Case("list target connections of a name", f"GET {FLOWS}/targetConnections",
         "property filters; params name the dataset", "EN:dataflows, FS",
         answer={"items": Some({"id": "{target}", "params": {"dataSetId": "{dataset}"}}), "_links": dict},
         query={"property": "name=={mark} target"}),
    Case("create a dataflow", f"POST {FLOWS}/flows", "201 and its id; a mappingVersion may be a number",
         "EN:sources, FS, DEP", (201,), _MADE,
         sent={"name": "{mark} flow", "description": "{mark}", "flowSpec": {"id": "{flow_spec}", "version": "1.0"},
               "sourceConnectionIds": ["{source}"], "targetConnectionIds": ["{target}"],
               "transformations": [{"name": "Mapping", "params": {"mappingId": "{mapping}", "mappingVersion": 1}}]},
         gives={"flow": "id"}, makes="flow"),
    Case("wait for a dataflow's inlet", f"GET {FLOWS}/flows/{{flow}}",
         "eventually it is enabled, with an etag and options.inletUrl", "EN:sources, DEP",
         answer={"items": [{"id": "{flow}", "state": "enabled", "etag": _WORDS, "createdAt": int,
                            "sourceConnectionIds": ["{source}"], "targetConnectionIds": ["{target}"],
                            "transformations": [{"name": "Mapping", "params": {"mappingId": "{mapping}"}}],
                            "options": {"inletUrl": re.compile(r"https?://[^/]+/collection/[^/]+")}}]},
         gives={"etag": "items/0/etag", "inlet_url": "items/0/options/inletUrl"}, awaits="ready"),
    Case("list dataflows of a name", f"GET {FLOWS}/flows", "property filters; items holds them",
         "EN:dataflows, FS, GTS 34",
         answer={"items": Some({"id": "{flow}", "flowSpec": {"id": "{flow_spec}"}})}, query={"property": "name=={mark} flow"}),
    Case("change a dataflow with an old etag", f"PATCH {FLOWS}/flows/{{flow}}", "412 is a conflict",
         "EN:sources, FS", (412,), {"type": re.compile(".*FLOW-1404-412"), "title": _WORDS},
         sent=[{"op": "replace", "path": "/description", "value": "{mark}"}],
         headers={"If-Match": '"{no_flow}"'}),
    Case("change a dataflow", f"PATCH {FLOWS}/flows/{{flow}}",
         "an object, {id, etag} or the whole dataflow", "FS, AEPP", answer=dict,
         sent=[{"op": "replace", "path": "/description", "value": "{mark}"}], headers={"If-Match": "{etag}"}),
    Case("read a dataflow that is not there", f"GET {FLOWS}/flows/{{no_flow}}",
         "404 means absence", "EN:sources", (404,), {"type": re.compile(".*FLOW-1439-40[04]"), "title": _WORDS}),
    Case("post records that need a header", "POST /collection/batch/{inlet}",
         "207; refused elements carry status or statusCode, and the sentence on the header", "KC, GH",
         (207,), {"responses": [({"status": 400, "message": re.compile(".*'header' field is mandatory.*")},
                                 {"statusCode": 400, "message": re.compile(".*'header' field is mandatory.*")})]},
         sent={"messages": [_RECORD]}),
    Case("post raw records", "POST /collection/batch/{inlet}",
         "207 with an element for each record; success has an xactionId and no status", "DEP, KC, EN:ingestion",
         (207,), {"responses": [{"xactionId": _WORDS}] * 2, "receivedTimeMs": int},
         sent={"messages": [_RECORD, _UNDATED]}, headers=_FLOW_HEADER),
    Case("post a single record", "POST /collection/{inlet}", "200 and an xactionId", "EN:sources, OAS:streaming-ingestion",
         answer={"xactionId": _WORDS, "receivedTimeMs": int}, sent=_RECORD, headers=_FLOW_HEADER),
    Case("post to an inlet that is not there", "POST /collection/batch/{no_inlet}",
         "the title says so, with any status: it may exist soon", "DEP, AJO", (404, 400),
         {"title": re.compile("Inlet does not exist.*")}, sent={"messages": [_RECORD]}, headers=_FLOW_HEADER),
    Case("list a dataflow's runs", f"GET {FLOWS}/runs", "counts and status of each hour's run",
         "EN:dataflows, FS", query={"property": "flowId=={flow}", "orderby": "-createdAt"},
         answer={"items": Each({"id": str, "flowId": "{flow}", "metrics": {"statusSummary": {"status": str}}})}),
    Case("wait for a batch", f"GET {CATALOG}/batches",
         "an object keyed by ids; status, created and tags of each batch", "CAT, GTS 23",
         answer=Keyed({"status": ("success", "active"), "created": int}),
         query={"dataSet": "{dataset}", "orderBy": "desc:created", "status": "success", **_PAGE},
         gives={"batch": "*"}, awaits="landed"),
    Case("read a batch", f"GET {CATALOG}/batches/{{batch}}", "an object keyed by the id", "CAT, GTS 22, GTS 23",
         answer={"{batch}": {"status": ("success", "active"), "created": int, "metrics": dict}}),
    Case("list a batch's files", f"GET {EXPORT}/batches/{{batch}}/files", "dataSetFileId of each file",
         "OAS:data-access", answer={"data": Some({"dataSetFileId": str})}, gives={"file": "data/0/dataSetFileId"},
         query=_PAGE),
    Case("list the parts of a file", f"GET {EXPORT}/files/{{file}}",
         "name and length, a number or text", "OAS:data-access", answer=_FILES, gives={"part": "data/0/name"}, query=_PAGE),
    Case("download a range of a part", f"GET {EXPORT}/files/{{file}}",
         "206 with the range, or 200 with the whole file", "OAS:data-access", (206, 200),
         query={"path": "{part}"}, headers={"Range": "bytes=0-3"}),
    Case("wait for a failed batch", f"GET {CATALOG}/batches",
         "rows without a time fail after acceptance, in a batch with errors", "EN:data-prep, AEPP",
         answer=Keyed({"status": ("failed", "failure"), "created": int, "errors": Each({"code": str})}),
         query={"dataSet": "{dataset}", "orderBy": "desc:created", "status": "failed", **_PAGE},
         gives={"failed": "*"}, awaits="landed"),
    Case("list failed files", f"GET {EXPORT}/batches/{{failed}}/failed",
         "name and length; markers such as _SUCCESS are empty", "OAS:data-access, AEPP", answer=_FILES, query=_PAGE),
    Case("create a batch", f"POST {IMPORT}/batches", "201 and an id; the batch accepts files until it is completed",
         "OAS:batch-ingestion, GTS 19", (201,), {"id": _WORDS, "status": "loading"}, sent=_BATCH,
         gives={"upload": "id"}),
    Case("find a batch by its external id", f"GET {CATALOG}/batches", "a batch whose answer was lost is found",
         "CAT, OAS:batch-ingestion", answer={"{upload}": {"status": "loading"}},
         query={"dataSet": "{dataset}", "externalId": "{mark}-batch", **_PAGE}),
    Case("upload a file", f"PUT {IMPORT}/batches/{{upload}}/datasets/{{dataset}}/files/{{rows}}",
         "a success without content; a file of the same name is replaced", "OAS:batch-ingestion, GTS 20", (200, 201),
         sent=_ROW, headers={"Content-Type": "application/octet-stream"}),
    Case("complete a batch", f"POST {IMPORT}/batches/{{upload}}", "a success; repeating it does no harm",
         "OAS:batch-ingestion, GTS 22", query={"action": "COMPLETE"}),
    Case("wait for an uploaded batch", f"GET {CATALOG}/batches/{{upload}}",
         "eventually success, with counts of input and output records", "GTS 22, GTS 23, OAS:batch-ingestion",
         answer={"{upload}": {"status": ("success", "active"), "metrics": {"outputRecordCount": int}}}, awaits="landed"),
    Case("list a batch's row errors", f"GET {EXPORT}/batches/{{upload}}/meta", "404, or no files, if no row failed",
         "OAS:data-access, EN:ingestion", (200, 404), query={"path": "row_errors", **_PAGE}),
    Case("revert a batch", f"POST {IMPORT}/batches/{{upload}}", "a success, although no rows are gone yet",
         "OAS:batch-ingestion, AEPP, GTS 24", query={"action": "REVERT"}, after="wait for an uploaded batch"),
    Case("wait until a batch is reverted", f"GET {CATALOG}/batches/{{upload}}", "eventually inactive or deleted",
         "GTS 24, EN:ingestion", answer={"{upload}": {"status": ("inactive", "deleted")}}, awaits="landed"),
    Case("create a batch to give up", f"POST {IMPORT}/batches", "201 and an id", "OAS:batch-ingestion, GTS 19", (201,),
         {"id": _WORDS}, sent={**_BATCH, "externalId": "{mark}-given-up"}, gives={"given_up": "id"}),
    Case("give a batch up", f"POST {IMPORT}/batches/{{given_up}}", "a success", "OAS:batch-ingestion, GTS 25",
         query={"action": "ABORT"}),
    Case("read a batch that was given up", f"GET {CATALOG}/batches/{{given_up}}", "aborted, or absent",
         "GTS 25", (200, 404), ({"{given_up}": {"status": "aborted"}}, {"title": str}, {"status": int})),
    Case("count records", "POST /data/infrastructure/observability/insights/metrics",
         "sums under datapoints[].dps", "OAS:observability, EN:observability",
         answer={"metricResponses": Each({"datapoints": Each({"dps": dict})})},
         sent={"start": "2020-01-01T00:00:00.000Z", "end": "2100-01-01T00:00:00.000Z", "granularity": "month",
               "metrics": [_METRIC]}),
    Case("read the quota of record deletes", "GET /data/core/hygiene/quota",
         "consumed and quota by name; 401 and 403 mean a missing permission or licence", "OAS:data-hygiene, GTS 6, GTS 30",
         (200, 401, 403)),
    Case("disable a dataflow", f"POST {FLOWS}/flows/{{flow}}/action", "a post without a body starts it",
         "FS, AEPP", query={"op": "disable"}, after="wait for a dataflow's inlet"),
    Case("wait until a dataflow is disabled", f"GET {FLOWS}/flows/{{flow}}", "eventually its state says so", "FS",
         answer={"items": [{"state": "disabled"}]}, awaits="ready"),
    Case("enable a dataflow", f"POST {FLOWS}/flows/{{flow}}/action", "a post without a body starts it",
         "FS, AEPP", query={"op": "enable"}, after="wait until a dataflow is disabled"),
    Case("wait until a dataflow is enabled again", f"GET {FLOWS}/flows/{{flow}}", "eventually its state says so", "FS",
         answer={"items": [{"state": "enabled"}]}, awaits="ready"),
    Case("remove a dataflow", TAKE_DOWN["flow"], "a success without content", "FS", (200, 204), removes="flow"),
    Case("read a removed dataflow", f"GET {FLOWS}/flows/{{flow}}", "404 immediately", "FS", (404,)),
    Case("remove a source connection", TAKE_DOWN["source"], "a success without content", "FS", (200, 204),
         removes="source"),
    Case("remove a target connection", TAKE_DOWN["target"], "a success without content", "FS", (200, 204),
         removes="target"),
    Case("remove a mapping set", TAKE_DOWN["mapping"], "a success, although the reference does not list the call",
         "AEPP", (200, 204), removes="mapping"),
    Case("remove a dataset", TAKE_DOWN["dataset"], "200, and the next read no longer finds it", "EN:catalog, GTS 17",
         (200, 204), removes="dataset"),
    Case("remove a schema", TAKE_DOWN["schema"], "a success without content", "SR", (200, 204), removes="schema"),
    Case("remove a field group", TAKE_DOWN["group"], "a success without content", "SR", (200, 204), removes="group"),
)  # fmt: skip
