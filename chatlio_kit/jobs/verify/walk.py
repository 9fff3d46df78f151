"""Run the conformance cases on a development sandbox, and remove the objects they created."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import orjson

from chatlio_kit.aep import Platform, Reply
from chatlio_kit.aep.access_control import DEVELOPMENT
from chatlio_kit.aep.http import new_session, send
from chatlio_kit.aep.schema_registry import ResourceType
from chatlio_kit.connection.production import sandbox_type
from chatlio_kit.display import Progress, Sheet
from chatlio_kit.errors import ChatlioKitError, PlatformError, ProductionSandbox, option
from chatlio_kit.jobs.verify.cases import CASES, GIVEN, MARK, TAKE_DOWN, Case
from chatlio_kit.jobs.verify.outcome import Difference, Walk
from chatlio_kit.jobs.verify.recording import Recorder
from chatlio_kit.jobs.verify.shapes import misfits
from chatlio_kit.settings import sealed

GUARD_SECONDS = 300.0
"""Seconds in which a new dataflow may still drop records (HTTP API source: wait for at least 5 minutes)."""
_MOST_FAILURES = 3
_FAILED = frozenset({"failed", "failure", "aborted", "abandoned"})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 15.0
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_TITLES: tuple[ResourceType, ...] = ("schemas", "fieldgroups")


def verify_sandbox(
    platform: Platform,
    cases: Sequence[Case] = CASES,
    *,
    wait: float = 900.0,
    record: Path | None = None,
    quiet: bool = False,
) -> Walk:
    """Run the conformance cases on a development sandbox and remove the objects they created.

    Args:
        platform: The sandbox.
        cases: The cases; each needs only objects of earlier ones.
        wait: Seconds to wait until a dataflow is ready and records have landed.
        record: The file for the scrubbed answers; it needs the extra ``verify``.
        quiet: If true, show no progress.

    Raises:
        ProductionSandbox: The sandbox is not of the type development; no option changes that.
        UsageError: ``record`` is given and vcrpy is not installed.
        OutputError: The recording cannot be written.
        PlatformError: The platform cannot be reached, or refuses the credential.
    """
    recorder = Recorder(record) if record is not None else None
    _require_development(platform)
    if recorder is None:
        return _Walker(platform, wait).walk(cases, quiet)
    # Connections that are already open would not be recorded.
    with recorder.recording(), Platform(platform.settings, sleep=platform.sleep) as recorded:
        walk = _Walker(recorded, wait, recorder.asking).walk(cases, quiet)
    recorder.write(walk, platform.settings)
    walk.recording = record
    return walk


def listed_calls() -> Sheet:
    """Return every call that a walk makes, in order."""
    rows = [(case.name, case.call) for case in CASES]
    notes = [
        "Calls that wait are repeated. At the end, remaining objects are removed, newest first, then any "
        f"other objects with the walk's mark. {option('wait')} limits the waiting."
    ]
    return Sheet(f"{len(rows)} calls", ("case", "call"), rows, notes)


def _require_development(platform: Platform) -> None:
    """Refuse any sandbox that is not of the type development; no option changes that. Reads only.

    Raises:
        ProductionSandbox: The type is another one, or cannot be read.
    """
    kind, reason = sandbox_type(platform)
    if kind != DEVELOPMENT:
        found = f"of the type {kind}" if kind else f"of an unknown type ({reason})"
        raise ProductionSandbox(
            f"The sandbox {platform.settings.sandbox!r} is {found}, so nothing was changed. Name a "
            "development sandbox in AEP_SANDBOX: this command changes no other, whatever its options."
        )


class _Walker:
    """A walk that makes the calls of cases, stores the ids in their answers, and removes created objects."""

    def __init__(
        self, platform: Platform, wait: float, asking: Callable[[Case | None], None] = lambda _: None
    ) -> None:
        self._platform = platform
        self._deadline = time.monotonic() + wait
        self._asking = asking
        self._failures = 0
        self._standing: dict[str, str] = {}
        self._walk = Walk(f"{MARK}{secrets.token_hex(4)}")
        settings = platform.settings
        self._ids = self._walk.ids
        self._ids |= GIVEN | {"mark": self._walk.mark, "sandbox": settings.sandbox}
        self._credential = {
            "client_id": settings.client_id,
            "client_secret": settings.client_secret,
            "scopes": settings.scopes,
        }

    def walk(self, cases: Sequence[Case], quiet: bool) -> Walk:
        try:
            with Progress("verifying", len(cases), "cases", quiet=quiet) as progress:
                for case in cases:
                    progress.say(case=case.name)
                    self._try(case)
                    progress.advance(1)
        except KeyboardInterrupt:
            self._walk.is_interrupted = True
        finally:
            self._take_down()
        return self._walk

    def _try(self, case: Case) -> None:
        """Run one case, unless an object that it needs is missing."""
        needed = set(_names_in([case.call, dict(case.query), case.sent, dict(case.headers), case.answer]))
        if not case.path.startswith("/data/") and not isinstance(case.sent, str):
            needed.add("inlet_url")  # its host takes the records
        missing = sorted(needed - self._ids.keys() - self._credential.keys())
        if case.removes and case.removes not in self._standing:
            missing = [case.removes]
        if missing:
            self._walk.not_walked[case.name] = f"it needs {', '.join(missing)}, which no case before it gave"
            return
        if case.after in self._walk.not_walked:
            self._walk.not_walked[case.name] = f"it follows {case.after!r}, which was not walked"
            return
        if self._failures == _MOST_FAILURES:
            self._walk.not_walked[case.name] = "the platform stopped answering"
            return
        if case.name == "post raw records" and not self._platform.settings.is_local:
            self._platform.sleep(max(0.0, min(GUARD_SECONDS, self._deadline - time.monotonic())))
        self._walk.expected[case.name] = wanted = filled(case.answer, self._ids)
        try:
            reply, found = self._answer(case, wanted)
        except PlatformError as error:
            self._walk.not_walked[case.name] = error.reason
            self._failures += 1
            return
        self._failures = 0
        if found and _is_plain_delay(case, reply):
            what = "the dataflow was not ready" if case.awaits == "ready" else "nothing had landed"
            self._walk.not_walked[case.name] = f"{what} when the wait was over; --wait sets its length"
            return
        self._walk.walked.append(case.name)
        if found:
            self._walk.differences.append(Difference(case, "; ".join(found)))
        if 200 <= reply.status_code < 300:
            self._remember(case, _json(reply))

    def _answer(self, case: Case, wanted: Any) -> tuple[Reply, list[str]]:
        """Return the answer and its differences; repeat a waiting case until there are none."""
        pause = _FIRST_PAUSE
        while True:
            self._asking(case)
            reply = self._ask(case)
            self._asking(None)
            if reply.status_code in case.status:
                found = list(misfits(_json(reply), wanted, words=self._shown))
            else:
                said = " or ".join(map(str, case.status))
                found = [f"it answered {reply.status_code}, not {said}"]
            left = self._deadline - time.monotonic()
            if not found or left <= 0 or not (_is_plain_delay(case, reply) or _lacks_inlet(case, reply)):
                return reply, found
            self._platform.sleep(min(pause, max(left, 0.0)))
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    @sealed
    def _ask(self, case: Case) -> Reply:
        method, path = case.call.partition(" ")[0], case.path
        address = _PLACEHOLDER.sub(lambda found: quote(self._ids[found[1]], safe=""), path)
        headers, sent = filled(dict(case.headers), self._ids), filled(case.sent, self._ids)
        if path.startswith("/data/"):
            query = list(filled(dict(case.query), self._ids).items())
            return self._platform.ask(method, address, query=query, body=sent, headers=headers)
        settings = self._platform.settings
        if isinstance(sent, str):
            content = filled(sent, {**self._credential, "client_secret": settings.client_secret.reveal()})
            host, kind = settings.ims_url, "application/x-www-form-urlencoded"
        else:
            inlet = urlsplit(self._ids["inlet_url"])
            host, kind = f"{inlet.scheme}://{inlet.netloc}", "application/json"
            content = orjson.dumps(sent).decode()
        with closing(new_session(host)) as session:
            return send(
                session, "POST", host + address, service="The address", operation="answer",
                sleep=self._platform.sleep, data=content.encode(), headers={"Content-Type": kind, **headers},
            )  # fmt: skip

    def _remember(self, case: Case, body: Any) -> None:
        for name, place in case.gives.items():
            value = _at(body, place)
            if isinstance(value, str) and value:
                self._ids[name] = value.rpartition("/")[2] if value.startswith("@/") else value
        if "inlet_url" in case.gives and "inlet_url" in self._ids:
            self._ids["inlet"] = urlsplit(self._ids["inlet_url"]).path.rpartition("/")[2]
        if case.makes in self._ids:
            self._standing[str(case.makes)] = self._ids[str(case.makes)]
        if case.removes:
            self._standing.pop(case.removes, None)

    def _shown(self, text: str) -> str:
        hidden = {self._ids[name] for name in ("inlet", "tenant") if name in self._ids}
        for each in sorted(hidden, key=len, reverse=True):
            text = text.replace(each, "***")
        return repr(text if len(text) < 100 else text[:100] + " ...")

    def _take_down(self) -> None:
        """Remove remaining objects, the newest first, then any others with the mark."""
        self._asking(None)
        try:
            for name in reversed(list(self._standing)):
                self._remove(name, TAKE_DOWN[name], {name: self._standing[name]})
                del self._standing[name]
            for name, object_id in self._carriers():
                self._remove(name, TAKE_DOWN[name], {name: object_id})
        except KeyboardInterrupt:
            self._walk.is_interrupted = True
            names = list(self._standing) or ["objects"]
            self._walk.left |= dict.fromkeys(names, "the removal was interrupted, too")

    def _remove(self, name: str, call: str, ids: Mapping[str, str]) -> None:
        method, _, path = call.partition(" ")
        address = _PLACEHOLDER.sub(lambda found: quote(ids[found[1]], safe=""), path)
        what = f"{name} {ids[name]}"
        try:
            reply = self._platform.ask(method, address)
        except PlatformError as error:
            self._walk.left[what] = error.reason
            return
        if reply.status_code not in (200, 204, 404):
            self._walk.left[what] = f"{method} answered {reply.status_code}"

    def _carriers(self) -> Iterator[tuple[str, str]]:
        """Yield objects with this walk's mark, found by name, in an order that allows their removal."""
        mark, platform = self._walk.mark, self._platform
        found: list[tuple[str, Callable[[], list[str]]]] = [
            ("flow", lambda: [flow.id for flow in platform.flows.flows([f"name=={mark} flow"])]),
            (
                "source",
                lambda: [one.id for one in platform.flows.endpoints("source", [f"name=={mark} source"])],
            ),
            (
                "target",
                lambda: [one.id for one in platform.flows.endpoints("target", [f"name=={mark} target"])],
            ),
            (
                "mapping",
                lambda: [str(one.get("id")) for one in platform.mapping_sets.find(f"{mark} mapping")],
            ),
            ("dataset", lambda: list(platform.catalog.datasets(f"{mark} dataset"))),
            ("schema", lambda: self._titled("schemas")),
            ("group", lambda: self._titled("fieldgroups")),
        ]
        for name, search in found:
            try:
                yield from [(name, object_id) for object_id in search()]
            except ChatlioKitError as error:
                self._walk.left[f"any {name} named {mark}"] = f"it could not be searched: {error}"

    def _titled(self, kind: ResourceType) -> list[str]:
        titles = self._platform.schemas.titles(kind)
        return [str(one.get("$id")) for one in titles if str(one.get("title")).startswith(self._walk.mark)]


def filled(node: Any, ids: Mapping[str, Any]) -> Any:
    """Return data with words in braces replaced by ids; unknown words stay."""
    if isinstance(node, str):
        return _PLACEHOLDER.sub(lambda found: str(ids.get(found[1], found[0])), node)
    if isinstance(node, dict):
        return type(node)({filled(key, ids): filled(value, ids) for key, value in node.items()})
    if isinstance(node, list | tuple):
        return type(node)(filled(item, ids) for item in node)
    if hasattr(node, "shape"):
        return type(node)(filled(node.shape, ids))
    return node


def _names_in(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield from _PLACEHOLDER.findall(node)
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _names_in([key, value])
    elif isinstance(node, list | tuple):
        for item in node:
            yield from _names_in(item)
    elif hasattr(node, "shape"):
        yield from _names_in(node.shape)


def _is_plain_delay(case: Case, reply: Reply) -> bool:
    """Return whether an awaited answer may still come: no batch exists yet, or no state has changed yet."""
    body = _json(reply)
    if case.awaits is None or reply.status_code not in case.status:
        return False
    if case.awaits == "landed":
        status = _at(body, "*/status")
        return body == {} or (isinstance(status, str) and status not in _FAILED)
    state = _at(body, "items/0/state")
    return isinstance(state, str) and state != _at(case.answer, "items/0/state")


def _lacks_inlet(case: Case, reply: Reply) -> bool:
    return "inlet_url" in case.gives and _at(_json(reply), "items/0/options/inletUrl") is None


def _json(reply: Reply) -> Any:
    try:
        return reply.json()
    except ValueError:
        return None


def _at(body: Any, place: str) -> Any:
    """Return the value at a path such as ``items/0/id``; None if there is none.

    The step ``*`` is the first member of an object: its value, or its key at the end of a path.
    """
    steps = place.split("/")
    for number, step in enumerate(steps, 1):
        if isinstance(body, dict):
            key = next(iter(body), "") if step == "*" else step
            body = key if step == "*" and number == len(steps) else body.get(key)
        elif isinstance(body, list) and step.isdecimal() and int(step) < len(body):
            body = body[int(step)]
        else:
            return None
    return body
