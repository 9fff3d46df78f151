"""Arguments of the public face: what cannot be meant is refused at once, in the words of its caller.

A rule checks one argument. :func:`checked` puts rules in front of a function, by the names of its parameters;
those that the whole face shares have their rule here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from functools import wraps
from inspect import signature
from numbers import Integral, Real
from pathlib import Path
from typing import ParamSpec, TypeVar

from chatlio_kit.errors import UsageError, option

P = ParamSpec("P")
T = TypeVar("T")
Rule = Callable[[str, object], None]
"""Checks an argument, called by its name; raises a UsageError when it cannot be meant."""

_LONGEST = 40


def checked(**rules: Rule) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Check a function's arguments before it runs.

    Args:
        rules: rules by parameter, besides those that the whole face shares.
    """

    def around(function: Callable[P, T]) -> Callable[P, T]:
        takes = signature(function)
        known = {name: rule for name, rule in (SHARED | rules).items() if name in takes.parameters}

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                given = takes.bind(*args, **kwargs).arguments
            except TypeError:  # a missing or surplus argument is Python's to name
                return function(*args, **kwargs)
            for name, value in given.items():
                if name in known:
                    known[name](name, value)
            return function(*args, **kwargs)

        return call

    return around


def wrong(name: str, meaning: str, value: object) -> UsageError:
    """Make the error of an argument that is something else than what it means."""
    hint = " Write a time as text: value.isoformat()." if isinstance(value, date) else ""
    return UsageError(f"{option(name)} is {meaning}, not {named(value)}.{hint}")


def named(value: object) -> str:
    """Name a value in a sentence: itself where it is short, else its type."""
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}...")
    if isinstance(value, list | tuple | dict | set) and not value:
        return f"an empty {type(value).__name__}"
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in 'aeio' else 'a'} {kind}"


def flag(name: str, value: object) -> None:
    """Accept True and False alone."""
    if not isinstance(value, bool):
        raise wrong(name, "True or False", value)


def text(name: str, value: object) -> None:
    """Accept a text."""
    if not isinstance(value, str):
        raise wrong(name, "a text", value)


def place(name: str, value: object) -> None:
    """Accept a path: a text that is not empty, or a Path."""
    if not isinstance(value, str | os.PathLike):
        raise wrong(name, "a path, as text or Path", value)
    written = os.fspath(value)
    if not isinstance(written, str) or not written.strip() or "\0" in written:
        raise wrong(name, "a path, as text or Path", written)


def callable_(name: str, value: object) -> None:
    """Accept a function that is called with a sentence."""
    if not callable(value):
        raise wrong(name, "a function that takes a sentence, such as print", value)


def whole_number(least: int | None = None) -> Rule:
    """Accept a whole number, from ``least`` if there is one."""
    meaning = "a whole number" if least is None else f"a whole number from {least}"

    def rule(name: str, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise wrong(name, meaning, value)
        if least is not None and int(value) < least:
            raise wrong(name, meaning, value)

    return rule


def number(meaning: str, *, above: float | None = None, most: float = math.inf) -> Rule:
    """Accept a number from 0 up to ``most``, or above ``above``."""

    def rule(name: str, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise wrong(name, meaning, value)
        size = float(value)
        too_small = size < 0 if above is None else size <= above
        if math.isnan(size) or too_small or size > most:
            raise wrong(name, meaning, value)

    return rule


def optional(rule: Rule) -> Rule:
    """Accept None as well."""

    def or_none(name: str, value: object) -> None:
        if value is not None:
            rule(name, value)

    return or_none


def texts_by_name(name: str, value: object) -> None:
    """Accept a text, or a mapping of texts to texts."""
    if isinstance(value, Mapping):
        if not all(isinstance(each, str) for pair in value.items() for each in pair):
            raise UsageError(f"{option(name)} maps texts to texts.")
    elif not isinstance(value, str):
        raise wrong(name, "a text or a mapping of texts", value)


def list_of_texts(name: str, value: object) -> None:
    """Accept a list of texts, which a lone text is not."""
    if isinstance(value, str):
        raise UsageError(f"{option(name)} is a list, not a text: {name}=[{value!r}].")
    if not isinstance(value, list | tuple | set | frozenset):
        raise wrong(name, "a list of texts", value)
    strange = next((each for each in value if not isinstance(each, str)), "")
    if strange != "":
        raise wrong(name, "a list of texts", strange)


def text_or_texts(name: str, value: object) -> None:
    """Accept a text or a list of texts."""
    if not isinstance(value, str):
        list_of_texts(name, value)


def places(name: str, value: object) -> list[Path | str]:
    """Return the paths of an argument that takes one or several.

    Raises:
        UsageError: when there is none, or one of them is no path.
    """
    if isinstance(value, str | os.PathLike):
        place(name, value)
        return [value if isinstance(value, str) else Path(value)]
    # a frame, a mapping or bytes can be iterated over too, and gives no paths
    is_other = isinstance(value, bytes | bytearray | Mapping) or hasattr(value, "columns")
    if not isinstance(value, Iterable) or is_other:
        raise wrong(name, "a path, or a list of paths", value)
    found = list(value)
    if not found:
        raise UsageError(f"{option(name)} names no captures. Name a file, a folder, a pattern or a URL.")
    for each in found:
        place(name, each)
    return [each if isinstance(each, str) else Path(each) for each in found]


SECONDS = number("a number of seconds from 0")

SHARED: dict[str, Rule] = {
    "quiet": flag,
    "skip_guard": flag,
    "production": flag,
    "canary": flag,
    "connect": flag,
    "ids": flag,
    "name": text,
    "progress": optional(callable_),
    "wait": optional(SECONDS),
    "idle": number("a number of seconds above 0", above=0),
    "pace": optional(number("a number of messages a second above 0", above=0)),
    "stop_after": optional(whole_number(1)),
    "reason": optional(text),
    "kind": optional(text),
    "undated_as": optional(text),
    "redact": optional(text),
    "contract": optional(text),
    "fields": optional(texts_by_name),
    "exclude": text_or_texts,
    "encoding": optional(text),
    "patience": number("a number of seconds above 0", above=0),
    "gone": flag,
    "again": flag,
    "conversation_id": optional(text),
    "visitor_id": optional(text),
    "email": optional(text),
    "path": place,
    "out": place,
    "folder": place,
}
"""The rules of parameters that mean the same wherever they are."""
