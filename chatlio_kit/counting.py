"""Numbers with their nouns, for messages and pages."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun, such as ``1 event`` or ``1,200 events``.

    Args:
        count: The number.
        one: The noun's singular.
        many: The noun's plural; the singular with an ``s`` if empty.
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"
