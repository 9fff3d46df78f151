"""Catalog: datasets, and the batches that landed in them.

Source: Catalog Service API guide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from chatlio_kit.aep.transport import Api, Json, Parameters, in_path

_PAGE = 100


@dataclass(frozen=True)
class Batch:
    """One batch of a dataset.

    Attributes:
        id: its id.
        status: ``success``, ``failed``, ``active`` and others, in lower case.
        created_at: milliseconds since 1970.
        flow_id: the dataflow that streamed it, where the batch names one.
        successor_id: the batch that took its records over when batches were consolidated, if any.
        metrics: record counts, as Catalog names them.
        errors: ``{"code", "description"}`` for each sort of failure.
        body: the whole object.
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
        """Create a dataset and give its id.

        ``requestDataSource=true`` lets Catalog make the data source too; the answer is a list of one
        reference, ``@/dataSets/{id}`` (Catalog: create a dataset).
        """
        operation = f"create the dataset {body.get('name', '')!r}"
        answer = self._ask(operation, "POST", "/dataSets", query=[("requestDataSource", "true")], body=body)
        if isinstance(answer, list) and len(answer) == 1 and isinstance(answer[0], str) and answer[0]:
            return answer[0].rpartition("/")[2]
        raise self.unexpected(operation, "its answer names no dataset")

    def dataset(self, dataset_id: str) -> Json:
        """Give a dataset; Catalog answers with an object keyed by the id.

        Raises:
            NotFound: there is none.
        """
        operation = "read the dataset"
        answer = self._ask_object(operation, "GET", f"/dataSets/{in_path(dataset_id)}")
        found = answer.get(dataset_id)
        if not isinstance(found, dict):
            raise self.unexpected(operation, f"its answer does not hold {dataset_id}")
        return found

    def delete_dataset(self, dataset_id: str) -> None:
        """Delete a dataset and all its rows.

        Raises:
            NotFound: there is none.
        """
        self._call("delete the dataset", "DELETE", f"/dataSets/{in_path(dataset_id)}")

    def datasets(self, name: str) -> dict[str, Json]:
        """Find the datasets of a name, by id; names may repeat."""
        found = self._pages("find the dataset", "/dataSets", [("name", name)])
        return {key: body for key, body in found if body.get("name") == name}

    def batches(
        self,
        dataset_id: str,
        *,
        status: str | None = None,
        created_after: int | None = None,
        created_before: int | None = None,
    ) -> Iterator[Batch]:
        """List a dataset's batches, newest first.

        Args:
            dataset_id: the dataset.
            status: only these, e.g. ``failed``.
            created_after: milliseconds since 1970.
            created_before: milliseconds since 1970.
        """
        query: list[tuple[str, str | int]] = [("dataSet", dataset_id), ("orderBy", "desc:created")]
        if status is not None:
            query.append(("status", status))
        if created_after is not None:
            query.append(("createdAfter", created_after))
        if created_before is not None:
            query.append(("createdBefore", created_before))
        seen: set[str] = set()  # a batch made meanwhile pushes the others on, over the edge of a page
        for key, body in self._pages("list the dataset's batches", "/batches", query):
            if key not in seen:
                seen.add(key)
                yield _batch(key, body)

    def batch(self, batch_id: str) -> Batch:
        """Give one batch.

        Raises:
            NotFound: there is none.
        """
        operation = "read the batch"
        answer = self._ask_object(operation, "GET", f"/batches/{in_path(batch_id)}")
        found = answer.get(batch_id)
        if not isinstance(found, dict):
            raise self.unexpected(operation, f"its answer does not hold {batch_id}")
        return _batch(batch_id, found)

    def _pages(self, operation: str, path: str, query: Parameters) -> Iterator[tuple[str, Json]]:
        start = 0
        while True:
            answer = self._ask_object(
                operation, "GET", path, query=[*query, ("limit", _PAGE), ("start", start)]
            )
            yield from ((key, body) for key, body in answer.items() if isinstance(body, dict))
            if len(answer) < _PAGE:
                return
            start += _PAGE


def _batch(key: str, body: Json) -> Batch:
    tags = body.get("tags") or {}
    return Batch(
        id=key,
        status=str(body.get("status") or "").lower(),
        created_at=int(body.get("created") or 0),
        flow_id=_first_tag(tags, "flowId"),
        successor_id=_first_tag(tags, "acp_successor"),
        metrics=body.get("metrics") or {},
        errors=[each for each in body.get("errors") or [] if isinstance(each, dict)],
        body=body,
    )


def _first_tag(tags: Mapping[str, Any], name: str) -> str | None:
    values = tags.get(name)
    return str(values[0]) if isinstance(values, list) and values else None
