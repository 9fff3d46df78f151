"""Which records are read together: those of one kind that were written down in the same way.

Most files hold nothing else, so records are told apart only where they have to be. One that keeps others from
being read together is found by halving.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from chatlio_kit.captures import BARE, ENVELOPE, Text, Unwrapped
from chatlio_kit.captures.dialects import meaning
from chatlio_kit.chatlio.kinds import KINDS, SHAPE_OF, Kind, Shape, kind_of_shape, shape_of, shape_of_all
from chatlio_kit.tables.decode.columns import Lot
from chatlio_kit.tables.decode.plain import Form, Found, keys_in, lot_of, values_of
from chatlio_kit.tables.decode.shared import AROUND, PLACEHOLDER, Unlike

_BARE, _ENVELOPED = Form(BARE.name, False, False), Form(ENVELOPE.name, True, False)
_ENVELOPE_KEYS = frozenset({*AROUND.values(), "kind", "payload"})
_OBJECT, _NAMES = {dict}, {str, type(None)}


class _Group(NamedTuple):
    """Records of one kind, all in the same form."""

    form: Form
    kind: Kind
    found: Found


_Kinds = dict[Kind, list[tuple[int, Text, dict[str, Any], dict[str, Any]]]]
"""Records of one form, what is found of each, by their kind."""


def take(
    first: int, raws: Sequence[Text], values: Sequence[Any], by_file: Kind | None, fallback: Kind | None
) -> tuple[list[Lot], Counter[str], list[int]]:
    """Take the records that are just as the catalogue knows them.

    Args:
        first: the place of the first in its piece.
        raws: the records' texts.
        values: the same as orjson reads them; what is taken may be changed in place.
        by_file: the kind that their file's name says.
        fallback: the kind of records that nothing else names.

    Returns:
        What was taken, how many records of each dialect it is, and the places in ``raws`` of those that are
        left.
    """
    left: list[int] = []
    all_of_them = as_one(first, raws, values, by_file, fallback)
    groups = [all_of_them] if all_of_them else _one_by_one(first, raws, values, by_file, fallback, left)
    lots, dialects, unlike = _lots(groups)
    return lots, dialects, sorted([*left, *(place - first for place in unlike)])


def take_opened(
    first: int,
    raws: Sequence[Text],
    opened: Mapping[int, Unwrapped],
    by_file: Kind | None,
    fallback: Kind | None,
) -> tuple[list[Lot], Counter[str], set[int]]:
    """Take records whose payloads were taken out of what loggers put around them.

    Args:
        first: the place of the first of all records in its piece.
        raws: the texts of all records.
        opened: what was taken out, exactly as the text says it, by the record's place in ``raws``.
        by_file: the kind that their file's name says.
        fallback: the kind of records that nothing else names.

    Returns:
        What was taken, how many records of each dialect it is, and the places in ``raws`` that were taken.
    """
    taken: set[int] = set()
    forms: dict[Form, _Kinds] = defaultdict(lambda: defaultdict(list))
    for place, inside in opened.items():
        kind = _kind(_shape(inside.payload), inside.kind, by_file, fallback)
        if kind is not None:
            taken.add(place)
            around = {"receivedAt": inside.received_at, "widget": inside.widget}
            form = Form(inside.dialect, is_wrapped=True, is_exact=True)
            forms[form][kind].append((first + place, raws[place], around, inside.payload))
    lots, dialects, unlike = _lots(_groups(forms))
    return lots, dialects, taken - {place - first for place in unlike}


def as_one(
    first: int, raws: Sequence[Text], values: Sequence[Any], by_file: Kind | None, fallback: Kind | None
) -> _Group | None:
    """Give all records as one group, payloads taken out; None where they may differ in kind or form."""
    if set(map(type, values)) != _OBJECT:
        return None
    around = list(values)
    form, payloads, names = _BARE, around, {None}
    keys = keys_in(around)
    if keys <= _ENVELOPE_KEYS:
        form, payloads, named = _ENVELOPED, values_of(around, "payload"), values_of(around, "kind")
        names = set(named) if _NAMES.issuperset(map(type, named)) else set()
    elif any(map(meaning, keys)):
        return None
    if len(names) != 1 or set(map(type, payloads)) != _OBJECT:
        return None
    kind = _kind(shape_of_all(payloads), names.pop(), by_file, fallback)
    if kind is None:
        return None
    if form.is_wrapped:
        for each in around:
            each["payload"] = PLACEHOLDER
    return _Group(form, kind, Found(range(first, first + len(around)), raws, around, payloads))


def _one_by_one(
    first: int,
    raws: Sequence[Text],
    values: Sequence[Any],
    by_file: Kind | None,
    fallback: Kind | None,
    left: list[int],
) -> list[_Group]:
    """Give records in groups of one kind and form, and put the places of the others into ``left``."""
    bare: _Kinds = defaultdict(list)
    enveloped: _Kinds = defaultdict(list)
    keys = keys_in([each for each in values if type(each) is dict])
    ours = {key for key in keys if meaning(key)}  # among a payload's own fields they are left to unwrap
    for place, value in enumerate(values):
        payload, named, kinds = value, None, bare
        if type(value) is dict and "payload" in value and _ENVELOPE_KEYS.issuperset(value):
            payload, named, kinds = value["payload"], value.get("kind"), enveloped
        kind = _kind(_shape(payload), named, by_file, fallback)
        if kind is None or (kinds is bare and not ours.isdisjoint(value)):
            left.append(place)
        else:
            if kinds is enveloped:
                value["payload"] = PLACEHOLDER
            kinds[kind].append((first + place, raws[place], value, payload))
    return _groups({_BARE: bare, _ENVELOPED: enveloped})


def _shape(payload: Any) -> Shape | None:
    return shape_of(payload) if type(payload) is dict else None


def _kind(shape: Shape | None, named: Any, by_file: Kind | None, fallback: Kind | None) -> Kind | None:
    """Tell the kind of records of a shape; None where something about it has to be told."""
    if shape is None or not isinstance(named, str | None):
        return None
    kind = KINDS.get(named) if named else by_file or kind_of_shape(shape) or fallback
    return kind if kind is not None and SHAPE_OF[kind] is shape else None


def _groups(forms: Mapping[Form, _Kinds]) -> list[_Group]:
    return [
        _Group(form, kind, Found(*map(list, zip(*records, strict=True))))
        for form, kinds in forms.items()
        for kind, records in kinds.items()
    ]


def _lots(groups: Iterable[_Group]) -> tuple[list[Lot], Counter[str], list[int]]:
    """Give what is as the catalogue knows it, how much of each dialect, and the places of the rest."""
    lots: list[Lot] = []
    unlike: list[int] = []
    dialects: Counter[str] = Counter()
    for form, kind, found in groups:
        taken, others = _halved(kind, form, found)
        lots += taken
        unlike += others
        dialects[form.dialect] += len(found.places) - len(others)
    return lots, +dialects, unlike


def _halved(kind: Kind, form: Form, found: Found) -> tuple[list[Lot], Sequence[int]]:
    """Read records as one lot, or else each half of them."""
    try:
        return [lot_of(kind, form, found)], []
    except (Unlike, TypeError, ValueError, RecursionError):  # Arrow's and orjson's refusals among them
        if len(found.places) == 1:
            return [], found.places
    middle = len(found.places) // 2
    lots, unlike = _halved(kind, form, found.part(0, middle))
    more, further = _halved(kind, form, found.part(middle, len(found.places)))
    return lots + more, [*unlike, *further]
