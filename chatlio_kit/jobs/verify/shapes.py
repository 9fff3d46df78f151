"""Shapes of answers: which members a caller relies on, and where an answer differs.

A dict lists members that must be there; others are ignored. A type is an instance, a pattern matches a whole
text, a tuple lists alternatives, None is null, ``...`` is anything, and any other value is itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Words = Callable[[str], str]

_KINDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    type(None): "null",
}


class Only(dict[str, Any]):
    """A dict that lists all members."""


@dataclass(frozen=True)
class Each:
    """A list of any length whose items all have this shape."""

    shape: Any


@dataclass(frozen=True)
class Some:
    """A list with at least one item of this shape."""

    shape: Any


@dataclass(frozen=True)
class Keyed:
    """An object with at least one member, under any key, and all members of this shape."""

    shape: Any


def misfits(got: Any, wanted: Any, where: str = "the answer", words: Words = repr) -> Iterator[str]:
    """Yield where a value differs from a shape, in words that follow "but".

    Args:
        got: the value.
        wanted: its shape.
        where: the value's place.
        words: returns a text of the value as it may be shown.
    """
    if wanted is ...:
        return
    if isinstance(wanted, tuple):
        found = [list(misfits(got, shape, where, words)) for shape in wanted]
        if all(found):
            yield min(found, key=len)[0]
    elif isinstance(wanted, type):
        if not isinstance(got, wanted) or (wanted is int and isinstance(got, bool)):
            yield f"{where} is {_kind(got)}, not {_KINDS[wanted]}"
    elif isinstance(wanted, re.Pattern):
        if not isinstance(got, str):
            yield f"{where} is {_kind(got)}, not text"
        elif not wanted.fullmatch(got):
            yield f"{where} is {words(got)}, not of the form {wanted.pattern}"
    elif isinstance(wanted, dict):
        yield from _misfits_of_object(got, wanted, where, words)
    elif isinstance(wanted, list | Each | Some | Keyed):
        yield from _misfits_of_items(got, wanted, where, words)
    elif got != wanted or type(got) is not type(wanted):
        shown = words(got) if isinstance(got, str) else _kind(got) if got is None else repr(got)
        yield f"{where} is {shown}, not {wanted!r}"


def _misfits_of_object(got: Any, wanted: dict[str, Any], where: str, words: Words) -> Iterator[str]:
    if not isinstance(got, dict):
        yield f"{where} is {_kind(got)}, not an object"
        return
    if isinstance(wanted, Only) and got.keys() != wanted.keys():
        yield f"{where} has the members {sorted(got)}, not {sorted(wanted)}"
    for key, shape in wanted.items():
        if key not in got:
            yield f"{where} has no {words(key)}"
        else:
            yield from misfits(got[key], shape, f"{where}.{key}", words)


def _misfits_of_items(
    got: Any, wanted: list[Any] | Each | Some | Keyed, where: str, words: Words
) -> Iterator[str]:
    if not isinstance(got, dict if isinstance(wanted, Keyed) else list):
        yield f"{where} is {_kind(got)}, not {_KINDS[dict if isinstance(wanted, Keyed) else list]}"
        return
    items = list(got.values() if isinstance(got, dict) else got)
    if isinstance(wanted, list):
        if len(items) != len(wanted):
            yield f"{where} has {len(items)} items, not {len(wanted)}"
        for place, (one, shape) in enumerate(zip(items, wanted, strict=False)):
            yield from misfits(one, shape, f"{where}[{place}]", words)
        return
    if not items and not isinstance(wanted, Each):
        yield f"{where} is empty"
    found = [list(misfits(item, wanted.shape, f"{where}[]", words)) for item in items]
    if any(found) and not (isinstance(wanted, Some) and not all(found)):
        yield min(filter(None, found), key=len)[0]


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)
