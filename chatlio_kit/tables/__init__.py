"""From raw batches to event batches, and from these to five tables."""

from chatlio_kit.tables.convert import convert
from chatlio_kit.tables.deduplicate.deduplicate import Deduplicator, FirstOccurrence
from chatlio_kit.tables.export import Export, read_export, read_slack
from chatlio_kit.tables.findings import FieldFindings, RecordCounts
from chatlio_kit.tables.output import RejectedFile, make_folder, write_json
from chatlio_kit.tables.policy import FieldPolicy
from chatlio_kit.tables.reading import read_tables
from chatlio_kit.tables.report import REJECTED, REPORT, Converted
from chatlio_kit.tables.tables import Tables
from chatlio_kit.tables.validate.event_batch import EventBatch, ReadOptions
from chatlio_kit.tables.validate.revalidate import revalidate
from chatlio_kit.tables.validate.schemas import empty, failures, schema

__all__ = [
    "REJECTED",
    "REPORT",
    "Converted",
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
    "convert",
    "empty",
    "failures",
    "make_folder",
    "read_export",
    "read_slack",
    "read_tables",
    "revalidate",
    "schema",
    "write_json",
]
