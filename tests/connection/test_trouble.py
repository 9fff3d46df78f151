"""Any problem in reaching the platform: one message, exit code 1, no traceback, no secret."""

from __future__ import annotations

import base64
import hashlib
import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from chatlio_kit.aep import Platform
from chatlio_kit.connection import plan_connection
from chatlio_kit.errors import AuthenticationFailed
from chatlio_kit.local_platform import running

WRONG_SECRET = "p8e-not-the-secret"
OTHER_ORG = "0123456789ABCDEF01234567@AdobeOrg"
COMMANDS = (["doctor"], ["connect"], ["connect", "--dry-run"], ["disconnect", "--yes"])


@pytest.mark.parametrize(
    ("changed", "line", "sentence"),
    [
        ({"AEP_CLIENT_SECRET": WRONG_SECRET}, "token", "invalid client_secret parameter"),
        ({"AEP_CLIENT_ID": "somebody"}, "token", "invalid client_id parameter"),
        ({"AEP_SCOPES": "openid,more"}, "token", "Set AEP_SCOPES"),
        ({"AEP_ORG_ID": OTHER_ORG}, "org", "Profile is not valid"),
        ({"AEP_ORG_ID": "acme"}, "org", "User region is missing"),
        ({"AEP_SANDBOX": "nowhere"}, "sandbox", "The sandbox nowhere was not found"),
    ],
)
def test_a_wrong_setting_is_reported_in_one_sentence(
    tmp_path: Path, chatlio_kit: Any, changed: dict[str, str], line: str, sentence: str
) -> None:
    """The doctor fails exactly that line and names the next step; other commands end with the message."""
    with running(tmp_path / "store") as local:
        for command in COMMANDS:
            done = chatlio_kit(local, *command, **changed)
            assert done.exit_code == 1
            assert sentence in " ".join((done.stdout + done.stderr).split())
            if command == ["doctor"]:
                failed = [entry.split()[0] for entry in done.stdout.splitlines() if "  fail  " in entry]
                assert failed == [line]
                assert f"{line}: " in done.stdout
            else:
                assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert "Traceback" not in chatlio_kit.said
    assert chatlio_kit.secrets_said(local.account.client_secret, WRONG_SECRET) == []


def test_a_host_that_does_not_answer_is_reported_in_one_sentence(tmp_path: Path, chatlio_kit: Any) -> None:
    """A port without a listener: the doctor fails, and so does every command, with what to check."""
    with socket.socket() as closed, running(tmp_path / "store") as local:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
        for setting, line in (("AEP_IMS_URL", "token"), ("AEP_PLATFORM_URL", "org")):
            for command in COMMANDS:
                done = chatlio_kit(local, *command, **{setting: nobody})
                assert done.exit_code == 1
                reported = " ".join((done.stdout + done.stderr).split())
                assert "no connection could be made" in reported
                assert "Check the network, any proxy, and the platform's URL." in reported
                if command == ["doctor"]:
                    failed = [entry.split()[0] for entry in done.stdout.splitlines() if "  fail  " in entry]
                    assert failed == [line]
    assert "Traceback" not in chatlio_kit.said
    assert chatlio_kit.secrets_said(local.account.client_secret) == []


def test_an_untrusted_certificate_is_reported_in_one_sentence(
    tmp_path: Path, chatlio_kit: Any, untrusted_url: str
) -> None:
    """A self-signed certificate is refused immediately, with the setting for a proxy's own certificate."""
    with running(tmp_path / "store") as local:
        for setting, line in (("AEP_IMS_URL", "token"), ("AEP_PLATFORM_URL", "org")):
            for command in COMMANDS:
                done = chatlio_kit(local, *command, **{setting: untrusted_url})
                assert done.exit_code == 1
                reported = " ".join((done.stdout + done.stderr).split())
                assert "the certificate of the server could not be verified" in reported
                assert "REQUESTS_CA_BUNDLE" in reported
                if command == ["doctor"]:
                    failed = [entry.split()[0] for entry in done.stdout.splitlines() if "  fail  " in entry]
                    assert failed == [line]
    assert "Traceback" not in chatlio_kit.said
    assert chatlio_kit.secrets_said(local.account.client_secret) == []


def test_an_expired_token_is_renewed_during_a_run(tmp_path: Path, settings_for: Any) -> None:
    """A token that the platform no longer accepts is replaced by a new one, silently."""
    with (
        running(tmp_path / "store", token_lifetime=1) as local,
        Platform(settings_for(local)) as platform,
    ):
        tokens = platform._transport.tokens
        platform.sign_in()
        first = tokens.current()
        tokens._good_until = float("inf")
        time.sleep(1.05)
        assert plan_connection(platform, webhooks=["feedback"]).changes == 7
        assert tokens.current() != first


def test_a_token_that_is_revoked_immediately_is_reported(
    tmp_path: Path, settings_for: Any, chatlio_kit: Any
) -> None:
    """If a new token is refused as well, the credential is reported as the cause, and nothing is retried."""
    with running(tmp_path / "store", token_lifetime=0) as local:
        with (
            Platform(settings_for(local)) as platform,
            pytest.raises(AuthenticationFailed, match=r"Oauth token is not valid .*may have been revoked"),
        ):
            plan_connection(platform)
        for command in COMMANDS:
            done = chatlio_kit(local, *command)
            assert done.exit_code == 1
            assert "the credential may have been revoked" in done.stdout + done.stderr
    assert "Traceback" not in chatlio_kit.said
    assert chatlio_kit.secrets_said(local.account.client_secret) == []


def test_missing_settings_are_all_named(tmp_path: Path, chatlio_kit: Any) -> None:
    """The doctor lists the missing settings instead of ending before its first line."""
    with running(tmp_path / "store") as local:
        done = chatlio_kit(local, "doctor", AEP_CLIENT_SECRET="", AEP_SANDBOX="")
        plain = chatlio_kit(local, "doctor", AEP_PLATFORM_URL="http://platform.example")
    assert done.exit_code == plain.exit_code == 1
    assert "AEP_CLIENT_SECRET and AEP_SANDBOX must be set" in done.stdout
    assert "AEP_PLATFORM_URL must be an https:// URL" in plain.stdout


def test_creating_showing_and_removing_a_connection_prints_no_secret(
    tmp_path: Path, chatlio_kit: Any
) -> None:
    """Every command of a connection's life, at every log level, shows no inlet, token or client secret."""
    with running(tmp_path / "store", enabling_delay=0.05) as local:
        steps = [["doctor"], ["connect", "--dry-run"], ["connect"], ["connect"], ["doctor"]]
        for command in [*steps, ["disconnect", "--yes"]]:
            for options in ([], ["--json"]):
                assert chatlio_kit(local, *command, *options).exit_code == 0
    assert "/collection/***" in chatlio_kit.said
    assert "urllib3" in chatlio_kit.said
    assert chatlio_kit.secrets_said(local.account.client_secret) == []


@pytest.fixture
def untrusted_url(tmp_path: Path) -> Iterator[str]:
    """The URL of a server over TLS with a self-signed certificate."""
    pem = tmp_path / "self-signed.pem"
    pem.write_text(self_signed("127.0.0.1"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def self_signed(host: str) -> str:
    """Write a key and a certificate signed by it, in PEM (RFC 8017 and RFC 5280)."""
    noise = random.Random(host)
    p, q, e = prime(noise), prime(noise), 65_537
    n, d = p * q, pow(e, -1, (p - 1) * (q - 1))
    key = sequence(*map(integer, (0, n, e, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p))))
    rsa, signed_with = "2a864886f70d010101", "2a864886f70d01010b"
    name = sequence(der(0x31, sequence(der(0x06, bytes.fromhex("550403")), der(0x0C, host.encode()))))
    valid = sequence(der(0x17, b"240101000000Z"), der(0x17, b"491231235959Z"))
    public = sequence(algorithm(rsa), der(0x03, b"\0" + sequence(integer(n), integer(e))))
    body = sequence(integer(1), algorithm(signed_with), name, valid, name, public)
    sha256 = algorithm("608648016503040201")
    digest = sequence(sha256, der(0x04, hashlib.sha256(body).digest()))
    padded = b"\0\1" + b"\xff" * (256 - 3 - len(digest)) + b"\0" + digest
    signature = pow(int.from_bytes(padded, "big"), d, n).to_bytes(256, "big")
    certificate = sequence(body, algorithm(signed_with), der(0x03, b"\0" + signature))
    return in_pem("RSA PRIVATE KEY", key) + in_pem("CERTIFICATE", certificate)


def prime(noise: random.Random) -> int:
    """A probable prime of 1024 bits whose two highest bits are set."""
    while True:
        number = noise.getrandbits(1024) | 3 << 1022 | 1
        if all(number % small for small in range(3, 2000, 2)) and pow(2, number - 1, number) == 1:
            return number


def der(tag: int, content: bytes) -> bytes:
    """One value in DER."""
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def sequence(*parts: bytes) -> bytes:
    """A sequence in DER."""
    return der(0x30, b"".join(parts))


def integer(value: int) -> bytes:
    """An integer in DER."""
    return der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def algorithm(identifier: str) -> bytes:
    """An algorithm without parameters in DER."""
    return sequence(der(0x06, bytes.fromhex(identifier)), b"\x05\0")


def in_pem(label: str, content: bytes) -> str:
    """Bytes as PEM."""
    return f"-----BEGIN {label}-----\n{base64.encodebytes(content).decode()}-----END {label}-----\n"
