"""Captured records to frames: building, validation, rejects."""

from chatlio_kit.tables.convert import Converted, convert
from chatlio_kit.tables.counts import RecordCounts
from chatlio_kit.tables.deduplicate.deduplicate import DeduplicatedBatch, Deduplicator, FirstOccurrence
from chatlio_kit.tables.deduplicate.seen_ids import as_keys
from chatlio_kit.tables.options import FieldFindings, FieldPolicy
from chatlio_kit.tables.output import REJECTED, REPORT, RejectedFile, make_folder, write_json, write_tables
from chatlio_kit.tables.tables import Export, Tables, count, read_export
from chatlio_kit.tables.validate.event_batch import EventBatch, ReadOptions
from chatlio_kit.tables.validate.revalidate import revalidate
from chatlio_kit.tables.validate.schemas import empty, failures, schema

__all__ = [
    "REJECTED",
    "REPORT",
    "Converted",
    "DeduplicatedBatch",
    "Deduplicator",
    "EventBatch",
    "Export",
    "FieldFindings",
    "FieldPolicy",
    "FirstOccurrence",
    "ReadOptions",
    "RecordCounts",
    "RejectedFile",
    "Tables",
    "as_keys",
    "convert",
    "count",
    "empty",
    "failures",
    "make_folder",
    "read_export",
    "revalidate",
    "schema",
    "write_json",
    "write_tables",
]
