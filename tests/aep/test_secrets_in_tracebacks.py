"""An exception that leaves the package ``aep`` shows no secret, even in a verbose traceback.

A notebook in the mode ``%xmode Verbose`` stores the variables of each frame next to its line, and so do error
trackers. An exception at any line between a public call and the wire must not carry a secret.
"""

from __future__ import annotations

import copy
import logging
import pickle
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import requests
from IPython.core.interactiveshell import InteractiveShell

import chatlio_kit
from chatlio_kit.aep import Inlet, Platform, masking
from chatlio_kit.aep import http as wire
from chatlio_kit.settings import Secret, Settings

PACKAGE = Path(chatlio_kit.__file__).parent
ROOMS = tuple(str(PACKAGE / place) for place in ("platform", "settings.py", "connection"))
CLIENT_SECRET = "p8e-very-secret"
TOKEN = "eyJhbGciOi.eyJhcyI6Imlt.c2lnbmF0dXJl"
INLET = "5f1e0c9ab3d24e6f8a7b6c5d4e3f2a1b"
SECRETS = (CLIENT_SECRET, TOKEN, INLET)
FLOW = {
    "items": [{"id": "f-1", "name": "flow", "state": "enabled", "options": {"inletUrl": f"https://h.example/collection/{INLET}"}}]
}  # fmt: skip


@pytest.fixture(scope="module")
def shell() -> InteractiveShell:
    """A shell that shows every variable of every frame."""
    shell = InteractiveShell()
    shell.run_line_magic("xmode", "Verbose")
    return shell


@pytest.fixture
def shown(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> Callable[[Any], str]:
    """Run a call in the shell and return the traceback that a notebook would store."""

    def run(call: Any) -> str:
        shell.user_ns["call"] = call
        shell.run_cell("call()")
        return "".join(capsys.readouterr())

    return run


@contextmanager
def interrupted_at(count: int, raised: type[BaseException], reached: list[str]) -> Iterator[None]:
    """Raise at the n-th line that runs in the rooms that handle secrets."""
    left = [count]

    def at_line(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                reached.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
                sys.settrace(None)
                raise raised("enough")
        return at_line

    def at_call(frame: FrameType, event: str, _: Any) -> Any:
        return at_line if frame.f_code.co_filename.startswith(ROOMS) else None

    before = sys.gettrace()
    sys.settrace(at_call)
    try:
        yield
    finally:
        sys.settrace(before)


def inlet_of(stand: Any) -> Secret:
    """An inlet at the stand."""
    return stand.inlet  # type: ignore[no-any-return]


def ask_for_flow(stand: Any, settings: Settings) -> None:
    """Sign in and read a dataflow with its inlet."""
    stand.will_answer(FLOW)
    with Platform(settings) as platform:
        assert platform.flows.flow("f-1").inlet_url is not None


def ask_and_be_refused(stand: Any, settings: Settings) -> None:
    """Be refused with a body that repeats the request."""
    stand.will_answer({"title": f"no {TOKEN}1 {CLIENT_SECRET}"}, status=400)
    with Platform(settings) as platform:
        platform.schemas.tenant_id()


def post_to_inlet(stand: Any, settings: Settings) -> None:
    """Post a batch to an inlet that asks for a token."""
    stand.will_answer({"title": "Authorization"}, status=401)
    stand.will_answer({"responses": []})
    with Platform(settings) as platform, platform.inlet(inlet_of(stand), "f-1") as inlet:
        assert repr(inlet).startswith("Inlet(http")
        inlet.post_batch(b"{}")


def read_settings(stand: Any, settings: Settings) -> None:
    """Read the settings of the environment."""
    Settings.from_environment(dotenv="nowhere.env")


@pytest.fixture(autouse=True)
def _environment(stand: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings in the environment, and an inlet at the stand."""
    monkeypatch.setenv("AEP_CLIENT_ID", "a")
    monkeypatch.setenv("AEP_CLIENT_SECRET", CLIENT_SECRET)
    monkeypatch.setenv("AEP_ORG_ID", settings.org_id)
    monkeypatch.setenv("AEP_SANDBOX", "dev")
    stand.inlet = Secret(f"{stand.url}/collection/{INLET}")


@pytest.mark.parametrize(("raised", "first"), [(KeyboardInterrupt, 1), (RuntimeError, 2)])
@pytest.mark.parametrize("job", [ask_for_flow, ask_and_be_refused, post_to_inlet, read_settings])
def test_nothing_shows_wherever_it_is_interrupted(
    stand: Any,
    settings: Settings,
    shown: Callable[[Any], str],
    job: Any,
    raised: type[BaseException],
    first: int,
) -> None:
    """Each line between the call and the wire is interrupted in turn."""
    count, tried = first, 0
    while True:
        reached: list[str] = []

        def call(count: int = count, reached: list[str] = reached) -> None:
            with interrupted_at(count, raised, reached):
                job(stand, settings)

        said = shown(call)
        stand.answers.clear()
        if not reached:
            break
        assert raised.__name__ in said
        assert not [secret for secret in SECRETS if secret in said], (reached, said)
        count, tried = count + 1 + count // 6, tried + 1  # a loop runs the same lines repeatedly
    assert tried > 10


@pytest.mark.parametrize("point", ["connect", "sendall", "recv_into"])
@pytest.mark.parametrize("job", [ask_for_flow, post_to_inlet])
def test_nothing_shows_when_the_network_is_interrupted(
    stand: Any,
    settings: Settings,
    shown: Callable[[Any], str],
    monkeypatch: pytest.MonkeyPatch,
    job: Any,
    point: str,
) -> None:
    """Ctrl-C while requests, urllib3 and http.client hold headers, forms and URLs in their variables."""
    real = getattr(socket.socket, point)
    for when in (1, 2, 3):
        calls: list[object] = []

        def stop(*arguments: Any, when: int = when, calls: list[object] = calls) -> Any:
            if threading.current_thread() is threading.main_thread():  # the stand has its own threads
                calls.append(None)
                if len(calls) == when:
                    if point == "connect":
                        arguments[0].close()  # urllib3 leaves it open
                    raise KeyboardInterrupt
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, point, stop)
            said = shown(lambda: job(stand, settings))
        stand.answers.clear()
        assert ("KeyboardInterrupt" in said) == (len(calls) >= when)
        assert not [secret for secret in SECRETS if secret in said], said
        assert len(calls) >= 1


def test_a_fault_of_ours_names_its_location(
    stand: Any, settings: Settings, shown: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames are left out, but not their location: a fault can still be found."""

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(wire.requests.Session, "request", broken)
    said = shown(Platform(settings).schemas.tenant_id)
    assert "a fault of ours" in said
    assert f"Raised in {__file__}:" in said


def test_a_secret_is_never_plain_text() -> None:
    """It is copied within the process, and never written."""
    secret = Secret(CLIENT_SECRET)
    settings = Settings("c", secret, "o", "dev")
    forms = [repr(settings), str(secret), f"{secret:>30}", repr([secret]), repr(copy.deepcopy(settings))]
    assert not [form for form in forms if CLIENT_SECRET in form]
    assert copy.copy(secret).reveal() == copy.deepcopy(settings).client_secret.reveal() == CLIENT_SECRET
    for each in (secret, settings):
        with pytest.raises(TypeError, match="must not be written to disk"):
            pickle.dumps(each)


def test_logs_of_the_http_libraries_are_masked(caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG they write the path of each request, in three places."""
    caplog.set_level(logging.DEBUG)
    masking.mask_http_logs()
    for name in ("urllib3.connectionpool", "urllib3.poolmanager", "urllib3.util.retry"):
        logging.getLogger(name).debug("url=%r", f"/collection/batch/{INLET}")
    assert INLET not in caplog.text
    assert caplog.text.count("/collection/batch/***") == 3


def test_neither_netrc_nor_redirect_moves_the_credential(
    stand: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """Over https, where the environment is trusted for proxies, a .netrc entry still changes no header."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password else\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    session = wire.new_session("https://platform.example")
    request = requests.Request("GET", "https://platform.example/x", headers={"Authorization": "Bearer t"})
    assert session.prepare_request(request).headers["Authorization"] == "Bearer t"
    session.close()
    stand.will_answer({"title": "moved"}, status=302, headers={"Location": "http://localhost:9/steal"})
    with Platform(settings) as platform, pytest.raises(chatlio_kit.ChatlioKitError, match="302"):
        platform.schemas.tenant_id()
    assert len(stand.asked) == 1


def test_a_password_of_a_proxy_does_not_show(
    monkeypatch: pytest.MonkeyPatch, shown: Callable[[Any], str]
) -> None:
    """An unreachable proxy is reported without its URL."""
    monkeypatch.setattr(wire, "FIRST_PAUSE", 0.0)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://someone:proxy-pass@127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    inlet = Inlet(Secret(f"https://h.example/collection/{INLET}"), "f-1")
    said = shown(lambda: inlet.post_batch(b"{}"))
    assert "proxy" in said
    assert "proxy-pass" not in said
    assert INLET not in said
