"""Flow Service's fixed specifications of connectors and kinds of dataflow.

Source: "Create a source connection and dataflow for Chatlio", "HTTP API source" and the Sources SDK pages.
All ids are documented, but not all names.
"""

from __future__ import annotations

from ..store import Json

CHATLIO_SOURCE = "073127a3-26e3-496c-9d94-9f48fb93fba8"
STREAMING_TEMPLATE = "e77fd9d2-22a8-11ed-861d-0242ac120002"
DATA_LAKE_TARGET = "c604ff05-7f1a-43c0-8e18-33bf874cb11c"
GENERIC_STREAMING_FLOW = "e77fde5a-22a8-11ed-861d-0242ac120002"
STREAMING_PROVIDER = "521eee4d-8cbe-4906-bb48-fb6bd4450033"


def _streaming_source(spec_id: str, name: str) -> Json:
    return {
        "id": spec_id,
        "name": name,
        "type": "generic-streaming",
        "providerId": STREAMING_PROVIDER,
        "version": "1.0",
        "authSpec": [],
        "sourceSpec": {"attributes": {"authRequired": False, "uiAttributes": {"isSource": True}}},
        "exploreSpec": {"type": "StreamingConnection"},
        "attributes": {"category": "Streaming", "isSource": True},
        "permissionsInfo": {
            "view": [{"@type": "lowLevel", "name": "StreamingSource", "permissions": ["read"]}],
            "manage": [{"@type": "lowLevel", "name": "StreamingSource", "permissions": ["write"]}],
        },
    }


CONNECTION_SPECS: dict[str, Json] = {
    CHATLIO_SOURCE: _streaming_source(CHATLIO_SOURCE, "chatlio-webhook"),
    STREAMING_TEMPLATE: _streaming_source(STREAMING_TEMPLATE, "generic-streaming"),
    DATA_LAKE_TARGET: {
        "id": DATA_LAKE_TARGET,
        "name": "data-lake",
        "type": "data-lake",
        "providerId": "0ed90a81-07f4-4586-8190-b40eccef1c5a",
        "version": "1.0",
        "authSpec": [],
        "attributes": {"isTarget": True},
    },
}
SOURCE_SPECS = (CHATLIO_SOURCE, STREAMING_TEMPLATE)

FLOW_SPECS: dict[str, Json] = {
    GENERIC_STREAMING_FLOW: {
        "id": GENERIC_STREAMING_FLOW,
        "name": "GenericStreamingAEP",
        "providerId": STREAMING_PROVIDER,
        "version": "1.0",
        "sourceConnectionSpecIds": list(SOURCE_SPECS),
        "targetConnectionSpecIds": [DATA_LAKE_TARGET],
        "optionSpec": {
            "name": "OptionSpec",
            "spec": {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "type": "object",
                "properties": {
                    "errorDiagnosticsEnabled": {"type": "boolean", "default": False},
                    "partialIngestionPercent": {"type": "number", "exclusiveMinimum": 0},
                    "inletUrl": {"type": "string"},
                },
            },
        },
        "transformationSpecs": [
            {
                "name": "Mapping",
                "spec": {
                    "$schema": "http://json-schema.org/draft-07/schema#",
                    "type": "object",
                    "properties": {"mappingId": {"type": "string"}, "mappingVersion": {"type": "string"}},
                },
            }
        ],
        "attributes": {
            "isSourceFlow": True,
            "flacValidationSupported": True,
            "frequency": "streaming",
            "uiAttributes": {"apiFeatures": {"updateSupported": True, "flowRunsSupported": True}},
        },
        "permissionsInfo": {
            "view": [{"@type": "lowLevel", "name": "StreamingSource", "permissions": ["read"]}],
            "manage": [{"@type": "lowLevel", "name": "StreamingSource", "permissions": ["write"]}],
        },
    }
}
