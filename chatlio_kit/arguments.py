"""Validation of arguments to public functions.

A rule checks one argument. :func:`checked` applies rules to parameters by name; the rules of parameters that
several functions share are defined here.
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
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from chatlio_kit.errors import UsageError, option

P = ParamSpec("P")
T = TypeVar("T")
Rule = Callable[[str, object], None]
"""Checks an argument, given its name and value; raises UsageError if it is invalid."""

_LONGEST = 40


def checked(**rules: Rule) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Check a function's arguments before it runs.

    Args:
        rules: Rules by parameter, in addition to the shared ones.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        called = signature(function)
        known = {name: rule for name, rule in (SHARED | rules).items() if name in called.parameters}

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                arguments = called.bind(*args, **kwargs).arguments
            except TypeError:  # Python names a missing or surplus argument itself
                return function(*args, **kwargs)
            for name, value in arguments.items():
                if name in known:
                    known[name](name, value)
            return function(*args, **kwargs)

        return call

    return decorate


def wrong(name: str, meaning: str, value: object) -> UsageError:
    """Return the error for an argument with an invalid value."""
    hint = " Pass a time as a string: value.isoformat()." if isinstance(value, date) else ""
    return UsageError(f"{option(name)} is {meaning}, not {named(value)}.{hint}")


def path_ending_in(suffix: str, name: str, path: Path | str) -> Path:
    """Return the path of a file to write, after checking its extension.

    A different extension suggests a file of another type, which should not be overwritten.

    Raises:
        UsageError: The path has another extension.
    """
    if Path(path).suffix.lower() != suffix:
        raise wrong(name, f"a file that ends in {suffix}", str(path))
    return Path(path)


def named(value: object) -> str:
    """Return a value for use in a sentence: the value itself if it is short, otherwise its type."""
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}...")
    if isinstance(value, list | tuple | dict | set) and not value:
        return f"an empty {type(value).__name__}"
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in 'aeio' else 'a'} {kind}"


def flag(name: str, value: object) -> None:
    """Accept only True and False."""
    if not isinstance(value, bool):
        raise wrong(name, "True or False", value)


def text(name: str, value: object) -> None:
    """Accept a string."""
    if not isinstance(value, str):
        raise wrong(name, "a text", value)


def place(name: str, value: object) -> None:
    """Accept a path: a non-empty string or a Path."""
    if not isinstance(value, str | os.PathLike):
        raise wrong(name, "a path, as a string or Path", value)
    path = os.fspath(value)
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise wrong(name, "a path, as a string or Path", path)


def cluster_or_address(name: str, value: object) -> None:
    """Accept the address of a Dask scheduler, or a client that is connected to one."""
    if not (isinstance(value, str) and value.strip()) and not hasattr(value, "get_executor"):
        raise wrong(name, "the address of a Dask scheduler or a dask.distributed.Client", value)


def time_zone(name: str, value: object) -> None:
    """Accept the IANA name of a time zone."""
    try:
        if isinstance(value, str):
            ZoneInfo(value)
            return
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise wrong(name, "the name of a time zone, such as Europe/Berlin", value)


def callable_(name: str, value: object) -> None:
    """Accept a function of one string."""
    if not callable(value):
        raise wrong(name, "a function that takes a string, such as print", value)


def whole_number(least: int | None = None) -> Rule:
    """Accept a whole number, no smaller than ``least`` if given."""
    meaning = "a whole number" if least is None else f"a whole number from {least}"

    def rule(name: str, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise wrong(name, meaning, value)
        if least is not None and int(value) < least:
            raise wrong(name, meaning, value)

    return rule


def number(meaning: str, *, above: float | None = None, most: float = math.inf) -> Rule:
    """Accept a number from 0 to ``most``, or one greater than ``above``."""

    def rule(name: str, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise wrong(name, meaning, value)
        size = float(value)
        too_small = size < 0 if above is None else size <= above
        if math.isnan(size) or too_small or size > most:
            raise wrong(name, meaning, value)

    return rule


def optional(rule: Rule) -> Rule:
    """Accept None in addition to what a rule accepts."""

    def or_none(name: str, value: object) -> None:
        if value is not None:
            rule(name, value)

    return or_none


def texts_by_name(name: str, value: object) -> None:
    """Accept a string, or a mapping of strings to strings."""
    if isinstance(value, Mapping):
        if not all(isinstance(text, str) for pair in value.items() for text in pair):
            raise UsageError(f"{option(name)} maps strings to strings.")
    elif not isinstance(value, str):
        raise wrong(name, "a string or a mapping of strings", value)


def list_of_texts(name: str, value: object) -> None:
    """Accept a list of strings, but not a single string."""
    if isinstance(value, str):
        raise UsageError(f"{option(name)} is a list, not a string: {name}=[{value!r}].")
    if not isinstance(value, list | tuple | set | frozenset):
        raise wrong(name, "a list of strings", value)
    for element in value:
        if not isinstance(element, str):
            raise wrong(name, "a list of strings", element)


def text_or_texts(name: str, value: object) -> None:
    """Accept a string or a list of strings."""
    if not isinstance(value, str):
        list_of_texts(name, value)


def a_path_or_paths(name: str, value: object) -> list[Path | str]:
    """Return the paths in an argument that takes one path or several.

    Raises:
        UsageError: There is none, or one of them is not a path.
    """
    if isinstance(value, str | os.PathLike):
        place(name, value)
        return [value if isinstance(value, str) else Path(value)]
    # frames, mappings and bytes are iterable too, but not over paths
    is_other = isinstance(value, bytes | bytearray | Mapping) or hasattr(value, "columns")
    if not isinstance(value, Iterable) or is_other:
        raise wrong(name, "a path, or a list of paths", value)
    paths = list(value)
    if not paths:
        raise UsageError(f"{option(name)} names no captures. Name a file, a folder, a pattern or a URL.")
    for path in paths:
        place(name, path)
    return [path if isinstance(path, str) else Path(path) for path in paths]


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
    "redact": optional(texts_by_name),
    "contract": optional(text),
    "fields": optional(texts_by_name),
    "exclude": text_or_texts,
    "encoding": optional(text),
    "patience": number("a number of seconds above 0", above=0),
    "cluster": optional(cluster_or_address),
    "gone": flag,
    "again": flag,
    "conversation_id": optional(text),
    "visitor_id": optional(text),
    "email": optional(text),
    "time_zone": optional(time_zone),
    "path": place,
    "out": place,
    "folder": place,
}
"""Rules for parameters that mean the same in every function."""
