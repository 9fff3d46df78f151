"""Catalog: datasets and their batches.

Source: Catalog Service API guide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

from chatlio_kit.aep.transport import Api, Json, Parameters, in_path, objects_in

_DURATION = re.compile(r"P(?:(\d{1,4})Y)?(?:(\d{1,5})M)?(?:(\d{1,6})D)?")


@dataclass(frozen=True)
class Batch:
    """One batch of a dataset.

    Attributes:
        id: Its id.
        status: ``success``, ``failed``, ``active`` and others, in lower case.
        created_at: Milliseconds since 1970.
        flow_id: The dataflow that streamed it, if the batch names one.
        successor_id: The batch that replaced it when batches were consolidated, if any.
        metrics: Record counts, under Catalog's names.
        errors: ``{"code", "description"}`` for each type of failure.
        body: The whole object.
    """

    id: str
    status: str
    created_at: int
    flow_id: str | None
    successor_id: str | None
    metrics: Json
    errors: list[Json]
    body: Json = field(repr=False)


class Catalog(Api):
    """Creates and finds datasets; lists batches."""

    service: ClassVar[str] = "Catalog"
    base: ClassVar[str] = "/data/foundation/catalog"

    def create_dataset(self, body: Json) -> str:
        """Create a dataset and return its id.

        ``requestDataSource=true`` also creates the data source; the response is a list of one reference,
        ``@/dataSets/{id}`` (Catalog: create a dataset).
        """
        operation = f"create the dataset {body.get('name', '')!r}"
        answer = self._ask(operation, "POST", "/dataSets", query=[("requestDataSource", "true")], body=body)
        if isinstance(answer, list) and len(answer) == 1 and isinstance(answer[0], str) and answer[0]:
            return answer[0].rpartition("/")[2]
        raise self.unexpected(operation, "its response names no dataset")

    def dataset(self, dataset_id: str) -> Json:
        """Return a dataset.

        Raises:
            NotFound: It does not exist.
        """
        return self._item("read the dataset", "/dataSets", dataset_id)

    def profile_expiry(self, dataset_id: str) -> str | None:
        """Return a dataset's expiry in Profile, as an ISO 8601 duration such as ``P30D``.

        None if nothing is set. Source: Catalog: retention of event datasets.
        """
        answer = self._ask_object("read the expiry of the dataset", "GET", f"/ttl/{in_path(dataset_id)}")
        profile = (answer.get("extensions") or {}).get("adobe_unifiedProfile") or {}
        value = (profile.get("rowExpiration") or {}).get("ttlValue")
        return value if isinstance(value, str) else None

    def delete_dataset(self, dataset_id: str) -> None:
        """Delete a dataset and all its rows.

        Raises:
            NotFound: It does not exist.
        """
        self._call("delete the dataset", "DELETE", f"/dataSets/{in_path(dataset_id)}")

    def datasets(self, name: str) -> dict[str, Json]:
        """Return the datasets with a name, by id; names need not be unique."""
        items = self._items("find the dataset", "/dataSets", [("name", name)])
        return {key: body for key, body in items if body.get("name") == name}

    def batches(
        self,
        dataset_id: str,
        *,
        status: str | None = None,
        created_after: int | None = None,
        created_before: int | None = None,
        external_id: str | None = None,
    ) -> Iterator[Batch]:
        """List a dataset's batches, newest first.

        Args:
            dataset_id: The dataset.
            status: Only batches with this status, e.g. ``failed``.
            created_after: Milliseconds since 1970.
            created_before: Milliseconds since 1970.
            external_id: Only batches that the caller created with this id.
        """
        query: list[tuple[str, str | int]] = [("dataSet", dataset_id), ("orderBy", "desc:created")]
        if status is not None:
            query.append(("status", status))
        if created_after is not None:
            query.append(("createdAfter", created_after))
        if created_before is not None:
            query.append(("createdBefore", created_before))
        if external_id is not None:
            query.append(("externalId", external_id))
        seen: set[str] = set()  # a new batch pushes others to the next page, where they are listed again
        for key, body in self._items("list the dataset's batches", "/batches", query):
            if key not in seen:
                seen.add(key)
                yield _batch(key, body)

    def batch(self, batch_id: str) -> Batch:
        """Return one batch.

        Raises:
            NotFound: It does not exist.
        """
        return _batch(batch_id, self._item("read the batch", "/batches", batch_id))

    def _item(self, operation: str, path: str, item_id: str) -> Json:
        """Return one object; Catalog responds with objects keyed by their ids."""
        item = self._ask_object(operation, "GET", f"{path}/{in_path(item_id)}").get(item_id)
        if not isinstance(item, dict):
            raise self.unexpected(operation, f"its response does not contain {item_id}")
        return item

    def _items(self, operation: str, path: str, query: Parameters) -> Iterator[tuple[str, Json]]:
        pages = self._ask_pages(operation, path, lambda answer: list(answer.items()), query)
        return ((key, body) for key, body in pages if isinstance(body, dict))


def duration_of(text: str | None) -> timedelta | None:
    """Parse an ISO 8601 duration of years, months and days; None if there is none.

    A month counts as 30 days and a year as 365, so the result is never longer than intended.
    """
    match = _DURATION.fullmatch(text or "")
    if match is None or not any(match.groups()):
        return None
    years, months, days = (int(part or 0) for part in match.groups())
    return timedelta(days=years * 365 + months * 30 + days)


def _batch(key: str, body: Json) -> Batch:
    tags = body.get("tags") or {}
    return Batch(
        id=key,
        status=str(body.get("status") or "").lower(),
        created_at=int(body.get("created") or 0),
        flow_id=_first_tag(tags, "flowId"),
        successor_id=_first_tag(tags, "acp_successor"),
        metrics=body.get("metrics") or {},
        errors=objects_in(body, "errors"),
        body=body,
    )


def _first_tag(tags: Mapping[str, Any], name: str) -> str | None:
    values = tags.get(name)
    return str(values[0]) if isinstance(values, list) and values else None
