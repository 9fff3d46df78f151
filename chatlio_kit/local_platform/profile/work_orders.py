"""Data hygiene: record delete work orders, which remove the rows of identities from datasets.

A work order finds a row by its primary identity: the field that a primary descriptor names, or the item of
``identityMap`` with ``primary: true``. Source: Data Hygiene API guide, "Work orders" and "Quota". The
response for a single work order, and every status after ``received``, are assumed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
from aiohttp import web

from ..lake.files import good_files, write_table
from ..server import errors as problems
from ..server.service import Context, Service, answer, now_ms, route
from ..store import BatchFilter, Json
from .identities import identities_of
from .namespaces import all_namespaces
from .view import described_identities

BASE = "/data/core/hygiene"
ENTITLEMENT = "record-delete"
HYGIENE_RIGHT = "data-hygiene"
"""The permission for all calls here; without it, the service answers 401, as to an invalid token."""

_MOST_IDS = 100_000
_DAILY, _MONTHLY = 1_000_000, 15_000_000
_PAGE = 100


class WorkOrders(Service):
    """Record deletes and their progress."""

    def __init__(self, context: Context, notify: Callable[[], None]) -> None:
        super().__init__(context)
        self._notify = notify

    @route("POST", f"{BASE}/workorder")
    async def create(self, request: web.Request) -> web.Response:
        """Accept a record delete; its rows are removed later."""
        self._check_entitlement()
        body = await self.json_object(request)
        dataset_id, groups = body.get("datasetId"), body.get("namespacesIdentities")
        if body.get("action") != "delete_identity":
            raise problems.bad_request("action must be delete_identity")
        if not isinstance(groups, list) or not groups or not all(_is_group(group) for group in groups):
            raise problems.bad_request("namespacesIdentities must list namespace.code and IDs")
        count = sum(len(group["IDs"]) for group in groups)
        if not 1 <= count <= _MOST_IDS:
            raise problems.bad_request(f"A work order takes 1 to {_MOST_IDS} identities")
        if dataset_id != "ALL" and self._context.store.get("dataset", str(dataset_id)) is None:
            raise problems.not_found(f"dataset {dataset_id}")
        known = {namespace["code"] for namespace in all_namespaces(self._context)}
        unknown = [group["namespace"]["code"] for group in groups if group["namespace"]["code"] not in known]
        if unknown:
            raise problems.bad_request(f"The namespace {unknown[0]} does not exist")
        key, moment = f"DI-{secrets.token_hex(16)}", now_ms()
        order: Json = {
            "workorderId": key,
            "orgId": self._context.account.org_id,
            "bundleId": f"BN-{secrets.token_hex(16)}",
            "action": "identity-delete",
            "createdAt": moment,
            "updatedAt": moment,
            "operationCount": count,
            "targetServices": ["datalakeService", "identity", "profile", "ajo"],
            "status": "received",
            "createdBy": self._context.account.technical_user,
            "datasetId": dataset_id,
            "displayName": str(body.get("displayName") or ""),
            "description": str(body.get("description") or ""),
        }
        with self._context.store.transaction():
            self._context.store.put("work_order", key, order)
            self._context.store.put("work_order_due", key, {"id": key, "groups": groups})
        self._notify()
        return answer(order)

    @route("GET", f"{BASE}/workorder/{{id}}")
    async def lookup(self, request: web.Request) -> web.Response:
        """Return one work order."""
        self._check_entitlement()
        order = self._context.store.get("work_order", request.match_info["id"])
        if order is None:
            raise problems.not_found(f"work order {request.match_info['id']}")
        return answer(order)

    @route("GET", f"{BASE}/quota")
    async def quota(self, _request: web.Request) -> web.Response:
        """Return the licensed quota and its use."""
        self._check_entitlement()
        used = sum(order["operationCount"] for order in self._context.store.all("work_order"))
        return answer(
            {
                "quotas": [
                    {"name": "dailyConsumerDeleteIdentitiesQuota", "consumed": used, "quota": _DAILY},
                    {"name": "monthlyConsumerDeleteIdentitiesQuota", "consumed": used, "quota": _MONTHLY},
                ]
            }
        )

    def _check_entitlement(self) -> None:
        if ENTITLEMENT in self._context.options.withheld:
            raise problems.generic(403, "Forbidden", "The organisation is not entitled to record delete")
        if HYGIENE_RIGHT in self._context.options.withheld:
            raise problems.generic(401, "Unauthorized", "Access denied")


def carry_out(context: Context) -> None:
    """Remove the rows of all due work orders, on the lake's thread.

    After a kill in between, the work order is still due, and the next start removes the rest.
    """
    store = context.store
    for due in store.all("work_order_due"):
        order = store.get("work_order", due["id"]) or {}
        wanted = {(group["namespace"]["code"], value) for group in due["groups"] for value in group["IDs"]}
        for dataset in store.all("dataset"):
            if order.get("datasetId") in ("ALL", dataset["id"]):
                _remove_rows(context, dataset, wanted)
        with store.transaction():
            store.put("work_order", due["id"], {**order, "status": "completed", "updatedAt": now_ms()})
            store.delete("work_order_due", due["id"])


def _remove_rows(context: Context, dataset: Json, wanted: set[tuple[str, str]]) -> None:
    lake, start = context.store.lake, 0
    described = described_identities(context, dataset["schemaRef"]["id"])
    while page := context.store.batches(BatchFilter(dataset["id"], "success", ascending=True), _PAGE, start):
        for path in (path for batch_id in page for path in good_files(lake, batch_id)):
            table = pq.read_table(path)
            keep = [identities_of(row, described).declared_primary not in wanted for row in table.to_pylist()]
            if not all(keep):
                write_table(path, table.filter(pa.array(keep)))
        start += _PAGE


def _is_group(group: object) -> bool:
    namespace = group.get("namespace") if isinstance(group, dict) else None
    ids = group.get("IDs") if isinstance(group, dict) else None
    return (
        isinstance(namespace, dict)
        and isinstance(namespace.get("code"), str)
        and isinstance(ids, list)
        and bool(ids)
        and all(isinstance(value, str) for value in ids)
    )
