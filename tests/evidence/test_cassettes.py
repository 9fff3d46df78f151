"""Each recording of a sandbox is a case for the local platform: the cases' assumptions hold there too.

``python tests/evidence/test_cassettes.py`` records ``tests/cassettes/local.json`` again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from chatlio_kit.aep import Platform
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.jobs.verify import CASES, Case, verify_sandbox
from chatlio_kit.jobs.verify.recording import CASE_HEADER
from chatlio_kit.jobs.verify.shapes import Each, Keyed, Some, misfits
from chatlio_kit.local_platform import running

CASSETTES = Path(__file__).parent.parent / "cassettes"
_BY_NAME = {case.name: case for case in CASES}
Answers = dict[str, tuple[int, Any]]


def interactions(path: Path) -> Iterator[tuple[Case, int, Any]]:
    """Yield the case of each recorded request, as it was sent, and the status and body of its answer."""
    for one in json.loads(path.read_text(encoding="utf-8"))["interactions"]:
        request, response = one["request"], one["response"]
        case = _BY_NAME[request["headers"][CASE_HEADER][0]]
        parts = urlsplit(request["uri"])
        headers = {name: values[0] for name, values in request["headers"].items() if name != CASE_HEADER}
        sent = {
            "call": f"{request['method']} {parts.path}",
            "query": dict(pair.split("=", 1) for pair in parts.query.split("&") if pair),
            "headers": {**case.headers, **headers},
        }
        if request["body"] and not isinstance(case.sent, str):
            sent["sent"] = json.loads(request["body"])
        body = response["body"]["string"]
        answer = json.loads(body) if body.startswith(("{", "[")) else body
        yield replace(case, **sent), response["status"]["code"], answer


def answers(path: Path) -> Answers:
    """Return the answers of a recording by case."""
    return {case.name: (status, body) for case, status, body in interactions(path)}


def differences(here: Any, there: Any, shape: Any, where: str = "the answer") -> Iterator[str]:
    """Yield where two answers differ in what a case relies on: members, types and named values."""
    if isinstance(shape, tuple):
        shape = min(shape, key=lambda one: len(list(misfits(there, one))))
    if type(here) is not type(there):
        yield f"{where} is {type(here).__name__} here and {type(there).__name__} in the recording"
    elif isinstance(shape, dict):
        for key in shape:
            if (key in here) != (key in there):
                yield f"{where}.{key} is only {'here' if key in here else 'in the recording'}"
            elif key in here:
                yield from differences(here[key], there[key], shape[key], f"{where}.{key}")
    elif isinstance(shape, list):
        for place, (one, other, inner) in enumerate(zip(here, there, shape, strict=True)):
            yield from differences(one, other, inner, f"{where}[{place}]")
    elif isinstance(shape, Each | Some | Keyed):
        items = [list(one.values() if isinstance(one, dict) else one)[:1] for one in (here, there)]
        for one, other in zip(*items, strict=False):
            yield from differences(one, other, shape.shape, f"{where}[]")
    elif isinstance(shape, str) and here != there:
        yield f"{where} is {here!r} here and {there!r} in the recording"


@pytest.mark.parametrize("path", sorted(CASSETTES.glob("*.json")), ids=lambda path: path.stem)
def test_the_local_platform_answers_as_the_recording(path: Path, platform: Platform, tmp_path: Path) -> None:
    """The recorded requests, asked of the local platform, get the same statuses and the same members."""
    recorded = list(interactions(path))
    again = tmp_path / "again.json"
    result = verify_sandbox(platform, [case for case, _, _ in recorded], wait=30, quiet=True, record=again)
    assert result.not_walked == {}
    here = answers(again)
    found = []
    for case, status, body in recorded:
        if here[case.name][0] != status:
            found.append(f"{case.name}: {here[case.name][0]} here and {status} in the recording")
        else:
            found += [f"{case.name}: {each}" for each in differences(here[case.name][1], body, case.answer)]
    assert found == []


def test_a_recording_that_differs_is_reported() -> None:
    """Another member, type, value or form of a list shows."""
    case = _BY_NAME["list mapping sets of a name"]
    (here,) = [answers(CASSETTES / "local.json")[case.name][1]]
    assert list(differences(here, here, case.answer)) == []
    renamed = {"mappingSets": here["data"]}
    assert list(differences(here, renamed, case.answer)) == ["the answer.data is only here"]
    for changed, words in (
        ({"id": 7}, "id is str here and int"),
        ({"name": "x"}, "and 'x' in the recording"),
    ):
        other = {"data": [{**here["data"][0], **changed}]}
        assert words in next(differences(here, other, case.answer))


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "store", enabling_delay=0.01, processing_delay=0.01) as server,
        Platform(settings_of(server)) as local,
    ):
        verify_sandbox(local, wait=30, quiet=True, record=CASSETTES / "local.json")
