"""Mapper functions on dates, objects, arrays, choices and types."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .java_time import compiled, parse_default
from .values import (
    EvaluationError,
    are_equal,
    is_less,
    list_of,
    text_of,
    truth_of,
    type_name,
    whole_number_of,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PARTS = {
    **dict.fromkeys(("year", "yyyy", "yy"), "year"),
    **dict.fromkeys(("quarter", "qq", "q"), "quarter"),
    **dict.fromkeys(("month", "mm", "m"), "month"),
    **dict.fromkeys(("dayofyear", "dy", "y"), "day of year"),
    **dict.fromkeys(("day", "dd", "d"), "day"),
    **dict.fromkeys(("week", "ww", "w"), "week"),
    **dict.fromkeys(("hour", "hh", "hh24"), "hour"),
    "hh12": "half-day hour",
    **dict.fromkeys(("minute", "mi", "n"), "minute"),
    **dict.fromkeys(("second", "ss", "s"), "second"),
    **dict.fromkeys(("millisecond", "ms"), "millisecond"),
}


def now(moment: datetime) -> datetime:
    """Return the current time in UTC, to the second."""
    return moment.astimezone(UTC).replace(microsecond=0)


def timestamp(moment: datetime) -> int:
    """Return the current time as milliseconds since 1970."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def date(value: Any, pattern: Any = None, default: Any = None) -> datetime:
    """Parse a string as a date, by a pattern or the documented default formats; return a date unchanged."""
    if value is None and default is not None:
        return _date_of(default)
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise EvaluationError(f"date() expects a string, found {type_name(value)}")
    return parse_default(value) if pattern is None else compiled(text_of(pattern)).parse(value)


def format_date(value: Any, pattern: Any) -> str:
    """Format a date by a pattern."""
    return compiled(text_of(pattern)).format(_date_of(value))


def dformat(milliseconds: Any, pattern: Any) -> str:
    """Format milliseconds since 1970, in UTC, by a pattern."""
    moment = _EPOCH + timedelta(milliseconds=whole_number_of(milliseconds))
    return compiled(text_of(pattern)).format(moment)


def date_part(part: Any, value: Any) -> int:
    """Return one part of a date."""
    moment, name = _date_of(value), _PARTS.get(text_of(part).lower())
    if name is None:
        raise EvaluationError(f"date part {part!r} is not offered")
    parts = {
        "quarter": (moment.month + 2) // 3,
        "day of year": moment.timetuple().tm_yday,
        "week": moment.isocalendar().week,
        "half-day hour": (moment.hour - 1) % 12 + 1,
        "millisecond": moment.microsecond // 1000,
    }
    return parts[name] if name in parts else int(getattr(moment, name))


def set_date_part(part: Any, number: Any, value: Any) -> datetime:
    """Replace one part of a date."""
    name = _PARTS.get(text_of(part).lower())
    moment, replacement = _date_of(value), whole_number_of(number)
    setters = {
        "year": lambda: moment.replace(year=replacement),
        "month": lambda: moment.replace(month=replacement),
        "day": lambda: moment.replace(day=replacement),
        "hour": lambda: moment.replace(hour=replacement),
        "minute": lambda: moment.replace(minute=replacement),
        "second": lambda: moment.replace(second=replacement),
    }
    if name not in setters:
        raise EvaluationError(f"date part {part!r} cannot be set")
    return setters[name]()


def make_date_time(*parts: Any) -> datetime:
    """Return a date from year, month, day, hour, minute, second, nanosecond and zone."""
    year, month, day, hour, minute, second, nanosecond = [whole_number_of(part) for part in parts[:7]]
    if not 0 <= nanosecond <= 999_999_999:
        raise EvaluationError("a nanosecond is in 0..999999999")
    return datetime(year, month, day, hour, minute, second, nanosecond // 1000, tzinfo=_zone(parts[7]))


def zone_date_to_utc(value: Any) -> datetime:
    """Convert a date to UTC."""
    return _date_of(value).astimezone(UTC)


def zone_date_to_zone(value: Any, zone: Any) -> datetime:
    """Convert a date to a zone."""
    return _date_of(value).astimezone(_zone(zone))


def is_empty(value: Any) -> bool:
    """Return whether a value is null, or an empty string, array or object."""
    return value is None or size_of(value) == 0


def size_of(value: Any) -> int:
    """Count the elements of an array, the keys of an object, or the characters of a string."""
    if isinstance(value, str | list | Mapping):
        return len(value)
    raise EvaluationError(f"{type_name(value)} has no size")


def to_object(*pairs: Any) -> dict[str, Any]:
    """Create an object from alternating keys and values."""
    if len(pairs) % 2:
        raise EvaluationError("to_object takes keys and values in pairs")
    return {text_of(key): value for key, value in zip(pairs[::2], pairs[1::2], strict=True)}


def to_map(*pairs: Any) -> dict[str, Any]:
    """Create a map from alternating keys and values; null keys and values are errors."""
    if any(part is None for part in pairs):
        raise EvaluationError("to_map takes no null")
    return to_object(*pairs)


def add_to_map(*maps: Any) -> dict[str, Any]:
    """Merge maps; if several have the same key, the first wins."""
    merged: dict[str, Any] = {}
    for entries in maps:
        if not isinstance(entries, Mapping):
            raise EvaluationError(f"add_to_map expects maps, found {type_name(entries)}")
        merged = {**entries, **merged}
    return merged


def str_to_object(value: Any, value_delimiter: Any = ":", field_delimiter: Any = ",") -> dict[str, str]:
    """Parse an object from a string of keys and values."""
    mark, fields = text_of(value_delimiter), text_of(value).split(text_of(field_delimiter))
    pairs = [field.split(mark, 1) for field in fields]
    if any(len(pair) < 2 for pair in pairs):
        raise EvaluationError("a field of the text has no value delimiter")
    return {key.strip(): text.strip() for key, text in pairs}


def get_values(value: Any, key: Any, value_delimiter: Any, field_delimiter: Any = ",") -> str | None:
    """Return the value of a key in a string of keys and values, or null; empty delimiters are defaults."""
    return str_to_object(value, value_delimiter or ":", field_delimiter or ",").get(text_of(key))


def arrays_to_object(*pairs: Any) -> list[dict[str, Any]]:
    """Create a list of objects from alternating keys and arrays; the arrays must have the same length."""
    columns = to_object(*pairs)
    rows = [list_of(column) for column in columns.values()]
    if len({len(row) for row in rows}) > 1:
        raise EvaluationError("the arrays differ in length")
    return [dict(zip(columns, row, strict=True)) for row in zip(*rows, strict=True)]


def nullify() -> None:
    """Return null, so that the attribute is left out."""


def get_keys(value: Any) -> list[str]:
    """Return the keys of an object."""
    if not isinstance(value, Mapping):
        raise EvaluationError(f"get_keys expects an object, found {type_name(value)}")
    return list(value)


def coalesce(*values: Any) -> Any:
    """Return the first value that is not null."""
    candidates = values[0] if len(values) == 1 and isinstance(values[0], list) else values
    return next((value for value in candidates if value is not None), None)


def first(*values: Any) -> Any:
    """Return the first element of an array, or of several arguments."""
    return _elements(values)[0]


def last(*values: Any) -> Any:
    """Return the last element of an array, or of several arguments."""
    return _elements(values)[-1]


def add_to_array(array: Any, *values: Any) -> list[Any]:
    """Append elements to an array."""
    return [*list_of(array), *values]


def join_arrays(*arrays: Any) -> list[Any]:
    """Concatenate arrays."""
    return [element for array in arrays for element in list_of(array)]


def to_array(include_nulls: Any, *values: Any) -> list[Any]:
    """Return an array of the values, with or without nulls."""
    keep = truth_of(include_nulls)
    return [value for value in values if keep or value is not None]


def decode(key: Any, *options: Any) -> Any:
    """Return the value that follows the key among the options, else the last option if it has no pair."""
    for at in range(0, len(options) - 1, 2):
        if type_name(options[at]) == type_name(key) and are_equal(options[at], key):
            return options[at + 1]
    return options[-1] if len(options) % 2 else None


def smallest(*values: Any) -> Any:
    """Return the smallest of the values in their natural order."""
    result = values[0]
    for value in values:
        result = value if is_less(value, result) else result
    return result


def greatest(*values: Any) -> Any:
    """Return the greatest of the values in their natural order."""
    result = values[0]
    for value in values:
        result = value if is_less(result, value) else result
    return result


def to_bigint(value: Any) -> int:
    """Parse an integer of any size."""
    return int(_number_text(value))


def to_integer(value: Any) -> int:
    """Parse a 32-bit integer."""
    number = to_bigint(value)
    if not -(2**31) <= number < 2**31:
        raise EvaluationError(f"{number} is not a 32-bit integer")
    return number


def to_decimal(value: Any) -> float:
    """Parse a finite number."""
    return float(json.loads(_number_text(value), parse_constant=_refuse_constant))


def json_to_object(value: Any) -> Any:
    """Parse a JSON object or array."""
    parsed = json.loads(text_of(value), parse_constant=_refuse_constant)
    if not isinstance(parsed, dict | list):
        raise EvaluationError("the text is JSON, but neither an object nor an array")
    return parsed


def random_id() -> str:
    """Return a random UUID."""
    return str(uuid.uuid4())


def _date_of(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise EvaluationError(f"expected a date, found {type_name(value)}")
    return value


def _zone(value: Any) -> tzinfo:
    name = text_of(value)
    if name == "Z":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise EvaluationError(f"zone {name!r} is not known") from None


def _elements(values: tuple[Any, ...]) -> list[Any]:
    elements = list_of(values[0]) if len(values) == 1 else list(values)
    if not elements:
        raise EvaluationError("the array is empty")
    return elements


def _number_text(value: Any) -> str:
    text = text_of(value)
    if not text.isascii() or text != text.strip() or "_" in text:
        raise EvaluationError(f"text {text!r} is not a number")
    return text


def _refuse_constant(name: str) -> None:
    raise EvaluationError(f"{name} is not a JSON number")
