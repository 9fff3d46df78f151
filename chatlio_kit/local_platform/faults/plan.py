"""Injected faults between a sender and the streaming endpoint, from a file, reproducible by a seed.

The file is JSON::

    {"seed": 7, "record_key": "event_id",
     "faults": [{"fault": "status", "status": 429, "retry_after": 1, "rate": 0.05},
                {"fault": "reset_after", "count": 3, "after": 10},
                {"fault": "late_inlet", "until": 2.0}]}

Each request to the streaming endpoint meets the first rule that applies. A rule applies with its ``rate`` (0
to 1, by default always), at most ``count`` times, not before ``after`` requests, and between ``since`` and
``until``, seconds since the server's start.

| fault | what happens | further keys |
| --- | --- | --- |
| ``status`` | refused as a whole | ``status``, ``retry_after``, ``share`` |
| ``reset_before``, ``reset_after`` | the connection is reset, before or after acceptance | |
| ``hung_before``, ``hung_after`` | nothing is answered, before or after acceptance | ``seconds`` |
| ``slow`` | accepted, and answered late | ``seconds`` |
| ``cut`` | accepted; the answer is truncated | |
| ``not_json`` | accepted; the answer is a web page | |
| ``short``, ``long`` | accepted; elements of the answer are missing, or there are too many | |
| ``partial`` | some records are refused, not all | ``share``, ``status``, ``dialect``, ``lasting`` |
| ``dropped`` | acknowledged, and lost | ``share``, ``lasting`` |
| ``expired_token`` | 401, as for an expired token | |
| ``late_inlet`` | 404, "Inlet does not exist" | |

``dialect`` is ``statusCode`` (no transaction id on refused elements) or ``status`` (a transaction id ending
in ``-index``). ``share`` is the share of records that are refused or dropped; with ``lasting``, always the
same ids. With a ``share``, ``status`` refuses requests that hold such a record. Without one, ``dropped``
loses a whole request, as may happen soon after a dataflow change (HTTP API source: wait for at least 5
minutes). With ``"on": "platform"``, a rule applies to the REST APIs instead, including batch ingestion;
``short``, ``long``, ``partial``, ``dropped`` and ``late_inlet`` work only on streaming.

With a file, even one without rules, the store keeps a log: for each request its number, its fault, and the
accepted records by ``record_key``. :func:`read_log` reads it.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from ..store import Json

BEFORE = frozenset({"status", "reset_before", "hung_before", "expired_token", "late_inlet"})
"""The faults that apply before anything is accepted."""

UNACKNOWLEDGED = frozenset({"reset_after", "hung_after", "cut", "not_json", "short", "long"})
"""The faults that accept records without a complete acknowledgement."""

KNOWN = BEFORE | UNACKNOWLEDGED | {"slow", "partial", "dropped"}
_SHARES = {"partial": 0.2, "status": 1.0, "dropped": 1.0}
"""The faults that pick records, and their default share."""
_ON_INGESTION_ALONE = frozenset({"short", "long", "partial", "dropped", "late_inlet"})
_DIALECTS = ("statusCode", "status")


class WrongFaults(ValueError):
    """An error for a file of faults that is unreadable or invalid."""


@dataclass(frozen=True)
class FaultRule:
    """A fault and the conditions under which it applies; the fields are those of the file."""

    fault: str
    rate: float = 1.0
    count: int | None = None
    after: int = 0
    since: float = 0.0
    until: float | None = None
    status: int = 503
    retry_after: int | None = None
    seconds: float = 1.0
    share: float | None = None
    dialect: str = "status"
    lasting: bool = False
    on: str = "ingestion"

    def __post_init__(self) -> None:
        if self.fault not in KNOWN:
            raise WrongFaults(f"There is no fault {self.fault!r}; there are {', '.join(sorted(KNOWN))}.")
        if self.dialect not in _DIALECTS:
            raise WrongFaults(f"The dialect {self.dialect!r} is neither {_DIALECTS[0]} nor {_DIALECTS[1]}.")
        if self.on not in ("ingestion", "platform"):
            raise WrongFaults(f"A fault is on 'ingestion' or on 'platform', not on {self.on!r}.")
        if self.on == "platform" and self.fault in _ON_INGESTION_ALONE:
            raise WrongFaults(f"The fault {self.fault!r} strikes the streaming endpoint alone.")
        if not 0 <= self.rate <= 1 or not 0 <= (self.share or 0) <= 1:
            raise WrongFaults(f"Rate and share of {self.fault!r} must lie between 0 and 1.")


@dataclass(frozen=True)
class FaultPlan:
    """The faults of a server.

    Attributes:
        rules: The rules, tried in this order.
        seed: Seed of the random choices; the same seed gives the same faults, request by request.
        record_key: The key whose value identifies a record in the log.
    """

    rules: tuple[FaultRule, ...] = ()
    seed: int = 0
    record_key: str = "event_id"

    @classmethod
    def read(cls, source: Path | str | Mapping[str, Any]) -> FaultPlan:
        """Read a file of faults, or its content.

        Raises:
            WrongFaults: The faults cannot be read or are invalid.
        """
        if isinstance(source, Mapping):
            content: Any = source
        else:
            try:
                content = orjson.loads(Path(source).read_bytes())
            except (OSError, orjson.JSONDecodeError) as error:
                raise WrongFaults(f"The faults in {str(source)!r} cannot be read: {error}.") from error
        if not isinstance(content, Mapping) or not isinstance(content.get("faults", []), list):
            raise WrongFaults("Faults are a JSON object with a list named faults.")
        names = {key.name for key in fields(FaultRule)}
        for entry in content.get("faults", []):
            unknown = sorted(set(entry) - names) if isinstance(entry, Mapping) else [repr(entry)]
            if unknown or "fault" not in entry:
                raise WrongFaults(f"A fault has a key 'fault' and no {', '.join(unknown) or 'such key'}.")
        rules = tuple(FaultRule(**entry) for entry in content.get("faults", []))
        return cls(rules, int(content.get("seed", 0)), str(content.get("record_key", "event_id")))


@dataclass
class Trial:
    """The fault that a request meets, if any, and the random choice of its records."""

    plan: FaultPlan
    rule: FaultRule | None
    chance: random.Random

    @property
    def fault(self) -> str | None:
        """The name of the fault, if any."""
        return self.rule.fault if self.rule else None

    def name_of(self, body: Any) -> str:
        """Return a record's name in the log; for an XDM envelope, its entity's ``_id``."""
        if isinstance(body, dict):
            entity = body["body"].get("xdmEntity") if isinstance(body.get("body"), dict) else None
            found = entity.get("_id") if isinstance(entity, dict) else body.get(self.plan.record_key)
            return str(found) if found is not None else ""
        return ""

    def picks(self, body: Any) -> bool:
        """Return whether the fault refuses or drops this record."""
        rule = self.rule
        if rule is None or rule.fault not in _SHARES:
            return False
        share = _SHARES[rule.fault] if rule.share is None else rule.share
        if rule.lasting or rule.fault == "status":
            return is_poisoned(self.name_of(body), share, self.plan.seed)
        return self.chance.random() < share

    def refuses(self, messages: list[Any]) -> bool:
        """Return whether the whole request is refused; with a share, if it holds a poisoned record."""
        if self.rule is None or self.rule.fault != "status":
            return False
        return self.rule.share is None or any(self.picks(message) for message in messages)

    def element(self, batch_id: str, index: int) -> Json:
        """Return the element for a record that a partial answer refuses."""
        status = self.rule.status if self.rule else 503
        message = "The message was refused on demand"
        if self.rule and self.rule.dialect == "statusCode":
            return {"statusCode": status, "message": message}
        return {"xactionId": f"{batch_id}-{index}", "status": status, "message": message}

    def altered(self, responses: list[Json]) -> list[Json]:
        """Return the elements of an answer that is too short or too long."""
        if self.fault == "short":
            kept = max(1, len(responses) * 4 // 5) if len(responses) > 1 else 0
            indexes = sorted(self.chance.sample(range(len(responses)), kept))
            return [responses[index] for index in indexes]
        if self.fault == "long":
            return [*responses, {"xactionId": "0:0:0:0"}]
        return responses


def is_poisoned(name: str, share: float, seed: int) -> bool:
    """Return whether lasting faults with this share pick the record of this name."""
    digest = sha256(f"{seed}|{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


class Faults:
    """The choice of a fault for each request."""

    def __init__(self, plan: FaultPlan) -> None:
        self.plan = plan
        self._struck: Counter[int] = Counter()
        self._requests: Counter[str] = Counter()
        self._started = time.monotonic()
        self._chance = random.Random(plan.seed)  # noqa: S311 - no secret

    def trial(self, on: str = "ingestion") -> Trial:
        """Return the next request's fault."""
        self._requests[on] += 1
        age = time.monotonic() - self._started
        chance = random.Random(self._chance.random())  # noqa: S311 - no secret
        for number, rule in enumerate(self.plan.rules):
            if rule.on != on:
                continue
            strikes = chance.random() < rule.rate
            in_time = rule.since <= age and (rule.until is None or age < rule.until)
            is_spent = rule.count is not None and self._struck[number] >= rule.count
            if strikes and in_time and not is_spent and self._requests[on] > rule.after:
                self._struck[number] += 1
                return Trial(self.plan, rule, chance)
        return Trial(self.plan, None, chance)


@dataclass
class Limit:
    """A token bucket.

    Attributes:
        rate: Tokens per second.
        most: The size of the bucket; by default the tokens of one second.
    """

    rate: float
    most: float = 0.0
    tokens: float = 0.0
    filled_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.tokens = self.most = self.most or self.rate

    def takes(self, count: float) -> bool:
        """Take tokens if there are enough; more than the bucket's size needs a full bucket."""
        now = time.monotonic()
        self.tokens = min(self.most, self.tokens + (now - self.filled_at) * self.rate)
        self.filled_at = now
        if self.tokens < min(count, self.most):
            return False
        self.tokens -= count
        return True


@dataclass(frozen=True)
class Logged:
    """A request to the streaming endpoint, from the log.

    Attributes:
        number: Its number, from 1.
        fault: The fault it met, if any.
        messages: Number of its messages, 0 if it was not read.
        accepted: The names of the accepted records, with repetitions.
    """

    number: int
    fault: str | None
    messages: int
    accepted: tuple[str, ...]

    @property
    def is_acknowledged(self) -> bool:
        """True if the sender got a complete answer."""
        return self.fault not in UNACKNOWLEDGED


def read_log(folder: Path) -> list[Logged]:
    """Read the log of a store folder, oldest request first."""
    with closing(sqlite3.connect(folder / "platform.sqlite3", timeout=60)) as db:
        rows = db.execute("SELECT number, fault, messages, accepted FROM fault_log ORDER BY number")
        return [
            Logged(number, fault, messages, tuple(names.split("\n")) if names else ())
            for number, fault, messages, names in rows
        ]
