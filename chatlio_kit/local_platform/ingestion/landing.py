"""Map and validate a chunk of messages, and split it into good rows and failures."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa

from ..data_prep import mappings as data_prep
from ..lake.files import RowWriter
from ..registry import xdm
from ..store import Json, Message

log = logging.getLogger(__name__)

KEPT_DESCRIPTIONS = 50
_VALIDATION_CODES = {"type": "DCVS-1104-400", "format": "DCVS-1105-400", "required": "DCVS-1106-400"}
_OTHER_VALIDATION_CODE = "DCVS-1101-400"
UNREADABLE_CODE = "INGEST-1401-400"


@dataclass
class Failures:
    """Messages that did not become rows, and the reasons.

    Attributes:
        lines: The lines of the failed file.
        by_layer: Number of failures by layer, under Catalog's name for it.
        by_code: Number of failures by first code.
        descriptions: Distinct pairs of code and text.
    """

    lines: list[bytes] = field(default_factory=list)
    by_layer: Counter[str] = field(default_factory=Counter)
    by_code: Counter[str] = field(default_factory=Counter)
    descriptions: dict[tuple[str, str], None] = field(default_factory=dict)

    def add(
        self, message: Message, header: Json, layer: str, reasons: list[tuple[str, str]], errors: Json
    ) -> None:
        """Record one failed message under its reasons: pairs of code and text.

        The line's three values are JSON inside strings, as in the failed batches of streaming ingestion.
        """
        body = message.body
        if message.form == "xdm":
            envelope = orjson.loads(message.body)
            header, body = envelope["header"], orjson.dumps(envelope["body"])
        line = {
            "body": body.decode(),
            "header": orjson.dumps(header).decode(),
            "_errors": orjson.dumps(errors).decode(),
        }
        self.lines.append(orjson.dumps(line) + b"\n")
        self.by_layer[layer] += 1
        self.by_code[reasons[0][0]] += 1
        for reason in reasons:
            if len(self.descriptions) < KEPT_DESCRIPTIONS:
                self.descriptions[reason] = None


@dataclass
class Landing:
    """The outcome of a chunk."""

    table: pa.Table | None
    rows: int
    warned: int
    warning_codes: Counter[str]
    failures: Failures


class Pipeline:
    """The second stage of one dataflow, at one version of its mapping set and of its schema."""

    def __init__(self, mappings: list[Json], json_schema: Json, header: Json) -> None:
        self._mappings = data_prep.compile_mappings(mappings, json_schema)
        self._validator = xdm.Validator(json_schema)
        self._writer = RowWriter(json_schema)
        self._header = header

    def land(self, messages: list[Message]) -> Landing:
        """Map, validate and convert messages; each becomes a row or a failure."""
        failures = Failures()
        rows: list[Json] = []
        sources: list[Message] = []
        warned = 0
        warning_codes: Counter[str] = Counter()
        now = datetime.now(UTC)
        for message in messages:
            content = orjson.loads(message.body)
            if message.form == "xdm":
                row = content["body"]["xdmEntity"]
            else:
                try:
                    mapped = self._mappings.apply(content, now=now)
                except Exception as error:
                    log.exception("mapping failed on a message of flow %s", message.flow_id)
                    self._fail_unknown(failures, message, f"{type(error).__name__}: {error}")
                    continue
                if mapped.errors:
                    self._fail_mapping(failures, message, mapped.errors)
                    continue
                row = mapped.row
            violations = self._validator.violations(row)
            if violations:
                self._fail_validation(failures, message, violations)
                continue
            if message.form == "raw" and mapped.warnings:
                warned += 1
                warning_codes.update({warning.code for warning in mapped.warnings})
            rows.append(row)
            sources.append(message)
        table, count = self._table(rows, sources, failures)
        return Landing(table, count, warned, warning_codes, failures)

    def _table(
        self, rows: list[Json], sources: list[Message], failures: Failures
    ) -> tuple[pa.Table | None, int]:
        try:
            return (self._writer.table(rows), len(rows)) if rows else (None, 0)
        except (ValueError, TypeError, OverflowError):
            tables = list(self._fitting(rows, sources, failures))
            return (pa.concat_tables(tables), len(tables)) if tables else (None, 0)

    def _fitting(self, rows: list[Json], sources: list[Message], failures: Failures) -> Iterator[pa.Table]:
        for row, message in zip(rows, sources, strict=True):
            try:
                yield self._writer.table([row])
            except (ValueError, TypeError, OverflowError) as error:
                self._fail_unknown(failures, message, str(error))

    def _headed(self, message: Message) -> Json:
        return {**self._header, "createdAt": message.received, "xactionId": message.xaction_id}

    def _fail_mapping(
        self, failures: Failures, message: Message, errors: tuple[data_prep.MappingProblem, ...]
    ) -> None:
        listed = [
            {
                "code": error.code,
                "message": error.message,
                "sourceField": error.source,
                "destinationField": error.destination,
            }
            for error in errors
        ]
        reasons = [
            (error.code, f"{error.message} sourceField: {error.source} destinationField: {error.destination}")
            for error in errors
        ]
        failures.add(
            message, self._headed(message), "invalidRecordsMapper", reasons, {"_mapperErrors": listed}
        )

    def _fail_validation(self, failures: Failures, message: Message, violations: list[Json]) -> None:
        reasons = [
            (_validation_code(violation), f"{violation['pointerToViolation']}: {violation['message']}")
            for violation in violations
        ]
        failures.add(
            message,
            self._headed(message),
            "invalidRecordsStreamingValidation",
            reasons,
            {"_validationErrors": violations},
        )

    def _fail_unknown(self, failures: Failures, message: Message, text: str) -> None:
        fail_unknown(failures, message, self._headed(message), text)


def fail_unknown(failures: Failures, message: Message, header: Json, text: str) -> None:
    """Record a message that failed for neither of the two documented reasons."""
    errors: Any = {"_errors": [{"code": UNREADABLE_CODE, "message": text}]}
    failures.add(message, header, "invalidRecordsUnknown", [(UNREADABLE_CODE, text)], errors)


def _validation_code(violation: Json) -> str:
    if violation.get("keyword") == "type" and str(violation.get("message", "")).endswith("found: Null"):
        return _OTHER_VALIDATION_CODE
    return _VALIDATION_CODES.get(str(violation.get("keyword")), _OTHER_VALIDATION_CODE)
