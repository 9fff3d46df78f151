"""A dialect named by the user: ``--fields payload=request.body,received=request.time,kind=meta.hook``."""

from __future__ import annotations

from collections.abc import Mapping

from chatlio_kit.captures.dialects.clocks import CLOCKS, with_offset
from chatlio_kit.captures.dialects.dialect import EACH, Body, Dialect, FieldPath
from chatlio_kit.errors import UsageError, option

NAME = "named fields"

_PAYLOADS = {"payload": Body.JSON, "payload-base64": Body.BASE64}
_OFFSET = "without-offset"
MEANINGS = {
    **{name: f"the payload: {body}" for name, body in _PAYLOADS.items()},
    **{name: f"when it was captured: {clock}" for name, clock in CLOCKS.items()},
    "kind": "the kind, or a path or URL that names one; a word that is not a kind is reported, not ignored",
    "widget": "the widget, as a string",
    _OFFSET: "not a path but an offset, such as `UTC` or `+01:00`, for times without one, also in the "
    "payload",
}
"""Field names and their meanings. If no payload is named, it is the record without the named fields."""
FIELDS = tuple(MEANINGS)


def named_fields(fields: str | Mapping[str, str] | None) -> Dialect | None:
    """Parse the option ``--fields``.

    Args:
        fields: ``name=path`` pairs, separated by commas, or an equivalent mapping. A path is dotted or a JSON
            Pointer. If no payload is named, it is the record without the named fields.

    Raises:
        UsageError: It cannot be parsed.
    """
    if fields is None:
        return None
    named = dict(fields) if isinstance(fields, Mapping) else _pairs(fields)
    if not named:
        raise _unusable("nothing is named")
    for name, path in named.items():
        if name not in FIELDS:
            raise _unusable(f"{name!r} is none of {', '.join(FIELDS)}")
        if not isinstance(path, str) or not all(FieldPath.of(path).keys or ("",)):
            raise _unusable(f"{name!r} has no path")
    offset = _offset(named.pop(_OFFSET, ""))
    field_paths = {name: FieldPath.of(path) for name, path in named.items()}
    payloads, clocks = _PAYLOADS.keys() & named, CLOCKS.keys() & named
    for choices in (payloads, clocks):
        if len(choices) > 1:
            raise _unusable(f"only one of {' and '.join(sorted(choices))} is allowed")
    walk = _walk(field_paths, next(iter(payloads), ""))
    paths = {name: path.first() for name, path in field_paths.items()}
    payload = paths[next(iter(payloads))] if payloads else FieldPath(())
    clock = next(iter(clocks), "received")
    received, label, widget = (paths.get(name) for name in (clock, "kind", "widget"))
    envelope = tuple(path for path in (received, label, widget) if path)
    body = _PAYLOADS[next(iter(payloads))] if payloads else Body.ITSELF
    needs = (FieldPath(walk[:1]),) if walk else (payload,) if payloads else envelope
    return Dialect(
        NAME,
        "Fields that the user named",
        needs,
        payload,
        "--fields",
        body,
        received=received,
        clock=CLOCKS[clock],
        label=label,
        widget=widget,
        keeps_kind=True,
        walk=walk,
        offset=offset,
    )


def _offset(text: str) -> str:
    offset = "Z" if text in ("UTC", "Z") else text
    if offset and with_offset("2024-01-01T00:00:00", offset) is None:
        raise _unusable(f"{text!r} is not an offset; write UTC, or an offset such as +01:00")
    return offset


def _walk(paths: Mapping[str, FieldPath], payload: str) -> tuple[str, ...]:
    """Return the keys of the list that all paths with a ``*`` walk; empty without a ``*``."""
    walks = {
        name: path.keys[: len(path.keys) - path.keys[::-1].index(EACH)]
        for name, path in paths.items()
        if EACH in path.keys
    }
    if not walks:
        return ()
    walk = walks.get(payload, ())
    for name, keys in walks.items():
        if walk[: len(keys)] != keys:
            raise _unusable(f"{name!r} walks {'.'.join(keys)}, but the payload is not in it")
    if walk[0] == EACH:
        raise _unusable(
            f"the payload's path begins with {EACH}, but elements of a file's own array are already records"
        )
    return walk


def _pairs(text: str) -> dict[str, str]:
    paths: dict[str, str] = {}
    for pair in text.split(","):
        name, equals, place = (part.strip() for part in pair.partition("="))
        if not equals:
            raise _unusable(f"{pair.strip()!r} is not name=path")
        if name in paths:
            raise _unusable(f"{name!r} is named twice")
        paths[name] = place
    return paths


def _unusable(why: str) -> UsageError:
    return UsageError(
        f"{option('fields')} cannot be read: {why}. Write it as in "
        "payload=request.body,received=request.time,kind=meta.hook."
    )
