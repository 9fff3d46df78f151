"""Who may knock: the one organisation, credential and sandbox of the local platform, and its few options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCOPES = ("openid", "session", "AdobeID", "read_organizations", "additional_info.projectedProductContext")

SANDBOX_TYPES = ("development", "production")


@dataclass(frozen=True)
class LocalAccount:
    """The only account of a local platform.

    Its names are public. The secret is the store's own: other users and web pages reach the loopback
    interface too, but they cannot read the store.
    """

    client_secret: str = field(repr=False)
    client_id: str = "local-client"
    org_id: str = "1A2B3C4D5E6F70819203A4B5@AdobeOrg"
    sandbox: str = "prod"
    tenant_id: str = "acmechat"
    scopes: tuple[str, ...] = SCOPES

    @property
    def tenant_namespace(self) -> str:
        """The object every custom field lives under: an underscore and the tenant id."""
        return f"_{self.tenant_id}"

    @property
    def technical_user(self) -> str:
        """The user that resources are created by."""
        return f"{self.client_id}@techacct.adobe.com"

    @property
    def sandbox_id(self) -> str:
        """The id of the sandbox."""
        return "5d7c4a90-0000-4000-8000-6c6f63616c00"


@dataclass(frozen=True)
class Options:
    """What a start of the server may choose.

    Attributes:
        enabling_delay: Seconds until a new dataflow is enabled and shows its inlet.
        processing_delay: Seconds that accepted messages wait, so that a trickle lands in few batches.
        consolidation_delay: Seconds after which a dataset's batches are gathered into one; by default never.
        token_lifetime: Seconds an access token is valid.
        largest_page: Objects on a page of a list, at most, where the documentation names no maximum.
        withheld: Permission names that the credential lacks, e.g. ``"manage-datasets"``.
        requests_per_second: Requests that the streaming endpoint takes before it answers 429.
        messages_per_second: Messages that it takes before it answers 429.
        sandbox_type: Of which type the sandbox is, ``development`` or ``production``.
        faults: A file of faults, or what such a file holds; see `faults`.
        header_seconds: Seconds in which a new connection must send its first request's headers.
        body_seconds: Seconds in which a request must send its body.
    """

    enabling_delay: float = 0.5
    processing_delay: float = 0.2
    consolidation_delay: float = math.inf
    token_lifetime: int = 86_399
    largest_page: int = 500
    withheld: frozenset[str] = field(default_factory=frozenset)
    requests_per_second: float = 1_000
    messages_per_second: float = 10_000
    sandbox_type: str = "development"
    faults: Path | Mapping[str, Any] | None = None
    header_seconds: float = 10.0
    body_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.sandbox_type not in SANDBOX_TYPES:
            raise ValueError(
                f"A sandbox is of the type {' or '.join(SANDBOX_TYPES)}, not {self.sandbox_type!r}."
            )
