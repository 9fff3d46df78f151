"""A forecast: its sums, its estimate of files, and the comparison of the routes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from chatlio_kit.delivery import Forecast
from chatlio_kit.delivery.forecast import Share, in_bytes, in_time
from chatlio_kit.delivery.requests.wire import wire_records
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import Tables, read_export

Payload = dict[str, Any]


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """Events of every kind."""
    return read_export(write_sample(tmp_path / "captures", events=200).path).to_tables(quiet=True)


def test_parts_add_up(
    tmp_path: Path,
    transcript: Payload,
    envelope: Callable[..., Payload],
    ndjson: Callable[[Path, Iterable[Any]], Path],
) -> None:
    """Records over 10 KB and over 1 MB are counted in every part; those over 1 MB take no request."""
    lines = []
    for number, size in enumerate([10, 20_000, 1_100_000]):
        reported = deepcopy(transcript) | {"conversationUUID": str(UUID(int=number))}
        reported["messages"][0]["text"] = "x" * size
        lines.append(envelope(reported, "transcript"))
    tables = read_export(ndjson(tmp_path / "x.ndjson", lines)).to_tables(quiet=True)
    total = sum(len(record.body) for record in wire_records(tables.events, tables.messages))
    forecast = Forecast("a dataset")
    for count in (1, 2):
        forecast.add(tables.events, tables.messages)
        share = forecast.kinds["transcript"]
        assert (share.records, share.heavy, share.too_large) == (3 * count, 2 * count, count)
        assert (share.requests, share.bytes) == (count, total * count)
        noun = "1 record" if count == 1 else "2 records"
        assert f"over 1 MB: {noun}, which become dead letters if streamed" in str(forecast)


def test_a_page_mentions_only_what_there_is(tables: Tables) -> None:
    """Neither large records nor waits, if there are none."""
    forecast = Forecast("a dataset")
    forecast.add(tables.events, tables.messages)
    assert "over 1 MB" not in str(forecast)
    assert "A stream also waits" not in str(forecast)


def test_a_forecast_is_scaled(tables: Tables) -> None:
    """A plan for more records of the same sort is a multiple; its files are measured once."""
    forecast = Forecast("a dataset")
    forecast.add(tables.events, tables.messages)
    scaled = forecast.scaled(1000)
    assert forecast.batch_bytes > 20_000
    for kind, share in forecast.kinds.items():
        assert asdict(scaled.kinds[kind]) == {name: 1000 * value for name, value in asdict(share).items()}
    assert scaled.batch_bytes == 1000 * forecast.batch_bytes


def test_the_estimate_of_files_covers_later_records(tables: Tables, tmp_path: Path) -> None:
    """It is made again whenever records were added."""
    forecast = Forecast("a dataset")
    forecast.add(tables.events, tables.messages)
    before = forecast.batch_bytes
    more = read_export(write_sample(tmp_path / "more", events=200, seed=2).path).to_tables(quiet=True)
    forecast.add(more.events, more.messages)
    assert 1.2 * before < forecast.batch_bytes < 2 * before


@pytest.mark.parametrize(
    ("per_second", "records", "sentences"),
    [
        (
            9_000,
            5_400_000,
            [
                "By stream: at least 10 minutes at 9,000 messages a second, 90% of the organisation's "
                "streaming quota; live traffic shares the rest meanwhile.",
                "By batch: about 2.0 GB of Parquet, 10 files in 3 batches, at least 6.0 minutes at 20 GB an "
                "hour; it uses none of the streaming quota.",
                "Cheaper: stream, because it is over in 10 minutes, and a batch also waits until the "
                "platform has ingested it.",
            ],
        ),
        (
            1_400,
            50_400_000,
            [
                "By stream: at least 10 hours at 1,400 messages a second, 93% of the organisation's "
                "streaming quota to Profile; live traffic shares the rest meanwhile.",
                "By batch: about 2.0 GB of Parquet, 10 files in 3 batches, at least 6.0 minutes at 20 GB an "
                "hour; it uses none of the streaming quota, and of Profile's 90 batches a day 3.",
                "Cheaper: batch, because a stream would hold 93% of the organisation's streaming quota "
                "for 10 hours.",
            ],
        ),
    ],
)
def test_the_routes_are_compared(per_second: int, records: int, sentences: list[str]) -> None:
    """Time, files and the share of the quota of each route; bulk that takes long belongs into batches."""
    share = Share(records, 600 * records, records // 100, parquet_bytes=2_000_000_000)
    forecast = Forecast("a dataset", per_second, kinds={"feedback": share})
    assert forecast.comparison() == sentences
    assert forecast.sheet().notes[2:5] == sentences
    said = forecast.as_dict()
    assert said["cheaper"] == ("batch" if said["batch_ingestion_advised"] else "stream")
    assert said["least_seconds"] == said["kinds"]["feedback"]["least_seconds"] == records / per_second
    assert said["routes"]["stream"]["quota_share"] == {9_000: 0.9, 1_400: 0.933}[per_second]
    assert said["routes"]["batch"]["least_seconds"] == 360


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "less than a second"),
        (1, "1.0 seconds"),
        (119, "119.0 seconds"),
        (120, "2.0 minutes"),
        (7_199, "120 minutes"),
        (7_200, "2.0 hours"),
    ],
)
def test_a_duration_is_in_words(seconds: float, words: str) -> None:
    """The unit changes at two of the larger one."""
    assert in_time(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(999_999, "999,999 bytes"), (1_000_000, "1.0 MB"), (12_000_000_000, "12 GB"), (3e12, "3.0 TB")],
)
def test_a_size_is_in_words(count: float, words: str) -> None:
    """To two digits, in the largest unit of which it holds one."""
    assert in_bytes(count) == words


@pytest.mark.parametrize(
    ("guard_seconds", "canaries", "sentences"),
    [
        (0, 0, []),
        (20, 0, ["A stream also waits about 1 minute until new dataflows accept data."]),
        (
            3_600,
            2,
            [
                "A stream also waits about 60 minutes until new dataflows accept data and until the first "
                "records of 2 dataflows are read back, up to an hour each."
            ],
        ),
    ],
)
def test_waits_are_in_words(guard_seconds: float, canaries: int, sentences: list[str]) -> None:
    """What a stream waits for besides sending, if anything."""
    forecast = Forecast("a dataset", guard_seconds=guard_seconds, canaries=canaries)
    assert forecast.waits() == sentences
