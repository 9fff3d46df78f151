"""A local platform for each test, and functions that list what is on it."""

from __future__ import annotations

import io
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from chatlio_kit.aep import Platform
from chatlio_kit.aep import http as wire
from chatlio_kit.cli import main
from chatlio_kit.connection import Connection
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import RunningPlatform, running
from chatlio_kit.settings import Settings

Census = Callable[[], dict[str, list[str]]]


class CommandLine:
    """A runner of ``chatlio-kit --platform aep`` against a platform at some URL, with all its output.

    Attributes:
        said: everything printed or logged, at any level.
    """

    def __init__(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.state = folder / "state"
        self.said = ""
        self._folder = folder
        self._caplog = caplog
        caplog.set_level(logging.DEBUG)

    def __call__(self, local: RunningPlatform, *arguments: str, **changed: str) -> Result:
        """Run a command; keywords replace settings, written as in ``AEP_SANDBOX``."""
        account = local.account
        environment: dict[str, str | None] = {
            "AEP_CLIENT_ID": account.client_id,
            "AEP_CLIENT_SECRET": account.client_secret,
            "AEP_ORG_ID": account.org_id,
            "AEP_SANDBOX": account.sandbox,
            "AEP_PLATFORM_URL": local.url,
            "AEP_IMS_URL": local.url,
            "NO_PROXY": "127.0.0.1",
            **changed,
        }
        options = ["--platform", "aep", "--state", str(self.state)]
        self._caplog.clear()
        result = CliRunner(env=environment).invoke(main, [*arguments, *options])
        self.said += result.output + result.stderr + self._caplog.text
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def secrets_said(self, *secrets: str) -> list[str]:
        """The given secrets, tokens and inlets in the output."""
        found = [secret for secret in secrets if secret in self.said]
        return found + re.findall(r"eyJ[\w.-]{20,}|/collection/(?:batch/)?[0-9a-f]{8,}", self.said)


@pytest.fixture
def settings_for() -> Callable[[RunningPlatform], Settings]:
    """Create settings for the account of a local platform that the test runs itself."""
    return settings_of


@pytest.fixture
def chatlio_kit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    """The command line, in a folder without a ``.env`` file; pauses between tries are shortened."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wire, "FIRST_PAUSE", 0.0)
    return CommandLine(tmp_path, caplog)


@pytest.fixture
def account_settings(tmp_path: Path) -> Iterator[Settings]:
    """Settings of a local platform that runs while the test does."""
    with running(tmp_path / "store", enabling_delay=0.05, processing_delay=0.02) as local:
        yield settings_of(local)


@pytest.fixture
def platform(account_settings: Settings) -> Iterator[Platform]:
    """The client of that platform."""
    with Platform(account_settings) as platform:
        yield platform


@pytest.fixture
def count_objects() -> Callable[[Platform], dict[str, list[str]]]:
    """Return the ids of everything on a platform, by type."""

    def count(platform: Platform) -> dict[str, list[str]]:
        return {
            "field group": sorted(title["$id"] for title in platform.schemas.titles("fieldgroups")),
            "schema": sorted(title["$id"] for title in platform.schemas.titles("schemas")),
            "dataset": sorted(key for name in _DATASETS for key in platform.catalog.datasets(name)),
            "mapping set": sorted(entry["id"] for entry in platform.mapping_sets.find()),
            "source": sorted(endpoint.id for endpoint in platform.flows.endpoints("source")),
            "target": sorted(endpoint.id for endpoint in platform.flows.endpoints("target")),
            "dataflow": sorted(flow.id for flow in platform.flows.flows()),
        }

    return count


@pytest.fixture
def census(platform: Platform, count_objects: Callable[[Platform], dict[str, list[str]]]) -> Census:
    """Return the ids of everything on the test's platform, by type."""
    return lambda: count_objects(platform)


_DATASETS = ("chatlio dataset", "shop chatlio dataset", "foreign")


@pytest.fixture
def landed(platform: Platform) -> Callable[[Connection, int], list[dict[str, Any]]]:
    """Wait until a dataset holds this many rows, and return them."""

    def rows(connection: Connection, count: int) -> list[dict[str, Any]]:
        deadline = time.monotonic() + 30
        while True:
            found: list[dict[str, Any]] = []
            for batch in platform.catalog.batches(connection.dataset_id):
                if batch.status == "success":
                    for file in platform.data_access.files(batch.id):
                        content = platform.data_access.download(file)
                        found += pq.read_table(io.BytesIO(content)).to_pylist()
                elif batch.status == "failed":
                    raise AssertionError(list(platform.data_access.failed_rows(batch.id)))
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.05)

    return rows
