"""The table of mapper functions, and the documented names that are refused, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

from . import data_functions as data
from . import text_functions as text

CHOICE = "iif"
"""The function that evaluates only one of its branches; the evaluator handles it by name."""


@dataclass(frozen=True)
class Function:
    """A mapper function; ``least`` is the minimum number of arguments if the signature allows any number.

    A function that needs the clock takes the current time as its only argument, which expressions leave out.
    """

    call: Callable[..., Any]
    least: int = 0
    needs_clock: bool = False

    def accepts(self, count: int) -> bool:
        """Return whether the function accepts this number of arguments."""
        try:
            signature(self.call).bind(*[None] * (count + self.needs_clock))
        except TypeError:
            return False
        return count >= self.least


_BY_OWN_NAME = (
    text.explode, text.split, text.instr, text.replacestr, text.substr, text.lower, text.upper, text.join,
    text.lpad, text.rpad, text.left, text.right, text.ltrim, text.rtrim, text.trim, text.extract_regex,
    text.matches_regex, text.crc32, text.get_url_protocol, text.get_url_host, text.get_url_port,
    text.get_url_path, text.get_url_query_str, text.get_url_encoded, text.get_url_decoded, data.date,
    data.dformat, data.date_part, data.set_date_part, data.make_date_time, data.zone_date_to_utc,
    data.zone_date_to_zone, data.is_empty, data.size_of, data.to_object, data.str_to_object, data.get_values,
    data.nullify, data.get_keys, data.add_to_array, data.to_array, data.to_bigint, data.to_decimal,
    data.to_integer, data.json_to_object,
)  # fmt: skip
FUNCTIONS: dict[str, Function] = {
    **{function.__name__: Function(function) for function in _BY_OWN_NAME},
    **{name: Function(text.hashing(name)) for name in ("sha1", "sha256", "sha512", "md5")},
    "add_to_map": Function(data.add_to_map, least=2),
    "arrays_to_object": Function(data.arrays_to_object, least=2),
    "coalesce": Function(data.coalesce, least=1),
    "concat": Function(text.concat, least=1),
    "decode": Function(data.decode, least=3),
    "first": Function(data.first, least=1),
    "format": Function(data.format_date),
    "guid": Function(data.random_id),
    "join_arrays": Function(data.join_arrays, least=1),
    "last": Function(data.last, least=1),
    "lcase": Function(text.lower),
    "make_timestamp": Function(data.make_date_time),
    "max": Function(data.greatest, least=1),
    "min": Function(data.smallest, least=1),
    "now": Function(data.now, needs_clock=True),
    "timestamp": Function(data.timestamp, needs_clock=True),
    "to_float": Function(data.to_decimal),
    "to_map": Function(data.to_map, least=2),
    "ucase": Function(text.upper),
    "uuid": Function(data.random_id),
}

METHODS: dict[str, Function] = {
    "equals": Function(text.equals),
    "equalsIgnoreCase": Function(text.equals_ignore_case),
}
"""Functions written after their first argument: `a.equals(b)`."""

# fmt: off
_NOT_OFFERED = (
    "map_get_values", "map_has_keys", "object_to_map", "array_to_map",
    "upsert_array_append", "upsert_array_replace", "fpid_to_ecid", "ua_os_name", "ua_os_version_major",
    "ua_os_version", "ua_os_name_version", "ua_agent_version", "ua_agent_version_major", "ua_agent_name",
    "ua_device_class",
)
_FOR_DESTINATIONS = ("array_to_string", "filterArray", "transformArray", "flattenArray")
# fmt: on
REFUSED: dict[str, str] = {
    "contains_key": "is refused: whether its argument is a path or a quoted path is unsettled",
    "is_set": "is deprecated",
    **dict.fromkeys(_NOT_OFFERED, "is a mapper function that this platform does not evaluate"),
    **dict.fromkeys(_FOR_DESTINATIONS, "is for destinations only, not for sources"),
}
"""Documented names that cannot be called here, with the reason."""

# fmt: off
KEYWORDS = frozenset((
    "new", "mod", "or", "break", "var", "lt", "for", "false", "while", "eq",
    "gt", "div", "not", "null", "continue", "else", "and", "ne", "true", "le",
    "if", "ge", "return", "_errors", "do", "function", "empty", "size",
))
# fmt: on
RESERVED = KEYWORDS | FUNCTIONS.keys() | METHODS.keys() | REFUSED.keys() | {CHOICE}
"""Names that a field may have only inside `${}`."""


def why_not_callable(name: str) -> str:
    """Return the reason why no function of this name can be called."""
    return f"function {name!r} {REFUSED.get(name, 'is not known')}"
