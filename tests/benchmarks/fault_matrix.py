"""Ours beside what a user would write: 8,000 events, 100 a request, through one fault after another.

For each sender and fault it prints what was lost quietly (q), what was lost and told (t) and what was doubled
(d); blank is perfect. The witness is the local platform's own log of what it accepted.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

import chatlio_kit as ck
from chatlio_kit.connection import Dataflow
from chatlio_kit.delivery import sending
from chatlio_kit.delivery.pacing import Pace
from chatlio_kit.delivery.packing import Packet
from chatlio_kit.delivery.sending import Sender
from chatlio_kit.delivery.wire import WireRecord
from chatlio_kit.events.kinds import Kind
from chatlio_kit.local_platform import read_log, running
from chatlio_kit.platform import Platform, wire
from chatlio_kit.settings import Secret, Settings

PER_REQUEST = 100
Rules = list[dict[str, Any]]

FAULTS: dict[str, Rules] = {
    "20 % 503": [{"fault": "status", "status": 503, "rate": 0.2}],
    "503 + Retry-After": [{"fault": "status", "status": 503, "retry_after": 1, "rate": 0.1}],
    "outage": [{"fault": "reset_before", "since": 0.0, "until": 8.0}],
    "15 % 429": [{"fault": "status", "status": 429, "rate": 0.15}],
    "15 % 429 + RA": [{"fault": "status", "status": 429, "retry_after": 1, "rate": 0.15}],
    "10 % 500": [{"fault": "status", "status": 500, "rate": 0.1}],
    "15 % reset before": [{"fault": "reset_before", "rate": 0.15}],
    "15 % reset after": [{"fault": "reset_after", "rate": 0.15}],
    "15 % cut after accept": [{"fault": "cut", "rate": 0.15}],
    "10 % 400": [{"fault": "status", "status": 400, "rate": 0.1}],
    "1 bad record, 400": [{"fault": "status", "status": 400, "share": 0.0005}],
    "207 partial, status": [
        {"fault": "partial", "status": 400, "share": 0.02, "lasting": True, "rate": 1.0},
    ],
    "207 partial, statusCode": [
        {"fault": "partial", "status": 400, "share": 0.02, "lasting": True, "dialect": "statusCode"},
    ],
    "207 passing 503": [{"fault": "partial", "status": 503, "share": 0.3, "rate": 0.15}],
    "short responses": [{"fault": "short", "rate": 0.15}],
    "over-long responses": [{"fault": "long", "rate": 0.15}],
    "not JSON": [{"fault": "not_json", "rate": 0.15}],
    "2 hung answers": [{"fault": "hung_after", "seconds": 5.0, "count": 2}],
    "slow answers": [{"fault": "slow", "seconds": 0.3, "rate": 0.1}],
    "late inlet": [{"fault": "late_inlet", "until": 2.0}],
    "expired token": [{"fault": "expired_token", "after": 20}],
}


@dataclass
class Told:
    """What a sender said: the names that it reports as not delivered."""

    failed: set[str]


Send = Callable[[Dataflow, list[dict[str, Any]]], Told]


def ours(flow: Dataflow, records: list[dict[str, Any]]) -> Told:
    """Send with our sender."""
    made = [WireRecord(each["event_id"], "feedback", json.dumps(each).encode()) for each in records]
    packets = [Packet(tuple(made[at : at + PER_REQUEST])) for at in range(0, len(made), PER_REQUEST)]
    failed: set[str] = set()
    with flow.inlet() as inlet:
        for outcome in Sender(inlet.post_batch, Pace(), post_single=inlet.post_single).send(packets):
            failed |= {each.event_id for each in outcome.dead} | set(outcome.pending)
    return Told(failed)


def loop(flow: Dataflow, records: list[dict[str, Any]], *, retries: int) -> Told:
    """Send with the loop that a user would write."""
    session = requests.Session()
    retry = Retry(
        retries, backoff_factor=0.1, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None
    )
    session.mount("http://", HTTPAdapter(max_retries=retry))
    url = flow.inlet_url.reveal().replace("/collection/", "/collection/batch/")
    failed: set[str] = set()
    with session:
        for at in range(0, len(records), PER_REQUEST):
            part = records[at : at + PER_REQUEST]
            try:
                reply = session.post(
                    url, json={"messages": part}, headers={"x-adobe-flow-id": flow.flow_id}, timeout=2
                )
                reply.raise_for_status()
            except requests.RequestException:
                failed |= {each["event_id"] for each in part}
    return Told(failed)


def aepp(flow: Dataflow, records: list[dict[str, Any]]) -> Told:
    """Send with aepp's streaming call, as its documentation shows it."""
    from aepp import connector, ingestion  # noqa: PLC0415 - only where it is installed

    sender = ingestion.DataIngestion.__new__(ingestion.DataIngestion)
    sender.STREAMING_REFERENCE = {}
    sender.endpoint_streaming = {"STREAMING": {"COLLECTION": flow.inlet_url.reveal().rpartition("/")[0]}}
    sender.connector = connector.AdobeRequest.__new__(connector.AdobeRequest)
    inlet = flow.inlet_url.reveal().rpartition("/")[2]
    failed: set[str] = set()
    for at in range(0, len(records), PER_REQUEST):
        part = records[at : at + PER_REQUEST]
        try:
            sender.streamMessages(inletId=inlet, data=part, flowId=flow.flow_id)
        except Exception:
            failed |= {each["event_id"] for each in part}
    return Told(failed)


SENDERS: dict[str, Send | None] = {
    "chatlio_kit": ours,
    "requests, plain loop": partial(loop, retries=0),
    "requests + Retry(5)": partial(loop, retries=5),
    "aepp": aepp if importlib.util.find_spec("aepp") else None,
    "dlt": None,
}


def cell(send: Send, rules: Rules, events: int) -> tuple[str, float]:
    """Run one sender through one fault; give what was lost, and the seconds it took."""
    records = [{"event_id": f"e{number}", "n": number} for number in range(events)]
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        # The connection is made first; only then is the platform one that faults.
        with running(state / "local", enabling_delay=0.05) as server, _platform(server, state) as platform:
            ck.plan_connection(platform, webhooks=["feedback"]).apply().history_flow(Kind.FEEDBACK)
        faults = {"seed": 7, "faults": rules}
        with running(state / "local", faults=faults) as server, _platform(server, state) as platform:
            flow = ck.open_connection(platform).history_flow(Kind.FEEDBACK)
            started = time.monotonic()
            told = send(flow, records)
            seconds = time.monotonic() - started
            accepted = Counter(name for each in read_log(state / "local") for name in each.accepted)
    lost = {each["event_id"] for each in records} - set(accepted)
    found = {
        "q": len(lost - told.failed),
        "t": len(lost & told.failed),
        "d": sum(accepted.values()) - len(accepted),
        "told of arrived ": len(told.failed & set(accepted)),
    }
    return " ".join(f"{key}{count}" for key, count in found.items() if count), seconds


def _platform(server: Any, state: Path) -> Platform:
    account = server.account
    secret = Secret(account.client_secret)
    return Platform(
        Settings(
            account.client_id,
            secret,
            account.org_id,
            account.sandbox,
            platform_url=server.url,
            ims_url=server.url,
            is_local=True,
            state=state,
        )
    )


def main() -> None:
    """Run the matrix and print it as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=8_000)
    parser.add_argument("--fault", action="append", choices=list(FAULTS), help="only these")
    given = parser.parse_args()
    wire.READ_TIMEOUT = 2.0  # as long as the loops wait
    sending.INLET_PATIENCE = 60.0
    print(f"{given.events:,} events, {PER_REQUEST} a request; q lost quietly, t lost and told, d doubled")
    print("| fault | " + " | ".join(SENDERS) + " |")
    print("| --- |" + " --- |" * len(SENDERS))
    quiet = 0
    for name in given.fault or FAULTS:
        row = []
        for sender, send in SENDERS.items():
            if send is None:
                row.append("not run")
                continue
            found, seconds = cell(send, FAULTS[name], given.events)
            quiet += sender == "chatlio_kit" and "q" in found
            row.append(f"{found} ({seconds:.1f} s)".strip())
        print(f"| {name} | " + " | ".join(row) + " |", flush=True)
    if quiet:
        raise SystemExit("chatlio_kit lost events quietly")


if __name__ == "__main__":
    main()
