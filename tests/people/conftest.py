"""An export of 250 events, and platforms that are reached by settings, as Adobe's is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

import chatlio_kit as ck
from chatlio_kit.aep import Platform
from chatlio_kit.aep import http as wire
from chatlio_kit.connection import provision
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import running
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import Tables

OpenPlatform = Callable[..., AbstractContextManager[Platform]]


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample export."""
    return write_sample(tmp_path_factory.mktemp("people") / "sample", events=250, seed=11).path


@pytest.fixture(scope="session")
def sample_tables(sample: Path) -> Tables:
    """The sample's frames."""
    return ck.read_export(sample).to_tables(quiet=True)


@pytest.fixture
def open_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenPlatform:
    """Start a platform that is reached by settings and is not called local; pauses are short."""
    monkeypatch.setattr(wire, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(provision, "_FIRST_POLL", 0.02)

    @contextmanager
    def start(name: str = "far", **options: Any) -> Iterator[Platform]:
        delays = {"enabling_delay": 0.01, "processing_delay": 0.01}
        with running(tmp_path / name, **{**delays, **options}) as server:
            settings = replace(settings_of(server, tmp_path / "state"), is_local=False)
            with Platform(settings, sleep=lambda seconds: time.sleep(min(seconds, 0.1))) as platform:
                yield platform

    return start


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[requests.PreparedRequest]:
    """Every request that leaves."""
    asked: list[requests.PreparedRequest] = []
    send = HTTPAdapter.send

    def record(self: HTTPAdapter, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        asked.append(request)
        return send(self, request, **options)

    monkeypatch.setattr(HTTPAdapter, "send", record)
    return asked


@pytest.fixture
def use_settings(monkeypatch: pytest.MonkeyPatch) -> Callable[[Platform], None]:
    """Put a platform's settings into the environment, where commands find them."""

    def use(platform: Platform) -> None:
        settings = platform.settings
        for name, value in (
            ("CLIENT_ID", settings.client_id),
            ("CLIENT_SECRET", settings.client_secret.reveal()),
            ("ORG_ID", settings.org_id),
            ("SANDBOX", settings.sandbox),
            ("PLATFORM_URL", settings.platform_url),
            ("IMS_URL", settings.ims_url),
        ):
            monkeypatch.setenv(f"AEP_{name}", value)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    return use
