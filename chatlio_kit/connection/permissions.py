"""Which rights a connection needs, and whether the credential holds them.

Source: Access control API guide, effective policies. A right that is not held is left out of the answer, and
so is a name that the organisation does not know: the two are told apart by the list of known names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from chatlio_kit.aep.access_control import AccessControl
from chatlio_kit.errors import PlatformError

_AREAS = {
    "schemas": ("Schemas", "make the field group and the schema", "read them"),
    "datasets": ("Datasets", "make the dataset", "read the dataset and its rows"),
    "sources": ("Sources", "make connections and dataflows", "read dataflows and their runs"),
}


class Holding(StrEnum):
    """Whether a right is held."""

    YES = "yes"
    NO = "no"
    UNSEEN = "unseen"


@dataclass(frozen=True)
class Permission:
    """One right.

    Attributes:
        name: as Adobe's Permissions screen shows it.
        held: whether the credential holds it, as far as that can be seen.
        finding: that in words.
        next_step: what to do; empty when it is held.
    """

    name: str
    held: Holding
    finding: str
    next_step: str = ""


def read_permissions(access: AccessControl) -> Iterator[Permission]:
    """Ask for the credential's rights; one that cannot be seen is given as such."""
    known = _known_names(access)
    for area, (title, makes, reads) in _AREAS.items():
        spellings = {
            verb: [f"{verb}-{area}", *sorted(each for each in known if _is_spelling(each, verb, area))]
            for verb in ("manage", "view")
        }
        asked = dict.fromkeys(f"/permissions/{name}" for names in spellings.values() for name in names)
        try:
            held = {each.rpartition("/")[2] for each in access.effective_policies(list(asked))}
        except PlatformError as error:
            held, known = set(), frozenset()
            unseen = f"cannot be seen: {error.reason}"
        else:
            unseen = "cannot be seen: the organisation lists no such permission"
        manages = not held.isdisjoint(spellings["manage"])
        for verb, purpose in (("manage", makes), ("view", reads)):
            name = f"{verb.capitalize()} {title}"
            advice = f"Give the credential's role {name} in Adobe's Permissions screen."
            if not held.isdisjoint(spellings[verb]):
                yield Permission(name, Holding.YES, f"held: may {purpose}")
            elif known.isdisjoint(spellings[verb]):
                yield Permission(
                    name, Holding.UNSEEN, unseen, f"Look there whether the role has it: {purpose}."
                )
            elif verb == "view" and manages:
                finding = f"not held; Manage {title}, which is, may be enough"
                yield Permission(name, Holding.UNSEEN, finding, advice)
            else:
                yield Permission(name, Holding.NO, f"not held: cannot {purpose}", advice)


def _known_names(access: AccessControl) -> frozenset[str]:
    try:
        return access.known_names()
    except PlatformError:  # nothing is known then, so what is not held counts as unseen
        return frozenset()


def _is_spelling(name: str, verb: str, area: str) -> bool:
    """Whether a known name is another spelling of a right, such as ``manage-streaming-sources``."""
    return bool(re.fullmatch(rf"{verb}-[a-z-]*{area.removesuffix('s')}s?", name)) and name != f"{verb}-{area}"
