"""The generated parts of docs/evidence.md: the cases of verify-sandbox, and the facts of facts.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatlio_kit.jobs.verify import CASES

SERVICES = {
    "/ims/": "IMS",
    "/data/foundation/sandbox-management": "Sandbox Management",
    "/data/foundation/access-control": "Access Control",
    "/data/foundation/schemaregistry": "Schema Registry",
    "/data/core/idnamespace": "Identity Service",
    "/data/foundation/catalog": "Catalog",
    "/data/foundation/conversion": "Data Prep",
    "/data/foundation/flowservice": "Flow Service",
    "/collection/": "Streaming ingestion",
    "/data/foundation/import": "Batch ingestion",
    "/data/foundation/export": "Data Access",
    "/data/infrastructure/observability": "Observability Insights",
    "/data/core/hygiene": "Data Hygiene",
    "/data/": "All REST APIs",
}
VERIFY = "verify-sandbox: "
_FACTS = tomllib.loads((Path(__file__).parent / "facts.toml").read_text(encoding="utf-8"))
TAGS: dict[str, dict[str, str]] = {tag["tag"]: tag for tag in _FACTS["tag"]}
LIVE: list[dict[str, Any]] = _FACTS["live"]


@dataclass(frozen=True)
class Row:
    """A call, an assumption about its answer, and the tests that enforce it on the local platform.

    Attributes:
        call: verb and path, ids in braces.
        relies: the assumption.
        sources: tags, by commas.
        held_by: tests as ``path::name``, or cases of verify-sandbox.
    """

    call: str
    relies: str
    sources: str
    held_by: tuple[str, ...]

    @property
    def tags(self) -> list[str]:
        """The tags of the sources, without places in them."""
        return [re.split(r"[: ]", source.strip())[0] for source in self.sources.split(",")]

    @property
    def service(self) -> str:
        """The service that is called."""
        path = self.call.partition(" ")[2]
        return next(name for prefix, name in SERVICES.items() if path.startswith(prefix))

    @property
    def pattern(self) -> re.Pattern[str]:
        """Matches the verb and path of its calls."""
        parts = re.split(r"\{\w+\}", self.call)
        return re.compile("[^/]+".join(map(re.escape, parts)))


ROWS = [Row(case.call, case.relies, case.sources, (VERIFY + case.name,)) for case in CASES] + [
    Row(fact["call"], fact["relies"], fact["sources"], tuple(fact["held_by"])) for fact in _FACTS["fact"]
]


def tags() -> Iterator[str]:
    """Yield the table of sources."""
    yield "| tag | kind | source |"
    yield "| --- | --- | --- |"
    yield from (f"| {tag} | {each['kind']} | {each['source']} |" for tag, each in TAGS.items())


def calls() -> Iterator[str]:
    """Yield a table for each service."""
    for service in dict.fromkeys(SERVICES.values()):
        rows = sorted((row for row in ROWS if row.service == service), key=lambda row: _order(row.call))
        if not rows:
            continue
        yield f"### {service}\n"
        yield "| call | the client relies on | known from | held by |"
        yield "| --- | --- | --- | --- |"
        for row in rows:
            held = "<br>".join(map(_held, row.held_by))
            yield f"| `{row.call}` | {row.relies} | {_known_from(row)} | {held} |"
        yield ""


def live() -> Iterator[str]:
    """Yield the table of live observations."""
    yield "| # | call | observed | what follows here |"
    yield "| --- | --- | --- | --- |"
    for number, row in enumerate(LIVE, 1):
        held = (
            f"; {', '.join(f'`{one}`' if '::' in one else one for one in row['held_by'])}"
            if row.get("held_by")
            else ""
        )
        yield f"| {number} | {row['call']} | {row['observed']} | {row['here']}{held} |"


def _held(name: str) -> str:
    return f"`{name}`" if "::" in name else name


def _known_from(row: Row) -> str:
    kinds: dict[str, list[str]] = {}
    for tag, source in zip(row.tags, row.sources.split(","), strict=True):
        kinds.setdefault(TAGS[tag]["kind"], []).append(source.strip())
    return "; ".join(f"{kind}: {', '.join(sources)}" for kind, sources in kinds.items())


def _order(call: str) -> tuple[str, int, str]:
    verb, _, path = call.partition(" ")
    return path, ["POST", "GET", "PUT", "PATCH", "DELETE"].index(verb), call
