"""Identity graphs as Experience Platform would build them: all ids of an event belong to one person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chatlio_kit.chatlio.identities import IdentityColumn

LARGEST = 50
"""A graph holds at most 50 identities; beyond that, the platform drops old ones and lookups fail."""


@dataclass(frozen=True)
class IdentityGraphs:
    """The graphs over all events.

    Attributes:
        sizes: Number of graphs by their number of identities. A graph of one identity is a person known by
            one id.
        members: Namespaces of the identities in the largest graphs, the largest first; no ids.
        joined_emails: Graphs with several e-mail addresses, which may be several people.
    """

    sizes: Counter[int] = field(default_factory=Counter)
    members: tuple[tuple[str, ...], ...] = ()
    joined_emails: int = 0

    @property
    def count(self) -> int:
        """The number of graphs: the people that Profile would know."""
        return self.sizes.total()

    @property
    def identities(self) -> int:
        """The number of distinct identities."""
        return sum(size * count for size, count in self.sizes.items())

    @property
    def largest(self) -> int:
        """The number of identities in the largest graph."""
        return max(self.sizes, default=0)

    @property
    def too_large(self) -> int:
        """The number of graphs with more identities than the platform keeps."""
        return sum(count for size, count in self.sizes.items() if size > LARGEST)

    @classmethod
    def of(cls, columns: Sequence[IdentityColumn], shown: int = 3) -> IdentityGraphs:
        """Build the graphs over events.

        Args:
            columns: The ids of the events by namespace, all with the same index.
            shown: Number of the largest graphs to describe.
        """
        numbers, namespaces = _numbered(columns)
        roots = _roots(numbers, len(namespaces))
        graph_of, sizes = np.unique(roots, return_inverse=True, return_counts=True)[1:]
        order = np.argsort(-sizes, kind="stable")[:shown]
        members = (tuple(sorted(namespaces[graph_of == graph])) for graph in order if sizes[graph] > 1)
        emails = {column.namespace for column in columns if column.is_email}
        of_emails = np.bincount(graph_of[np.isin(namespaces, list(emails))], minlength=len(sizes))
        return cls(Counter(sizes.tolist()), tuple(members), int((of_emails > 1).sum()))


def _numbered(columns: Sequence[IdentityColumn]) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Number the identities; return each event's numbers, -1 for none, and their namespaces."""
    numbers, namespaces, start = [], [], 0
    for column in columns:
        codes, distinct = pd.factorize(column.ids)
        numbers.append(np.where(codes < 0, -1, codes + start))
        namespaces += [column.namespace] * len(distinct)
        start += len(distinct)
    return np.column_stack(numbers) if numbers else np.empty((0, 0), np.int64), np.array(namespaces, object)


def _roots(numbers: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the representative of each identity's graph, by union-find over the pairs of each event."""
    parents = list(range(count))

    def root(node: int) -> int:
        while parents[node] != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    for event in np.unique(numbers, axis=0).tolist():
        first, *others = [number for number in event if number >= 0] or [-1]
        for other in others:
            parents[root(other)] = root(first)
    return np.array([root(node) for node in range(count)], dtype=np.int64)
