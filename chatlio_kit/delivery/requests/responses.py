"""Classify the platform's answer for each record that was sent.

| answer | consequence |
| --- | --- |
| 207, element with a transaction id and no status | delivered |
| 207, element with status 4xx | dead letter with the element as its answer |
| 207, element with status 429 or 5xx, or no element for the record | sent again under the same id |
| 200 | delivered (single post) |
| 400 | split until the refused record is alone; alone: dead letter |
| 413 | split; alone: dead letter |
| 207, every element "The 'header' field is mandatory" | posted one by one |
| 401, 403 | stop: the inlet refuses the credential |
| 404, or "Inlet does not exist" | wait as after creation, then stop |
| 408, 425, 429, 5xx, or no answer | wait and send again; ``Retry-After`` is a minimum |
| 2xx that is not JSON, any 3xx | not acknowledged: sent again under the same id |

Failed elements carry ``statusCode`` in Adobe's documents and ``status`` in production answers; both count. A
success element carries ``xactionId``, whose last number is the record's index in the request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import orjson

from chatlio_kit.aep import masked

_INDEX = re.compile(r"[-:](\d+)$")
_ENVELOPE_REQUIRED = b"'header' field is mandatory"
_TRANSIENT = frozenset({408, 425, 429})


class NextAction(Enum):
    """The next action for a whole request."""

    READ = "read the verdicts"
    RETRY = "send again"
    SPLIT = "split"
    WAIT = "wait for the inlet"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to one request; status 0 if there was none."""

    status: int
    body: bytes = b""
    retry_after: str | None = None

    @property
    def text(self) -> str:
        """The body as text; an inlet's id, which is a secret, is masked."""
        return masked(self.body.decode("utf-8", errors="replace"))


@dataclass(frozen=True, slots=True)
class Refusal:
    """The platform's refusal of a record, with the reason."""

    reason: str
    answer: str


@dataclass
class RecordVerdicts:
    """The fate of each record of a request, by its index.

    ``unknown`` records have to be sent again; ``transient`` ones among them were refused for now, so they
    were not accepted.
    """

    delivered: dict[int, str] = field(default_factory=dict)
    refused: dict[int, Refusal] = field(default_factory=dict)
    unknown: list[int] = field(default_factory=list)
    transient: list[int] = field(default_factory=list)


def next_action(answer: Response) -> NextAction:
    """Classify an answer by its status, and by its body only if the status is not enough."""
    if answer.status in (200, 207):
        return NextAction.READ
    if answer.status == 404 or b"Inlet does not exist" in answer.body:
        return NextAction.WAIT
    if answer.status in (401, 403):
        return NextAction.STOP
    if answer.status in _TRANSIENT or answer.status >= 500 or answer.status < 400:
        return NextAction.RETRY
    return NextAction.SPLIT


def read_verdicts(answer: Response, count: int) -> RecordVerdicts:
    """Return the verdict of each of ``count`` records; a record that is not mentioned is unknown."""
    content = _parse_object(answer.body)
    if content is None:
        return RecordVerdicts(unknown=list(range(count)))
    if answer.status == 200:
        transaction = content.get("xactionId")
        if count == 1 and isinstance(transaction, str):
            return RecordVerdicts(delivered={0: transaction})
        return RecordVerdicts(unknown=list(range(count)))
    elements = content.get("responses")
    if not isinstance(elements, list):
        return RecordVerdicts(unknown=list(range(count)))
    if transactions := _all_delivered(elements, count):
        return RecordVerdicts(delivered=dict(enumerate(transactions)))
    result = RecordVerdicts()
    for index, element in _by_index(elements, count).items():
        status = element.get("status", element.get("statusCode"))
        transaction = element.get("xactionId")
        if status is None or _is_success(status):
            if isinstance(transaction, str) and transaction:
                result.delivered[index] = transaction
        elif _is_transient(status):
            result.transient.append(index)
        else:
            result.refused[index] = Refusal(f"refused_{status}", masked(orjson.dumps(element).decode()))
    settled = result.delivered.keys() | result.refused.keys()
    result.unknown = [index for index in range(count) if index not in settled]
    return result


def requires_envelopes(answer: Response) -> bool:
    """Return whether the batch endpoint refused every record because it accepts no raw ones."""
    if answer.status != 207 or _ENVELOPE_REQUIRED not in answer.body:
        return False
    elements = (_parse_object(answer.body) or {}).get("responses")
    return (
        isinstance(elements, list)
        and bool(elements)
        and all(
            isinstance(element, dict) and _ENVELOPE_REQUIRED.decode() in str(element.get("message"))
            for element in elements
        )
    )


def refusal_of(answer: Response) -> Refusal:
    """Return the refusal of a request with a single record."""
    reason = "too_large" if answer.status == 413 else f"refused_{answer.status}"
    return Refusal(reason, answer.text)


def _parse_object(body: bytes) -> dict[str, Any] | None:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return content if isinstance(content, dict) else None


def _all_delivered(elements: list[Any], count: int) -> list[str] | None:
    """Return the transaction ids if every record has one and nothing else, which is the usual case."""
    if len(elements) != count:
        return None
    transactions = [
        element["xactionId"]
        for element in elements
        if isinstance(element, dict) and element.keys() == {"xactionId"}
    ]
    is_complete = len(transactions) == count and all(
        isinstance(transaction, str) and transaction for transaction in transactions
    )
    return transactions if is_complete else None


def _by_index(responses: list[Any], count: int) -> dict[int, dict[str, Any]]:
    """Match elements to records by the index in their transaction ids, else by position.

    Indexes that repeat or are outside the request are not used; then only a full set of elements can be
    matched, by position.
    """
    elements = [element if isinstance(element, dict) else {} for element in responses]
    matches = [_INDEX.search(str(element.get("xactionId", ""))) for element in elements]
    by_index = {int(match[1]): element for match, element in zip(matches, elements, strict=True) if match}
    named = sum(match is not None for match in matches)
    is_usable = len(by_index) == named and all(index < count for index in by_index)
    if len(elements) == count and (not is_usable or named < count):
        return dict(enumerate(elements))
    return by_index if is_usable else {}


def _is_success(status: Any) -> bool:
    return str(status).startswith("2")


def _is_transient(status: Any) -> bool:
    digits = str(status)
    return digits.startswith("5") or (digits.isdigit() and int(digits) in _TRANSIENT)
