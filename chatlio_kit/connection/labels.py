"""Write data usage labels on the schema's fields, if the registry accepts them.

Adobe's documentation does not cover the registry's label descriptor, so the first one is read back before the
others follow. If it is refused, or comes back changed, the labels have to be set in the user interface.
"""

from __future__ import annotations

from collections.abc import Iterator

from chatlio_kit.aep import Platform
from chatlio_kit.chatlio.catalogue import Field, sent_fields
from chatlio_kit.chatlio.labels import label_of
from chatlio_kit.connection.connection import Connection
from chatlio_kit.connection.resources.blueprint import Json
from chatlio_kit.connection.resources.mappings import is_ours
from chatlio_kit.errors import (
    AuthenticationFailed,
    PermissionMissing,
    PlatformError,
    RateLimited,
    Unavailable,
    Unreachable,
)

LABEL_DESCRIPTOR = "xdm:descriptorLabel"
_KEYS = ("xdm:sourceSchema", "xdm:sourceProperty", "xdm:label")


def labelled_fields() -> Iterator[tuple[Field, str]]:
    """Yield the fields of the schema that have a label, except those inside messages."""
    for field in sent_fields():
        label = label_of(field)
        if label is not None and is_ours(field):
            yield field, label


def write_labels(connection: Connection) -> str:
    """Write the missing labels, and return a sentence about the result.

    Raises:
        PlatformError: The platform does not respond, or the credential may not change the schema.
    """
    registry = connection.platform.schemas
    wanted = [_descriptor(connection, field, label) for field, label in labelled_fields()]
    try:
        present = _present(connection.platform)
        missing = [body for body in wanted if _key(body) not in present]
        if missing:
            registry.create_descriptor(missing[0])
            if _key(missing[0]) not in _present(connection.platform):
                return f"The registry stored a label that differs from the one sent. {_BY_HAND}"
            for body in missing[1:]:
                registry.create_descriptor(body)
    except (AuthenticationFailed, PermissionMissing, RateLimited, Unavailable, Unreachable):
        raise
    except PlatformError as error:
        return f"The registry does not accept labels: {error.reason.rstrip('.')}. {_BY_HAND}"
    return f"{len(wanted):,} fields have their labels; {len(missing):,} of them were written now."


_BY_HAND = "Set them in the screen of the schema; the by-hand guide lists them."


def _descriptor(connection: Connection, field: Field, label: str) -> Json:
    return {
        "@type": LABEL_DESCRIPTOR,
        "xdm:sourceSchema": connection.schema_id,
        "xdm:sourceVersion": 1,
        "xdm:sourceProperty": f"/_{connection.tenant_id}/{str(field.xdm).replace('.', '/')}",
        "xdm:label": [label],
    }


def _present(platform: Platform) -> set[str]:
    return {_key(descriptor) for descriptor in platform.schemas.descriptors(LABEL_DESCRIPTOR)}


def _key(descriptor: Json) -> str:
    return repr([descriptor.get(name) for name in _KEYS])
