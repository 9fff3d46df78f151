"""Where the platform is and who we are there.

Settings come from the environment or a ``.env`` file; secrets never show.
"""

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
"""The platforms: the embedded one, and Experience Platform."""

DEFAULT_STATE = Path(".chatlio-kit")
_KEY = "CHATLIO_KIT_REDACTION_KEY"
_LEAST_KEY = 16
DEFAULT_SCOPES = "openid,session,AdobeID,read_organizations,additional_info.projectedProductContext"
_BOMS = {  # the longer ones first: UTF-32's begins as UTF-16's does
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_CREDENTIAL = ("AEP_CLIENT_ID", "AEP_CLIENT_SECRET")
_URLS = ("AEP_PLATFORM_URL", "AEP_IMS_URL")

P = ParamSpec("P")
T = TypeVar("T")


def sealed(function: Callable[P, T]) -> Callable[P, T]:
    """Keep the frames of a function that handles secrets out of every traceback.

    Notebooks in verbose mode and error trackers write the variables of each frame next to its line. An
    exception that leaves the function, an interrupt included, begins its traceback here instead; where it
    came from is added as a note.
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
    """Add the file and line that raised an exception nobody planned for."""
    trace = error.__traceback__
    if not isinstance(error, Exception) or isinstance(error, ChatlioKitError) or hasattr(error, "__notes__"):
        return
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        error.add_note(f"Raised in {place}. Frames that may hold secrets are left out.")


class Secret:
    """A text that shows itself as ``***`` wherever it is printed, logged, copied or formatted."""

    __slots__ = ("_value",)

    @sealed
    def __init__(self, value: str) -> None:
        self._value = value

    @sealed
    def reveal(self) -> str:
        """Return the text itself, for the wire alone: to be called in a sealed function only."""
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
                    f"{setting} must be an address without '?' and '#'. "
                    "Correct it in the environment or in the .env file."
                )

    @property
    def platform_name(self) -> str:
        """Which platform this is, as destinations name it: ``local``, or the platform's URL."""
        return "local" if self.is_local else self.platform_url

    @classmethod
    @sealed
    def from_environment(
        cls,
        environment: Mapping[str, str] | None = None,
        dotenv: Path | str = ".env",
        state: Path = DEFAULT_STATE,
    ) -> Settings:
        """Read ``AEP_*`` from the environment, else from a ``.env`` file.

        A credential of the environment is sent only where the environment says: a ``.env`` file in the
        current folder, which anybody may have written, cannot name the address.

        Raises:
            SettingsError: when a needed setting is missing, naming all that are; when the file cannot be
                read; or when it names an address for a credential of the environment.
        """
        given = dict(os.environ if environment is None else environment)
        stored = _stored(dotenv)
        known = stored | given
        needed = (*_CREDENTIAL, "AEP_ORG_ID", "AEP_SANDBOX")
        missing = [name for name in needed if not known.get(name, "").strip()]
        if missing:
            raise SettingsError(
                f"To talk to Experience Platform, {_listed(missing)} must be set. "
                "Put them in the environment or in a .env file in this folder; "
                "your project of the Adobe Developer Console shows the values."
            )
        usual = {"AEP_PLATFORM_URL": cls.platform_url, "AEP_IMS_URL": cls.ims_url}
        urls = {name: known.get(name, usual[name]).strip().rstrip("/") for name in _URLS}
        strange = [name for name in _URLS if name not in given and urls[name] != usual[name]]
        exported = [name for name in _CREDENTIAL if name in given]
        if strange and exported:
            raise SettingsError(
                f"{_listed(strange)} comes from {str(dotenv)!r}, but {_listed(exported)} from the "
                "environment: a file in the current folder cannot say where an exported credential is sent. "
                "Export the address as well, or keep the whole credential in the file."
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


def _stored(dotenv: Path | str) -> dict[str, str]:
    """Read a ``.env`` file; empty where there is none.

    Its encoding is UTF-8, or what its byte order mark says.
    """
    path = Path(dotenv)
    if not path.is_file():
        return {}
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"The file {str(path)!r} cannot be read: {error.strerror or error}. Make it readable for you, or "
            "put the settings in the environment."
        ) from None
    encoding = next((name for bom, name in _BOMS.items() if content.startswith(bom)), "utf-8")
    wrong = None
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        wrong = (
            "is not UTF-8" if encoding == "utf-8" else f"begins as {encoding.upper()} but goes on otherwise"
        )
    else:
        if "\0" in text:
            wrong = "looks like UTF-16 without a byte order mark"
    if wrong is not None:
        raise SettingsError(
            f"The file {str(path)!r} {wrong}, so its settings cannot be read for certain. "
            "Save it as UTF-8, which every editor offers."
        )
    values = dotenv_values(stream=io.StringIO(text))
    return {key: value for key, value in values.items() if value is not None}


@sealed
def redaction_key(environment: Mapping[str, str] | None = None, dotenv: Path | str = ".env") -> Secret:
    """Read the key of keyed hashes: ``CHATLIO_KIT_REDACTION_KEY``, or the file that ``..._KEY_FILE`` names.

    Raises:
        SettingsError: when there is none, when its file cannot be read, or when it can be guessed.
    """
    known = _stored(dotenv) | dict(os.environ if environment is None else environment)
    key, file = known.get(_KEY, "").strip(), known.get(f"{_KEY}_FILE", "").strip()
    if file and not key:
        try:
            key = Path(file).read_text(encoding="utf-8").strip()
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
    """Refuse a URL over which secrets would travel in the clear, or to a host that cannot be told.

    Plain ``http://`` is accepted for loopback addresses only. Libraries disagree about which host a URL with
    a backslash, a user name or a control character names, so such a URL is refused.

    Raises:
        SettingsError: naming the setting, not the URL, which may hold a password.
    """
    parts = _parted(url)
    if parts is None or _is_ambiguous(url, parts):
        raise SettingsError(
            f"{name} must be a plain address such as https://host, without a user name, password, backslash, "
            "blank or control character. Correct it in the environment or in the .env file."
        )
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and _is_loopback(parts.hostname or ""):
        return
    raise SettingsError(
        f"{name} must be an https:// address; plain http:// is accepted for loopback addresses only. "
        "Correct it in the environment or in the .env file."
    )


def _parted(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _is_ambiguous(url: str, parts: SplitResult) -> bool:
    return "\\" in url or "@" in parts.netloc or any(not each.isprintable() or each == " " for each in url)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
