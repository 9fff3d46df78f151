"""A local platform for each test, and eyes that see what is on it."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from chatlio_kit.connection import Connection
from chatlio_kit.local_platform import running
from chatlio_kit.platform import Platform
from chatlio_kit.settings import Secret, Settings

Census = Callable[[], dict[str, list[str]]]


@pytest.fixture
def account_settings(tmp_path: Path) -> Iterator[Settings]:
    """Settings of a local platform that runs while the test does."""
    with running(tmp_path / "store", enabling_delay=0.05, processing_delay=0.02) as local:
        account = local.account
        yield Settings(
            client_id=account.client_id,
            client_secret=Secret(account.client_secret),
            org_id=account.org_id,
            sandbox=account.sandbox,
            platform_url=local.url,
            ims_url=local.url,
            is_local=True,
        )


@pytest.fixture
def platform(account_settings: Settings) -> Iterator[Platform]:
    """That platform."""
    with Platform(account_settings) as platform:
        yield platform


@pytest.fixture
def census(platform: Platform) -> Census:
    """Give the ids of everything that is on the platform, by what it is."""

    def count() -> dict[str, list[str]]:
        return {
            "field group": sorted(each["$id"] for each in platform.schemas.titles("fieldgroups")),
            "schema": sorted(each["$id"] for each in platform.schemas.titles("schemas")),
            "dataset": sorted(key for name in _DATASETS for key in platform.catalog.datasets(name)),
            "mapping set": sorted(each["id"] for each in platform.mapping_sets.find()),
            "source": sorted(each.id for each in platform.flows.endpoints("source")),
            "target": sorted(each.id for each in platform.flows.endpoints("target")),
            "dataflow": sorted(each.id for each in platform.flows.flows()),
        }

    return count


_DATASETS = ("chatlio dataset", "shop chatlio dataset", "foreign")


@pytest.fixture
def landed(platform: Platform) -> Callable[[Connection, int], list[dict[str, Any]]]:
    """Wait until a dataset holds so many rows, and give them."""

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
