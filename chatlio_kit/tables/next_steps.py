"""The options that settle rejected records: each is tried on a sample of them before anybody reads of it."""

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
from chatlio_kit.chatlio.rejections import Reason
from chatlio_kit.display import Sheet
from chatlio_kit.tables.file_times import FileTimes
from chatlio_kit.tables.options import FieldPolicy
from chatlio_kit.tables.validate.contract import Contract, Mode
from chatlio_kit.tables.validate.event_batch import EventBatch, ReadOptions, build
from chatlio_kit.tables.validate.event_time import Undated, UndatedAs

_SAMPLED = 30
"""How many records of each reason an option is tried on."""
_LONGEST = 100_000
_MOST_ACCEPTED = 50
_REPLACED = "\ufffd"
_ELSEWHERE = frozenset({Reason.SHAPE_UNKNOWN, Reason.NOT_AN_OBJECT, Reason.NOT_JSON})
"""Where the payload is perhaps somewhere else in the record."""
_SETTLED = _ELSEWHERE | {
    Reason.KIND_UNKNOWN,
    Reason.UNDATED,
    Reason.INVALID_TIME,
    Reason.WRONG_TYPE,
    Reason.UNKNOWN_FIELD,
}
"""The reasons that an option may settle; for the others the record has to be corrected."""
_UNTOLD_KINDS = [kind for kind in Kind if SHAPE_OF[kind] is Shape.CONVERSATION]

Options = dict[str, str]


@dataclass(frozen=True)
class NextStep:
    """What settles the records that were rejected for one reason.

    Attributes:
        reason: why they were rejected.
        records: how many they are.
        choices: options, by their names in Python; each of the choices alone settles them.
        tried: on how many of them each choice was tried.
        accepted: how many of those it accepts.
        caution: what to know before it is chosen.
    """

    reason: Reason
    records: int
    choices: tuple[Options, ...]
    tried: int
    accepted: int
    caution: str = ""

    def sentence(self, *, is_python: bool = False) -> str:
        """Say it, in the words of the prompt or in those of Python."""
        write = in_python if is_python else at_prompt
        *others, last = [f"`{write(choice)}`" for choice in self.choices]
        choices = f"{', '.join(others)} or {last}" if others else last
        accepts = f"{'each ' if others else ''}accepts {self.accepted:,} of {self.tried:,} tried"
        caution = f"; {self.caution}" if self.caution else ""
        return f"{self.records:,} {self.reason}: try {choices} ({accepts}){caution}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as ``report.json`` has it."""
        return {
            "reason": str(self.reason),
            "records": self.records,
            "choices": [dict(each) for each in self.choices],
            "tried": self.tried,
            "accepted": self.accepted,
            "caution": self.caution,
        }


def _settles(reason: Reason, options: Options) -> bool:
    """Whether named fields say what was missing; where they say less they would only hide what is wrong."""
    if reason in _ELSEWHERE:
        return True
    name = "kind" if reason is Reason.KIND_UNKNOWN else "received"
    return any(pair.startswith(name) for pair in options["fields"].split(","))


def at_prompt(options: Options) -> str:
    """Write options as the prompt reads them."""
    said = (f'"{value}"' if " " in value else value for value in options.values())
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in zip(options, said, strict=True))


def in_python(options: Options) -> str:
    """Write options as Python reads them."""
    return ", ".join(f'{name}="{value}"' for name, value in options.items())


@dataclass(frozen=True)
class _Record:
    file: CaptureFile
    number: int
    raw: bytes


class RejectSample:
    """Some of the rejected records of each reason, and some accepted ones, in little memory."""

    def __init__(self) -> None:
        self._rejected: dict[Reason, list[_Record]] = {}
        self._accepted: list[_Record] = []
        self._seen: Counter[Reason] = Counter()
        self._chance = random.Random(0)  # noqa: S311  no secret: the same sample for the same export

    def add(self, built: EventBatch) -> None:
        """Look at a batch before its records are redacted."""
        files: dict[str, CaptureFile] | None = None
        for each in built.rejected:
            if each.reason not in _SETTLED:
                continue
            self._seen[each.reason] += 1
            # What is not UTF-8 is not here as it was read, so nothing can be tried on it.
            if each.raw is None or len(each.raw) > _LONGEST or _REPLACED in each.raw:
                continue
            kept = self._rejected.setdefault(each.reason, [])
            place = len(kept)
            if place == _SAMPLED:  # each of them has the same chance to be among those that are kept
                place = self._chance.randrange(self._seen[each.reason])
                if place >= _SAMPLED:
                    continue
            if files is None:
                files = {stretch.file.name: stretch.file for stretch in built.piece.stretches}
            if each.file in files:
                kept[place : place + 1] = [_Record(files[each.file], each.record, each.raw.encode())]
        if len(self._accepted) < _MOST_ACCEPTED:
            self._keep_accepted(built)

    def _keep_accepted(self, built: EventBatch) -> None:
        rejected = {(each.file, each.record) for each in built.rejected}
        for stretch in built.piece.stretches:
            number, raw = stretch.records.numbers[0], stretch.records.head
            if (stretch.file.name, number) not in rejected and len(raw) <= _LONGEST:
                self._accepted.append(_Record(stretch.file, number, raw))
                if len(self._accepted) == _MOST_ACCEPTED:
                    return

    @property
    def reasons(self) -> list[Reason]:
        """The reasons of which some records are kept."""
        return [reason for reason in Reason if self._rejected.get(reason)]

    def best(self, reason: Reason, settling: ReadOptions, terms: FieldPolicy) -> NextStep | None:
        """Try options on the records of a reason, and return those that accept most; None when none does.

        Args:
            reason: one of those of which records are kept.
            settling: the options that the export was read with.
            terms: likewise.
        """
        trial = _Trial(self._rejected[reason], self._accepted, settling, terms)
        return trial.best(reason, self._seen[reason])


class NextSteps(Sequence[NextStep]):
    """For each reason of rejection that an option settles, that option.

    The options are tried when they are first looked at, so an export that nobody asks about costs nothing.

    Args:
        sample: some of the rejected records.
        settling: the options that the export was read with.
        terms: likewise.
    """

    def __init__(
        self,
        sample: RejectSample | None = None,
        settling: ReadOptions | None = None,
        terms: FieldPolicy | None = None,
    ) -> None:
        self._sample = sample or RejectSample()
        self._settling, self._terms = settling or ReadOptions(), terms or FieldPolicy()

    def drop_records(self) -> None:
        """Try the options now, and let go of the records that they are tried on."""
        len(self._found)
        self._sample = RejectSample()

    def __getstate__(self) -> dict[str, Any]:
        """Return what may leave this process: the steps without the records."""
        self.drop_records()
        return self.__dict__

    @cached_property
    def _found(self) -> list[NextStep]:
        found = (self._sample.best(reason, self._settling, self._terms) for reason in self._sample.reasons)
        return [step for step in found if step is not None]

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, place: int) -> NextStep: ...
    @overload
    def __getitem__(self, place: slice) -> list[NextStep]: ...
    def __getitem__(self, place: int | slice) -> NextStep | list[NextStep]:
        return self._found[place]

    def sentences(self, *, is_python: bool = False) -> list[str]:
        """Say them, in the words of the prompt or in those of Python."""
        return [step.sentence(is_python=is_python) for step in self]

    def as_list(self) -> list[dict[str, Any]]:
        """Return them as ``report.json`` has them."""
        return [step.as_dict() for step in self]

    def _sheet(self) -> Sheet:
        return Sheet("Next steps", (), [], self.sentences(is_python=True) or ["No option settles a reject."])

    def __repr__(self) -> str:
        return str(self._sheet())

    def _repr_html_(self) -> str:
        return self._sheet()._repr_html_()


class _Trial:
    """Options, tried on the sampled records of one reason."""

    def __init__(
        self, records: Sequence[_Record], others: Sequence[_Record], settling: ReadOptions, terms: FieldPolicy
    ) -> None:
        self._records, self._others = records, others
        self._settling, self._contract = settling, terms.contract
        self._may_name = terms.redaction.way_of(Privacy.CONTENT) is Way.KEEP

    def best(self, reason: Reason, records: int) -> NextStep | None:
        """Return the options that accept most, the simplest of them; None when none accepts any."""
        best: tuple[int, Options, str] = (0, {}, "")
        for options, caution in self._options(reason):
            accepted = len(self._accepted(options))
            if accepted > best[0]:
                best = accepted, options, caution
            if accepted == len(self._records):
                break
        accepted, options, caution = best
        if not accepted:
            return None
        choices = [
            options,
            *(each for each in self._equals(options) if len(self._accepted(each)) == accepted),
        ]
        cautions = [caution, *self._cautions(choices)]
        return NextStep(
            reason, records, tuple(choices), len(self._records), accepted, "; ".join(filter(None, cautions))
        )

    def _options(self, reason: Reason) -> Iterator[tuple[Options, str]]:
        """Yield options, what records say before what stands in for it.

        None of them passes over what a record says, be it wrong: a label that names no kind stays a label.
        """
        if reason is Reason.UNKNOWN_FIELD:
            yield {"contract": self._thawed()}, ""
            return
        named = [(fields, caution) for fields, caution in self._named() if _settles(reason, fields)]
        kinds = [{"kind": str(_UNTOLD_KINDS[0])}] if self._settling.kind is None else []
        times = [{"undated_as": str(Undated.VISITOR_CREATED)}, {"undated_as": str(Undated.FILE_TIME)}]
        if self._settling.undated_as.choice is not Undated.REJECT:
            times = []
        stand_ins = [*kinds, *times, *(kind | time for kind in kinds for time in times)]
        yield from named
        if reason is Reason.UNDATED:
            yield from ((time, "") for time in times)
        elif reason is Reason.KIND_UNKNOWN:
            yield from ((stand_in, "") for stand_in in stand_ins if "kind" in stand_in)
        elif reason in _ELSEWHERE:
            yield from ((fields | stand_in, caution) for fields, caution in named for stand_in in stand_ins)

    def _thawed(self) -> str:
        """Write the contract as it was, but for what it freezes."""
        modes = {table: getattr(self._contract, table) for table in ("events", "messages")}
        thawed = {table: Mode.EVOLVE if mode is Mode.FREEZE else mode for table, mode in modes.items()}
        return ",".join(f"{table}={mode}" for table, mode in thawed.items() if modes[table] != mode)

    def _named(self) -> Iterator[tuple[Options, str]]:
        """Name fields, unless the user did, or names of fields are not to be told."""
        if self._settling.fields is not None or not self._may_name:
            return
        values = []
        for each in self._records:
            try:
                values.append(parse(each.raw))
            except (ValueError, RecursionError):
                continue
        for candidate in propose_fields(values):
            said = ",".join(f"{name}={place}" for name, place in candidate.fields.items())
            yield {"fields": said}, candidate.caution

    def _equals(self, options: Options) -> Iterator[Options]:
        """Give options that may do as well."""
        if "kind" in options:
            yield from (options | {"kind": str(kind)} for kind in _UNTOLD_KINDS[1:])
        elif options.get("undated_as") == Undated.VISITOR_CREATED:
            yield options | {"undated_as": str(Undated.FILE_TIME)}

    def _cautions(self, choices: Sequence[Options]) -> Iterator[str]:
        if len(choices) > 1 and "kind" in choices[0]:
            yield "name the webhook that sent them"
        for each in choices:
            if each.get("undated_as") == Undated.FILE_TIME:
                times = FileTimes()
                built = self._build(self._records, each)
                times.add(built.rows)
                if why := times.suspicion():
                    yield f"the files' times look like a copy's: {why}"
        if "fields" in choices[0] and self._read(choices[0]) != self._read({}):
            yield "read only the files with these records with it: it changes how others are read"

    def _read(self, options: Options) -> list[tuple[str, ...]]:
        rows = self._build(self._others, options).rows
        columns = (rows[name].to_pylist() for name in ("event_id", "kind", "occurred_at_source"))
        return list(zip(*columns, strict=True))

    def _accepted(self, options: Options) -> EventBatch:
        return self._build(self._records, options)

    def _build(self, records: Sequence[_Record], options: Options) -> EventBatch:
        stretches = [FileSlice(each.file, ByteRecords([each.number], [each.raw])) for each in records]
        settling = self._settling
        if "kind" in options:
            settling = replace(settling, kind=Kind(options["kind"]))
        if "undated_as" in options:
            settling = replace(settling, undated_as=UndatedAs.from_text(options["undated_as"]))
        if "fields" in options:
            settling = replace(settling, fields=named_fields(options["fields"]))
        contract = Contract.from_text(options["contract"]) if "contract" in options else self._contract
        return contract.hold(build(RawBatch(stretches), settling), Counter())
