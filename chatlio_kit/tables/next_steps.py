"""The options that settle rejected records, tried on a sample of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, overload

from chatlio_kit.captures import CaptureFile, FileSlice, RawBatch
from chatlio_kit.captures.dialects import named_fields
from chatlio_kit.captures.dialects.candidates import propose_fields
from chatlio_kit.captures.formats.records import ByteRecords, parse
from chatlio_kit.chatlio.catalogue import Privacy
from chatlio_kit.chatlio.kinds import SHAPE_OF, Kind, Shape
from chatlio_kit.chatlio.redaction import Way
from chatlio_kit.chatlio.rejections import Reason, shortened
from chatlio_kit.display import Sheet, SheetDisplay
from chatlio_kit.errors import quoted
from chatlio_kit.tables.findings import FileTimes
from chatlio_kit.tables.policy import FieldPolicy
from chatlio_kit.tables.validate.contract import Contract, Mode
from chatlio_kit.tables.validate.event_batch import EventBatch, ReadOptions, validate_batch
from chatlio_kit.tables.validate.event_time import Undated, UndatedAs

_SAMPLED = 30
"""Number of records of each reason on which an option is tried."""
_LONGEST = 100_000
_ACCEPTED_SAMPLED = 50
_LABELS = 3
_REPLACEMENT_CHARACTER = "\ufffd"
_PAYLOAD_NOT_FOUND = frozenset({Reason.SHAPE_UNKNOWN, Reason.NOT_AN_OBJECT, Reason.NOT_JSON})
"""The payload may have another path in the record."""
_SETTLED_BY_OPTIONS = _PAYLOAD_NOT_FOUND | {
    Reason.KIND_UNKNOWN,
    Reason.UNDATED,
    Reason.INVALID_TIME,
    Reason.WRONG_TYPE,
    Reason.UNKNOWN_FIELD,
}
"""The reasons that an option may settle; for other reasons, the record has to be corrected."""
_KINDS_OF_ONE_SHAPE = [kind for kind in Kind if SHAPE_OF[kind] is Shape.CONVERSATION]

Options = dict[str, str]


@dataclass(frozen=True)
class NextStep:
    """The options that settle the records rejected for one reason.

    Attributes:
        reason: The reason for their rejection.
        records: Their number.
        choices: Options by their names in Python; each choice settles the records by itself.
        tried: Number of them on which each choice was tried.
        accepted: Number of those that it accepts.
        caution: A warning to read before choosing it.
    """

    reason: Reason
    records: int
    choices: tuple[Options, ...]
    tried: int
    accepted: int
    caution: str = ""

    def sentence(self, *, is_python: bool = False) -> str:
        """Return the step as a sentence, with options as the command line or Python writes them."""
        write = in_python if is_python else at_prompt
        *others, last = [f"`{write(choice)}`" for choice in self.choices]
        choices = f"{', '.join(others)} or {last}" if others else last
        accepts = f"{'each ' if others else ''}accepts {self.accepted:,} of {self.tried:,} tried"
        caution = f"; {self.caution}" if self.caution else ""
        return f"{self.records:,} {self.reason}: try {choices} ({accepts}){caution}"

    def as_dict(self) -> dict[str, Any]:
        """Return the step as in ``report.json``."""
        return {
            "reason": str(self.reason),
            "records": self.records,
            "choices": [dict(choice) for choice in self.choices],
            "tried": self.tried,
            "accepted": self.accepted,
            "caution": self.caution,
        }


def at_prompt(options: Options) -> str:
    """Return options as they are written on the command line."""
    return " ".join(f"--{name.replace('_', '-')} {quoted(value)}" for name, value in options.items())


def in_python(options: Options) -> str:
    """Return options as they are written in Python."""
    return ", ".join(f'{name}="{value}"' for name, value in options.items())


@dataclass(frozen=True)
class _Record:
    file: CaptureFile
    number: int
    raw: bytes


class RejectSample:
    """A sample of the rejected records of each reason, and of accepted ones, in little memory."""

    def __init__(self) -> None:
        self._rejected: dict[Reason, list[_Record]] = {}
        self._accepted: list[_Record] = []
        self._thousand = ("", 0)
        self._counts: Counter[Reason] = Counter()
        self._random = random.Random(0)  # noqa: S311  no secret: the same sample for the same export

    def add(self, batch: EventBatch) -> None:
        """Sample a batch before its records are redacted."""
        files: dict[str, CaptureFile] | None = None
        for rejection in batch.rejected:
            if rejection.reason not in _SETTLED_BY_OPTIONS:
                continue
            self._counts[rejection.reason] += 1
            raw = rejection.raw
            # Nothing can be tried on a record that is not UTF-8, because its text was changed on reading.
            if raw is None or len(raw) > _LONGEST or _REPLACEMENT_CHARACTER in raw:
                continue
            sample = self._rejected.setdefault(rejection.reason, [])
            index = len(sample)
            if index == _SAMPLED:  # reservoir sampling: every record has the same chance
                index = self._random.randrange(self._counts[rejection.reason])
                if index >= _SAMPLED:
                    continue
            if files is None:
                files = {slice_.file.name: slice_.file for slice_ in batch.raw_batch.slices}
            if rejection.file in files:
                sample[index : index + 1] = [_Record(files[rejection.file], rejection.record, raw.encode())]
        if len(self._accepted) < _ACCEPTED_SAMPLED:
            self._add_accepted(batch)

    def _add_accepted(self, batch: EventBatch) -> None:
        rejected = {(rejection.file, rejection.record) for rejection in batch.rejected}
        for slice_ in batch.raw_batch.slices:
            for index, number in enumerate(slice_.records.numbers):
                thousand = slice_.file.name, number // 1000
                if thousand == self._thousand:
                    continue
                self._thousand = thousand  # the same records, however an export is split into batches
                raw = bytes(slice_.records.part(index, index + 1)[0])
                if (slice_.file.name, number) not in rejected and len(raw) <= _LONGEST:
                    self._accepted.append(_Record(slice_.file, number, raw))
                    if len(self._accepted) == _ACCEPTED_SAMPLED:
                        return

    def next_steps(self, options: ReadOptions, policy: FieldPolicy) -> list[NextStep]:
        """Return the option that accepts most records, for each reason that has such an option.

        Args:
            options: The options that the export was read with.
            policy: The policy that the export was read with.
        """
        trials = {
            reason: _Trial(self._rejected[reason], self._accepted, options, policy)
            for reason in Reason
            if self._rejected.get(reason)
        }
        steps = [trial.best(reason, self._counts[reason]) for reason, trial in trials.items()]
        return [step for step in steps if step is not None]


class NextSteps(SheetDisplay, Sequence[NextStep]):
    """The option that settles each reason for rejection, if there is one.

    The options are tried on first access, so that they cost nothing until needed.

    Args:
        sample: Some of the rejected records.
        options: The options that the export was read with.
        policy: The policy that the export was read with.
    """

    def __init__(
        self,
        sample: RejectSample | None = None,
        options: ReadOptions | None = None,
        policy: FieldPolicy | None = None,
    ) -> None:
        self._sample = sample or RejectSample()
        self._options, self._policy = options or ReadOptions(), policy or FieldPolicy()

    def drop_records(self) -> None:
        """Try the options now, and release the sampled records."""
        len(self._steps)
        self._sample = RejectSample()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state that may leave this process: the steps without the records."""
        self.drop_records()
        return self.__dict__

    @cached_property
    def _steps(self) -> list[NextStep]:
        return self._sample.next_steps(self._options, self._policy)

    def __len__(self) -> int:
        return len(self._steps)

    @overload
    def __getitem__(self, index: int) -> NextStep: ...
    @overload
    def __getitem__(self, index: slice) -> list[NextStep]: ...
    def __getitem__(self, index: int | slice) -> NextStep | list[NextStep]:
        return self._steps[index]

    def sentences(self, *, is_python: bool = False) -> list[str]:
        """Return the steps as sentences, with options as the command line or Python writes them."""
        return [step.sentence(is_python=is_python) for step in self]

    def as_list(self) -> list[dict[str, Any]]:
        """Return the steps as in ``report.json``."""
        return [step.as_dict() for step in self]

    def sheet(self) -> Sheet:
        """Return the steps, one per line."""
        return Sheet("Next steps", (), [], self.sentences(is_python=True) or ["No option settles a reject."])


class _Trial:
    """Options to try on the sampled records of one reason."""

    def __init__(
        self, records: Sequence[_Record], others: Sequence[_Record], options: ReadOptions, policy: FieldPolicy
    ) -> None:
        self._records, self._others = records, others
        self._options, self._contract = options, policy.contract
        self._may_name = policy.redaction.way_of(Privacy.CONTENT) is Way.KEEP

    def best(self, reason: Reason, records: int) -> NextStep | None:
        """Return the simplest options that accept most records; None if none accepts any."""
        best, options, caution = 0, Options(), ""
        for candidate, candidate_caution in self._candidates(reason):
            accepted = self._accepted(candidate)
            if accepted > best:
                best, options, caution = accepted, candidate, candidate_caution
            if accepted == len(self._records):
                break
        if not best:
            return None
        choices = [options, *(other for other in _alternatives(options) if self._accepted(other) == best)]
        cautions = "; ".join(filter(None, [caution, *self._named_in_vain(reason), *self._cautions(choices)]))
        return NextStep(reason, records, tuple(choices), len(self._records), best, cautions)

    def _candidates(self, reason: Reason) -> Iterator[tuple[Options, str]]:
        """Yield options and warnings about them, paths in the records before stand-ins.

        None overrides a record's contents, even if these are wrong: an unknown label stays a label.
        """
        if reason is Reason.UNKNOWN_FIELD:
            yield {"contract": self._thawed()}, ""
            return
        fields = [(options, caution) for options, caution in self._fields() if _settles(reason, options)]
        are_named = any(
            "kind=" in options["fields"] for options, _ in fields
        )  # one kind for all would be wrong
        kinds = [] if are_named or self._options.kind else [{"kind": str(_KINDS_OF_ONE_SHAPE[0])}]
        times = [{"undated_as": str(Undated.VISITOR_CREATED)}, {"undated_as": str(Undated.FILE_TIME)}]
        if self._options.undated_as.choice is not Undated.REJECT:
            times = []
        stand_ins = [*kinds, *times, *(kind | time for kind in kinds for time in times)]
        yield from fields
        if reason is Reason.UNDATED:
            yield from ((time, "") for time in times)
        elif reason is Reason.KIND_UNKNOWN:
            yield from ((stand_in, "") for stand_in in stand_ins if "kind" in stand_in)
        elif reason in _PAYLOAD_NOT_FOUND:
            yield from (
                (options | stand_in, caution) for options, caution in fields for stand_in in stand_ins
            )

    def _thawed(self) -> str:
        """Return the contract with ``evolve`` for the tables that it freezes."""
        frozen = [name for name in ("events", "messages") if getattr(self._contract, name) is Mode.FREEZE]
        return ",".join(f"{table}={Mode.EVOLVE}" for table in frozen)

    def _fields(self) -> Iterator[tuple[Options, str]]:
        """Yield paths of fields, unless the user named some or content is redacted."""
        if self._options.fields is not None or not self._may_name:
            return
        for candidate in propose_fields(self._values()):
            fields = ",".join(f"{name}={path}" for name, path in candidate.fields.items())
            yield {"fields": fields}, candidate.caution

    def _values(self) -> list[Any]:
        """Return the records that are JSON."""
        values = []
        for record in self._records:
            try:
                values.append(parse(record.raw))
            except (ValueError, RecursionError):
                continue
        return values

    def _named_in_vain(self, reason: Reason) -> Iterator[str]:
        """Yield that a path named by the user leads to nothing, or to a label that is not a kind."""
        fields = self._options.fields
        if fields is None:
            return
        values = [value for value in self._values() if isinstance(value, dict) and fields.fits(value)]
        if reason is Reason.UNDATED and fields.received and values:
            if not any(fields.received.find(value) for value in values):
                yield f"none of them has {fields.received}, which --fields (in Python fields=) names"
        elif reason is Reason.KIND_UNKNOWN and fields.label and self._may_name:
            found = (fields.label.find(value) for value in values)
            labels = Counter(label.partition("?")[0] for label in found if isinstance(label, str) and label)
            if labels:
                most = ", ".join(shortened(label) for label, _ in labels.most_common(_LABELS))
                yield f"their {fields.label} is {most}, which names no kind"

    def _cautions(self, choices: Sequence[Options]) -> Iterator[str]:
        if len(choices) > 1 and "kind" in choices[0]:
            yield "name the webhook that sent them"
        for choice in choices:
            if choice.get("undated_as") == Undated.FILE_TIME:
                times = FileTimes()
                times.add(self._read(self._records, choice).rows)
                if why := times.suspicion():
                    yield f"the files' times look like a copy's: {why}"
        if "fields" in choices[0] and self._events_of_others(choices[0]) != self._events_of_others({}):
            yield "read only the files with these records with it: it changes how others are read"

    def _events_of_others(self, options: Options) -> list[dict[str, str]]:
        rows = self._read(self._others, options).rows
        events: list[dict[str, str]] = rows.select(["event_id", "kind", "occurred_at_source"]).to_pylist()
        return events

    def _accepted(self, options: Options) -> int:
        return len(self._read(self._records, options))

    def _read(self, records: Sequence[_Record], options: Options) -> EventBatch:
        slices = [FileSlice(record.file, ByteRecords([record.number], [record.raw])) for record in records]
        read_options = self._options
        if "kind" in options:
            read_options = replace(read_options, kind=Kind(options["kind"]))
        if "undated_as" in options:
            read_options = replace(read_options, undated_as=UndatedAs.from_text(options["undated_as"]))
        if "fields" in options:
            read_options = replace(read_options, fields=named_fields(options["fields"]))
        contract = Contract.from_text(options["contract"]) if "contract" in options else self._contract
        return contract.enforce(validate_batch(RawBatch(slices), read_options), Counter())


def _settles(reason: Reason, options: Options) -> bool:
    """Return whether paths supply what was missing; if they supply less, they would only hide the error."""
    if reason in _PAYLOAD_NOT_FOUND:
        return True
    name = "kind" if reason is Reason.KIND_UNKNOWN else "received"
    return any(pair.startswith(name) for pair in options["fields"].split(","))


def _alternatives(options: Options) -> Iterator[Options]:
    """Yield options that may do as well."""
    if "kind" in options:
        yield from (options | {"kind": str(kind)} for kind in _KINDS_OF_ONE_SHAPE[1:])
    elif options.get("undated_as") == Undated.VISITOR_CREATED:
        yield options | {"undated_as": str(Undated.FILE_TIME)}
