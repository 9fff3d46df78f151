"""Batch ingestion: create batches of files, upload, complete and revert them.

Catalog has the status of batches. Source: Batch ingestion API guide and reference; guardrails.
"""

from __future__ import annotations

from typing import ClassVar

from chatlio_kit.aep.http import FileBody
from chatlio_kit.aep.transport import Api, in_path


class BatchIngestion(Api):
    """Creates and ends batches of files."""

    service: ClassVar[str] = "Batch ingestion"
    base: ClassVar[str] = "/data/foundation/import"

    def create(self, dataset_id: str, external_id: str, *, most_failed_percent: int) -> str:
        """Create a batch of Parquet files and return its id. It takes files until it is completed.

        Args:
            dataset_id: The dataset.
            external_id: The caller's own id, by which Catalog finds the batch again.
            most_failed_percent: Up to this share of refused records, the others are still ingested.

        Raises:
            Unreachable: No answer came. The batch may have been created: look for its external id.
        """
        operation = "create the batch"
        body = {
            "datasetId": dataset_id,
            "inputFormat": {"format": "parquet"},
            "externalId": external_id,
            "enableErrorDiagnostics": True,
            "partialIngestionPercent": most_failed_percent,
        }
        return self._text(operation, self._ask_object(operation, "POST", "/batches", body=body), "id")

    def upload(self, batch_id: str, dataset_id: str, name: str, file: FileBody) -> None:
        """Upload a file of at most 256 MB; a file of the same name is replaced."""
        self._call(
            f"upload {name!r}",
            "PUT",
            f"/batches/{in_path(batch_id)}/datasets/{in_path(dataset_id)}/files/{in_path(name)}",
            file=file,
        )

    def complete(self, batch_id: str) -> None:
        """Submit a batch for ingestion; repeating the call does no harm."""
        self._act("complete the batch", batch_id, "COMPLETE")

    def abort(self, batch_id: str) -> None:
        """Abort a batch that was not completed; none of its records are ingested."""
        self._act("give the batch up", batch_id, "ABORT")

    def revert(self, batch_id: str) -> None:
        """Remove the rows of an ingested batch from its dataset."""
        self._act("revert the batch", batch_id, "REVERT")

    def _act(self, operation: str, batch_id: str, action: str) -> None:
        query = [("action", action)]
        self._call(operation, "POST", f"/batches/{in_path(batch_id)}", query=query, repeatable=True)
