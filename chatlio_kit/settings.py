"""Settings and secrets: the platform's URL and credential, from the environment or a ``.env`` file."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from ipaddress import ip_address
from pathlib import Path
from typing import ParamSpec, TypeVar
from urllib.parse import SplitResult, urlsplit

from dotenv import dotenv_values

from chatlio_kit.errors import ChatlioKitError, SettingsError

LOCAL, AEP = "local", "aep"
"""Names of the platforms: the local one, and Experience Platform."""

DEFAULT_STATE = Path(".chatlio-kit")
_KEY = "CHATLIO_KIT_REDACTION_KEY"
_SHORTEST_KEY = 16
DEFAULT_SCOPES = "openid,session,AdobeID,read_organizations,additional_info.projectedProductContext"
_BOMS = {  # longest first: UTF-32's mark begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_CREDENTIAL = ("AEP_CLIENT_ID", "AEP_CLIENT_SECRET")

P = ParamSpec("P")
T = TypeVar("T")


def sealed(function: Callable[P, T]) -> Callable[P, T]:
    """Keep the frames of a function that handles secrets out of every traceback.

    Notebooks in verbose mode and error trackers show the variables of each frame. The traceback of any
    exception that leaves the function, including an interrupt, therefore starts here; a note names its
    origin.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        handled = sys.exception()
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            _note_origin(error)
            error.__cause__ = None
            error.__context__ = handled
            raise error.with_traceback(None)  # noqa: B904 - the chain would bring the frames back

    return call


def _note_origin(error: BaseException) -> None:
    """Add a note with the file and line that raised an unexpected exception."""
    trace = error.__traceback__
    if not isinstance(error, Exception) or isinstance(error, ChatlioKitError) or hasattr(error, "__notes__"):
        return
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None:
        location = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        error.add_note(f"Raised in {location}. Frames that may hold secrets are left out.")


class Secret:
    """A string that appears as ``***`` wherever it is printed, logged or formatted."""

    __slots__ = ("_value",)

    @sealed
    def __init__(self, value: str) -> None:
        self._value = value

    @sealed
    def reveal(self) -> str:
        """Return the string itself, for sending; call this only in sealed functions."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    @sealed
    def __bool__(self) -> bool:
        return bool(self._value)

    @sealed
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    @sealed
    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Secret:
        return self

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("A secret must not be written to disk.")


@dataclass(frozen=True)
class Settings:
    """Endpoints and credential of one Experience Platform organisation.

    Attributes:
        client_id: OAuth server-to-server client id, also sent as ``x-api-key``.
        client_secret: The client's secret; never shown.
        org_id: Organisation id, ``{24 hex}@AdobeOrg``.
        sandbox: Sandbox name, in lower case.
        scopes: Comma-separated OAuth scopes.
        platform_url: Base URL of the platform's REST APIs.
        ims_url: Base URL of Adobe's identity service, which issues tokens.
        is_local: True if this is the local platform.
        state: Folder for the ledger, the local platform's store and reports.
    """

    client_id: str
    client_secret: Secret
    org_id: str
    sandbox: str
    scopes: str = DEFAULT_SCOPES
    platform_url: str = "https://platform.adobe.io"
    ims_url: str = "https://ims-na1.adobelogin.com"
    is_local: bool = False
    state: Path = DEFAULT_STATE

    def __post_init__(self) -> None:
        for name in ("platform_url", "ims_url"):
            url, setting = getattr(self, name), f"AEP_{name.upper()}"
            require_safe_url(url, setting)
            if "?" in url or "#" in url:
                raise SettingsError(
                    f"{setting} must be a URL without '?' or '#'. Correct it in the environment or in the "
                    ".env file."
                )

    @property
    def platform_name(self) -> str:
        """The platform's name in destinations: ``local``, or its URL."""
        return "local" if self.is_local else self.platform_url

    @classmethod
    @sealed
    def from_environment(
        cls,
        environment: Mapping[str, str] | None = None,
        dotenv: Path | str = ".env",
        state: Path = DEFAULT_STATE,
    ) -> Settings:
        """Read ``AEP_*`` from the environment, or else from a ``.env`` file.

        A credential from the environment is sent only to URLs from the environment. Anyone may have written
        the ``.env`` file in the current folder, so it must not redirect that credential.

        Raises:
            SettingsError: Settings are missing (the error names them all), the file cannot be read, or it
                names a URL for a credential from the environment.
        """
        given = dict(os.environ if environment is None else environment)
        known = _read_dotenv(dotenv) | given
        needed = (*_CREDENTIAL, "AEP_ORG_ID", "AEP_SANDBOX")
        missing = [name for name in needed if not known.get(name, "").strip()]
        if missing:
            raise SettingsError(
                f"To connect to Experience Platform, {_listed(missing)} must be set. Put the values in the "
                "environment or in a .env file in this folder; your project in the Adobe Developer Console "
                "shows them."
            )
        defaults = {"AEP_PLATFORM_URL": cls.platform_url, "AEP_IMS_URL": cls.ims_url}
        urls = {name: known.get(name, default).strip().rstrip("/") for name, default in defaults.items()}
        stored = [name for name in urls if name not in given and urls[name] != defaults[name]]
        exported = [name for name in _CREDENTIAL if name in given]
        if stored and exported:
            raise SettingsError(
                f"{_listed(stored)} comes from {str(dotenv)!r}, but {_listed(exported)} from the "
                "environment. A file in the current folder must not decide where an exported credential is "
                "sent. Export the URL as well, or keep the whole credential in the file."
            )
        return cls(
            client_id=known["AEP_CLIENT_ID"].strip(),
            client_secret=Secret(known["AEP_CLIENT_SECRET"].strip()),
            org_id=known["AEP_ORG_ID"].strip(),
            sandbox=known["AEP_SANDBOX"].strip(),
            scopes=known.get("AEP_SCOPES", DEFAULT_SCOPES),
            platform_url=urls["AEP_PLATFORM_URL"],
            ims_url=urls["AEP_IMS_URL"],
            state=state,
        )


def _read_dotenv(dotenv: Path | str) -> dict[str, str]:
    """Read a ``.env`` file in UTF-8 or the encoding of its byte order mark; return {} if there is no file."""
    path = Path(dotenv)
    if not path.is_file():
        return {}
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"The file {str(path)!r} cannot be read: {error.strerror or error}. Give yourself read access, "
            "or put the settings in the environment."
        ) from None
    encoding = next((name for bom, name in _BOMS.items() if content.startswith(bom)), "utf-8")
    problem = ""
    text = ""
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        is_marked = encoding != "utf-8"
        problem = (
            f"begins as {encoding.upper()} but does not continue as such" if is_marked else "is not UTF-8"
        )
    if "\0" in text:
        problem = "looks like UTF-16 without a byte order mark"
    if problem:
        raise SettingsError(
            f"The file {str(path)!r} {problem}, so its settings cannot be read reliably. Save it as UTF-8."
        )
    values = dotenv_values(stream=io.StringIO(text))
    return {key: value for key, value in values.items() if value is not None}


@sealed
def redaction_key(environment: Mapping[str, str] | None = None, dotenv: Path | str = ".env") -> Secret:
    """Read the key for keyed hashes from ``CHATLIO_KIT_REDACTION_KEY`` or the file named by ``..._KEY_FILE``.

    Raises:
        SettingsError: There is no key, its file cannot be read, or it is too short.
    """
    known = _read_dotenv(dotenv) | dict(os.environ if environment is None else environment)
    key, file = known.get(_KEY, "").strip(), known.get(f"{_KEY}_FILE", "").strip()
    if file and not key:
        try:
            key = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise SettingsError(f"The file named by {_KEY}_FILE cannot be read: {reason}.") from None
    if len(key) < _SHORTEST_KEY:
        raise SettingsError(
            f"Keyed hashing needs a key of at least {_SHORTEST_KEY} characters. Set {_KEY} in the "
            f"environment or in a .env file, or name a file that holds the key in {_KEY}_FILE. 'openssl rand "
            "-hex 32' generates a key; keep it, because only the same key gives the same hashes."
        )
    return Secret(key)


def require_safe_url(url: str, name: str) -> None:
    """Refuse a URL that would send secrets unencrypted, or whose host is ambiguous.

    Plain ``http://`` is accepted only for loopback addresses.

    Raises:
        SettingsError: The URL is unsafe. The error names the setting, not the URL, which may hold a password.
    """
    parts = _parse_url(url)
    if parts is None:
        raise SettingsError(
            f"{name} must be a plain URL such as https://host, without a user name, password, backslash, "
            "space or control character. Correct it in the environment or in the .env file."
        )
    host = parts.hostname or ""
    if not (parts.scheme == "https" and host) and not (parts.scheme == "http" and _is_loopback(host)):
        raise SettingsError(
            f"{name} must be an https:// URL; plain http:// is accepted only for loopback addresses. "
            "Correct it in the environment or in the .env file."
        )


def _parse_url(url: str) -> SplitResult | None:
    """Parse a URL; return None if libraries may disagree about its host."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError if the port is not a number
    except ValueError:
        return None
    is_plain = "\\" not in url and "@" not in parts.netloc and " " not in url and url.isprintable()
    return parts if is_plain else None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
