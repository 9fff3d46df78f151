"""Events as Arrow tables in XDM form, which batch ingestion takes without a mapping.

The schema derives from the XDM properties of the connection's field group, because a file must have the
dataset's hierarchy. Rows equal those that the history mappings produce from wire records.

Source: Batch ingestion: Parquet files; XDM: field constraints; the ETL reference writer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from chatlio_kit.chatlio.catalogue import MESSAGES_KEY, Dtype, Field, nested_fields, sent_fields
from chatlio_kit.chatlio.identities import IDENTITIES_KEY, IdentityColumn
from chatlio_kit.chatlio.kinds import EVENT_TYPE_PREFIX
from chatlio_kit.connection.resources.blueprint import Json
from chatlio_kit.connection.resources.mappings import is_ours
from chatlio_kit.connection.resources.people import People
from chatlio_kit.connection.resources.turns import blueprint
from chatlio_kit.delivery.requests.wire import as_array, grouped_messages, primary_flags

_TIME = pa.timestamp("ms", "UTC")
_PLAIN = {"string": pa.string(), "integer": pa.int32(), "number": pa.float64(), "boolean": pa.bool_()}
_IDENTITY = pa.struct([("id", pa.string()), ("authenticatedState", pa.string()), ("primary", pa.bool_())])
_IDENTITY_MAP = pa.map_(pa.string(), pa.list_(pa.field("element", _IDENTITY)))
_STANDARD = {"event_id": "_id", "occurred_at": "timestamp", "kind": "eventType"}


def arrow_type(xdm: Json) -> pa.DataType:
    """Return the Arrow type of an XDM property; its Parquet form is the one that the platform documents."""
    if xdm["type"] == "object":
        return pa.struct([(name, arrow_type(part)) for name, part in xdm["properties"].items()])
    if xdm["type"] == "array":
        return pa.list_(pa.field("element", arrow_type(xdm["items"])))
    return _TIME if xdm.get("format") == "date-time" else _PLAIN[xdm["type"]]


def xdm_schema(name: str, tenant_id: str, people: People) -> pa.Schema:
    """Return the Arrow schema of a connection's files.

    Args:
        name: The connection's name.
        tenant_id: The tenant; its fields are below an underscore and this id.
        people: The connection's identities; without any, there is no identity map. Slim events have no
            messages.
    """
    plan = blueprint(name, tenant_id, people)
    properties = plan.chatlio_properties()
    if people.slim:
        del properties[MESSAGES_KEY]
    chatlio = arrow_type({"type": "object", "properties": properties})
    identities = [(IDENTITIES_KEY, _IDENTITY_MAP)] if people.identities else []
    standard = [("_id", pa.string()), ("timestamp", _TIME), ("eventType", pa.string())]
    return pa.schema([*standard, *identities, (plan.tenant, pa.struct([("chatlio", chatlio)]))])


def xdm_table(
    schema: pa.Schema,
    events: pd.DataFrame,
    messages: pd.DataFrame,
    identities: Sequence[IdentityColumn] = (),
) -> pa.Table:
    """Return events as rows of XDM, in their order.

    Args:
        schema: The schema of the connection's files.
        events: Accepted events.
        messages: Their messages, a row for each message of each transcript.
        identities: The events' ids by namespace, those that can be primary first.
    """
    tenant = schema.names[-1]
    chatlio = schema.field(tenant).type.field("chatlio").type
    columns = {
        _leaf(field): _values(events[field.name], field, chatlio.field(_leaf(field)).type)
        for field in sent_fields()
        if is_ours(field)
    }
    if chatlio.get_field_index(MESSAGES_KEY) >= 0:
        messages_type = chatlio.field(MESSAGES_KEY).type
        columns[MESSAGES_KEY] = _messages(messages, as_array(events["event_id"]), messages_type)
    own = pa.StructArray.from_arrays([columns[field.name] for field in chatlio], fields=list(chatlio))
    rows = {
        "_id": as_array(events["event_id"]).cast(pa.string()),
        "timestamp": _milliseconds(as_array(events["occurred_at"])),
        "eventType": pc.binary_join_element_wise(
            pa.scalar(EVENT_TYPE_PREFIX), as_array(events["kind"]).cast(pa.string()), pa.scalar("")
        ),
        IDENTITIES_KEY: _identity_maps(identities, len(events)),
        tenant: pa.StructArray.from_arrays([own], fields=list(schema.field(tenant).type)),
    }
    return pa.table([rows[name] for name in schema.names], schema=schema)


def wire_bodies(table: pa.Table) -> Iterator[tuple[str, bytes]]:
    """Yield id and wire record of each row: a refused record is kept as streaming would send it."""
    for row in table.to_pylist(maps_as_pydicts="strict"):
        standard = {name: row[leaf] for name, leaf in _STANDARD.items()}
        standard["kind"] = row["eventType"].removeprefix(EVENT_TYPE_PREFIX)
        own = row[table.schema.names[-1]]["chatlio"]
        record = {**standard, **own, IDENTITIES_KEY: row.get(IDENTITIES_KEY)}
        yield row["_id"], orjson.dumps(_without_nulls(record), default=str)


def _leaf(field: Field) -> str:
    return (field.xdm or field.name).rpartition(".")[2]


def _values(column: pd.Series[Any], field: Field, type_: pa.DataType) -> pa.Array:
    values = as_array(column)
    if field.unsent is not None:
        values = pc.if_else(pc.equal(values, field.unsent), None, values)
    return _milliseconds(values) if field.dtype is Dtype.TIME else values.cast(type_)


def _milliseconds(times: pa.Array) -> pa.Array:
    """Return times cut to the millisecond, as wire records have them, before 1970 too."""
    plain = times.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).cast(pa.timestamp("us"))
    return pc.floor_temporal(plain, 1, "millisecond").cast(pa.timestamp("ms")).cast(pa.int64()).cast(_TIME)


def _messages(messages: pd.DataFrame, event_ids: pa.Array, type_: pa.ListType) -> pa.Array:
    messages, counts = grouped_messages(messages, event_ids)
    columns = [
        _values(messages[field.name], field, type_.value_type.field(_leaf(field)).type)
        for field in nested_fields()
    ]
    rows = pa.StructArray.from_arrays(columns, fields=list(type_.value_type))
    ends = pa.array(np.concatenate(([0], np.cumsum(counts))), pa.int32())
    return pa.ListArray.from_arrays(ends, rows, type=type_, mask=pa.array(counts == 0))


def _identity_maps(columns: Sequence[IdentityColumn], count: int) -> pa.Array:
    """Return each event's identity map; null without an id that can be primary."""
    if not columns:
        return pa.nulls(count, _IDENTITY_MAP)
    is_primary = np.stack(primary_flags(columns), axis=1)
    has_id = np.stack([column.ids.notna().to_numpy() for column in columns], axis=1)
    has_id &= is_primary.any(axis=1, keepdims=True)
    rows, places = np.nonzero(has_id)
    ids = pa.concat_arrays([as_array(column.ids).cast(pa.string()) for column in columns])
    namespaces = pa.array([column.namespace for column in columns], pa.string())
    items = pa.StructArray.from_arrays(
        [
            ids.take(pa.array(places * count + rows)),
            pa.array(np.full(len(rows), "ambiguous", dtype=object), pa.string()),
            pa.array(is_primary[rows, places]),
        ],
        fields=list(_IDENTITY),
    )
    lists = pa.ListArray.from_arrays(
        pa.array(np.arange(len(rows) + 1), pa.int32()), items, type=_IDENTITY_MAP.item_type
    )
    ends = np.concatenate(([0], np.cumsum(has_id.sum(axis=1))))
    keys = namespaces.take(pa.array(places))
    return pa.MapArray.from_arrays(
        pa.array(ends, pa.int32()), keys, lists, type=_IDENTITY_MAP, mask=pa.array(~has_id.any(axis=1))
    )


def _without_nulls(value: Any) -> Any:
    """Return a value without missing members, its times as wire records have them."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1000:03}Z"
    return value
