"""The one organisation, credential and sandbox of the local platform, and the options of a server."""

from __future__ import annotations

import math
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..store import open_private

SCOPES = ("openid", "session", "AdobeID", "read_organizations", "additional_info.projectedProductContext")

SANDBOX_TYPES = ("development", "production")
CREDENTIAL_FILE = "client-secret"
_SHORTEST_SECRET = 32


@dataclass(frozen=True)
class LocalAccount:
    """The only account of a local platform.

    Its names are public. Its secret belongs to the store, because other users and web pages reach the
    loopback interface too, but cannot read the store.
    """

    client_secret: str = field(repr=False)
    client_id: str = "local-client"
    org_id: str = "1A2B3C4D5E6F70819203A4B5@AdobeOrg"
    sandbox: str = "prod"
    tenant_id: str = "acmechat"
    scopes: tuple[str, ...] = SCOPES

    @property
    def tenant_namespace(self) -> str:
        """The object that holds all custom fields: an underscore and the tenant id."""
        return f"_{self.tenant_id}"

    @property
    def technical_user(self) -> str:
        """The user who creates resources."""
        return f"{self.client_id}@techacct.adobe.com"

    @property
    def sandbox_id(self) -> str:
        """The id of the sandbox."""
        return "5d7c4a90-0000-4000-8000-6c6f63616c00"


@dataclass(frozen=True)
class Options:
    """The options of a server.

    Attributes:
        enabling_delay: Seconds until a new dataflow is enabled and shows its inlet.
        processing_delay: Seconds that accepted messages wait, so that slow streams land in few batches.
        consolidation_delay: Seconds after which a dataset's batches are merged into one; by default never.
        token_lifetime: Seconds an access token is valid.
        largest_page: Maximum number of objects on a page of a list if the documentation names none.
        withheld: Permission names that the credential lacks, e.g. ``"manage-datasets"``; and
            ``"record-delete"``, the entitlement to work orders, ``"data-hygiene"``, the right to them, and
            ``"conversation-field-groups"``, the field groups for conversations.
        profile_days: Days for which Profile keeps events of a new dataset, from 30; 0 keeps them for good.
        requests_per_second: Requests that the streaming endpoint accepts before it answers 429.
        messages_per_second: Messages that it accepts before it answers 429.
        sandbox_type: The type of the sandbox, ``development`` or ``production``.
        faults: A file of faults, or the content of such a file; see `faults.plan`.
        header_seconds: Seconds in which a new connection must send its first request's headers.
        body_seconds: Seconds in which a request must send its body.
    """

    enabling_delay: float = 0.5
    processing_delay: float = 0.2
    consolidation_delay: float = math.inf
    token_lifetime: int = 86_399
    largest_page: int = 500
    withheld: frozenset[str] = field(default_factory=frozenset)
    profile_days: int = 0
    requests_per_second: float = 1_000.0
    messages_per_second: float = 10_000.0
    sandbox_type: str = "development"
    faults: Path | Mapping[str, Any] | None = None
    header_seconds: float = 10.0
    body_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.sandbox_type not in SANDBOX_TYPES:
            raise ValueError(
                f"A sandbox is of the type {' or '.join(SANDBOX_TYPES)}, not {self.sandbox_type!r}."
            )


def read_secret(store: Path) -> str | None:
    """Return the client secret of a store; None if it has none."""
    path = store / CREDENTIAL_FILE
    try:
        secret = path.read_text(encoding="ascii").strip() if stat.S_ISREG(path.lstat().st_mode) else ""
    except (FileNotFoundError, ValueError):
        return None
    return secret if len(secret) >= _SHORTEST_SECRET else None


def make_secret(store: Path) -> str:
    """Return the client secret of a store; create one unless a private one exists.

    Only the process that holds the store calls this, before it answers any request.
    """
    secret = read_secret(store)
    if secret is None or (os.name == "posix" and (store / CREDENTIAL_FILE).stat().st_mode & 0o077):
        secret = secrets.token_urlsafe(32)
        unfinished = store / f"{CREDENTIAL_FILE}.{secrets.token_hex(8)}.unfinished"
        with open(open_private(unfinished, os.O_EXCL | os.O_WRONLY), "w", encoding="ascii") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(store / CREDENTIAL_FILE)
    return secret
