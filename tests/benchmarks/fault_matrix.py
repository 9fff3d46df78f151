"""chatlio_kit compared with users' code: 8,000 events, 100 per request, one fault after another.

The judge is the local platform's dataset, read back. For each sender and fault, the table counts events that
are missing without a report (q, lost quietly), missing and reported (t), and duplicated (d); blank is
perfect. aepp and dlt take part if they are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import requests
from remapping import remap_ids
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

import chatlio_kit as ck
from chatlio_kit.aep import Platform
from chatlio_kit.aep import http as wire
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection import Connection
from chatlio_kit.delivery import Ledger, run
from chatlio_kit.delivery.requests import sending
from chatlio_kit.delivery.requests.packing import pack
from chatlio_kit.delivery.requests.wire import wire_records
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import RunningPlatform, running

PER_REQUEST = 100
ANSWER_WITHIN = 2.0
"""Seconds that a sender waits for an answer, if this is configurable."""
PATIENCE = 60.0
"""Seconds after which a sender counts as never returning."""
VISIBLE_WITHIN = 20.0
"""Seconds for which ours waits for rows to land."""
_WRONG_MAPPING = "mapping that nulls a required field"

Rules = list[dict[str, Any]]
Record = dict[str, Any]

FAULTS: dict[str, Rules] = {
    "20 % 503": [{"fault": "status", "status": 503, "rate": 0.2}],
    "10 % 503 + Retry-After": [{"fault": "status", "status": 503, "retry_after": 1, "rate": 0.1}],
    "8 s outage": [{"fault": "reset_before", "since": 0.0, "until": 8.0}],
    "15 % 429": [{"fault": "status", "status": 429, "rate": 0.15}],
    "15 % 429 + Retry-After": [{"fault": "status", "status": 429, "retry_after": 1, "rate": 0.15}],
    "10 % 500": [{"fault": "status", "status": 500, "rate": 0.1}],
    "15 % reset before acceptance": [{"fault": "reset_before", "rate": 0.15}],
    "15 % reset after acceptance": [{"fault": "reset_after", "rate": 0.15}],
    "15 % answers cut off": [{"fault": "cut", "rate": 0.15}],
    "2 requests hang": [{"fault": "hung_before", "seconds": 3600.0, "count": 2}],
    "2 answers hang": [{"fault": "hung_after", "seconds": 3600.0, "count": 2}],
    "10 % slow answers": [{"fault": "slow", "seconds": 0.5, "rate": 0.1}],
    "10 % 400 for the whole request": [{"fault": "status", "status": 400, "rate": 0.1}],
    "bad records, 400 for the whole": [{"fault": "status", "status": 400, "share": 0.0005}],
    "10 % 413": [{"fault": "status", "status": 413, "rate": 0.1}],
    "2 % bad records, 207 with status": [{"fault": "partial", "status": 400, "share": 0.02, "lasting": True}],
    "2 % bad records, 207 with statusCode": [
        {"fault": "partial", "status": 400, "share": 0.02, "lasting": True, "dialect": "statusCode"}
    ],
    "207 that refuses some for now": [{"fault": "partial", "status": 503, "share": 0.3, "rate": 0.15}],
    "15 % short responses": [{"fault": "short", "rate": 0.15}],
    "15 % over-long responses": [{"fault": "long", "rate": 0.15}],
    "15 % not JSON": [{"fault": "not_json", "rate": 0.15}],
    "inlet late by 2 s": [{"fault": "late_inlet", "until": 2.0}],
    "token refused from request 20 on": [{"fault": "expired_token", "after": 20}],
    "1 % acknowledged and dropped": [{"fault": "dropped", "share": 0.01, "lasting": True}],
    _WRONG_MAPPING: [],
}


@dataclass
class Case:
    """The input of a sender, and its report.

    Attributes:
        captures: the captured events.
        records: the same events in wire form.
        connection: the destination.
        server: the platform behind it.
        reported: the ids that the sender reports as undelivered.
    """

    captures: Path
    records: list[Record]
    connection: Connection
    server: RunningPlatform
    reported: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        """The batch path of the inlet."""
        inlet = self.connection.history_flow(Kind.FEEDBACK).inlet_url.reveal()
        return inlet.replace("/collection/", "/collection/batch/")

    @property
    def headers(self) -> dict[str, str]:
        """The headers that name the dataflow."""
        flow_id = self.connection.history_flow(Kind.FEEDBACK).flow_id
        return {"x-adobe-flow-id": flow_id, "Content-Type": "application/json"}

    def parts(self) -> Iterator[list[Record]]:
        """The records of one request after another."""
        left = iter(self.records)
        while part := list(islice(left, PER_REQUEST)):
            yield part

    def tell(self, records: Iterable[Record]) -> None:
        """Record the ids that the sender reports as undelivered."""
        self.reported |= {each["event_id"] for each in records}


def ours(case: Case) -> None:
    """Stream the frames, and read back what landed."""
    tables = ck.read_export(case.captures).to_tables(quiet=True)
    ck.stream(tables, case.connection, quiet=True).reconcile(wait=VISIBLE_WITHIN)
    with Ledger(case.connection.platform.settings.state) as ledger:
        frame = ledger.as_frame()
    arrived = frame["landed"] & (frame["fate"] == "delivered")
    case.reported = set(frame["event_id"][~arrived])


def loop(case: Case, *, retries: int) -> None:
    """Send with the loop that a user would write."""
    retry = Retry(
        retries, backoff_factor=0.1, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None
    )
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=retry))
        for part in case.parts():
            try:
                reply = session.post(
                    case.url, json={"messages": part}, headers=case.headers, timeout=ANSWER_WITHIN
                )
                reply.raise_for_status()
            except requests.RequestException:
                case.tell(part)


def aepp(case: Case, *, retries: int) -> None:
    """Send with aepp's streaming call, configured as its documentation shows it."""
    from aepp import config, ingestion  # noqa: PLC0415 - only where it is installed

    account, url = case.server.account, case.server.url
    chosen = config.config_object | {
        "org_id": account.org_id,
        "client_id": account.client_id,
        "secret": account.client_secret,
        "scopes": ",".join(account.scopes),
        "sandbox": account.sandbox,
        "environment": "prod",
        "oauthTokenEndpointV2": f"{url}/ims/token/v3",
        "imsEndpoint": url,
        "retry": retries,
    }
    sender = ingestion.DataIngestion(config=chosen, header=dict(config.header))
    sender.endpoint_streaming = url
    inlet = case.url.rpartition("/")[2]
    flow_id = case.headers["x-adobe-flow-id"]
    for part in case.parts():
        try:
            sender.streamMessages(inletId=inlet, data=part, flowId=flow_id)
        except Exception:
            case.tell(part)


def dlt(case: Case, *, runs: int = 3) -> None:
    """Send with a custom destination of dlt and its own requests helper, run again while it fails."""
    os.environ |= {
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__REQUEST_TIMEOUT": str(ANSWER_WITHIN),
        "RUNTIME__LOG_LEVEL": "CRITICAL",
        "DLT_DATA_DIR": str(case.captures.parent / "dlt"),
    }
    import dlt as library  # noqa: PLC0415 - only where it is installed
    from dlt.sources.helpers import requests as helper  # noqa: PLC0415

    said: set[str] = set()

    def post(items: Any, table: Any) -> None:
        records = [json.loads(each["body"]) for each in items]
        helper.post(case.url, json={"messages": records}, headers=case.headers)
        said.update(each["event_id"] for each in records)

    sink = library.destination(post, name="inlet", batch_size=PER_REQUEST, loader_file_format="typed-jsonl")
    with tempfile.TemporaryDirectory() as folder:
        pipeline = library.pipeline("events", destination=sink(), pipelines_dir=folder)
        rows: Any = [{"body": json.dumps(each)} for each in case.records]
        for _ in range(runs):
            try:
                pipeline.run(rows, table_name="events")
                if not pipeline.last_trace or not pipeline.has_pending_data:
                    return
            except Exception:
                rows = None
            if not pipeline.has_pending_data:
                break
            rows = None
    case.reported = {each["event_id"] for each in case.records} - said


SENDERS: dict[str, Callable[[Case], None] | None] = {
    "chatlio_kit": ours,
    "requests, plain loop": partial(loop, retries=0),
    "requests + Retry(5)": partial(loop, retries=5),
    "aepp": partial(aepp, retries=1) if importlib.util.find_spec("aepp") else None,
    "aepp, retry=5": partial(aepp, retries=5) if importlib.util.find_spec("aepp") else None,
    "dlt": dlt if importlib.util.find_spec("dlt") else None,
}


@dataclass
class Stage:
    """A platform with a connection, created once and copied for every cell."""

    folder: Path
    captures: Path
    records: list[Record]

    @classmethod
    def build(cls, folder: Path, events: int) -> Stage:
        """Write the captures and create the connection, without faults."""
        captures = folder / "captures" / "feedback.ndjson"
        captures.parent.mkdir()
        captures.write_bytes(b"".join(orjson.dumps(_captured(number)) + b"\n" for number in range(events)))
        tables = ck.read_export(captures).to_tables(quiet=True)
        records = [json.loads(each.body) for each in wire_records(tables.events, tables.messages)]
        with _platform(folder / "stage") as (_, platform):
            ck.plan_connection(platform, webhooks=["feedback"]).apply(quiet=True).history_flow(Kind.FEEDBACK)
        return cls(folder / "stage", captures, records)

    @property
    def bytes_per_request(self) -> int:
        """The size in bytes of a request that matches the others'."""
        return len(orjson.dumps({"messages": self.records[:PER_REQUEST]}))

    def play(self, send: Callable[[Case], None], fault: str, rules: Rules) -> tuple[str, float]:
        """Run one sender with one fault; return the losses and the seconds."""
        with tempfile.TemporaryDirectory() as name:
            state = Path(name) / "state"
            shutil.copytree(self.folder, state)
            with _platform(state, {"seed": 7, "faults": rules}) as (server, platform):
                case = Case(self.captures, self.records, ck.open_connection(platform), server)
                if fault == _WRONG_MAPPING:
                    remap_ids(case.connection, Kind.FEEDBACK, "nullify()")
                started = time.monotonic()
                returned = _within(PATIENCE, lambda: send(case))
                seconds = time.monotonic() - started
                rows = _landed(case)
        missing = {each["event_id"] for each in self.records} - set(rows)
        found = {
            "q": len(missing - case.reported) if returned else 0,
            "t": len(missing & case.reported) if returned else 0,
            "d": sum(rows.values()) - len(rows),
            "arrived, but reported as lost ": len(case.reported & set(rows)) if returned else 0,
        }
        said = ["" if returned else f"never returns, {len(missing):,} missing"]
        said += [f"{key}{count:,}" for key, count in found.items() if count]
        return " ".join(said).strip(), seconds


def _captured(number: int) -> Record:
    """An invented answer to a survey."""
    visitor = {"UUID": f"5b0c7d1e-9a34-4e2f-6c18-{number:012x}", "handle": f"berlin-{number}", "name": "Kim"}
    payload = {
        "visitor": visitor | {"currentPage": "https://shop.example/thanks", "location": "Berlin, Germany"},
        "message": f"Quick and friendly, thank you! ({number})",
        "conversationUUID": f"7c1e9a52-3b6d-4f08-5a91-{number:012x}",
    }
    return {"receivedAt": "2024-03-11T08:59:43.250Z", "kind": "feedback", "payload": payload}


class _platform:  # noqa: N801 - reads as a function
    """A local platform in this process, without limits, and its URL."""

    def __init__(self, state: Path, faults: dict[str, Any] | None = None) -> None:
        self._server = running(
            state / "local",
            enabling_delay=0.02,
            processing_delay=0.02,
            faults=faults,
            messages_per_second=1e6,
        )
        self._state = state

    def __enter__(self) -> tuple[RunningPlatform, Platform]:
        server = self._server.__enter__()
        self._platform = Platform(settings_of(server, self._state))
        return server, self._platform

    def __exit__(self, *error: Any) -> None:
        self._platform.close()
        self._server.__exit__(*error)


def _within(seconds: float, send: Callable[[], None]) -> bool:
    """Run a sender; return whether it returned in time. An exception counts as a reported loss."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            send()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    return not thread.is_alive()


def _landed(case: Case) -> Counter[str]:
    """Wait until the platform has processed everything, and count the dataset's rows by id."""
    while requests.get(f"{case.server.url}/local-platform", timeout=30).json()["waiting"]:
        time.sleep(0.05)
    platform = case.connection.platform
    rows: Counter[str] = Counter()
    for batch in platform.catalog.batches(case.connection.dataset_id, status="success"):
        for file in platform.data_access.files(batch.id):
            table = pq.read_table(io.BytesIO(platform.data_access.download(file)), columns=["_id"])
            rows.update(table["_id"].to_pylist())
    return rows


def main() -> None:
    """Run the matrix and print it as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=8_000)
    parser.add_argument("--fault", action="append", choices=list(FAULTS), help="only these")
    parser.add_argument("--sender", action="append", choices=list(SENDERS), help="only these")
    given = parser.parse_args()
    wire.READ_TIMEOUT = ANSWER_WITHIN
    sending.INLET_PATIENCE = 60.0
    senders = {name: SENDERS[name] for name in given.sender or SENDERS}
    for name in ("requests", "aepp", "dlt"):
        print(f"{name} {version(name) if importlib.util.find_spec(name) else 'is not installed'}")
    print(
        f"{given.events:,} events, {PER_REQUEST} a request; q lost quietly, t lost and reported, d doubled\n"
    )
    print("| fault | " + " | ".join(senders) + " |")
    print("| --- |" + " --- |" * len(senders))
    quiet = False
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage.build(Path(folder), given.events)
        run.pack = partial(pack, limit=stage.bytes_per_request)
        for fault in given.fault or FAULTS:
            row = []
            for sender, send in senders.items():
                if send is None:
                    row.append("not run")
                    continue
                found, seconds = stage.play(send, fault, FAULTS[fault])
                quiet |= sender == "chatlio_kit" and "q" in found
                row.append(f"{found} ({seconds:.0f} s)" if seconds >= 20 else found)
            print(f"| {fault} | " + " | ".join(row) + " |", flush=True)
    if quiet:
        raise SystemExit("chatlio_kit lost events quietly")


if __name__ == "__main__":
    main()
