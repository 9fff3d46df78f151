"""A mapping changed externally on the platform, as by a mistake in the user interface."""

from __future__ import annotations

import time

from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection import Connection


def remap_ids(connection: Connection, kind: Kind, id_source: str) -> None:
    """Make a history mapping compute ``_id`` from an expression, and wait until its dataflow is ready."""
    platform, flow = connection.platform, connection.history_flow(kind)
    body = platform.mapping_sets.get(flow.mapping_set_id)
    is_attribute = id_source == "event_id"
    of_id = {
        "sourceType": "ATTRIBUTE" if is_attribute else "EXPRESSION",
        "source": id_source,
        "destination": "_id",
    }
    mappings = [
        of_id
        if each["destination"] == "_id"
        else {key: each[key] for key in ("sourceType", "source", "destination")}
        for each in body["mappings"]
    ]
    kept = {key: body[key] for key in ("outputSchema", "name", "description") if key in body}
    version = platform.mapping_sets.replace(flow.mapping_set_id, {**kept, "mappings": mappings})
    value = {"name": "Mapping", "params": {"mappingId": flow.mapping_set_id, "mappingVersion": version}}
    operation = {"op": "replace", "path": "/transformations/0", "value": value}
    platform.flows.update_flow(platform.flows.flow(flow.flow_id), [operation])
    while not platform.flows.flow(flow.flow_id).is_ready:
        time.sleep(0.02)
