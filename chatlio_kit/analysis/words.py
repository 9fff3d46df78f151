"""Metric values for display."""

from __future__ import annotations

import math

from chatlio_kit.analysis.definitions import Measure

_UNITS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))


def in_words(value: float, measure: Measure, *, is_change: bool = False) -> str:
    """Return a value for display, such as ``1 min 5 s``, ``12.5 %`` or ``1,204``; changes have a sign.

    A change of a share is in percentage points.
    """
    if math.isnan(value):
        return ""
    sign = ("+" if value > 0 else "−" if value < 0 else "±") if is_change else ""
    size = abs(value) if is_change else value
    if measure is Measure.DURATION:
        return sign + span_in_words(size)
    if measure is Measure.SHARE:
        return f"{sign}{size * 100:.1f} {'points' if is_change else '%'}"
    return f"{sign}{size:,.0f}" if measure is Measure.COUNT else f"{sign}{size:,.2f}"


def span_in_words(seconds: float) -> str:
    """Return a duration in its two largest units."""
    if seconds < 10:
        return f"{round(seconds, 1):g} s"
    whole = round(seconds)
    for size, name, smaller, smaller_name in _UNITS:
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {name} {rest} {smaller_name}" if rest else f"{whole // size} {name}"
    return f"{whole} s"
