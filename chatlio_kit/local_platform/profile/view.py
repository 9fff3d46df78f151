"""The contents of Profile and Identity Service, computed from the lake's rows on each request.

Profile ingests an event from a dataset enabled by the tag ``unifiedProfile`` if the event landed after that,
names exactly one valid primary identity, is not larger than 10 KB or older than the expiry, and has an
``_id`` that is new in the dataset. Identity Service links the identities of an event from a dataset with the
tag ``unifiedIdentity``; an event with a single identity adds nothing. A graph holds 50 identities.

Source: Profile guardrails; Identity Service guardrails; event expirations; event duplication.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pyarrow.parquet as pq

from ..lake.files import good_files, plain
from ..server.service import Context
from ..store import BatchFilter, Json, Store
from .identities import Identity, identities_of
from .namespaces import OUTSIDE_GRAPHS, all_namespaces

LARGEST_EVENT = 10_000
LARGEST_GRAPH = 50
_MOST_LINKS_IN_BATCH = 50
_PAGE = 100
_DURATION = re.compile(r"P(?:(\d{1,4})Y)?(?:(\d{1,5})M)?(?:(\d{1,6})D)?")
_FIRST_OUT = ("cookie", "device")


@dataclass
class DatasetView:
    """Contents of Profile and Identity Service from one dataset.

    Attributes:
        kept: Events in Profile, by batch.
        fragments: The primary identities by which Profile stores them.
        linked: Rows whose identities Identity Service linked, by batch.
        skipped: Rows without a link, by batch.
    """

    kept: Counter[str] = field(default_factory=Counter)
    fragments: set[Identity] = field(default_factory=set)
    linked: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Rows:
    """The rows of a batch, read part by part on each iteration."""

    paths: list[Path]

    def __iter__(self) -> Iterator[Json]:
        for path in self.paths:
            with suppress(FileNotFoundError):  # the batch was reverted or consolidated meanwhile
                yield from pq.read_table(path).to_pylist()


@dataclass
class _Graph:
    """Links between identities, and the time at which each was last seen."""

    parents: dict[Identity, Identity] = field(default_factory=dict)
    seen: dict[Identity, int] = field(default_factory=dict)

    def root(self, identity: Identity) -> Identity:
        self.parents.setdefault(identity, identity)
        while self.parents[identity] != identity:
            self.parents[identity] = self.parents[self.parents[identity]]
            identity = self.parents[identity]
        return identity

    def link(self, identities: tuple[Identity, ...], moment: int) -> None:
        for identity in identities:
            self.seen[identity] = max(moment, self.seen.get(identity, 0))
            self.parents[self.root(identity)] = self.root(identities[0])


class PeopleView:
    """All datasets' views, and the identity graphs over them.

    Attributes:
        datasets: The view of each dataset that feeds Profile or Identity Service, by id.
        graphs: The identity graphs, each of at most 50 identities.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._types = {each["code"]: each["idType"].lower() for each in all_namespaces(context)}
        graph = _Graph()
        self.datasets: dict[str, DatasetView] = {}
        for dataset in context.store.all("dataset"):
            if has_tag(dataset, "unifiedProfile") or has_tag(dataset, "unifiedIdentity"):
                self.datasets[dataset["id"]] = self._view(dataset, graph)
        members: dict[Identity, list[Identity]] = defaultdict(list)
        for identity in graph.seen:
            members[graph.root(identity)].append(identity)
        self.graphs = [self._capped(found, graph.seen) for found in members.values()]

    @property
    def profiles(self) -> int:
        """Number of profiles: fragments whose identities are in the same graph count once."""
        graph_of = {identity: number for number, graph in enumerate(self.graphs) for identity in graph}
        fragments = {identity for view in self.datasets.values() for identity in view.fragments}
        return len({graph_of.get(identity, identity) for identity in fragments})

    def _view(self, dataset: Json, graph: _Graph) -> DatasetView:
        view, seen = DatasetView(), set[str]()
        feeds_profile, feeds_graph = (has_tag(dataset, tag) for tag in ("unifiedProfile", "unifiedIdentity"))
        enabled_at = (self._context.store.get("profile_enabled", dataset["id"]) or {}).get("at", 0)
        expiry = profile_expiry(dataset)
        oldest = datetime.now(UTC) - expiry if expiry else None
        described = described_identities(self._context, dataset["schemaRef"]["id"])
        for batch_id, batch in _batches(self._context, dataset["id"]):
            paths = list(good_files(self._context.store.lake, batch_id))
            rows: Iterable[Json] = _Rows(paths) if len(paths) > 1 else list(_Rows(paths))
            crowded = _crowded(identities_of(row, described).valid for row in rows)
            for row in rows:
                found = identities_of(row, described)
                linkable = tuple(
                    identity for identity in found.valid
                    if identity not in crowded
                    and self._types.get(identity[0], "non_people") not in OUTSIDE_GRAPHS
                )  # fmt: skip
                if feeds_graph and len(linkable) > 1:
                    graph.link(linkable, round(row["timestamp"].timestamp() * 1000))
                    view.linked[batch_id] += 1
                elif feeds_graph:
                    view.skipped[batch_id] += 1
                if (
                    feeds_profile
                    and found.primary is not None
                    and batch["created"] >= enabled_at
                    and (oldest is None or row["timestamp"] >= oldest)
                    and len(orjson.dumps(plain_event(row))) <= LARGEST_EVENT
                    and row["_id"] not in seen
                ):
                    seen.add(row["_id"])
                    view.kept[batch_id] += 1
                    view.fragments.add(found.primary)
        return view

    def _capped(self, identities: list[Identity], seen: dict[Identity, int]) -> set[Identity]:
        """Return the identities that a full graph keeps: the oldest cookies and devices are removed first."""

        def order(identity: Identity) -> tuple[bool, int]:
            return self._types.get(identity[0]) not in _FIRST_OUT, seen[identity]

        return set(sorted(identities, key=order)[-LARGEST_GRAPH:])


def people_view(context: Context) -> PeopleView:
    """Return the current view, read through a separate connection so that it can run on another thread."""
    store = Store(context.store.folder)
    try:
        return PeopleView(replace(context, store=store))
    finally:
        store.close()


def plain_event(row: Json) -> Json:
    """Return a row as its sender wrote it, with ``identityMap`` as an object."""
    pairs = row.get("identityMap")
    return plain({**row, "identityMap": dict(pairs)} if pairs is not None else row)  # type: ignore[no-any-return]


def described_identities(context: Context, schema_id: str) -> dict[tuple[str, ...], tuple[str, bool]]:
    """Return namespace and primary flag of a schema's fields with identity descriptors, by path."""
    codes = {str(each["id"]): each["code"] for each in all_namespaces(context)}
    return {
        tuple(descriptor["xdm:sourceProperty"].strip("/").split("/")): (
            codes.get(str(descriptor["xdm:namespace"]), str(descriptor["xdm:namespace"])),
            bool(descriptor.get("xdm:isPrimary")),
        )
        for descriptor in context.store.all("descriptor")
        if descriptor["@type"] == "xdm:descriptorIdentity" and descriptor["xdm:sourceSchema"] == schema_id
    }


def has_tag(dataset: Json, tag: str) -> bool:
    """Return whether a dataset's tag is ``enabled:true``, with or without a space, as in samples."""
    values = dataset["tags"].get(tag, [])
    return any(str(value).replace(" ", "").startswith("enabled:true") for value in values)


def profile_expiry(dataset: Json) -> timedelta | None:
    """Return the period for which Profile keeps a dataset's events; None if it is unlimited."""
    profile = (dataset.get("extensions") or {}).get("adobe_unifiedProfile") or {}
    return duration((profile.get("rowExpiration") or {}).get("ttlValue"))


def duration(text: str | None) -> timedelta | None:
    """Parse an ISO 8601 duration of years, months and days; return None if it is not one."""
    match = _DURATION.fullmatch(text or "")
    if match is None or not any(match.groups()):
        return None
    years, months, days = (int(part or 0) for part in match.groups())
    return timedelta(days=years * 365 + months * 30 + days)


def _crowded(rows: Iterator[tuple[Identity, ...]]) -> set[Identity]:
    """Return the identities that a batch links to 50 or more others, which are not ingested."""
    partners: dict[Identity, set[Identity]] = defaultdict(set)
    for identities in rows:
        for identity in identities:
            partners[identity].update(identities)
    return {identity for identity, linked in partners.items() if len(linked) - 1 >= _MOST_LINKS_IN_BATCH}


def _batches(context: Context, dataset_id: str) -> Iterator[tuple[str, Json]]:
    start = 0
    chosen = BatchFilter(dataset_id, "success", ascending=True)
    while page := context.store.batches(chosen, _PAGE, start):
        yield from page.items()
        start += _PAGE
