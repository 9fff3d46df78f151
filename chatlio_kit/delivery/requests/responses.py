"""What the platform's answer means for each record that was sent.

| answer | what follows |
| --- | --- |
| 207, element with a transaction id and no status | delivered |
| 207, element with status 4xx | dead letter with the element as its answer |
| 207, element with status 429 or 5xx, or no element for the record | sent again under the same id |
| 200 | delivered (single post) |
| 400 | split until the culprit stands alone; alone: dead letter |
| 413 | split; alone: dead letter |
| 207, every element "The 'header' field is mandatory" | posted one by one |
| 401, 403 | stop: the inlet refuses the credential |
| 404, or "Inlet does not exist" | wait as after creation, then stop |
| 408, 425, 429, 5xx, or no answer | wait and send again; ``Retry-After`` is a minimum |
| 2xx that is not JSON, any 3xx | not acknowledged: sent again under the same id |

Failed elements carry ``statusCode`` in Adobe's documents and ``status`` in production answers; both count. A
success element carries ``xactionId``, whose last number is the record's place in the request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import orjson

from chatlio_kit.aep import masked

_PLACE = re.compile(r"[-:](\d+)$")
_NO_RAW = b"'header' field is mandatory"
_TRANSIENT = frozenset({408, 425, 429})


class NextStep(Enum):
    """What to do with a request as a whole."""

    READ = "read the verdicts"
    AGAIN = "send again"
    SPLIT = "split"
    NOT_YET = "wait for the inlet"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Response:
    """What came back for one request; status 0 when nothing did."""

    status: int
    body: bytes = b""
    retry_after: str | None = None

    @property
    def said(self) -> str:
        """The body as text; an inlet's id, which is the key to it, is masked."""
        return masked(self.body.decode("utf-8", errors="replace"))


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that the platform will not take."""

    reason: str
    answer: str


@dataclass
class RecordVerdicts:
    """The fate of each record of a request, by its place.

    ``unknown`` has to be sent again; ``passing``, a part of it, was refused for now and so was not accepted.
    """

    delivered: dict[int, str] = field(default_factory=dict)
    refused: dict[int, Refusal] = field(default_factory=dict)
    unknown: list[int] = field(default_factory=list)
    passing: list[int] = field(default_factory=list)


def what_next(answer: Response) -> NextStep:
    """Classify an answer by its status first, by its body only where the status is not enough."""
    if answer.status in (200, 207):
        return NextStep.READ
    if answer.status == 404 or b"Inlet does not exist" in answer.body:
        return NextStep.NOT_YET
    if answer.status in (401, 403):
        return NextStep.STOP
    if answer.status in (400, 413):
        return NextStep.SPLIT
    if answer.status in _TRANSIENT or answer.status >= 500 or answer.status < 400:
        return NextStep.AGAIN
    return NextStep.SPLIT


def verdicts(answer: Response, count: int) -> RecordVerdicts:
    """Read the verdict of each of ``count`` records; whoever is not mentioned is unknown."""
    try:
        said = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return RecordVerdicts(unknown=list(range(count)))
    if not isinstance(said, dict):
        return RecordVerdicts(unknown=list(range(count)))
    if answer.status == 200:
        transaction = said.get("xactionId")
        if count == 1 and isinstance(transaction, str):
            return RecordVerdicts(delivered={0: transaction})
        return RecordVerdicts(unknown=list(range(count)))
    responses = said.get("responses")
    if taken := _all_taken(responses, count):
        return RecordVerdicts(delivered=dict(enumerate(taken)))
    found = RecordVerdicts()
    for place, element in _by_place(responses, count).items():
        status = element.get("status", element.get("statusCode"))
        transaction = element.get("xactionId")
        if status is None or _is_success(status):
            if isinstance(transaction, str) and transaction:
                found.delivered[place] = transaction
        elif _is_transient(status):
            found.passing.append(place)
        else:
            found.refused[place] = Refusal(f"refused_{status}", masked(orjson.dumps(element).decode()))
    found.unknown = [
        place for place in range(count) if place not in found.delivered and place not in found.refused
    ]
    return found


def wants_envelopes(answer: Response) -> bool:
    """Whether the batch path refused every record since it takes no raw ones."""
    if answer.status != 207 or _NO_RAW not in answer.body:
        return False
    try:
        said = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return False
    elements = said.get("responses") if isinstance(said, dict) else None
    return (
        isinstance(elements, list)
        and bool(elements)
        and all(_NO_RAW.decode() in str(each.get("message")) for each in elements if isinstance(each, dict))
        and all(isinstance(each, dict) for each in elements)
    )


def refusal(answer: Response) -> Refusal:
    """Say why a request that holds a single record was refused."""
    reason = "too_large" if answer.status == 413 else f"refused_{answer.status}"
    return Refusal(reason, answer.said)


def _all_taken(responses: Any, count: int) -> list[str] | None:
    """Give the transaction ids when there is one for each record and nothing else: on a quiet day, always."""
    if not isinstance(responses, list) or len(responses) != count:
        return None
    taken = [
        each["xactionId"] for each in responses if isinstance(each, dict) and each.keys() == {"xactionId"}
    ]
    return taken if len(taken) == count and all(each and isinstance(each, str) for each in taken) else None


def _by_place(responses: Any, count: int) -> dict[int, dict[str, Any]]:
    """Match elements to records by the place in their transaction ids, or by position where ids tell none.

    Places that repeat or lie outside the request are no places; then only a full set of elements can be
    matched, by position.
    """
    if not isinstance(responses, list):
        return {}
    elements = [element if isinstance(element, dict) else {} for element in responses]
    places = [_place_in(element) for element in elements]
    told = [place for place in places if place is not None]
    trusted = len(set(told)) == len(told) and all(place < count for place in told)
    if len(elements) == count and (not trusted or len(told) < count):
        return dict(enumerate(elements))
    if not trusted:
        return {}
    return {place: element for place, element in zip(places, elements, strict=True) if place is not None}


def _place_in(element: dict[str, Any]) -> int | None:
    found = _PLACE.search(str(element.get("xactionId", "")))
    return int(found.group(1)) if found else None


def _is_success(status: Any) -> bool:
    return str(status).startswith("2")


def _is_transient(status: Any) -> bool:
    digits = str(status)
    return digits.startswith("5") or (digits.isdigit() and int(digits) in _TRANSIENT)
