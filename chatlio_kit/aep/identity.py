"""Identity Service and Data Hygiene: namespaces, and record deletes by identity.

Source: Identity Service API guide, namespaces; Data Hygiene API guide, work orders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from chatlio_kit.aep.transport import Api, Json, in_path, objects_in, to_int


class Namespaces(Api):
    """Lists and creates identity namespaces. A namespace can never be deleted."""

    service: ClassVar[str] = "Identity Service"
    base: ClassVar[str] = "/data/core/idnamespace"

    def all(self) -> list[Json]:
        """List all namespaces, Adobe's and the organisation's."""
        operation = "list the namespaces"
        answer = self._ask(operation, "GET", "/identities")
        if not isinstance(answer, list):
            raise self.unexpected(operation, "its response is not a list")
        return [namespace for namespace in answer if isinstance(namespace, dict)]

    def create(self, body: Json) -> Json:
        """Create a namespace and return it.

        Raises:
            Conflict: Its code or name is taken.
        """
        return self._ask_object(
            f"create the namespace {body.get('code', '')!r}", "POST", "/identities", body=body
        )


class WorkOrders(Api):
    """Deletes records by their primary identities."""

    service: ClassVar[str] = "Data Hygiene"
    base: ClassVar[str] = "/data/core/hygiene"

    def delete_identities(
        self, dataset_id: str, identities: Mapping[str, Sequence[str]], display_name: str
    ) -> Json:
        """Order the deletion of a dataset's records and return the work order.

        Args:
            dataset_id: The dataset.
            identities: Ids by namespace code, at most 100,000.
            display_name: A name for the list of work orders; it must not identify a person.

        Raises:
            PermissionMissing: The organisation or the credential is not entitled to record deletes.
        """
        body = {
            "action": "delete_identity",
            "datasetId": dataset_id,
            "displayName": display_name,
            "description": "",
            "namespacesIdentities": [
                {"namespace": {"code": code}, "IDs": list(ids)} for code, ids in identities.items()
            ],
        }
        operation = "order the deletion of records"
        order = self._ask_object(operation, "POST", "/workorder", body=body)
        self._text(operation, order, "workorderId")
        return order

    def quotas(self) -> dict[str, tuple[int, int]]:
        """Return the licence's quotas by name: the amount consumed, and the limit."""
        quotas = objects_in(self._ask_object("read the quota of record deletes", "GET", "/quota"), "quotas")
        return {
            str(quota.get("name")): (to_int(quota.get("consumed")), to_int(quota.get("quota")))
            for quota in quotas
        }

    def get(self, work_order_id: str) -> Json:
        """Return a work order."""
        return self._ask_object("read the work order", "GET", f"/workorder/{in_path(work_order_id)}")
