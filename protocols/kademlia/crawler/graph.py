"""What the graph of a network tells about its health. No I/O.

Peers are numbers here, and all edges lie in a few flat arrays: 20,000 peers with four million
edges take some tens of megabytes.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeAlias

__all__ = ["Graph", "percentiles"]

Edge: TypeAlias = tuple[Hashable, Hashable]


class Graph:
    """Who has whom in its table.

    Args:
        edges: from whose table, to whom. An edge that comes twice counts twice in `out_degrees`
            and `in_degrees` only.
        nodes: others, which may have no edge.

    Attributes:
        names: of each node.
    """

    def __init__(self, edges: Iterable[Edge], nodes: Iterable[Hashable] = ()) -> None:
        numbers: dict[Hashable, int] = {}
        sources, targets = array("I"), array("I")
        for source, target in edges:
            sources.append(numbers.setdefault(source, len(numbers)))
            targets.append(numbers.setdefault(target, len(numbers)))
        for node in nodes:
            numbers.setdefault(node, len(numbers))
        self.names: Sequence[Hashable] = list(numbers)
        self.out_degrees = _counts(sources, len(numbers))
        self.in_degrees = _counts(targets, len(numbers))
        self._starts, self._ends = _rows(sources, targets, len(numbers))
        self.degrees = array(
            "I", (self._starts[node + 1] - self._starts[node] for node in range(len(numbers)))
        )
        """With how many others each node shares an edge, in whichever direction."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def edges(self) -> int:
        """Pairs of nodes with an edge between them."""
        return len(self._ends) // 2

    def neighbours(self, node: int) -> array[int]:
        """The nodes that share an edge with it, in whichever direction."""
        return self._ends[self._starts[node] : self._starts[node + 1]]

    def subgraph(self, keep: Callable[[Hashable], bool]) -> Graph:
        """The nodes that `keep` picks, and the edges between them (once each)."""
        kept = [keep(name) for name in self.names]
        names = self.names
        return Graph(
            (
                (names[node], names[other])
                for node in range(len(self))
                if kept[node]
                for other in self.neighbours(node)
                if other > node and kept[other]
            ),
            (name for name, stays in zip(names, kept, strict=True) if stays),
        )

    def by_degree(self) -> list[int]:
        """The nodes, the best connected first; of equals the one that was named first."""
        return sorted(range(len(self)), key=lambda node: -self.degrees[node])

    def components(self) -> list[int]:
        """The sizes of its connected parts, the largest first."""
        roots = array("I", range(len(self)))
        for node in range(len(self)):
            for other in self.neighbours(node):
                a, b = _root(roots, node), _root(roots, other)
                roots[a] = b
        return sorted(
            Counter(_root(roots, node) for node in range(len(self))).values(), reverse=True
        )

    def removal_curve(self, order: Sequence[int] | None = None) -> list[int]:
        """The size of the largest connected part after the first 0, 1, 2, … nodes of `order` are
        gone.

        Read backwards it is a network that grows, so one pass finds all of it.

        Args:
            order: all nodes; default: the best connected first.
        """
        order = self.by_degree() if order is None else order
        roots, sizes = array("I", range(len(self))), array("I", [1] * len(self))
        there = bytearray(len(self))
        largest, curve = 0, [0]
        for node in reversed(order):
            there[node] = 1
            for other in self.neighbours(node):
                if not there[other]:
                    continue
                a, b = _root(roots, node), _root(roots, other)
                if a != b:
                    if sizes[a] < sizes[b]:
                        a, b = b, a
                    roots[b] = a
                    sizes[a] += sizes[b]
            largest = max(largest, sizes[_root(roots, node)])
            curve.append(largest)
        return curve[::-1]


def percentiles(values: Iterable[float], shares: Sequence[float]) -> list[float]:
    """For each of `shares` (0 to 1) the least value that so many do not exceed; 0 if there are
    none."""
    ordered = sorted(values)
    if not ordered:
        return [0.0] * len(shares)
    return [ordered[max(0, math.ceil(share * len(ordered)) - 1)] for share in shares]


def _counts(nodes: array[int], total: int) -> array[int]:
    counts = array("I", bytes(4 * total))
    for node in nodes:
        counts[node] += 1
    return counts


def _rows(sources: array[int], targets: array[int], total: int) -> tuple[array[int], array[int]]:
    """For each node its neighbours without repetition: where they begin, and all of them."""
    starts = array("I", bytes(4 * (total + 1)))
    for ends in (sources, targets):
        for node in ends:
            starts[node + 1] += 1
    for node in range(total):
        starts[node + 1] += starts[node]
    places, raw = starts[:], array("I", bytes(8 * len(sources)))
    for source, target in zip(sources, targets, strict=True):
        raw[places[source]] = target
        places[source] += 1
        raw[places[target]] = source
        places[target] += 1
    firsts, neighbours = array("I", [0]), array("I")
    for node in range(total):
        found = set(raw[starts[node] : starts[node + 1]])
        found.discard(node)
        neighbours.extend(sorted(found))
        firsts.append(len(neighbours))
    return firsts, neighbours


def _root(roots: array[int], node: int) -> int:
    while roots[node] != node:
        roots[node] = roots[roots[node]]  # halve the way for the next time
        node = roots[node]
    return node
