"""One delivery that can be killed: real HTTP, real SQLite, and a separate record of events.

What a *kill* is here. A killed part does nothing more: from that instant every request of the client, or
every write of the platform, fails, whatever the program tries in its ``finally`` blocks. The instants are

- of the client: before a request leaves and after its answer came; before and after a COMMIT of the ledger;
  before and after ``forget`` erases the local platform's rows;
- of the platform: before and after a COMMIT of its store. Answers that are under way do not arrive.

What was committed stays, what was not is rolled back, and requests that other workers have under way reach
the platform or not, as with SIGKILL. A process that really dies also loses its locks and its memory; here
the client is discarded, and the platform restarts on its files. The soak kills real processes as well.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import shutil
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pandas as pd
import pyarrow.parquet as pq
import requests
from requests.adapters import HTTPAdapter

import chatlio_kit as ck
from chatlio_kit import local_platform
from chatlio_kit.aep import Platform
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection import Connection, plan_connection
from chatlio_kit.delivery import run as run_module
from chatlio_kit.delivery.requests.packing import pack
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import LocalAccount, Options, RunningPlatform
from chatlio_kit.local_platform.ims.account import make_secret
from chatlio_kit.local_platform.server.app import Server
from chatlio_kit.local_platform.store import DATABASE, LAKE
from chatlio_kit.tables import Tables, revalidate

REQUEST_BYTES = 2_000
"""A request holds about two records, so that a few events are several requests."""
WORKERS = 3
VISITORS = 3
VERSIONS = 3
KINDS = (Kind.CONVERSATION_STARTED, Kind.TRANSCRIPT, Kind.OFFLINE_MESSAGE)
HOUR = 3_600_000
INSTANTS = (
    "client: before a request", "client: after a request", "client: before a commit",
    "client: after a commit", "client: before erasing", "client: after erasing",
    "platform: before a commit", "platform: after a commit",
    "both: before a commit", "both: after a commit",
)  # fmt: skip


class Killed(BaseException):
    """An error: the client no longer exists."""


class PlatformKilled(sqlite3.OperationalError):
    """An error: the platform no longer exists."""


class Life:
    """The life of one process, which may end at the nth time that it reaches an instant."""

    def __init__(self, death: type[BaseException]) -> None:
        self.is_alive = True
        self.shared: list[Life] = []
        self._death = death
        self._lock = threading.Lock()
        self._instant, self._left = "", 0

    def arm(self, instant: str = "", skip: int = 0, *, shared: list[Life] | None = None) -> None:
        """Die at this instant, after this many others; without an instant, never."""
        self._instant, self._left, self.shared = instant, skip, shared or []

    def reach(self, instant: str) -> None:
        """Die if this is the instant; fail if this life is over."""
        with self._lock:
            if self.is_alive and instant == self._instant:
                self._left -= 1
                if self._left < 0:
                    for life in [self, *self.shared]:
                        life.is_alive = False
        self.check()

    def check(self) -> None:
        """Fail if this life is over."""
        if not self.is_alive:
            raise self._death("killed")


class MortalConnection(sqlite3.Connection):
    """A connection to SQLite that can do nothing but roll back after the death of its process."""

    life: Life

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:  # type: ignore[override]
        """Execute a statement; a commit is an instant at which the process may die."""
        if sql == "ROLLBACK":
            return super().execute(sql)
        self.life.check()
        if sql != "COMMIT":
            return super().execute(sql, *values)
        self.life.reach("before a commit")
        cursor = super().execute(sql)
        self.life.reach("after a commit")
        return cursor

    def executemany(self, sql: str, *values: Any) -> sqlite3.Cursor:  # type: ignore[override]
        """Execute a statement many times."""
        self.life.check()
        return super().executemany(sql, *values)


class _Sqlite:
    """The module ``sqlite3`` whose connections die with a life."""

    def __init__(self, life: Any) -> None:
        self._life = life

    def connect(self, *place: Any, **options: Any) -> sqlite3.Connection:
        """Open a connection of the current life."""
        connection = sqlite3.connect(*place, **options, factory=MortalConnection)
        connection.life = self._life()  # type: ignore[attr-defined]
        return connection

    def __getattr__(self, name: str) -> Any:
        return getattr(sqlite3, name)


class PlatformThread:
    """The local platform on a thread of this process, always at the same port."""

    def __init__(self) -> None:
        self.port = 0
        self.life = Life(PlatformKilled)
        self._thread: threading.Thread | None = None

    def start(
        self,
        store: Path,
        faults: list[dict[str, Any]],
        processing_delay: float = 0.0,
        consolidation_delay: float = math.inf,
    ) -> RunningPlatform:
        """Serve a store folder."""
        self.life = Life(PlatformKilled)
        account = LocalAccount(make_secret(store))
        options = Options(
            enabling_delay=0.0,
            processing_delay=processing_delay,
            consolidation_delay=consolidation_delay,
            requests_per_second=1e9,
            messages_per_second=1e9,
            faults={"seed": 5, "faults": faults},
        )
        ready = threading.Event()
        failures: list[BaseException] = []

        async def serve() -> None:
            server = Server(store, account, options, "history")
            self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
            self.port = await server.start(self.port)
            ready.set()
            await self._ending.wait()
            await server.stop()

        def work() -> None:
            try:
                asyncio.run(serve())
            except BaseException as error:
                failures.append(error)
            finally:
                ready.set()

        self._thread = threading.Thread(target=work, name="local platform")
        self._thread.start()
        ready.wait()
        if failures:
            raise failures[0]
        return RunningPlatform(f"http://127.0.0.1:{self.port}", account)

    def stop(self) -> None:
        """End the thread; a killed platform's store stays as its last commit left it."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._ending.set)
            self._thread.join()
            self._thread = None


@dataclass
class Post:
    """A request to the streaming endpoint, as seen on the wire.

    Attributes:
        ids: the events it held.
        acknowledged: events that a complete, received answer acknowledged.
    """

    ids: list[str]
    acknowledged: set[str] = field(default_factory=set)


class _Wire(HTTPAdapter):
    """The client's network: it can be cut at both ends, and records the traffic."""

    def __init__(self, *sizes: Any, **named: Any) -> None:
        super().__init__(*sizes, **named)
        self._life = _here().client

    def send(self, request: requests.PreparedRequest, *rest: Any, **options: Any) -> requests.Response:
        world, life = _here(), self._life
        life.check()
        post = None
        if "/collection/" in str(request.url):
            life.reach("before a request")
            post = world.note(request.body)
        if not world.platform_thread.life.is_alive:
            raise requests.ConnectionError("the platform is down")
        response = super().send(request, *rest, **options)
        if not world.platform_thread.life.is_alive:
            raise requests.ConnectionError("the platform is down")
        life.check()
        if post is not None:
            life.reach("after a request")
            world.hear(post, response)
        return response


@dataclass(frozen=True)
class Pool:
    """All events that histories draw from, made once: a platform with a connection, and converted frames.

    Attributes:
        folder: the state folder of which each history gets a copy.
        lines: the capture of each event, by its id and version.
        tables: the frames of each version.
        visitor_of: the visitor of each event.
        kind_of: its kind.
    """

    folder: Path
    connection: Connection
    lines: dict[str, list[bytes]]
    tables: list[Tables]
    visitor_of: dict[str, str]
    kind_of: dict[str, Kind]

    @property
    def ids(self) -> list[str]:
        """The ids of all events."""
        return list(self.lines)


def _captures(version: int) -> Iterator[tuple[str, str, Kind, bytes]]:
    """Yield id, visitor, kind and line of each event; the ids follow the documented formula."""
    for number in range(VISITORS):
        visitor = f"0000000{number}-9a34-4e2f-6c18-b2f09d41a7e3"
        conversation = f"0000000{number}-3b6d-4f08-5a91-0d4e6b2f8c13"
        received = f"2024-03-11T08:59:4{number}.250000Z"
        who = {"email": "", "UUID": visitor, "name": "", "handle": f"spain-{number}"}
        who["createdAt"] = "2024-03-09T18:20:11.402118-08:00"
        started = {"visitor": who, "message": f"version {version}", "conversationUUID": conversation}
        yield (
            _digest(f"conversation_started|{conversation}"), visitor, Kind.CONVERSATION_STARTED,
            _line(Kind.CONVERSATION_STARTED, received, started),
        )  # fmt: skip
        ended = f"2024-03-11T09:03:1{number}.000900030+01:00"
        transcript = {
            "conversationUUID": conversation, "startedAt": "2024-03-11T08:59:41.560106+01:00",
            "endedAt": ended, "agentEmail": "sam@example.com", "agentName": "Sam Lee", "visitorEmail": "",
            "visitorName": f"spain-{number}",
            "messages": [
                {"text": "Is it open?", "ts": "1710144005.000200", "userId": "", "username": "ana",
                 "sentAt": "2024-03-11T09:00:05.000200033+01:00", "isVisitorMsg": True},
            ],
        }  # fmt: skip
        yield (
            _digest(f"transcript|{conversation}|{ended}"), visitor, Kind.TRANSCRIPT,
            _line(Kind.TRANSCRIPT, received, transcript),
        )  # fmt: skip
        offline = {
            "name": f"Ana {number}", "email": f"ana{number}@example.org", "subject": "Invoice",
            "message": "version 0", "visitor": {**who, "email": f"ana{number}@example.org"},
        }  # fmt: skip
        body = json.dumps(offline, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        yield (
            _digest(f"offline_message|w-1|{received}|{body}"), visitor, Kind.OFFLINE_MESSAGE,
            _line(Kind.OFFLINE_MESSAGE, received, offline),
        )  # fmt: skip


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _line(kind: Kind, received: str, payload: dict[str, Any]) -> bytes:
    envelope = {"receivedAt": received, "kind": str(kind), "widget": "w-1", "payload": payload}
    return json.dumps(envelope).encode()


class World:
    """One history: a state folder, a platform, a client, and what was seen of them.

    Attributes:
        accepted: number of times that the platform accepted each event, by its own log.
        acknowledged: events that a received answer acknowledged.
        settled: events whose acceptance the client knows; it must not send them again.
        landed: events that the dataset held at some time.
        called_back: events that were absent when the user asked to send what is gone again.
        forgotten: events of people who were forgotten after the ledger knew of them.
        violations: observations that must not occur.
        kills: how often each sort of process was killed.
    """

    def __init__(self, pool: Pool, platform_thread: PlatformThread, folder: Path) -> None:
        self.pool, self.platform_thread = pool, platform_thread
        self.state = folder / "state"
        shutil.copytree(pool.folder, self.state)
        self.folder = folder
        self.faults: list[dict[str, Any]] = []
        self.hidden: list[tuple[Path, Path]] = []
        self.accepted: Counter[str] = Counter()
        self.acknowledged: set[str] = set()
        self.settled: set[str] = set()
        self.forgotten: set[str] = set()
        self.landed: set[str] = set()
        self.called_back: set[str] = set()
        self.sendable: dict[str, int] | None = None
        self.violations: list[str] = []
        self.kills: Counter[str] = Counter()
        self.explained = 0
        self._posts: list[Post] = []
        self._ids: dict[tuple[str, int, int], list[str]] = {}
        self.processing_delay = 0.0
        self._merged: dict[str, Counter[str]] = {}
        self._logged = 0
        self._lock = threading.Lock()
        self.client = Life(Killed)
        self.platform: Platform | None = None
        self._open_store()
        self.start_platform()
        self.new_client()

    # The two processes.

    def start_platform(self, consolidation_delay: float = math.inf) -> None:
        """Start the platform on what the last one left."""
        self.platform_thread.stop()
        self.running = self.platform_thread.start(
            self.state / "local", self.faults, self.processing_delay, consolidation_delay
        )

    def new_client(self) -> None:
        """Replace the client with a new one."""
        if self.platform is not None:
            self.platform.close()
        self.client = Life(Killed)
        settings = settings_of(self.running, self.state)
        self.platform = Platform(settings, sleep=lambda _seconds: None)
        made = self.pool.connection
        self.connection = replace(made, platform=self.platform, history=dict(made.history))

    def arm(self, instant: str | None, skip: int) -> None:
        """Plan a kill."""
        who, _, when = (instant or "").partition(": ")
        platform = self.platform_thread.life
        self.client.arm(when if who == "client" else "", skip)
        shared = [self.client] if who == "both" else []
        platform.arm(when if who in ("platform", "both") else "", skip, shared=shared)

    def after(self) -> bool:
        """Restart killed processes, and return whether the client was killed."""
        self.arm(None, 0)
        was_client, was_platform = not self.client.is_alive, not self.platform_thread.life.is_alive
        if was_client or was_platform:
            name = "both" if was_client and was_platform else "client" if was_client else "platform"
            self.kills[name] += 1
        if was_platform:
            self.start_platform()
        self._read_log()
        self.landed |= self.rows().keys()
        if was_client:
            self.new_client()
        fates = self.ledger()
        for post in self._posts:
            self.settled -= {
                name for name in post.acknowledged if was_client and fates.get(name, ("",))[0] != "delivered"
            }
            may_drop = any(fault["fault"] == "dropped" for fault in self.faults)
            if not may_drop and post.acknowledged - self.accepted.keys():
                self.violations.append("an event was acknowledged and is not on disk")
            if unknown := set(post.ids) - fates.keys():
                self.violations.append(f"{len(unknown)} events were sent and the ledger does not know them")
        self._posts = []
        return was_client

    def close(self) -> None:
        """End both."""
        self.arm(None, 0)
        self.client = Life(Killed)
        if self.platform is not None:
            self.platform.close()
        self._store.close()
        self.platform_thread.stop()

    # Traffic on the wire.

    def note(self, body: Any) -> Post:
        """Record an outgoing request, and any forbidden content."""
        messages = json.loads(body)
        messages = messages.get("messages", [messages])
        post = Post([message["event_id"] for message in messages])
        with self._lock:
            for message in messages:
                name = message["event_id"]
                if name in self.forgotten:
                    self.violations.append("an event of a person who was forgotten was sent")
                if name in self.settled:
                    self.violations.append("an event was sent again although its acceptance was known")
                text = str(message.get("message", ""))
                version = (self.sendable or {}).get(name)
                if version is not None and text.startswith("version") and text != f"version {version}":
                    self.violations.append(f"stale: {text!r} was sent")
            self._posts.append(post)
        return post

    def hear(self, post: Post, response: requests.Response) -> None:
        """Record the events that an answer acknowledges."""
        if response.status_code not in (200, 207):
            return
        with suppress(ValueError):
            content = response.json()
            elements = content.get("responses", [content])
            if len(elements) == len(post.ids):
                for name, element in zip(post.ids, elements, strict=True):
                    if "xactionId" in element and "status" not in element:
                        post.acknowledged.add(name)
        with self._lock:
            self.acknowledged |= post.acknowledged
            self.settled |= post.acknowledged

    # The judge's sources: the platform's store and the ledger's file, read without the package.

    def _open_store(self) -> None:
        self._store = sqlite3.connect(self.state / "local" / DATABASE, timeout=30, check_same_thread=False)

    def ledger(self) -> dict[str, tuple[str, int, str | None]]:
        """Return fate, landed and gone of each event, straight from the ledger's file."""
        path = self.state / "ledger.db"
        if not path.exists():
            return {}
        # it may have been killed before its tables were made
        with closing(sqlite3.connect(path, timeout=30)) as db, suppress(sqlite3.OperationalError):
            rows = db.execute("SELECT lower(hex(event_id)), fate, landed, gone FROM event").fetchall()
            return {name: (fate, landed, gone) for name, fate, landed, gone in rows}
        return {}

    def rows(self) -> Counter[str]:
        """Count the rows of each event that the dataset holds now and that can be read."""
        names: Counter[str] = Counter()
        for (batch,) in self._store.execute("SELECT id FROM batch WHERE status = 'success'").fetchall():
            names.update(self._ids_in(batch))
        return names

    def loaded_rows(self) -> Counter[str]:
        """Count the rows of each event that a bulk run loaded, merged batches included."""
        names: Counter[str] = Counter()
        query = (
            "SELECT id, json_extract(CAST(body AS TEXT), '$.externalId') FROM batch WHERE status = 'success'"
        )
        for batch, external_id in self._store.execute(query).fetchall():
            names.update(self._ids_in(batch) if external_id else self._merged.get(batch, {}))
        return names

    def _ids_in(self, batch: str) -> list[str]:
        path = self.state / "local" / LAKE / f"{batch}.parquet"
        if not path.exists():
            return []
        status = path.stat()
        key = (batch, status.st_mtime_ns, status.st_size)
        if key not in self._ids:
            self._ids[key] = pq.read_table(path, columns=["_id"])["_id"].to_pylist()
        return self._ids[key]

    def waiting(self) -> set[str]:
        """Return the events that the platform accepted and has not processed."""
        rows = self._store.execute("SELECT bodies FROM inbox").fetchall()
        return {json.loads(body)["event_id"] for (bodies,) in rows for body in bodies.split(b"\n")}

    def settle(self) -> None:
        """Wait until the platform has processed everything."""
        self._wait_for("inbox", "SELECT 1 FROM inbox LIMIT 1")
        self.settle_reverts()

    def settle_reverts(self) -> None:
        """Wait until the platform has finished its reverts, the only action that removes rows."""
        self._wait_for("reverts", "SELECT 1 FROM resource WHERE kind = 'revert' LIMIT 1")

    def _wait_for(self, what: str, query: str) -> None:
        patience = time.monotonic() + 30
        while self._store.execute(query).fetchone():
            if time.monotonic() > patience:
                raise TimeoutError(f"the platform does not process its {what}")
            time.sleep(0.002)

    def _read_log(self) -> None:
        rows = self._store.execute(
            "SELECT number, accepted FROM fault_log WHERE number > ? ORDER BY number", (self._logged,)
        ).fetchall()
        for number, names in rows:
            self._logged = number
            self.accepted.update(filter(None, names.split("\n")))

    # External changes to the platform.

    def batches(self) -> list[str]:
        """Return the successful batches, oldest first."""
        query = "SELECT id FROM batch WHERE status = 'success' ORDER BY position"
        return [batch for (batch,) in self._store.execute(query)]

    def merge(self) -> None:
        """Restart the platform so that it merges all batches into one."""
        loaded = self.loaded_rows()
        self.start_platform(consolidation_delay=0.0)
        self._wait_for("batches", "SELECT 1 FROM batch WHERE status = 'success' LIMIT 1 OFFSET 1")
        self.start_platform()
        self._merged |= dict.fromkeys(self.batches(), loaded)

    def hide(self, batch: str) -> None:
        """Make a batch unreadable for a while."""
        path = self.state / "local" / LAKE / f"{batch}.parquet"
        if path.exists():
            away = self.folder / path.name
            path.replace(away)
            self.hidden.append((path, away))

    def unhide(self) -> None:
        """Make all batches readable again."""
        for path, away in self.hidden:
            away.replace(path)
        self.hidden = []

    def age(self) -> None:
        """Make acceptances two hours older, and the platform's runs three, as if both had passed."""
        self.settle()
        if (self.state / "ledger.db").exists():
            # it may have been killed before its tables were made
            ledger = closing(sqlite3.connect(self.state / "ledger.db", timeout=30))
            with ledger as db, suppress(sqlite3.OperationalError), db:
                db.execute("UPDATE event SET settled_at = settled_at - ?", (2 * HOUR,))
        with self._store:
            self._store.execute(
                "UPDATE run SET started = started - :moved, body = CAST(json_set(body,"
                " '$.metrics.durationSummary.startedAtUTC', started - :moved) AS BLOB)",
                {"moved": 3 * HOUR},
            )

    # Input of the client.

    def frames(self, wanted: dict[str, int]) -> Tables:
        """Return the frames of events, each in its version; the same object for the same events."""
        key = tuple(sorted(wanted.items()))
        if key not in _frames:
            parts, messages = [], []
            for version, tables in enumerate(self.pool.tables):
                names = [name for name, number in key if number == version]
                parts.append(tables.events[tables.events["event_id"].isin(names)])
                messages.append(tables.messages[tables.messages["event_id"].isin(names)])
            events, rows = (pd.concat(each, ignore_index=True) for each in (parts, messages))
            _frames[key] = replace(self.pool.tables[0], events=events, messages=rows)
        return _frames[key]

    def write_captures(self, wanted: dict[str, int]) -> Path:
        """Write the captures of events, each in its version."""
        path = self.folder / "captures" / "captures.ndjson"
        path.parent.mkdir(exist_ok=True)
        lines = [self.pool.lines[name][version] for name, version in wanted.items()]
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path


_frames: dict[tuple[tuple[str, int], ...], Tables] = {}
_validated: dict[int, Any] = {}


def _revalidate(events: pd.DataFrame, messages: pd.DataFrame) -> Any:
    """Validate each pair of frames once: it depends on nothing else, and takes longer than all the rest."""
    if id(events) not in _validated:
        _validated[id(events)] = revalidate(events, messages)
    return _validated[id(events)]


_current: list[World] = []


def _here() -> World:
    return _current[-1]


def _erasing(erase: Any, *where: Any) -> Any:
    _here().client.reach("before erasing")
    erased = erase(*where)
    _here().client.reach("after erasing")
    return erased


def _planned(_platform: Platform, _name: str, **_options: Any) -> Any:
    """Return the plan of a connection that is complete."""
    return SimpleNamespace(apply=lambda **_: _here().connection)


@cache
def pool() -> tuple[Pool, PlatformThread]:
    """Create the pool and the platform's thread, once per process."""
    folder = Path(tempfile.mkdtemp(prefix="chatlio-kit-histories-"))
    thread = PlatformThread()
    state = folder / "state"
    lines: dict[str, list[bytes]] = {}
    visitor_of: dict[str, str] = {}
    kind_of: dict[str, Kind] = {}
    tables = []
    for version in range(VERSIONS):
        made = list(_captures(version))
        for name, visitor, kind, line in made:
            lines.setdefault(name, []).append(line)
            visitor_of[name], kind_of[name] = visitor, kind
        path = folder / f"version-{version}.ndjson"
        path.write_bytes(b"".join(line + b"\n" for *_, line in made))
        tables.append(ck.read_export(path).to_tables(quiet=True))
        found = set(tables[-1].events["event_id"])
        if found != lines.keys():
            raise AssertionError("never read: the ids of the events are not those of the documented formula")
    store = state / "local"
    store.mkdir(parents=True)
    for private in (state, store):
        private.chmod(0o700)
    with Platform(settings_of(thread.start(store, []), state)) as platform:
        connection = plan_connection(platform).apply(quiet=True)
        for kind in KINDS:
            connection.history_flow(kind)
        connection = ck.open_connection(platform, quiet=True)
    thread.stop()
    (state / "ledger.db").unlink(missing_ok=True)
    return Pool(state, connection, lines, tables, visitor_of, kind_of), thread


@contextmanager
def world() -> Iterator[World]:
    """Open the world of one history."""
    made, thread = pool()
    log = logging.getLogger("chatlio_kit.local_platform")  # it logs what a killed store raises
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    patches = [
        patch("chatlio_kit.aep.http.HTTPAdapter", _Wire),
        patch("chatlio_kit.aep.http.FIRST_PAUSE", 1e-6),
        patch("chatlio_kit.delivery.ledger.ledger.sqlite3", _Sqlite(lambda: _here().client)),
        patch("chatlio_kit.local_platform.store.sqlite3", _Sqlite(lambda: thread.life)),
        patch("chatlio_kit.delivery.requests.sending.WORKERS", WORKERS),
        patch("chatlio_kit.delivery.stream.revalidate", _revalidate),
        # half of a history's time: the connection is complete, and no kill falls into the search of all files
        patch("chatlio_kit.jobs.backfill.plan_connection", _planned),
        patch("chatlio_kit.jobs.forget._Erasure._report_remaining_files", lambda _: None),
        patch.object(run_module, "pack", partial(pack, limit=REQUEST_BYTES)),
        patch(
            "chatlio_kit.jobs.forget.local_platform",
            SimpleNamespace(
                **{
                    name: getattr(local_platform, name)
                    for name in ("stop", "find_rows", "Erased", "CannotServe")
                },
                erase_rows=partial(_erasing, local_platform.erase_rows),
            ),
        ),
    ]
    with tempfile.TemporaryDirectory(prefix="chatlio-kit-history-") as name:
        for change in patches:
            change.start()
        opened = World.__new__(World)
        _current.append(opened)
        try:
            opened.__init__(made, thread, Path(name))  # type: ignore[misc]
            yield opened
        finally:
            with suppress(AttributeError):
                opened.close()
            _current.pop()
            for change in reversed(patches):
                change.stop()
            log.setLevel(level)
