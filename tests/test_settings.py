"""Settings: read only if unambiguous, and never a leak of secrets."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from chatlio_kit.errors import SettingsError
from chatlio_kit.settings import Settings, redaction_key

ORG = "0123456789ABCDEF01234567@AdobeOrg"
LINES = f"# r\u00e9glages\nAEP_CLIENT_ID=a\nAEP_CLIENT_SECRET=b-secret\nAEP_ORG_ID={ORG}\nAEP_SANDBOX=dev\n"
CREDENTIAL = {
    "AEP_CLIENT_ID": "a",
    "AEP_CLIENT_SECRET": "b-secret",
    "AEP_ORG_ID": ORG,
    "AEP_SANDBOX": "dev",
}


@pytest.mark.parametrize(
    "content",
    [
        LINES.encode(),
        codecs.BOM_UTF8 + LINES.encode(),
        LINES.encode("utf-16"),
        codecs.BOM_UTF16_BE + LINES.encode("utf-16-be"),
        LINES.replace("\n", "\r\n").encode("utf-16"),
        LINES.encode("utf-32"),
    ],
    ids=["utf-8", "utf-8 bom", "utf-16 le", "utf-16 be", "powershell", "utf-32"],
)
def test_a_file_whose_encoding_is_certain_is_read(tmp_path: Path, content: bytes) -> None:
    """Its byte order mark says so, or it is UTF-8."""
    (tmp_path / ".env").write_bytes(content)
    found = Settings.from_environment({}, tmp_path / ".env")
    assert (found.client_id, found.client_secret.reveal(), found.sandbox) == ("a", "b-secret", "dev")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (LINES.encode("latin-1"), "is not UTF-8"),
        (LINES.encode("utf-16-le"), "is not UTF-8"),
        (LINES.replace("\u00e9", "e").encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (codecs.BOM_UTF16_LE + b"A", "begins as UTF-16"),
    ],
)
def test_a_file_in_another_encoding_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    """One sentence names the file, its encoding and what to do; so for the key of redaction."""
    (tmp_path / ".env").write_bytes(content)
    for read in (Settings.from_environment, redaction_key):
        with pytest.raises(SettingsError, match=said) as error:
            read({}, tmp_path / ".env")  # type: ignore[operator]
        assert str(tmp_path / ".env") in str(error.value)
        assert "Save it as UTF-8" in str(error.value)


@pytest.mark.parametrize("setting", ["AEP_IMS_URL", "AEP_PLATFORM_URL"])
@pytest.mark.parametrize("exported", ["AEP_CLIENT_SECRET", "AEP_CLIENT_ID"])
def test_a_file_does_not_redirect_an_exported_credential(tmp_path: Path, setting: str, exported: str) -> None:
    """Credentials from the environment go only to URLs from the environment."""
    rest = "\n".join(f"{name}={value}" for name, value in CREDENTIAL.items() if name != exported)
    (tmp_path / ".env").write_text(f"{rest}\n{setting}=https://evil.example\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=setting) as error:
        Settings.from_environment({exported: CREDENTIAL[exported]}, tmp_path / ".env")
    assert exported in str(error.value)
    assert "evil" not in str(error.value)


def test_sources_that_agree_are_accepted(tmp_path: Path) -> None:
    """The whole credential in the file, or a URL from the environment too, or the default URL."""
    rest = "\n".join(f"{name}={value}" for name, value in CREDENTIAL.items())
    path = tmp_path / ".env"
    path.write_text(f"{rest}\nAEP_IMS_URL=https://ims.example/\n", encoding="utf-8")
    assert Settings.from_environment({}, path).ims_url == "https://ims.example"
    both = CREDENTIAL | {"AEP_IMS_URL": "https://own.example"}
    assert Settings.from_environment(both, path).ims_url == "https://own.example"
    path.write_text("AEP_IMS_URL=https://ims-na1.adobelogin.com/\n", encoding="utf-8")
    assert Settings.from_environment(CREDENTIAL, path).ims_url == "https://ims-na1.adobelogin.com"


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example\\@127.0.0.1",
        "https://someone:pass-word@platform.example",
        "https://127.0.0.1@evil.example",
        "https://platform.example/\u0000pass-word",
        "https://platform.example\n.evil.example",
        "https:// platform.example",
        "https://[::1",
        "https://platform.example:99999",
        "https://platform.example/?key=pass-word",
        "https://platform.example#pass-word",
        "http://platform.example",
        "ftp://127.0.0.1",
        "platform.example",
        "",
    ],
)
@pytest.mark.parametrize("setting", ["AEP_PLATFORM_URL", "AEP_IMS_URL"])
def test_an_address_that_can_be_read_in_two_ways_is_refused(url: str, setting: str, tmp_path: Path) -> None:
    """The sentence names the setting and repeats nothing of the address, which may hold a password."""
    with pytest.raises(SettingsError, match=setting) as error:
        Settings.from_environment(CREDENTIAL | {setting: url}, tmp_path / "none")
    assert "pass-word" not in str(error.value)
    assert "evil" not in str(error.value)
