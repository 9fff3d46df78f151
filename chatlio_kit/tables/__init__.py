"""Captured records to frames: building, validation, rejects."""

from chatlio_kit.tables.convert import Converted, convert
from chatlio_kit.tables.counts import Counts
from chatlio_kit.tables.deduplicate.deduplicate import Deduplicated, Deduplicator, FirstOccurrence
from chatlio_kit.tables.deduplicate.seen_ids import as_keys
from chatlio_kit.tables.options import Findings, Terms
from chatlio_kit.tables.output import REJECTED, REPORT, RejectedFile, make_folder, write_json, write_tables
from chatlio_kit.tables.tables import Export, Tables, count, read_export
from chatlio_kit.tables.validate.event_batch import Built, Settling
from chatlio_kit.tables.validate.revalidate import check_again
from chatlio_kit.tables.validate.schemas import empty, failures, schema

__all__ = [
    "REJECTED",
    "REPORT",
    "Built",
    "Converted",
    "Counts",
    "Deduplicated",
    "Deduplicator",
    "Export",
    "Findings",
    "FirstOccurrence",
    "RejectedFile",
    "Settling",
    "Tables",
    "Terms",
    "as_keys",
    "check_again",
    "convert",
    "count",
    "empty",
    "failures",
    "make_folder",
    "read_export",
    "schema",
    "write_json",
    "write_tables",
]
