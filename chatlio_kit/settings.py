"""Where the platform is and who we are there.

Settings come from the environment or a ``.env`` file; secrets never show.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from chatlio_kit.errors import SettingsError

LOCAL, AEP = "local", "aep"
"""The platforms: the embedded one, and Experience Platform."""

DEFAULT_STATE = Path(".chatlio-kit")
_KEY = "CHATLIO_KIT_REDACTION_KEY"
_LEAST_KEY = 16
DEFAULT_SCOPES = "openid,session,AdobeID,read_organizations,additional_info.projectedProductContext"


class Secret:
    """A text that shows itself as ``***`` wherever it is printed, logged or formatted."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Give the text itself, for the wire alone."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("A secret is not written to disk.")


@dataclass(frozen=True)
class Settings:
    """Endpoints and credential of one Experience Platform organisation.

    Attributes:
        client_id: the OAuth server-to-server client, also sent as ``x-api-key``.
        client_secret: its secret; never shown.
        org_id: the organisation, ``{24 hex}@AdobeOrg``.
        sandbox: the sandbox's name, lower case.
        scopes: comma-separated OAuth scopes.
        platform_url: base of the platform's REST APIs.
        ims_url: base of Adobe's identity service, which gives tokens.
        is_local: whether this is the embedded local platform.
        state: the folder that remembers: ledger, local store, reports.
    """

    client_id: str
    client_secret: Secret
    org_id: str
    sandbox: str = "prod"
    scopes: str = DEFAULT_SCOPES
    platform_url: str = "https://platform.adobe.io"
    ims_url: str = "https://ims-na1.adobelogin.com"
    is_local: bool = False
    state: Path = DEFAULT_STATE

    def __post_init__(self) -> None:
        for name in ("platform_url", "ims_url"):
            require_safe_url(getattr(self, name), f"AEP_{name.upper()}")

    @property
    def platform_name(self) -> str:
        """Which platform this is, as destinations name it: ``local``, or the platform's URL."""
        return "local" if self.is_local else self.platform_url

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str] | None = None,
        dotenv: Path | str = ".env",
        state: Path = DEFAULT_STATE,
    ) -> Settings:
        """Read ``AEP_*`` from the environment, else from a ``.env`` file.

        Raises:
            SettingsError: when a needed setting is missing, naming all that are.
        """
        stored = {key: value for key, value in dotenv_values(dotenv).items() if value is not None}
        known = stored | dict(os.environ if environment is None else environment)
        needed = ("AEP_CLIENT_ID", "AEP_CLIENT_SECRET", "AEP_ORG_ID", "AEP_SANDBOX")
        missing = [name for name in needed if not known.get(name, "").strip()]
        if missing:
            raise SettingsError(
                f"To talk to Experience Platform, {_listed(missing)} must be set. "
                "Put them in the environment or in a .env file in this folder; "
                "the values stand in your project of the Adobe Developer Console."
            )
        return cls(
            client_id=known["AEP_CLIENT_ID"].strip(),
            client_secret=Secret(known["AEP_CLIENT_SECRET"].strip()),
            org_id=known["AEP_ORG_ID"].strip(),
            sandbox=known["AEP_SANDBOX"].strip(),
            scopes=known.get("AEP_SCOPES", DEFAULT_SCOPES),
            platform_url=known.get("AEP_PLATFORM_URL", cls.platform_url).rstrip("/"),
            ims_url=known.get("AEP_IMS_URL", cls.ims_url).rstrip("/"),
            state=state,
        )


def redaction_key(environment: Mapping[str, str] | None = None, dotenv: Path | str = ".env") -> Secret:
    """Read the key of keyed hashes: ``CHATLIO_KIT_REDACTION_KEY``, or the file that ``..._KEY_FILE`` names.

    Raises:
        SettingsError: when there is none, when its file cannot be read, or when it can be guessed.
    """
    stored = {key: value for key, value in dotenv_values(dotenv).items() if value is not None}
    known = stored | dict(os.environ if environment is None else environment)
    key, file = known.get(_KEY, "").strip(), known.get(f"{_KEY}_FILE", "").strip()
    if file and not key:
        try:
            key = Path(file).read_text().strip()
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or "it is no text"
            raise SettingsError(f"The file that {_KEY}_FILE names cannot be read: {said}.") from None
    if len(key) < _LEAST_KEY:
        raise SettingsError(
            f"Hashing with a key needs one of at least {_LEAST_KEY} characters. "
            f"Set {_KEY} in the environment or in a .env file, or name a file that holds it in {_KEY}_FILE. "
            f"'openssl rand -hex 32' makes one; keep it, since only the same key gives the same hashes."
        )
    return Secret(key)


def require_safe_url(url: str, name: str) -> None:
    """Refuse a URL over which secrets would travel in the clear.

    Plain ``http://`` is accepted for loopback addresses only.

    Raises:
        SettingsError: naming the setting, not the URL's secrets.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and _is_loopback(parts.hostname or ""):
        return
    raise SettingsError(
        f"{name} must be an https:// address; plain http:// is accepted for loopback addresses only. "
        "Correct it in the environment or in the .env file."
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
