"""Flow Service's checks before it stores a connection or a dataflow.

Source: Flow Service: error codes.
"""

from __future__ import annotations

import re
from typing import Any

from ..catalog.routes import same_schema
from ..data_prep.routes import mapping_set_version
from ..server import errors as problems
from ..server.service import Context, whole_number
from ..store import Json
from .specs import CONNECTION_SPECS, DATA_LAKE_TARGET, FLOW_SPECS, SOURCE_SPECS

_MAPPING_ID = re.compile(r"[0-9a-f]{32}")
_ACCEPTED_MEDIA = re.compile(
    r"application/vnd\.adobe\.xed(-full)?(-notext)?\+json\s*;\s*version\s*=\s*1(\.\d+)?"
)


def check_source_connection(_context: Context, body: Json) -> None:
    """Return a streaming source connection: a known connector without base connection, with JSON data."""
    _require(body, "name", str)
    spec_id = _spec_id(body, "connectionSpec", CONNECTION_SPECS)
    if spec_id not in SOURCE_SPECS:
        raise bad("1413-400", f"The connection spec {spec_id} is not a source")
    if "baseConnectionId" in body:
        raise bad("1332-400", "baseConnectionId must not be given for this connection spec")
    data = _require(body, "data", dict)
    if data.get("format") != "json":
        raise bad("1327-400", f"The format {data.get('format')} is not supported")


def check_target_connection(context: Context, body: Json) -> None:
    """Return a data lake target: an existing dataset, with that dataset's schema."""
    spec_id = _spec_id(body, "connectionSpec", CONNECTION_SPECS)
    if spec_id != DATA_LAKE_TARGET:
        raise bad("1307-400", f"The connection spec {spec_id} is not a valid target")
    data = _require(body, "data", dict)
    params = body.get("params")
    dataset_id = params.get("dataSetId") if isinstance(params, dict) else None
    if not isinstance(dataset_id, str):
        raise bad("1325-400", "params.dataSetId is missing")
    dataset = context.store.get("dataset", dataset_id)
    if dataset is None:
        raise bad("1325-400", f"The dataset {dataset_id} was not found")
    schema = data.get("schema")
    if not isinstance(schema, dict) or not _ACCEPTED_MEDIA.fullmatch(str(schema.get("version", ""))):
        raise bad("1100-400", "data.schema needs an id and a version")
    if not same_schema(schema, dataset["schemaRef"]):
        raise bad("1425-400", "The schema of the target connection differs from the dataset's schema")


def check_flow(context: Context, body: Json) -> None:
    """Return a dataflow: one source, one target, one mapping set version, and one schema for all of them."""
    _require(body, "name", str)
    if "state" in body:
        raise bad("1410-400", "state cannot be given when a dataflow is created")
    _spec_id(body, "flowSpec", FLOW_SPECS)
    _one_connection(context, body, "sourceConnectionIds", "sourceConnections", "1320-400")
    target = _one_connection(context, body, "targetConnectionIds", "targetConnections", "1321-400")
    check_transformations(context, body.get("transformations"), target)


def check_transformations(context: Context, transformations: Any, target: Json) -> None:
    """Return the only transformation, Mapping: an existing mapping set version for the target's schema."""
    if not isinstance(transformations, list) or len(transformations) != 1:
        raise bad("1419-400", "transformations must hold exactly one Mapping")
    transformation = transformations[0]
    params = transformation.get("params") if isinstance(transformation, dict) else None
    if not isinstance(params, dict) or transformation.get("name") != "Mapping":
        raise bad("1419-400", "The transformation must be named Mapping and carry params")
    mapping_id = params.get("mappingId")
    if not isinstance(mapping_id, str) or not _MAPPING_ID.fullmatch(mapping_id):
        raise bad("1419-400", f"mappingId must be 32 hexadecimal digits, not {mapping_id!r}")
    version = whole_number(str(params.get("mappingVersion")))
    if version is None:
        raise bad("1412-400", f"mappingVersion {params.get('mappingVersion')} is not a version")
    if context.store.get("mapping_set", mapping_id) is None:
        raise bad("1419-400", f"The mapping set {mapping_id} was not found")
    mapping_set = mapping_set_version(context, mapping_id, version)
    if mapping_set is None:
        raise bad("1412-400", f"The mapping set {mapping_id} has no version {version}")
    dataset = context.store.get("dataset", target["params"]["dataSetId"])
    mapped_to = mapping_set["outputSchema"]["schemaRef"]
    if dataset is None or not same_schema(mapped_to, dataset["schemaRef"]):
        raise bad("1425-400", "The schema of the dataset differs from the schema of the mapping set")
    if not same_schema(mapped_to, target["data"]["schema"]):
        raise bad("1425-400", "The schema of the target connection differs from the mapping set's schema")


def bad(code: str, message: str) -> problems.ApiError:
    """Return the most common refusal of Flow Service."""
    return problems.flow_service(code, "Invalid request", message)


def missing(plural: str, key: str) -> problems.ApiError:
    """Return the refusal for an unknown id."""
    return problems.flow_service(
        "1439-404",
        "Resource not found",
        f"The resource {key} of type {plural} was not found.",
        resource=(plural, key),
    )


def _require(body: Json, name: str, kind: type) -> Any:
    value = body.get(name)
    if not isinstance(value, kind) or not value:
        raise bad("1100-400", f"{name} is required")
    return value


def _spec_id(body: Json, name: str, known: dict[str, Json]) -> str:
    spec = _require(body, name, dict)
    spec_id = spec.get("id")
    if not isinstance(spec_id, str) or spec_id not in known:
        raise bad("1413-400", f"The spec id {spec_id} is not known")
    if spec.get("version", "1.0") != "1.0":
        raise bad("1413-400", f"The spec {spec_id} has no version {spec['version']}")
    return spec_id


def _one_connection(context: Context, body: Json, name: str, plural: str, code: str) -> Json:
    listed = body.get(name)
    if not isinstance(listed, list) or len(listed) != 1:
        raise bad(code, f"{name} must hold exactly one id")
    found = context.store.get(plural, str(listed[0]))
    if found is None:
        raise missing(plural, str(listed[0]))
    return found
