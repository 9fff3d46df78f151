"""A long backfill through a platform that fails one request in five, in every known way.

It prints the number of each fault, and checks that everything landed, that the page and its exit code are
right, and that duplicates in the lake come from requests whose answer was lost or incomplete, and are
counted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from chatlio_kit import local_platform, plan_connection
from chatlio_kit.aep import Platform
from chatlio_kit.aep import http as wire
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.delivery import Ledger, run
from chatlio_kit.delivery.requests.packing import pack
from chatlio_kit.errors import FAILED, UNCONFIRMED
from chatlio_kit.jobs.backfill import backfill
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import Logged, Options, read_log
from chatlio_kit.samples import write_sample

PER_REQUEST = 120_000
"""Maximum request size in bytes: smaller than usual, so that every fault occurs often."""
MOST_RUNS = 5

FAULTS: list[dict[str, Any]] = [
    {"fault": "late_inlet", "count": 5},
    {"fault": "expired_token", "after": 400, "count": 1},
    {"fault": "status", "status": 429, "rate": 0.0145},
    {"fault": "status", "status": 429, "retry_after": 1, "rate": 0.0145},
    {"fault": "status", "status": 503, "rate": 0.0145},
    {"fault": "status", "status": 503, "retry_after": 1, "rate": 0.0145},
    {"fault": "status", "status": 500, "rate": 0.0145},
    {"fault": "status", "status": 502, "rate": 0.0145},
    {"fault": "status", "status": 400, "rate": 0.0145},
    {"fault": "status", "status": 413, "rate": 0.0145},
    {"fault": "reset_before", "rate": 0.0145},
    {"fault": "reset_after", "rate": 0.0145},
    {"fault": "hung_before", "seconds": 4.0, "rate": 0.005},
    {"fault": "hung_after", "seconds": 4.0, "rate": 0.005},
    {"fault": "slow", "seconds": 0.5, "rate": 0.0145},
    {"fault": "cut", "rate": 0.0145},
    {"fault": "not_json", "rate": 0.0145},
    {"fault": "short", "rate": 0.0145},
    {"fault": "long", "rate": 0.0145},
    {"fault": "partial", "status": 503, "share": 0.3, "dialect": "status", "rate": 0.0145},
    {"fault": "partial", "status": 429, "share": 0.3, "dialect": "statusCode", "rate": 0.0145},
    {"fault": "expired_token", "on": "platform", "rate": 0.03},
    {"fault": "status", "status": 503, "on": "platform", "rate": 0.03},
    {"fault": "reset_before", "on": "platform", "rate": 0.03},
]


def main() -> None:
    """Send, compare with the platform's own record, and print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    wire.READ_TIMEOUT = 3.0  # shorter than a hung request
    run.pack = partial(pack, limit=PER_REQUEST)
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        sample = write_sample(Path(folder) / "captures", events=given.events, seed=given.seed)
        _connect(state)
        faults = {"seed": given.seed, "faults": FAULTS}
        options = Options(faults=faults, messages_per_second=1e6)
        started = time.monotonic()
        exits: list[int] = []
        unreported = 0
        try:
            server = local_platform.ensure_running(state / "local", idle=3600, options=options)
            with Platform(settings_of(server, state)) as platform:
                # a token may expire twice in a row while rows are read back: the page advises another read
                while not exits or (exits[-1] in (FAILED, UNCONFIRMED) and len(exits) < MOST_RUNS):
                    page = backfill([sample.path], platform, wait=900, quiet=True)
                    exits.append(page.exit_code)
                    unreported += page.unanswered
                    print(page, end="\n\n", flush=True)
            log = read_log(state / "local")
        finally:
            local_platform.stop(state / "local")
        with Ledger(state) as ledger:
            frame = ledger.as_frame()
    _report(given.events, log, exits, time.monotonic() - started)
    accepted = Counter(name for each in log for name in each.accepted)
    reported_once = Counter(name for each in log if each.is_acknowledged for name in each.accepted)
    landed = set(frame["event_id"][frame["landed"]])
    doubled = sum(accepted.values()) - len(accepted)
    arrived = page.arrived
    checks = {
        "everything was accepted, and everything accepted was read back": (
            len(landed) == given.events and landed == set(accepted)
        ),
        "the last run ended with exit code 0": exits[-1] == 0,
        "the page's total is right": page.as_dict()["total"]
        == {"delivered": given.events, "dead_lettered": 0, "pending": 0, "landed": given.events},
        "nothing was sent again whose acceptance was reported": max(reported_once.values()) == 1,
        "the page counts the lake's repeated rows": arrived is not None
        and arrived.lake_duplicates == doubled,
        "they are no more than the page warned of": doubled <= unreported,
    }
    for check, holds in checks.items():
        print(f"{'yes' if holds else 'NO '}  {check}")
    if not all(checks.values()):
        raise SystemExit("The soak failed.")


def _connect(state: Path) -> None:
    """Create the connection without faults, because creation is not under test here."""
    with (
        local_platform.running(state / "local", enabling_delay=0.05) as server,
        Platform(settings_of(server, state)) as platform,
    ):
        connection = plan_connection(platform).apply()
        for kind in Kind:
            connection.history_flow(kind)


def _report(events: int, log: list[Logged], exits: list[int], seconds: float) -> None:
    struck = Counter(each.fault for each in log if each.fault)
    accepted = Counter(name for each in log for name in each.accepted)
    share = struck.total() / len(log)
    print(f"{events:,} events, {len(log):,} requests, {struck.total():,} of them struck ({share:.0%})")
    print(", ".join(f"{fault} {count:,}" for fault, count in sorted(struck.items())))
    print(f"runs ended with {exits} in {seconds:.0f} s; lost {events - len(accepted):,}")
    print(f"accepted more than once: {sum(accepted.values()) - len(accepted):,}", flush=True)


if __name__ == "__main__":
    main()
