"""A connection's settings for people: its identities, its use of Profile, and omitted messages.

They are stored in the schema's description and parsed from it, so nothing is kept outside the platform.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from chatlio_kit.chatlio.identities import DEFAULT, EMAILS, VISITOR, Identity, parse_identities
from chatlio_kit.chatlio.kinds import SHAPE_OF, Kind, Shape
from chatlio_kit.errors import UsageError, option

_IDENTITY = r"[a-z_]+(?:\.[\w-]+)?=\w+"
_IDENTITIES = re.compile(rf"Identities: ({_IDENTITY}(?:, {_IDENTITY})*)\.", re.ASCII)
_PROFILE, _SLIM = "For Profile.", "Without messages."
_DISPLAY_NAMES = {"ChatlioVisitor": "Chatlio visitor"}
_TYPES = {VISITOR: "Cookie", **dict.fromkeys(EMAILS, "Email")}


@dataclass(frozen=True)
class People:
    """The identities in a connection's events, and their use in Profile.

    Attributes:
        identities: The fields that identify the visitor; empty if the events carry no identity.
        profile: True if the dataset feeds Profile.
        slim: If true, leave out messages, so that events stay below Profile's size limit.
    """

    identities: tuple[Identity, ...] = ()
    profile: bool = False
    slim: bool = False

    @classmethod
    def of(cls, identities: tuple[str, ...] | list[str], *, profile: bool, slim: bool) -> People:
        """Return the settings that these options request.

        Raises:
            UsageError: An identity is invalid, or Profile is to be fed without identities.
        """
        if profile and not identities:
            raise UsageError(
                f"Profile ignores events without an identity. Add {option('identity', DEFAULT)}."
            )
        if slim and not profile:
            raise UsageError(
                f"{option('slim', 'True')} is for Profile, which takes up to 10 KB per event; the lake has "
                "no such limit."
            )
        return cls(parse_identities(identities), profile, slim)

    @classmethod
    def read(cls, description: object) -> People:
        """Return the settings in a schema's description."""
        text = str(description or "")
        match = _IDENTITIES.search(text)
        if match is None:
            return cls()
        return cls(parse_identities(match[1].split(", ")), _PROFILE in text, _SLIM in text)

    def described(self, sentence: str) -> str:
        """Return a description with the settings, for :meth:`read`."""
        if not self.identities:
            return sentence
        words = [sentence, f"Identities: {', '.join(map(str, self.identities))}."]
        return " ".join([*words, *([_PROFILE] if self.profile else []), *([_SLIM] if self.slim else [])])

    @property
    def namespaces(self) -> dict[str, Identity]:
        """The first identity of each namespace, by code."""
        return {identity.namespace: identity for identity in reversed(self.identities)}

    def live_identity(self, kind: Kind) -> Identity | None:
        """Return the identity that a live dataflow can carry: the visitor's, if every payload has it."""
        if SHAPE_OF[kind] is Shape.TRANSCRIPT:
            return None
        return next((identity for identity in self.identities if identity.field == VISITOR), None)


def namespace_body(code: str, identity: Identity, description: str) -> dict[str, str]:
    """Return the body of a namespace; its type determines how Identity Service treats its ids."""
    kind = "Email" if identity.is_email else _TYPES.get(identity.field, "Cross_device")
    return {
        "name": _DISPLAY_NAMES.get(code, code),
        "code": code,
        "idType": kind,
        "description": description,
    }
