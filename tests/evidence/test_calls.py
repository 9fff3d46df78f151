"""Every call of the client has a row in docs/evidence.md, and where sources differ it is safe under both."""

from __future__ import annotations

import collections
import inspect
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from altering import Alteration, Exchange, altered
from click.testing import CliRunner
from evidence_page import LIVE, ROWS, TAGS, VERIFY, Row
from requests.adapters import HTTPAdapter

import chatlio_kit as ck
from chatlio_kit.aep import Platform, StoredFile
from chatlio_kit.aep import http as wire
from chatlio_kit.aep.transport import Api
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.cli import main
from chatlio_kit.connection import provision
from chatlio_kit.jobs import platforms
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.jobs.verify import CASES
from chatlio_kit.local_platform import running
from chatlio_kit.samples import write_sample
from chatlio_kit.settings import Settings

ROOT = Path(__file__).parent.parent.parent


# Answers that differ between the local platform and another source.


def created(exchange: Exchange) -> None:
    """200 for what was created, and 201 for namespaces (CP 10: both are seen)."""
    if exchange.method == "POST" and exchange.status == 201:
        exchange.status = 200
    elif exchange.is_call("POST", "/idnamespace/identities"):
        exchange.status = 201


def removed(exchange: Exchange) -> None:
    """200 with an object for what was removed, where 204 without one is documented."""
    if exchange.method == "DELETE" and exchange.status == 204:
        exchange.status, exchange.body = 200, {}


def patched_flow(exchange: Exchange) -> None:
    """The whole list of one for a changed dataflow (AEPP), not its id and etag."""
    if exchange.method == "PATCH" and "/flows/" in exchange.path and exchange.status == 200:
        exchange.body = {"items": [exchange.body]}


def etag_key(exchange: Exchange) -> None:
    """``eTag`` (OpenAPI), not ``etag`` (guide)."""
    if exchange.method == "GET" and "/flowservice/" in exchange.path:
        for item in (exchange.body or {}).get("items", []):
            if "etag" in item:
                item["eTag"] = item.pop("etag")


def runs(exchange: Exchange) -> None:
    """``activites`` (OpenAPI) and statuses in capitals."""
    if exchange.is_call("GET", "/flowservice/runs"):
        for item in exchange.body["items"]:
            item["activites"] = item.pop("activities", [])
            status = item["metrics"]["statusSummary"]
            status["status"] = status["status"].upper()


def versions(exchange: Exchange) -> None:
    """Versions of mapping sets as text (Sources SDK), not as numbers (guide)."""
    if "/mappingSets" in exchange.path and isinstance(exchange.body, dict) and "version" in exchange.body:
        exchange.body["version"] = str(exchange.body["version"])


def legacy_mappings(exchange: Exchange) -> None:
    """Mapping sets in the legacy form alone, literals in quotes."""
    if exchange.method == "GET" and "/mappingSets" in exchange.path:
        for each in exchange.body.get("data", [exchange.body]):
            for mapping in each.get("mappings", []):
                mapping.pop("source", None)
                mapping.pop("destination", None)


def bare_preview(exchange: Exchange) -> None:
    """A bare object for one record (OpenAPI), not a list (guide)."""
    if (
        exchange.is_call("POST", "/mappingSets/preview")
        and isinstance(exchange.body, list)
        and len(exchange.body) == 1
    ):
        exchange.body = exchange.body[0]


def lengths(exchange: Exchange) -> None:
    """Lengths of files as numbers (OpenAPI), not as text (guide)."""
    if exchange.method == "GET" and "/export/files/" in exchange.path and isinstance(exchange.body, dict):
        for entry in exchange.body.get("data", []):
            entry["length"] = int(entry["length"])


def active(exchange: Exchange) -> None:
    """``active`` (batch ingestion) for ``success`` (Catalog), and in capitals."""
    if exchange.method == "GET" and "/catalog/batches" in exchange.path and isinstance(exchange.body, dict):
        for batch in exchange.body.values():
            if isinstance(batch, dict) and batch.get("status") == "success":
                batch["status"] = "ACTIVE"


OTHER_DIALECTS: tuple[Alteration, ...] = (
    created,
    removed,
    patched_flow,
    etag_key,
    runs,
    versions,
    legacy_mappings,
    bare_preview,
    lengths,
    active,
)


@dataclass
class Tour:
    """The results of a tour of all jobs.

    Attributes:
        calls: verb and path of every request.
        pages: the results of the jobs, by name.
        dialects: the alterations that altered an answer.
    """

    calls: set[str] = field(default_factory=set)
    pages: dict[str, Any] = field(default_factory=dict)
    dialects: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Tour:
    """Connect, send, send turns, look, forget, and disconnect, on a platform of the other dialects."""
    folder = tmp_path_factory.mktemp("tour")
    sample = write_sample(folder / "sample", events=60, seed=11).path
    done = Tour()
    send = HTTPAdapter.send

    def record(self: HTTPAdapter, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        done.calls.add(f"{request.method} {urlsplit(str(request.url)).path}")
        return send(self, request, **options)

    with (
        pytest.MonkeyPatch.context() as patch,
        running(folder / "store", enabling_delay=0.01, processing_delay=0.01) as server,
        altered(server, OTHER_DIALECTS, done.dialects) as far,
    ):
        patch.setattr(HTTPAdapter, "send", record)
        patch.setattr(wire, "FIRST_PAUSE", 0.0)
        patch.setattr(provision, "_FIRST_POLL", 0.02)
        patch.setattr(
            platforms, "Platform", partial(Platform, sleep=lambda seconds: time.sleep(min(seconds, 0.05)))
        )
        settings = settings_of(far, folder / "state")
        for name, value in (
            ("CLIENT_ID", settings.client_id), ("CLIENT_SECRET", settings.client_secret.reveal()),
            ("ORG_ID", settings.org_id), ("SANDBOX", settings.sandbox),
            ("PLATFORM_URL", far.url), ("IMS_URL", far.url),
        ):  # fmt: skip
            patch.setenv(f"AEP_{name}", value)
        patch.setenv("NO_PROXY", "127.0.0.1")

        def run(*words: Any) -> Any:
            common = ["--platform", "aep", "--state", str(folder / "state"), "--json"]
            return CliRunner().invoke(main, [*map(str, words), *common])

        connect = (
            "connect",
            sample,
            *["--identity", "--profile", "--despite-audit", "--confirm", "chatlio", "--labels"],
        )
        done.pages["connect"] = run(*connect)
        done.pages["backfill"] = run("backfill", sample, "--skip-guard", "--wait", 30)
        spoil(settings_of(server, folder / "state"))
        done.pages["repair"] = run(*connect)
        done.pages["turns"] = run("backfill", sample, "--turns", "--connect", "--skip-guard", "--wait", 30)
        done.pages["doctor"] = run("doctor")
        done.pages["reconcile"] = run("reconcile")
        events = ck.read_export(sample).to_tables(quiet=True).events
        visitor = events["visitor_id"].dropna().iloc[0]
        done.pages["forget"] = run("forget", sample, "--visitor-id", visitor, "--yes", "--wait", 30)
        more = write_sample(folder / "more", events=40, seed=12).path
        done.pages["bulk"] = run("backfill", more, "--via", "batch", "--wait", 30)
        done.pages["revert"] = run(
            "revert", json.loads(done.pages["bulk"].stdout)["run"], "--yes", "--wait", 30
        )
        done.pages["disconnect"] = run("disconnect", "--yes")
    return done


def spoil(settings: Settings) -> None:
    """Remove a mapping from one live dataflow, and disable it, as by a mistake in the user interface."""
    with Platform(settings) as platform:
        live = ck.open_connection(platform, "chatlio").live[Kind.FEEDBACK]
        body = platform.mapping_sets.get(live.mapping_set_id)
        kept = ("sourceType", "source", "destination")
        changed = {key: body[key] for key in ("outputSchema", "name")}
        changed["mappings"] = [{key: each[key] for key in kept} for each in body["mappings"][:-1]]
        platform.mapping_sets.replace(live.mapping_set_id, changed)
        platform.flows.disable_flow(live.flow_id)


def test_the_client_is_safe_under_the_other_dialects(tour: Tour) -> None:
    """Every job ends as it does on the local platform, and every event landed, turns included."""
    failed = {name: each.exception for name, each in tour.pages.items() if each.exit_code}
    assert failed == {}
    answers = {name: json.loads(result.stdout) for name, result in tour.pages.items()}
    sent = answers["backfill"]
    assert sent["landed"] == sent["delivered"] == sent["accepted"] > 0
    deletions = answers["forget"]["deletions"]
    assert {(deletion["left"], deletion["status"]) for deletion in deletions} == {(0, "completed")}
    assert answers["repair"]["changes"] == 2, "a mapping set and its dataflow"
    assert tour.dialects == {alter.__name__ for alter in OTHER_DIALECTS}, "an alteration altered nothing"


def test_every_call_of_a_tour_has_a_row(tour: Tour) -> None:
    """Connect, backfill, turns, doctor, reconcile, forget and disconnect make no call without a row."""
    assert unnamed(tour.calls) == set()
    assert len(tour.calls) > 100


def test_every_method_of_the_client_has_a_row() -> None:
    """The first call of every public method of every service has a row."""
    assert unnamed(calls_of_methods()) == set()


def test_every_row_is_a_call_of_the_client(tour: Tour) -> None:
    """No row outlives its call, but for those of verify-sandbox alone."""
    made = tour.calls | calls_of_methods() | {"POST /collection/x"}
    made |= {f"DELETE /data/foundation/schemaregistry/tenant/{kind}/x" for kind in ("schemas", "fieldgroups")}
    made |= {"GET /data/x", "POST /data/x", "GET /data/foundation/nothing"}
    unmade = {row.call for row in ROWS if not any(row.pattern.fullmatch(call) for call in made)}
    assert unmade == set()


def test_a_call_without_a_row_is_found() -> None:
    """The comparison behind the tests above detects a call without a row."""
    assert unnamed({"POST /data/foundation/flowservice/flows", "PUT /data/foundation/flowservice/flows"}) == {
        "PUT /data/foundation/flowservice/flows"
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.relies[:60])
def test_a_row_names_its_sources_and_its_tests(row: Row) -> None:
    """Each source is in the table of sources, and each test exists."""
    assert set(row.tags) <= TAGS.keys()
    assert row.held_by
    for held in row.held_by:
        assert exists(held), held


@pytest.mark.parametrize("live", LIVE, ids=lambda live: live["call"])
def test_live_notes_name_existing_tests(live: dict[str, Any]) -> None:
    """Each row of others' notes that the client depends on is held by a test."""
    assert all(exists(held) for held in live.get("held_by", []))


def exists(held: str) -> bool:
    """Return whether a test, or a case of verify-sandbox, is there."""
    if held.startswith(VERIFY):
        return held.removeprefix(VERIFY) in {case.name for case in CASES}
    path, _, name = held.partition("::")
    return f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")


def unnamed(calls: Iterable[str]) -> set[str]:
    """Return the calls that no row names; the rows for any call of a service do not count."""
    rows = [row.pattern for row in ROWS if "{any}" not in row.call]
    return {call for call in calls if not any(row.fullmatch(call) for row in rows)}


class _Asked(Exception):
    """A call was made."""


class _Ear:
    """A transport that makes no call, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.calls: set[str] = set()

    def call(self, service: str, operation: str, method: str, path: str, **parts: Any) -> None:
        self.calls.add(f"{method} {path}")
        raise _Asked


def calls_of_methods() -> set[str]:
    """Return the first call of every public method of every service, with every side and type."""
    ear = _Ear()
    flow = SimpleNamespace(id="x", name="x", etag="x")
    values: dict[str, tuple[Any, ...]] = {
        "Side": ("source", "target"), "ResourceType": ("schemas", "fieldgroups"), "Flow": (flow,),
        "StoredFile": (StoredFile("/files/x", "x", 1),), "Json": ({},), "Mapping[str, Sequence[str]]": ({},),
    }  # fmt: skip
    for service in Api.__subclasses__():
        for name, method in inspect.getmembers(service, inspect.isfunction):
            if name.startswith("_") or name == "unexpected":
                continue
            needed = [
                one for one in inspect.signature(method).parameters.values() if one.default is one.empty
            ]
            for given in product(*(values.get(str(one.annotation), ("x",)) for one in needed[1:])):
                arguments = {one.name: value for one, value in zip(needed[1:], given, strict=True)}
                with pytest.raises(_Asked):
                    collections.deque(
                        method(service(ear), **arguments), maxlen=0
                    )  # generators call when read
    return ear.calls
