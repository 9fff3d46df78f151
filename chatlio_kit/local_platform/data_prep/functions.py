"""The table of mapper functions: which there are, how many arguments they take, which are refused and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import data_functions as data
from . import text_functions as text

CHOICE = "iif"
"""The function that evaluates only the branch it takes; the evaluator knows it by name."""


@dataclass(frozen=True)
class Function:
    """A mapper function: what it does, its least and most arguments, and whether it asks the clock."""

    call: Callable[..., Any]
    least: int
    most: int | None
    asks_clock: bool = False

    def accepts(self, count: int) -> bool:
        """Tell whether it can be called with that many arguments."""
        return self.least <= count and (self.most is None or count <= self.most)


FUNCTIONS: dict[str, Function] = {
    "concat": Function(text.concat, 1, None),
    "explode": Function(text.explode, 1, 2),
    "split": Function(text.split, 2, 2),
    "instr": Function(text.instr, 2, 4),
    "replacestr": Function(text.replacestr, 3, 3),
    "substr": Function(text.substr, 3, 3),
    "lower": Function(text.lower, 1, 1),
    "lcase": Function(text.lower, 1, 1),
    "upper": Function(text.upper, 1, 1),
    "ucase": Function(text.upper, 1, 1),
    "join": Function(text.join, 2, 2),
    "lpad": Function(text.lpad, 3, 3),
    "rpad": Function(text.rpad, 3, 3),
    "left": Function(text.left, 2, 2),
    "right": Function(text.right, 2, 2),
    "ltrim": Function(text.ltrim, 1, 1),
    "rtrim": Function(text.rtrim, 1, 1),
    "trim": Function(text.trim, 1, 1),
    "extract_regex": Function(text.extract_regex, 2, 2),
    "matches_regex": Function(text.matches_regex, 2, 2),
    "sha1": Function(text.hashing("sha1"), 1, 2),
    "sha256": Function(text.hashing("sha256"), 1, 2),
    "sha512": Function(text.hashing("sha512"), 1, 2),
    "md5": Function(text.hashing("md5"), 1, 2),
    "crc32": Function(text.crc32, 1, 2),
    "get_url_protocol": Function(text.get_url_protocol, 1, 1),
    "get_url_host": Function(text.get_url_host, 1, 1),
    "get_url_port": Function(text.get_url_port, 1, 1),
    "get_url_path": Function(text.get_url_path, 1, 2),
    "get_url_query_str": Function(text.get_url_query_str, 2, 2),
    "get_url_encoded": Function(text.get_url_encoded, 1, 1),
    "get_url_decoded": Function(text.get_url_decoded, 1, 1),
    "now": Function(data.now, 0, 0, asks_clock=True),
    "timestamp": Function(data.timestamp, 0, 0, asks_clock=True),
    "date": Function(data.date, 1, 3),
    "format": Function(data.format_date, 2, 2),
    "dformat": Function(data.dformat, 2, 2),
    "date_part": Function(data.date_part, 2, 2),
    "set_date_part": Function(data.set_date_part, 3, 3),
    "make_date_time": Function(data.make_date_time, 8, 8),
    "make_timestamp": Function(data.make_date_time, 8, 8),
    "zone_date_to_utc": Function(data.zone_date_to_utc, 1, 1),
    "zone_date_to_zone": Function(data.zone_date_to_zone, 2, 2),
    "is_empty": Function(data.is_empty, 1, 1),
    "size_of": Function(data.size_of, 1, 1),
    "to_object": Function(data.to_object, 0, None),
    "str_to_object": Function(data.str_to_object, 1, 3),
    "get_values": Function(data.get_values, 3, 4),
    "arrays_to_object": Function(data.arrays_to_object, 2, None),
    "nullify": Function(data.nullify, 0, 0),
    "get_keys": Function(data.get_keys, 1, 1),
    "coalesce": Function(data.coalesce, 1, None),
    "first": Function(data.first, 1, None),
    "last": Function(data.last, 1, None),
    "add_to_array": Function(data.add_to_array, 1, None),
    "join_arrays": Function(data.join_arrays, 1, None),
    "to_array": Function(data.to_array, 1, None),
    "decode": Function(data.decode, 3, None),
    "min": Function(data.smallest, 1, None),
    "max": Function(data.greatest, 1, None),
    "to_bigint": Function(data.to_bigint, 1, 1),
    "to_decimal": Function(data.to_decimal, 1, 1),
    "to_float": Function(data.to_decimal, 1, 1),
    "to_integer": Function(data.to_integer, 1, 1),
    "json_to_object": Function(data.json_to_object, 1, 1),
    "uuid": Function(data.random_id, 0, 0),
    "guid": Function(data.random_id, 0, 0),
}

METHODS: dict[str, Function] = {
    "equals": Function(text.equals, 2, 2),
    "equalsIgnoreCase": Function(text.equals_ignore_case, 2, 2),
}
"""Functions that stand after their first argument: `a.equals(b)`."""

_NOT_OFFERED = "is a mapper function that this platform does not evaluate"
REFUSED: dict[str, str] = {
    "contains_key": "is refused: whether its argument is a path or a quoted path is unsettled",
    "is_set": "is deprecated",
    **dict.fromkeys(
        (
            "map_get_values",
            "map_has_keys",
            "add_to_map",
            "object_to_map",
            "array_to_map",
            "to_map",
            "upsert_array_append",
            "upsert_array_replace",
            "fpid_to_ecid",
            "ua_os_name",
            "ua_os_version_major",
            "ua_os_version",
            "ua_os_name_version",
            "ua_agent_version",
            "ua_agent_version_major",
            "ua_agent_name",
            "ua_device_class",
        ),
        _NOT_OFFERED,
    ),
    **dict.fromkeys(
        ("array_to_string", "filterArray", "transformArray", "flattenArray"),
        "is for destinations only, not for sources",
    ),
}
"""Documented names that cannot be called here, each with the reason."""

# fmt: off
KEYWORDS = frozenset((
    "new", "mod", "or", "break", "var", "lt", "for", "false", "while", "eq",
    "gt", "div", "not", "null", "continue", "else", "and", "ne", "true", "le",
    "if", "ge", "return", "_errors", "do", "function", "empty", "size",
))
# fmt: on
RESERVED = KEYWORDS | FUNCTIONS.keys() | METHODS.keys() | REFUSED.keys() | {CHOICE}
"""Names that a field may carry only inside `${}`."""


def why_not_callable(name: str) -> str:
    """Say why there is no function of this name to call."""
    return f"function {name!r} {REFUSED.get(name, 'is not known')}"
