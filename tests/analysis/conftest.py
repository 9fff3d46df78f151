"""Exports to measure: two samples, and one around both changes of the clocks and Easter's holidays."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import chatlio_kit as ck
from chatlio_kit.tables import convert

HOURS, ZONE, REGION = "Mo-Fr 09:00-17:30; Sa 10:00-12:00,13:00-15:00", "Europe/Berlin", "DE-BE"
AGENTS = {"U01": "Sam L.", "U02": "Nour H.", "U03": "Sam L."}
SEASONS = (datetime(2024, 3, 28, 6, tzinfo=UTC), datetime(2024, 10, 24, 6, tzinfo=UTC))
"""From Maundy Thursday on, with the clocks going forward on Easter; and from before they go back."""


def _id(number: int) -> str:
    return f"7c1e9a52-3b6d-4f08-5a91-{number:012}"


def write_seasons(folder: Path, conversations: int = 240, seed: int = 3) -> Path:
    """Write conversations of all types, spread over the days on which the clocks change."""
    chance = random.Random(seed)
    lines: list[dict[str, Any]] = []
    for number in range(conversations):
        begun = chance.choice(SEASONS) + timedelta(seconds=chance.uniform(0, 6 * 86_400))
        visitor = {
            "UUID": _id(500 + number % 60),
            "currentPage": f"https://shop.example/{number % 7}?visit={number}",
            "createdAt": "2023-01-01T00:00:00Z",
        }
        chat = {"conversationUUID": _id(number), "visitor": visitor, "channelId": "C1", "message": "Hello?"}
        lines.append({"receivedAt": begun.isoformat(), "kind": "conversation_started", "payload": chat})
        if chance.random() < 0.25:
            late = (begun + timedelta(seconds=45)).isoformat()
            lines.append({"receivedAt": late, "kind": "unanswered", "payload": chat})
        if chance.random() < 0.2:
            later = (begun + timedelta(days=8)).isoformat()
            lines.append({"receivedAt": later, "kind": "feedback", "payload": chat})
        lines += _transcripts(chance, number, begun)
        if number % 5 == 0:
            left = {"visitor": visitor, "message": "Call me", "email": "ana@example.org", "name": "Ana"}
            lines.append({"receivedAt": begun.isoformat(), "kind": "offline_message", "payload": left})
    folder.mkdir(parents=True)
    (folder / "seasons.ndjson").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return folder


def _transcripts(chance: random.Random, number: int, begun: datetime) -> list[dict[str, Any]]:
    """Return no transcript, one, or one and a longer one for a conversation that continued."""
    messages: list[dict[str, Any]] = []
    at = begun
    agents = chance.sample(sorted(AGENTS), chance.choice([0, 1, 1, 1, 2, 3]))
    if number % 8 == 0:
        agents = ["U01", "U03"]  # two of one name
    for _ in range(chance.randrange(9)):
        at += timedelta(seconds=chance.choice([3.25, 40, 59.999999, 60, 60, 700, 20_000, 90_000]))
        agent = chance.choice([*agents, "", ""])
        messages.append(
            {
                "text": "…",
                "ts": f"{at.timestamp():.6f}",
                "userId": agent,
                "username": AGENTS.get(agent, "ana"),
                "isVisitorMsg": not agent,
            }
        )
    cuts = sorted({chance.randrange(len(messages) + 1), len(messages)}) if chance.random() < 0.3 else [None]
    if chance.random() < 0.15:
        return []
    written = []
    for cut in cuts:
        held = messages[:cut]
        last = float(held[-1]["ts"]) if held else begun.timestamp()
        ended = datetime.fromtimestamp(last, UTC) + timedelta(seconds=chance.choice([-30, 1, 4000]))
        payload = {
            "conversationUUID": _id(number),
            "channelId": "C1",
            "startedAt": begun.isoformat(),
            "endedAt": ended.isoformat(),
            "agentName": "Sam Lee",
            "visitorName": "ana",
            "messages": held,
        }
        written.append({"receivedAt": ended.isoformat(), "kind": "transcript", "payload": payload})
    return written


@pytest.fixture(scope="session", params=["seasons", "sample of 7", "sample of 11"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of one export, as files."""
    root = tmp_path_factory.mktemp("measured")
    if request.param == "seasons":
        captures = write_seasons(root / "captures")
    else:
        seed = int(request.param.rpartition(" ")[2])
        captures = ck.write_sample(root / "captures", events=500, seed=seed).path
    convert(ck.read_export(captures), root / "tables", quiet=True)
    return root / "tables"


@pytest.fixture(scope="session")
def seasons(tmp_path_factory: pytest.TempPathFactory) -> ck.Tables:
    """The tables of the export around the changes of the clocks, as frames."""
    captures = write_seasons(tmp_path_factory.mktemp("seasons") / "captures")
    return ck.read_export(captures).to_tables(quiet=True)
