"""A development sandbox to verify: the local platform, and platforms that differ from it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chatlio_kit.aep import Platform
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import RunningPlatform, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """A local platform that waits for nothing."""
    store = tmp_path_factory.mktemp("sandbox") / "store"
    with running(store, enabling_delay=0.01, processing_delay=0.01) as server:
        yield server


@pytest.fixture
def platform(server: RunningPlatform) -> Iterator[Platform]:
    """Its client."""
    with Platform(settings_of(server)) as platform:
        yield platform
